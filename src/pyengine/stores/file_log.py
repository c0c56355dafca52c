"""The log of trades on the disk: appended to, synced, closed by size and by day, by one thread at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyengine._core.json_lines import trade_lines
from pyengine._core.names import Names
from pyengine.records import Records
from pyengine.stores.audit.writer import ChainOptions, ChainWriter
from pyengine.stores.file_append import AppendFile, cut_unfinished
from pyengine.stores.file_history import LogView, closed_files, closed_path, last_line
from pyengine.stores.file_hold import FileHold
from pyengine.stores.file_ids import IdRanges
from pyengine.stores.file_meta import MetaFile

_log = logging.getLogger("pyengine.stores.file")

_DAY_NS = 86_400_000_000_000
_SHORTEST_LINE_BYTES = 100

_MOST_LINES = 8192
"""Lines of one write: what the caches of a processor hold is written several times faster than what they don't."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How a log is written.

    Attributes
    ----------
    syncs : bool
        Whether it is synced at all, so that what isn't synced yet must be kept.
    rotate_bytes : int
        Size that a file doesn't exceed unless by a single line; 0 for any.
    rotate_daily : bool
        Whether the first trade of another day (UTC) begins a new file.
    chain : ChainOptions or None
        How the chain of checkpoints beside it is written, if at all.
    """

    syncs: bool = True
    rotate_bytes: int = 0
    rotate_daily: bool = False
    chain: ChainOptions | None = None


class TradeLog:
    """The files of one log, opened by the one who may write.

    Attributes
    ----------
    lock : RLock
        Held while files get new names, and by whoever needs names, `readable` and `unsynced` of one moment.
    readable : int
        Bytes of the current file that will never be taken back.
    unsynced : list of Records
        What was written behind it, and is written again if the disk refuses it after all.
    last_id : int
        The highest trade id that is in the files.
    safe_id : int
        The highest trade id whose line will never be taken back.
    near : IdRanges
        Ids that are in the files, those that were there near the end when they were opened.
    counts : dict of str to int
    on_closed : callable
        Called when a file was closed and a new one begun.
    chain : ChainWriter or None

    Raises
    ------
    StoreUnavailable
        Another writer has it.
    StoreDamaged
        The last line, or a line of the file beside it, is damaged.
    OSError
        It can't be opened. Methods raise it too; then what they didn't return didn't happen, and they may be called again.
    """

    def __init__(self, path: Path, names: Names, options: LogOptions) -> None:
        self.path = path
        self.names = names
        # Reentrant, because the garbage collector may close a forgotten store in the middle of its own writer.
        self.lock = threading.RLock()
        self.unsynced: list[Records] = []
        self.counts = dict.fromkeys(("written", "bytes", "syncs", "closed_files", "reopened", "late", "cut_bytes"), 0)
        self.on_closed: Callable[[], None] = lambda: None
        self._options = options
        self._defined = np.zeros(0, np.bool_)
        self._resync = False
        self._file: AppendFile | None = None
        self.chain: ChainWriter | None = None
        self._hold = FileHold(path)
        try:
            self.meta = MetaFile(path)
            file = self._open()
            if options.syncs:
                # A process that was killed may have left lines that the disk hasn't got yet.
                file.sync()
            self.last_id, self.near, self._day = self._end()
            self.safe_id = self._written_id = self.near.highest
            self._number = self._highest()
            if options.chain is not None:
                self.chain = ChainWriter(path, options.chain, self.place)
                # Numbers of files that were taken away aren't given again.
                self._number = max(self._number, self.chain.file - 1)
                self.chain.start()
        except BaseException:
            self.close()
            raise

    def _open(self) -> AppendFile:
        """Open the current file, repaired."""
        cut = cut_unfinished(self.path)
        if cut:
            self.counts["cut_bytes"] += cut
            _log.warning("cut an unfinished line of %d bytes off %s, and kept it in %s.unfinished", cut, self.path, self.path)
        file = AppendFile(self.path)
        self._file = file
        self._resync = False
        self.readable = file.size
        return file

    def _end(self) -> tuple[int, IdRanges, int | None]:
        """Read the highest id, the ids near the end, and the day of the current file."""
        view = LogView(self.path, self.readable)
        try:
            line, near = last_line(view, self.meta.late)
        finally:
            view.close()
        last_id = max(0 if line is None else line.trade_id, self.meta.late.highest)
        return last_id, near, line.day if line is not None and line.path == self.path else None

    def _highest(self) -> int:
        """Find the highest number that a closed file has; 0 if there is none."""
        return max((number for number, _ in closed_files(self.path)), default=0)

    def place(self) -> tuple[int, int]:
        """Return the number that the current file will have, and how many of its bytes will never be taken back."""
        with self.lock:
            return self._number + 1, self.readable

    def _tell(self) -> None:
        """Let the chain know that more is safe."""
        if self.chain is not None:
            self.chain.tell(self._number + 1, self.readable)

    def write_some(self, rows: Records) -> int:
        """Write the first of some trades, which rise by trade id, and return how many: what fits into one file and one write."""
        file = self._ready()
        part = rows[:_MOST_LINES]
        if self._options.rotate_daily:
            file, part = self._same_day(part, file)
        text = self._fitting(part, file)
        if not text:
            file = self._begin_file(file)
            text = self._fitting(part, file)
        count = text.count(b"\n") if self._options.rotate_bytes else len(part)
        part = part[:count]
        late = self._note(part)
        file.append(text)
        self._written_id = max(self._written_id, int(part["trade_id"][-1]))
        self.last_id = max(self.last_id, self._written_id)
        for name, number in (("written", count), ("bytes", len(text)), ("late", late)):
            self.counts[name] += number
        with self.lock:
            if self._options.syncs:
                self.unsynced.append(part)
            else:
                self.readable, self.safe_id = file.size, self._written_id
        self._tell()
        return count

    def _ready(self) -> AppendFile:
        """Return the current file, open, and with all in it that should be."""
        file = self._file
        if file is not None and file.moved():
            _log.error(
                "%s was moved or changed by somebody else after %d bytes; going on with what is there", self.path, file.size
            )
            self.counts["reopened"] += 1
            if self._options.syncs:
                file.sync()
            with self.lock:
                self.unsynced.clear()
                self.readable, self._file = 0, None
                # It may have got its number although the system said no.
                self._number = max(self._number, self._highest())
            file.close()
            file = None
        if file is None:
            with self.lock:
                file = self._open()
        if self._resync:
            file.cut_to(self.readable)
            if self.unsynced:
                file.append(trade_lines(np.concatenate(self.unsynced), self.names))
            self._resync = False
        return file

    def _same_day(self, rows: Records, file: AppendFile) -> tuple[AppendFile, Records]:
        """Choose the rows before the next day, and a new file if that is today."""
        days = rows["ts_ns"] // _DAY_NS
        if self._day is not None and days[0] > self._day and file.size > 0:
            file = self._begin_file(file)
        if self._day is None or file.size == 0:
            self._day = int(days[0])
        later = np.flatnonzero(days > self._day)
        return file, rows[: later[0]] if len(later) else rows

    def _fitting(self, rows: Records, file: AppendFile) -> bytes:
        """Write down as many rows as fit into the current file, and one at least if it is empty."""
        limit = self._options.rotate_bytes
        if limit == 0:
            return trade_lines(rows, self.names)
        room = max(0, limit - file.size)
        text = trade_lines(rows[: room // _SHORTEST_LINE_BYTES + 1], self.names)
        if len(text) <= room:
            return text
        end = text.rfind(b"\n", 0, room) + 1
        if end == 0 and file.size == 0:
            end = text.find(b"\n") + 1
        return text[:end]

    def _begin_file(self, file: AppendFile) -> AppendFile:
        """Close the current file under a number, and begin a new one."""
        if self._options.syncs:
            self.sync()
        with self.lock:
            self.path.rename(closed_path(self.path, self._number + 1))
            self._number += 1
            self.counts["closed_files"] += 1
            self.readable, self._file = 0, None
            file.close()
            self.on_closed()
            return self._open()

    def _note(self, rows: Records) -> int:
        """Write beside the log what its reader will have to know of some rows; returns how many come behind higher ids."""
        instruments = self.names.instruments
        if len(self._defined) < len(instruments):
            self._defined = np.concatenate((self._defined, np.zeros(len(instruments) - len(self._defined), np.bool_)))
        numbers = rows["instrument"]
        new = np.unique(numbers[~self._defined[numbers]])
        first = int(rows["trade_id"][0])
        late = (first, self.last_id) if first < self.last_id else None
        self.meta.add([instruments[number] for number in new], late, sync=self._options.syncs)
        self._defined[new] = True
        return 0 if late is None else int((rows["trade_id"] < self.last_id).sum())

    def sync(self) -> None:
        """Wait until the disk has all that was written."""
        file = self._ready()
        try:
            file.sync()
        except OSError:
            # What the system hadn't written yet may be gone from its memory now, so it is written again.
            self._resync = True
            raise
        self.counts["syncs"] += 1
        with self.lock:
            self.readable, self.safe_id = file.size, self._written_id
            self.unsynced.clear()
        self._tell()

    def close(self) -> None:
        """Close the files and let others write. Closing twice is closing once."""
        if self.chain is not None:
            self.chain.close()
        if self._file is not None:
            self._file.close()
            self._file = None
        if hasattr(self, "meta"):
            self.meta.close()
        self._hold.release()
