"""Orders for a store in memory, and the events that drive them."""

from __future__ import annotations

import numpy as np

from pyengine.instrument import Instrument
from pyengine.records import EVENT_DTYPE, Kind
from pyengine.stores import Order

BTC = Instrument("BTC-USD", "0.01", "0.001")


def limit(order_id: int, side: str = "buy", ticks: int = 100, lots: int = 10, **fields: object) -> Order:
    """Make a limit order."""
    return Order(order_id, side, price_ticks=ticks, qty_lots=lots, **fields)


def ids(orders: list[Order]) -> list[int]:
    """List the ids in order."""
    return [order.order_id for order in orders]


def event(kind: Kind, seq: int, order_id: int, **fields: int) -> np.ndarray:
    """Make an array of one event."""
    row = np.zeros(1, EVENT_DTYPE)
    row["kind"], row["seq"], row["order_id"], row["ts_ns"] = kind, seq, order_id, 1000 + seq
    for name, value in fields.items():
        row[name] = value
    return row


def accepted(seq: int, order_id: int, lots: int = 10, ticks: int = 100, side: int = 1, user: int = 0) -> np.ndarray:
    """Make an ACCEPTED event of a limit order."""
    return event(Kind.ACCEPTED, seq, order_id, qty_lots=lots, price_ticks=ticks, side=side, detail=user | 2 << 32)


def traded(seq: int, taker: int, maker: int, lots: int) -> np.ndarray:
    """Make a TRADE event."""
    return event(Kind.TRADE, seq, taker, detail=maker, qty_lots=lots, price_ticks=100, side=2, value=seq)
