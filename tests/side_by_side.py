"""An engine and the reference side by side: the same commands to both, and everything that can be seen compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from command_streams import USERS, WORLD, rows_of
from reference_book import REQUESTS, ReferenceEngine
from reference_records import Command, Event, Outcome

from pyengine import Engine, FieldError, Instrument
from pyengine.records import EVERY_INSTRUMENT, FIRST_REJECTION, Action, Flag, Kind, Reason, SelfTrade, Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pyengine import Result

NAMES = ("alice", "bob", "carol")
MODES = {1: SelfTrade.DEFAULT, 2: SelfTrade.CANCEL_MAKER, 3: SelfTrade.DECREMENT}


def new_engine(
    *,
    self_trade: SelfTrade = SelfTrade.OFF,
    modes: Mapping[int, SelfTrade] = MODES,
    ring_capacity: int = 1024,
    publish_wait_s: float = 1.0,
) -> Engine:
    """Make an engine with the books and users of the streams."""
    grids = [
        Instrument(f"BOOK-{i}", min_price=w.min_price, max_price=w.max_price, min_qty=w.min_qty, max_qty=w.max_qty)
        for i, w in enumerate(WORLD)
    ]
    engine = Engine(grids, self_trade=self_trade, ring_capacity=ring_capacity, publish_wait_s=publish_wait_s)
    for number, name in enumerate(NAMES[:USERS], start=1):
        assert engine.user(name, modes[number]) == number
    return engine


def new_reference(*, self_trade: SelfTrade = SelfTrade.OFF, modes: Mapping[int, SelfTrade] = MODES) -> ReferenceEngine:
    """Make the reference that `new_engine` is to be compared with."""
    return ReferenceEngine(WORLD, users=USERS, self_trade=self_trade, user_modes=modes)


def as_call(c: Command) -> Command | None:
    """Drop from a command what a single call can't say; None if a call can't say it at all."""
    if c.action not in REQUESTS or c.reserved or c.aux1 or c.aux2:
        return None
    if c.instrument >= len(WORLD) and not (c.action == Action.MASS_CANCEL and c.instrument == EVERY_INSTRUMENT):
        return None
    if c.action in {Action.MARKET, Action.LIMIT}:
        c = c._replace(order_id=0) if c.flags & Flag.ASSIGN_ID else c
        return c if c.action == Action.LIMIT else c._replace(flags=c.flags & Flag.ASSIGN_ID, price_ticks=0)
    if c.action == Action.AMEND:
        return c._replace(side=0, tif=0)
    bare = c._replace(tif=0, flags=0, stp=0, price_ticks=0, qty_lots=0)
    return bare._replace(side=0) if c.action == Action.CANCEL else bare._replace(order_id=0)


def call(engine: Engine, c: Command) -> Result:
    """Send a command by a fast call. It must have passed `as_call`."""
    if c.action == Action.MASS_CANCEL:
        return engine.mass_cancel_lots(c.instrument, c.side, c.user, c.ts_ns)
    book = engine.books[c.instrument]
    if c.action == Action.CANCEL:
        return book.cancel(c.order_id, c.user, c.ts_ns)
    if c.action == Action.AMEND:
        return book.amend(c.order_id, c.price_ticks, c.qty_lots, c.user, c.flags, c.ts_ns, c.stp)
    order_id = None if c.flags & Flag.ASSIGN_ID else c.order_id
    if c.action == Action.MARKET:
        return book.submit_market(c.side, c.qty_lots, order_id, c.user, c.ts_ns, c.stp, c.tif)
    flags = c.flags & ~Flag.ASSIGN_ID
    return book.submit(c.side, c.price_ticks, c.qty_lots, order_id, c.user, c.tif, flags, c.ts_ns, c.stp)


def canonical(engine: Engine) -> list[list[tuple[int, ...]]]:
    """List the resting orders of every book with their place in the queue, as the reference does."""
    return [book.orders().tolist() for book in engine.books]


def assert_same_state(engine: Engine, reference: ReferenceEngine) -> None:
    """Compare every view of every book, and let the engine check itself."""
    engine.check()
    assert canonical(engine) == reference.state()
    for index, book in enumerate(engine.books):
        levels = [reference.depth(index, side) for side in Side]
        assert [side.tolist() for side in book.depth()] == levels
        assert [book.best_bid(), book.best_ask()] == [rows[0] if rows else None for rows in levels]


def assert_same_result(result: Result, c: Command, outcome: Outcome) -> None:
    """Compare what a call returned with what the reference's events say."""
    fills = [e for e in outcome.events if e.kind == Kind.TRADE]
    assert result.status == outcome.status
    assert result.filled_lots == sum(e.qty_lots for e in fills)
    seen = [(t.seq, t.trade_id, t.taker_id, t.maker_id, t.price_ticks, t.qty_lots, t.side, t.ts_ns) for t in result.trades]
    wanted = [(e.seq, e.value, e.order_id, e.detail, e.price_ticks, e.qty_lots, e.side, e.ts_ns) for e in fills]
    assert seen == wanted
    if outcome.status < FIRST_REJECTION and c.action != Action.MASS_CANCEL:
        assert result.order_id == outcome.events[0].order_id
    last = outcome.events[-1] if outcome.events else None
    if last is not None and last.kind == Kind.CANCELLED and last.order_id == result.order_id and last.value == 0:
        assert result.reason == last.reason
        assert result.remaining_lots == 0


class SideBySide:
    """An engine with a listener that must get every event, and its reference."""

    def __init__(self, self_trade: SelfTrade = SelfTrade.OFF, ring_capacity: int = 1024) -> None:
        self.engine = new_engine(self_trade=self_trade, ring_capacity=ring_capacity)
        self.reference = new_reference(self_trade=self_trade)
        self.listener = self.engine.attach(required=True)

    def heard(self) -> list[tuple[int, ...]]:
        """Read all events that the engine has published since."""
        rows: list[tuple[int, ...]] = []
        while len(batch := self.listener.read()):
            rows += batch.tolist()
        return rows

    def by_call(self, c: Command) -> None:
        """Send one command by a call. A malformed one raises, says nothing and changes nothing."""
        outcome = self.reference.apply(c)
        if Reason.INVALID_ACTION <= outcome.status < Reason.DUPLICATE_ORDER_ID:
            self.reference.last_seq -= 1
            before = self.engine.state_hash()
            try:
                call(self.engine, c)
            except FieldError:
                assert self.heard() == []
                assert self.engine.state_hash() == before
                return
            message = f"no error, but {Reason(outcome.status).name} is wrong with it"
            raise AssertionError(message)
        assert_same_result(call(self.engine, c), c, outcome)
        assert self.heard() == outcome.events

    def by_array(self, stream: Sequence[Command]) -> NDArray[np.void]:
        """Send commands as one array; returns its events."""
        outcomes = [self.reference.apply(c) for c in stream]
        out = self.engine.run(rows_of(list(stream)))
        assert out.status.tolist() == [outcome.status for outcome in outcomes]
        expected: list[Event] = [e for outcome in outcomes for e in outcome.events]
        assert out.events.tolist() == expected
        assert out.trades.tolist() == [e for e in expected if e.kind == Kind.TRADE]
        assert self.heard() == expected
        return out.events
