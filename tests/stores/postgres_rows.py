"""What the tests of the PostgreSQL stores have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyengine import Instrument
from pyengine.records import TRADE_DTYPE, Kind
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, Trade

BTC = Instrument("BTC-USD", "0.01", "0.001")


def order(order_id: int = 1, side: Any = "buy", **changes: Any) -> Order:
    """Make an order of alice's."""
    fields: dict[str, Any] = {"user": "alice", "instrument": BTC, "price": "100.50", "qty": "0.250", "created_ns": 1_700_000_000}
    return Order(order_id, side, **(fields | changes))


def trade(trade_id: int = 1, **changes: Any) -> Trade:
    """Make a trade of two orders."""
    fields: dict[str, Any] = {"taker_id": 7, "maker_id": 8, "price_ticks": 10_050, "qty_lots": 10, "side": 1, "instrument": BTC}
    return Trade(trade_id, **(fields | changes))


def known_names() -> Names:
    """Make names for arrays: instrument 0 is BTC-USD, users 1 and 2 are alice and bob."""
    return Names([BTC], ["alice", "bob"])


def trade_rows(first: int, count: int, **fields: Any) -> np.ndarray:
    """Make an array of trades with ids from `first` on."""
    rows = np.zeros(count, TRADE_DTYPE)
    rows["trade_id"] = np.arange(first, first + count)
    rows["taker_id"], rows["maker_id"] = 2 * rows["trade_id"], 2 * rows["trade_id"] - 1
    rows["price_ticks"], rows["qty_lots"], rows["side"], rows["kind"] = 10_050, 10, 1, Kind.TRADE
    for name, value in fields.items():
        rows[name] = value
    return rows


def order_rows(first: int, count: int, **fields: Any) -> np.ndarray:
    """Make an array of resting limit orders with ids from `first` on."""
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    rows["order_id"] = np.arange(count, dtype=np.uint64) + np.uint64(first)
    rows["price_ticks"], rows["qty_lots"], rows["remaining_lots"] = 10_050, 10, 10
    rows["side"], rows["order_type"], rows["status"], rows["user"] = 1, 2, 1, 1
    for name, value in fields.items():
        rows[name] = value
    return rows
