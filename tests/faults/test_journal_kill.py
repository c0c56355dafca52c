"""kill -9 at random moments: what was acknowledged is there, nothing twice, and the state is that of a run never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journal_setup import rows
from side_by_side import new_engine

from pyengine import Engine, SelfTrade
from pyengine.journal import Journal, recover

ROUNDS = int(os.environ.get("PYENGINE_KILL_ROUNDS", "30"))
TESTS = Path(__file__).resolve().parents[1]
TURNS = 8000

WRITER = """
import sys
sys.path[:0] = [{tests!r}]
import os
import numpy as np
from journal_setup import rows
from side_by_side import MODES, NAMES, new_engine
from pyengine import SelfTrade
from pyengine.journal import Journal

path, turn, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
like = new_engine()
engine = Journal(path, segment_bytes=1 << 14).resume(instruments=like.instruments, self_trade=SelfTrade.CANCEL_TAKER)
for number, name in enumerate(NAMES, start=1):
    engine.user(name, MODES[number])
print("ready", flush=True)
stream = rows({turns}, seed=seed)
for turn in range(turn, {turns}):
    engine.run(stream[turn : turn + 1])
    # One write call: the line is in the pipe, or nothing of it.
    os.write(1, b"%d %d\\n" % (turn, engine.next_seq - 1))
"""


def never_killed(seed: int) -> tuple[Engine, list[int]]:
    """Run the whole stream; return the engine and the last event of each turn."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    ends = []
    for row in rows(TURNS, seed=seed):
        engine.run(row.reshape(1))
        ends.append(engine.next_seq - 1)
    return engine, ends


def state_at(seed: int, turn: int) -> bytes:
    """State of an engine that ran so many turns and was never killed."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    engine.run(rows(TURNS, seed=seed)[:turn])
    return engine.snapshot()


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**31)])
def test_a_killed_writer_has_lost_nothing_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}, rounds {ROUNDS}")
    path = tmp_path / "j"
    _, ends = never_killed(seed)
    turn = 0
    killed = finished = 0
    for _ in range(ROUNDS):
        script = WRITER.format(tests=str(TESTS), turns=TURNS)
        command = [sys.executable, "-c", script, str(path), str(turn), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # Some are killed before they have even opened the journal.
            if rng.random() < 0.9:
                process.stdout.readline()
            time.sleep(rng.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            told = process.stdout.read().decode().splitlines()
        killed += process.returncode == -signal.SIGKILL
        acknowledged = [tuple(map(int, line.split())) for line in told if line[:1].isdigit()]
        if not list(path.glob("*.journal")):
            assert not acknowledged
            continue
        found = recover(path)
        if acknowledged:
            last_turn, last_seq = acknowledged[-1]
            assert last_seq == ends[last_turn]
            assert found.last_seq >= last_seq
        found.engine.check()
        if found.last_seq == 0:
            # Nothing but some of the names may be there yet.
            turn = 0
            continue
        # What wasn't acknowledged is there whole, or not at all; the stream goes on behind it.
        turn = next(place for place, end in enumerate([0, *ends]) if end >= found.last_seq)
        assert [0, *ends][turn] == found.last_seq
        assert found.engine.snapshot() == state_at(seed, turn)
        if turn == TURNS:
            # The stream is at its end; the next round begins it anew.
            finished += 1
            turn, path = 0, tmp_path / f"{finished}"
    assert killed >= min(ROUNDS, 10)
    assert finished or turn
    if turn == 0:
        return
    with Journal(path).resume() as engine:
        engine.run(rows(TURNS, seed=seed)[turn:])
        whole, _ = never_killed(seed)
        assert engine.state_hash() == whole.state_hash()
        assert engine.snapshot() == whole.snapshot()
