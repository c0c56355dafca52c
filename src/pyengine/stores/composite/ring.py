"""The ring between the callers of a composite and its layers: records in order, a position for each, a cursor for each layer.

    position   1 ……… done ……… taken ……… head
               safe in the layer │ in its writer's hands │ yet to be taken │ free
    slot       (position - 1) & mask; the capacity is a power of two

A cursor that *holds* keeps what it hasn't taken: pushers wait for it. One that doesn't hold, because its layer is out of
reach, keeps nobody waiting; what is overwritten before it comes back is noted in its `missed`, as ranges of positions. One that
can go on from a journal has lapsed then, and misses only what isn't the journal's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pyengine.errors import FieldError
from pyengine.records import Records
from pyengine.stores.composite.cursor import Batch, Cursor
from pyengine.stores.composite.sequence import Sequence
from pyengine.stores.composite.slots import REMOVE, SAVE, Slots
from pyengine.stores.composite.times import Times

LARGEST_CAPACITY = 1 << 28
_LOOK_AGAIN_S = 0.02
CLOSING_S = 5.0
"""How long a layer that is behind goes on catching up after the ring was closed, unless told otherwise."""


class RecordRing:
    """A bounded queue of records that several readers go through, each at its own pace.

    Parameters
    ----------
    dtype : dtype
        Of the records.
    capacity : int
        Records that fit, a power of two.

    Notes
    -----
    Thread-safety: `lock` guards everything and may be taken more than once by a thread, so that a pusher can do something of
    its own in the same turn. Copies for readers are made without it.
    """

    def __init__(self, dtype: np.dtype[np.void], capacity: int = 65_536) -> None:
        if not 1 <= capacity <= LARGEST_CAPACITY or capacity & (capacity - 1):
            raise FieldError("ring_capacity", capacity, f"a power of two up to {LARGEST_CAPACITY}")
        self.dtype = dtype
        self.capacity = capacity
        self.head = 0
        self.last_remove = 0
        self.ending = False
        """Whether the ring was closed, now or for a moment from now."""
        self._ends_at = float("inf")
        self.cursors: list[Cursor] = []
        self._slots = Slots(dtype, capacity)
        self._spills = False  # somebody wants to know what is overwritten
        self._limit = capacity  # positions up to here are free without a look at the cursors
        self._times = Times()
        self.sequence = Sequence()
        self.gives_up_at = float("inf")
        """When who is behind stops catching up."""
        self._make_locks()

    def _make_locks(self) -> None:
        self.lock = threading.RLock()
        self._arrived = threading.Condition(self.lock)
        self._progress = threading.Condition(self.lock)
        self._idle = 0
        self._waiting = 0
        self._hurried = 0
        self._listeners: list[Callable[[], object]] = []

    # --- writing ------------------------------------------------------------------------------------------------------

    def push(self, rows: Records, op: int = SAVE, timeout_s: float = 0.0) -> tuple[int, int] | None:
        """Append records that fit into the ring, all or none, and return their first and last position.

        Waits up to `timeout_s` for cursors that hold; returns None if there is still no room. O(n).
        """
        with self.lock:
            if not self.make_room(len(rows), timeout_s):
                return None
            return self.append(rows, op)

    def make_room(self, count: int, timeout_s: float, when_full: Callable[[], object] | None = None) -> bool:
        """Wait until `count` records fit, and return whether they do. The caller has the lock, and keeps it.

        Parameters
        ----------
        count : int
            At most the capacity.
        timeout_s : float
            How long to wait.
        when_full : callable, optional
            Called whenever there is no room; it may let go of cursors.
        """
        deadline = 0.0
        while self.head + count > self._limit:
            self._limit = min((cursor.taken for cursor in self.cursors if cursor.holds), default=self.head) + self.capacity
            if self.head + count <= self._limit:
                break
            if when_full is not None:
                when_full()
                self._limit = min((cursor.taken for cursor in self.cursors if cursor.holds), default=self.head) + self.capacity
            deadline = deadline or time.monotonic() + timeout_s
            left_s = deadline - time.monotonic()
            if self.head + count > self._limit and (left_s <= 0 or self.closing):
                return False
            if self.head + count > self._limit:
                self._wait_for_progress(min(left_s, _LOOK_AGAIN_S))
        return True

    def append(self, rows: Records, op: int = SAVE) -> tuple[int, int]:
        """Copy contiguous records into free slots, which `make_room` has seen to. The caller has the lock. O(n)."""
        return self.append_bytes(rows.view(np.uint8).data, len(rows), op)

    def append_bytes(self, raw: memoryview | bytes, count: int, op: int = SAVE) -> tuple[int, int]:
        """Do that with the bytes of `count` records."""
        first = self.head + 1
        if self._spills:
            self._note_lost(count)
        self._slots.write(self.head, raw, count, op)
        self.head += count
        if op == REMOVE:
            self.last_remove = self.head
        full = self._times.note(first)
        if full is not None:
            self._times.forget(min((cursor.done for cursor in self.cursors), default=self.head), full[1])
        if self._idle:
            self._arrived.notify_all()
        return first, self.head

    def _note_lost(self, count: int) -> None:
        """Give cursors that want them the keys of what the next `count` records will overwrite."""
        for cursor in self.cursors:
            start = max(cursor.taken, self.head - self.capacity)
            lost = self.head + count - self.capacity - start
            if cursor.lost is not None and lost > 0:
                cursor.lose(self._slots.keys(start, lost))

    @property
    def closing(self) -> bool:
        """Whether the ring was closed: nothing more comes, and readers end when they have what there is."""
        return self._ends_at <= time.monotonic()

    def close(self, delay_s: float = 0.0, patience_s: float = CLOSING_S) -> None:
        """Close at once or in a moment, and wake everybody up; who is behind catches up for as long as the patience lasts."""
        with self.lock:
            self.ending = True
            self._ends_at = min(self._ends_at, time.monotonic() + delay_s)
            self.gives_up_at = min(self.gives_up_at, time.monotonic() + delay_s + patience_s)
            self._arrived.notify_all()
            self._progress.notify_all()

    # --- reading ------------------------------------------------------------------------------------------------------

    def add_cursor(self, *, keep_lost: bool = False) -> Cursor:
        """Add a reader, from the next record on; `lost` will have the first 8 bytes of what it misses if `keep_lost`."""
        with self.lock:
            cursor = Cursor(self.head, self.head, lost=[] if keep_lost else None)
            self.cursors.append(cursor)
            self._limit = 0
            return cursor

    def wait(self, cursor: Cursor, timeout_s: float) -> bool:
        """Wait until there is something to take, the cursor is nudged or the ring closes; return whether there is something."""
        deadline = time.monotonic() + timeout_s
        with self.lock:
            while self.head == cursor.taken and not cursor.nudged and not self.closing:
                left_s = min(deadline, self._ends_at) - time.monotonic()
                if left_s <= 0:
                    break
                self._idle += 1
                try:
                    self._arrived.wait(left_s)
                finally:
                    self._idle -= 1
            cursor.nudged = False
            return self.head != cursor.taken

    def pause(self, timeout_s: float) -> None:
        """Sleep, but wake up when the ring closes."""
        deadline = time.monotonic() + timeout_s
        with self.lock:
            while (left_s := min(deadline, self._ends_at) - time.monotonic()) > 0:
                self._arrived.wait(left_s)

    def take(self, cursor: Cursor, most: int) -> Batch | None:
        """Copy the next records for a cursor, up to `most`; None if there are none. O(records).

        The batch before must be finished. What was overwritten meanwhile is noted as missed.
        """
        with self.lock:
            self._skip_overwritten(cursor)
            first = cursor.taken + 1
            end = self.sequence.end_of_batch(cursor.taken, most) if cursor.follows else None
            count = min(most, self.head - cursor.taken) if end is None else end - cursor.taken
        if count <= 0 or cursor.lapsed:
            return None
        rows, ops = self._copy(first, count)
        with self.lock:
            # Of a cursor that doesn't hold, the copy may be torn where it was overtaken.
            gone = self._skip_overwritten(cursor)
            if gone >= count or cursor.lapsed:
                return None
            cursor.taken = first + count - 1
            self._hold_if_caught_up(cursor)
            self._tell()
        return Batch(first + gone, rows[gone:], ops[gone:])

    def _copy(self, first: int, count: int) -> tuple[Records, NDArray[np.uint8]]:
        return self._slots.read(first, count)

    def _skip_overwritten(self, cursor: Cursor) -> int:
        """Move a cursor past what was overwritten before it came, and note that; return how many records it was."""
        gone = self.head - self.capacity - cursor.taken
        if gone <= 0:
            return 0
        self._miss(cursor, cursor.taken + 1, cursor.taken + gone)
        cursor.lapsed = cursor.follows
        cursor.taken += gone
        cursor.done = cursor.taken
        self._tell()
        return gone

    def _miss(self, cursor: Cursor, first: int, last: int) -> None:
        for a, b in self.sequence.foreign(first, last) if cursor.follows else [(first, last)]:
            cursor.miss(a, b)

    def join(self, cursor: Cursor, seq: int, *, near: bool) -> bool:
        """Go on where everything behind an event is, if that is still there (`near`: in the newer half of the ring)."""
        with self.lock:
            position = self.sequence.join(seq, self.head - self.capacity // (2 if near else 1))
            if position is None:
                return False
            # What was passed over is in the journal, but for what was never in there.
            self._miss(cursor, cursor.done + 1, position)
            cursor.taken = cursor.done = position
            cursor.lapsed = False
            cursor.returning = not cursor.holds
            self._limit = 0
            self._hold_if_caught_up(cursor)
            self._tell()
            return True

    def finish(self, cursor: Cursor, position: int) -> None:
        """Say that a layer has dealt with everything up to a position."""
        with self.lock:
            cursor.done = max(cursor.done, position)
            self._tell()

    def give_up(self, cursor: Cursor) -> int:
        """Note all that a cursor hasn't finished as missed, and return how many records that is."""
        with self.lock:
            self._skip_overwritten(cursor)
            lost = self.head - cursor.done
            if lost:
                self._miss(cursor, cursor.done + 1, self.head)
                cursor.taken = cursor.done = self.head
                self._tell()
            return lost

    def let_go(self, cursor: Cursor) -> None:
        """Stop keeping records for a cursor."""
        with self.lock:
            cursor.holds = cursor.returning = False
            self._spills = self._spills or cursor.lost is not None
            self._tell()

    def hold(self, cursor: Cursor) -> None:
        """Keep records for a cursor again, as soon as it has caught up with half of the ring: nobody waits for it before."""
        with self.lock:
            cursor.returning = not cursor.holds
            self._hold_if_caught_up(cursor)

    def _hold_if_caught_up(self, cursor: Cursor) -> None:
        if cursor.returning and self.head - cursor.taken <= self.capacity // 2:
            cursor.returning, cursor.holds = False, True
            self._limit = 0
            self._spills = any(other.lost is not None and not other.holds for other in self.cursors)

    def nudge(self, cursor: Cursor) -> None:
        """Make `wait` return although nothing has come."""
        with self.lock:
            cursor.nudged = True
            self._arrived.notify_all()

    # --- waiting ------------------------------------------------------------------------------------------------------

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for a layer to get on."""
        return self._hurried > 0

    def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for progress of any cursor until a condition holds, and return whether it does."""
        deadline = time.monotonic() + timeout_s
        with self.lock:
            while not reached():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                with self._hurry():
                    # Breakers open without a word to the ring.
                    self._wait_for_progress(min(left_s, _LOOK_AGAIN_S))
            return True

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Have a function called at each progress, from the thread that makes it."""
        with self.lock:
            self._listeners.append(listener)
            self._hurried += 1
        try:
            yield
        finally:
            with self.lock:
                self._hurried -= 1
                self._listeners.remove(listener)

    @contextmanager
    def _hurry(self) -> Iterator[None]:
        self._hurried += 1
        try:
            yield
        finally:
            self._hurried -= 1

    def _wait_for_progress(self, timeout_s: float) -> None:
        self._waiting += 1
        try:
            self._progress.wait(timeout_s)
        finally:
            self._waiting -= 1

    def _tell(self) -> None:
        if self._waiting:
            self._progress.notify_all()
        for listener in self._listeners:
            listener()

    # --- looking ------------------------------------------------------------------------------------------------------

    def may_have(self, cursor: Cursor, column: str, value: int, position: int) -> bool:
        """Whether one of the records up to a position that a cursor hasn't finished has this value. O(those records).

        True also when some can't be seen any more.
        """
        start = cursor.done
        count = position - start
        if count <= 0:
            return False
        return self._slots.has(start, count, column, value) or self.head - self.capacity > start

    def lag_s(self, cursor: Cursor) -> float:
        """Age of the oldest record that a cursor hasn't finished, within a few milliseconds or a thousandth."""
        with self.lock:
            if cursor.done >= self.head:
                return 0.0
            return self._times.age_s(cursor.done + 1)

    def missed(self, cursor: Cursor) -> tuple[tuple[int, int], ...]:
        """Ranges of positions that a cursor will never get, those that it is missing just now included."""
        with self.lock:
            gone = self.head - self.capacity
            if gone <= cursor.taken or cursor.follows:
                return tuple(cursor.missed)
            seen = Cursor(0, 0, missed=cursor.missed[-1:])
            seen.miss(cursor.taken + 1, gone)
            return (*cursor.missed[:-1], *seen.missed)

    def start_empty(self) -> None:
        """Go on in a forked child: whatever was on its way is the parent's, and its threads and locks stayed there."""
        self._make_locks()
        self.sequence = Sequence()
        for cursor in self.cursors:
            cursor.taken = cursor.done = self.head
            cursor.nudged = cursor.follows = cursor.lapsed = False
