"""Comparisons of what a replay made with what the recording says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyengine.records import ORDER_STATE_DTYPE, Records, Side
from pyengine.replay.kinds import Ints

if TYPE_CHECKING:
    from pyengine.engine import Engine

_NO_POINTS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    label : str
        What was compared.
    unit : str
        What is counted.
    expected, matched : int
        How many the recording has, and how many of them came out identical.
    difference : str or None
        The first difference, with the row and column it is in; None when there is none.
    detail : str
        What else is worth telling.
    """

    label: str
    unit: str
    expected: int
    matched: int
    difference: str | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether every row came out, and nothing beside."""
        return self.difference is None and self.matched == self.expected


@dataclass(frozen=True, slots=True)
class Verification:
    """What all checks of a replay found."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there was something to compare and all of it was identical."""
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    @property
    def difference(self) -> str | None:
        """The first difference, or None."""
        for finding in self.findings:
            if not finding.ok:
                return f"{finding.label}: {finding.difference or 'rows are missing'}"
        return None


@dataclass(slots=True)
class Moment:
    """Where a replay is: the engine, how many commands it has run, and the time of the last of them."""

    engine: Engine
    commands: int = 0
    ts_ns: int = 0


class Check:
    """Base of checks: looks at nothing and finds nothing. A check serves one replay.

    Attributes
    ----------
    label : str
        What is compared.
    points : ndarray of int64
        Numbers of commands after which `look` is to be called; negative ones are left out.
    """

    def __init__(self, label: str, points: NDArray[np.int64] = _NO_POINTS) -> None:
        self.label = label
        self.points = points
        self.matched = 0
        self.difference: str | None = None

    def look(self, moment: Moment, index: int) -> None:
        """Look at the book at the point of this index."""

    def trades(self, trades: Records) -> None:
        """Take the next trades of the engine, in order."""

    def passed(self, moment: Moment) -> None:
        """Take note that more commands were run: between points, as many as the tape gives at a time."""

    def finish(self, moment: Moment) -> Finding | None:  # noqa: ARG002  for those that override it
        """Say what was found; None if the check was only there to watch."""
        return None

    def differ(self, row: int, what: str, expected: object, found: object) -> None:
        """Keep the first difference; `row` counts from 0 and is told from 1."""
        if self.difference is None:
            self.difference = f"row {row + 1}: {what} must be {expected}, was {found}"


class TradesCheck(Check):
    """All trades, in order.

    Parameters
    ----------
    expected : mapping of name to ndarray
        Columns named by TRADE_DTYPE, any of them.
    """

    def __init__(self, expected: Mapping[str, Ints], label: str = "recorded trades") -> None:
        super().__init__(label)
        self.expected = expected
        self.rows = len(next(iter(expected.values())))
        self.seen = 0

    def trades(self, trades: Records) -> None:
        """Compare the next trades. O(n)."""
        n = min(len(trades), self.rows - self.seen)
        equal = np.ones(n, bool)
        for name, values in self.expected.items():
            equal &= trades[name][:n] == values[self.seen : self.seen + n]
        if not equal.all():
            k = int(equal.argmin())
            row = self.seen + k
            name = next(name for name, values in self.expected.items() if trades[name][k] != values[row])
            self.differ(row, name, self.expected[name][row], trades[name][k])
        if n < len(trades):
            extra = trades[n]
            text = f"{extra['taker_id']} with {extra['maker_id']}, {extra['qty_lots']} at {extra['price_ticks']}"
            self.differ(self.rows, "the recording's end", "reached", f"followed by another trade: {text}")
        self.matched += int(equal.sum())
        self.seen += len(trades)

    def finish(self, moment: Moment) -> Finding:  # noqa: ARG002  the trades have all been seen
        """Say what was found."""
        if self.seen < self.rows:
            row = {name: int(values[self.seen]) for name, values in self.expected.items()}
            self.differ(self.seen, "trade", row, "not made")
        return Finding(self.label, "trades", self.rows, self.matched, self.difference)


class BookCheck(Check):
    """The orders of one book at the end, with their queue order.

    Parameters
    ----------
    expected : ndarray of ORDER_STATE_DTYPE
        Bids then asks, best price first, each level in queue order. `user` isn't compared.
    instrument : int
        Number of the book.
    """

    def __init__(self, expected: Records, instrument: int = 0, label: str = "final book") -> None:
        super().__init__(label)
        self.expected = expected
        self.instrument = instrument

    def finish(self, moment: Moment) -> Finding:
        """Compare. O(orders)."""
        book = moment.engine.books[self.instrument]
        found = book.orders()
        n = min(len(found), len(self.expected))
        equal = np.ones(n, bool)
        names = ("side", "price_ticks", "order_id", "qty_lots")
        for name in names:
            equal &= found[name][:n] == self.expected[name][:n]
        if not equal.all():
            k = int(equal.argmin())
            name = next(name for name in names if found[name][k] != self.expected[name][k])
            self.differ(k, name, self.expected[name][k], found[name][k])
        if len(found) != len(self.expected):
            self.differ(n, "number of orders", len(self.expected), len(found))
        bids, asks = book.depth()
        detail = f"{len(bids) + len(asks):,} levels, queue order included"
        return Finding(self.label, "orders", len(self.expected), int(equal.sum()), self.difference, detail)


def book_state(side: Ints, price: Ints, place: Ints, order_id: Ints, qty: Ints) -> Records:
    """Make what `BookCheck` takes of columns in any order. O(n log n)."""
    state = np.zeros(len(side), ORDER_STATE_DTYPE)
    for name, values in (("side", side), ("price_ticks", price), ("order_id", order_id), ("qty_lots", qty)):
        state[name] = values
    better_first = np.where(side == Side.BUY, -price, price)
    return state[np.lexsort((place, better_first, side))]


@dataclass(frozen=True)
class DepthRows:
    """The best levels of a book at many moments.

    Parameters
    ----------
    price_ticks, qty_lots : ndarray of int64, shape (rows, 2, levels)
        Price and size by row, side (bids, asks) and level, best first; a level of size 0 isn't there.
    orders : ndarray of int64 of the same shape, or None
        Number of orders, if known.
    """

    price_ticks: Ints
    qty_lots: Ints
    orders: Ints | None = None

    @property
    def levels(self) -> int:
        """Levels of each side."""
        return int(self.price_ticks.shape[2])

    def compare(self, row: int, sides: Sequence[Records]) -> tuple[str, object, object] | None:
        """Compare one row with the levels of a book; give what differs, what it must be, and what it was."""
        for k, (name, levels) in enumerate(zip(("bid", "ask"), sides, strict=True)):
            sizes = self.qty_lots[row, k]
            there = int(np.count_nonzero(sizes))
            columns: list[tuple[str, Any]] = [("price_ticks", self.price_ticks[row, k]), ("qty_lots", sizes)]
            if self.orders is not None:
                columns.append(("orders", self.orders[row, k]))
            for column, values in columns:
                must, was = values[:there].tolist(), levels[column].tolist()
                if must != was:
                    return f"{column} of the {name}s", must, was
        return None


class DepthCheck(Check):
    """The best levels of one book after given commands.

    Parameters
    ----------
    rows : DepthRows
        What must be there.
    points : ndarray of int64, shape (rows,)
        After how many commands each row holds.
    """

    def __init__(self, rows: DepthRows, points: NDArray[np.int64], instrument: int = 0, label: str = "depth") -> None:
        super().__init__(label, points)
        self.rows = rows
        self.instrument = instrument

    def look(self, moment: Moment, index: int) -> None:
        """Compare one row. O(levels)."""
        difference = self.rows.compare(index, moment.engine.books[self.instrument].depth(self.rows.levels))
        if difference is None:
            self.matched += 1
        else:
            self.differ(index, *difference)

    def finish(self, moment: Moment) -> Finding:  # noqa: ARG002  all rows have been seen
        """Say what was found."""
        detail = f"{self.rows.levels} levels a side, prices and sizes"
        detail += ", order counts" if self.rows.orders is not None else ""
        return Finding(self.label, "rows", len(self.points), self.matched, self.difference, detail)


class FillsCheck(Check):
    """Fills that a feed reports: the order was there with that much open, and the feed takes exactly that much off it.

    Parameters
    ----------
    order_id, qty_lots : ndarray, shape (fills,)
        The resting order, and how much of it was filled.
    before, after : ndarray of int64, shape (fills,)
        Commands that had been run when the fill was reported, and when the feed had taken it off the order; -1 if it
        never did.
    """

    def __init__(self, order_id: Ints, qty_lots: Ints, before: Ints, after: Ints, label: str = "recorded fills") -> None:
        super().__init__(label, np.concatenate([before, after]))
        self.order_id, self._qty_lots, self._after = order_id, qty_lots, after
        self._open: dict[int, int] = {}

    def look(self, moment: Moment, index: int) -> None:
        """Look up the order of a fill. O(1)."""
        fill = index % len(self.order_id)
        order_id, qty = int(self.order_id[fill]), int(self._qty_lots[fill])
        order = moment.engine.order(order_id)
        open_lots = 0 if order is None else int(order.qty_lots)
        if index == fill:
            self._open[fill] = open_lots
            if open_lots < qty:
                self.differ(fill, f"open size of order {order_id}", f"at least {qty}", open_lots)
            return
        before = self._open.pop(fill)
        if before - open_lots == qty:
            self.matched += 1
        else:
            self.differ(fill, f"what order {order_id} lost", qty, before - open_lots)

    def finish(self, moment: Moment) -> Finding:  # noqa: ARG002  all fills have been seen
        """Say what was found."""
        for fill in np.flatnonzero(self._after < 0):
            self.differ(int(fill), f"order {self.order_id[fill]}", "reduced after its fill", "left as it was")
        return Finding(self.label, "fills", len(self.order_id), self.matched, self.difference)
