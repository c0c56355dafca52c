"""Engine, event ring, journal, feed, rings and layers on a virtual clock, in an order that a seed decides.

Nothing runs in a thread: the feed and the writers of the layers are stepped, and where one would sleep, time passes and others
go on. A crash there unwinds all that was in memory; backends and files are what outlives it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from pyengine._core.consumer import Consumer
from simulation.backends import ORDERS, TRADES, Backend
from simulation.disk import Crash
from simulation.journaled import BrokenPromise, JournaledSimulation, State
from simulation.promises import check_backend, compare_layer, held

from pyengine.journal import JournalError
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE, Kind, Records
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, process
from pyengine.stores.composite.layer import LayerOptions
from pyengine.stores.composite.ring import RecordRing
from pyengine.stores.composite.writer import LayerWriter
from pyengine.stores.feed import EngineFeed

_DEEPEST = 3
_PATIENCE = 400


class LayeredSimulation(JournaledSimulation):
    """One life of a journal and of the backends of its layers, in many lives of the engine and its stores."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.now = 1000.0
        self.depth = 0
        self.busy: set[Any] = set()
        self.events: list[Records] = []
        self.backends = [
            (table, kind, Backend(f"{kind}-{table}", self.rng, self.passes))
            for table, kinds in (("orders", ORDERS), ("trades", TRADES))
            for kind in self.rng.sample(sorted(kinds), self.rng.choice((1, 1, 2)))
        ]
        self.lives = 0
        self.ailing = False
        """Whether the engine has to be closed, and the journal gone on with."""
        self.interrupts = 0
        """How often who closes the engine is yet interrupted when it waits."""
        self.feeds_at_once = self.rng.choice((5, 50, 8192))
        self.whole: dict[str, int] = {}
        self.counts |= dict.fromkeys(("records", "troubles", "wipes", "checks", "restarts", "interrupts"), 0)

    # --- making -------------------------------------------------------------------------------------------------------

    def stores(self) -> dict[str, Any]:
        """Make composites in front of the backends."""
        rng, self.lives = self.rng, self.lives + 1
        made: dict[str, Any] = {}
        for table, kinds, composite, memory in (
            ("orders", ORDERS, CompositeOrderStore, InMemoryOrderStore),
            ("trades", TRADES, CompositeTradeStore, InMemoryTradeStore),
        ):
            fronts = [kinds[kind](backend) for of, kind, backend in self.backends if of == table]
            options = {
                front.name: LayerOptions(batch=rng.choice((2, 10, 100)), pause_s=0.5, longest_pause_s=4.0, linger_s=0.001)
                for front in fronts
            }
            first = [memory()] if rng.random() < 0.5 else []
            capacity = rng.choice((1, 4, 16, 64, 1024))
            made[table] = composite(*first, *fronts, ring_capacity=capacity, options=options, own=False)
            for layer in made[table].layers:
                layer.breaker._clock = self.time
        self.composites = made
        self.writers = [writer for each in made.values() for writer in each._writers]
        for writer in self.writers:
            process._writers.discard(writer)
        return {"order_store": made["orders"], "trade_store": made["trades"]}

    def begin(self) -> None:
        """Go on, and listen to what happens."""
        self.ailing = False
        super().begin()
        assert self.engine is not None
        self.feed = self.engine._feed
        process._feeds.discard(self.feed)

    def found(self, state: State, how: str) -> None:
        """Forget the events that were lost with the state."""
        super().found(state, how)
        self.events = [rows for rows in self.events if rows["seq"][0] <= state.seq]
        if self.events and self.events[-1]["seq"][-1] > state.seq:
            self.events[-1] = self.events[-1][self.events[-1]["seq"] <= state.seq]

    def trade(self) -> None:
        """Run commands, and write their events down."""
        engine = self.engine
        assert engine is not None
        with Consumer(engine, False, "witness") as witness:
            try:
                super().trade()
            finally:
                while witness.lag:
                    rows = np.asarray(witness.read()).view(EVENT_DTYPE).copy()
                    self.events.append(rows)

    # --- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        """Let time pass; others go on meanwhile."""
        self.now += max(seconds, 1e-6)
        if self.depth >= _DEEPEST:
            return
        self.depth += 1
        try:
            for _ in range(self.rng.choice((0, 1, 1, 2))):
                self.someone()
        finally:
            self.depth -= 1

    @contextmanager
    def as_busy(self, who: Any) -> Iterator[bool]:
        """Keep somebody from beginning anew what is under way."""
        if who in self.busy:
            yield False
            return
        self.busy.add(who)
        try:
            yield True
        finally:
            self.busy.discard(who)

    def someone(self) -> None:
        """Have somebody do something."""
        doings: tuple[Callable[[], None], ...]
        doings = (self.trade, self.trade, self.step, self.step, self.feeds, self.feeds, *[self.writes] * 4, self.backend)
        self.rng.choice(doings)()
        if self.rng.random() < 0.004:
            raise Crash

    def feeds(self) -> None:
        with self.as_busy(self.feed) as free:
            if free:
                self.feed.step()

    def writes(self) -> None:
        """Have a layer's writer do what there is to do."""
        writer = self.rng.choice(self.writers)
        with self.as_busy(writer) as free:
            if free and writer._wait():
                writer.turn()

    def backend(self) -> None:
        """Have something happen to a backend."""
        _, kind, backend = self.rng.choice(self.backends)
        what = self.rng.choice(("trouble", "down", "up", "up", "copy", "restore", "wipe"))
        if what == "trouble":
            backend.trouble = self.rng.choice((0.0, 0.1, 0.5))
            self.counts["troubles"] += 1
        elif what in {"down", "up"}:
            backend.down_until = self.now + self.rng.choice((0.5, 5.0, 60.0)) if what == "down" else 0.0
        elif what == "copy":
            backend.keep_copy()
        elif kind in {"marked", "cached"}:
            # What isn't marked can't be found out about while the process goes on.
            self.counts["wipes"] += 1
            if what == "restore":
                backend.restore()
            else:
                backend.rows, backend.marks = {}, {}
        elif kind == "numbered" and not backend.rows:
            backend.safe_id = 0

    # --- life and death -----------------------------------------------------------------------------------------------

    def run(self, steps: int = 120) -> None:
        """Live, and end well."""
        with self.virtual():
            self.survive(self.begin)
            for _ in range(steps):
                self.depth = 0
                self.survive(self.turn)
            self.disk.failure_chance = self.disk.crash_chance = 0.0
            if self.rng.random() < 0.5:
                self.die(power=self.rng.random() < 0.5)
            self.settle()
        self.counts["failures"] = self.disk.failures

    def turn(self) -> None:
        """Have something happen."""
        if self.rng.random() < 0.04:
            self.rare()
        else:
            self.someone()
        if self.ailing:
            self.restart()

    def rare(self) -> None:
        """Do what happens to the whole process only."""
        chance = self.rng.random()
        if chance < 0.35:
            raise Crash
        if chance < 0.5:
            self.snapshot()
        elif chance < 0.6:
            self.disk.failure_chance = self.rng.choice((0.0, 0.01, 0.05))
            self.disk.crash_chance = self.rng.choice((0.0, 0.0, 0.01))
        elif chance < 0.68:
            self.name()
        elif chance < 0.76:
            self.wait()
        else:
            self.restart()

    def snapshot(self) -> None:
        """Write one; nothing is pruned, as a layer may have to begin anew."""
        with mock.patch("simulation.journaled.prune", return_value=[]):
            super().snapshot()

    def revive(self, *, dead: bool = False) -> None:
        # Not at once: feed and writers may be in the middle of something, in threads of their own, and go on with it.
        self.ailing = True

    def close(self) -> bool:
        """Close the engine, again if that is interrupted; return whether the disk let it."""
        assert self.engine is not None
        self.interrupts = self.rng.choice((0, 1, 3, 10))
        let = True
        try:
            while True:
                try:
                    self.engine.close()
                except KeyboardInterrupt as interrupt:
                    self.counts["interrupts"] += 1
                    let = let and not isinstance(interrupt.__context__, JournalError)
                except JournalError:
                    return False
                else:
                    return let
        finally:
            self.interrupts = 0

    def restart(self) -> None:
        """Close everything in order, as far as it goes, and go on."""
        assert self.engine is not None
        self.depth = _DEEPEST
        self.counts["restarts"] += 1
        # What the feed has yet to bring, it brings in closing.
        for _ in range(self.rng.choice((0, 2, 6))):
            self.trade()
        if self.close():
            self.told = len(self.states) - 1
        else:
            self.disk.failure_chance = 0.0
            journal = self.engine.journal
            assert journal is not None
            if not journal.closed:
                # There was no room, and now there is.
                journal.close()
                self.told = len(self.states) - 1
        for each in self.composites.values():
            each.close(timeout_s=self.rng.choice((0.0, 1.0, 5.0)))
        self.check_backends()
        self.drop()
        self.begin()

    def drop(self) -> None:
        """Forget what was in memory."""
        self.feed._closed = True
        self.feed._consumer.close()
        for each in self.composites.values():
            each._closed = True
            for layer in each.layers:
                layer.readers.close()

    def die(self, *, power: bool) -> None:
        self.busy.clear()
        self.depth = 0
        if power:
            for _, kind, backend in self.backends:
                if kind == "numbered":
                    backend.lose_unsynced()
        super().die(power=power)

    def recovered(self) -> None:
        super().recovered()
        self.check_backends()

    @contextmanager
    def virtual(self) -> Iterator[None]:
        """Have everybody look at the clock of the simulation, and sleep in it."""

        def wait(ring: RecordRing, cursor: Any, timeout_s: float) -> bool:
            if ring.head == cursor.taken:
                self.now += min(timeout_s, 0.2)
            cursor.nudged = False
            return ring.head != cursor.taken

        def pause(ring: RecordRing, timeout_s: float) -> None:
            self.passes(timeout_s)

        def wait_for_progress(ring: RecordRing, timeout_s: float) -> None:
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            self.passes(timeout_s)

        def join(writer: LayerWriter, timeout: float | None = None) -> None:
            self.busy.add(writer)
            writer.run()

        before = random.getstate()
        random.seed(self.rng.random())
        with (
            mock.patch.object(time, "monotonic", self.time),
            mock.patch.object(time, "sleep", self.passes),
            mock.patch.object(RecordRing, "wait", wait),
            mock.patch.object(RecordRing, "pause", pause),
            mock.patch.object(RecordRing, "_wait_for_progress", wait_for_progress),
            mock.patch.object(LayerWriter, "start"),
            mock.patch.object(LayerWriter, "join", join),
            mock.patch.object(EngineFeed, "_start"),
            mock.patch("pyengine.stores.feed._MOST", self.feeds_at_once),
        ):
            try:
                yield
            finally:
                random.setstate(before)

    # --- what must be so ----------------------------------------------------------------------------------------------

    def happened(self, until_seq: int | None = None) -> Records:
        """Return the events that happened, from the first on."""
        rows = np.concatenate([np.empty(0, EVENT_DTYPE), *self.events])
        return rows if until_seq is None else rows[rows["seq"] <= until_seq]

    def expected(self, table: str, until_seq: int | None = None) -> Records:
        """Return what a layer is to have at last."""
        rows = self.happened(until_seq)
        if table == "trades":
            return rows[rows["kind"] == Kind.TRADE].view(TRADE_DTYPE)
        orders = InMemoryOrderStore()
        orders.apply(rows)
        return orders.get_all_array()

    def check_backends(self) -> None:
        """See that no backend has what didn't happen, or lacks what its watermark says it has."""
        seq = self.states[-1].seq if self.states else 0
        for table, kind, backend in self.backends:
            self.counts["checks"] += 1
            check_backend(table, kind, backend, seq, self.expected)

    def settle(self) -> None:
        """With nothing broken any more, see that everything becomes complete, and equal to the journal."""
        for _, _, backend in self.backends:
            backend.trouble, backend.down_until = 0.0, 0.0
        self.depth = _DEEPEST
        # A layer learns that it was wiped when it has something new to write.
        before = len(self.expected("trades"))
        for _ in range(300):
            self.trade()
            if len(self.expected("trades")) > before and self.rng.random() < 0.5:
                break
        assert self.engine is not None
        self.wait()
        layers = [layer for each in self.composites.values() for layer in each.layers]
        for _ in range(_PATIENCE):
            self.feed.step()
            self.now += 1.0
            for writer in self.writers:
                if writer._wait():
                    writer.turn()
            if not self.feed.lag and all(layer.has_reached(layer.ring.head) and layer.place.aligned for layer in layers):
                break
        else:
            late = [f"{layer.name}: {layer.stopped or 'behind'}" for layer in layers if layer.is_behind]
            raise BrokenPromise(f"layers must catch up, don't: {', '.join(late)}")
        self.check_backends()
        for table, kind, backend in self.backends:
            found = held(table, backend, self.engine.names)
            self.counts["records"] += compare_layer(table, kind, backend, self.expected(table), found)
        self.engine.close()
        self.compare(complete=True)
        for each in self.composites.values():
            each.close()
        self.drop()
