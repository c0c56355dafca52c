"""Snapshots on a schedule: a child process makes them, the engine goes on, and segments go."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from journal_setup import MARGIN, SEGMENT, bounded, rows, same, size_of, until

from pyengine import Engine
from pyengine.journal import Journal, JournalFull, recover
from pyengine.journal.snapshots import UNFINISHED, snapshot_files
from pyengine.records import Action, make_commands


def work(engine: Engine, turns: range) -> None:
    for turn in turns:
        engine.run(rows(100, seed=turn))


def test_snapshots_are_made_each_so_many_events_and_segments_go(tmp_path: Path) -> None:
    engine = bounded(tmp_path / "j", snapshot_every_events=500, archive=tmp_path / "archive")
    journal = engine.journal
    for turn in range(3):
        before = journal.stats()["snapshots"]
        work(engine, range(20 * turn, 20 * turn + 20))
        until(lambda before=before: journal.stats()["snapshots"] > before)
    stats = journal.stats()
    assert stats["snapshot_failures"] == 0
    assert stats["segments_gone"] == len(list((tmp_path / "archive").iterdir())) > 0
    assert recover(tmp_path / "j").snapshot_seq == stats["snapshot_seq"] > 0
    assert len(snapshot_files(tmp_path / "j")) == 2
    same(engine, tmp_path / "j")
    engine.close()


def test_snapshots_are_made_each_so_many_seconds_if_anything_has_happened(tmp_path: Path) -> None:
    engine = bounded(tmp_path, snapshot_every_s=0.1)
    time.sleep(0.5)
    assert engine.journal.stats()["snapshots"] == 0
    work(engine, range(3))
    until(lambda: engine.journal.stats()["snapshot_seq"] == engine.next_seq - 1)
    made = engine.journal.stats()["snapshots"]
    time.sleep(0.5)
    assert engine.journal.stats()["snapshots"] == made
    engine.close()


def test_a_journal_within_its_bound_goes_on_by_itself(tmp_path: Path) -> None:
    # The schedule alone would never come: what hurries it is that room is short.
    bound = 10 * SEGMENT + MARGIN
    engine = bounded(tmp_path, space_bytes=bound, snapshot_every_s=3600, keep_snapshots=1)
    batch = make_commands(40)
    batch["action"], batch["qty_lots"], batch["price_ticks"] = Action.LIMIT, 5, 100
    batch["side"] = [1, 2] * 20
    deadline = time.monotonic() + 180
    while engine.next_seq < 20_000:
        assert time.monotonic() < deadline
        try:
            engine.run(batch)
        except JournalFull:
            time.sleep(0.05)
        assert size_of(tmp_path) <= bound
    assert engine.journal.failure is None
    assert engine.journal.stats()["segments_gone"] > 10
    same(engine, tmp_path)
    engine.close()


def test_what_somebody_needs_stays(tmp_path: Path) -> None:
    engine = bounded(tmp_path, snapshot_every_events=100, keep_snapshots=1)
    engine.journal.keep("a layer", lambda: 1)
    for turn in range(3):
        work(engine, range(10 * turn, 10 * turn + 10))
        until(lambda: engine.journal.stats()["snapshot_seq"] == engine.next_seq - 1)
    assert engine.journal.stats()["segments_gone"] == 0
    engine.journal.keep("a layer", None)
    work(engine, range(30, 40))
    until(lambda: engine.journal.stats()["segments_gone"] > 0)
    engine.close()


def test_a_snapshot_that_can_not_be_made_is_logged_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = bounded(tmp_path, snapshot_every_events=1)
    oldest = min(tmp_path.glob("*.journal"))
    away = tmp_path / "away"
    work(engine, range(3))
    oldest.rename(away)
    try:
        until(lambda: engine.journal.stats()["snapshot_failures"] > 0)
    finally:
        away.rename(oldest)
    assert "no snapshot of journal" in caplog.text
    work(engine, range(3, 4))
    until(lambda: engine.journal.stats()["snapshot_seq"] == engine.next_seq - 1)
    engine.close()


def test_closing_ends_a_snapshot_that_is_being_made_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    engine = bounded(tmp_path, durability="memory", snapshot_every_events=1)
    engine.run(rows(60_000))
    engine.close()
    until(lambda: set(threading.enumerate()) <= before)
    assert not list(tmp_path.glob(f"*{UNFINISHED}"))
    assert recover(tmp_path).complete


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    bounded(tmp_path).close()
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    left = tmp_path / f"{1:020d}.snapshot.{child.stdout.strip()}{UNFINISHED}"
    lives = tmp_path / f"{1:020d}.snapshot.1{UNFINISHED}"
    left.write_bytes(b"half")
    lives.write_bytes(b"half")
    with Journal(tmp_path).resume():
        assert not left.exists()
        assert lives.exists()


def test_a_journal_that_is_forgotten_ends_its_schedule(tmp_path: Path) -> None:
    engine = bounded(tmp_path, snapshot_every_s=0.2)
    journal = weakref.ref(engine.journal)
    del engine
    gc.collect()
    until(lambda: gc.collect() is None or journal() is None)
