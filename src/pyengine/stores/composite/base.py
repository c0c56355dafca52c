"""What both composites are: memory first, a ring, and a writer for each layer below.

Writing: memory and the ring within the call, in one turn, so that both see writes in the same order. Everything else happens
in the layers' own threads. A forked child starts with an empty ring and writers of its own; what was on its way at the fork
is the parent's to write.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from pyengine._core.names import Names
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import Records
from pyengine.store_errors import StoreClosed
from pyengine.stores.composite import process
from pyengine.stores.composite.intake import Accepted, Intake, Wait, store_flushed
from pyengine.stores.composite.layer import Layer, LayerOptions, is_memory
from pyengine.stores.composite.place import Source
from pyengine.stores.composite.receipt import Receipt
from pyengine.stores.composite.ring import RecordRing
from pyengine.stores.composite.writer import LayerWriter
from pyengine.stores.interfaces import Flushed, StoreStats

_ENGINE_NAP_S = 0.0002
_ENGINE_LEFT_S = 0.5
_CORE_STORES = (InMemoryOrderStore, InMemoryTradeStore)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a composite is of."""

    interface: type
    what: str
    dtype: np.dtype[np.void]
    make_objects: Callable[[Records, Any], Iterable[Any]]
    make_array: Callable[[Iterable[Any], Names], Records]


class Composite:
    """The common half of `CompositeOrderStore` and `CompositeTradeStore`, which say what the parameters are."""

    def __init__(
        self,
        stores: tuple[Any, ...],
        kind: Kind,
        *,
        names: Names | None,
        wait: Wait,
        wait_s: float,
        ring_capacity: int,
        when_full: str,
        full_wait_s: float,
        options: Mapping[str, LayerOptions] | None,
        own: bool,
        sole_writer: bool,
    ) -> None:
        _check(stores, kind, when_full, names)
        self._kind = kind
        self._memory: Any = stores[0] if is_memory(stores[0]) else None
        self._own = stores if own else ()
        self._lent = False
        self._names = self._first_names(names)
        self._sole_writer = sole_writer
        self._wait_s = wait_s
        self._closed = False
        self._bound = False
        self._upstream: Callable[[], Callable[[], bool]] | None = None
        self._counts = {"hits": 0, "misses": 0}
        self._counts_lock = threading.Lock()
        self._ring = RecordRing(kind.dtype, ring_capacity)
        self.layers = self._make_layers(stores, dict(options or {}))
        """The layers below memory, in the order in which they are read."""
        self._strict = any(_needs_names(layer.store) for layer in self.layers)
        full_wait_s = full_wait_s if when_full == "wait" else 0.0
        self._intake = Intake(self._ring, self.layers, self._memory_name, self._get_ready, full_wait_s)
        self._waited = self._intake.layers_named(wait)
        self._writers: list[LayerWriter] = []
        self._start_writers()
        process.watch(self)
        weakref.finalize(self, _abandon, self._ring, self.layers).atexit = False

    def _make_layers(self, stores: tuple[Any, ...], options: dict[str, LayerOptions]) -> tuple[Layer, ...]:
        taken = {self._memory_name}
        layers = []
        for store in stores if self._memory is None else stores[1:]:
            wanted = str(getattr(store, "name", None) or type(store).__name__)
            name, number = wanted, 1
            while name in taken:
                number += 1
                name = f"{wanted}-{number}"
            taken.add(name)
            given = options.pop(name, LayerOptions())
            layers.append(Layer(store, name, given, self._ring, self._kind.make_objects, self._kind.make_array))
        if options:
            raise FieldError("options", sorted(options), f"by the names of layers: {', '.join(sorted(taken - {''}))}")
        return tuple(layers)

    # --- names --------------------------------------------------------------------------------------------------------

    def _first_names(self, names: Names | None) -> Names:
        own = getattr(self._memory, "names", None)
        if names is None:
            return own if isinstance(own, Names) else Names()
        if isinstance(own, Names) and own is not names:
            raise FieldError("names", names, f"those of the {type(self._memory).__name__}, which may be given when it is made")
        return names

    @property
    def names(self) -> Names:
        """Tables that the numbers in arrays refer to."""
        return self._names

    def attach_names(self, names: Names) -> None:
        """Take over the tables of an engine, which stay the engine's. Before the first write."""
        if self._bound and self._names is not names:
            raise FieldError("names", names, "given before the first write")
        if isinstance(self._memory, _CORE_STORES):
            self._memory.attach_names(names)
        self._names = names
        self._lent = True

    def _bind(self) -> None:
        """Tell the layers, before the first record, what its numbers will mean."""
        for layer in self.layers:
            if isinstance(layer.store, _CORE_STORES) and not len(layer.store):
                layer.store.attach_names(self._names)
            layer.use_names(self._names)
        self._bound = True

    # --- writing ------------------------------------------------------------------------------------------------------

    def _get_ready(self) -> None:
        """See that a write can be taken. With the ring's lock."""
        self._refuse_closed()
        if not self._bound:
            self._bind()
        if not self._writers and self.layers:
            self._start_writers()

    def _refuse_closed(self) -> None:
        if self._closed or (self._ring.ending and self._ring.closing):
            raise StoreClosed("the composite must be open, was closed")

    def _to_memory(self, rows: Records) -> int:
        """Write records to the memory layer, if there is one; return how many it stored."""
        if self._memory is None:
            return len(rows)
        if getattr(self._memory, "names", None) is self._names:
            return int(self._memory.save_batch(rows))
        return int(self._memory.save_batch(list(self._kind.make_objects(rows, self))))

    def _one_to_memory(self, thing: Any) -> Any:
        """Write an order or a trade to the memory layer, if there is one; return whether it was stored."""
        return True if self._memory is None else self._memory.save(thing)

    def accept_from_engine(self, rows: Records, seq: int | None = None) -> None:
        """Take records of the engine that this store is attached to; it has written a `memory_layer` by itself.

        Parameters
        ----------
        rows : array
        seq : int, optional
            The last event whose records have come with these, if the engine has a journal that has it on the disk.
        """
        self._intake.accept_from_engine(rows, seq, None if self.memory_layer is not None else self._to_memory)

    def _receipt(self, accepted: Accepted, wait: Wait | None, timeout_s: float | None) -> Receipt:
        waited = self._waited if wait is None else self._intake.layers_named(wait)
        return self._intake.receipt(accepted, waited, self._wait_s if timeout_s is None else timeout_s)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _position(self, fed: bool) -> int:
        """Return what a layer must have dealt with to answer now; more than any has if an engine's events aren't even here."""
        # With the lock, because who writes changes memory first and the ring a moment later: what memory lacks is in the ring.
        with self._ring.lock:
            return self._ring.head if fed else self._ring.head + 1

    @property
    def _longest_deadline_s(self) -> float:
        return max((layer.read_deadline_s for layer in self.layers), default=0.0)

    def _count(self, name: str, by: int = 1) -> None:
        with self._counts_lock:
            self._counts[name] += by

    def follow(self, upstream: Callable[[], Callable[[], bool]] | None, source: Source | None = None, begins_at: int = 0) -> None:
        """Follow an engine.

        Parameters
        ----------
        upstream : callable, optional
            Returns what tells whether the engine's events up to then are here; reads and `flush` wait for that.
        source : Source, optional
            The engine's journal. Layers fetch from there what they lack.
        begins_at : int
            The last event of the engine that won't come.
        """
        with self._ring.lock:
            self._upstream = upstream
            if source is not None:
                self._get_ready()
                self._ring.sequence.note(self._ring.head, begins_at, 0)
            for layer in self.layers:
                layer.follow(source, begins_at)
                self._ring.nudge(layer.cursor)

    @property
    def lowest_watermark(self) -> int | None:
        """The event up to which all layers have everything safely, of those that fit the journal; None if none follows one.

        A layer that hasn't told yet how far it is counts as having nothing.
        """
        found = [layer.safe_seq for layer in self.layers if layer.place is not None and layer.stopped is None]
        return min(found, default=None)

    def _wait_for_engine(self, timeout_s: float) -> bool:
        """Wait until what an engine did before is in the ring, and return whether it is."""
        if self._upstream is None:
            return True
        deadline = time.monotonic() + timeout_s
        reached = self._upstream()
        while not reached():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_ENGINE_NAP_S)
        return True

    async def _wait_for_engine_async(self, timeout_s: float) -> bool:
        """Do the same on an event loop."""
        if self._upstream is None:
            return True
        deadline = time.monotonic() + timeout_s
        reached = self._upstream()
        while not reached():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_ENGINE_NAP_S)
        return True

    # --- life ---------------------------------------------------------------------------------------------------------

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:
        """Wait until everything accepted before this call is safe in the named layers (default: all), up to a deadline."""
        self._refuse_closed()
        deadline = time.monotonic() + timeout_s
        wanted = self._intake.layers_named("all" if layers is None else layers)
        fed = self._wait_for_engine(timeout_s)
        last = self._ring.head
        self._ring.wait_until(
            lambda: all(layer.has_reached(last) or layer.stopped is not None for layer in wanted), deadline - time.monotonic()
        )
        done: list[str] = []
        late: list[str] = []
        if self._memory is not None and (layers is None or self._memory_name in layers):
            done.append(self._memory_name)
        for layer in wanted:
            safe = fed and layer.has_reached(last) and layer.is_whole and store_flushed(layer, deadline - time.monotonic())
            (done if safe else late).append(layer.name)
        return Flushed(tuple(done), tuple(late))

    def stats(self) -> StoreStats:
        """Return what was counted, layer by layer, memory first."""
        with self._counts_lock:
            counts = dict(self._counts)
        layers = [layer.stats() for layer in self.layers]
        used = max((stats.gauges["queue_length"] for stats in layers), default=0.0)
        gauges = {"ring_capacity": float(self._ring.capacity), "ring_used": used}
        if self._memory is not None:
            own = self._memory.stats()
            found = {name: own.counts.get(name, 0) + count for name, count in counts.items()}
            layers.insert(0, replace(own, name=self._memory_name, counts={**own.counts, **found}))
        totals = {"accepted": self._ring.head, "full": self._intake.times_full}
        return StoreStats(self.name, totals, gauges, layers=tuple(layers))

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, up to a deadline, end the threads, and close the stores unless they aren't its own."""
        deadline = time.monotonic() + timeout_s
        if not self._closed:
            self._wait_for_engine(timeout_s)
        with self._ring.lock:
            if self._closed:
                return
            self._closed = True
            self._ring.close(patience_s=max(0.0, deadline - time.monotonic()))
        for writer in self._writers:
            writer.join(max(0.0, deadline - time.monotonic()))
        for layer in self.layers:
            if layer.cursor.done < self._ring.head:
                layer.log.error("%s hangs, and may lack the last %d records", layer.name, self._ring.head - layer.cursor.done)
            layer.readers.close()
        for store in self._own:
            closing = threading.Thread(target=_close, args=(store,), name="pyengine-closing", daemon=True)
            closing.start()
            closing.join(max(1.0, deadline - time.monotonic()))

    @property
    def closed(self) -> bool:
        """Whether the composite was closed."""
        return self._closed

    @property
    def name(self) -> str:
        """What the store is called in statistics and messages."""
        return "composite"

    @property
    def memory_layer(self) -> Any:
        """The store in memory that an engine may write by itself, or None."""
        return self._memory if isinstance(self._memory, _CORE_STORES) else None

    @property
    def _memory_name(self) -> str:
        return "" if self._memory is None else str(getattr(self._memory, "name", "memory"))

    def _start_writers(self) -> None:
        self._writers = [LayerWriter(layer) for layer in self.layers]
        for writer in self._writers:
            process.remember(writer)
            writer.start()

    def _start_anew(self) -> None:
        """Go on in a forked child; the writers start with the first write. The parent goes on to write, too."""
        self._sole_writer = False
        self._ring.start_empty()
        for layer in self.layers:
            layer.start_anew()
        self._counts_lock = threading.Lock()
        self._writers = []

    def __enter__(self) -> Self:
        """Return the composite itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the layers, and how they are."""
        below = [f"{layer.name} ({layer.breaker.state})" for layer in self.layers]
        return f"<{type(self).__name__} of {', '.join(filter(None, (self._memory_name, *below)))}>"


def _check(stores: tuple[Any, ...], kind: Kind, when_full: str, names: Names | None) -> None:
    if not stores:
        raise FieldError("stores", stores, "at least one")
    for i, store in enumerate(stores):
        if not isinstance(store, kind.interface):
            raise FieldTypeError(f"stores[{i}]", store, f"{kind.what}, such as one of a class that names it as its base")
    if when_full not in ("wait", "refuse"):
        raise FieldError("when_full", when_full, "'wait' or 'refuse'")
    if names is not None and not isinstance(names, Names):
        raise FieldTypeError("names", names, "Names or None")


def _needs_names(store: Any) -> bool:
    """Whether a store can't keep numbers that nobody has a name for."""
    return isinstance(getattr(store, "names", None), Names) and not is_memory(store)


def _close(store: Any) -> None:
    try:
        store.close()
    except Exception:
        logging.getLogger("pyengine.stores").exception("%s could not be closed", getattr(store, "name", store))


def _abandon(ring: RecordRing, layers: tuple[Layer, ...]) -> None:
    """Let the threads of a composite that is gone write what is left, and end.

    Not at once: when composite and engine go together, the composite goes first, and the engine's last events come after.
    """
    ring.close(delay_s=_ENGINE_LEFT_S)
    for layer in layers:
        layer.readers.close()
