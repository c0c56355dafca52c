"""The engine under the fuzzer, and what has to be true of it whatever the commands were.

Events have dense numbers, their counts fit the statuses, lots are conserved on each side of each book, consumers hear what
was said or know what they missed, stores follow, and `check()` finds every structure as it should be.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from fuzz_inputs import LARGEST, PRICE, Octets, Rng, Sizes

from pyengine import Consumer, Engine, Instrument
from pyengine.commands import Commands
from pyengine.errors import FieldError, RingFullError, UnknownInstrument
from pyengine.records import (
    COMMAND_COLUMNS,
    COMMAND_DTYPE,
    EVENT_DTYPE,
    FIRST_REJECTION,
    Action,
    Flag,
    Kind,
    Reason,
    SelfTrade,
    Status,
)
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyengine import Result, Run

DEEP_IDS = 12_000
"""More ids than these make books so deep that the engine looks ahead in the commands."""

KNOWN = np.zeros(256, np.bool_)
KNOWN[[*Status, *(reason for reason in Reason if reason >= FIRST_REJECTION)]] = True
BOOKS = (
    Instrument("PLAIN"),
    Instrument("WIDE"),
    Instrument("TIGHT", min_price=90, max_price=110, min_qty=2, max_qty=500),
    Instrument("BELOW-ZERO", min_price=-LARGEST, max_price=LARGEST),
    Instrument("ONE-PRICE", min_price=PRICE, max_price=PRICE),
)
SHAPES = (
    "packed",
    "packed",
    "packed",
    "bytes",
    "strided",
    "backwards",
    "misaligned",
    "repeated",
    "columns",
    "mixed columns",
)


class Finding(AssertionError):
    """Something is not as it must be."""


def require(true: object, what: str) -> None:
    """Report what isn't true."""
    if not true:
        raise Finding(what)


def shaped(rng: Rng, rows: NDArray[np.void], shape: str) -> tuple[NDArray[np.void], Any]:
    """Lay rows out in memory in some way; returns what they say then, since columns can't say all, and what to run."""
    count = len(rows)
    if shape == "bytes":
        return rows, np.frombuffer(rows.tobytes(), COMMAND_DTYPE) if count else rows
    if shape == "strided":
        apart = int(rng.integers(2, 4))
        spread = np.frombuffer(bytearray(rng.bytes(count * apart * 64)), COMMAND_DTYPE) if count else rows
        spread[::apart] = rows
        return rows, spread[::apart]
    if shape == "repeated" and count:
        repeated = np.broadcast_to(rows[:1], count)
        return repeated.copy(), repeated
    if shape == "backwards":
        return rows, rows[::-1].copy()[::-1]
    if shape == "misaligned":
        octets = np.zeros(count * 64 + 8, np.uint8)
        at = int(rng.integers(1, 8))
        octets[at : at + count * 64] = rows.view(np.uint8)
        return rows, octets[at : at + count * 64].view(COMMAND_DTYPE)
    if shape.endswith("columns"):
        rows = rows.copy()
        rows["reserved"] = 0
        columns = {name: rows[name] for name in COMMAND_COLUMNS}
        for name in COMMAND_COLUMNS if shape == "mixed columns" and count else ():
            if name in {"ts_ns", "tif", "stp", "aux1", "aux2"} and rng.random() < 0.5:
                rows[name] = rows[name][0]
                columns[name] = np.broadcast_to(rows[name][:1].copy(), count)
            elif rng.random() < 0.5:
                columns[name] = rows[name].copy()
        return rows, Commands(columns, count)
    return rows, rows


class Listener:
    """A consumer, and the events that it may still hold."""

    def __init__(self, engine: Engine, *, required: bool) -> None:
        self.consumer: Consumer = engine.attach(required=required, name="fuzz")
        self.required = required
        self.at = engine.next_seq
        self.missed = 0
        self.held: list[tuple[Octets, bytes]] = []

    def hear(self, said: NDArray[np.void], limit: int | None, *, hold: bool) -> None:
        """Read one batch; it goes on where the last one ended, but for what is known to be missed."""
        batch = self.consumer.read(limit)
        gone = self.consumer.missed_count - self.missed
        self.missed += gone
        require(not (gone and self.required), "a required consumer missed events")
        if not len(batch):
            self.at += gone
            return
        require(np.array_equal(batch["seq"], self.at + gone + np.arange(len(batch), dtype=np.uint64)), "a gap unheard of")
        self.at = int(batch["seq"][-1]) + 1
        known = np.isin(batch["seq"], said["seq"]) if len(said) else np.zeros(len(batch), np.bool_)
        if known.any():
            first = int(batch["seq"][known][0] - said["seq"][0])
            require(batch[known].tobytes() == said[first : first + known.sum()].tobytes(), "a consumer heard otherwise")
        if hold:
            self.held.append((batch, batch.tobytes()))

    def let_go(self) -> None:
        """Drop what is held; nobody may have written to it."""
        for batch, copy in self.held:
            require(batch.tobytes() == copy, "a batch changed while it was held")
        self.held.clear()


class Target:
    """One engine with its listeners, and a digest of all that came out of it."""

    def __init__(self, rng: Rng, *, deep: bool) -> None:
        self.rng = rng
        self.digest = hashlib.blake2b(digest_size=8)
        self.ids = int(rng.choice([20, 200, 1500])) if not deep else int(rng.integers(DEEP_IDS + 1, 2 * DEEP_IDS))
        own: dict[str, Any] = {}
        if rng.random() < 0.4:
            kept = {} if rng.random() < 0.5 else {"keep_finished": int(rng.choice([0, 1, 100]))}
            own["order_store"] = InMemoryOrderStore(**kept)
            own["trade_store"] = InMemoryTradeStore(int(rng.choice([1, 50, 1000])))
        extra = [Instrument(f"EMPTY-{number}") for number in range(int(rng.choice([0, 0, 3, 100])))]
        self.engine = Engine(
            [*BOOKS, *extra],
            ring_capacity=int(rng.choice([64, 64, 128, 1024, 65536])),
            self_trade=SelfTrade(int(rng.integers(1, 6))),
            capacity=int(rng.choice([0, 0, 5000])),
            publish_wait_s=0,
            **own,
        )
        for number in range(int(rng.choice([1, 40, *[3] * 14]))):
            self.engine.user(f"user {number}", SelfTrade(int(rng.integers(0, 6))))
        self.stores = list(own.values())
        self.listeners: list[Listener] = []
        self.said = np.empty(0, EVENT_DTYPE)
        self.lots = self.resting_lots()

    @property
    def sizes(self) -> Sizes:
        """Numbers of books and users."""
        return Sizes(len(self.engine.books), self.engine.user_count)

    @property
    def waits(self) -> bool:
        """Whether somebody has to read what the engine says."""
        return any(listener.required for listener in self.listeners)

    def resting_lots(self) -> NDArray[np.uint64]:
        """Sum the open lots of each side of each book, modulo 2**64."""
        depths = [side["qty_lots"].astype(np.uint64).sum() for book in self.engine.books for side in book.depth()]
        return np.array(depths, np.uint64)

    def run(self, rows: NDArray[np.void]) -> Run:
        """Run rows laid out somehow, and look at everything that came out."""
        engine = self.engine
        rows, given = shaped(self.rng, rows, str(self.rng.choice(SHAPES)))
        wants_events = self.rng.random() < 0.9
        first_seq, first_trade, before = engine.next_seq, engine.next_trade_id, rows.tobytes()
        out = engine.run(given, events=wants_events)
        require(len(out.status) == len(rows) and KNOWN[out.status].all(), "a status that doesn't exist")
        require(rows.tobytes() == before, "the caller's commands were changed")
        self.digest.update(out.status.tobytes())
        if wants_events:
            self.said = out.events
            self.digest.update(out.events.tobytes())
            self.look_at_events(rows, out, first_seq, first_trade)
        if not self.waits:
            require(not (out.status == Reason.RING_FULL).any(), "nobody has to read, but the ring is full")
        self.settle()
        return out

    def look_at_events(self, rows: NDArray[np.void], out: Run, first_seq: int, first_trade: int) -> None:
        """Hold the events of a run against its statuses and commands."""
        events, kinds, accepted = out.events, out.events["kind"], out.status < FIRST_REJECTION
        numbers = np.uint64(first_seq) + np.arange(len(events), dtype=np.uint64)
        require(np.array_equal(events["seq"], numbers), "sequence numbers aren't dense")
        require(self.engine.next_seq == first_seq + len(events), "the next number isn't the next")
        require(((kinds >= Kind.ACCEPTED) & (kinds <= Kind.REPLACED)).all(), "a kind that doesn't exist")
        trades = events[kinds == Kind.TRADE]
        require(out.trades.tobytes() == trades.tobytes(), "the trades aren't the trades among the events")
        require(np.array_equal(trades["value"], first_trade + np.arange(len(trades))), "trade ids aren't dense")
        new = np.isin(rows["action"], (Action.MARKET, Action.LIMIT))
        counts = np.bincount(kinds, minlength=6)
        refused = (out.status >= FIRST_REJECTION) & (out.status < Reason.RING_FULL)
        require(counts[Kind.ACCEPTED] == (accepted & new).sum(), "accepted orders and their statuses differ")
        require(counts[Kind.REPLACED] == (accepted & (rows["action"] == Action.AMEND)).sum(), "replacements differ")
        require(counts[Kind.REJECTED] == refused.sum(), "rejections and their statuses differ")
        real = events[kinds != Kind.REJECTED]
        require((real["qty_lots"] > 0).all(), "an event of no lots")
        require(np.isin(real["side"], (1, 2)).all() and (real["instrument"] < self.sizes.books).all(), "an event of no book")
        self.look_at_lots(real)

    def look_at_lots(self, events: NDArray[np.void]) -> None:
        """Lots that came, less what was traded and taken off, are the lots that rest."""
        place = events["instrument"].astype(np.intp) * 2 + events["side"] - 1
        lots, kinds = events["qty_lots"].astype(np.uint64), events["kind"]
        expected = self.lots.copy()
        came, went = np.isin(kinds, (Kind.ACCEPTED, Kind.REPLACED)), np.isin(kinds, (Kind.TRADE, Kind.CANCELLED))
        replaced, traded = kinds == Kind.REPLACED, kinds == Kind.TRADE
        np.add.at(expected, place[came], lots[came])
        np.subtract.at(expected, place[replaced], events["value"].astype(np.uint64)[replaced])
        np.subtract.at(expected, place[went], lots[went])
        np.subtract.at(expected, place[traded] ^ 1, lots[traded])
        require(np.array_equal(expected, self.resting_lots()), "lots were lost or made")

    def settle(self) -> None:
        """Bring the engine's own check, the stores and the listeners up to now."""
        self.engine.check()
        self.lots = self.resting_lots()
        for listener in self.listeners:
            if self.rng.random() < 0.8:
                for _ in range(int(self.rng.integers(1, 5))):
                    limit = int(self.rng.integers(0, 200)) if self.rng.random() < 0.3 else None
                    listener.hear(self.said, limit, hold=self.rng.random() < 0.2)
            if self.rng.random() < 0.5:
                listener.let_go()
        for store in self.stores:
            store.check()
        if self.stores:
            require(self.stores[0].open_count == self.engine.resting_orders, "the order store lost count")

    def change_listeners(self) -> None:
        """Let a listener come or go."""
        if self.listeners and self.rng.random() < 0.5:
            listener = self.listeners.pop(int(self.rng.integers(len(self.listeners))))
            listener.consumer.close()
            listener.let_go()
        elif len(self.listeners) < 4:
            self.listeners.append(Listener(self.engine, required=self.rng.random() < 0.4))

    def call(self, row: NDArray[np.void]) -> None:
        """Say one row by a call; a malformed one raises, and the result of another must add up."""
        try:
            result = self.say(row)
        except (FieldError, UnknownInstrument, RingFullError):
            self.digest.update(b"error")
            return
        self.digest.update(repr(result).encode())
        code = int(result.status)
        require(KNOWN[code], "a status that doesn't exist")
        require(sum(trade.qty_lots for trade in result.trades) == result.filled_lots, "trades and filled lots differ")
        if code < FIRST_REJECTION and row["action"] in (Action.MARKET, Action.LIMIT):
            total = result.filled_lots + result.remaining_lots + result.cancelled_lots
            require(total == row["qty_lots"], "a result's lots don't add up")

    def say(self, row: NDArray[np.void]) -> Result:
        """Make the call that is nearest to a row."""
        engine, named = self.engine, {name: int(row[name]) for name in COMMAND_COLUMNS}
        book = engine.books[named["instrument"] % len(engine.books)]
        action, user, ts_ns, stp = named["action"], named["user"], named["ts_ns"], named["stp"]
        order_id, side, lots, price = named["order_id"], named["side"], named["qty_lots"], named["price_ticks"]
        flags = named["flags"]
        new_id = None if flags & Flag.ASSIGN_ID else order_id
        if action == Action.MARKET:
            return book.submit_market(side, lots, new_id, user, ts_ns, stp, named["tif"])
        if action == Action.CANCEL:
            return (book if side & 1 else engine).cancel(order_id, user, ts_ns)
        if action == Action.AMEND:
            amend = book.amend if side & 1 else engine.amend_lots
            return amend(order_id, price, lots, user, flags, ts_ns, stp)
        if action == Action.MASS_CANCEL:
            return engine.mass_cancel_lots(named["instrument"], side, user, ts_ns)
        return book.submit(side, price, lots, new_id, user, named["tif"], flags & ~Flag.ASSIGN_ID, ts_ns, stp)
