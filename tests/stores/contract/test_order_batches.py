"""What every order store promises for many orders at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from stores.contract.samples import BTC, ETH, IDS, ids, order, order_array

from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order

Said = Callable[[object, object], bool]
FORMS: dict[str, Callable[[list[Order]], Iterable[Order]]] = {"list": list, "tuple": tuple, "generator": iter}


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_objects(orders: Any, form: str) -> None:
    given = [order(order_id, user=f"user {order_id % 3}", instrument=ETH if order_id % 2 else BTC) for order_id in IDS]
    assert orders.save_batch(FORMS[form](given)) == len(IDS)
    assert orders.get_all() == given
    assert orders.save_batch(FORMS[form]([])) == 0
    assert orders.get_all() == given


@pytest.mark.parametrize("read_only", [False, True])
def test_a_batch_of_records(open_store: Any, order_backend: Any, numbered: None, read_only: bool) -> None:
    names = Names([ETH], ["zoe"])
    given = [order(order_id, "sell", user=None if order_id == 2 else "bob", version=order_id) for order_id in IDS]
    rows = order_array(given, names)
    before = rows.tobytes()
    rows.flags.writeable = not read_only
    store = open_store(names)
    assert store.names is names
    assert store.save_batch(rows) == len(IDS)
    assert store.get_all() == given
    assert store.get_by_user("bob") == given[:2] + given[3:]
    assert store.get_by_side("sell", "BTC-USD") == given
    assert rows.tobytes() == before
    assert store.save_batch(rows[:0]) == 0


def test_a_batch_of_records_with_gaps_between_them(open_store: Any, order_backend: Any, numbered: None) -> None:
    names = Names()
    given = [order(n) for n in range(10)]
    store = open_store(names)
    assert store.save_batch(order_array(given, names)[::3]) == 4
    assert store.get_all() == given[::3]


def test_a_store_numbers_what_it_is_given_as_objects(open_store: Any, order_backend: Any, numbered: None) -> None:
    names = Names([ETH], ["zoe"])
    store = open_store(names)
    store.save(order())
    assert store.get(1).user_index == names.user_index("alice") == 2
    assert store.get(1).instrument_index == names.instrument_index("BTC-USD") == 1


def test_what_is_older_than_what_is_there_is_left_out(orders: Any, said: Said) -> None:
    orders.save_batch([order(n, version=5) for n in range(4)])
    given = [order(n, "sell", version=4 + n % 3) for n in range(6)]
    assert said(orders.save_batch(given), 4)
    assert orders.get_all() == [order(0, version=5), *given[1:3], order(3, version=5), *given[4:]]


@pytest.mark.parametrize(
    ("versions", "kept"), [([1, 2, 3], 2), ([0, 0, 0], 2), ([5, 3, 4], 0), ([5, 3, 5], 2), ([2**63, 1, 2**63 - 1], 0)]
)
def test_of_one_id_a_batch_leaves_what_one_after_the_other_would(orders: Any, said: Said, versions: list[int], kept: int) -> None:
    given = [order(1, "sell" if n % 2 else "buy", user=f"user {n}", version=version) for n, version in enumerate(versions)]
    accepted = sum(version == max(versions[: n + 1]) for n, version in enumerate(versions))
    stored = orders.save_batch([order(0), *given])
    assert said(1 <= stored - 1 <= accepted, True)
    assert orders.get_all() == [order(0), given[kept]]
    assert orders.get_by_side("buy") == [order(0), *([] if kept == 1 else [given[kept]])]
    for n in range(3):
        assert orders.get_by_user(f"user {n}") == ([given[n]] if n == kept else [])


def test_of_one_id_the_records_of_a_batch_leave_what_one_after_the_other_would(
    open_store: Any, order_backend: Any, numbered: None, said: Said
) -> None:
    names = Names()
    given = [order(1, qty_lots=n, version=version) for n, version in [(1, 7), (2, 9), (3, 8), (4, 9)]]
    store = open_store(names)
    assert said(1 <= store.save_batch(order_array(given, names)) <= 3, True)
    assert store.get_all() == [given[3]]


def test_the_same_batch_again_changes_nothing(orders: Any) -> None:
    given = [order(n, version=n) for n in range(50)]
    assert [orders.save_batch(given) for _ in range(3)] == [50] * 3
    assert orders.get_all() == given


def test_a_batch_of_thousands_by_who_comes_later(open_store: Any, order_backend: Any, numbered: None, reopen: Any) -> None:
    names = Names()
    given = [order(n * 2**50, "sell", user=f"user {n % 10}", price_ticks=n, entered=n) for n in range(5_000)]
    store = open_store(names)
    assert store.save_batch(order_array(given, names)) == 5_000
    later = reopen(open_store, store)
    assert later.get_all() == given
    assert later.get_by_side("sell") == given
    assert later.get_by_user("user 4") == given[4::10]


@pytest.mark.parametrize("wrong", [None, 5, "order", {"order_id": 1}, b"x" * 96])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_batch_with_something_else_in_it_is_refused_as_a_whole(orders: Any, wrong: object, at: int) -> None:
    orders.save(order(9))
    given: list[Any] = [order(1), order(9, "sell", version=1)]
    given.insert(at, wrong)
    for form in FORMS.values():
        with pytest.raises(FieldTypeError, match="order must be an Order, was"):
            orders.save_batch(form(given))
    assert orders.get_all() == [order(9)]


def test_what_an_iterable_raises_passes_through(orders: Any) -> None:
    def broken() -> Iterable[Order]:
        yield order(1)
        raise LookupError("no more orders")

    with pytest.raises(LookupError, match="no more orders"):
        orders.save_batch(broken())
    assert orders.get_all() == []


@pytest.mark.parametrize("wrong", [None, 5, 1.5])
def test_what_is_no_batch_is_refused(orders: Any, wrong: object) -> None:
    with pytest.raises(FieldTypeError, match="orders must be an array of ORDER_RECORD_DTYPE or an iterable of Order, was"):
        orders.save_batch(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros(3, TRADE_DTYPE),
        np.zeros((1, 1), ORDER_RECORD_DTYPE),
        np.zeros(1, ORDER_RECORD_DTYPE.newbyteorder(">")),
        np.zeros(0, "u1"),
    ],
    ids=["floats", "trades", "two dimensions", "big-endian", "bytes"],
)
def test_another_array_is_refused(orders: Any, wrong: np.ndarray) -> None:
    with pytest.raises(FieldError, match="orders must be"):
        orders.save_batch(wrong)
    assert orders.get_all() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", 0),
        ("side", 3),
        ("status", 0),
        ("status", 5),
        ("status", 2),
        ("status", 3),
        ("qty_lots", 0),
        ("qty_lots", -1),
        ("remaining_lots", -1),
        ("remaining_lots", 251),
        ("order_type", 3),
        ("order_type", 6),
        ("tif", 5),
        ("stp", 6),
        ("reserved", 1),
    ],
)
def test_a_record_that_no_order_can_be_is_refused_with_all_others(
    open_store: Any, order_backend: Any, numbered: None, field: str, value: int
) -> None:
    names = Names()
    rows = order_array([order(n) for n in range(3)], names)
    store = open_store(names)
    store.save(order(1, user="alice"))
    rows[field][1] = value
    with pytest.raises(FieldError, match="must be"):
        store.save_batch(rows)
    assert store.get_all() == [order(1)]


@pytest.mark.parametrize(("field", "value"), [("user", 7), ("user", 2**32 - 1), ("instrument", 1), ("instrument", 2**32 - 1)])
def test_numbers_without_a_name_are_refused_by_who_stores_names(
    open_store: Any, order_backend: Any, numbered: None, field: str, value: int
) -> None:
    names = Names()
    rows = order_array([order(n) for n in range(3)], names)
    rows[field][1] = value
    store = open_store(names)
    if not order_backend.needs_names:
        assert store.save_batch(rows) == 3
        return
    with pytest.raises(FieldError, match=rf"{field} must be"):
        store.save_batch(rows)
    assert store.get_all() == []


def test_a_batch_of_removals(orders: Any, said: Said) -> None:
    orders.save_batch([order(order_id) for order_id in IDS])
    assert orders.remove_batch([]) == 0
    assert said(orders.remove_batch(iter([0, 5, 2**64 - 1, 0])), 2)
    assert ids(orders.get_all()) == ids(orders.get_by_user("alice")) == ids(orders.get_by_side(1)) == IDS[1:-1]
    assert orders.remove_batch(np.array(IDS, np.uint64)) == len(IDS) - 2
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(1) == []


@pytest.mark.parametrize("wrong", [-1, 2**64, "1", None, 1.0, True])
def test_removals_with_something_else_among_them_are_refused_as_a_whole(orders: Any, wrong: object) -> None:
    orders.save_batch([order(1), order(2)])
    with pytest.raises(FieldError, match=r"order_ids?(\[1\])? must be an int"):
        orders.remove_batch([1, wrong, 2])
    assert ids(orders.get_all()) == [1, 2]
