"""A layer beside the journal: what it lacks, what it has that never happened, and what it has otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine._core.record_arrays import order_array, trade_array
from pyengine.journal.history import History
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records, Side

_ORDER_FIELDS = tuple(name for name in ORDER_RECORD_DTYPE.names or () if name not in {"order_id", "reserved"})
_TRADE_FIELDS = ("taker_id", "maker_id", "price_ticks", "qty_lots", "ts_ns", "instrument", "side")
"""What every layer keeps of a trade."""

_SHOWN = {"taker_id": "buy_order_id", "maker_id": "sell_order_id"}
"""What these fields hold after `_by_side`."""

_EVERY = 2**62


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One order or trade that isn't in a layer as the journal has it.

    Attributes
    ----------
    seq : int
        Sequence number of the trade, or of the last event that changed the order; of something that isn't in the journal what
        the layer says, 0 if it says nothing.
    what : str
        Such as "order 5" or "trade 7".
    problem : str
        "is missing", "isn't in the journal", or the first field that differs with both values.
    """

    seq: int
    what: str
    problem: str

    def __str__(self) -> str:
        """Write all of it in a line."""
        return f"event {self.seq}: {self.what} {self.problem}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    compared : int
        How many orders or trades the journal has of those that the layer is to have.
    to_seq : int
        Up to which event.
    absent : int
        How many of them a cache has dropped, which is no difference.
    differences : tuple of Difference
        By sequence number.
    """

    compared: int
    to_seq: int
    absent: int = 0
    differences: tuple[Difference, ...] = ()


def compare_orders(history: History, names: Names, store: Any, *, to_seq: int | None = None, cache: bool = False) -> Comparison:
    """Compare the orders of a store with those of a journal, field by field.

    Parameters
    ----------
    history : History
    names : Names
        Of the journal's engine, as of `to_seq` or later.
    store : OrderStore
    to_seq : int, optional
        The store's watermark, or less. Default: the end of the journal. Orders that changed behind it aren't looked at.
    cache : bool
        Whether the store may drop what it was given.

    Returns
    -------
    Comparison
        O(orders), in memory too. Orders that were finished before what the journal still has aren't looked at.
    """
    end = history.last_seq
    to_seq = end if to_seq is None else to_seq
    start = min(history.orders_from, to_seq)
    expected = _newest([rows for rows, _ in history.orders(start, to_seq, whole=True)])
    kept = store.get_all()
    later = _newest([rows for rows, _ in history.orders(to_seq, history.last_seq)])["order_id"]
    found, foreign = _numbered(kept, names, "order", later)
    expected = expected[~np.isin(expected["order_id"], later)]
    found = found[(found["version"] > start) | np.isin(found["order_id"], expected["order_id"])]
    absent = len(expected) - int(np.isin(expected["order_id"], found["order_id"]).sum()) if cache else 0
    differences = _differences("order", ("order_id", "version"), expected, found, _ORDER_FIELDS, may_lack=cache)
    return Comparison(len(expected), to_seq, absent, tuple(sorted([*foreign, *differences])))


def compare_trades(
    history: History, names: Names, store: Any, *, to_seq: int | None = None, newest: int | None = None
) -> Comparison:
    """Compare the trades of a store with those of a journal, as `compare_orders` does.

    Parameters
    ----------
    newest : int, optional
        How many the store keeps, if not all.
    """
    to_seq = history.last_seq if to_seq is None else to_seq
    start = min(history.trades_from, to_seq)
    expected = _joined([rows for rows, _ in history.trades(start, to_seq)], TRADE_DTYPE)
    kept = store.get_recent(_EVERY if newest is None else newest)
    later = _joined([rows for rows, _ in history.trades(to_seq, history.last_seq)], TRADE_DTYPE)["trade_id"]
    found, foreign = _numbered(kept, names, "trade", later)
    if newest is not None:
        # Trades that have come meanwhile have taken the place of as many.
        expected = expected[max(0, len(expected) - max(0, newest - len(later))) :]
    if start or newest is not None:
        found = found[found["trade_id"] >= (expected["trade_id"][0] if len(expected) else _EVERY)]
    both = (_by_side(expected), _by_side(found))
    differences = _differences("trade", ("trade_id", "seq"), *both, _TRADE_FIELDS, may_lack=False)
    return Comparison(len(expected), to_seq, 0, tuple(sorted([*foreign, *differences])))


def _differences(
    what: str, keys: tuple[str, str], expected: Records, found: Records, fields: tuple[str, ...], *, may_lack: bool
) -> Iterator[Difference]:
    """Compare rows of the same id; both by rising id, each id once."""
    by, seq = keys
    _, here, there = np.intersect1d(expected[by], found[by], assume_unique=True, return_indices=True)
    differs = np.zeros(len(here), np.bool_)
    for name in fields:
        differs |= expected[name][here] != found[name][there]
    for i in np.flatnonzero(differs):
        ours, theirs = expected[here[i]], found[there[i]]
        name = next(name for name in fields if ours[name] != theirs[name])
        shown = _SHOWN.get(name, name)
        yield Difference(int(ours[seq]), f"{what} {ours[by]}", f"has {shown} {theirs[name]}, must have {ours[name]}")
    if not may_lack:
        for row in np.delete(expected, here):
            yield Difference(int(row[seq]), f"{what} {row[by]}", "is missing")
    for row in np.delete(found, there):
        yield Difference(int(row[seq]), f"{what} {row[by]}", "isn't in the journal")


def _numbered(objects: list[Any], names: Names, what: str, later: Records) -> tuple[Records, list[Difference]]:
    """Put orders or trades, by rising id, into the numbers of the journal; what has names that it doesn't know is foreign.

    Without those that came later, whose names may have come later too.
    """
    make = order_array if what == "order" else trade_array
    known, foreign = [], []
    left_out = set(later.tolist())
    for one in objects:
        if getattr(one, f"{what}_id") in left_out:
            continue
        if names.instrument_index(one.symbol) is not None and (what == "trade" or not one.user or names.user_index(one.user)):
            known.append(one)
        else:
            foreign.append(Difference(0, f"{what} {getattr(one, f'{what}_id')}", "isn't in the journal: its names aren't"))
    rows = make(known, names, lent=True, named=True)
    ordered: Records = rows[np.argsort(rows[f"{what}_id"])]
    return ordered, foreign


def _newest(parts: list[Records]) -> Records:
    """Return the last version of each order, by rising id."""
    rows = _joined(parts, ORDER_RECORD_DTYPE)[::-1]
    _, first = np.unique(rows["order_id"], return_index=True)
    newest: Records = rows[first]
    return newest


def _joined(parts: list[Records], dtype: np.dtype[np.void]) -> Records:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _by_side(rows: Records) -> Records:
    """Name the two orders of trades as the layers do; not all of them keep who was the taker."""
    named: Records = rows.copy()
    buys = rows["side"] == Side.BUY
    named["taker_id"] = np.where(buys, rows["taker_id"], rows["maker_id"])
    named["maker_id"] = np.where(buys, rows["maker_id"], rows["taker_id"])
    return named
