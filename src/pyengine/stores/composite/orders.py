"""The composite of order stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine._core.record_arrays import order_array, order_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import Records, Side
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.arguments import order_id_of
from pyengine.stores.composite.aio import AsyncCompositeOrders
from pyengine.stores.composite.base import Composite, Kind
from pyengine.stores.composite.intake import Accepted, Wait
from pyengine.stores.composite.layer import Layer, LayerOptions
from pyengine.stores.composite.questions import ListMethod, for_layers, in_own_order
from pyengine.stores.composite.reads import Ask, Reading, Reply, no_answer, read
from pyengine.stores.composite.receipt import Answer, Receipt
from pyengine.stores.composite.slots import REMOVE, SAVE
from pyengine.stores.interfaces import OrderStore
from pyengine.stores.objects import orders_of

ORDERS = Kind(OrderStore, "an OrderStore", ORDER_RECORD_DTYPE, orders_of, order_array)
_PUT_BACK = 1000
"""Orders of one answer that are put back above, at most."""


class CompositeOrderStore(Composite):
    """Several order stores as one: writes go to all, reads to the first that can answer.

    A write is done when memory has it and it is in the ring; each layer below takes it from there in a thread of its own, in
    batches, and tries until it has it. `save` with `wait`, `write_batch` and `flush` tell how far that is. A layer that is out
    of reach delays nobody: the ring keeps the newest `ring_capacity` records for it, and what it has missed when it is back is
    in `stats`, as ranges of positions.

    Parameters
    ----------
    *stores : OrderStore
        From the fastest to the safest. If the first is in memory it is written within the call.
    names : Names, optional
        Tables for the numbers in arrays. Default: those of the store in memory, or new ones.
    wait : "memory", "all" or names of layers
        What every write waits for that doesn't say otherwise.
    wait_s : float
        For how long. A layer that is out of reach is never waited for.
    ring_capacity : int
        Records that layers may be behind, a power of two.
    when_full : "wait" or "refuse"
        What a write does when a layer that is within reach is that far behind: wait up to `full_wait_s`, or not; then it
        raises StoreFull.
    full_wait_s : float
    options : mapping of str to LayerOptions, optional
        By the names of the layers.
    own : bool
        Whether `close` closes the stores.
    sole_writer : bool
        Whether nobody else writes to the stores below, so that memory may answer for them when it holds everything.

    Raises
    ------
    FieldError, FieldTypeError
        If a parameter is out of range or of the wrong type.

    Notes
    -----
    Writes raise FieldError, FieldTypeError, StoreFull and StoreClosed; what layers below have to say about them is in receipts
    and `stats`. A write of more records than the ring holds goes in pieces.

    Thread-safety: any thread. Fork: a child starts with an empty ring and threads of its own.
    """

    def __init__(
        self,
        *stores: OrderStore,
        names: Names | None = None,
        wait: Wait = "memory",
        wait_s: float = 5.0,
        ring_capacity: int = 65_536,
        when_full: str = "wait",
        full_wait_s: float = 1.0,
        options: Mapping[str, LayerOptions] | None = None,
        own: bool = True,
        sole_writer: bool = True,
    ) -> None:
        super().__init__(
            stores,
            ORDERS,
            names=names,
            wait=wait,
            wait_s=wait_s,
            ring_capacity=ring_capacity,
            when_full=when_full,
            full_wait_s=full_wait_s,
            options=options,
            own=own,
            sole_writer=sole_writer,
        )
        self._loaded = not self.layers

    @property
    def aio(self) -> AsyncCompositeOrders:
        """The same methods as coroutines, for event loops."""
        return AsyncCompositeOrders(self)

    # --- writing ------------------------------------------------------------------------------------------------------

    @overload
    def save(self, order: Order) -> bool: ...
    @overload
    def save(self, order: Order, *, wait: Wait, timeout_s: float | None = None) -> Receipt: ...
    def save(self, order: Order, *, wait: Wait | None = None, timeout_s: float | None = None) -> bool | Receipt:
        """Add an order, or replace the one of its id unless that has a higher version. O(1).

        Parameters
        ----------
        order : Order
        wait : "memory", "all" or names of layers, optional
            Wait until these have it, and return a Receipt.
        timeout_s : float, optional
            For how long. Default: the composite's `wait_s`.
        """
        accepted = self._accept_one(order)
        if wait is None and not self._waited:
            return accepted[0] == 1
        receipt = self._receipt(accepted, wait, timeout_s)
        return receipt if wait is not None else bool(receipt)

    def update(self, order: Order) -> bool:
        """Replace the order of the same id unless that has a higher version, or is missing.

        Raises
        ------
        StoreUnavailable
            Memory doesn't have it, and no layer can say whether it exists; nothing was changed.
        """
        if type(order) is not Order:
            raise FieldTypeError("order", order, "an Order")
        old = self.get(order.order_id)
        return old is not None and old.version <= order.version and self.save(order)

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """Save many orders, all or none, and return how many memory stored. O(n)."""
        accepted = self._accept_batch(self._array(orders))
        if self._waited:
            self._receipt(accepted, None, None)
        return accepted[0]

    def write_batch(
        self, orders: Records | Iterable[Order], *, wait: Wait | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Save many orders as `save_batch` does, wait as `save` does, and return a Receipt."""
        return self._receipt(self._accept_batch(self._array(orders)), wait, timeout_s)

    def remove(self, order_id: int) -> bool:
        """Forget an order and return whether there was one; False also when no layer could say."""
        return self.remove_batch((order_id,)) == 1

    def remove_batch(self, order_ids: Iterable[int] | NDArray[np.uint64]) -> int:
        """Forget many orders and return how many there were, as far as layers could say.

        O(n); an order that memory doesn't have costs a read below unless memory has everything.
        """
        rows = self._removals(order_ids)
        unseen = self._not_in_memory(rows)
        found = 0
        if unseen:
            position = self._position(self._wait_for_engine(self._longest_deadline_s))
            for order_id in unseen:
                with suppress(StoreUnavailable):
                    found += read(self._find(order_id, position, put_back=False)) is not None
        return found + self._accept_removals(rows)[0]

    def remove_finished(self, *, keep: int | None = None, older_than_ns: int | None = None) -> int:
        """Forget finished orders in memory, to save room; the layers below keep them. Return how many.

        Parameters
        ----------
        keep, older_than_ns
            As of `InMemoryOrderStore.remove_finished`.
        """
        if self.memory_layer is None:
            return 0
        return int(self._memory.remove_finished(keep=keep, older_than_ns=older_than_ns))

    def load(self) -> int:
        """Fill memory with what the layers below hold, so that it can answer for them; return how many orders came.

        Raises
        ------
        StoreUnavailable
            No layer that holds everything can be reached.
        """
        position = self._position(self._wait_for_engine(self._longest_deadline_s))
        orders = read(self._gather("get_all", (), position, put_back=0))
        if not orders.complete or self._memory is None:
            raise StoreUnavailable("memory must be filled from a layer that holds everything, and none answers")
        with self._ring.lock:
            absent = [order for order in orders if order.order_id not in self._memory]
            loaded = int(self._memory.save_batch(absent))
            self._loaded = self._ring.last_remove <= position
        return loaded

    def loaded(self) -> None:
        """Note that an engine's recovery has brought memory all that the layers below can have."""
        self._loaded = self._loaded or all(layer.place is not None and layer.place.marked for layer in self.layers)

    def _accept_one(self, order: Order, patience_s: float | None = None) -> Accepted:
        record = order_bytes(order, self._names, lent=self._lent, named=self._strict)
        return self._intake.accept_one(record, SAVE, self._one_to_memory, order, patience_s)

    def _array(self, orders: Records | Iterable[Order]) -> Records:
        return order_array(orders, self._names, lent=self._lent, named=self._strict)

    def _accept_batch(self, rows: Records, patience_s: float | None = None) -> Accepted:
        return self._intake.accept(rows, SAVE, self._to_memory, patience_s)

    def _accept_removals(self, rows: Records, patience_s: float | None = None) -> Accepted:
        return self._intake.accept(rows, REMOVE, self._remove_from_memory, patience_s)

    def _removals(self, order_ids: Iterable[int] | NDArray[np.uint64]) -> Records:
        if isinstance(order_ids, np.ndarray) and order_ids.dtype == np.uint64:
            ids = order_ids
        else:
            ids = np.array([order_id_of(each) for each in order_ids], np.uint64)
        rows = np.zeros(len(ids), ORDER_RECORD_DTYPE)
        rows["order_id"] = ids
        return rows

    def _remove_from_memory(self, rows: Records) -> int:
        return 0 if self._memory is None else int(self._memory.remove_batch(rows["order_id"]))

    def _not_in_memory(self, rows: Records) -> list[int]:
        """Return the ids that only a layer below can know."""
        if self._holds_all:
            return []
        return [order_id for order_id in rows["order_id"].tolist() if self._memory is None or self._memory.get(order_id) is None]

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, order_id: int) -> Order | None:
        """Return an order, or None if there is none of this id.

        Raises
        ------
        StoreUnavailable
            Memory doesn't have it, and no layer that would is within reach.
        """
        if self._memory is not None:
            found: Order | None = self._memory.get(order_id)
            if found is not None:
                return found
        if self._holds_all:
            return None
        self._refuse_closed()
        return read(self._find(order_id, self._position(self._wait_for_engine(self._longest_deadline_s))))

    def get_all(self) -> Answer[Order]:
        """Return every order, by id; the list says whether it is complete."""
        return self._list("get_all")

    def get_by_user(self, user: str | int) -> Answer[Order]:
        """Return a user's orders, open and finished, by id; the list says whether it is complete.

        A number is one of `names`; where it stands for no name only memory can know it.
        """
        return self._list("get_by_user", user)

    def get_by_side(self, side: Side | int | str, symbol: str | int | None = None) -> Answer[Order]:
        """Return the open orders of a side in price-time order; the list says whether it is complete."""
        return self._list("get_by_side", side, symbol)

    @property
    def complete(self) -> bool:
        """Whether memory or a layer below holds everything, so that lists are complete while that is within reach."""
        return self._holds_all or any(layer.is_whole and not layer.is_cache for layer in self.layers)

    @property
    def _starts_whole(self) -> bool:
        """Whether memory has been told of every order there is: the stores below were empty at first, or it was loaded."""
        if not self._loaded and all(layer.was_empty for layer in self.layers):
            self._loaded = True
        return self._loaded and self._memory is not None and (self._sole_writer or not self.layers)

    @property
    def _holds_all(self) -> bool:
        return self._starts_whole and bool(self._memory.complete)

    def _list(self, method: ListMethod, *arguments: Any) -> Answer[Order]:
        own = self._from_memory(method, arguments)
        if own is not None:
            return own
        return read(self._gather(method, arguments, self._position(self._wait_for_engine(self._longest_deadline_s))))

    def _from_memory(self, method: ListMethod, arguments: tuple[Any, ...]) -> Answer[Order] | None:
        """Return the answer of memory if it has everything that the question is about."""
        self._refuse_closed()
        if self._memory is None:
            return None
        if method == "get_by_side":
            whole = self._starts_whole and getattr(self._memory, "complete_for_open", self._memory.complete)
        else:
            whole = self._holds_all
        self._count("hits" if whole else "misses")
        return Answer(getattr(self._memory, method)(*arguments), self._memory_name) if whole else None

    def _find(self, order_id: int, position: int, *, put_back: bool = True) -> Reading[Order | None]:
        """Ask the layers for an order that memory doesn't have."""
        failed: list[tuple[Layer, Exception]] = []
        doubtful: list[Order] = []
        for layer in self.layers:
            waits = position > self._ring.head or self._ring.may_have(layer.cursor, "order_id", order_id, position)
            reply: Reply = yield Ask(layer, "get", (order_id,), position if waits else 0)
            if reply.error is not None:
                failed.append((layer, reply.error))
                continue
            found: Order | None = reply.value
            layer.count("hits" if found is not None else "misses")
            if layer.is_behind and found is None:
                why = layer.stopped or StoreUnavailable(f"{layer.name} has yet to catch up with the journal")
                failed.append((layer, why))
            elif not layer.is_whole:
                # It has missed something, perhaps a newer version, or the whole order.
                doubtful += [found] if found is not None else []
            elif found is not None:
                self._put_back([found] if put_back else [], layer, position)
                return found
            elif not layer.is_cache:
                return None
        if doubtful:
            return max(doubtful, key=lambda order: order.version)
        if failed:
            raise no_answer(failed)
        return None

    def _gather(
        self, method: ListMethod, arguments: tuple[Any, ...], position: int, put_back: int = _PUT_BACK
    ) -> Reading[Answer[Order]]:
        """Ask the layers for a list, until one has all of it."""
        failed: list[tuple[Layer, Exception]] = []
        best = None
        if self._memory is not None:
            best = Answer(getattr(self._memory, method)(*arguments), self._memory_name, complete=False)
        below = for_layers(method, arguments, self._names)
        if below is None:
            # Nothing below can have what has no name.
            return best if best is not None else Answer((), self.layers[0].name)
        for layer in self.layers:
            reply: Reply = yield Ask(layer, method, below, position)
            if reply.error is not None:
                failed.append((layer, reply.error))
                continue
            orders: list[Order] = reply.value
            whole = layer.is_whole and not layer.is_cache and getattr(orders, "complete", True)
            layer.count("hits" if whole else "misses")
            if whole or best is None or len(orders) > len(best):
                best = Answer(in_own_order(method, arguments, orders, self._names), layer.name, complete=whole)
            if whole:
                self._put_back(best[:put_back], layer, position)
                return best
        if best is None:
            raise no_answer(failed)
        return best

    def _put_back(self, orders: list[Order], found_in: Layer, position: int) -> None:
        """Add what a layer had to those above it, which don't have it or not all of it."""
        for layer in self.layers[: self.layers.index(found_in)]:
            if layer.breaker.closed and orders:
                layer.backfill(position, orders)
        if self._memory is None:
            return
        with self._ring.lock:
            if self._ring.last_remove > position:
                return
            for order in orders:
                if (self._sole_writer or not order.is_open) and self._memory.get(order.order_id) is None:
                    try:
                        self._memory.save(order)
                    except FieldError:
                        continue  # of a user or an instrument that the engine, whose names these are, doesn't know
