"""Records as an exchange has them, for the stores: prices around a middle, odd sizes, a hundred users, rising times."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.flows import Records
from pyengine import TRADE_DTYPE, Action, Instrument, Kind, Side, Status, Trade
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, order_from_bytes, trade_from_bytes

INSTRUMENT: Final = Instrument("BTC-USD", "0.01", "0.0001")
USERS: Final = 100
MIDDLE_TICKS: Final = 10_000_000
SPREAD_TICKS: Final = 5_000
MOST_LOTS: Final = 100_000
OPENING_NS: Final = 1_767_225_600_000_000_000
GAP_NS: Final = 10_007


def names() -> Names:
    """Make tables with the instrument and all users."""
    return Names([INSTRUMENT], [f"user {number}" for number in range(1, USERS + 1)])


def trades(first: int, count: int) -> Records:
    """Make trades with ids from `first` on; the same ids are the same trades."""
    rows = np.zeros(count, TRADE_DTYPE)
    ids = np.arange(first, first + count, dtype=np.uint64)
    drawn = scrambled(ids)
    rows["seq"] = 3 * ids
    rows["trade_id"] = ids
    rows["ts_ns"] = OPENING_NS + GAP_NS * ids.astype(np.int64)
    rows["taker_id"], rows["maker_id"] = 2 * ids, 2 * ids - 1
    rows["price_ticks"] = MIDDLE_TICKS - SPREAD_TICKS + (drawn % (2 * SPREAD_TICKS)).astype(np.int64)
    rows["qty_lots"] = 1 + (drawn >> 20) % MOST_LOTS
    rows["kind"], rows["side"] = Kind.TRADE, np.where(drawn >> 63, Side.BUY, Side.SELL)
    return rows


def orders(first: int, count: int, version: int = 1) -> Records:
    """Make resting orders with ids from `first` on; each version after the first has a lot less open."""
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    ids = np.arange(first, first + count, dtype=np.uint64)
    drawn = scrambled(ids)
    rows["order_id"] = ids
    rows["entered"] = ids
    rows["version"] = version * np.uint64(1 << 40) + ids
    rows["side"] = np.where(drawn >> 63, Side.BUY, Side.SELL)
    depth = (drawn % SPREAD_TICKS).astype(np.int64)
    rows["price_ticks"] = MIDDLE_TICKS + np.where(rows["side"] == Side.BUY, -depth, depth + 1)
    rows["qty_lots"] = MOST_LOTS + (drawn >> 20) % MOST_LOTS
    rows["remaining_lots"] = rows["qty_lots"] - (version - 1)
    rows["user"] = 1 + (drawn >> 40) % USERS
    rows["order_type"] = Action.LIMIT
    rows["status"] = Status.RESTING if version == 1 else Status.PARTIALLY_FILLED
    rows["created_ns"] = OPENING_NS + GAP_NS * ids.astype(np.int64)
    rows["updated_ns"] = rows["created_ns"] + version
    return rows


def scrambled(ids: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Draw a number for each id that has no pattern, and is the same each time."""
    x = ids * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def order_objects(rows: Records, of: Names) -> list[Order]:
    """Make objects of orders."""
    return [order_from_bytes(row.tobytes(), of.user(row["user"]), of.instrument(row["instrument"])) for row in rows]


def trade_objects(rows: Records, of: Names) -> list[Trade]:
    """Make objects of trades."""
    return [trade_from_bytes(row.tobytes(), of.instrument(row["instrument"])) for row in rows]
