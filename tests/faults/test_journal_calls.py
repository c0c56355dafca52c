"""Each call of the operating system fails once: nothing that was acknowledged is lost, and nobody is told what isn't so."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path

import pytest
from journal_setup import FailingDisk, journaled, rows

from pyengine import Engine
from pyengine.errors import PyengineError
from pyengine.journal import Journal, JournalError, JournalFailed, JournalFull, recover

RUNS = 14


def run_until_it_fails(path: Path, disk: FailingDisk) -> tuple[int, BaseException | None]:
    """Run commands until a call fails; return the last event that was acknowledged, and what was raised."""
    acknowledged = 0
    engine: Engine | None = None
    try:
        engine = journaled(path, segment_bytes=4096, disk=disk)
        for turn in range(RUNS):
            engine.run(rows(15, seed=turn))
            acknowledged = engine.next_seq - 1
        engine.close()
    except JournalError as error:
        if engine is not None and not engine.journal.closed:
            # A full disk is no failure: what has no room yet is written when there is.
            with nullcontext() if isinstance(error, JournalFull) else pytest.raises(JournalFailed):
                engine.close()
        return acknowledged, error
    return acknowledged, None


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Map each event to the state of an engine without faults, between two commands."""
    engine = journaled(tmp_path_factory.mktemp("whole"), durability="memory")
    known = {0: b""}
    for turn in range(RUNS):
        for row in rows(15, seed=turn):
            engine.run(row.reshape(1))
            known[engine.next_seq - 1] = engine.snapshot()
    engine.close()
    return known


def calls_of_a_whole_run(path: Path) -> int:
    disk = FailingDisk()
    assert run_until_it_fails(path, disk)[1] is None
    assert {"write", "sync", "sync_folder", "allocate", "truncate", "rename", "open"} == set(disk.calls)
    return len(disk.calls)


FAULTS = {
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "memory": MemoryError,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_fails_what_was_acknowledged_is_there(quick_path: Path, fault: str, states: dict[int, bytes]) -> None:
    count = calls_of_a_whole_run(quick_path / "counted")
    failures = set()
    for number in range(1, count + 1, 1 if fault == "EIO" else 5):
        path = quick_path / f"{number}"
        disk = FailingDisk(number, FAULTS[fault])
        try:
            acknowledged, error = run_until_it_fails(path, disk)
        except MemoryError:
            # Before there was a journal at all.
            assert number < 8
            continue
        failures.add(disk.failed)
        after = disk.calls[number:]
        if fault == "ENOSPC" and (error is None or isinstance(error, JournalFull)):
            # There was no room for the next segment, and it was made later.
            assert "write" in after, f"call {number}, {disk.failed}"
        else:
            assert error is not None, f"call {number}, {disk.failed}"
            assert "write" not in after
            assert "sync" not in after
        if not list(path.glob("*.journal")):
            assert acknowledged == 0
            continue
        found = recover(path)
        assert found.last_seq >= acknowledged, f"call {number}, {disk.failed}"
        assert found.last_seq == 0 or found.engine.snapshot() == states[found.last_seq]
        with Journal(path, segment_bytes=4096).resume() as engine:
            assert engine.next_seq == found.last_seq + 1
            engine.run(rows(5, seed=99)) if engine.books else None
            last = engine.next_seq - 1
        assert recover(path).last_seq == last
    assert fault != "EIO" or failures >= {"write", "sync", "sync_folder", "allocate", "truncate", "rename", "open"}


def test_short_writes_are_gone_on_with(quick_path: Path) -> None:
    disk = FailingDisk(short=37)
    acknowledged, error = run_until_it_fails(quick_path, disk)
    assert error is None
    found = recover(quick_path)
    assert (found.last_seq, found.complete) == (acknowledged, True)


def test_interrupted_writes_are_repeated_and_interrupted_syncs_are_not(quick_path: Path) -> None:
    count = calls_of_a_whole_run(quick_path / "counted")
    for number in range(1, count + 1):
        path = quick_path / f"{number}"
        disk = FailingDisk(number, lambda: InterruptedError(errno.EINTR, "Interrupted system call"))
        acknowledged, error = run_until_it_fails(path, disk)
        assert (error is None) == (disk.failed == "write"), disk.failed
        if list(path.glob("*.journal")):
            assert recover(path).last_seq >= acknowledged


def test_a_write_that_writes_nothing_fails(quick_path: Path) -> None:
    class Nothing(FailingDisk):
        def write(self, fd, parts, offset):
            return 0 if offset > 1000 else super().write(fd, parts, offset)

    _, error = run_until_it_fails(quick_path, Nothing())
    assert isinstance(error, JournalFailed)
    assert "write must write something" in str(error)
    assert isinstance(error, PyengineError)
