"""Slow and obvious stand-ins for the stores: a dict of tuples and a sorted list, to hold the real ones against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

OPEN = (1, 2)


@dataclass(frozen=True)
class Row:
    """The fields of an order that its place in an answer depends on."""

    order_id: int
    side: int
    price_ticks: int
    qty_lots: int
    remaining_lots: int
    status: int
    user: int = 0
    instrument: int = 0
    version: int = 0
    entered: int = 0
    updated_ns: int = 0
    created_ns: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN


@dataclass
class OrderModel:
    """What an order store holds: rows by id, and two lists whose order is that of arrival."""

    keep_finished: int | None = None
    rows: dict[int, Row] = field(default_factory=dict)
    resting: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    def save(self, row: Row) -> bool:
        """Add or replace, unless the old version is higher."""
        old = self.rows.get(row.order_id)
        if old is not None and row.version < old.version:
            return False
        keeps_place = old is not None and old.is_open == row.is_open
        if keeps_place and old.is_open:
            keeps_place = (
                (old.instrument, old.side, old.entered, old.price_ticks)
                == (row.instrument, row.side, row.entered, row.price_ticks)
            ) and row.remaining_lots <= old.remaining_lots
        if old is not None and not keeps_place:
            (self.resting if old.is_open else self.finished).remove(row.order_id)
        self.rows[row.order_id] = row
        if not keeps_place:
            (self.resting if row.is_open else self.finished).append(row.order_id)
        self._cut()
        return True

    def update(self, row: Row) -> bool:
        """Replace what is there."""
        return row.order_id in self.rows and self.save(row)

    def remove(self, order_id: int) -> bool:
        """Forget one order."""
        row = self.rows.pop(order_id, None)
        if row is None:
            return False
        (self.resting if row.is_open else self.finished).remove(order_id)
        return True

    def remove_finished(self, keep: int) -> int:
        """Forget the oldest finished orders but `keep`."""
        return self._remove(self.finished[: max(0, len(self.finished) - keep)])

    def remove_older(self, older_than_ns: int) -> int:
        """Forget finished orders from the oldest on, while they are old enough."""
        young = (n for n, i in enumerate(self.finished) if self.rows[i].updated_ns >= older_than_ns)
        return self._remove(self.finished[: next(young, len(self.finished))])

    def by_user(self, user: int) -> list[int]:
        """List the ids of a user."""
        return sorted(row.order_id for row in self.rows.values() if row.user == user)

    def by_side(self, side: int, instrument: int | None = None) -> list[int]:
        """List the ids of a side in price-time order."""
        rows = [self.rows[i] for i in self.resting if self.rows[i].side == side]
        rows = [row for row in rows if instrument is None or row.instrument == instrument]
        sign = -1 if side == 1 else 1
        rows.sort(key=lambda r: (r.instrument, sign * r.price_ticks, r.entered, r.created_ns, r.order_id))
        return [row.order_id for row in rows]

    def accept(self, row: Row) -> None:
        """Apply an ACCEPTED event."""
        old = self.rows.get(row.order_id)
        if old is None or row.version > old.version:
            self.save(row)

    def fill(self, order_id: int, lots: int, version: int) -> None:
        """Apply one side of a TRADE event."""
        row = self._changeable(order_id, version)
        if row is not None:
            left = max(0, row.remaining_lots - lots)
            self._put(replace(row, remaining_lots=left, status=2 if left else 3, version=version, updated_ns=version))

    def cancel(self, order_id: int, left: int, version: int) -> None:
        """Apply a CANCELLED event; `left` lots stay open."""
        row = self._changeable(order_id, version)
        if row is None:
            return
        row = replace(row, version=version, updated_ns=version)
        if left == 0:
            row = replace(row, status=4)
        elif left < row.remaining_lots:
            row = replace(row, qty_lots=row.qty_lots - row.remaining_lots + left, remaining_lots=left)
        self._put(row)

    def amend(self, order_id: int, price: int, lots: int, version: int, *, keeps_place: bool) -> None:
        """Apply a REPLACED event."""
        row = self._changeable(order_id, version)
        if row is None:
            return
        filled = row.qty_lots - row.remaining_lots
        row = replace(row, price_ticks=price, qty_lots=filled + lots, remaining_lots=lots, version=version, updated_ns=version)
        if not keeps_place:
            row = replace(row, entered=version)
            self.resting.remove(order_id)
            self.resting.append(order_id)
        self._put(row)

    def _changeable(self, order_id: int, version: int) -> Row | None:
        row = self.rows.get(order_id)
        return row if row is not None and row.is_open and version > row.version else None

    def _put(self, row: Row) -> None:
        """Store a row that an event changed; its place changes only when it is done."""
        self.rows[row.order_id] = row
        if not row.is_open:
            self.resting.remove(row.order_id)
            self.finished.append(row.order_id)
            self._cut()

    def _cut(self) -> None:
        if self.keep_finished is not None:
            self.remove_finished(self.keep_finished)

    def _remove(self, ids: list[int]) -> int:
        gone = list(ids)
        for order_id in gone:
            self.remove(order_id)
        return len(gone)


@dataclass
class TradeModel:
    """What a trade store holds: the highest ids it was given, and what it dropped."""

    capacity: int
    held: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def save(self, trade_id: int, qty_lots: int) -> bool:
        """Keep a trade that is new and not older than all of a full ring."""
        if trade_id in self.held or (len(self.held) == self.capacity and trade_id < min(self.held)):
            return False
        self.held[trade_id] = qty_lots
        self.total += 1
        if len(self.held) > self.capacity:
            del self.held[min(self.held)]
        return True

    def recent(self, limit: int) -> list[int]:
        """List the newest ids, newest first."""
        return sorted(self.held, reverse=True)[:limit]

    def complete_for(self, limit: int) -> bool:
        """Whether no trade can be missing, when ids count from 1."""
        ids = self.recent(limit)
        if len(ids) < limit and (not ids or ids[-1] != 1):
            return False
        return all(a == b + 1 for a, b in pairwise(ids))
