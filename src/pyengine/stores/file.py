"""Trades in an append-only file: one JSON object a line, readable by any tool, for audits and recovery.

Durability: what `flush` or the policy says. Latency: a save costs its caller a copy into a queue, unless the policy is "always".
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from pyengine._core.names import Names
from pyengine._core.record_arrays import trade_array
from pyengine._core.trade import Trade
from pyengine.errors import FieldError, FieldTypeError
from pyengine.optional import require
from pyengine.records import Records
from pyengine.store_errors import StoreClosed, StoreError, StoreRefused, StoreUnavailable
from pyengine.stores.arguments import limit_of, path_of, whole
from pyengine.stores.audit.checkpoint import ChainHead
from pyengine.stores.audit.writer import Anchor, ChainOptions
from pyengine.stores.file_instruments import FileInstruments
from pyengine.stores.file_log import LogOptions, TradeLog
from pyengine.stores.file_packer import Packer
from pyengine.stores.file_recent import Newest, last_safe_id, newest_of
from pyengine.stores.file_writer import FileWriter, Fsync, WriterOptions, finish
from pyengine.stores.interfaces import Flushed, StoreStats
from pyengine.stores.log_reader import TradeLogReader


class FileTradeStore:
    """Trades appended to a file, off the caller's path, in order and once each.

    Parameters
    ----------
    path : path
        The file that is written to. Closed ones lie beside it as ``trades.log.000001`` and on, with ``.zst`` when they are
        packed; ``trades.log.meta`` has the instruments, ``trades.log.lock`` says who writes, and an unfinished last line that
        was found at start is kept in ``trades.log.unfinished``.
    names : Names, optional
        Table of instruments. Default: a table of its own.
    fsync : "always", "batch", "interval" or "never"
        When the disk is waited for: for each save, by its caller too; after each batch; once in `interval_s`; or never, which
        outlives a crash of the process but not of the machine.
    interval_s : float
    capacity : int
        Trades that may wait in the queue. A larger array is taken in when the queue is empty.
    full : "wait" or "refuse"
        What a save does when the queue has no room: wait for it up to `wait_s` and then raise StoreFull, or raise at once.
    wait_s : float
    rotate_bytes : int
        Size at which a new file is begun; 0 for any.
    rotate_daily : bool
        Whether the first trade of another day (UTC, by the trade's time) begins a new file.
    compress : bool
        Whether closed files are packed with zstd.
    chain : bool
        Whether a chain of checkpoints is written beside it, ``trades.log.chain``, by which any changed line is found; see
        `pyengine.stores.audit`.
    chain_bytes : int
        Bytes of the log that a checkpoint covers at most.
    chain_interval_s : float
        How long lines stay without a checkpoint at most.
    anchor : callable, optional
        Given the ChainHead every `anchor_s` in which it changed, and at the end, to keep it where nobody can change both.
    anchor_s : float

    Raises
    ------
    FieldError
        A parameter can't be.
    StoreUnavailable
        The file can't be opened, or another process or store writes to it; the text says who.
    StoreDamaged
        The last line of the file isn't one of a log of trades.
    MissingExtraError
        Files are to be packed and zstandard isn't installed.

    Notes
    -----
    A full disk or another error of the system refuses nothing: trades are kept and written again and again, `error` and `stats`
    say so, it is logged once, `flush` is late, and "always" waits no longer than `wait_s`. What waits is bounded by `capacity`.

    Lines have neither the number of the event (`seq`) nor who was filled; trades read back have 0 there. After a fork the child
    reads, and writes if the parent has closed. Thread-safe.
    """

    name = "file"
    _close_s = 5.0  # before a close gives up

    def __init__(
        self,
        path: Path | str = "trades.log",
        *,
        names: Names | None = None,
        fsync: Fsync = "batch",
        interval_s: float = 1.0,
        capacity: int = 65_536,
        full: Literal["wait", "refuse"] = "wait",
        wait_s: float = 5.0,
        rotate_bytes: int = 0,
        rotate_daily: bool = False,
        compress: bool = True,
        chain: bool = True,
        chain_bytes: int = 1 << 18,
        chain_interval_s: float = 1.0,
        anchor: Anchor | None = None,
        anchor_s: float = 10.0,
    ) -> None:
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        if fsync not in get_args(Fsync):
            raise FieldError("fsync", fsync, "always, batch, interval or never")
        if full not in ("wait", "refuse"):
            raise FieldError("full", full, "wait or refuse")
        for field, seconds in _seconds(interval_s, wait_s, chain_interval_s, anchor_s):
            if not 0 <= seconds < threading.TIMEOUT_MAX:
                raise FieldError(field, seconds, "a number of seconds, not below 0")
        self.path = path_of(path)
        self._instruments = FileInstruments(self.path, Names() if names is None else names)
        self._writer_options = WriterOptions(fsync, interval_s, whole("capacity", capacity, 1, 2**32), full == "wait", wait_s)
        rotate_bytes = whole("rotate_bytes", rotate_bytes, 0, 2**62)
        if anchor is not None and not callable(anchor):
            raise FieldTypeError("anchor", anchor, "a callable or None")
        chain_bytes = whole("chain_bytes", chain_bytes, 1, 2**30)
        chained = ChainOptions(chain_bytes, chain_interval_s, anchor, anchor_s) if chain else None
        self._log_options = LogOptions(fsync != "never", rotate_bytes, rotate_daily, chained)
        self._packs = compress and bool(rotate_bytes or rotate_daily)
        if self._packs:
            require("zstandard", "zstd")
        self._guard = threading.Lock()
        self._closed = False
        self._writer: FileWriter | None = self._open()
        _stores.add(self)

    def _open(self) -> FileWriter:
        """Open the log and start the threads."""
        try:
            log = TradeLog(self.path, self.names, self._log_options)
        except StoreError:
            raise
        except OSError as error:
            raise StoreUnavailable(f"file store: open {self.path}: {error.strerror}") from error
        packer = Packer(self.path) if self._packs else None
        if packer is not None:
            log.on_closed = packer.wake
        writer = FileWriter(log, packer, self._writer_options)
        self._finish = weakref.finalize(self, finish, writer, self._close_s)
        return writer

    def _open_writer(self) -> FileWriter:
        """Return the writer; a forked child has to open its own."""
        if self._closed:
            raise StoreClosed("file store: store must be open, was closed")
        if self._writer is None:
            with self._guard:
                if self._writer is None:
                    self._writer = self._open()
        return self._writer

    def save(self, trade: Trade) -> bool:
        """Take in a trade, as `TradeStore.save` says; see `fsync` for what it waits for."""
        return self.save_batch((trade,)) == 1

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """Take in many trades, as `TradeStore.save_batch` says. O(n).

        Raises
        ------
        FieldTypeError, FieldError
            Something isn't a trade, or its instrument is unknown or of another grid than the one in the file.
        StoreFull
            The queue had no room in time; nothing was taken in.
        StoreClosed, StoreDamaged
        """
        writer = self._open_writer()
        rows = trade_array(trades, self.names, lent=self._instruments.lent)
        if len(rows) == 0:
            return 0
        self._instruments.refuse(rows, writer.log.meta)
        return writer.accept(rows)

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """Return the newest trades, by falling id, those that aren't written yet among them. O(answer).

        Raises
        ------
        StoreDamaged
            A line isn't a trade, or isn't where it must be; the text says where it is.
        StoreUnavailable
            The files can't be read.
        StoreClosed
        """
        wanted = limit_of(limit)
        waiting, lines, meta, _ = self._newest(wanted)
        newest = sorted({*lines, *waiting}, reverse=True)[:wanted]
        made = self._instruments
        return [made.trade_of_row(waiting[n]) if n in waiting else made.trade_of_line(lines[n], meta) for n in newest]

    def last_trade_id(self) -> int:
        """Return the highest trade id whose line is safe, as `fsync` understands it, or 0. It says nothing of gaps below.

        Raises
        ------
        StoreDamaged, StoreUnavailable
            A forked child, which has no writer, can't read the end of the files.
        StoreClosed
        """
        if self._closed:
            raise StoreClosed("file store: store must be open, was closed")
        return last_safe_id(self.path, self._writer)

    def complete_for(self, limit: int) -> bool:
        """Whether `get_recent(limit)` would be all of the newest trades that were ever saved: unless closed files are gone."""
        wanted = limit_of(limit)
        _, _, _, numbers = self._newest(0)
        if numbers == list(range(1, len(numbers) + 1)):
            return True
        waiting, lines, _, _ = self._newest(wanted)
        return len({*lines, *waiting}) >= wanted

    def _newest(self, wanted: int) -> Newest:
        if self._closed:
            raise StoreClosed("file store: store must be open, was closed")
        return newest_of(self.path, self._writer, wanted)

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:
        """Wait until all that was accepted is on the disk, or with "never" in the hands of the system."""
        if self._closed:
            raise StoreClosed("file store: store must be open, was closed")
        if layers is not None and self.name not in layers:
            return Flushed()
        writer = self._writer
        if writer is None or writer.flush(timeout_s):
            return Flushed((self.name,))
        return Flushed((), (self.name,))

    def head(self, timeout_s: float = 5.0) -> ChainHead | None:
        """Return the head of the chain, once it covers all that is safe and is on the disk itself; None for an empty log.

        Raises
        ------
        StoreUnavailable
            That took too long.
        StoreRefused
            The store was made without a chain, or belongs to the parent of a forked process.
        StoreClosed
        """
        if self._closed:
            raise StoreClosed("file store: store must be open, was closed")
        writer = self._writer
        if writer is None or writer.log.chain is None:
            raise StoreRefused(f"file store: {self.path} must be written with a chain, by this process, isn't")
        return writer.log.chain.head(timeout_s)

    def reader(self, **options: Any) -> TradeLogReader:
        """Make a reader of what is in the files by now, and of ranges of it; options are those of `TradeLogReader`.

        It has names of its own unless it is given some, so that it may be used in any thread.
        """
        return TradeLogReader(self.path, **options)

    def stats(self) -> StoreStats:
        """Return what the store has counted."""
        writer = self._writer
        if writer is None:
            return StoreStats(self.name)
        counts = {**writer.log.counts, **writer.counts}
        if writer.packer is not None:
            counts |= {"packed_files": writer.packer.packed, "pack_errors": writer.packer.errors}
        gauges = writer.gauges()
        if writer.log.chain is not None:
            counts |= writer.log.chain.counts
            gauges["chain_lag_bytes"] = writer.log.chain.lag_bytes()
        return StoreStats(self.name, counts, gauges)

    def attach_names(self, names: Names) -> None:
        """Take over the tables of an engine, which stay the engine's.

        Raises
        ------
        FieldTypeError, FieldError
            They aren't Names, or trades were saved with others.
        """
        if not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names")
        writer = self._open_writer()
        if names is not self.names:
            if self._instruments.lent:
                raise FieldError("names", names, "those of the engine that the store belongs to")
            if writer.accepted:
                raise FieldError("names", names, "given before trades are saved, or when the store is made")
            writer.log.names = names
            self._instruments.replace(names)
        self._instruments.lent = True

    @property
    def names(self) -> Names:
        """Table of the instruments that numbers in arrays stand for."""
        return self._instruments.names

    @property
    def error(self) -> Exception | None:
        """Why trades can't be written at the moment; None when they can."""
        writer = self._writer
        return None if writer is None else writer.error

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._closed

    def close(self) -> None:
        """Bring everything to the disk and let others write. Closing twice is closing once.

        Raises
        ------
        StoreUnavailable
            The disk refuses it; the trades are kept, the store stays open, and may be closed again.
        """
        with self._guard:
            writer = self._writer
            if not self._closed and writer is not None:
                if not writer.close(self._close_s):
                    raise StoreUnavailable(
                        f"file store: close {self.path}: {writer.unsafe} trades can't be written ({self.error})"
                    )
                self._finish.detach()
            self._closed = True

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the file."""
        return f"<FileTradeStore {self.path}{', closed' if self._closed else ''}>"

    def _forked(self) -> None:
        """Begin anew in a forked child, which has neither the threads nor the right to write."""
        self._guard = threading.Lock()
        self._finish.detach()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.log.close()


def _seconds(interval_s: float, wait_s: float, chain_interval_s: float, anchor_s: float) -> Iterable[tuple[str, float]]:
    """Name the parameters that are times."""
    return {"interval_s": interval_s, "wait_s": wait_s, "chain_interval_s": chain_interval_s, "anchor_s": anchor_s}.items()


_stores: weakref.WeakSet[FileTradeStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._forked()  # noqa: SLF001  a hook of this module


os.register_at_fork(after_in_child=_after_fork)
