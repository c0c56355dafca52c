"""One writer for each journal: a lock of the operating system that goes with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from pyengine.journal.errors import JournalHeld

NAME = "lock"


class Hold:
    """The right to write to a journal, held until `release` or the end of the process.

    Raises
    ------
    JournalHeld
        Somebody else has it; the text says who.
    OSError
        The lock file can't be made.
    """

    _fd = -1

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                holder = os.pread(self._fd, 400, 0).decode(errors="replace").strip() or "a process that hasn't said its name"
                raise JournalHeld(f"journal {folder} must have one writer, is held by {holder}") from error
            since = datetime.now(UTC).isoformat(timespec="seconds")
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"pid {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
        except BaseException:
            self.release()
            raise

    def __del__(self) -> None:
        """Let others write, if nobody has seen to it."""
        self.release()

    def release(self) -> None:
        """Let others write. In a forked child this only lets go of the child's copy. Releasing twice is releasing once."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            # Closing, and not unlocking: that would take the lock from the parent too.
            os.close(fd)
