"""What the tests of the composites share: orders, trades, and impatient layers."""

from __future__ import annotations

import numpy as np

from pyengine import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Order, Trade
from pyengine.stores.composite import LayerOptions

BTC = Instrument("BTC-USD", "0.01", "0.001")
QUICK = LayerOptions(read_deadline_s=0.05, stall_s=0.1, pause_s=0.05, longest_pause_s=0.1, linger_s=0)
"""Options of a layer that may be called out of reach within a test's patience."""


def order(order_id: int, version: int = 0, **fields: object) -> Order:
    """Make an order of alice's."""
    given: dict[str, object] = {"user": "alice", "instrument": BTC, "price": "100.5", "qty": 2, **fields}
    return Order(order_id, "buy", version=version, **given)


def trade(trade_id: int) -> Trade:
    """Make a trade."""
    return Trade(trade_id, 2 * trade_id, 2 * trade_id + 1, 10_050, 3, "buy", instrument=BTC, ts_ns=trade_id, seq=trade_id)


def order_rows(first: int, count: int, version: int = 0) -> np.ndarray:
    """Make records of orders with rising ids, for names that know one user and one instrument."""
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    rows["order_id"] = np.arange(first, first + count)
    rows["price_ticks"], rows["qty_lots"], rows["remaining_lots"], rows["version"] = 10_050, 5, 5, version
    rows["user"], rows["side"], rows["order_type"], rows["status"] = 1, 1, 2, 1
    return rows


def trade_rows(first: int, count: int) -> np.ndarray:
    """Make records of trades with rising ids, for names that know one instrument."""
    rows = np.zeros(count, TRADE_DTYPE)
    rows["trade_id"] = rows["seq"] = np.arange(first, first + count)
    rows["price_ticks"], rows["qty_lots"], rows["kind"], rows["side"] = 10_050, 1, 3, 1
    return rows


def ids(found: list[Order] | list[Trade]) -> list[int]:
    """List the ids in order."""
    return [each.order_id if isinstance(each, Order) else each.trade_id for each in found]
