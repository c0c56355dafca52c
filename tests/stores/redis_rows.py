"""Orders and trades for the tests of the stores in Redis."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import redis

from pyengine.instrument import Instrument
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records
from pyengine.stores import Names, Order, Trade

BTC = Instrument("BTC-USD", "0.5", "0.01")
ETH = Instrument("ETH-USD", "0.01", "0.001")
KEY = "trades:recent"
NOW_NS = 1_736_937_045_123_456_789
PATIENT: dict[str, Any] = {"read_timeout_s": 10.0}
"""For tests on a busy machine that aren't about deadlines."""

AWKWARD = [
    'al"ice',
    "back\\slash",
    "a:b",
    "*",
    "user:*",
    "[a-z]?",
    "日本 𠀀",
    "it's",
    "' OR 1=1 --",
    "{tag}",
    "%d %s",
    '\\"',
    "x" * 255,
]
"""Names that keys, patterns, JSON, Lua and SQL give a meaning."""


def order(order_id: int, side: int | str = "buy", **fields: Any) -> Order:
    """Make an order that is open unless told otherwise."""
    given = {"user": "alice", "instrument": BTC, "price": "100.5", "qty": "3", "created_ns": NOW_NS}
    return Order(order_id, side, **(given | fields))


def finished(order_id: int, side: int | str = "buy", **fields: Any) -> Order:
    """Make an order that is filled."""
    return order(order_id, side, **({"status": "filled"} | fields))


def trade(trade_id: int, **fields: Any) -> Trade:
    """Make a trade whose time follows from its id."""
    given = {"instrument": BTC, "ts_ns": NOW_NS + trade_id * 1_000, "seq": trade_id * 3}
    return Trade(trade_id, 10 + trade_id, 20 + trade_id, 201, 300, fields.pop("side", 1), **(given | fields))


def order_rows(first: int, count: int, *, users: int = 7, version: int = 1) -> tuple[Records, Names]:
    """Make an array of open orders, and the names it goes by."""
    names = Names([BTC, ETH], [f"user {number}" for number in range(users)])
    number = np.arange(count)
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    rows["order_id"] = first + number
    rows["price_ticks"] = 200 + number % 50
    rows["qty_lots"] = rows["remaining_lots"] = 1 + number % 9
    rows["created_ns"] = rows["updated_ns"] = NOW_NS + number
    rows["version"] = version + number
    rows["entered"] = 1 + number
    rows["instrument"] = number % 2
    rows["user"] = 1 + number % users
    rows["side"] = 1 + number // 2 % 2
    rows["order_type"] = 2
    rows["status"] = 1
    return rows, names


def trade_rows(first: int, count: int, *, step_ns: int = 1_000) -> Records:
    """Make an array of trades of instrument 0."""
    number = np.arange(count)
    rows = np.zeros(count, TRADE_DTYPE)
    rows["trade_id"] = first + number
    rows["seq"] = 2 * (first + number)
    rows["ts_ns"] = NOW_NS + (first + number) * step_ns
    rows["taker_id"] = 1_000 + number
    rows["maker_id"] = number
    rows["price_ticks"] = 201
    rows["qty_lots"] = 1 + number % 5
    rows["kind"] = 3
    rows["side"] = 1 + number % 2
    return rows


def ids(found: list[Any]) -> list[int]:
    """Return the ids of orders or trades, in their order."""
    return [one.order_id if isinstance(one, Order) else one.trade_id for one in found]


def stored_ids(client: redis.Redis) -> list[int]:
    """Return the ids of the trades in Redis, in their order."""
    return [json.loads(member)["trade_id"] for member in client.zrange(KEY, 0, -1)]
