"""What was written must be there: whole, layer by layer, or by counts and sums where it is millions."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from pyengine._core.json_lines import line_trade_ids, trade_lines

from bench.flows import Records, WrongResultError
from bench.market import order_objects, trade_objects
from bench.servers import run_sql
from bench.stacks import Maker, Stack
from pyengine import Instrument
from pyengine.stores import Names
from pyengine.stores.file import FileTradeStore

CHUNK: Final = 1 << 26
ENDS: Final = 10_000
"""Lines at both ends of a long file that are compared whole."""


def same(what: str, found: Any, expected: Any) -> None:
    """Raise if something isn't what was written."""
    if found == expected:
        return
    if hasattr(expected, "__len__") and not isinstance(expected, (tuple, dict)):
        message = f"{what} must be the {len(expected):,} that were written, were {len(found):,}, or others"
    else:
        message = f"{what} must be {expected}, was {found}"
    raise WrongResultError(message)


def check_orders(stack: Stack, rows: Records, names: Names) -> None:
    """See that every layer has exactly these orders."""
    stack.settle()
    expected = order_objects(rows, names)
    for kind, leaf in stack.leaves().items():
        same(f"{stack.name}, {kind}: orders", leaf.get_all(), expected)


def check_trades(stack: Stack, rows: Records, names: Names, maker: Maker) -> None:
    """See that every layer has exactly these trades, or the newest of them where it keeps no more."""
    stack.settle()
    for kind, leaf in stack.leaves().items():
        if isinstance(leaf, FileTradeStore):
            same(f"{stack.name}, {kind}: lines", maker.place_of(leaf).read_bytes(), trade_lines(rows, names))
        else:
            check_newest(f"{stack.name}, {kind}", leaf, rows[-getattr(leaf, "capacity", len(rows)) :], names)


def check_newest(what: str, store: Any, rows: Records, names: Names) -> None:
    """See that the newest trades of a store are these."""
    same(f"{what}: trades", store.get_recent(len(rows)), trade_objects(rows[::-1], names))


@dataclass(frozen=True)
class Totals:
    """What many trades come to; ids are dense from 1, so one that is missing shows in the count."""

    count: int
    newest_id: int
    quantity: Decimal

    @classmethod
    def of(cls, rows: Records, instrument: Instrument) -> Self:
        """Add up an array."""
        lots = int(rows["qty_lots"].sum())
        return cls(len(rows), int(rows["trade_id"].max(initial=0)), instrument.lots_to_qty(lots) if lots else Decimal(0))

    @classmethod
    def in_postgres(cls, url: str) -> Self:
        """Have the server add up, over a connection of its own."""
        [row] = run_sql(url, "SELECT count(*), max(trade_id), sum(quantity) FROM trades")
        return cls(row[0], row[1] or 0, row[2] or Decimal(0))

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.count + other.count, max(self.newest_id, other.newest_id), self.quantity + other.quantity)


def check_file(what: str, path: Path, first: Records, last: Records, names: Names) -> None:
    """See that a log has a line for each id from 1 to the last one's, in order, and which those at both ends are."""
    next_id = 1
    rest = b""
    with path.open("rb") as log:
        same(f"{what}: first lines", log.read(len(trade_lines(first, names))), trade_lines(first, names))
        log.seek(0)
        while block := log.read(CHUNK):
            text, _, rest = (rest + block).rpartition(b"\n")
            ids = line_trade_ids(text + b"\n")
            if not np.array_equal(ids, np.arange(next_id, next_id + len(ids))):
                message = f"{what}: ids must be dense and rise from {next_id}, were others among {len(ids)}"
                raise WrongResultError(message)
            next_id += len(ids)
        tail = trade_lines(last, names)
        log.seek(-len(tail), 2)
        same(f"{what}: last lines", log.read(), tail)
    same(f"{what}: lines", next_id - 1, int(last["trade_id"][-1]))
    same(f"{what}: end", rest, b"")
