"""How much room a journal takes and has, and that commands are refused before there is none."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pyengine._core.engine import EngineCore
from pyengine.errors import FieldError
from pyengine.journal.disk import Disk
from pyengine.journal.errors import JournalFull
from pyengine.journal.format import EVENT_BYTES
from pyengine.journal.snapshots import snapshot_files
from pyengine.journal.upkeep import UpkeepOptions

WARN_SHARE = 0.8
"""Part of the bound from which on it is logged that the rest is getting short."""

SLACK_BYTES = 1 << 16
_LOOK_EVERY_S = 0.1
_MIB = 1 << 20
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})

_log = logging.getLogger("pyengine.journal")


class Space:
    """The room of a journal: what its files take, what they may take, and what the file system has left.

    A segment is taken from the file system whole, so room is counted in segments. Commands are refused while what is left would
    not hold what a full ring brings: whatever has run by then is still written.

    Parameters
    ----------
    folder : Path
    disk : Disk
    options : UpkeepOptions
    segment_bytes : int
    ring_capacity : int
        Events that the engine may be ahead of the journal.

    Raises
    ------
    FieldError
        The bound is too low for that.

    Notes
    -----
    Not thread-safe; the journal's lock is held.
    """

    def __init__(self, folder: Path, disk: Disk, options: UpkeepOptions, segment_bytes: int, ring_capacity: int) -> None:
        self._folder = folder
        self._disk = disk
        self._bound = options.space_bytes
        self._reserve = options.reserve_bytes
        self._keep_snapshots = options.keep_snapshots
        self._segment_bytes = segment_bytes
        self.margin_bytes = ring_capacity * EVENT_BYTES + SLACK_BYTES
        least = 2 * segment_bytes + self.margin_bytes
        if self._bound is not None and self._bound < least:
            raise FieldError(
                "space_bytes", self._bound, f"at least {least}: two segments of {segment_bytes}, and what the ring holds"
            )
        self.used_bytes = 0
        self._outside = 0
        self._by_bound = False
        self._looked_s = float("-inf")
        self._segment = -1
        self._warned = False
        self.full: JournalFull | None = None

    # --- counting -----------------------------------------------------------------------------------------------------

    def measure(self) -> int:
        """Look at the disk, and return how many bytes may still be taken from it. O(files)."""
        # Somebody else may be taking files away.
        used = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    used += entry.stat().st_size
                except FileNotFoundError:
                    continue
        self.used_bytes = used
        free = self._disk.free_bytes(self._folder) - self._reserve
        self._by_bound = self._bound is not None and self._bound - used < free
        left = free if self._bound is None else min(free, self._bound - used)
        self._outside = max(0, left)
        self._looked_s = time.monotonic()
        return self._outside

    def _measure_if_possible(self) -> None:
        """Look, unless the process has no means to do so just now: then what was seen last has to do. The journal goes on."""
        try:
            self.measure()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            self._looked_s = time.monotonic()

    def has_room_for_segment(self, length: int) -> bool:
        """Whether there is room for a segment that holds a commit of so many bytes."""
        return self.measure() >= max(self._segment_bytes, length + SLACK_BYTES)

    # --- refusing -----------------------------------------------------------------------------------------------------

    def look(self, engine: EngineCore, segment: int, rest_bytes: int, keeps: dict[str, Callable[[], int]]) -> bool:
        """Refuse commands if there isn't room for what may come, and take them again once there is; True if room is short."""
        if segment != self._segment or time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
            self._segment = segment
            self._measure_if_possible()
        room = rest_bytes + self._outside // self._segment_bytes * self._segment_bytes
        short = room < self.margin_bytes + self._short_bytes
        if short and not self._warned:
            _log.warning("%s: %s", self._situation("is running out of room"), self._remedy(self._kept_by(keeps)))
        self._warned = short
        if room >= self.margin_bytes:
            if self.full is not None:
                self.full = None
                engine.refuse_commands(None)
                _log.warning("journal %s has room again, commands are taken", self._folder)
        elif self.full is None:
            self.full = self.failure(keeps)
            engine.refuse_commands(self.full)
            _log.error("%s", self.full)
        return short

    def failure(self, keeps: dict[str, Callable[[], int]]) -> JournalFull:
        """Make the error that says what is full, why, and what to do."""
        kept_by = self._kept_by(keeps)
        bound = self.used_bytes + self._outside if self._bound is None else self._bound
        text = f"{self._situation('has no room for further commands')}: {self._remedy(kept_by)}"
        return JournalFull(text, self.used_bytes, bound, kept_by)

    @property
    def _short_bytes(self) -> int:
        if self._bound is None:
            return 4 * self._segment_bytes
        return int((1 - WARN_SHARE) * self._bound)

    def _situation(self, what: str) -> str:
        used = f"journal {self._folder} {what}, it takes {self.used_bytes:,} bytes"
        bound = "" if self._bound is None else f" of {self._bound:,} (space_bytes)"
        if self._by_bound:
            return used + bound
        free = self._outside
        return f"{used}{bound}, and its file system has {free:,} bytes left beside the reserve of {self._reserve:,}"

    def _remedy(self, kept_by: str) -> str:
        return (
            f"segments are kept by {kept_by}. Take snapshots and prune (snapshot_every_s, or pyengine journal snapshot "
            f"{self._folder} --prune), see to who is behind, or give it more room"
        )

    def _kept_by(self, keeps: dict[str, Callable[[], int]]) -> str:
        """Say what keeps the oldest segment from going."""
        try:
            snapshots = snapshot_files(self._folder)
        except OSError as error:
            return f"what can't be listed now ({error})"
        if len(snapshots) < self._keep_snapshots:
            return f"{len(snapshots)} snapshots, where {self._keep_snapshots} must cover a segment before it goes"
        oldest = snapshots[self._keep_snapshots - 1].last_seq
        needed = sorted((needed_by(name, call), name) for name, call in list(keeps.items()))
        if needed and needed[0][0] <= oldest:
            return f"{needed[0][1]}, which has yet to take event {needed[0][0]}"
        return f"the snapshot of event {oldest}, as no later one was taken, or nobody has pruned"


def needed_by(name: str, call: Callable[[], int]) -> int:
    """Ask for the lowest sequence number that somebody still needs; everything, if that can't be said."""
    try:
        return call()
    except Exception:  # noqa: BLE001  whatever it is, what somebody may need stays
        _log.exception("%s can't say which events it still needs: all are kept", name)
        return 0


__all__ = ["Space", "needed_by"]
