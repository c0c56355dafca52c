"""A file that only grows, by whole writes; what it was left with by a crash is put in order first."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK_BYTES = 1 << 16

_sync_bytes = getattr(os, "fdatasync", os.fsync)
"""Also syncs the length, but not the times, which nobody needs."""


def sync_folder(path: Path) -> None:
    """Make the names in the folder of a file as safe as its bytes."""
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cut_unfinished(path: Path) -> int:
    """Cut off what follows the last line feed and keep it in a file of the same name with ``.unfinished`` behind it.

    Returns
    -------
    int
        How many bytes that was; 0 for a file that ends with a line feed, is empty, or isn't there.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(fd).st_size
        end = last_line_end(fd, size)
        if end == size:
            return 0
        aside = os.open(path.with_name(f"{path.name}.unfinished"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            for at in range(end, size, _BLOCK_BYTES):
                _write_all(aside, os.pread(fd, min(_BLOCK_BYTES, size - at), at))
            _write_all(aside, b"\n")
            os.fsync(aside)
        finally:
            os.close(aside)
        os.ftruncate(fd, end)
        os.fsync(fd)
        return size - end
    finally:
        os.close(fd)


def last_line_end(fd: int, size: int) -> int:
    """Find the place after the last line feed among the first `size` bytes; 0 if there is none."""
    end = size
    while end > 0:
        begin = max(0, end - _BLOCK_BYTES)
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0


def _write_all(fd: int, text: bytes | memoryview) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]


class AppendFile:
    """A file open for appending. What a failed write left behind is cut off before the next one.

    Attributes
    ----------
    size : int
        Bytes of whole writes.

    Notes
    -----
    Not thread-safe. Every method may raise OSError; then nothing of it counts, and it may be tried again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        found = os.fstat(self._fd)
        self.size = found.st_size
        self._identity = found.st_dev, found.st_ino
        self._torn = False
        self._named = False

    def append(self, text: bytes | memoryview) -> None:
        """Write all of a text, or nothing."""
        if self._torn:
            os.ftruncate(self._fd, self.size)
        self._torn = True
        _write_all(self._fd, text)
        self._torn = False
        self.size += len(text)

    def cut_to(self, size: int) -> None:
        """Take back what was written from a place on, at the next write at the latest."""
        self.size = size
        self._torn = True
        os.ftruncate(self._fd, size)
        self._torn = False

    def sync(self) -> None:
        """Wait until the disk has all that was written, and the name of the file, whoever made it."""
        _sync_bytes(self._fd)
        if not self._named:
            sync_folder(self.path)
            self._named = True

    def moved(self) -> bool:
        """Whether the file isn't the one under its name any more, or somebody else changed its length."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity or (found.st_size != self.size and not self._torn)

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)
