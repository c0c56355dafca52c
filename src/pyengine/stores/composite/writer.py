"""The thread that brings a layer what comes through the ring, batch by batch, and tries again until it has it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine.records import Records
from pyengine.store_errors import LayerStopped, WatermarkMoved
from pyengine.stores.composite.catchup import CatchUp, OutOfTimeError
from pyengine.stores.composite.cursor import Batch
from pyengine.stores.composite.layer import REFUSALS, Layer
from pyengine.stores.composite.slots import REMOVE
from pyengine.stores.interfaces import Mark

_FIRST_RETRY_S = 0.01
_LONGEST_RETRY_S = 1.0
_IDLE_S = 60.0
_MARK_S = 1.0
"""How long an idle layer's watermark stays behind events that aren't its."""
_LINGERS = 10


class LayerWriter(threading.Thread):
    """A layer's writer. Ends when the ring closes and everything is written, or one last attempt has failed.

    It refers to the layer and the ring, never to the composite, which can go without being closed.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(name=f"pyengine-{layer.name}-writer", daemon=True)
        self._layer = layer
        self._ring = layer.ring
        self._catch_up = CatchUp(layer, self._attempt, self._save)
        self._missed_said = False
        self._marked_at = time.monotonic()
        self._swept_at = time.monotonic()

    def stop(self) -> None:
        """Have it write what is left, and end."""
        self._ring.close()

    def run(self) -> None:
        """Write until the ring closes."""
        layer, ring, cursor = self._layer, self._ring, self._layer.cursor
        try:
            while self._wait():
                self.turn()
            with suppress(WatermarkMoved, LayerStopped):
                self._move_watermark()
        except OutOfTimeError:
            pass
        finally:
            ring.let_go(cursor)
            behind = layer.is_behind
            lost = ring.give_up(cursor)
        if layer.place is not None and (lost or behind):
            layer.log.warning(
                "%s was closed at event %d of %d: the rest comes from the journal when the engine is resumed",
                *(layer.name, layer.place.seq, layer.place.source.durable_seq),
            )
        elif lost:
            layer.log.error("%s was closed without the last %d records", layer.name, lost)

    def turn(self) -> None:
        """Do what there is to do, some of it."""
        layer, ring, cursor = self._layer, self._ring, self._layer.cursor
        try:
            if not layer.greeted:
                self._attempt(lambda _: layer.greet(), ())
                layer.connected()
            if layer.place is not None and not self._catch_up.ready(layer.place):
                return
            batch = ring.take(cursor, layer.batch)
            self._say_missed()
            self._heal()
            if batch is not None:
                self._deliver(batch)
                ring.finish(cursor, batch.last)
            elif time.monotonic() - self._marked_at >= _MARK_S:
                self._move_watermark()
        except WatermarkMoved as error:
            layer.log.warning("%s isn't where it was left, and catches up from there: %s", layer.name, error)
            if layer.place is not None:
                layer.place.lose()
            return
        except LayerStopped as error:
            if layer.place is not None:
                layer.place.lose()
                self._catch_up.stop(layer.place, error)
            return
        self._backfill()
        self._sweep()

    def _wait(self) -> bool:
        """Wait for something to do; False when there is nothing any more."""
        layer, ring = self._layer, self._ring
        if not layer.greeted:
            return not ring.closing or ring.head != layer.cursor.done or layer.is_behind
        if layer.is_behind:
            return True
        if not layer.breaker.closed:
            self._attempt(lambda _: layer.probe(), ())
        idle = ring.head == layer.cursor.taken
        if not ring.wait(layer.cursor, _IDLE_S if layer.place is None else _MARK_S):
            return not ring.closing
        if idle:
            self._linger()
        return True

    def _linger(self) -> None:
        """Let records gather while they come in quick succession: who writes them needs the interpreter more than we do."""
        ring, linger_s = self._ring, self._layer.options.linger_s
        deadline = time.monotonic() + _LINGERS * linger_s
        while linger_s and not ring.hurried and not ring.closing and time.monotonic() < deadline:
            seen = ring.head
            time.sleep(linger_s)
            if ring.head == seen or ring.head - self._layer.cursor.taken > ring.capacity // 2:
                return

    def _deliver(self, batch: Batch) -> None:
        """Write a batch, bit by bit if there are records in it that the store refuses."""
        layer = self._layer
        removed, rows, positions = settle(batch)
        with self._ring.lock:
            covered = None if layer.place is None else self._ring.sequence.covered(batch.last)
        if len(removed):
            self._write(layer.store.remove_batch, removed["order_id"], np.full(len(removed), batch.last))
        if len(rows):
            prepared, wrong = layer.prepare(rows)
            if wrong:
                for row, error in wrong.items():
                    layer.refuse(int(positions[row]), error)
                right = np.setdiff1d(np.arange(len(rows)), np.fromiter(wrong, np.intp))
                prepared, positions = rows[right], positions[right]
            # What the store has already it is given once more, but not if it was wiped meanwhile.
            self._save(prepared, positions, layer.mark_to(covered) or layer.mark_here())
        elif covered is not None and layer.mark_to(covered) is not None:
            self._save(rows, positions[:0], layer.mark_to(covered))
        if layer.place is not None and covered is not None and covered > layer.place.seq:
            layer.place.move(covered, rows)

    def _move_watermark(self) -> None:
        """Have an idle store know that what happened since is none of its business."""
        layer, place = self._layer, self._layer.place
        self._marked_at = time.monotonic()
        if place is None or layer.is_behind:
            return
        with self._ring.lock:
            covered = self._ring.sequence.covered(self._ring.head) if self._ring.head == layer.cursor.done else None
        if covered is not None and covered > place.seq:
            nothing = np.empty(0, self._ring.dtype)
            self._save(nothing, np.empty(0, np.int64), layer.mark_to(covered))
            place.move(covered, nothing)

    def _save(self, things: Records | list[Any], positions: NDArray[Any], mark: Mark | None) -> None:
        """Write records and move the watermark, in one piece, however large: what is lost between two pieces would not be seen.

        Only if the store refuses something of it, it goes bit by bit, each of which finds the watermark where it was.
        """
        layer = self._layer
        store = layer.store
        if mark is None:
            self._write(store.save_batch, things, positions)
            return
        if self._attempt(lambda part: store.save_marked(part, mark), things) is None:
            layer.count("written", len(things))
            return
        stays = Mark(mark.journal, mark.after, mark.after or 0)
        self._write(lambda part: store.save_marked(part, stays), things, positions)
        self._must_mark(lambda _: store.save_marked(things[:0], mark))

    def _must_mark(self, call: Callable[[Any], object]) -> None:
        refusal = self._attempt(call, ())
        if refusal is not None:
            raise LayerStopped(f"{self._layer.name} must take its watermark, refuses it: {refusal}") from refusal

    def _write(self, write: Callable[[Any], object], things: Sequence[Any] | NDArray[Any], positions: NDArray[Any]) -> None:
        """Write all of it, halving what is refused until single records are left, which are noted."""
        most = self._layer.batch
        parts = [(things[at : at + most], positions[at : at + most]) for at in range(0, len(things), most)][::-1]
        while parts:
            part, places = parts.pop()
            if not len(part):
                continue
            error = self._attempt(write, part)
            if error is None:
                self._layer.count("written", len(part))
            elif len(part) == 1:
                self._refuse(part, int(places[0]), error)
            else:
                middle = len(part) // 2
                parts += [(part[middle:], places[middle:]), (part[:middle], places[:middle])]

    def _refuse(self, part: Any, position: int, error: Exception) -> None:
        """Note a record that the store will never take; a cache forgets what it has of that id, and is none the worse."""
        layer = self._layer
        if layer.is_cache and isinstance(part, np.ndarray) and "order_id" in (part.dtype.names or ()):
            forgotten = self._attempt(layer.store.remove_batch, part["order_id"]) is None
            layer.refuse(position, error, harmless=forgotten)
        else:
            layer.refuse(position, error)

    def _attempt(self, call: Callable[[Any], object], argument: Any) -> Exception | None:
        """Call until the store answers, and return its refusal, or None.

        Raises
        ------
        OutOfTimeError
            The ring was closed, and the last attempt has failed.
        """
        layer, ring = self._layer, self._ring
        pause_s = _FIRST_RETRY_S
        while True:
            last = ring.closing
            while not layer.breaker.allow(now=last):
                if last:
                    raise OutOfTimeError
                ring.pause(max(layer.breaker.probe_in_s, _FIRST_RETRY_S))
                self._say_missed()
                last = ring.closing
            layer.calling_since = time.monotonic()
            try:
                call(argument)
            except REFUSALS as error:
                layer.succeeded()
                return error
            except WatermarkMoved:
                layer.succeeded()
                raise
            except Exception as error:
                layer.failed(error)
                if last:
                    raise OutOfTimeError from error
            else:
                layer.succeeded()
                return None
            finally:
                layer.calling_since = None
            layer.count("retries")
            if layer.breaker.closed:
                ring.pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    def _heal(self) -> None:
        """Have a cache forget orders of which it has missed something; they come back when they are next asked for."""
        layer, cursor = self._layer, self._layer.cursor
        if not cursor.lost:
            return
        with self._ring.lock:
            lost, cursor.lost, missed = np.unique(np.concatenate(cursor.lost)), [], cursor.missed_count
        for start in range(0, len(lost), layer.batch):
            if self._attempt(layer.store.remove_batch, lost[start : start + layer.batch]) is not None:
                cursor.lost = None
                return
        cursor.healed = missed

    def _backfill(self) -> None:
        """Add what reads found further down, when nothing newer waits. What can't be added is left out."""
        layer, ring = self._layer, self._ring
        while layer.backfills and ring.head == layer.cursor.done and layer.breaker.closed:
            position, found = layer.backfills.popleft()
            if ring.last_remove > position:
                continue  # one of them may have been removed since
            add = getattr(layer.store, "backfill", None)
            if add is None and ring.head != position:
                # Without versions nobody could tell which is newer: what was found, or what was written since.
                found = [each for each in found if getattr(each, "version", 1)]
            try:
                (add or layer.store.save_batch)(layer.own_terms(found))
                layer.count("backfills", len(found))
            except Exception as error:  # noqa: BLE001  only a cache is colder for it
                layer.failed(error)

    def _sweep(self) -> None:
        """Let a store that has to put itself in order do so now and then, a little at a time."""
        layer = self._layer
        if time.monotonic() - self._swept_at < _IDLE_S or not hasattr(layer.store, "sweep") or not layer.breaker.closed:
            return
        self._swept_at = time.monotonic()
        try:
            layer.store.sweep()
        except Exception as error:  # noqa: BLE001  what wasn't swept is swept the next time
            layer.failed(error)

    def _say_missed(self) -> None:
        """Log that records are being lost for the layer, once until it has caught up."""
        layer = self._layer
        missed = self._ring.missed(layer.cursor)
        if not missed or layer.cursor.holds:
            self._missed_said = False
        elif not self._missed_said and missed[-1][1] >= layer.cursor.taken:
            self._missed_said = True
            layer.log.error("%s misses records from %d on: more than the ring holds are waiting", layer.name, missed[-1][0])


def settle(batch: Batch) -> tuple[Records, Records, NDArray[np.int64]]:
    """Reduce a batch to what it comes to: records to remove first, then those to save with their positions.

    Of several saves of an order only the one of the highest version counts, the last of equal ones; those before a removal
    don't count at all. O(n) while ids rise, else O(n log n).
    """
    rows, ops = batch.rows, batch.ops
    positions = np.arange(batch.first, batch.last + 1)
    none = rows[:0]
    if "order_id" not in (rows.dtype.names or ()) or "version" not in (rows.dtype.names or ()):
        return none, rows, positions
    ids = rows["order_id"]
    removes = ops == REMOVE
    if not removes.any():
        if (ids[1:] > ids[:-1]).all():
            return none, rows, positions
        kept = _newest(ids, rows["version"])
        return none, rows[kept], positions[kept]
    gone, last = _last_places(ids[removes], np.flatnonzero(removes))
    places = np.searchsorted(gone, ids)
    at = np.minimum(places, len(gone) - 1)
    alive = ~removes & ((gone[at] != ids) | (np.arange(len(ids)) > last[at]))
    left = np.flatnonzero(alive)
    kept = left[_newest(ids[left], rows["version"][left])]
    return rows[last], rows[kept], positions[kept]


def _last_places(ids: NDArray[np.uint64], places: NDArray[np.intp]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return the different ids, rising, and for each the last of its places."""
    order = np.argsort(ids, kind="stable")
    ids, places = ids[order], places[order]
    ends = np.append(ids[1:] != ids[:-1], True)[: len(ids)]
    return ids[ends], places[ends]


def _newest(ids: NDArray[np.uint64], versions: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the places of the highest version of each id, the last of equal ones, in their order."""
    if not len(ids):
        return np.empty(0, np.intp)
    order = np.lexsort((versions, ids))  # stable
    ends = np.append(ids[order][1:] != ids[order][:-1], True)
    return np.sort(order[ends])
