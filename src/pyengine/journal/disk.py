"""What a journal asks of the operating system, one thin method for each call, so that each of them can fail in a test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_sync_bytes = getattr(os, "fdatasync", os.fsync)
_MOST_PARTS = 512


class Disk:
    """The real one."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> int:
        """Write some of the parts at an offset; return how many bytes it was."""
        return os.pwritev(fd, parts, offset)

    def sync(self, fd: int) -> None:
        """Make what was written, and the length, durable."""
        _sync_bytes(fd)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def allocate(self, fd: int, size: int) -> None:
        """Take room for a file; it reads as zeros."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)

    def free_bytes(self, path: Path) -> int:
        """Return what a file system has left for us."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(fd, size)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name."""
        path.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)


def write_all(disk: Disk, fd: int, parts: Sequence[Any], offset: int) -> int:
    """Write all parts, one behind the other; return how many bytes it was. A write that did only some of it goes on."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    begin = offset
    while views:
        try:
            written = disk.write(fd, views[:_MOST_PARTS], offset)
        except InterruptedError:
            continue
        if written <= 0:
            message = f"write must write something, wrote {written} bytes"
            raise OSError(message)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views and written:
            views[0] = views[0][written:]
    return offset - begin
