"""The writer of the file store: a bounded queue of trades and the thread that brings them to the disk, in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pyengine.records import Records
from pyengine.store_errors import StoreClosed, StoreFull
from pyengine.stores.file_history import LogView, all_ids
from pyengine.stores.file_ids import IdRanges, Ids, is_rising
from pyengine.stores.file_log import TradeLog
from pyengine.stores.file_meta import LogMeta
from pyengine.stores.file_packer import Packer

_log = logging.getLogger("pyengine.stores.file")

Fsync = Literal["always", "batch", "interval", "never"]

MOST_AT_ONCE = 65_536
"""Trades written by one call of the system."""

MOST_UNSYNCED = 262_144
"""Trades written but not synced that are kept in memory; then the disk is waited for even before the interval is over."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How the writer works; see `FileTradeStore`."""

    fsync: Fsync = "batch"
    interval_s: float = 1.0
    capacity: int = 65_536
    wait: bool = True
    wait_s: float = 5.0


class FileWriter:
    """Takes in trades and writes them by a thread of its own, until `close`, which ends the packer and closes the log too.

    Attributes
    ----------
    log : TradeLog
    packer : Packer or None
    error : Exception or None
        Why trades aren't being written at the moment.
    accepted, written, safe : int
        Trades taken in; of these in the file; of these as safe as the policy makes them.

    Notes
    -----
    Thread-safe. Trades go from the queue through `_writing` and the log's `unsynced` into the part of the file that is never
    taken back; whoever looks at them in this order sees each at least once.
    """

    def __init__(self, log: TradeLog, packer: Packer | None, options: WriterOptions) -> None:
        self.log = log
        self.packer = packer
        self.error: Exception | None = None
        self.accepted = self.written = self.safe = 0
        self.counts = dict.fromkeys(("errors", "duplicates", "refused"), 0)
        self._options = options
        self._changed = threading.Condition(log.lock)
        self._queue: deque[Records] = deque()
        self._writing: Records | None = None
        self._since: deque[tuple[int, float]] = deque()
        self._ids = IdRanges(log.near)
        self._opened_id = log.last_id
        self._scan = threading.Lock()
        self._scanned = self._ids.covers(1, self._opened_id) or self._opened_id == 0
        self._wanted = 0
        self._synced_at = time.monotonic()
        self._closing = self._ended = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pyengine-file-writer", daemon=True)
        self._thread.start()

    # Callers

    def accept(self, rows: Records) -> int:
        """Take in the trades whose ids are new, all or none, and return how many they are.

        Raises
        ------
        StoreFull
            There was no room in time.
        StoreClosed, StoreDamaged
        """
        ids = np.ascontiguousarray(rows["trade_id"])
        if not self._scanned:
            self._look_back(ids)
        if not is_rising(ids):
            ids, first = np.unique(ids, return_index=True)
            rows = rows[first]
        with self._changed:
            new, new_ids = self._room_for(rows, ids)
            self.counts["duplicates"] += len(rows) - len(new)
            if len(new) == 0:
                return 0
            self._ids.add(new_ids)
            self._queue.append(new)
            self.accepted += len(new)
            position = self.accepted
            self._since.append((position, time.monotonic()))
            self._changed.notify_all()
        if self._options.fsync == "always":
            self._wait_for(position, self._options.wait_s)
        return len(new)

    def _room_for(self, rows: Records, ids: Ids) -> tuple[Records, Ids]:
        """Copy the rows whose ids are new, once the queue has room for them; and their ids."""
        options = self._options
        deadline = time.monotonic() + options.wait_s
        while True:
            if self._closing:
                raise StoreClosed("file store: store must be open, was closed")
            # Anew after each wait, because others went on meanwhile.
            chosen: Any = slice(None) if ids[0] > self._ids.highest else ~self._ids.holds(ids)
            count = len(ids[chosen])
            waiting = self.accepted - self.written
            if count == 0 or waiting == 0 or waiting + count <= options.capacity:
                return rows[chosen].copy(), ids[chosen]
            left_s = deadline - time.monotonic()
            if not options.wait or left_s <= 0:
                self.counts["refused"] += count
                why = "" if self.error is None else f" ({self.error})"
                after = f" for {options.wait_s:g} s" if options.wait else ""
                raise StoreFull(
                    f"file store: queue of {self.log.path} must have room for {count} more trades, "
                    f"was full{after} with {waiting} of {options.capacity}{why}"
                )
            self._changed.wait(left_s)

    def _look_back(self, ids: Ids) -> None:
        """Read the ids of the whole log, if some of these may be in a part that wasn't read yet."""
        with self._scan:
            with self._changed:
                if self._scanned or not (~self._ids.holds(ids) & (ids <= self._opened_id)).any():
                    return
                view = LogView(self.log.path, self.log.readable)
            try:
                known = all_ids(view)
            finally:
                view.close()
            with self._changed:
                for first, last in known:
                    self._ids.add_range(first, last)
                self._scanned = True

    @property
    def unsafe(self) -> int:
        """Trades that a crash would lose."""
        return self.accepted - self.safe

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was accepted is safe; False if it isn't in time."""
        with self._changed:
            position = self.accepted
            self._wanted = max(self._wanted, position)
            self._changed.notify_all()
        return self._wait_for(position, timeout_s)

    def _wait_for(self, position: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.safe >= position, timeout_s)

    def pending(self) -> tuple[list[Records], LogView, LogMeta]:
        """Return the trades that may not be in the file, and the files without them; the caller closes the view."""
        with self._changed:
            rows = [*self._queue, *([] if self._writing is None else [self._writing]), *self.log.unsynced]
            return rows, LogView(self.log.path, self.log.readable), self.log.meta

    def gauges(self) -> dict[str, float]:
        """Return what `stats` shows of now."""
        with self._changed:
            lag_s = time.monotonic() - self._since[0][1] if self._since else 0.0
            return {
                "queue_length": self.accepted - self.written,
                "lag_records": self.accepted - self.safe,
                "lag_s": lag_s,
                "failing": self.error is not None,
                "last_trade_id": max(self._ids.highest, self._opened_id),
            }

    def close(self, timeout_s: float) -> bool:
        """End the thread, which closes the log, once everything is safe; False, and both go on, if that isn't so in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._woken.set()
        if threading.current_thread() is self._thread:
            return True  # the garbage collector may run anywhere; the thread ends when it can
        self._thread.join(timeout_s)
        with self._changed:
            self._closing = self._ended
        if self._ended:
            self._thread.join()
        return self._ended

    # The thread

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._wait_for_work():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  whatever it was, nothing that was accepted may be given up
                self._failed(error)
                self._woken.wait(pause_s)
                self._woken.clear()
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                self._succeeded()
                pause_s = _FIRST_PAUSE_S
        # In this order, because the next one to open the log may pack its files.
        if self.packer is not None:
            self.packer.close()
        self.log.close()

    def _wait_for_work(self) -> bool:
        """Wait until there is something to write or to sync; False when the thread is to end."""
        with self._changed:
            while self._writing is None and not self._queue:
                due_s = self._sync_due_s()
                if due_s == 0:
                    return True
                if self._closing:
                    self._ended = True
                    return False
                self._changed.wait(due_s)
            if self._writing is None:
                self._writing = self._take()
            return True

    def _take(self) -> Records:
        """Take trades off the queue, and put them in order of their ids."""
        parts, count = [], 0
        while self._queue and (count == 0 or count + len(self._queue[0]) <= MOST_AT_ONCE):
            parts.append(self._queue.popleft())
            count += len(parts[-1])
        rows: Records = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return rows if is_rising(rows["trade_id"]) else rows[np.argsort(rows["trade_id"], kind="stable")]

    def _sync_due_s(self) -> float | None:
        """Say in how many seconds what was written has to be synced; None if there is nothing to sync."""
        unsafe = self.written - self.safe
        if unsafe == 0:
            return None
        if self._options.fsync != "interval" or self._closing or self._wanted > self.safe or unsafe >= MOST_UNSYNCED:
            return 0
        return max(0.0, self._synced_at + self._options.interval_s - time.monotonic())

    def _work(self) -> None:
        """Write and sync what there is."""
        syncs = self._options.fsync != "never"
        if self._writing is not None:
            count = self.log.write_some(self._writing)
            with self._changed:
                self.written += count
                self._writing = self._writing[count:] if count < len(self._writing) else None
                if not syncs:
                    self._is_safe()
                self._changed.notify_all()
        with self._changed:
            due = syncs and (self._writing is None or self.written - self.safe >= MOST_UNSYNCED) and self._sync_due_s() == 0
        if due:
            self.log.sync()
            self._synced_at = time.monotonic()
            with self._changed:
                self._is_safe()
                self._changed.notify_all()

    def _is_safe(self) -> None:
        """Count what was written as safe."""
        self.safe = self.written
        while self._since and self._since[0][0] <= self.safe:
            self._since.popleft()

    def _failed(self, error: Exception) -> None:
        self.counts["errors"] += 1
        before, self.error = self.error, error
        if before is None:
            waiting = self.unsafe
            _log.error("%s can't be written, %d trades wait for it: %s", self.log.path, waiting, error)

    def _succeeded(self) -> None:
        before, self.error = self.error, None
        if before is not None:
            _log.warning("%s is written again, nothing was lost; the error was: %s", self.log.path, before)


def finish(writer: FileWriter, timeout_s: float) -> None:
    """Close what nobody closed, when the store is forgotten or the process ends."""
    if not writer.close(timeout_s):
        _log.error("%s could not be closed: %d trades are lost (%s)", writer.log.path, writer.unsafe, writer.error)
