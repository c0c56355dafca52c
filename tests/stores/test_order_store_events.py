"""The order store driven by an engine's events, one behaviour a test."""

from __future__ import annotations

import numpy as np
import pytest
from stores.order_events import BTC, accepted, event, ids, traded

from pyengine.records import Kind, Status
from pyengine.stores import InMemoryOrderStore, Names


@pytest.fixture
def store() -> InMemoryOrderStore:
    """Make an empty store."""
    return InMemoryOrderStore()


def test_events_drive_an_order_from_entry_to_fill(store: InMemoryOrderStore) -> None:
    store.attach_names(Names([BTC], ["alice"]))
    store.apply(accepted(1, 7, user=1))
    order = store.get(7)
    assert (order.status, order.user, order.price, order.created_ns) == (Status.RESTING, "alice", 1, 1001)
    store.apply(np.concatenate([accepted(2, 8, lots=4, side=2), traded(3, 8, 7, 4)]))
    maker, taker = store.get(7), store.get(8)
    assert (maker.status, maker.remaining_lots, maker.filled_lots, maker.version) == (Status.PARTIALLY_FILLED, 6, 4, 3)
    assert (taker.status, taker.remaining_lots, taker.version, taker.updated_ns) == (Status.FILLED, 0, 3, 1003)
    assert ids(store.get_by_side("buy")) == [7]
    assert store.get_by_side("sell") == []
    assert store.unmatched_events == 0


def test_a_cancelled_order_keeps_what_it_never_filled(store: InMemoryOrderStore) -> None:
    store.apply(np.concatenate([accepted(1, 7), accepted(2, 8, lots=4, side=2), traded(3, 8, 7, 4)]))
    store.apply(event(Kind.CANCELLED, 4, 7, qty_lots=6, reason=1))
    order = store.get(7)
    assert (order.status, order.remaining_lots, order.filled_lots, order.is_open) == (Status.CANCELLED, 6, 4, False)
    assert store.unmatched_events == 0


def test_a_self_trade_decrement_is_no_fill(store: InMemoryOrderStore) -> None:
    store.apply(np.concatenate([accepted(1, 7), event(Kind.CANCELLED, 2, 7, qty_lots=3, value=7, reason=4)]))
    order = store.get(7)
    assert (order.status, order.qty_lots, order.remaining_lots, order.filled_lots) == (Status.RESTING, 7, 7, 0)
    assert ids(store.get_by_side("buy")) == [7]


def test_an_amended_order_keeps_or_loses_its_place(store: InMemoryOrderStore) -> None:
    store.apply(np.concatenate([accepted(n, n) for n in (1, 2, 3)]))
    store.apply(event(Kind.REPLACED, 4, 1, qty_lots=5, price_ticks=100, value=10, flags=1))
    assert ids(store.get_by_side("buy")) == [1, 2, 3]
    store.apply(event(Kind.REPLACED, 5, 2, qty_lots=20, price_ticks=100, value=10))
    assert ids(store.get_by_side("buy")) == [1, 3, 2]
    assert (store.get(2).qty_lots, store.get(2).entered, store.get(1).entered) == (20, 5, 1)
    store.apply(event(Kind.REPLACED, 6, 3, qty_lots=10, price_ticks=90, value=10))
    assert store.get_by_side_array("buy")["price_ticks"].tolist() == [100, 100, 90]
    assert store.unmatched_events == 0


def test_an_amended_order_keeps_its_fills(store: InMemoryOrderStore) -> None:
    store.apply(np.concatenate([accepted(1, 7), accepted(2, 8, lots=4, side=2), traded(3, 8, 7, 4)]))
    store.apply(event(Kind.REPLACED, 4, 7, qty_lots=50, price_ticks=100, value=6))
    order = store.get(7)
    assert (order.qty_lots, order.remaining_lots, order.filled_lots, order.status) == (
        54,
        50,
        4,
        Status.PARTIALLY_FILLED,
    )


def test_rejections_are_no_orders(store: InMemoryOrderStore) -> None:
    store.apply(event(Kind.REJECTED, 1, 7, reason=64))
    assert len(store) == 0


def test_events_may_come_again(store: InMemoryOrderStore) -> None:
    events = np.concatenate(
        [
            accepted(1, 7),
            accepted(2, 8, lots=4, side=2),
            traded(3, 8, 7, 4),
            event(Kind.REPLACED, 4, 7, qty_lots=5, price_ticks=100, value=6, flags=1),
            event(Kind.CANCELLED, 5, 7, qty_lots=5, reason=1),
        ]
    )
    store.apply(events)
    once = store.get_all_array()
    for start in range(len(events)):
        store.apply(events[start:])
        assert (store.get_all_array() == once).all()
        store.check()
    assert store.unmatched_events == 0


def test_an_id_is_free_again_once_its_order_is_done(store: InMemoryOrderStore) -> None:
    store.apply(
        np.concatenate([accepted(1, 7, user=1), event(Kind.CANCELLED, 2, 7, qty_lots=10), accepted(3, 7, lots=5, user=2)])
    )
    order = store.get(7)
    assert (order.status, order.qty_lots, order.user, order.version) == (Status.RESTING, 5, 2, 3)
    assert (len(store), store.finished_count, store.unmatched_events) == (1, 0, 0)
    assert store.get_by_user(1) == []
    store.check()


def test_events_that_do_not_fit_are_counted(store: InMemoryOrderStore) -> None:
    store.apply(traded(1, 8, 7, 4))
    assert store.unmatched_events == 2
    store.apply(np.concatenate([accepted(2, 7), traded(3, 8, 7, 11)]))
    assert store.unmatched_events == 4
    assert store.get(7).status == Status.FILLED
    store.apply(event(Kind.CANCELLED, 4, 7, qty_lots=1))
    assert store.unmatched_events == 5
    store.apply(np.concatenate([accepted(5, 9), accepted(6, 9)]))
    assert store.unmatched_events == 6
    store.check()
