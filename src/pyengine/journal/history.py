"""What a journal tells a store: trades, and orders as they became, from any event on that it still has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

import numpy as np

from pyengine._core.order_store import InMemoryOrderStore
from pyengine.errors import FieldError, PyengineError
from pyengine.journal.errors import HistoryGone, JournalError
from pyengine.journal.found import look
from pyengine.journal.reader import first_header, segment_paths
from pyengine.journal.scan import EventScan
from pyengine.journal.snapshots import SnapshotFile, snapshot_files
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Kind, Records

Until = int | Callable[[], int] | None

BATCH = 8192
_MOST_EVENTS = 1 << 18
"""Events without enough trades for a batch, after which there is one nevertheless."""


class History:
    """The orders and trades of a journal, which is only read; it may be written meanwhile.

    Numbers of instruments and users in the records are those of the engine: `recover(path).engine.names` has their names.

    Parameters
    ----------
    path : str or Path
        The folder.

    Raises
    ------
    JournalError
        There is no journal.

    Notes
    -----
    Thread-safety: any thread; an iterator is one thread's.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.identity = first_header(self.path).identity.hex() if self.path.is_dir() else ""
        if not self.identity:
            raise JournalError(f"path must be the folder of a journal, was {str(path)!r}")

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def first_seq(self) -> int:
        """Sequence number of the first event that is there; those before were pruned."""
        return int(segment_paths(self.path)[0].name[:20])

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event in the files. Where the journal is written, `Journal.durable_seq` is what counts."""
        found = look(self.path)
        return 0 if found is None else found.segment.position.seq - 1

    @property
    def trades_from(self) -> int:
        """Lowest `after_seq` of `trades`."""
        return self.first_seq - 1

    @property
    def orders_from(self) -> int:
        """Lowest `after_seq` of `orders`: what was pruned is made good for by the open orders in a snapshot."""
        first = self.first_seq
        if first == 1:
            return 0
        for one in reversed(snapshot_files(self.path)):
            if one.last_seq >= first - 1 and self._orders_in(one) is not None:
                return one.last_seq
        return self.last_seq

    # --- records ------------------------------------------------------------------------------------------------------

    def trades(self, after_seq: int = 0, until_seq: Until = None, *, batch: int = BATCH) -> Iterator[tuple[Records, int]]:
        """Read the trades behind an event.

        Parameters
        ----------
        after_seq : int
            The last event that is known already.
        until_seq : int or callable, optional
            The last one to look at, which must be on the disk; or what tells it, asked again at each end, so that it may grow.
            Default: the last one that is there.
        batch : int
            Trades that come at once, at most.

        Yields
        ------
        rows : array of TRADE_DTYPE
            May be empty.
        to_seq : int
            The event up to which all trades have come.

        Raises
        ------
        HistoryGone
            The journal doesn't go back so far any more; `first_seq` of the error is where it begins.
        JournalDamaged
            It isn't as it was written.
        """
        until = _checked(after_seq, until_seq, batch, self)
        parts: list[Records] = []
        count, given = 0, after_seq
        scan = EventScan(self.path, after_seq)
        while given < (end := until()):
            for events in scan.events(end):
                found = events[events["kind"] == Kind.TRADE].view(TRADE_DTYPE)
                parts.append(found)
                count += len(found)
                while count >= batch:
                    rows = _joined(parts)
                    given = int(rows["seq"][batch - 1])
                    yield rows[:batch], given
                    parts, count = [rows[batch:]], count - batch
                if scan.seq - given >= _MOST_EVENTS:
                    given = scan.seq
                    yield _joined(parts), given
                    parts, count = [], 0
            if given < end:
                given = end
                yield _joined(parts), given
                parts, count = [], 0

    def orders(
        self, after_seq: int = 0, until_seq: Until = None, *, batch: int = BATCH, whole: bool = False
    ) -> Iterator[tuple[Records, int]]:
        """Read the orders that changed behind an event, each as it was at the end of its batch; otherwise as `trades`.

        Parameters
        ----------
        batch : int
            Events that are taken together, at most; there are at most two orders for each.
        whole : bool
            Whether to begin with all orders that were open at `after_seq`.

        Yields
        ------
        rows : array of ORDER_RECORD_DTYPE
        to_seq : int

        Raises
        ------
        HistoryGone
            The journal doesn't go back so far, or has no snapshot with the orders that were open then.
        """
        until = _checked(after_seq, until_seq, batch, self)
        tracker = self.open_orders(after_seq)
        if whole:
            yield tracker.get_all_array(), after_seq
        scan = EventScan(self.path, after_seq)
        while scan.seq < (end := until()):
            for events in _in_batches(scan, end, batch):
                rows = tracker.apply_changes(events)
                tracker.remove_finished(keep=0)
                yield rows, int(events["seq"][-1])

    def open_orders(self, at_seq: int) -> InMemoryOrderStore:
        """Return the orders that were open when an event had happened, in a store of their own. O(events since a snapshot)."""
        tracker = InMemoryOrderStore()
        begin = 0
        for one in snapshot_files(self.path):
            found = self._orders_in(one) if one.last_seq <= at_seq else None
            if found is not None:
                begin = one.last_seq
                tracker.save_batch(found)
                break
        try:
            scan = EventScan(self.path, begin)
        except HistoryGone as error:
            raise HistoryGone(at_seq + 1, self.orders_from + 1) from error
        for events in _in_batches(scan, at_seq, BATCH):
            tracker.apply(events)
            tracker.remove_finished(keep=0)
        return tracker

    def _orders_in(self, snapshot: SnapshotFile) -> Records | None:
        try:
            return snapshot.orders(bytes.fromhex(self.identity))
        except (PyengineError, OSError):
            return None

    # --- single trades ------------------------------------------------------------------------------------------------

    def trade(self, trade_id: int, until_seq: int | None = None) -> Records | None:
        """Find a trade by its id, as an array of one; None if it hasn't happened. O(a segment), more the older it is.

        Raises
        ------
        HistoryGone
            It was pruned, or nothing shows that it wasn't.
        """
        until_seq = self.last_seq if until_seq is None else until_seq
        firsts = sorted({int(path.name[:20]) for path in segment_paths(self.path)}, reverse=True)
        begins_with = None
        for first in firsts:
            begins_with = next((rows for rows, _ in self.trades(first - 1, until_seq, batch=1) if len(rows)), None)
            if begins_with is None or begins_with["trade_id"][0] > trade_id:
                continue
            for rows, _ in self.trades(first - 1, until_seq):
                place = int(np.searchsorted(rows["trade_id"], trade_id))
                if place < len(rows):
                    return rows[place : place + 1]
            return None
        if trade_id < 1 or firsts[-1] == 1 or (begins_with is None and trade_id >= self._next_trade_id(firsts[-1], until_seq)):
            return None
        raise HistoryGone(1, firsts[-1])

    def _next_trade_id(self, first_seq: int, until_seq: int) -> float:
        """Return the id of the next trade of a journal without any, which a snapshot knows; infinity if there is none."""
        for one in snapshot_files(self.path):
            if first_seq - 1 <= one.last_seq <= until_seq:
                with suppress(PyengineError, OSError):
                    return one.load(bytes.fromhex(self.identity), {"ring_capacity": 64}).next_trade_id
        return inf

    def seq_of_trade(self, trade_id: int, until_seq: int | None = None) -> int | None:
        """Return the sequence number of a trade; None if it hasn't happened. As `trade`."""
        found = self.trade(trade_id, until_seq)
        return None if found is None else int(found["seq"][0])


def _checked(after_seq: int, until_seq: Until, batch: int, history: History) -> Callable[[], int]:
    if after_seq < 0:
        raise FieldError("after_seq", after_seq, "at least 0")
    if batch < 1:
        raise FieldError("batch", batch, "at least 1")
    if callable(until_seq):
        return until_seq
    end = history.last_seq if until_seq is None else until_seq
    return lambda: end


def _joined(parts: list[Records]) -> Records:
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, TRADE_DTYPE)


def _in_batches(scan: EventScan, until_seq: int, most: int) -> Iterator[Records]:
    """Put small commits together, and take large ones apart."""
    parts: list[Records] = []
    count = 0
    for events in scan.events(until_seq):
        rest = events
        while count + len(rest) >= most:
            parts.append(rest[: most - count])
            rest = rest[most - count :]
            yield np.concatenate(parts) if len(parts) > 1 else parts[0]
            parts, count = [], 0
        if len(rest):
            parts.append(rest)
            count += len(rest)
    if parts:
        yield np.concatenate(parts) if len(parts) > 1 else parts[0]


__all__ = ["ORDER_RECORD_DTYPE", "TRADE_DTYPE", "History", "HistoryGone"]
