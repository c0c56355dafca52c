"""A disk that fails on demand and loses what it wasn't made to keep when the power goes."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyengine.journal.disk import Disk

BLOCK_BYTES = 512
FAILURES = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EDQUOT)


class Crash(BaseException):
    """The process, or the power, ends here."""


class SimulatedDisk(Disk):
    """The real one, of which is known what would be left of it.

    Of each file that is what was synced, and of what came later any blocks; of each folder the names that were synced, and of
    what was done to them later any beginning.

    Parameters
    ----------
    rng : random.Random
        Which calls fail, and what is left.

    Attributes
    ----------
    failure_chance : float
        Of each call.
    crash_chance : float
        Likewise, of the process to end in it.
    failures : int
    """

    def __init__(self, rng: random.Random) -> None:
        self.failure_chance = 0.0
        self.crash_chance = 0.0
        self.failures = 0
        self._rng = rng
        self._contents: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self._pending: list[tuple[str, ...]] = []
        self._folders: set[Path] = set()

    def _may_fail(self, what: str) -> None:
        if self.crash_chance and self._rng.random() < self.crash_chance:
            raise Crash
        if self._rng.random() < self.failure_chance:
            self.failures += 1
            number = self._rng.choice(FAILURES)
            raise OSError(number, f"{os.strerror(number)}, {what}")

    # --- calls --------------------------------------------------------------------------------------------------------

    def open(self, path: Path, flags: int) -> int:
        self._may_fail("open")
        made = bool(flags & os.O_CREAT) and not path.exists()
        fd = super().open(path, flags)
        if made:
            self._pending.append(("add", path.name, str(os.fstat(fd).st_ino)))
        return fd

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> int:
        if self.crash_chance and self._rng.random() < self.crash_chance:
            raise Crash
        if self._rng.random() < self.failure_chance:
            self.failures += 1
            whole = b"".join(bytes(memoryview(part).cast("B")) for part in parts)
            written = os.pwrite(fd, whole[: self._rng.randrange(len(whole) + 1)], offset)
            if written and self._rng.random() < 0.5:
                return written
            raise OSError(errno.EIO, "Input/output error, write")
        return super().write(fd, parts, offset)

    def sync(self, fd: int) -> None:
        self._may_fail("sync")
        self._contents[os.fstat(fd).st_ino] = self._content(fd)

    def _content(self, fd: int) -> bytes:
        size = os.fstat(fd).st_size
        try:
            return os.pread(fd, size, 0)
        except OSError:  # open for writing only
            return Path(f"/proc/self/fd/{fd}").read_bytes()

    def sync_folder(self, path: Path) -> None:
        self._may_fail("sync of a folder")
        entries = list(os.scandir(path))
        self._folders.update(path / entry.name for entry in entries if entry.is_dir())
        if any(entry.name == "lock" for entry in entries):
            self._names = {entry.name: entry.inode() for entry in entries}
            self._pending.clear()

    def allocate(self, fd: int, size: int) -> None:
        self._may_fail("allocate")
        super().allocate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        self._may_fail("truncate")
        super().truncate(fd, size)

    def rename(self, path: Path, target: Path) -> None:
        self._may_fail("rename")
        super().rename(path, target)
        self._pending.append(("rename", path.name, target.name))

    def unlink(self, path: Path) -> None:
        self._may_fail("unlink")
        there = path.exists()
        super().unlink(path)
        if there:
            self._pending.append(("unlink", path.name))

    # --- the end ------------------------------------------------------------------------------------------------------

    def cut_power(self, folder: Path) -> None:
        """Make of a folder what is left of it."""
        rng = self._rng
        now = {}
        for entry in os.scandir(folder):
            now[entry.inode()] = Path(entry.path).read_bytes()
        names = self._names_left()
        written = {}
        keeps = rng.choice(("nothing", "everything", "blocks", "blocks"))
        for name, inode in names.items():
            written[name] = self._left(self._contents.get(inode, b""), now.get(inode), keeps)
        for entry in list(os.scandir(folder)):
            Path(entry.path).unlink()
        if folder not in self._folders:
            folder.rmdir()
            written.clear()
        self._names, self._contents, self._pending = {}, {}, []
        for name, content in written.items():
            path = folder / name
            path.write_bytes(content)
            inode = path.stat().st_ino
            self._names[name], self._contents[inode] = inode, content

    def _names_left(self) -> dict[str, int]:
        names = dict(self._names)
        for what, name, *more in self._pending[: self._rng.randrange(len(self._pending) + 1)]:
            if what == "add":
                names[name] = int(more[0])
            elif what == "unlink":
                names.pop(name, None)
            elif name in names:
                names[more[0]] = names.pop(name)
        return names

    def _left(self, safe: bytes, now: bytes | None, keeps: str) -> bytes:
        """Mix what was synced with what was written since."""
        if now is None or keeps == "nothing":
            return safe
        if keeps == "everything":
            return now
        size = self._rng.choice((len(safe), len(now)))
        mixed = bytearray(safe[:size].ljust(size, b"\0"))
        for at in range(0, size, BLOCK_BYTES):
            if self._rng.random() < 0.5:
                block = now[at : at + BLOCK_BYTES]
                mixed[at : at + len(block)] = block
        return bytes(mixed[:size])
