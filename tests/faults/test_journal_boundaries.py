"""A crash at each boundary between two commands of a tape of 2,000: the state is that of the run up to there, and it goes on."""

from __future__ import annotations

import os
import random
from pathlib import Path

from command_streams import MIXES
from fault_runs import LONG, SteppedJournal, crash, runs_of, seed
from journal_setup import rows
from side_by_side import new_engine

from pyengine import SelfTrade
from pyengine.journal import recover, write_snapshot
from pyengine.journal.format import FrameKind
from pyengine.journal.reader import JournalReader
from pyengine.journal.recovery import Replayed

COMMANDS = 2000
SEGMENT_BYTES = 1 << 14


class Tape:
    """A journal of commands of which each has a commit of its own, and what is known of the engine that wrote it."""

    def __init__(self, path: Path, drawn: int, each: int = 1) -> None:
        self.path = path
        self.commands = rows(COMMANDS, drawn, MIXES[drawn % len(MIXES)])
        engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
        SteppedJournal(path, segment_bytes=SEGMENT_BYTES).attach(engine)
        self.ends, self.states, self.rest = [0], [engine.snapshot()], [0]
        for turn, run in enumerate(runs_of(self.commands, each), start=1):
            engine.run(run)
            # A mass cancel that finds nothing leaves no event.
            if engine.next_seq - 1 > self.ends[-1]:
                self.ends.append(engine.next_seq - 1)
                self.states.append(engine.snapshot())
                self.rest.append(turn * each)
        crash(engine)

    def assert_goes_on(self, engine: object, turn: int) -> None:
        """See that an engine is where it was behind a command, and that it comes to where the tape comes to."""
        assert engine.next_seq - 1 == self.ends[turn]
        assert engine.snapshot() == self.states[turn]
        engine.check()
        engine.run(self.commands[self.rest[turn] :])
        assert engine.snapshot() == self.states[-1]


def boundaries(path: Path) -> list[tuple[Path, int, int]]:
    """List segment, offset and last event of each commit of events, the newest first."""
    reader = JournalReader(path)
    return [
        (segment.path, frame.end, frame.first_seq + frame.count - 1)
        for segment, frame in reader.frames()
        if frame.kind == FrameKind.EVENTS
    ][::-1]


def test_a_crash_at_each_boundary_of_2000_commands_leads_to_the_state_there(quick_path: Path) -> None:
    drawn = seed()
    print(f"PYENGINE_SEED={drawn}")
    tape, rng = Tape(quick_path / "j", drawn), random.Random(drawn)
    ends = boundaries(tape.path)
    assert [seq for _, _, seq in ends] == tape.ends[:0:-1]
    assert len(ends) > COMMANDS - 20
    for turn, (path, offset, seq) in zip(range(len(ends), 0, -1), ends, strict=True):
        for later in tape.path.glob("*.journal"):
            if later.name > path.name:
                later.unlink()
        # What the system has taken for the file stays its, and is zero.
        os.truncate(path, offset)
        os.truncate(path, max(offset, SEGMENT_BYTES))
        if LONG or turn % 16 == 1 or rng.random() < 0.02:
            if rng.random() < 0.1:
                write_snapshot(tape.path)
            found = recover(tape.path, ring_capacity=64)
            assert (found.last_seq, found.torn_bytes, found.complete) == (seq, 0, False)
            tape.assert_goes_on(found.engine, turn)
            for snapshot in tape.path.glob("*.snapshot"):
                snapshot.unlink()


def test_each_boundary_of_2000_commands_is_passed_in_its_state(quick_path: Path) -> None:
    drawn = seed()
    print(f"PYENGINE_SEED={drawn}")
    tape = Tape(quick_path / "j", drawn)
    reader, replayed, turn = JournalReader(tape.path), Replayed(None, None, {"ring_capacity": 64}, None), 0
    for segment, frame in reader.frames():
        assert replayed.take(segment, frame)
        if frame.kind == FrameKind.EVENTS:
            turn += 1
            engine = replayed.finish(segment)
            assert (engine.next_seq - 1, engine.snapshot()) == (tape.ends[turn], tape.states[turn])
    assert turn == len(tape.ends) - 1


def test_recovery_to_each_event_gives_whole_commands(quick_path: Path) -> None:
    drawn = seed()
    print(f"PYENGINE_SEED={drawn}")
    # Many commands in each commit: the boundaries are those of commands, not of frames.
    tape, single = Tape(quick_path / "j", drawn, each=50), Tape(quick_path / "single", drawn)
    rng = random.Random(drawn)
    whole = {end: turn for turn, end in enumerate(single.ends)}
    for seq in range(single.ends[-1]) if LONG else sorted(rng.sample(range(single.ends[-1]), 60)):
        found = recover(tape.path, until_seq=seq, ring_capacity=64)
        assert found.last_seq == max(end for end in single.ends if end <= seq)
        assert found.engine.snapshot() == single.states[whole[found.last_seq]]
