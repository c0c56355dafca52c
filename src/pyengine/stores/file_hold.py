"""One writer for each file: a lock of the operating system that dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from pathlib import Path

from pyengine.store_errors import StoreUnavailable

_held: dict[tuple[int, int], Path] = {}
"""Lock files that this process holds, by device and inode: locks of one process don't exclude each other."""

_guard = threading.Lock()


def _forget() -> None:
    """Start empty in a forked child: it inherits neither the locks nor the threads that may be using the table."""
    global _guard  # noqa: PLW0603  the old one may be taken for ever
    _guard = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_forget)


class FileHold:
    """The right to write to a file, held until `release` or the end of the process.

    It is a lock on a file of the same name with ``.lock`` behind it, which stays there and says who has it.

    Raises
    ------
    StoreUnavailable
        Somebody else has it; the text says who.
    OSError
        The lock file can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.lock")
        self._pid = os.getpid()
        with _guard:
            self._fd = self._take(path)

    def _take(self, path: Path) -> int:
        # Looked up by name, because closing any descriptor of the file would give up the lock that this process has on it.
        try:
            before = self.path.stat()
        except FileNotFoundError:
            before = None
        if before is not None and (before.st_dev, before.st_ino) in _held:
            raise StoreUnavailable(f"file store: {path} must have one writer, is open in this process already (pid {self._pid})")
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "a process that hasn't said its name"
                raise StoreUnavailable(f"file store: {path} must have one writer, is held by {holder}") from error
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {self._pid} on {socket.gethostname()}\n".encode(), 0)
            made = os.fstat(fd)
        except BaseException:
            os.close(fd)
            raise
        self._key = made.st_dev, made.st_ino
        _held[self._key] = self.path
        return fd

    def release(self) -> None:
        """Let others write. A forked child only closes its copy. Releasing twice is releasing once."""
        with _guard:
            fd, self._fd = self._fd, -1
            if fd == -1:
                return
            if os.getpid() == self._pid:
                _held.pop(self._key, None)
            os.close(fd)
