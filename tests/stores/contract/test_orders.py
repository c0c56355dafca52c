"""What every order store promises for one order at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stores.contract.samples import BTC, ETH, GRIDS, IDS, TEXTS, ids, order

from pyengine import Instrument
from pyengine.stores.interfaces import OrderStore, StoreStats

Said = Callable[[object, object], bool]
EVERYTHING: dict[str, Any] = {
    "price_ticks": -12_345,
    "qty_lots": 1_000,
    "remaining_lots": 400,
    "order_type": "stop_limit",
    "tif": "ioc",
    "created_ns": 1_736_937_045_123_456_789,
    "updated_ns": 1_736_937_046_000_000_001,
    "version": 2**63 + 5,
    "client_id": 2**64 - 1,
    "flags": 3,
    "stp": 4,
    "aux": -(2**63),
    "entered": 2**63,
}


def test_it_is_an_order_store(orders: Any) -> None:
    assert isinstance(orders, OrderStore)


def test_unknown_is_none_and_empty_is_empty(orders: Any) -> None:
    assert orders.get(1) is None
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side("buy") == []


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_is_found_as_it_was_saved(orders: Any, side: str) -> None:
    given = order(5, side, **EVERYTHING)
    assert orders.save(given) is True
    found = orders.get(5)
    assert found == given
    assert (found.price, found.qty, found.remaining, found.symbol, found.user) == (
        given.price,
        given.qty,
        given.remaining,
        "BTC-USD",
        "alice",
    )
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(side) == [given]


def test_an_order_is_found_as_it_was_saved_by_who_comes_later(orders: Any, open_store: Any, reopen: Any) -> None:
    given = [order(5, **EVERYTHING), order(2**63, "sell", user=None, instrument=ETH, order_type="market", price_ticks=0)]
    for one in given:
        orders.save(one)
    later = reopen(open_store, orders)
    assert [later.get(one.order_id) for one in given] == given
    assert later.get_all() == given
    assert later.get_by_user("alice") == later.get_by_side("buy") == given[:1]
    assert later.get_by_side("sell", "ETH-USD") == given[1:]
    assert later.get(5).instrument == BTC
    assert later.update(order(5, version=1)) is False
    assert later.save(order(5, version=2**64 - 1)) is True


@pytest.mark.parametrize("order_id", IDS)
def test_any_id(orders: Any, order_id: int) -> None:
    given = order(order_id)
    assert orders.save(given)
    assert orders.get(order_id) == given
    assert ids(orders.get_all()) == [order_id]
    assert orders.remove(order_id)
    assert orders.get(order_id) is None


def test_ids_of_64_bits_are_apart(orders: Any) -> None:
    for order_id in IDS:
        orders.save(order(order_id, client_id=order_id, qty_lots=order_id % 100 + 1))
    for order_id in IDS:
        assert orders.get(order_id) == order(order_id, client_id=order_id, qty_lots=order_id % 100 + 1)
    assert orders.get(3) is None


@pytest.mark.parametrize("ticks", [-(2**63), -(2**62), -1, 0, 1, 2**53 + 1, 2**62 - 1, 2**63 - 1])
@pytest.mark.parametrize("instrument", GRIDS, ids=lambda grid: grid.symbol)
def test_any_price_on_any_grid(orders: Any, instrument: Instrument, ticks: int) -> None:
    given = order(instrument=instrument, price_ticks=ticks, qty_lots=2**63 - 1, remaining_lots=2**53 + 1)
    assert orders.save(given)
    assert orders.get(1) == given
    assert orders.get(1).price == instrument.ticks_to_price(ticks)
    assert orders.get(1).filled == instrument.lots_to_qty(2**63 - 1 - (2**53 + 1))


@pytest.mark.parametrize("ts_ns", [-(2**63), -1, 0, 1, 999, 1_000_000, 2**53 + 1, 2**63 - 1])
def test_any_time(orders: Any, ts_ns: int) -> None:
    given = order(created_ns=ts_ns, updated_ns=-1 - ts_ns)
    assert orders.save(given)
    assert orders.get(1) == given


@pytest.mark.parametrize("kind", ["market", "limit", "stop", "stop_limit"])
@pytest.mark.parametrize("status", ["resting", "partially_filled", "filled", "cancelled"])
def test_any_type_and_status(orders: Any, kind: str, status: str) -> None:
    left = {"resting": 250, "partially_filled": 1, "filled": 0, "cancelled": 100}[status]
    given = order(order_type=kind, status=status, remaining_lots=left, price_ticks=0 if kind == "market" else 50)
    assert orders.save(given)
    assert orders.get(1) == given
    assert (orders.get(1).price is None) == (kind == "market")
    assert orders.get_by_user("alice") == [given]
    assert orders.get_by_side("buy") == ([given] if given.is_open else [])


@pytest.mark.parametrize("name", TEXTS)
def test_any_name(orders: Any, name: str) -> None:
    given = order(user=name, instrument=Instrument(name, "0.01", "0.001"))
    other = order(2, user="bob", instrument=ETH)
    assert orders.save(given)
    assert orders.save(other)
    assert orders.get(1) == given
    assert orders.get(1).user == orders.get(1).symbol == name
    assert orders.get_by_user(name) == orders.get_by_side("buy", name) == [given]
    assert orders.get_by_user("bob") == orders.get_by_side("buy", "ETH-USD") == [other]
    assert orders.get_by_user("no" + name[2:]) == []


def test_no_two_names_are_taken_for_the_same(orders: Any) -> None:
    for number, name in enumerate(TEXTS):
        orders.save(order(number, user=name, instrument=Instrument(name)))
    for number, name in enumerate(TEXTS):
        assert ids(orders.get_by_user(name)) == [number]
        assert ids(orders.get_by_side("buy", name)) == [number]


def test_names_are_found_by_who_comes_later(orders: Any, open_store: Any, reopen: Any) -> None:
    given = [order(n, user=name, instrument=Instrument(name, "0.1")) for n, name in enumerate(TEXTS)]
    orders.save_batch(given)
    later = reopen(open_store, orders)
    assert later.get_all() == given
    for number, name in enumerate(TEXTS):
        assert ids(later.get_by_user(name)) == [number]
        assert ids(later.get_by_side("buy", name)) == [number]


def test_grids_are_found_by_who_comes_later(orders: Any, open_store: Any, reopen: Any) -> None:
    given = [order(n, instrument=grid, price_ticks=2**63 - 1) for n, grid in enumerate(GRIDS)]
    orders.save_batch(given)
    assert [found.instrument for found in reopen(open_store, orders).get_all()] == GRIDS


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 1), (5, 5), (5, 2**63), (2**63 - 1, 2**63), (2**64 - 2, 2**64 - 1)])
def test_the_same_or_a_higher_version_replaces(orders: Any, old: int, new: int) -> None:
    orders.save(order(version=old))
    changed = order(1, "sell", user="bob", instrument=ETH, price_ticks=7, qty_lots=9, version=new)
    assert orders.save(changed) is True
    assert orders.get(1) == changed
    assert orders.get_all() == orders.get_by_user("bob") == orders.get_by_side(2, "ETH-USD") == [changed]
    assert orders.get_by_user("alice") == orders.get_by_side(1) == []


@pytest.mark.parametrize(("old", "new"), [(1, 0), (2**63, 5), (2**63, 2**63 - 1), (2**64 - 1, 2**64 - 2)])
@pytest.mark.parametrize("call", ["save", "update"])
def test_a_lower_version_changes_nothing(orders: Any, said: Said, old: int, new: int, call: str) -> None:
    given = order(version=old)
    orders.save(given)
    answer = getattr(orders, call)(order(1, "sell", user="bob", instrument=ETH, version=new))
    assert said(answer, False)
    assert orders.get(1) == given
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(1) == [given]
    assert orders.get_by_user("bob") == orders.get_by_side(2) == []


def test_saving_again_is_safe(orders: Any) -> None:
    given = order(version=3)
    assert [orders.save(given) for _ in range(3)] == [True] * 3
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(1) == [given]


def test_update_needs_an_order_that_is_there(orders: Any) -> None:
    assert orders.update(order()) is False
    assert orders.get(1) is None
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(1) == []
    orders.save(order())
    changed = order(status="cancelled", remaining_lots=100, version=1)
    assert orders.update(changed) is True
    assert orders.get(1) == changed
    assert orders.get_by_side(1) == []


def test_what_is_removed_is_gone_and_may_come_again(orders: Any) -> None:
    orders.save(order(version=9))
    orders.save(order(2))
    assert orders.remove(1) is True
    assert orders.remove(1) is False
    assert orders.get(1) is None
    assert ids(orders.get_all()) == ids(orders.get_by_user("alice")) == ids(orders.get_by_side(1)) == [2]
    assert orders.update(order(version=10)) is False
    assert orders.save(order(version=1)) is True
    assert orders.get(1) == order(version=1)


def test_an_order_changes_under_nobody_s_hands(orders: Any) -> None:
    given = order()
    orders.save(given)
    found = orders.get(1)
    orders.save(order(1, "sell", version=1))
    assert found == given == order()


def test_counts_only_grow(orders: Any) -> None:
    before = orders.stats()
    orders.save(order())
    orders.get(1)
    orders.get(2)
    after = orders.stats()
    assert isinstance(after, StoreStats)
    assert after.name
    assert set(before.counts) <= set(after.counts)
    assert all(after.counts[name] >= count >= 0 for name, count in before.counts.items())


def test_flush_says_who_is_safe(orders: Any) -> None:
    orders.save(order())
    flushed = orders.flush(timeout_s=10)
    assert flushed
    assert flushed.late == ()
    assert orders.flush([], timeout_s=1).done == ()


def test_completeness_is_told(orders: Any, order_backend: Any) -> None:
    assert orders.complete is order_backend.complete
