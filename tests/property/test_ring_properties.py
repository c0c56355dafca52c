"""Whatever consumers come, read, dawdle and go: sequence numbers are dense, and everybody knows what they missed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from command_streams import MIXES, Mix, random_rows
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from side_by_side import new_engine

from pyengine import RingFullError
from pyengine.records import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyengine import Consumer, Engine

CAPACITY = 64


class Listener:
    """A consumer, what it has heard, and batches it still holds."""

    def __init__(self, engine: Engine, *, required: bool, start: int) -> None:
        self.consumer: Consumer = engine.attach(required=required)
        self.required = required
        self.start = start
        self.heard: list[tuple[Any, ...]] = []
        self.held: list[tuple[NDArray[np.void], bytes]] = []

    def read(self, limit: int | None, *, hold: bool) -> None:
        """Read one batch."""
        batch = self.consumer.read(limit)
        assert limit is None or len(batch) <= limit
        self.heard += batch.tolist()
        if hold:
            self.held.append((batch, batch.tobytes()))

    def drop(self) -> None:
        """Let go of every batch; each must still be as it was read."""
        for batch, copy in self.held:
            assert batch.tobytes() == copy
        self.held.clear()


class RingMachine(RuleBasedStateMachine):
    """One engine with a small ring, all events that it ever gave back, and a few listeners."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = new_engine(ring_capacity=CAPACITY, publish_wait_s=0)
        self.said: list[tuple[Any, ...]] = []
        self.listeners: list[Listener] = []
        self.leaving: list[Listener] = []

    @initialize(seed=st.integers(0, 2**32), mix=st.sampled_from(MIXES))
    def prepare(self, seed: int, mix: Mix) -> None:
        """Make a supply of commands."""
        # Many mass cancels: they cause more events at once than the ring holds.
        self.rows = random_rows(np.random.default_rng(seed), 4000, replace(mix, mass=1))
        self.at = 0

    def supply(self, count: int) -> NDArray[np.void]:
        """Take the next commands."""
        rows = self.rows[self.at : self.at + count]
        self.at += count
        return rows

    @rule(count=st.integers(1, 150))
    def produce(self, count: int) -> None:
        """Run some commands; what finds no room says so and nothing else."""
        out = self.engine.run(self.supply(count))
        self.said += out.events.tolist()
        full = out.status == Reason.RING_FULL
        if not any(listener.required for listener in [*self.listeners, *self.leaving]):
            assert not full.any()

    @rule()
    def call(self) -> None:
        """Make one call; it may find no room."""
        before = self.engine.next_seq
        spy = Listener(self.engine, required=False, start=before)
        try:
            self.engine.books[0].submit(1, 90, 1)
        except RingFullError:
            assert self.engine.next_seq == before
        spy.read(None, hold=False)
        self.said += spy.heard
        spy.consumer.close()

    @rule(required=st.booleans())
    @precondition(lambda self: len(self.listeners) < 5)
    def attach(self, required: bool) -> None:
        """Add a listener."""
        self.listeners.append(Listener(self.engine, required=required, start=self.engine.next_seq))

    @rule(who=st.integers(0, 4), limit=st.one_of(st.none(), st.integers(0, 100)), hold=st.booleans())
    @precondition(lambda self: self.listeners)
    def read(self, who: int, limit: int | None, hold: bool) -> None:
        """Let one listener read."""
        self.listeners[who % len(self.listeners)].read(limit, hold=hold)

    @rule(who=st.integers(0, 4))
    @precondition(lambda self: self.listeners)
    def drop(self, who: int) -> None:
        """Let one listener forget its batches."""
        self.listeners[who % len(self.listeners)].drop()

    @rule(who=st.integers(0, 4))
    @precondition(lambda self: self.listeners)
    def leave(self, who: int) -> None:
        """Close one listener; what it still holds stays as it is, and keeps its place until it is let go."""
        listener = self.listeners.pop(who % len(self.listeners))
        self.leaving = [listener] if listener.held else []
        listener.consumer.close()
        self.produce(50)
        listener.drop()
        self.leaving = []

    @invariant()
    def numbers_are_dense(self) -> None:
        """Each event has the next number."""
        assert [event[0] for event in self.said[-200:]] == [
            *range(self.engine.next_seq - min(200, len(self.said)), self.engine.next_seq)
        ]

    @invariant()
    def listeners_know(self) -> None:
        """Compare what was heard with what was said; all gaps are known."""
        for listener in self.listeners:
            first = self.said[0][0] if self.said else self.engine.next_seq
            assert all(self.said[event[0] - first] == event for event in listener.heard[-100:])
            gone = [seq for a, b in listener.consumer.missed for seq in range(a, b + 1)]
            seen = sorted(gone + [event[0] for event in listener.heard])
            assert seen == list(range(listener.start, listener.start + len(seen)))
            assert not (listener.required and gone)

    def teardown(self) -> None:
        """Whoever is left reads to the end."""
        self.engine.check()
        for listener in self.listeners:
            while listener.consumer.lag:
                listener.read(None, hold=False)
            listener.drop()
        self.listeners_know()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
