"""Snapshots on a schedule: a child process makes them of the files, so that the engine's own doesn't stop for them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pyengine.errors import FieldError, FieldTypeError
from pyengine.journal.snapshots import UNFINISHED, snapshot_files

if TYPE_CHECKING:
    from pyengine.journal.journal import Journal

NICE = 10
_LONGEST_NAP_S = 0.5
_HURRY_EVERY_S = 2.0
_LONGEST_REST_S = 300.0
_LEFT_BEHIND = re.compile(r".*\.(\d+)" + re.escape(UNFINISHED))

_log = logging.getLogger("pyengine.journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepOptions:
    """How much room a journal may take, and when snapshots are taken. `Journal` says what each is.

    Raises
    ------
    FieldError
        One is out of range.
    FieldTypeError
        One is of another type.
    """

    space_bytes: int | None = None
    reserve_bytes: int = 0
    snapshot_every_s: float | None = None
    snapshot_every_events: int | None = None
    keep_snapshots: int = 2
    archive: str | Path | None = None

    def __post_init__(self) -> None:
        """Check each."""
        for name, least in (("space_bytes", 1), ("reserve_bytes", 0), ("snapshot_every_events", 1), ("keep_snapshots", 1)):
            value = getattr(self, name)
            if value is None and name not in {"reserve_bytes", "keep_snapshots"}:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise FieldTypeError(name, value, "an int")
            if value < least:
                raise FieldError(name, value, f"from {least} on")
        every = self.snapshot_every_s
        if every is not None:
            if isinstance(every, bool) or not isinstance(every, (int, float)):
                raise FieldTypeError("snapshot_every_s", every, "a number of seconds")
            if not 0 < every <= threading.TIMEOUT_MAX:
                raise FieldError("snapshot_every_s", every, "above 0 seconds")

    @property
    def scheduled(self) -> bool:
        """Whether snapshots are taken at all."""
        return self.snapshot_every_s is not None or self.snapshot_every_events is not None


@dataclass(slots=True)
class Upkeep:
    """The thread that has snapshots made, and what came of it.

    Attributes
    ----------
    counts : dict of str to int
        `snapshots` that were made, `snapshot_failures`, `segments_gone`, and the last event of the newest (`snapshot_seq`).
    """

    folder: Path
    options: UpkeepOptions
    counts: dict[str, int] = field(default_factory=lambda: {"snapshots": 0, "snapshot_failures": 0, "segments_gone": 0})
    _stop: threading.Event = field(default_factory=threading.Event)
    _hurry: bool = False
    _child: subprocess.Popen[str] | None = None
    _last_s: float = field(default_factory=time.monotonic)
    _tried_s: float = float("-inf")
    _rest_s: float = 0.0

    def start(self, journal: Journal) -> None:
        """Begin, if snapshots were asked for. Whatever a process that ended too early has left of one is removed."""
        newest = snapshot_files(self.folder)
        self.counts["snapshot_seq"] = newest[0].last_seq if newest else 0
        for path in self.folder.glob(f"*{UNFINISHED}"):
            match = _LEFT_BEHIND.fullmatch(path.name)
            if match is not None and not _lives(int(match[1])):
                path.unlink(missing_ok=True)
        if self.options.scheduled:
            threading.Thread(
                target=_keep_up, args=(weakref.ref(journal), self), name="pyengine-journal-upkeep", daemon=True
            ).start()

    def hurry(self) -> None:
        """Take the next snapshot soon: room is short."""
        self._hurry = True

    def stop(self) -> None:
        """End the thread, and a snapshot that is being made."""
        self._stop.set()
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                child.terminate()

    def is_due(self, durable_seq: int) -> bool:
        """Whether a snapshot is to be made now."""
        now, new = time.monotonic(), durable_seq - self.counts["snapshot_seq"]
        if now < self._tried_s + self._rest_s:
            return False
        if self._hurry and now >= self._tried_s + _HURRY_EVERY_S:
            return True
        every_s, every_events = self.options.snapshot_every_s, self.options.snapshot_every_events
        if every_events is not None and new >= every_events:
            return True
        return every_s is not None and new > 0 and now - self._last_s >= every_s

    def nap(self) -> bool:
        """Wait until it is time to look again; True if it is time to end."""
        every_s = self.options.snapshot_every_s
        return self._stop.wait(_LONGEST_NAP_S if every_s is None else min(_LONGEST_NAP_S, every_s / 2))

    def run(self, keep_from: int) -> None:
        """Have a child process make a snapshot, and take away the segments that nobody needs. Failures are logged."""
        self._tried_s, self._hurry = time.monotonic(), False
        archive = "" if self.options.archive is None else os.fspath(self.options.archive)
        command = [sys.executable, "-m", "pyengine.journal", os.fspath(self.folder), str(keep_from)]
        command += [str(self.options.keep_snapshots), archive]
        try:
            # It has to find what this process has found.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            with subprocess.Popen(  # noqa: S603  our own module and the journal's own folder
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            ) as child:
                self._child = child
                if self._stop.is_set():
                    child.terminate()
                output, _ = child.communicate()
            lines = output.splitlines()
            if child.returncode != 0:
                raise OSError(lines[-1] if lines else f"its process ended with status {child.returncode}")  # noqa: TRY301
            found = json.loads(lines[-1])
            self.counts["snapshot_seq"], gone = int(found["last_seq"]), int(found["segments_gone"])
        except (OSError, ValueError, LookupError) as error:
            made_by, self._child = self._child, None
            if self._stop.is_set():
                if made_by is not None:
                    _remove(self.folder, made_by.pid)
                return
            self.counts["snapshot_failures"] += 1
            self._rest_s = min(max(1.0, 2 * self._rest_s), _LONGEST_REST_S)
            _log.error("no snapshot of journal %s was made, next try in %g s: %s", self.folder, self._rest_s, error)
        else:
            self._child = None
            self.counts["snapshots"] += 1
            self.counts["segments_gone"] += gone
            self._rest_s = 0.0
            self._last_s = self._tried_s


def _keep_up(journal_of: weakref.ref[Journal], upkeep: Upkeep) -> None:
    """Make snapshots when they are due, until the journal is closed, or gone with its engine."""
    while not upkeep.nap():
        journal = journal_of()
        if journal is None or journal.closed or journal.failure is not None:
            return
        if not upkeep.is_due(journal.durable_seq):
            continue
        keep_from = journal.needed_seq()
        del journal
        upkeep.run(keep_from)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(folder: Path, pid: int) -> None:
    for path in folder.glob(f"*.{pid}{UNFINISHED}"):
        path.unlink(missing_ok=True)
