"""Each call of the operating system that a journal makes fails in each way that it can.

The run is 500 commands, each waiting for its own commit. After the failure the journal is recovered and gone on with, and the
rest of the commands leads to the state of a run without any failure.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_runs import LONG, SteppedJournal, chosen, crash, folder_in_memory, runs_of, seed
from journal_setup import FailingDisk, rows
from side_by_side import MODES, NAMES, new_engine

from pyengine import Engine, SelfTrade
from pyengine.journal import JournalError, prune, recover, write_snapshot

COMMANDS = 500
SEGMENT_BYTES = 4096
SHORT_RUN = 8


class Half(Exception):
    """Said by a way to fail that does half of a write first."""


def os_error(number: int) -> Callable[[], BaseException]:
    return lambda: OSError(number, os.strerror(number))


WAYS: dict[str, Callable[[], BaseException]] = {
    "EIO": os_error(errno.EIO),
    "ENOSPC": os_error(errno.ENOSPC),
    "EINTR": os_error(errno.EINTR),
    "EIO, though it was done": os_error(errno.EIO),
    "ENOSPC in the middle of a write": os_error(errno.ENOSPC),
    "short write": Half,
    "no memory": MemoryError,
}


PARTLY = {"short write", "ENOSPC in the middle of a write"}
"""Ways in which a write does a half of its work."""


class BrokenDisk(FailingDisk):
    """A disk on which one call fails in one of the ways above."""

    def __init__(self, fails_at: int = 0, way: str = "EIO") -> None:
        super().__init__(fails_at, WAYS[way])
        self._way = way
        self._late: BaseException | None = None

    def _count(self, name: str) -> None:
        try:
            super()._count(name)
        except BaseException as error:
            if "though" in self._way or (name == "write" and self._way in PARTLY):
                self._late = error
            elif isinstance(error, Half):
                self.failed = ""
            else:
                raise

    def _fail_late(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            raise late

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> int:
        self._count("write")
        if self._late is not None and "though" not in self._way:
            whole = b"".join(bytes(memoryview(part).cast("B")) for part in parts)
            written = os.pwrite(fd, whole[: len(whole) // 2], offset)
            if isinstance(self._late, Half):
                self._late = None
                return written
            self._fail_late()
        written = os.pwritev(fd, parts, offset)
        self._fail_late()
        return written

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._fail_late()

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._fail_late()

    def allocate(self, fd: int, size: int) -> None:
        super().allocate(fd, size)
        self._fail_late()

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self._fail_late()

    def rename(self, path: Path, target: Path) -> None:
        super().rename(path, target)
        self._fail_late()

    def open(self, path: Path, flags: int) -> int:
        fd = super().open(path, flags)
        try:
            self._fail_late()
        except BaseException:
            os.close(fd)
            raise
        return fd


@cache
def tape() -> np.ndarray:
    return rows(COMMANDS)


@cache
def states() -> dict[int, bytes]:
    """Map the last event of each command to the state behind it, of an engine without a journal."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    known = {0: engine.snapshot()}
    for run in runs_of(tape(), 1):
        engine.run(run)
        known[engine.next_seq - 1] = engine.snapshot()
    return known


def opened(path: Path, disk: FailingDisk | None = None) -> Engine:
    """Begin a journal, or go on with it, by an engine with the books and users of the tape."""
    journal = SteppedJournal(path, segment_bytes=SEGMENT_BYTES, disk=disk)
    try:
        engine = journal.resume(instruments=new_engine().instruments, self_trade=SelfTrade.CANCEL_TAKER, ring_capacity=1024)
    except BaseException:
        journal.crash()
        raise
    for number, name in enumerate(NAMES, start=1):
        engine.user(name, MODES[number])
    return engine


def run_rest(engine: Engine) -> int:
    """Run what an engine hasn't run of the tape, one by one, until something fails; return the last event that was told."""
    turn = list(states()).index(engine.next_seq - 1)
    told = engine.next_seq - 1
    for run in runs_of(tape()[turn:], 1):
        engine.run(run)
        told = engine.next_seq - 1
    return told


def told_until_it_fails(path: Path, disk: FailingDisk) -> tuple[int, BaseException | None]:
    """Run the tape until a call fails; return the last event that was acknowledged, and what was raised."""
    told = 0
    try:
        engine = opened(path, disk)
    except JournalError as error:
        return told, error
    failure: BaseException | None = None
    try:
        for run in runs_of(tape(), 1):
            engine.run(run)
            told = engine.next_seq - 1
        engine.close()
    except JournalError as error:
        failure = error
    crash(engine)
    return told, failure


def assert_whole(path: Path, told: int, about: str) -> None:
    """See that a journal has what was told, and that going on with it leads to where the tape leads to."""
    if list(path.glob("*.journal")):
        found = recover(path, ring_capacity=64)
        assert found.last_seq >= told, about
        assert found.last_seq == 0 or found.engine.snapshot() == states()[found.last_seq], about
    else:
        assert told == 0, about
    engine = opened(path)
    run_rest(engine)
    expected = states()[max(states())]
    assert engine.snapshot() == expected, about
    engine.close()
    found = recover(path, ring_capacity=64)
    assert (found.complete, found.engine.snapshot() == expected) == (True, True), about


@cache
def calls_of_a_run() -> list[str]:
    with folder_in_memory() as path:
        disk = BrokenDisk()
        assert told_until_it_fails(path / "j", disk) == (max(states()), None)
        assert set(disk.calls) == {"write", "sync", "sync_folder", "allocate", "truncate", "rename", "open"}
        return disk.calls


def test_states_are_told_apart() -> None:
    assert len(states()) == COMMANDS + 1


@pytest.mark.parametrize("way", WAYS)
def test_every_call_of_a_run_of_500_commands_may_fail(quick_path: Path, way: str) -> None:
    calls, drawn = calls_of_a_run(), seed()
    print(f"PYENGINE_SEED={drawn}: {way}, {len(calls)} calls")
    rng = random.Random(drawn)
    numbers = chosen(len(calls), SHORT_RUN, rng)
    if not LONG:
        # Rare calls are all tried.
        rare = [number for number, name in enumerate(calls, start=1) if name in {"rename", "truncate", "open", "allocate"}]
        numbers = sorted({*numbers, *rng.sample(rare, 4)})
    for number in numbers:
        path, disk, about = quick_path / f"{number}", BrokenDisk(number, way), f"call {number}, {calls[number - 1]}, {way}"
        told, error = told_until_it_fails(path, disk)
        harmless = way == "short write" or (way == "EINTR" and calls[number - 1] == "write")
        assert (error is None) == harmless, about
        if not harmless:
            assert disk.failed == calls[number - 1], about
            # Nothing is written after a failure; not even the end of the journal.
            assert not {"write", "sync"} & set(disk.calls[number:]), about
            assert told < max(states()) or number > len(calls) - 3, about
        assert_whole(path, told, about)


# --- going on after a crash -------------------------------------------------------------------------------------------


def left_by_a_crash(path: Path, kind: str) -> int:
    """Leave a journal as a crash may; return the last event that was told."""
    disk = FailingDisk(0)
    engine = opened(path, disk)
    turn = 0
    while kind == "sealed" or turn < 60:
        # A segment is sealed, and the next one has yet to get its name.
        if kind == "sealed":
            disk.rename = no_rename  # type: ignore[method-assign]
        try:
            engine.run(tape()[turn : turn + 1])
        except JournalError:
            break
        turn += 1
    told = list(states())[turn]
    journal = engine.journal
    crash(engine)
    if kind == "torn":
        newest = max(path.glob("*.journal"))
        at = journal._committer.writer.offset
        with newest.open("r+b") as file:
            file.seek(at)
            file.write(b"FRAM" + bytes(range(1, 90)))
    return told


def no_rename(path: Path, target: Path) -> None:
    raise OSError(errno.EIO, "the process ends here")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["torn", "sealed"])
def test_every_call_of_going_on_after_a_crash_may_fail(quick_path: Path, kind: str, way: str) -> None:
    told = left_by_a_crash(quick_path / "counted", kind)
    disk = BrokenDisk()
    crash(opened(quick_path / "counted", disk))
    assert {"torn": "truncate", "sealed": "rename"}[kind] in disk.calls
    for number in range(1, len(disk.calls) + 1):
        path, about = quick_path / f"{number}", f"call {number}, {disk.calls[number - 1]}, {way}"
        assert left_by_a_crash(path, kind) == told
        broken = BrokenDisk(number, way)
        try:
            engine = opened(path, broken)
        except JournalError:
            assert broken.failed, about
        else:
            # Users and their modes are written without anybody waiting for them.
            crash(engine)
        assert_whole(path, told, about)


@pytest.mark.parametrize("way", WAYS)
def test_every_call_of_a_snapshot_may_fail(quick_path: Path, way: str) -> None:
    engine = opened(quick_path)
    engine.run(tape()[:150])
    expected = engine.snapshot()
    failures = set()
    for number in range(1, 40):
        disk = BrokenDisk(number, way)
        try:
            write_snapshot(quick_path, disk=disk)
            prune(quick_path, keep_snapshots=1, disk=disk)
        except (OSError, MemoryError):
            failures.add(disk.failed)
        for left in quick_path.glob("*.unfinished"):
            # Only an open that made the file, and then failed, leaves something.
            assert (way, disk.failed) == ("EIO, though it was done", "open")
            left.unlink()
        assert recover(quick_path, ring_capacity=64).engine.snapshot() == expected
        if len(disk.calls) < number:
            break
        for one in quick_path.glob("*.snapshot"):
            if len(list(quick_path.glob("*-00000001.journal"))) == 1:
                one.unlink()
    assert way in {"short write", "EINTR"} or failures >= {"open", "write", "sync", "rename", "sync_folder"}
    crash(engine)
