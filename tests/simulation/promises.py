"""What must be so of a backend, at any moment and at last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from simulation.backends import Backend
from simulation.journaled import BrokenPromise

from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records
from pyengine.stores import Names

Expected = Callable[[str, int | None], Records]
"""What a table is to have at an event, or at last."""

_NUMBERS = {"orders": ("order_id", "version"), "trades": ("trade_id", "seq")}
"""What tells a record from others, and of which event it is."""


def rows_of(table: str, backend: Backend) -> Records:
    """Return what a backend has."""
    return backend.array(TRADE_DTYPE if table == "trades" else ORDER_RECORD_DTYPE)


def held(table: str, backend: Backend, names: Names) -> Records:
    """Return what a backend has, in the numbers of the engine."""
    rows = rows_of(table, backend).copy()
    numbers = [names.instrument_index(each.symbol) for each in backend.names.instruments]
    rows["instrument"] = np.array([*numbers, 0], np.uint32)[rows["instrument"]]
    if table == "orders":
        known = {str(name): number for number, name in enumerate(names.users)}
        users = [0, *(known.get(str(name), 0) for name in list(backend.names.users)[1:])]
        rows["user"] = np.array(users, np.uint32)[rows["user"]]
    return rows


def check_backend(table: str, kind: str, backend: Backend, seq: int, expected: Expected) -> None:
    """See that a backend doesn't have what didn't happen until an event, nor lacks what its watermark says it has."""
    identity, key = _NUMBERS[table]
    rows = rows_of(table, backend)
    if len(rows) and rows[key].max() > seq:
        raise BrokenPromise(f"{backend.name} must not be ahead of the journal at {seq}, is at {rows[key].max()}")
    if table == "trades":
        _check_trades(kind, backend, rows, expected("trades", None))
    marks = list(backend.marks.values())
    if not marks:
        return
    if marks[0] > seq:
        raise BrokenPromise(f"{backend.name} must not have a watermark ahead of {seq}, has {marks[0]}")
    wanted = expected(table, marks[0])
    found = dict(zip(rows[identity].tolist(), rows[key].tolist(), strict=True))
    for number, version in zip(wanted[identity].tolist(), wanted[key].tolist(), strict=True):
        if found.get(number, -1) < version:
            raise BrokenPromise(
                f"{backend.name} must have {identity} {number} of event {version}, as its watermark {marks[0]} says, "
                f"has {found.get(number)}"
            )


def _check_trades(kind: str, backend: Backend, rows: Records, wanted: Records) -> None:
    """See that trades are those that happened, and without a gap where they are in order."""
    places = np.searchsorted(wanted["trade_id"], rows["trade_id"])
    fields = ["trade_id", "maker_id", "taker_id", "price_ticks", "qty_lots", "side", "seq", "ts_ns"]
    for name in fields:
        if not np.array_equal(wanted[name][np.minimum(places, len(wanted) - 1)] if len(wanted) else places, rows[name]):
            raise BrokenPromise(f"{backend.name} must have trades as they happened, {name} differs")
    if kind == "numbered" and rows["trade_id"].tolist() != list(range(1, len(rows) + 1)):
        raise BrokenPromise(f"{backend.name} must have trades without a gap, has {rows['trade_id'].tolist()}")


def compare_layer(table: str, kind: str, backend: Backend, wanted: Records, found: Records) -> int:
    """See that a backend has everything, as it happened; return how many records were compared."""
    identity, _ = _NUMBERS[table]
    if kind == "plain":
        # What it missed in an earlier life nobody knows.
        wanted = wanted[np.isin(wanted[identity], found[identity])]
        if table == "orders":
            return 0
    names = [name for name in wanted.dtype.names if name not in {"reserved", "entered"}]
    for name in names:
        if not np.array_equal(wanted[name], found[name]):
            raise BrokenPromise(
                f"{backend.name} must be equal to the journal, {name} differs: {len(found)} of {len(wanted)} records"
            )
    return len(wanted)
