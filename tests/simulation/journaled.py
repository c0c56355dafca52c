"""An engine and its journal, through crashes, power cuts and failures of the disk, in an order that a seed decides.

Nothing here runs in a thread: whoever waits for the journal makes its steps. The state behind each command is written down; what
is recovered must be one of these, not before the last that was acknowledged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command_streams import MIXES, random_rows
from fault_runs import SteppedJournal
from side_by_side import MODES, NAMES, new_engine
from simulation.disk import Crash, SimulatedDisk

from pyengine import Engine, SelfTrade
from pyengine.journal import JournalError, JournalFailed, prune, recover, write_snapshot

LIKE = new_engine(ring_capacity=64)
TAPES = [random_rows(np.random.default_rng(number), 4000, MIXES[number % len(MIXES)]) for number in range(20)]
SEGMENT_BYTES = (4096, 4096, 8192, 16384)


@dataclass(frozen=True, slots=True)
class State:
    """What an engine was like at a moment: the last event, how many users, and everything as bytes."""

    seq: int
    users: int
    snapshot: bytes


class BrokenPromise(AssertionError):
    """Something that is promised isn't so; the text says what."""


class JournaledSimulation:
    """One life of a journal, in many lives of its engine.

    Parameters
    ----------
    seed : int
    folder : Path
        An empty one.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.path = folder / "journal"
        self.disk = SimulatedDisk(self.rng)
        self.segment_bytes = self.rng.choice(SEGMENT_BYTES)
        self.ring_capacity = self.rng.choice((64, 256, 1024))
        self.durability = self.rng.choice(("journal", "memory", "memory"))
        self.tape = self.rng.choice(TAPES)
        self.at = self.rng.randrange(2000)
        self.states: list[State] = []
        self.told = 0
        """Place of the last state of which it was said that it is on the disk."""
        self.engine: Engine | None = None
        self.counts = dict.fromkeys(("commands", "crashes", "cuts", "failures", "snapshots", "pruned", "closed"), 0)

    def run(self, steps: int = 30) -> None:
        """Live, and end well."""
        self.survive(self.begin)
        doings = (self.trade, self.trade, self.trade, self.step, self.step, self.wait, self.name, self.rare)
        for _ in range(steps):
            self.survive(self.rng.choice(doings))
        self.disk.failure_chance = self.disk.crash_chance = 0.0
        self.die(power=self.rng.random() < 0.5)
        self.trade()
        self.close()
        self.compare(complete=True)
        self.counts["failures"] = self.disk.failures

    def survive(self, do: Callable[[], object]) -> None:
        """Do something, and if the process ends in it, begin another one."""
        while True:
            try:
                do()
            except Crash:
                do = self.die_somehow
            else:
                return

    def die_somehow(self) -> None:
        self.die(power=self.rng.random() < 0.5)

    # --- what happens -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the journal, as often as it takes."""
        while True:
            try:
                journal = SteppedJournal(self.path, segment_bytes=self.segment_bytes, disk=self.disk)
            except OSError:
                continue
            try:
                engine = journal.resume(
                    durability=self.durability,
                    instruments=LIKE.instruments,
                    self_trade=SelfTrade.CANCEL_TAKER,
                    ring_capacity=self.ring_capacity,
                    publish_wait_s=0.0,
                    **self.stores(),
                )
            except Crash:
                journal.crash()
                raise
            except JournalError:
                journal.crash()
                self.disk.failure_chance *= 0.5
                self.recovered()
                continue
            self.engine = engine
            break
        # What was recovered to go on with was synced for that.
        self.found(State(engine.next_seq - 1, self.users(), engine.snapshot()), "gone on with")
        self.told = len(self.states) - 1
        for number, name in enumerate(NAMES, start=1):
            engine.user(name, MODES[number])
        self.note()

    def stores(self) -> dict[str, Any]:
        """Make what follows the engine."""
        return {}

    def users(self, engine: Engine | None = None) -> int:
        engine = self.engine if engine is None else engine
        assert engine is not None
        return len(engine.names.users)

    def note(self) -> None:
        """Write the state down."""
        assert self.engine is not None
        self.states.append(State(self.engine.next_seq - 1, self.users(), self.engine.snapshot()))

    def trade(self) -> None:
        """Run some commands."""
        engine, count = self.engine, self.rng.choice((1, 1, 1, 3, 12))
        assert engine is not None
        commands = self.tape[self.at : self.at + count]
        self.at = (self.at + count) % (len(self.tape) - 20)
        self.counts["commands"] += count
        try:
            engine.run(commands)
        except Crash:
            self.note()
            raise
        except JournalError:
            self.note()
            self.revive()
            return
        self.note()
        if self.durability == "journal":
            self.told_to(engine.next_seq - 1)

    def told_to(self, seq: int) -> None:
        """Note that events up to one were acknowledged, and what was defined before it, but not what was defined since."""
        for place in range(self.told + 1, len(self.states)):
            if self.states[place - 1].seq < self.states[place].seq <= seq:
                self.told = place

    def step(self) -> None:
        """Let the journal write."""
        assert self.engine is not None
        journal = self.engine.journal
        assert journal is not None
        acknowledgement = journal.acknowledged()
        journal.step()
        # It may have found no room, and then it says so only to those who wait.
        if acknowledgement.done:
            self.told = len(self.states) - 1
        if journal.failure is not None:
            self.revive()

    def wait(self) -> None:
        """Wait for everything that has happened, users included."""
        assert self.engine is not None
        try:
            acknowledgement = self.engine.acknowledged()
            acknowledgement.result()
        except JournalError:
            self.revive()
            return
        self.told = len(self.states) - 1

    def name(self) -> None:
        """Add a user, or change the mode of one."""
        assert self.engine is not None
        self.engine.user(f"user {self.rng.randrange(40)}", self.rng.choice(list(SelfTrade)))
        self.note()

    def rare(self) -> None:
        """Do what doesn't happen often."""
        chance = self.rng.random()
        if chance < 0.25:
            self.die(power=False)
        elif chance < 0.55:
            self.die(power=True)
        elif chance < 0.65:
            if self.close():
                self.begin()
        elif chance < 0.8:
            self.snapshot()
        else:
            self.disk.failure_chance = self.rng.choice((0.0, 0.02, 0.2))
            self.disk.crash_chance = self.rng.choice((0.0, 0.02, 0.05))

    def snapshot(self) -> None:
        """Write a snapshot, and take away what isn't needed."""
        try:
            write_snapshot(self.path, disk=self.disk)
            self.counts["snapshots"] += 1
            self.counts["pruned"] += len(prune(self.path, keep_snapshots=self.rng.choice((1, 2)), disk=self.disk))
        except OSError:
            return

    def close(self) -> bool:
        """Close in order, or go on if the disk doesn't let it; return whether it did."""
        assert self.engine is not None
        try:
            self.engine.close()
        except JournalError:
            self.revive(dead=True)
            return False
        self.counts["closed"] += 1
        self.told = len(self.states) - 1
        return True

    def revive(self, *, dead: bool = False) -> None:
        """Go on after a failure, as its text says."""
        assert self.engine is not None
        journal = self.engine.journal
        assert journal is not None
        self.disk.failure_chance = 0.0
        if not dead or not journal.closed:
            try:
                self.engine.close()
            except JournalFailed as error:
                if "on the disk" not in str(error):
                    raise BrokenPromise(f"a failure must say what is on the disk, said {error}") from error
            else:
                # There was no room, and now there is.
                self.told = len(self.states) - 1
        self.begin()

    def die(self, *, power: bool) -> None:
        """Lose the process, and with the power what wasn't synced; recover, and go on."""
        if self.engine is not None:
            journal = self.engine.journal
            assert isinstance(journal, SteppedJournal)
            journal.crash()
            self.drop()
            self.engine = None
        self.counts["cuts" if power else "crashes"] += 1
        if power:
            self.disk.cut_power(self.path)
        self.recovered()
        self.begin()

    def drop(self) -> None:
        """Forget what was in memory."""

    # --- what must be so ----------------------------------------------------------------------------------------------

    def recovered(self) -> None:
        """Look at what the journal says now, without going on with it."""
        if not self.path.is_dir() or not list(self.path.glob("*.journal")):
            if self.told > 0:
                raise BrokenPromise(f"state {self.told} was acknowledged, and there is no journal")
            return
        found = recover(self.path, ring_capacity=64)
        found.engine.check()
        self.found(State(found.last_seq, self.users(found.engine), found.engine.snapshot()), "recovered")

    def found(self, state: State, how: str) -> None:
        """See that a state is one that there was, and not before the last that was acknowledged."""
        for place in range(len(self.states) - 1, self.told - 1, -1):
            if self.states[place] == state:
                del self.states[place + 1 :]
                return
        if not self.states or self.told == 0:
            self.states, self.told = [state], 0
            if state.seq:
                raise BrokenPromise(f"{how}: event {state.seq} must not be there, nothing had happened")
            return
        acknowledged = self.states[self.told]
        near = [each for each in self.states if each.seq == state.seq]
        raise BrokenPromise(
            f"{how}: event {state.seq} and {state.users} users, must be one of {len(self.states)} states from event "
            f"{acknowledged.seq} and {acknowledged.users} users on; with this event there are {len(near)}"
        )

    def compare(self, *, complete: bool) -> None:
        """See that the journal leads to the last state."""
        found = recover(self.path, ring_capacity=64)
        if found.engine.snapshot() != self.states[-1].snapshot or found.complete != complete:
            raise BrokenPromise(f"the journal must end with event {self.states[-1].seq}, ended with {found.last_seq}")
