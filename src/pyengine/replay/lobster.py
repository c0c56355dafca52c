"""LOBSTER message files, alone or with the order book file that goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pyengine.instrument import Instrument
from pyengine.records import COMMAND_DTYPE, Action, Flag, Records, Side
from pyengine.replay.checks import Check, DepthRows, Finding, Moment
from pyengine.replay.errors import ReplayError
from pyengine.replay.feed import BookEvents, Op, map_events
from pyengine.replay.kinds import Code, Decimal, Integer, Ints, Kind
from pyengine.replay.tape import PlainTape, Prints, Tape
from pyengine.replay.text import csv_header, read_csv

if TYPE_CHECKING:
    from pyengine._core.book import Book
    from pyengine.engine import Engine

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
_LIMIT, _CANCEL, _AMEND, _CLEAR = map(int, (Action.LIMIT, Action.CANCEL, Action.AMEND, Action.MASS_CANCEL))
_POST_ONLY = int(Flag.POST_ONLY)
_PARTS = ("action", "side", "order_id", "price_ticks", "qty_lots", "ts_ns", "flags")
_PLACES = [_PARTS.index(name) if name in _PARTS else len(_PARTS) for name in COMMAND_DTYPE.names or ()]
_REST = 1 << 63  # in ids: what was at a price before its orders became known, in one order

_Level: TypeAlias = tuple[int, int]  # price_ticks, qty_lots
_Order: TypeAlias = tuple[int, int, int, int, int]  # action, side, order_id, price_ticks, qty_lots


def lobster_tape(path: Path, *, expected: Path | None = None, instrument: Instrument | None = None) -> Tape:
    """Open a LOBSTER message file.

    Parameters
    ----------
    path : Path
        The messages: time, type, order id, size, price, direction.
    expected : Path, optional
        The order book file. If it isn't given, the file beside `path` whose name has ``_orderbook_`` for ``_message_``
        is taken when there is one.
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

    The file shows so many levels and has no message about what lies deeper. So a level that leaves the view is
    forgotten, and one that comes into view is taken from the row that shows it, as one order.
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
        return _commands(*_anew(_levels(self.book, 0)), ts_ns=int(self.messages["time"][0]))

    def checks(self) -> Sequence[Check]:
        """Make a fresh check of the rows."""
        return [LobsterCheck(self.book)]

    def batches(self, engine: Engine, checks: Sequence[Check]) -> Iterator[Records]:
        """Give the commands of one message after another, and between them what brings the view in line."""
        book = engine.books[0]
        rows = [check for check in checks if isinstance(check, LobsterCheck)]
        columns = (self.messages[name].tolist() for name in _MESSAGE)
        for row, (ts_ns, kind, order_id, size, price, side) in enumerate(zip(*columns, strict=True)):
            if row == 0:
                continue
            if kind == _ADD:
                yield _commands((_LIMIT, side, order_id, price, size), ts_ns=ts_ns)
            elif kind in _TAKES_OFF:
                yield self._taken_off(engine, order_id, (side, price), size, ts_ns)
            must = _levels(self.book, row)
            known = [[level[:2] for level in levels.tolist()] for levels in book.depth()]
            equal = all(map(self._shows, must, known))
            for check in rows:
                check.row(row, None if equal else ("levels (price, size)", must, known))
            view = self._view(book, must, known) if equal else _anew(must)
            if view:
                yield _commands(*view, ts_ns=ts_ns)

    @staticmethod
    def _taken_off(engine: Engine, order_id: int, place: tuple[int, int], size: int, ts_ns: int) -> Records:
        """Take some off an order, or off the rest of its level if the order isn't known."""
        side, price = place
        order = engine.order(order_id)
        if order is None:
            order_id = _rest_id(side, price)
            order = engine.order(order_id)
        left = (0 if order is None else int(order.qty_lots)) - size
        if left > 0:
            return _commands((_AMEND, 0, order_id, price, left), ts_ns=ts_ns)
        return _commands((_CANCEL, 0, order_id, 0, 0), ts_ns=ts_ns)

    def _shows(self, must: list[_Level], known: list[_Level]) -> bool:
        """Tell whether a row shows the levels that are known; what it shows beyond them has just come into view."""
        return must[: len(known)] == known[: self.book.levels]

    def _view(self, book: Book, must: list[list[_Level]], known: list[list[_Level]]) -> list[_Order]:
        """Forget what left the view, and add what came into it."""
        commands: list[_Order] = []
        for k in range(2):
            if len(known[k]) > self.book.levels:
                left = {price for price, _ in known[k][self.book.levels :]}
                orders = book.orders(k + 1)[["order_id", "price_ticks"]].tolist()
                commands += [(_CANCEL, 0, order_id, 0, 0) for order_id, price in orders if price in left]
            else:
                commands += _in_one_order(k + 1, must[k][len(known[k]) :])
        return commands


class LobsterCheck(Check):
    """Each row of an order book file against the row before with one message applied."""

    def __init__(self, book: DepthRows) -> None:
        super().__init__("book after each message")
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
        return Finding(self.label, "rows", self.rows, self.matched, self.difference, f"{levels} a side, prices and sizes")


def _commands(*orders: _Order, ts_ns: int) -> Records:
    """Make commands of their parts. Prices that would trade are refused: the recording has matched already."""
    commands = np.zeros(len(orders), COMMAND_DTYPE)
    for k, order in enumerate(orders):
        flags = _POST_ONLY if order[0] in {_LIMIT, _AMEND} else 0
        parts = (*order, ts_ns, flags, 0)
        commands[k] = tuple([parts[place] for place in _PLACES])
    return commands


def _levels(book: DepthRows, row: int) -> list[list[_Level]]:
    """List the levels of a row, bids and asks."""
    sides = zip(book.price_ticks[row].tolist(), book.qty_lots[row].tolist(), strict=True)
    return [[(price, qty) for price, qty in zip(prices, sizes, strict=True) if qty] for prices, sizes in sides]


def _in_one_order(side: int, levels: list[_Level]) -> list[_Order]:
    """Put what stands at each level into one order."""
    return [(_LIMIT, side, _rest_id(side, price), price, qty) for price, qty in levels]


def _anew(must: list[list[_Level]]) -> list[_Order]:
    """Make a row the whole book."""
    return [(_CLEAR, 0, 0, 0, 0), *_in_one_order(1, must[0]), *_in_one_order(2, must[1])]


def _rest_id(side: int, price: int) -> int:
    """Make the id of the order that stands for what was at a price before its orders were known."""
    return _REST | price << 2 | side
