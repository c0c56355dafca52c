"""What the tests of faults share: seeds, how long they run, journals that are stepped, and folders on a disk of memory."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyengine import Engine
from pyengine.journal import Journal

LONG = bool(os.environ.get("PYENGINE_LONG_FAULTS"))
"""Whether everything is tried, as `make faults` does, and not a part of it."""


def seed() -> int:
    """Draw a seed, or take the one of a run that is to be repeated."""
    return int(os.environ.get("PYENGINE_SEED") or random.SystemRandom().randrange(2**31))


def chosen(count: int, most: int, rng: random.Random) -> list[int]:
    """Choose some of the numbers from 1 to `count`, all of them in a long run, the first and the last in any."""
    if LONG or count <= most:
        return list(range(1, count + 1))
    return sorted({1, count, *rng.sample(range(1, count + 1), most)})


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder where a sync costs nothing, if the system has such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="pyengine-faults-", dir=place))
    try:
        yield path
    finally:
        shutil.rmtree(path)


class SteppingBell:
    """Rung by whoever waits for a journal, who then makes its step."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ring(self) -> None:
        self._journal.step()


class SteppedJournal(Journal):
    """A journal without a thread: who waits for it makes its steps, so that everything happens in one order."""

    def __init__(self, path: str | Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.bell = SteppingBell(self)  # type: ignore[assignment]

    def _start(self) -> None:
        pass

    def crash(self) -> None:
        """Be gone, as with the process: nothing is written or said any more."""
        self._closed = True
        if self._committer is not None:
            self._committer.consumer.close()
            self._committer.writer.close()
        self._hold.release()


def runs_of(commands: Any, each: int) -> Iterator[Any]:
    """Divide commands into arrays of so many."""
    for begin in itertools.count(0, each):
        if begin >= len(commands):
            return
        yield commands[begin : begin + each]


def crash(engine: Engine) -> None:
    """End an engine with a stepped journal as a crash would."""
    journal = engine.journal
    assert isinstance(journal, SteppedJournal)
    journal.crash()


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of its own, as large as `size` says ("4m"), where that is allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a disk can't be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
