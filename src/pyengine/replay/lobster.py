"""LOBSTER message files, alone or with the order book file that goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.instrument import Instrument
from pyengine.records import COMMAND_DTYPE, Action, Flag, Records, Side
from pyengine.replay.checks import Check, DepthRows, Finding, Moment
from pyengine.replay.compression import bare_name
from pyengine.replay.errors import ReplayError
from pyengine.replay.feed import BookEvents, Op, map_events
from pyengine.replay.kinds import Code, Decimal, Integer, Ints, Kind
from pyengine.replay.tape import PlainTape, Prints, Tape
from pyengine.replay.text import csv_header, read_csv

if TYPE_CHECKING:
    import pyengine

_ADD, _REDUCE, _DELETE, _EXECUTE, _EXECUTE_HIDDEN = 1, 2, 3, 4, 5
_TAKES_OFF = (_REDUCE, _DELETE, _EXECUTE)
_OPS = np.array([0, Op.ADD, Op.REDUCE, Op.REDUCE, Op.REDUCE, 0, 0, 0], np.uint8)

_MESSAGE: dict[str, Kind] = {
    "time": Decimal(9),
    "type": Code({str(k): k for k in range(1, 8)}),
    "order_id": Integer("<u8"),
    "size": Integer(),
    "price": Integer(),
    "direction": Code({"1": int(Side.BUY), "-1": int(Side.SELL), "0": 0}),
}
_TICK_SIZE = "0.0001"
_PARTS = ["action", "side", "flags", "order_id", "price_ticks", "qty_lots", "ts_ns"]
_REST = 1 << 63  # in ids: what was at a price before its orders became known, in one order


def lobster_tape(path: Path, *, expected: Path | None = None, instrument: Instrument | None = None) -> Tape:
    """Open a LOBSTER message file.

    Parameters
    ----------
    path : Path
        The messages: time, type, order id, size, price, direction.
    expected : Path, optional
        The order book file. If it isn't given, the file beside `path` whose name has ``_orderbook_`` for ``_message_`` is
        taken when there is one.
    instrument : Instrument, optional
        What is traded; its tick must be 0.0001 dollars. By default the symbol is the first word of the name.

    Returns
    -------
    Tape
        With an order book: starts from its first row, and checks each further row to be the one before with one message
        applied. Without: the messages alone; those about orders from before the file are refused by the engine.
        Time is nanoseconds after midnight.

    Raises
    ------
    ReplayError
        A file is damaged, or the two have different numbers of rows.
    """
    messages = read_csv(path, _MESSAGE, names=list(_MESSAGE))
    instrument = instrument or Instrument(path.name.partition("_")[0] or "LOBSTER", _TICK_SIZE, 1)
    executed = (messages["type"] == _EXECUTE) | (messages["type"] == _EXECUTE_HIDDEN)
    taker = np.array([0, Side.SELL, Side.BUY], np.uint8)[messages["direction"]]  # the direction is the resting order's
    columns = (messages["time"], messages["price"], messages["size"], taker)
    prints = Prints(*(column[executed] for column in columns))
    beside = path.with_name(path.name.replace("_message_", "_orderbook_"))
    book = expected or (beside if beside != path and beside.is_file() else None)
    if book is not None:
        rows = _read_book(book)
        if len(rows.price_ticks) != len(messages["time"]):
            found = str(len(rows.price_ticks))
            raise ReplayError(book, f"{len(messages['time'])}, one for each message", found, subject="number of rows")
        return LobsterTape(path.name, [instrument], messages, rows, prints)
    events = BookEvents(
        op=_OPS[messages["type"]],
        order_id=messages["order_id"],
        side=messages["direction"],
        price_ticks=messages["price"],
        qty_lots=messages["size"],
        ts_ns=messages["time"],
        instrument=np.zeros(len(messages["time"]), np.uint32),
    )
    mapped = map_events(events)
    if mapped.excess >= 0:
        raise ReplayError(path, "at most what its order has open", "more", row=mapped.excess + 1, column="size")
    return PlainTape(path.name, [instrument], mapped.commands, prints=prints)


def _read_book(path: Path) -> DepthRows:
    """Read an order book file: ask price, ask size, bid price, bid size, level by level."""
    width = len(csv_header(path))
    if width % 4:
        raise ReplayError(path, "four columns for each level", f"{width} columns")
    names = [f"{k // 4 + 1}. {what}" for k in range(0, width, 4) for what in ("ask", "ask size", "bid", "bid size")]
    table = read_csv(path, dict.fromkeys(names, Integer()), names=names)
    cube = np.stack([table[name] for name in names], axis=1).reshape(-1, width // 4, 2, 2)
    cube = cube[:, :, ::-1, :].transpose(3, 0, 2, 1)  # price or size, row, bid or ask, level
    return DepthRows(np.ascontiguousarray(cube[0]), np.ascontiguousarray(cube[1]))


@dataclass(frozen=True)
class LobsterTape:
    """Messages with the book after each: row i must be row i - 1 with message i applied.

    The file shows so many levels and has no message about what lies deeper. So a level that leaves the view is forgotten,
    and one that comes into view is taken from the row that shows it, as one order.
    """

    name: str
    instruments: Sequence[Instrument]
    messages: dict[str, Ints]
    book: DepthRows
    prints: Prints

    @property
    def users(self) -> int:
        """None: the messages are anonymous."""
        return 0

    @property
    def rows(self) -> int:
        """Not known beforehand: it depends on what comes into view."""
        return 0

    @property
    def seed(self) -> Records:
        """Commands that build the first row."""
        return _levels(self.book, 0, int(self.messages["time"][0]))

    def checks(self) -> Sequence[Check]:
        """Make a fresh check of the rows."""
        return [LobsterCheck(self.book)]

    def batches(self, engine: pyengine.Engine, checks: Sequence[Check]) -> Iterator[Records]:
        """Give the commands of one message after another, and between them what brings the view in line."""
        book = engine.books[0]
        rows = [check for check in checks if isinstance(check, LobsterCheck)]
        columns = (self.messages[name].tolist() for name in _MESSAGE)
        for row, (ts_ns, kind, order_id, size, price, side) in enumerate(zip(*columns, strict=True)):
            if row == 0:
                continue
            if kind == _ADD:
                yield _commands((Action.LIMIT, side, order_id, price, size), ts_ns=ts_ns)
            elif kind in _TAKES_OFF:
                yield self._taken_off(engine, order_id, (side, price), size, ts_ns)
            sides = book.depth()
            difference = self._difference(row, sides)
            for check in rows:
                check.row(row, difference)
            view = _levels(self.book, row, ts_ns) if difference else self._view(row, book, sides, ts_ns)
            if len(view):
                yield view

    @staticmethod
    def _taken_off(
        engine: pyengine.Engine, order_id: int, place: tuple[int, int], size: int, ts_ns: int
    ) -> Records:
        """Take some off an order, or off the rest of its level if the order isn't known."""
        side, price = place
        order = engine.order(order_id)
        if order is None:
            order_id = _rest_id(side, price)
            order = engine.order(order_id)
        left = (0 if order is None else int(order.qty_lots)) - size
        if left > 0:
            return _commands((Action.AMEND, 0, order_id, price, left), ts_ns=ts_ns)
        return _commands((Action.CANCEL, 0, order_id, 0, 0), ts_ns=ts_ns)

    def _difference(self, row: int, sides: Sequence[Records]) -> tuple[str, object, object] | None:
        """Compare the levels that are known with a row; what the row shows beyond them has just come into view."""
        for k, (name, levels) in enumerate(zip(("bid", "ask"), sides, strict=True)):
            there = int(np.count_nonzero(self.book.qty_lots[row, k]))
            known = levels[: self.book.levels]
            for column, values in (("price_ticks", self.book.price_ticks), ("qty_lots", self.book.qty_lots)):
                must, was = values[row, k, : min(there, len(known))].tolist(), known[column].tolist()
                if must != was:
                    return f"{column} of the {name}s", must, was
        return None

    def _view(self, row: int, book: pyengine.Book, sides: Sequence[Records], ts_ns: int) -> Records:
        """Forget what left the view, and add what came into it."""
        commands = []
        for k, levels in enumerate(sides):
            if len(levels) > self.book.levels:
                orders = book.orders(k + 1)
                gone = np.isin(orders["price_ticks"], levels["price_ticks"][self.book.levels :])
                commands += [(Action.CANCEL, 0, order_id, 0, 0) for order_id in orders["order_id"][gone].tolist()]
            else:
                commands += _level_orders(self.book, row, k, len(levels))
        return _commands(*commands, ts_ns=ts_ns)


class LobsterCheck(Check):
    """Each row of an order book file against the row before with one message applied."""

    def __init__(self, book: DepthRows) -> None:
        super().__init__("rows from the row before")
        self.rows = len(book.price_ticks) - 1
        self.levels = book.levels

    def row(self, row: int, difference: tuple[str, object, object] | None) -> None:
        """Take the result of one row."""
        if difference is None:
            self.matched += 1
        else:
            self.differ(row, *difference)

    def finish(self, moment: Moment) -> Finding:  # noqa: ARG002  all rows have been seen
        """Say what was found."""
        levels = "1 level" if self.levels == 1 else f"{self.levels} levels"
        return Finding(self.label, self.rows, self.matched, self.difference, f"{levels} a side, prices and sizes")


_Order: TypeAlias = tuple[int, int, int, int, int]  # action, side, order_id, price_ticks, qty_lots


def _commands(*orders: _Order, ts_ns: int) -> Records:
    """Make commands of their parts. Prices that would trade are refused: the recording has matched already."""
    commands = np.zeros(len(orders), COMMAND_DTYPE)
    for command, (action, side, order_id, price, qty) in zip(commands, orders, strict=True):
        flags = Flag.POST_ONLY if action in {Action.LIMIT, Action.AMEND} else 0
        command[_PARTS] = (action, side, flags, order_id, price, qty, ts_ns)
    return commands


def _level_orders(book: DepthRows, row: int, k: int, start: int = 0) -> list[_Order]:
    """Put what stands at the levels of a side from `start` on into one order each."""
    levels = zip(book.price_ticks[row, k, start:].tolist(), book.qty_lots[row, k, start:].tolist(), strict=True)
    return [(Action.LIMIT, k + 1, _rest_id(k + 1, price), price, qty) for price, qty in levels if qty > 0]


def _levels(book: DepthRows, row: int, ts_ns: int) -> Records:
    """Make a row the whole book."""
    clear: _Order = (Action.MASS_CANCEL, 0, 0, 0, 0)
    return _commands(clear, *_level_orders(book, row, 0), *_level_orders(book, row, 1), ts_ns=ts_ns)


def _rest_id(side: int, price: int) -> int:
    """Number the order that stands for what was at a price before its orders were known."""
    return _REST | price << 2 | side
