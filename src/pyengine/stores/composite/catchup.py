"""Bringing a layer to where the ring goes on: after an outage longer than the ring, a restart, a wipe, an older backup."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pyengine.records import Records
from pyengine.store_errors import LayerStopped
from pyengine.stores.composite.layer import Layer
from pyengine.stores.composite.place import Place
from pyengine.stores.interfaces import Clearable, Mark

_LOOK_AGAIN_S = 30.0
_PAUSE_S = 0.1
_SHORT_PAUSE_S = 0.001

Attempt = Callable[[Callable[[Any], object], Any], Exception | None]
Save = Callable[[Any, Any, Mark | None], None]


class OutOfTimeError(Exception):
    """The ring was closed, and the layer couldn't be reached, or brought up to date, in the end."""


class CatchUp:
    """What a layer's writer does while the ring doesn't have what the layer needs next.

    Parameters
    ----------
    layer : Layer
    attempt : callable
        Makes a call until the store answers; returns its refusal, or None.
    save : callable
        Writes records, and moves the watermark.
    """

    def __init__(self, layer: Layer, attempt: Attempt, save: Save) -> None:
        self._layer = layer
        self._ring = layer.ring
        self._attempt = attempt
        self._save = save
        self._said = ""

    def ready(self, place: Place) -> bool:
        """See that the layer can go on in the ring; False if it isn't so yet.

        Raises
        ------
        OutOfTimeError
            The ring was closed, and there is no time to catch up.
        """
        layer = self._layer
        if not layer.is_behind:
            return True
        if place.stopped is not None and time.monotonic() < place.look_again_at:
            self._check_time(stopped=True)
            self._ring.pause(min(1.0, place.look_again_at - time.monotonic()))
            return False
        place.lose()
        self._ring.let_go(layer.cursor)
        try:
            self._find(place)
            self._go(place)
        except LayerStopped as error:
            self.stop(place, error)
            return False
        except OSError as error:
            if str(error) != self._said:
                self._said = str(error)
                layer.log.warning("%s can't catch up, trying again: %s", layer.name, error)
            self._check_time()
            # Whether the ring is closing or not, which would end a pause of the ring.
            time.sleep(_PAUSE_S)
            return False
        self._said = ""
        return True

    def stop(self, place: Place, error: LayerStopped) -> None:
        """Write nothing any more, but look again now and then."""
        layer = self._layer
        if str(place.stopped) != str(error):
            layer.log.error("%s is stopped: %s", layer.name, error)
        place.stopped = error
        place.look_again_at = time.monotonic() + _LOOK_AGAIN_S
        self._ring.nudge(layer.cursor)

    def _check_time(self, *, stopped: bool = False) -> None:
        if self._ring.closing and (stopped or time.monotonic() >= self._ring.gives_up_at):
            raise OutOfTimeError

    # --- where the layer is -------------------------------------------------------------------------------------------

    def _find(self, place: Place) -> None:
        """Find out up to where the store has everything."""
        if place.marked:
            self._find_mark(place)
        elif place.numbered and not place.ours:
            self._find_trade(place)
        place.known = True
        last_seq = place.source.last_seq
        if place.seq > last_seq:
            raise LayerStopped(
                f"{self._layer.name} must not be ahead of journal {place.source.journal}, which ends at event "
                f"{last_seq}, is at {place.seq}. Bring the journal back that belongs to it, or make it anew: "
                f"{self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        return f"pyengine rebuild {self._layer.name}"

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Ask the store for something, until it answers."""
        found: list[Any] = []
        error = self._attempt(lambda _: found.append(call()), ())
        if error is not None:
            raise LayerStopped(f"{self._layer.name} doesn't tell how far it is: {error}") from error
        return found[-1]

    def _find_mark(self, place: Place) -> None:
        store, journal = self._layer.store, place.source.journal
        found = self._ask(lambda: store.watermark(journal))
        if found is not None and (isinstance(found, bool) or not isinstance(found, int) or found < 0):
            raise LayerStopped(f"{self._layer.name}: its watermark must be the number of an event, or None, was {found!r}")
        place.watermark = found
        if place.watermark is None and not place.ours and not self._layer.is_cache and not self._is_empty():
            raise LayerStopped(
                f"{self._layer.name} must be empty or have a watermark of journal {journal}, holds records of something else. "
                f"Give the journal another store, or make this one anew: {self._remedy}"
            )
        if place.watermark is None:
            # Before the first record, or a crash would leave records that seem to be somebody else's.
            self._save(np.empty(0, self._ring.dtype), np.empty(0, np.int64), Mark(journal, None, 0))
            place.watermark = 0

    def _is_empty(self) -> bool:
        store = self._layer.store
        if hasattr(store, "is_empty"):
            return bool(self._ask(store.is_empty))
        return bool(self._layer.was_empty)

    def _find_trade(self, place: Place) -> None:
        """Find the last trade of a store that has them in order, and see that it is the journal's."""
        store, source = self._layer.store, place.source
        last = int(self._ask(store.last_trade_id))
        if last == 0 and source.begins_after == 0:
            place.watermark = 0
            return
        end = source.durable_seq
        try:
            found, gone = (source.trade(last), False) if last else (None, True)
        except LayerStopped:
            gone = True
        if gone:
            # Of a journal that was pruned right up to here nothing is missing.
            following = source.trade(last + 1)
            place.watermark = end if following is None else max(int(following["seq"][0]) - 1, source.begins_after)
            return
        newest = next(iter(self._ask(lambda: store.get_recent(1))), None)
        if found is None or (newest is not None and newest.trade_id == last and not _same(newest, found)):
            raise LayerStopped(
                f"{self._layer.name} must end with a trade of journal {source.journal}, ends with trade {last}, which isn't. "
                f"Put it aside and make it anew: {self._remedy}"
            )
        place.watermark = int(found["seq"][0])

    # --- getting on ---------------------------------------------------------------------------------------------------

    def _go(self, place: Place) -> None:
        """Write what the journal has until the ring has what comes next."""
        layer, source = self._layer, place.source
        place.begin()
        begun, first, before = time.monotonic(), place.seq, place.caught_up
        # At the start of a process it is nothing out of the ordinary.
        level = logging.WARNING if place.ours else logging.INFO
        joined = self._join(place, near=True)
        if not joined:
            layer.log.log(level, "%s is at event %d of %d, and catches up", layer.name, first, source.durable_seq)
        while not joined:
            reached = place.seq
            joined = self._read_on(place) or self._join(place, near=False)
            self._check_time()
            if not joined and place.seq == reached:
                self._ring.pause(_SHORT_PAUSE_S)
        place.stopped, place.aligned = None, True
        self._ring.finish(layer.cursor, 0)
        if place.caught_up > before:
            spent_s = time.monotonic() - begun
            layer.log.log(
                level,
                "%s has caught up: %d records in %.1f s, up to event %d",
                *(layer.name, place.caught_up - before, spent_s, place.seq),
            )

    def _read_on(self, place: Place) -> bool:
        """Write what is in the journal by now; return whether the layer has joined the ring on the way."""
        layer, source = self._layer, place.source
        after, whole = place.seq, False
        if layer.is_cache and after < source.begins_after:
            # What a cache can't be told any more, it doesn't need to have; but what it has may have changed since.
            self._empty(place)
            after, whole = source.begins_after, True
        for rows, to_seq in source.records(after, layer.batch, whole=whole):
            self._check_time()
            self._bring(place, rows, to_seq)
            if self._join(place, near=True):
                return True
        return False

    def _empty(self, place: Place) -> None:
        store = self._layer.store
        if not place.watermark and self._is_empty():
            return
        if not isinstance(store, Clearable):
            raise LayerStopped(
                f"{self._layer.name} must go on at event {place.seq + 1}, the journal goes back to "
                f"{place.source.begins_after + 1}. Empty it, or make it anew: {self._remedy}"
            )
        self._layer.log.warning("%s is emptied, as the journal doesn't go back to event %d any more", self._layer.name, place.seq)
        self._ask(store.clear)
        place.watermark = None

    def _bring(self, place: Place, rows: Records, to_seq: int) -> None:
        layer = self._layer
        count = len(rows)
        prepared, wrong = layer.prepare(rows)
        for error in wrong.values():
            layer.refuse(0, error)
        if wrong:
            prepared = rows[np.setdiff1d(np.arange(count), np.fromiter(wrong, np.intp))]
        self._save(prepared, np.zeros(len(prepared), np.int64), layer.mark_to(to_seq))
        place.move(to_seq, rows)
        place.caught_up += count

    def _join(self, place: Place, *, near: bool) -> bool:
        return self._ring.join(self._layer.cursor, place.seq, near=near)


def _same(trade: Any, row: Records) -> bool:
    """Whether a trade that was read back is one of the journal: who traded, as its numbers may be of another grid."""
    return {trade.maker_id, trade.taker_id} == {row["maker_id"][0], row["taker_id"][0]}
