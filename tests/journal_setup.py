"""Journals for tests: engines that write one, and disks on which a call is slow or fails."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from command_streams import MIXES, Mix, random_rows
from side_by_side import new_engine

from pyengine import Engine, Instrument, SelfTrade
from pyengine.journal import Journal, recover
from pyengine.journal.disk import Disk


def journaled(path: Path, *, segment_bytes: int = 1 << 20, durability: str = "journal", disk: Disk | None = None) -> Engine:
    """Make an engine with the books and users of the streams, and a new journal."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    Journal(path, segment_bytes=segment_bytes, disk=disk).attach(engine, durability=durability)
    return engine


def btc(path: Path, **options: object) -> Engine:
    """Make an engine with one book, and a new journal."""
    return Engine([Instrument("BTC-USD", "0.01", "0.001")], journal=Journal(path), **options)


def rows(count: int, seed: int = 7, mix: Mix = MIXES[0]) -> np.ndarray:
    """Draw commands."""
    return random_rows(np.random.default_rng(seed), count, mix)


def small_journal(path: Path, *, runs: int = 12, each: int = 15, close: bool = True, segment_bytes: int = 4096) -> Engine:
    """Write a journal of a few segments, one commit or so a run; the engine that wrote it is kept or closed."""
    engine = journaled(path, segment_bytes=segment_bytes)
    for turn in range(runs):
        engine.run(rows(each, seed=turn))
    if close:
        engine.close()
    return engine


def as_if_killed(engine: Engine, path: Path, into: Path) -> Path:
    """Copy a journal as its writer's end would leave it, without its closing it."""
    engine.acknowledged().result()
    shutil.copytree(path, into)
    return into


def same(engine: Engine, path: Path) -> None:
    """See that a journal leads to an engine's state, to the byte."""
    found = recover(path).engine
    found.check()
    assert found.state_hash() == engine.state_hash()
    assert found.snapshot() == engine.snapshot()


class SlowDisk(Disk):
    """A disk that is busy until it is told."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.free.wait(20)
        self.syncs += 1
        super().sync(fd)


class FailingDisk(Disk):
    """A disk on which one call fails, and then all that are of use to nobody but a retry succeed.

    Attributes
    ----------
    calls : list of str
        Names of all calls.
    """

    def __init__(self, fails_at: int = 0, how: Callable[[], BaseException] | None = None, short: int = 0) -> None:
        self.calls: list[str] = []
        self._fails_at = fails_at
        self._how = how or (lambda: OSError(errno.EIO, "the disk is broken"))
        self._short = short
        self.failed = ""

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self._fails_at:
            self.failed = name
            raise self._how()

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> int:
        self._count("write")
        if self._short:
            [first, *_] = [memoryview(part).cast("B") for part in parts]
            return super().write(fd, [first[: self._short]], offset)
        return super().write(fd, parts, offset)

    def sync(self, fd: int) -> None:
        self._count("sync")
        super().sync(fd)

    def sync_folder(self, path: Path) -> None:
        self._count("sync_folder")
        super().sync_folder(path)

    def allocate(self, fd: int, size: int) -> None:
        self._count("allocate")
        super().allocate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        self._count("truncate")
        super().truncate(fd, size)

    def rename(self, path: Path, target: Path) -> None:
        self._count("rename")
        super().rename(path, target)

    def open(self, path: Path, flags: int) -> int:
        self._count("open")
        return super().open(path, flags)


# --- bounds and schedules ---------------------------------------------------------------------------------------------

SEGMENT = 1 << 15
MARGIN = 64 * 64 + (1 << 16)
"""What a journal of a ring of 64 events keeps free."""


def bounded(path: Path, *, durability: str = "journal", disk: Disk | None = None, **options: object) -> Engine:
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER, ring_capacity=64)
    Journal(path, segment_bytes=SEGMENT, disk=disk, **options).attach(engine, durability=durability)
    return engine


def until(happened: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def size_of(path: Path) -> int:
    """Add up the files of a folder; one may go at any moment."""
    sizes = []
    for entry in path.iterdir():
        with suppress(FileNotFoundError):
            sizes.append(entry.stat().st_size)
    return sum(sizes)
