"""Book events, as market-by-order feeds tell them, turned into commands.

A feed tells what became of each order after the exchange had matched: added, made smaller, changed, gone. So its events
are applied to a book and not matched again. New and changed orders are sent as post-only: where the feed would cross
the book, the engine refuses and the difference shows, instead of trades that never were.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pyengine.commands import Commands, commands_from
from pyengine.records import Action, Flag
from pyengine.replay.kinds import Ints


class Op(IntEnum):
    """What a feed says about an order."""

    NOTHING = 0
    ADD = 1
    REDUCE = 2  # the size is what is taken off
    CHANGE = 3  # price and size are the new ones
    CLEAR = 4  # all orders of the instrument are gone
    FILL = 5  # tells of a fill; the reduction follows as an event of its own


@dataclass(frozen=True)
class BookEvents:
    """Events of a feed, a column each, shape (rows,).

    Parameters
    ----------
    op : ndarray of uint8
        An `Op`.
    order_id : ndarray of uint64
    side : ndarray of uint8
        Side of the order.
    price_ticks, qty_lots, ts_ns : ndarray of int64
    instrument : ndarray of uint32
        Number of the instrument.
    """

    op: Ints
    order_id: Ints
    side: Ints
    price_ticks: Ints
    qty_lots: Ints
    ts_ns: Ints
    instrument: Ints

    def __len__(self) -> int:
        return len(self.op)


@dataclass(frozen=True)
class Mapped:
    """A feed as commands.

    Parameters
    ----------
    commands : Commands
        One for each event that changes the book.
    run_after : ndarray of int64, shape (rows,)
        How many commands have been run once each event is applied.
    next_of_order : ndarray of int64, shape (rows,)
        The event that next changes the same order; -1 if there is none.
    excess : int
        The first event that takes more off an order than it has; -1 if there is none.
    """

    commands: Commands
    run_after: NDArray[np.int64]
    next_of_order: NDArray[np.int64]
    excess: int


def map_events(events: BookEvents) -> Mapped:
    """Turn events into commands.

    ADD becomes LIMIT; REDUCE becomes AMEND to what is left, which keeps the place in the queue, or CANCEL when nothing
    is; CHANGE becomes AMEND, or LIMIT for an order that isn't there (as feeds define it); CLEAR becomes MASS_CANCEL.

    Notes
    -----
    O(n log n): events are sorted by order, and what is open follows from a running sum between the absolute sizes.
    """
    rows, new_order = _by_order(events)
    op, qty = events.op[rows], events.qty_lots[rows]
    place = np.arange(len(rows))
    absolute = (op == Op.ADD) | (op == Op.CHANGE)
    group = np.maximum.accumulate(np.where(new_order, place, 0))
    base = np.maximum.accumulate(np.where(absolute, place, -1))
    known = base >= group
    taken = np.cumsum(np.where(op == Op.REDUCE, qty, 0))
    left = np.where(known, qty[base] - (taken - taken[base]), 0)
    was = np.where(new_order, 0, np.append(0, left[:-1]))
    excess = known & (left < 0) & (was > 0)

    action = np.zeros(len(events), "u1")
    sized = np.where(absolute, qty, left)
    gone = (sized <= 0) & (op != Op.ADD)
    changed = np.where(gone, Action.CANCEL, np.where((op == Op.CHANGE) & (was <= 0), Action.LIMIT, Action.AMEND))
    action[rows] = np.where(op == Op.FILL, 0, np.where(op == Op.ADD, Action.LIMIT, changed))
    action[events.op == Op.CLEAR] = Action.MASS_CANCEL

    price, size = np.zeros(len(events), "<i8"), np.zeros(len(events), "<i8")
    price[rows] = np.where(gone, 0, np.where(known, events.price_ticks[rows][base], events.price_ticks[rows]))
    size[rows] = np.where(gone, 0, sized)
    return Mapped(
        commands=_columns(events, action, price, size),
        run_after=np.cumsum(action != 0),
        next_of_order=_next_change(len(events), rows, op, new_order),
        excess=int(rows[excess].min()) if excess.any() else -1,
    )


def _by_order(events: BookEvents) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Sort the rows that are about one order by it, then by time; say which are the first of their order.

    Where its book is cleared an order ends, and what follows under its id is another one.
    """
    rows = np.flatnonzero((events.op != Op.CLEAR) & (events.op != Op.NOTHING))
    several = len(events) > 0 and bool((events.instrument != events.instrument[0]).any())
    keys = (events.order_id[rows], events.instrument[rows]) if several else (events.order_id[rows],)
    rows = rows[np.lexsort(keys)]
    clears = _clears_so_far(events)
    starts = np.ones(len(rows), bool)
    starts[1:] = False
    for column in (events.order_id, events.instrument, clears):
        values = column[rows]
        starts[1:] |= values[1:] != values[:-1]
    return rows, starts


def _clears_so_far(events: BookEvents) -> NDArray[np.int64]:
    """Count for each row the clears of its instrument up to there; counts of different instruments don't compare."""
    by_instrument = np.argsort(events.instrument, kind="stable")
    clears = np.zeros(len(events), np.int64)
    clears[by_instrument] = np.cumsum(events.op[by_instrument] == Op.CLEAR)
    return clears


def _next_change(count: int, rows: Ints, op: Ints, new_order: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find for each row the next one that changes the same order."""
    following = np.full(count, -1, np.int64)
    if len(rows):
        place = np.arange(len(rows))
        changes = np.where(op == Op.FILL, len(rows), place)
        nearest = np.minimum.accumulate(changes[::-1])[::-1]
        later = np.append(nearest[1:], len(rows))
        order = np.cumsum(new_order)
        same = later < len(rows)
        same[same] = order[later[same]] == order[same]
        following[rows[same]] = rows[later[same]]
    return following


def _columns(events: BookEvents, action: Ints, price: Ints, size: Ints) -> Commands:
    """Drop the rows without a command, and what an action has no use for."""
    sent = np.flatnonzero(action)
    action = action[sent]
    is_limit, is_clear = action == Action.LIMIT, action == Action.MASS_CANCEL
    arrays = {
        "action": action,
        "side": np.where(is_limit, events.side[sent], 0).astype("u1"),
        "flags": np.where(is_limit | (action == Action.AMEND), Flag.POST_ONLY, 0).astype("u1"),
        "instrument": events.instrument[sent].astype("<u4"),
        "order_id": np.where(is_clear, 0, events.order_id[sent]).astype("<u8"),
        "price_ticks": price[sent],
        "qty_lots": size[sent],
        "ts_ns": events.ts_ns[sent].astype("<i8"),
    }
    return commands_from(arrays)
