"""The way in: records go to memory and into the ring in one turn, and what became of them is told afterwards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from typing import Literal, TypeVar

from pyengine.errors import FieldError
from pyengine.records import Records
from pyengine.store_errors import StoreFull, StoreUnavailable
from pyengine.stores.composite.layer import Layer
from pyengine.stores.composite.receipt import Receipt
from pyengine.stores.composite.ring import RecordRing
from pyengine.stores.composite.slots import SAVE

T = TypeVar("T")

Wait = Literal["memory", "all"] | Collection[str]
"""What a write waits for: "memory", "all" layers, or those of these names."""

_ENGINE_WAIT_S = 0.25
"""How long an engine's records wait for room: less than the engine waits for them."""

Accepted = tuple[int, int, int]
"""How many records memory stored, and the first and the last position of all in the ring (0: none)."""


class Intake:
    """Takes writes for a composite.

    Parameters
    ----------
    ring : RecordRing
    layers : tuple of Layer
    memory_name : str
        Of the layer that is written within the call; "" if there is none.
    get_ready : callable
        Called before each write, with the ring's lock; may refuse it by raising.
    full_wait_s : float
        How long a write waits for room.

    Notes
    -----
    Thread-safety: any thread.
    """

    def __init__(
        self,
        ring: RecordRing,
        layers: tuple[Layer, ...],
        memory_name: str,
        get_ready: Callable[[], object],
        full_wait_s: float,
    ) -> None:
        self.times_full = 0
        self._ring = ring
        self._layers = layers
        self._memory_name = memory_name
        self._get_ready = get_ready
        self._full_wait_s = full_wait_s
        self._tripped: deque[Layer] = deque()

    def accept(self, rows: Records, op: int, to_memory: Callable[[Records], int], patience_s: float | None = None) -> Accepted:
        """Write records to memory and into the ring; wait for room for `patience_s` or as long as such writes do.

        Raises
        ------
        StoreFull
            A layer that is within reach didn't make room in time.
        """
        ring = self._ring
        patience_s = self._full_wait_s if patience_s is None else patience_s
        stored = first = last = 0
        for start in range(0, len(rows), ring.capacity):
            part = rows[start : start + ring.capacity] if len(rows) > ring.capacity else rows
            with ring.lock:
                self._get_ready()
                self._find_room(start, len(part), patience_s)
                stored += to_memory(part)
                if self._layers:
                    begin, last = ring.append(part, op)
                    first = first or begin
                    self._note_foreign(begin, last)
            if self._tripped:
                self._say_tripped()
        return stored, first, last

    def accept_one(
        self, record: bytes, op: int, to_memory: Callable[[T], object], thing: T, patience_s: float | None = None
    ) -> Accepted:
        """Write a single record, as `accept` does; memory is given the object that it was made of."""
        ring = self._ring
        with ring.lock:
            self._get_ready()
            self._find_room(0, 1, self._full_wait_s if patience_s is None else patience_s)
            stored = int(bool(to_memory(thing)))
            first, last = ring.append_bytes(record, 1, op) if self._layers else (0, 0)
            self._note_foreign(first, last)
        if self._tripped:
            self._say_tripped()
        return stored, first, last

    def _find_room(self, taken: int, count: int, patience_s: float) -> None:
        """Wait for room, or raise StoreFull; `taken` records of the same write are in already. With the ring's lock."""
        if self._layers and not self._ring.make_room(count, patience_s, self._trip_stalled):
            self._get_ready()
            raise self._full(taken, count)

    def _note_foreign(self, first: int, last: int) -> None:
        """Remember what no journal has. With the ring's lock."""
        if self._ring.sequence.active and self._layers:
            self._ring.sequence.note_foreign(first, last)

    def accept_from_engine(self, rows: Records, seq: int | None, to_memory: Callable[[Records], int] | None) -> None:
        """Put records into the ring that come from an engine, which may have written memory itself.

        With them comes everything up to event `seq`, if the engine has a journal; there may be no records in that. Matching
        doesn't stop for a layer: one that hasn't made room in time loses the oldest, which is counted and logged, or fetches
        them from the journal.
        """
        ring = self._ring
        patience_s = min(self._full_wait_s, _ENGINE_WAIT_S)
        # No layer may take a part of what one watermark covers: if its store was set back before the last part, nobody would
        # see that the first is lost. Here it finds the first overwritten when it gets the lock, and fetches all from the journal.
        at_once = seq is not None and len(rows) > ring.capacity
        with ring.lock if at_once else nullcontext():
            for start in range(0, len(rows), ring.capacity):
                part = rows[start : start + ring.capacity]
                with ring.lock:
                    self._get_ready()
                    self._make_room(len(part), 0.0 if at_once and start else patience_s)
                    if to_memory is not None:
                        to_memory(part)
                    if self._layers:
                        ring.append(part, SAVE)
                        if start + len(part) == len(rows):
                            self._note(seq)
        if self._tripped:
            self._say_tripped()
        if not len(rows) and self._layers:
            with ring.lock:
                self._note(seq)

    def _make_room(self, count: int, patience_s: float) -> None:
        """Wait for room; then make it without those who are in the way. With the ring's lock."""
        ring = self._ring
        if ring.make_room(count, patience_s, self._trip_stalled):
            return
        for cursor in ring.cursors:
            if cursor.holds and ring.head + count - cursor.taken > ring.capacity:
                ring.let_go(cursor)
                ring.hold(cursor)
        ring.make_room(count, 0.0)

    def _note(self, seq: int | None) -> None:
        """Remember up to which event everything is in the ring, in the turn in which it came. With the ring's lock."""
        if seq is not None:
            self._ring.sequence.note(self._ring.head, seq, self._ring.head - self._ring.capacity)

    def _trip_stalled(self) -> None:
        self._tripped.extend(layer for layer in self._layers if layer.cursor.holds and layer.trip_if_stalled())

    def _say_tripped(self) -> None:
        with suppress(IndexError):  # another thread may say it
            while True:
                self._tripped.popleft().say_stalled()

    def _full(self, taken: int, wanted: int) -> StoreFull:
        self.times_full += 1
        ring = self._ring
        late = [layer.name for layer in self._layers if ring.head + wanted - layer.cursor.taken > ring.capacity]
        already = f" after rows 0 to {taken - 1} were taken; writing all again is safe" if taken else ""
        return StoreFull(
            f"the ring must have room for {wanted} records within {self._full_wait_s:g} s, was full{already}: "
            f"{', '.join(late)} must catch up"
        )

    def layers_named(self, wait: Wait) -> tuple[Layer, ...]:
        """Return the layers below memory that are meant by a `wait`."""
        if wait == "memory":
            return ()
        if wait == "all":
            return self._layers
        wanted = {wait} if isinstance(wait, str) else set(wait)
        known = [*filter(None, (self._memory_name,)), *(layer.name for layer in self._layers)]
        if wanted - {*known, "memory"}:
            raise FieldError("wait", sorted(wanted), f"'memory', 'all', or names of layers: {', '.join(known)}")
        return tuple(layer for layer in self._layers if layer.name in wanted)

    def receipt(self, accepted: Accepted, waited: tuple[Layer, ...], timeout_s: float) -> Receipt:
        """Wait for layers, and say what became of a write in each. Nobody waits for a layer that is out of reach."""
        deadline = time.monotonic() + timeout_s
        last = accepted[2]
        if not is_over(waited, last):
            self._ring.wait_until(lambda: is_over(waited, last), timeout_s)
        safe = [layer for layer in waited if layer.has_reached(last) and store_flushed(layer, deadline - time.monotonic())]
        return self.told(accepted, waited, safe)

    def told(self, accepted: Accepted, waited: tuple[Layer, ...], safe: list[Layer]) -> Receipt:
        """Say what became of a write; a layer that was waited for counts only if it is among `safe`."""
        stored, first, last = accepted
        durable = [self._memory_name] if self._memory_name else []
        pending, refused = [], {}
        for layer in self._layers:
            error = _loss(layer, first, last)
            if error is not None:
                refused[layer.name] = error
            elif layer in safe or (layer not in waited and layer.has_reached(last)):
                durable.append(layer.name)
            else:
                pending.append(layer.name)
        return Receipt(stored, first, last, tuple(durable), tuple(pending), refused)


def is_over(layers: tuple[Layer, ...], position: int) -> bool:
    """Whether no layer is left to wait for: each has dealt with everything up to a position, or is out of reach."""
    return all(layer.has_reached(position) or not layer.breaker.closed or layer.stopped is not None for layer in layers)


def store_flushed(layer: Layer, timeout_s: float) -> bool:
    """Have a store make safe what it was given, in time; a store that writes at once has nothing to do."""
    try:
        flushing = layer.readers.submit(lambda: layer.store.flush(timeout_s=max(0.0, timeout_s)))
        return bool(flushing.result(max(0.05, timeout_s)))
    except TimeoutError:
        return False
    except Exception as error:  # noqa: BLE001  it isn't safe then
        layer.failed(error)
        return False


def _loss(layer: Layer, first: int, last: int) -> Exception | None:
    """Return why a layer will never have all records from `first` to `last`, or None."""
    if layer.stopped is not None:
        return layer.stopped
    with layer.lock:
        for position, error in layer.refused.items():
            if first <= position <= last:
                return error
    for start, end in layer.ring.missed(layer.cursor):
        if start <= last and end >= first:
            return StoreUnavailable(f"{layer.name} was out of reach, and misses records {start} to {end}")
    return None
