"""The composite of trade stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, overload

from pyengine._core.names import Names
from pyengine._core.record_arrays import trade_array, trade_bytes
from pyengine._core.trade import Trade
from pyengine.errors import FieldError
from pyengine.records import TRADE_DTYPE, Records
from pyengine.stores.composite.aio import AsyncCompositeTrades
from pyengine.stores.composite.base import Composite, Kind
from pyengine.stores.composite.intake import Accepted, Wait
from pyengine.stores.composite.layer import Layer, LayerOptions
from pyengine.stores.composite.reads import Ask, Reading, Reply, no_answer, read
from pyengine.stores.composite.receipt import Answer, Receipt
from pyengine.stores.composite.slots import SAVE
from pyengine.stores.interfaces import TradeStore
from pyengine.stores.objects import trades_of

TRADES = Kind(TradeStore, "a TradeStore", TRADE_DTYPE, trades_of, trade_array)


class CompositeTradeStore(Composite):
    """Several trade stores as one: writes go to all, reads to the first that can answer.

    Everything is as with `CompositeOrderStore`, whose parameters these are.

    A list of trades is complete when it has no gap: every id from the newest down to the last one asked for, or to 1. Where
    ids aren't dense, a store that says so by `complete_for` is believed, unless it is a cache or has missed something.
    """

    def __init__(
        self,
        *stores: TradeStore,
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
            TRADES,
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

        self._newest = 0

    @property
    def aio(self) -> AsyncCompositeTrades:
        """The same methods as coroutines, for event loops."""
        return AsyncCompositeTrades(self)

    # --- writing ------------------------------------------------------------------------------------------------------

    @overload
    def save(self, trade: Trade) -> bool: ...
    @overload
    def save(self, trade: Trade, *, wait: Wait, timeout_s: float | None = None) -> Receipt: ...
    def save(self, trade: Trade, *, wait: Wait | None = None, timeout_s: float | None = None) -> bool | Receipt:
        """Take in a trade; see `CompositeOrderStore.save`. O(1)."""
        accepted = self._accept_one(trade)
        if wait is None and not self._waited:
            return accepted[0] == 1
        receipt = self._receipt(accepted, wait, timeout_s)
        return receipt if wait is not None else bool(receipt)

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """Take in many trades, all or none, and return how many were new to memory. O(n)."""
        accepted = self._accept_batch(self._array(trades))
        if self._waited:
            self._receipt(accepted, None, None)
        return accepted[0]

    def write_batch(
        self, trades: Records | Iterable[Trade], *, wait: Wait | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """Take in many trades as `save_batch` does, wait as `save` does, and return a Receipt."""
        return self._receipt(self._accept_batch(self._array(trades)), wait, timeout_s)

    def _accept_one(self, trade: Trade, patience_s: float | None = None) -> Accepted:
        record = trade_bytes(trade, self._names, lent=self._lent, named=self._strict)
        return self._intake.accept_one(record, SAVE, self._one_to_memory, trade, patience_s)

    def _array(self, trades: Records | Iterable[Trade]) -> Records:
        return trade_array(trades, self._names, lent=self._lent, named=self._strict)

    def _accept_batch(self, rows: Records, patience_s: float | None = None) -> Accepted:
        return self._intake.accept(rows, SAVE, self._to_memory, patience_s)

    def _to_memory(self, rows: Records) -> int:
        if self.memory_layer is None:
            self._newest = max(self._newest, int(rows["trade_id"].max(initial=0)))
        return super()._to_memory(rows)

    def _one_to_memory(self, thing: Trade) -> Any:
        if self.memory_layer is None:
            self._newest = max(self._newest, thing.trade_id)
        return super()._one_to_memory(thing)

    def accept_from_engine(self, rows: Records, seq: int | None = None) -> None:
        """Take trades of the engine that this store is attached to; it has written a `memory_layer` by itself."""
        if self.memory_layer is None and len(rows):
            self._newest = max(self._newest, int(rows["trade_id"][-1]))
        super().accept_from_engine(rows, seq)

    def _newest_known(self) -> int:
        """Return the highest id of a trade that this composite was given."""
        return self._newest if self.memory_layer is None else max(self._newest, self._memory.newest_trade_id or 0)

    def begin_behind(self, trade_id: int) -> None:
        """Know of a trade that the engine had before it came here, so that no layer without it counts as complete."""
        self._newest = max(self._newest, trade_id)

    # --- reading ------------------------------------------------------------------------------------------------------

    def get_recent(self, limit: int = 100) -> Answer[Trade]:
        """Return the newest trades, by falling id; the list says whether it is complete.

        Raises
        ------
        StoreUnavailable
            There is nothing in memory, and no layer is within reach.
        """
        own = self._from_memory(limit)
        if own is not None:
            return own
        return read(self._gather(limit, self._position(self._wait_for_engine(self._longest_deadline_s))))

    def complete_for(self, limit: int) -> bool:
        """Whether `get_recent(limit)` would be all of the newest trades, as far as memory or a layer below can promise that."""
        if self._memory is not None and self._memory.complete_for(limit):
            return True
        return any(layer.is_whole and not layer.is_cache and layer.store.complete_for(limit) for layer in self.layers)

    def _from_memory(self, limit: int) -> Answer[Trade] | None:
        """Return the answer of memory if there is no gap in it, and nobody else writes newer ones below."""
        self._refuse_closed()
        if self._memory is None:
            return None
        if not self.layers:
            return Answer(self._memory.get_recent(limit), self._memory_name, complete=self._memory.complete_for(limit))
        if not self._sole_writer or not self._memory.complete_for(limit):
            self._count("misses")
            return None
        self._count("hits")
        return Answer(self._memory.get_recent(limit), self._memory_name)

    def _gather(self, limit: int, position: int) -> Reading[Answer[Trade]]:
        """Ask the layers, until one has all of it."""
        failed: list[tuple[Layer, Exception]] = []
        newest = self._newest_known()
        best = None
        if self._memory is not None and len(own := self._memory.get_recent(limit)):
            best = Answer(own, self._memory_name, complete=False)
        for layer in self.layers:
            reply: Reply = yield Ask(layer, "get_recent", (limit,), position)
            if reply.error is None:
                trades: list[Trade] = reply.value
                current = limit == 0 or (trades[0].trade_id if trades else 0) >= newest
                whole = current and is_dense(trades, limit)
                if current and not whole and layer.is_whole and not layer.is_cache and getattr(trades, "complete", True):
                    reply = yield Ask(layer, "complete_for", (limit,))
                    whole = reply.error is None and reply.value
                if whole:
                    layer.count("hits")
                    self._put_back(trades, layer, position)
                    return Answer(trades, layer.name)
                layer.count("misses")
                if best is None or len(trades) > len(best):
                    best = Answer(trades, layer.name, complete=False)
            if reply.error is not None:
                failed.append((layer, reply.error))
        if best is None:
            raise no_answer(failed)
        return best

    def _put_back(self, trades: list[Trade], found_in: Layer, position: int) -> None:
        """Add what a layer had to those above it. A trade never changes, so nothing can go wrong."""
        if not trades:
            return
        for layer in self.layers[: self.layers.index(found_in)]:
            if layer.breaker.closed:
                layer.backfill(position, trades)
        if self._memory is not None and self._sole_writer:
            try:
                self._memory.save_batch(reversed(trades))
            except FieldError:
                return  # of an instrument that the engine, whose names these are, doesn't know


def is_dense(trades: list[Trade], limit: int) -> bool:
    """Whether no trade can be missing below the first of an answer: no gap, and as many as asked for, or down to 1."""
    if not trades:
        return limit == 0
    first, last = trades[-1].trade_id, trades[0].trade_id
    return last - first == len(trades) - 1 and (len(trades) == limit or first == 1)
