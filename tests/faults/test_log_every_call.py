"""Each call of the operating system that the trade log makes fails once: it is tried again, and nothing is lost or twice.

What a flush has said to be safe is also there when the power goes, as the disk of these tests keeps what was synced and no more.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_runs import chosen, folder_in_memory, runs_of, seed
from journal_setup import rows
from side_by_side import new_engine
from stores.trade_files import ids_written

from pyengine import SelfTrade
from pyengine.store_errors import StoreUnavailable
from pyengine.stores import Names, file_append, file_writer
from pyengine.stores.audit import verify_log
from pyengine.stores.audit import writer as chain_writer
from pyengine.stores.file import FileTradeStore

COMMANDS = 500
SHORT_RUN = 8


@cache
def trades() -> tuple[list[np.ndarray], Names]:
    """Run 500 commands; return the trades of each that had any, and the names that they are numbered in."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    found = [engine.run(run).trades for run in runs_of(rows(COMMANDS), 1)]
    return [each.copy() for each in found if len(each)], Names(engine.instruments)


@cache
def ids() -> list[int]:
    return np.concatenate(trades()[0])["trade_id"].tolist()


def real_sync(fd: int) -> None:
    os.fdatasync(fd)


class System:
    """The calls that change something, as `os` and under the names that the log calls them by; one of them fails.

    Only those about one kind of file are counted: the chain has a thread of its own, and so an order of its own.
    """

    def __init__(self, of_chain: bool, fails_at: int = 0, way: str = "EIO") -> None:
        self.calls: list[str] = []
        self.failed = ""
        self._of_chain = of_chain
        self._fails_at = fails_at
        self._way = way
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}
        self._synced: dict[int, bytes] = {}
        self._folder: dict[str, int] = {}
        self._dropped: dict[int, tuple[int, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _call(self, name: str, path: str, call: Callable[[], Any], some: Callable[[], Any] | None = None) -> Any:
        """Make a call, or fail; `some` does a half of it."""
        if (".chain" in path) != self._of_chain:
            return call()
        with self._lock:
            self.calls.append(name)
            fails = len(self.calls) == self._fails_at
        if not fails or (self._way == "short write" and some is None):
            return call()
        self.failed = name
        if self._way == "short write" and some is not None:
            return some()
        if self._way == "ENOSPC in the middle of a write" and some is not None:
            some()
        if "though" in self._way and name != "open":
            call()
        if self._way == "no memory":
            raise MemoryError
        number = getattr(errno, self._way.split()[0].strip(","))
        raise OSError(number, os.strerror(number))

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if not flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            fd = os.open(path, flags, mode)
        else:
            fd = self._call("open", str(path), lambda: os.open(path, flags, mode))
        self._names[fd] = str(path)
        return fd

    def write(self, fd: int, data: Any) -> int:
        half = bytes(data)[: max(1, len(data) // 2)]
        return self._call("write", self._names[fd], lambda: os.write(fd, data), lambda: os.write(fd, half))

    def ftruncate(self, fd: int, size: int) -> None:
        self._call("truncate", self._names[fd], lambda: os.ftruncate(fd, size))
        begin, end = self._dropped.pop(os.fstat(fd).st_ino, (0, 0))
        if begin < min(end, size):
            self._dropped[os.fstat(fd).st_ino] = begin, min(end, size)

    def fsync(self, fd: int) -> None:
        try:
            self._call("sync", self._names[fd], lambda: self._sync(fd))
        except OSError:
            # Linux drops what it couldn't bring to the disk, and the next sync succeeds without it.
            found = os.fstat(fd)
            self._dropped[found.st_ino] = len(self._synced.get(found.st_ino, b"")), found.st_size
            raise

    def _sync(self, fd: int) -> None:
        path = Path(self._names[fd])
        if path.is_dir():
            self._folder = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
        else:
            real_sync(fd)
            inode, content = os.fstat(fd).st_ino, bytearray(Path(f"/proc/self/fd/{fd}").read_bytes())
            begin, end = self._dropped.get(inode, (0, 0))
            content[begin:end] = bytes(end - begin)
            self._synced[inode] = bytes(content)

    def rename(self, path: Path, target: Any) -> Path:
        return self._call("rename", str(path), lambda: path.replace(target))

    def after_the_cut(self, into: Path) -> list[int]:
        """Write down what the disk has, and list the ids in it."""
        into.mkdir(exist_ok=True)
        for name, inode in self._folder.items():
            (into / name).write_bytes(self._synced.get(inode, b""))
        found = into / "trades.log"
        whole, end, _ = found.read_bytes().rpartition(b"\n") if found.exists() else (b"", b"", b"")
        found.write_bytes(whole + end)
        return ids_written(found)


@contextmanager
def system(one: System) -> Iterator[None]:
    """Put it in the place of the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_append, "os", one)
        patch.setattr(file_append, "_sync_bytes", one.fsync)

        def rename(path: Path, target: Any) -> Path:
            return one.rename(path, target)

        patch.setattr(Path, "rename", rename)
        patch.setattr(file_writer, "_FIRST_PAUSE_S", 0.0005)
        patch.setattr(chain_writer, "_PAUSE_S", 0.0005)
        yield


def opened(path: Path) -> FileTradeStore:
    options = {"rotate_bytes": 4000, "compress": False, "chain_bytes": 500, "chain_interval_s": 0.0005}
    return FileTradeStore(path, names=trades()[1], wait_s=20, **options)


def write_all(path: Path, one: System, rng: random.Random) -> None:
    """Write the trades of the run, command by command, whatever fails; look at what a power cut would leave now and then."""
    with system(one):
        try:
            store = opened(path)
        except (StoreUnavailable, MemoryError):
            assert one.failed
            store = opened(path)
        with store:
            seen, told = bool(one.failed), 0
            for batch in trades()[0]:
                assert store.save_batch(batch) == len(batch)
                assert store.flush(timeout_s=20)
                told += len(batch)
                if (one.failed and not seen) or rng.random() < 0.02:
                    seen = bool(one.failed)
                    assert one.after_the_cut(path.parent / f"cut {told}")[:told] == ids()[:told]
            store.head(timeout_s=20)


WAYS = ("EIO", "ENOSPC", "EINTR", "EIO, though it was done", "ENOSPC in the middle of a write", "short write", "no memory")


@cache
def calls_of_a_run(of_chain: bool) -> list[str]:
    with folder_in_memory() as path:
        one = System(of_chain)
        write_all(path / "trades.log", one, random.Random(1))
        assert ids_written(path / "trades.log") == ids()
        expected = {"open", "write", "sync"} if of_chain else {"open", "write", "sync", "rename"}
        assert set(one.calls) == expected
        return one.calls


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["log", "chain"])
def test_every_call_of_the_log_of_500_commands_may_fail(quick_path: Path, what: str, way: str) -> None:
    calls, drawn = calls_of_a_run(what == "chain"), seed()
    print(f"PYENGINE_SEED={drawn}: {what}, {way}, {len(calls)} calls")
    rng = random.Random(drawn)
    for number in chosen(len(calls), SHORT_RUN, rng):
        folder = quick_path / f"{number}"
        folder.mkdir()
        path, one = folder / "trades.log", System(what == "chain", number, way)
        write_all(path, one, rng)
        about = f"call {number}, {one.failed}, {way}"
        assert ids_written(path) == ids(), about
        assert verify_log(path), about
        assert one.failed or way == "short write" or what == "chain", about
