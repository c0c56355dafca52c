"""Who may write a journal, and the ends of writers: closed, killed, forked, forgotten."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path

import pytest
from children import in_child
from journal_setup import FailingDisk, SlowDisk, btc, journaled, rows, same

from pyengine import Engine, EngineClosed, Instrument
from pyengine.journal import Journal, JournalClosed, JournalFailed, JournalHeld, JournalTimeout, recover


def run_script(script: str, path: Path, *, fails: bool = False) -> str:
    """Run a script in a process of its own."""
    head = f"from pyengine import *\nfrom pyengine.journal import *\nimport os, signal, sys\npath = {str(path)!r}\n"
    command = [sys.executable, "-W", "error", "-c", head + textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert fails == (done.returncode != 0), done.stderr
    return done.stdout + done.stderr


def test_a_second_writer_hears_who_the_first_one_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalHeld, match=rf"held by pid {os.getpid()} on \S+ since 20\d\d-"):
        Journal(tmp_path)
    found = run_script("Journal(path)", tmp_path, fails=True)
    assert f"JournalHeld: journal {tmp_path} must have one writer, is held by pid {os.getpid()} on " in found
    journal.close()
    run_script("Journal(path)", tmp_path)


def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    run_script("engine = Engine([Instrument('X')], journal=path); os.kill(os.getpid(), signal.SIGKILL)", tmp_path, fails=True)
    with Journal(tmp_path).resume() as engine:
        assert engine.instruments == (Instrument("X"),)


def test_the_end_of_the_interpreter_is_no_crash(tmp_path: Path) -> None:
    script = """
        engine = Engine([Instrument('X')], journal=path, durability='memory')
        for _ in range(1000):
            engine.book('X').submit(1, 5, 5)
    """
    run_script(script, tmp_path)
    found = recover(tmp_path)
    assert (found.last_seq, found.complete) == (1000, True)


def test_an_engine_that_is_gone_has_written_everything(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    for _ in range(100):
        engine.book("BTC-USD").submit(1, 5, 5)
    del engine
    gc.collect()
    found = recover(tmp_path)
    assert (found.last_seq, found.complete) == (100, True)
    Journal(tmp_path).close()


@pytest.mark.parametrize("later", [1, 2])
def test_an_engine_whose_journal_failed_can_go(tmp_path: Path, later: int) -> None:
    disk = FailingDisk()
    engine = journaled(tmp_path, disk=disk)
    engine.run(rows(50))
    disk._fails_at = len(disk.calls) + later
    with pytest.raises(JournalFailed):
        engine.run(rows(50, seed=8))
    with pytest.raises(JournalFailed):
        engine.close()
    gone = weakref.ref(engine)
    del engine
    deadline = time.monotonic() + 20
    while gone() is not None and time.monotonic() < deadline:
        # The journal's thread may be about to end.
        time.sleep(0.01)
        gc.collect()
    assert gone() is None


def test_closing_ends_everything(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    engine.submit("BTC-USD", "buy", 1, 1)
    journal = engine.journal
    engine.close()
    engine.close()
    assert journal.closed
    assert journal.failure is None
    assert journal.durable_seq == 1
    with pytest.raises(EngineClosed):
        engine.submit("BTC-USD", "buy", 1, 1)
    with pytest.raises(JournalClosed, match="was closed"):
        journal.wait(2)
    with pytest.raises(JournalClosed):
        journal.attach(Engine())


def test_an_engine_whose_journal_was_closed_runs_nothing_any_more(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    engine.journal.close()
    with pytest.raises(JournalClosed):
        engine.submit("BTC-USD", "buy", 1, 1)
    with pytest.raises(JournalClosed):
        engine.run(rows(3))
    assert engine.next_seq == 1
    assert engine.resting_orders == 0


def test_closing_in_vain_says_so_and_may_be_tried_again(tmp_path: Path) -> None:
    slow = SlowDisk()
    engine = journaled(tmp_path, disk=slow, durability="memory")
    slow.free.clear()
    engine.run(rows(20))
    engine.journal.future(engine.next_seq - 1)
    time.sleep(0.05)
    with pytest.raises(JournalTimeout, match="the disk is still busy"):
        engine.journal.close(0.05)
    slow.free.set()
    engine.close()
    assert recover(tmp_path).complete


def test_a_forked_child_writes_nothing_and_runs_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    engine.run(rows(50))
    before = engine.state_hash()

    def child() -> None:
        assert engine.state_hash() == before
        with pytest.raises(JournalFailed, match="belongs to the process that opened it"):
            engine.run(rows(5))
        with pytest.raises(JournalFailed):
            engine.books[0].submit(1, 5, 5)
        with pytest.raises(JournalFailed):
            engine.acknowledged().future()
        engine.close()

    in_child(child)
    engine.run(rows(50, seed=8))
    same(engine, tmp_path)
    with pytest.raises(JournalHeld):
        Journal(tmp_path)
    engine.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    begun, stop = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begun[1], b"x")
        os.read(stop[0], 1)
        os._exit(0)
    os.read(begun[0], 1)
    engine.close()
    Journal(tmp_path).close()
    os.write(stop[1], b"x")
    os.waitpid(child, 0)


def test_a_command_behind_the_last_commit_is_written_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = journaled(tmp_path, durability="memory")
    journal = engine.journal
    assert journal is not None
    step, events = journal.step, rows(200)

    def late_step() -> int:
        count = step()
        if count == 0 and journal.last_seq == 0:
            # As if it had been running when the journal began to close.
            refusal = JournalClosed("for a moment")
            engine.refuse_commands(None)
            engine.run(events)
            engine.refuse_commands(refusal)
        return count

    monkeypatch.setattr(journal, "step", late_step)
    with journal._lock:
        journal.close()
    assert recover(tmp_path).last_seq == engine.next_seq - 1 > 0
