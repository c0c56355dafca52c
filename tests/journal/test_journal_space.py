"""A journal keeps within its bound: commands are refused before there is no room, and are taken again once there is."""

from __future__ import annotations

import errno
import pickle
import threading
import time
from pathlib import Path

import pytest
from journal_setup import MARGIN, SEGMENT, FailingDisk, bounded, rows, same, size_of, until

from pyengine import Engine, FieldError, FieldTypeError
from pyengine.journal import Journal, JournalFull, prune, recover, write_snapshot
from pyengine.journal.disk import Disk


class SmallDisk(Disk):
    """A file system that has as much left as a test says."""

    def __init__(self, free: int = 1 << 40) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        return self.free


class FullDisk(Disk):
    """A file system that says it has room, and hasn't when it is asked for it."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0

    def allocate(self, fd: int, size: int) -> None:
        if self.full:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(fd, size)


class BusyDisk(Disk):
    """One that can't be asked what is left, as the process has all files open that it may have."""

    def __init__(self) -> None:
        self.asked = 0
        self.busy = False

    def free_bytes(self, path: Path) -> int:
        if self.busy:
            self.asked += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().free_bytes(path)


def fill(engine: Engine, most: int = 4000) -> int:
    """Place orders one by one, and cancel most of them, until they are refused; return how many were taken."""
    book = engine.book(0)
    for count in range(most):
        try:
            order_id = book.submit(1, 100 + count % 7, 5).order_id
            if count % 9:
                engine.cancel(order_id)
        except JournalFull:
            return count
    pytest.fail("nothing was refused")


def takes(engine: Engine) -> bool:
    try:
        engine.book(0).submit(1, 100, 5)
    except JournalFull:
        return False
    return True


def test_commands_are_refused_before_the_bound_is_reached_and_taken_again_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bound = 6 * SEGMENT + MARGIN
    engine = bounded(tmp_path, space_bytes=bound)
    assert fill(engine) > 250
    assert size_of(tmp_path) <= bound
    state, seq = engine.snapshot(), engine.next_seq
    with pytest.raises(
        JournalFull, match=f"takes [0-9,]+ bytes of {bound:,} .*kept by 0 snapshots, where 2 must cover"
    ) as caught:
        engine.book(0).submit(1, 100, 5)
    assert (caught.value.used_bytes, caught.value.bound_bytes) == (size_of(tmp_path), bound)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.kept_by) == (str(caught.value), caught.value.kept_by)
    for call in (lambda: engine.run(rows(5)), lambda: engine.cancel(1), engine.mass_cancel):
        with pytest.raises(JournalFull):
            call()
    # Nothing has run, nothing has latched, and what had run is on the disk.
    assert (engine.snapshot(), engine.next_seq) == (state, seq)
    assert engine.journal.failure is None
    assert engine.journal.durable_seq == seq - 1
    write_snapshot(tmp_path)
    assert prune(tmp_path, keep_snapshots=1)
    until(lambda: takes(engine))
    assert engine.next_seq > seq
    same(engine, tmp_path)
    engine.close()
    texts = [record.getMessage() for record in caplog.records]
    assert sum("is running out of room" in text for text in texts) == 1
    assert sum("has no room for further commands" in text for text in texts) == 1
    assert sum("has room again" in text for text in texts) == 1


def test_the_error_names_who_keeps_the_segments(tmp_path: Path) -> None:
    engine = bounded(tmp_path, space_bytes=6 * SEGMENT + MARGIN, keep_snapshots=1)
    journal = engine.journal
    journal.keep("postgres trades", lambda: 7)
    journal.keep("redis orders", lambda: 9)
    engine.book(0).submit(1, 100, 5)
    fill(engine)
    write_snapshot(tmp_path)
    assert journal.needed_seq() == 7
    assert prune(tmp_path, keep=[journal.needed_seq], keep_snapshots=1) == []
    journal.keep("broken", lambda: 1 // 0)
    assert journal.needed_seq() == 0
    journal.keep("broken", None)
    refused: list[JournalFull] = []
    engine.book(0)
    try:
        engine.run(rows(1))
    except JournalFull as error:
        refused.append(error)
    assert "0 snapshots" in refused[0].kept_by
    engine.close()
    again = Journal(tmp_path, segment_bytes=SEGMENT, space_bytes=2 * SEGMENT + MARGIN, keep_snapshots=1)
    again.keep("postgres trades", lambda: 7)
    again.keep("redis orders", lambda: 9)
    with pytest.raises(JournalFull, match="kept by postgres trades, which has yet to take event 7"):
        again.resume(ring_capacity=64).book(0).submit(1, 100, 5)
    again.finish()


def test_the_file_systems_reserve_is_kept(tmp_path: Path) -> None:
    disk = SmallDisk()
    engine = bounded(tmp_path, disk=disk, reserve_bytes=1000)
    assert takes(engine)
    disk.free = SEGMENT + 999
    time.sleep(0.15)
    assert fill(engine) <= 512
    with pytest.raises(JournalFull, match=r"its file system has [0-9,]+ bytes left beside the reserve of 1,000"):
        engine.book(0).submit(1, 100, 5)
    disk.free = 1 << 30
    until(lambda: takes(engine))
    same(engine, tmp_path)
    engine.close()


def test_a_run_that_is_longer_than_the_room_gets_an_error_and_nothing_latches(tmp_path: Path) -> None:
    bound = 4 * SEGMENT + MARGIN
    engine = bounded(tmp_path, durability="memory", space_bytes=bound)
    engine.acknowledge_by(engine.journal._wait)
    with pytest.raises(JournalFull):
        engine.run(rows(8000))
    assert size_of(tmp_path) <= bound
    assert engine.journal.failure is None
    with pytest.raises(JournalFull):
        engine.journal.close()
    assert not engine.journal.closed
    write_snapshot(tmp_path)
    assert prune(tmp_path, keep_snapshots=1)
    until(lambda: engine.journal.durable_seq == engine.next_seq - 1)
    same(engine, tmp_path)
    engine.close()
    assert recover(tmp_path).complete


def test_a_full_disk_that_is_freed_later_has_lost_nothing(tmp_path: Path) -> None:
    disk = FullDisk()
    engine = bounded(tmp_path, disk=disk)
    disk.full = True
    acknowledged = 0

    def work() -> None:
        nonlocal acknowledged
        for turn in range(200):
            engine.run(rows(30, seed=turn))
            acknowledged = engine.next_seq - 1

    with pytest.raises(JournalFull, match="has no room"):
        work()
    assert disk.refused
    assert acknowledged
    assert engine.journal.failure is None
    assert engine.journal.durable_seq >= acknowledged
    assert not list(tmp_path.glob("*.next"))
    waiter = threading.Thread(target=engine.acknowledged().future().exception)
    disk.full = False
    waiter.start()
    engine.run(rows(30))
    waiter.join(20)
    same(engine, tmp_path)
    engine.close()
    assert recover(tmp_path).complete


def test_bad_bounds_are_refused(tmp_path: Path) -> None:
    for name, value, error, says in (
        ("space_bytes", 0, FieldError, "space_bytes must be from 1 on, was 0"),
        ("space_bytes", 1.5, FieldTypeError, "space_bytes"),
        ("reserve_bytes", -1, FieldError, "reserve_bytes must be from 0 on"),
        ("reserve_bytes", None, FieldTypeError, "reserve_bytes"),
        ("keep_snapshots", 0, FieldError, "keep_snapshots must be from 1 on"),
        ("snapshot_every_s", 0, FieldError, "snapshot_every_s must be above 0"),
        ("snapshot_every_s", "x", FieldTypeError, "snapshot_every_s"),
        ("snapshot_every_events", True, FieldTypeError, "snapshot_every_events"),
    ):
        with pytest.raises(error, match=says):
            Journal(tmp_path, **{name: value})
    with (
        Journal(tmp_path, segment_bytes=SEGMENT, space_bytes=2 * SEGMENT + MARGIN - 1) as journal,
        pytest.raises(FieldError, match=f"space_bytes must be at least {2 * SEGMENT + MARGIN}"),
    ):
        journal.attach(Engine(ring_capacity=64))
    assert FailingDisk().free_bytes(tmp_path) > 0


def test_a_process_out_of_files_goes_on(tmp_path: Path) -> None:
    disk = BusyDisk()
    engine = bounded(tmp_path, disk=disk)
    engine.book(0).submit(1, 100, 5)
    disk.busy = True
    until(lambda: disk.asked > 1)
    assert engine.book(0).submit(1, 100, 5).ok
    disk.busy = False
    engine.close()
    assert recover(tmp_path).engine.resting_orders == 2


def test_who_needs_segments_may_change_while_it_is_said_who_does(tmp_path: Path) -> None:
    engine = bounded(tmp_path, space_bytes=MARGIN + 6 * SEGMENT)
    journal = engine.journal
    assert journal is not None
    names = iter(range(1 << 20))

    def needs() -> int:
        journal.keep(f"another {next(names)}", lambda: 1)
        return 1

    engine.book(0).submit(1, 100, 5)
    for _ in range(2):
        write_snapshot(tmp_path)
        engine.book(0).submit(1, 100, 5)
    journal.keep("one", needs)
    fill(engine)
    assert next(names) > 0
    assert journal.failure is None
    journal._keeps.clear()
    engine.close()
