"""A client that is killed, or whose engine is, and sends again all that it has no answer to: each command runs once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from journal_setup import rows
from side_by_side import new_engine

from pyengine import Engine, SelfTrade
from pyengine.journal import Journal

ROUNDS = int(os.environ.get("PYENGINE_KILL_ROUNDS", "30")) // 3
TESTS = Path(__file__).resolve().parents[1]
COMMANDS = 4000

WRITER = """
import sys
sys.path[:0] = [{tests!r}]
import os
import numpy as np
from journal_setup import rows
from side_by_side import MODES, NAMES, new_engine
from pyengine import SelfTrade
from pyengine.journal import Journal

path, first, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
like = new_engine()
engine = Journal(path, segment_bytes=1 << 16).resume(instruments=like.instruments, self_trade=SelfTrade.CANCEL_TAKER)
for number, name in enumerate(NAMES, start=1):
    engine.user(name, MODES[number])
print("ready", flush=True)
stream = rows({commands}, seed=seed)
ids = np.arange(1, {commands} + 1, dtype=np.uint64)
at = first
while at < {commands}:
    out = engine.run(stream[at : at + 5], client_ids=ids[at : at + 5])
    at += 5
    os.write(1, b"%d %d %s\\n" % (at, out.repeated.sum(), out.status.tobytes().hex().encode()))
"""


def never_killed(seed: int) -> tuple[Engine, np.ndarray]:
    """Run the whole stream once."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    out = engine.run(rows(COMMANDS, seed=seed), client_ids=np.arange(1, COMMANDS + 1, dtype=np.uint64))
    return engine, out.status


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**31)])
def test_a_client_that_sends_everything_again_gets_each_command_run_once(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}, rounds {ROUNDS}")
    whole, status = never_killed(seed)
    path, answered, killed, repeated = tmp_path / "j", 0, 0, 0
    for _ in range(ROUNDS):
        # What has no answer comes again, and for good measure some, or all, of what has one.
        first = 0 if rng.random() < 0.3 else max(0, answered - 5 * rng.randrange(4))
        script = WRITER.format(tests=str(TESTS), commands=COMMANDS)
        command = [sys.executable, "-c", script, str(path), str(first), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.08)
            process.send_signal(signal.SIGKILL)
            told = process.stdout.read().decode().splitlines()
        killed += process.returncode == -signal.SIGKILL
        for line in told:
            if line.count(" ") != 2:
                continue
            at, again, statuses = line.split()
            # The first answer, however often it is asked for.
            assert np.frombuffer(bytes.fromhex(statuses), np.uint8).tolist() == status[int(at) - 5 : int(at)].tolist()
            answered, repeated = max(answered, int(at)), repeated + int(again)
    assert killed
    with Journal(path, segment_bytes=1 << 16).resume() as engine:
        for at in range(0, COMMANDS, 500):
            ids = np.arange(at + 1, at + 501, dtype=np.uint64)
            out = engine.run(rows(COMMANDS, seed=seed)[at : at + 500], client_ids=ids)
            assert out.status.tolist() == status[at : at + 500].tolist()
            repeated += int(out.repeated.sum())
        assert repeated > answered // 2
        engine.check()
        assert engine.next_trade_id == whole.next_trade_id
        assert engine.state_hash() == whole.state_hash()
