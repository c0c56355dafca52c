"""A million orders: everything still works, and the lists are as long as they should be."""

from __future__ import annotations

import numpy as np

from pyengine.records import EVENT_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, InMemoryOrderStore, InMemoryTradeStore

MILLION = 10**6


def million_orders(ids: np.ndarray) -> np.ndarray:
    """Make open orders of 1,000 users on 10 instruments."""
    rows = np.zeros(len(ids), ORDER_RECORD_DTYPE)
    number = np.arange(len(ids))
    rows["order_id"], rows["side"], rows["order_type"], rows["status"] = ids, 1 + number % 2, 2, 1
    rows["qty_lots"] = rows["remaining_lots"] = 10
    rows["user"], rows["instrument"], rows["price_ticks"] = 1 + number % 1000, number % 10, number * 7919 % 1009
    rows["version"] = rows["entered"] = number + 1
    return rows


def test_a_million_orders_come_and_go() -> None:
    store = InMemoryOrderStore()
    ids = np.random.default_rng(7).permutation(np.arange(MILLION, dtype="u8") * np.uint64(0x9E3779B97F4A7C15))
    rows = million_orders(ids)
    assert store.save_batch(rows) == MILLION
    store.check()
    assert (store.get_all_array()["order_id"] == np.sort(ids)).all()
    assert len(store.get_by_user_array(17)) == MILLION // 1000
    bids = store.get_by_side_array("buy", 4)
    assert len(bids) == MILLION // 10
    expected = rows[(rows["side"] == 1) & (rows["instrument"] == 4)]
    expected = expected[np.lexsort((expected["entered"], -expected["price_ticks"]))]
    assert (bids == expected).all()
    rows["status"], rows["version"] = 4, MILLION + 1
    assert store.save_batch(rows) == MILLION
    assert (store.open_count, len(store.get_by_side("buy"))) == (0, 0)
    assert store.remove_finished(keep=10) == MILLION - 10
    store.check()
    assert (np.sort(store.get_all_array()["order_id"]) == np.sort(ids[-10:])).all()


def test_a_million_events_in_one_array() -> None:
    orders, trades = InMemoryOrderStore(keep_finished=1000), InMemoryTradeStore(5000)
    count = MILLION // 3
    events = np.zeros(3 * count, EVENT_DTYPE)
    events["seq"] = events["ts_ns"] = np.arange(1, len(events) + 1)
    events["side"], events["qty_lots"] = 1, 3
    makers, takers, fills = events[0::3], events[1::3], events[2::3]
    even, odd = np.arange(count) * 2, np.arange(count) * 2 + 1
    makers["kind"], makers["order_id"], makers["detail"] = 1, even, 2 << 32 | 5
    takers["kind"], takers["order_id"], takers["detail"], takers["side"] = 1, odd, 1 << 32 | 6, 2
    fills["kind"], fills["order_id"], fills["detail"], fills["value"] = 3, odd, even, np.arange(1, count + 1)
    orders.apply(events)
    trades.apply(events)
    orders.check()
    trades.check()
    assert (len(orders), orders.open_count, orders.unmatched_events) == (1000, 0, 0)
    assert (trades.total, trades.newest_trade_id, len(trades)) == (count, count, 5000)
