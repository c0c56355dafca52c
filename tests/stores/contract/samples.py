"""Orders and trades for the contract."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyengine import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, Trade

BTC = Instrument("BTC-USD", "0.01", "0.001")
ETH = Instrument("ETH-USD", "0.05", "0.1")
GRIDS = [
    BTC,
    Instrument("ODD", "12.5", "0.3"),
    Instrument("COARSE", "1e5", "1e3"),
    Instrument("FINE", "1e-18", "1e-8"),
    Instrument("PRIME", "0.00000000007", "7"),
    Instrument("LIMITED", "0.5", "1", min_price="-20", max_price="99.5", min_qty=5, max_qty=500),
]

IDS = [0, 1, 2, 2**32, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
"""Order ids in their order, at the edges of 64 bits."""

TEXTS = [
    "alice",
    "Alice",
    "alice ",
    " alice",
    "O'Brien",
    '"quoted"',
    "back\\slash\\n",
    "a;DROP TABLE orders;--",
    "' OR '1'='1",
    "%s %(x)s {0} $1 ?",
    "*",
    "user_orders:*",
    "order:1",
    "a:b:c",
    "[a-z]?",
    "null",
    "NaN",
    "0",
    "-1",
    "{}",
    "[]",
    "\u00e9",
    "e\u0301",
    "\u0130\u0131",
    "\u05e9\u05dc\u05d5\u05dd",
    "日本語",
    "\U0001f600" * 60,
    "\U00020000\U00030000",
    "\ufffd",
    "x" * 255,
    "\U0001d518" * 255,
]
"""Names that are awkward to quote, to match or to encode; no two are the same."""


def order(order_id: int = 1, side: Any = "buy", **changes: Any) -> Order:
    """Make an order of alice's for BTC-USD."""
    fields: dict[str, Any] = {"user": "alice", "instrument": BTC, "price_ticks": 10_000, "qty_lots": 250}
    return Order(order_id, side, **(fields | changes))


def trade(trade_id: int = 1, **changes: Any) -> Trade:
    """Make a trade of BTC-USD."""
    fields: dict[str, Any] = {"taker_id": 7, "maker_id": 8, "price_ticks": 10_000, "qty_lots": 10, "side": 1, "instrument": BTC}
    return Trade(trade_id, **(fields | changes))


def ids(found: list[Any]) -> list[int]:
    """List the ids of orders or trades."""
    return [getattr(one, "order_id", None) if isinstance(one, Order) else one.trade_id for one in found]


def order_array(orders: list[Order], names: Names) -> np.ndarray:
    """Make the array of some orders, numbered by `names`."""
    rows = np.frombuffer(b"".join(map(bytes, orders)), ORDER_RECORD_DTYPE).copy()
    rows["user"] = [names.add_user(order.user) if isinstance(order.user, str) else 0 for order in orders]
    rows["instrument"] = [names.add_instrument(order.instrument) for order in orders if order.instrument is not None]
    return rows


def trade_array(trades: list[Trade], names: Names) -> np.ndarray:
    """Make the array of some trades, numbered by `names`."""
    rows = np.frombuffer(b"".join(map(bytes, trades)), TRADE_DTYPE).copy()
    rows["instrument"] = [names.add_instrument(trade.instrument) for trade in trades if trade.instrument is not None]
    return rows
