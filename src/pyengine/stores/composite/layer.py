"""One layer of a composite below memory: a store, how it is doing, and what it has been asked and told."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyengine._core.names import Names
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.errors import FieldError
from pyengine.records import Records
from pyengine.store_errors import StoreRefused
from pyengine.stores.composite import process
from pyengine.stores.composite.breaker import Breaker
from pyengine.stores.composite.numbers import NumberMap
from pyengine.stores.composite.place import Place, Source
from pyengine.stores.composite.readers import Readers
from pyengine.stores.composite.ring import RecordRing
from pyengine.stores.interfaces import Mark, StoreStats

READ_DEADLINES_S = {"redis": 0.05}
"""How long a read may take by the name of the store; all others have `DEADLINE_S`."""

DEADLINE_S = 5.0
BATCH_ROWS = 5_000
_CACHES = ("redis",)
_KEPT_REFUSALS = 1000
_KEPT_BACKFILLS = 256

REFUSALS = (StoreRefused, ValueError, TypeError)
"""What a store raises for a record that it will never take; anything else is an outage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOptions:
    """How one layer is treated.

    Parameters
    ----------
    read_deadline_s : float, optional
        What a read may take, waiting for its turn included. Default: the store's attribute of this name, or 50 ms for Redis
        and 5 s for others.
    stall_s : float
        A write that takes longer while the ring is full makes the layer count as out of reach.
    batch : int, optional
        Records that the store is given at once, at most. Default: the store's attribute `batch_rows`, or 5,000.
    linger_s : float
        How long an idle writer lets records gather after the last one that came, and ten times as long after the first.
        Nobody who waits for the layer waits for this.
    failures, pause_s, longest_pause_s
        As of `Breaker`.
    readers : int
        Threads that read for callers.
    """

    read_deadline_s: float | None = None
    stall_s: float = 1.0
    batch: int | None = None
    linger_s: float = 0.001
    failures: int = 3
    pause_s: float = 0.5
    longest_pause_s: float = 30.0
    readers: int = 8

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        for name in ("batch", "failures", "readers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise FieldError(name, getattr(self, name), "at least 1")
        for name in ("read_deadline_s", "stall_s", "linger_s", "pause_s", "longest_pause_s"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 3600:
                raise FieldError(name, getattr(self, name), "from 0 to 3600 seconds")


def is_memory(store: Any) -> bool:
    """Whether a store can neither hang nor fail: the two of the core, or one whose `in_memory` says so."""
    return isinstance(store, (InMemoryOrderStore, InMemoryTradeStore)) or bool(getattr(store, "in_memory", False))


class Layer:
    """A store below memory. Its writer is a thread of its own, its readers are a few.

    Parameters
    ----------
    store : OrderStore or TradeStore
    name : str
        As in statistics, receipts and the name of the logger.
    options : LayerOptions
    ring : RecordRing
    make_objects : callable
        Makes orders or trades of an array, for stores that have no `names`.
    make_array : callable
        Makes an array of orders or trades, in the numbers of a store that has.

    Notes
    -----
    Thread-safety: `lock` guards counters and refusals; the rest is the writer's, or guards itself.
    """

    def __init__(
        self,
        store: Any,
        name: str,
        options: LayerOptions,
        ring: RecordRing,
        make_objects: Callable[[Records, Any], Iterable[Any]],
        make_array: Callable[[Iterable[Any], Names], Records],
    ) -> None:
        self.store = store
        self.name = name
        self.options = options
        self.ring = ring
        self.cursor = ring.add_cursor(keep_lost=self.is_cache)
        self.breaker = Breaker(options.failures, options.pause_s, options.longest_pause_s)
        self.readers = Readers(name, options.readers)
        self.log = logging.getLogger(f"pyengine.stores.{name}")
        self.was_empty: bool | None = None
        """Whether the store held nothing before this composite wrote to it; None while that isn't known."""
        self.greeted = False
        self.place: Place | None = None
        """Where it is in the journal that it follows, if it follows one."""
        self.calling_since: float | None = None
        self.backfills: deque[tuple[int, list[Any]]] = deque()
        self.refused: dict[int, Exception] = {}
        self._damages: set[str] = set()
        self._lacks_refused = False
        self._make_objects = make_objects
        self._make_array = make_array
        self._numbers: NumberMap | None = None
        self._names: Names | None = None
        self._counts: dict[str, int] = dict.fromkeys(
            ("hits", "misses", "backfills", "errors", "retries", "written", "refused", "skipped"), 0
        )
        self.lock = threading.Lock()

    @property
    def names(self) -> Names | None:
        """Tables that turn the composite's numbers into names; None until it is known which they are."""
        return self._names

    def use_names(self, names: Names) -> None:
        """Say what the numbers in the ring stand for. Before the first record."""
        self._names = names
        own = getattr(self.store, "names", None)
        self._numbers = NumberMap(names, own) if isinstance(own, Names) else None

    @property
    def read_deadline_s(self) -> float:
        """What a read may take."""
        if self.options.read_deadline_s is not None:
            return self.options.read_deadline_s
        own = getattr(self.store, "read_deadline_s", None)
        return own if own is not None else READ_DEADLINES_S.get(getattr(self.store, "name", self.name), DEADLINE_S)

    @property
    def batch(self) -> int:
        """Most records that the store is given at once."""
        own: int = getattr(self.store, "batch_rows", BATCH_ROWS)
        return own if self.options.batch is None else self.options.batch

    @property
    def is_inline(self) -> bool:
        """Whether reads can't hang, so that whoever asks may make them."""
        return is_memory(self.store)

    @property
    def is_cache(self) -> bool:
        """Whether the store may forget what it was given."""
        return getattr(self.store, "name", "") in _CACHES or not getattr(self.store, "complete", True)

    @property
    def is_whole(self) -> bool:
        """Whether the layer has got everything that it was to get so far, or has forgotten what it had of it."""
        return not self.is_behind and not self._lacks_refused and self.missed_count == self.cursor.healed

    # --- the journal --------------------------------------------------------------------------------------------------

    def follow(self, source: Source | None, begins_at: int) -> None:
        """Have the layer catch up from a journal whenever the ring doesn't have what it needs. With the ring's lock."""
        self.place = None if source is None else Place(self.store, source, begins_at)
        self.cursor.follows = source is not None
        self.cursor.lapsed = False
        if source is not None:
            # It writes again what it has missed, so that it needn't forget it.
            self.cursor.lost = None

    @property
    def is_behind(self) -> bool:
        """Whether the layer lacks something that it has to fetch from the journal."""
        return self.place is not None and (
            not self.place.aligned or self.cursor.lapsed or self.ring.head - self.ring.capacity > self.cursor.taken
        )

    @property
    def stopped(self) -> Exception | None:
        """Why nothing is written to the store; None if all is well."""
        return None if self.place is None else self.place.stopped

    @property
    def safe_seq(self) -> int:
        """The event up to which nothing can be lost any more; 0 until that is known."""
        return self.place.safe_seq(self.store) if self.place is not None and self.place.known else 0

    def has_reached(self, position: int) -> bool:
        """Whether the layer has dealt with everything up to a position, and with all that was before in the journal."""
        return self.cursor.done >= position and not self.is_behind

    def mark_to(self, to_seq: int | None) -> Mark | None:
        """Make what moves the store's watermark; None if it has none, or it is there."""
        place = self.place
        if place is None or not place.marked or to_seq is None or to_seq <= place.seq:
            return None
        return Mark(place.source.journal, place.watermark, to_seq)

    def mark_here(self) -> Mark | None:
        """Make what has a store write only while its watermark is where it was left; None if it has none."""
        place = self.place
        if place is None or not place.marked or place.watermark is None:
            return None
        return Mark(place.source.journal, place.watermark, place.watermark)

    # --- what the writer does -----------------------------------------------------------------------------------------

    def prepare(self, rows: Records) -> tuple[Records | list[Any], dict[int, FieldError]]:
        """Put rows into the store's terms, in place; with the rows that can't be."""
        if self._numbers is not None:
            wrong = self._numbers.translate(rows)
            return rows, wrong
        return list(self._make_objects(rows, self)), {}

    def greet(self) -> None:
        """Make the first call, which may raise what any call may: ask whether there is anything in the store."""
        if hasattr(self.store, "is_empty"):
            self.was_empty = bool(self.store.is_empty())
        elif hasattr(self.store, "__len__"):
            self.was_empty = len(self.store) == 0
        else:
            self.was_empty = False
            self.probe()

    def probe(self) -> None:
        """Make a cheap call."""
        for name, arguments in (("ping", ()), ("is_empty", ()), ("get", (0,)), ("get_recent", (1,))):
            if hasattr(self.store, name):
                getattr(self.store, name)(*arguments)
                return

    def connected(self) -> None:
        """Say once that the layer answers. Its driver's own threads exist by now."""
        self.greeted = True
        self.log.info("%s is connected", self.name)
        process.go_first()

    def say_damaged(self, error: Exception) -> None:
        """Note a value that can't be trusted; each is logged once."""
        self.count("errors")
        text = str(error)
        with self.lock:
            known = text in self._damages
            if len(self._damages) < _KEPT_REFUSALS:
                self._damages.add(text)
        if not known:
            self.log.error("%s holds what can't be read: %s", self.name, text)

    def refuse(self, position: int, error: Exception, *, harmless: bool = False) -> None:
        """Note a record that the store will never take; `harmless` if it has nothing older in its place."""
        with self.lock:
            self._counts["refused"] += 1
            count = self._counts["refused"]
            self._lacks_refused = self._lacks_refused or not harmless
            self.refused[position] = error
            if len(self.refused) > _KEPT_REFUSALS:
                del self.refused[next(iter(self.refused))]
        if count.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: enough to see that it goes on
            self.log.error("%s refuses record %d, %d so far: %s", self.name, position, count, error)

    def own_terms(self, found: list[Any]) -> Records | list[Any]:
        """Put orders or trades of another layer into the store's terms."""
        own = getattr(self.store, "names", None)
        return self._make_array(found, own) if isinstance(own, Names) else found

    def backfill(self, position: int, found: list[Any]) -> None:
        """Have the writer add what was found further down, as of a position, when it has time."""
        with self.lock:
            if len(self.backfills) >= _KEPT_BACKFILLS:
                return
            self.backfills.append((position, found))
        self.ring.nudge(self.cursor)

    # --- how it is doing ----------------------------------------------------------------------------------------------

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self.lock:
            self._counts[name] += by

    def succeeded(self) -> None:
        """Note that the store answered."""
        if self.breaker.succeeded():
            away_s = time.monotonic() - self.breaker.opened_at
            self.ring.hold(self.cursor)
            if self.place is not None:
                self.log.warning("%s answers again after %.1f s", self.name, away_s)
            else:
                missed = self.missed_count
                self.log.warning("%s answers again after %.1f s, has missed %d records so far", self.name, away_s, missed)

    def failed(self, error: BaseException) -> None:
        """Note that the store didn't answer."""
        self.count("errors")
        if self.breaker.failed():
            self.ring.let_go(self.cursor)
            self.ring.nudge(self.cursor)  # the writer is who probes
            self.log.warning(
                "%s is out of reach: %s; the newest %d records are kept for it", self.name, error, self.ring.capacity
            )

    def trip_if_stalled(self) -> bool:
        """Count the layer as out of reach when its write hangs; return whether it does so from now on."""
        since = self.calling_since
        if since is None or time.monotonic() - since < self.options.stall_s or not self.breaker.trip():
            return False
        self.ring.let_go(self.cursor)
        return True

    def say_stalled(self) -> None:
        """Log what `trip_if_stalled` found; apart, because that is called with locks held."""
        self.log.warning(
            "%s is out of reach: a write has taken more than %.1f s; the newest %d records are kept for it",
            *(self.name, self.options.stall_s, self.ring.capacity),
        )

    @property
    def missed_count(self) -> int:
        """How many records the layer will never get."""
        gone = 0 if self.cursor.follows else max(0, self.ring.head - self.ring.capacity - self.cursor.taken)
        return self.cursor.missed_count + gone

    def stats(self) -> StoreStats:
        """Return counters, gauges, the state of the breaker, and what the store itself has counted."""
        with self.lock:
            counts = dict(self._counts)
        counts["missed"] = self.missed_count
        lag = self.ring.head - self.cursor.done
        gauges = {
            "queue_length": float(min(lag, self.ring.capacity)),
            "lag_records": float(lag),
            "lag_s": self.ring.lag_s(self.cursor),
        }
        place = self.place
        if place is not None:
            gauges |= place.gauges()
            if self.is_behind:
                # How many records the events in the journal come to isn't known.
                gauges["lag_records"] = max(gauges["lag_records"], gauges["lag_events"])
                gauges["lag_s"] = max(gauges["lag_s"], time.monotonic() - place.behind_since)
        try:
            own: tuple[StoreStats, ...] = (self.store.stats(),)
        except Exception as error:  # noqa: BLE001  a closed or broken store has no say in the composite's statistics
            self.log.debug("%s has no statistics: %s", self.name, error)
            own = ()
        return StoreStats(self.name, counts, gauges, self.breaker.state, self.ring.missed(self.cursor), own)

    def start_anew(self) -> None:
        """Go on in a forked child, without the parent's threads and their locks."""
        self.lock = threading.Lock()
        self.breaker.start_anew()
        self.readers.start_anew()
        self.backfills.clear()
        self.calling_since = None
        self.place = None
        self.cursor.holds = True
