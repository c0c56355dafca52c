"""What the trade store promises, one behaviour a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyengine.instrument import Instrument
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
from pyengine.stores import InMemoryTradeStore, Names, StoreClosed, Trade

if TYPE_CHECKING:
    from collections.abc import Iterable

BTC = Instrument("BTC-USD", "0.01", "0.001")


def trade(trade_id: int, **fields: object) -> Trade:
    """Make a trade."""
    return Trade(trade_id, 10 + trade_id, 20, 100, 5, "sell", **fields)


def rows(ids: Iterable[int]) -> np.ndarray:
    """Make an array of trades."""
    listed = list(ids)
    array = np.zeros(len(listed), TRADE_DTYPE)
    array["kind"], array["side"], array["qty_lots"], array["trade_id"] = 3, 1, 5, listed
    return array


def recent(store: InMemoryTradeStore, limit: int = 100) -> list[int]:
    """List the newest ids."""
    return [each.trade_id for each in store.get_recent(limit)]


def test_the_newest_comes_first() -> None:
    store = InMemoryTradeStore()
    for trade_id in (1, 2, 3):
        assert store.save(trade(trade_id)) is True
    assert recent(store) == [3, 2, 1]
    assert recent(store, 2) == [3, 2]
    assert recent(store, 0) == []
    assert store.get_recent_array(2)["trade_id"].tolist() == [3, 2]
    assert store.get_recent_array(2).dtype == TRADE_DTYPE


def test_a_thousand_are_kept_unless_told_otherwise() -> None:
    store = InMemoryTradeStore()
    store.save_batch(rows(range(1, 2001)))
    assert (store.capacity, len(store), store.total, store.dropped) == (1000, 1000, 2000, 1000)
    assert (store.oldest_trade_id, store.newest_trade_id) == (1001, 2000)


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 8, 9, 1000, 1024])
def test_exactly_the_capacity_is_kept(capacity: int) -> None:
    store = InMemoryTradeStore(capacity)
    for trade_id in range(1, 2 * capacity + 4):
        store.save(trade(trade_id))
        store.check()
        assert len(store) == min(trade_id, capacity)
        assert store.newest_trade_id == trade_id
    assert recent(store, 10**6) == list(range(2 * capacity + 3, capacity + 3, -1))


def test_trades_are_found_by_id_while_they_are_held() -> None:
    store = InMemoryTradeStore(3)
    store.save_batch(trade(n) for n in (1, 2, 3, 4))
    assert store.get(1) is None
    assert store.get(4) == trade(4)
    assert 2 in store
    assert 5 not in store
    assert store.get(-1) is None
    sparse = InMemoryTradeStore(8)
    sparse.save_batch(rows([5, 90, 1000, 2**62]))
    assert [sparse.get(n).trade_id for n in (5, 90, 1000, 2**62)] == [5, 90, 1000, 2**62]
    assert sparse.get(91) is None


def test_a_trade_that_comes_again_changes_nothing() -> None:
    store = InMemoryTradeStore(3)
    store.save_batch(rows([1, 2, 3, 4]))
    assert store.save(trade(3)) is False
    assert store.save(trade(1)) is False, "older than all that the full ring holds"
    assert store.save_batch(rows([2, 3, 4])) == 0
    assert store.total == 4
    assert recent(store) == [4, 3, 2]


def test_a_trade_that_comes_late_takes_its_place() -> None:
    store = InMemoryTradeStore(4)
    store.save_batch(rows([1, 2, 5]))
    assert store.save(trade(4)) is True
    assert recent(store) == [5, 4, 2, 1]
    assert store.save(trade(3)) is True
    assert recent(store) == [5, 4, 3, 2]
    store.check()


def test_older_trades_can_be_put_back() -> None:
    store = InMemoryTradeStore(100)
    store.save_batch(rows(range(51, 61)))
    assert not store.complete_for(30)
    assert store.save_batch(rows(range(50, 0, -1))) == 50
    assert recent(store) == list(range(60, 0, -1))
    assert store.complete_for(10**9)
    store.check()


def test_a_batch_in_any_order_leaves_the_highest_ids() -> None:
    store = InMemoryTradeStore(10)
    store.save_batch(rows([3, 40, 41, 60]))
    ids = list(range(1, 101))
    np.random.default_rng(5).shuffle(ids)
    store.save_batch(rows(ids + ids))
    assert recent(store) == list(range(100, 90, -1))
    store.check()


@pytest.mark.parametrize(
    ("ids", "limit", "complete"),
    [
        ([], 0, True),
        ([], 1, False),
        ([1], 1, True),
        ([1], 5, True),
        ([1, 2, 3], 5, True),
        ([2, 3], 2, True),
        ([2, 3], 3, False),
        ([1, 3], 2, False),
        ([1, 3], 1, True),
        ([1, 3], 5, False),
        (range(1, 8), 4, True),
        (range(1, 8), 5, False),
    ],
)
def test_the_ring_says_whether_its_answer_is_whole(ids: Iterable[int], limit: int, complete: bool) -> None:
    store = InMemoryTradeStore(4)
    store.save_batch(rows(ids))
    assert store.complete_for(limit) is complete


def test_only_the_trades_among_events_are_taken() -> None:
    store = InMemoryTradeStore()
    events = np.zeros(6, EVENT_DTYPE)
    events["kind"] = [1, 3, 4, 3, 2, 5]
    events["side"], events["qty_lots"], events["value"] = 1, 2, [0, 1, 9, 2, 0, 3]
    store.apply(events)
    store.apply(events)
    store.apply(events[:0])
    assert recent(store) == [2, 1]
    events["qty_lots"][3] = 0
    with pytest.raises(ValueError, match=r"events\[3\]\.qty_lots must be at least 1, was"):
        store.apply(events)


def test_the_instrument_gives_prices_and_sizes() -> None:
    store = InMemoryTradeStore(names=Names([Instrument("ETH-USD"), BTC]))
    given = trade(1, instrument=BTC)
    store.save(given)
    found = store.get(1)
    assert found == given
    assert (str(found.price), str(found.qty), found.symbol, found.instrument_index) == ("1.00", "0.005", "BTC-USD", 1)
    store.save(trade(2, instrument_index=9))
    assert (store.get(2).price, store.get(2).symbol, store.get(2).instrument_index) == (None, None, 9)


def test_an_engines_names_are_not_added_to() -> None:
    store = InMemoryTradeStore()
    store.attach_names(Names([BTC]))
    assert store.save(trade(1, instrument=BTC)) is True
    with pytest.raises(ValueError, match="instrument must be known to the engine"):
        store.save(trade(2, instrument=Instrument("ETH-USD")))
    with pytest.raises(ValueError, match="names must be those of the engine"):
        store.attach_names(Names())


def test_two_grids_of_one_symbol_are_refused() -> None:
    store = InMemoryTradeStore()
    store.save(trade(1, instrument=BTC))
    assert store.save(trade(2, instrument=Instrument("BTC-USD", "0.01", "0.001"))) is True
    with pytest.raises(ValueError, match="instrument must be equal to the one known as BTC-USD"):
        store.save(trade(3, instrument=Instrument("BTC-USD", "0.5")))


def test_a_ring_starts_over_after_clear() -> None:
    store = InMemoryTradeStore(3)
    store.save_batch(rows(range(1, 9)))
    store.clear()
    assert (len(store), store.total, store.get_recent(), store.newest_trade_id) == (0, 0, [], None)
    store.save(trade(1))
    assert recent(store) == [1]


def test_a_closed_store_says_so() -> None:
    with InMemoryTradeStore() as store:
        store.save(trade(1))
    store.close()
    assert store.closed
    assert "closed" in repr(store)
    calls = [
        lambda: store.get(1),
        lambda: store.save(trade(1)),
        lambda: store.save_batch(rows([1])),
        lambda: store.apply(rows([1]).view(EVENT_DTYPE)),
        store.get_recent,
        store.get_recent_array,
        lambda: store.complete_for(1),
        store.clear,
    ]
    for call in calls:
        with pytest.raises(StoreClosed):
            call()
    assert (len(store), store.newest_trade_id) == (0, None)
    store.check()


def test_a_ring_is_true_even_when_empty() -> None:
    assert InMemoryTradeStore()
    assert repr(InMemoryTradeStore(3)) == "<InMemoryTradeStore of 0 trades, 0 taken in, room for 3>"
