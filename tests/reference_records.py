"""The words of the reference engine: one row of each record as a tuple, an instrument's limits, an order, a book.

The field order is that of the record dtypes, so that `array.tolist()` compares with a list of these.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from pyengine.records import Side

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
LARGEST = 2**62 - 1


class Command(NamedTuple):
    """One row of `COMMAND_DTYPE`; `reserved` stands for the three unnamed bytes, read as one integer."""

    action: int
    side: int = 0
    tif: int = 0
    flags: int = 0
    instrument: int = 0
    order_id: int = 0
    price_ticks: int = 0
    qty_lots: int = 0
    ts_ns: int = 0
    user: int = 0
    stp: int = 0
    aux1: int = 0
    aux2: int = 0
    reserved: int = 0


class Event(NamedTuple):
    """One row of `EVENT_DTYPE`, in its order."""

    seq: int
    ts_ns: int
    order_id: int
    detail: int
    price_ticks: int
    qty_lots: int
    value: int
    instrument: int
    kind: int
    side: int
    reason: int
    flags: int


class Outcome(NamedTuple):
    """What one command did."""

    status: int
    events: list[Event]


class Limits(NamedTuple):
    """What an instrument accepts, both ends included."""

    min_price: int = 1
    max_price: int = LARGEST
    min_qty: int = 1
    max_qty: int = LARGEST


@dataclass(eq=False, slots=True)
class Order:
    """An order at work: a taker while it matches, a maker while it rests. `eq=False`: two orders are never the same."""

    order_id: int
    user: int
    instrument: int
    side: Side
    price_ticks: int
    open_lots: int
    entry: int
    detail: int
    traded: bool = False


@dataclass(eq=False)
class Book:
    """The two queues of one instrument, each in price-time order."""

    limits: Limits
    queues: dict[Side, list[Order]] = field(default_factory=lambda: {Side.BUY: [], Side.SELL: []})

    def best(self, side: Side) -> Order | None:
        """Look at the first order in the queue of one side."""
        return self.queues[side][0] if self.queues[side] else None

    def add(self, order: Order) -> None:
        """Queue an order behind all that are better priced or as good."""
        queue = self.queues[order.side]
        queue.insert(bisect_right(queue, price_rank(order), key=price_rank), order)

    def remove(self, order: Order) -> None:
        """Take an order out of its queue."""
        self.queues[order.side].remove(order)

    def level_lots(self, side: Side, price_ticks: int, without: Order | None = None) -> int:
        """Add up what rests at one price, leaving one order out."""
        return sum(o.open_lots for o in self.queues[side] if o.price_ticks == price_ticks and o is not without)

    def would_trade(self, side: Side, price_ticks: int) -> bool:
        """Whether a limit order at this price meets the other side."""
        touch = self.best(opposite(side))
        return touch is not None and reaches(side, price_ticks, touch)

    def one_tick_off(self, side: Side) -> int:
        """Find the nearest price to the other side's best that doesn't trade with it."""
        touch = self.queues[opposite(side)][0].price_ticks
        return touch - 1 if side == Side.BUY else touch + 1

    def accepts(self, price_ticks: int, qty_lots: int) -> bool:
        """Whether the instrument takes this price, and price times quantity fits 64 bits."""
        return self.limits.min_price <= price_ticks <= self.limits.max_price and price_ticks * qty_lots <= INT64_MAX


def opposite(side: Side) -> Side:
    """Name the other side."""
    return Side.SELL if side == Side.BUY else Side.BUY


def price_rank(order: Order) -> int:
    """Rank a price inside its queue: bids from the highest, asks from the lowest."""
    return -order.price_ticks if order.side == Side.BUY else order.price_ticks


def reaches(side: Side, limit_ticks: int, maker: Order) -> bool:
    """Whether an order with this limit may trade at the maker's price."""
    return maker.price_ticks <= limit_ticks if side == Side.BUY else maker.price_ticks >= limit_ticks
