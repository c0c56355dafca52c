"""The composites for event loops: what is in memory is answered at once, and nothing else keeps the loop from others."""

# ruff: noqa: SLF001 - these are the composites' other halves.

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from pyengine._core.order import Order
from pyengine._core.trade import Trade
from pyengine.errors import FieldTypeError
from pyengine.records import Records, Side
from pyengine.store_errors import StoreFull, StoreUnavailable
from pyengine.stores.composite.intake import Accepted, Wait, is_over, store_flushed
from pyengine.stores.composite.reads import read_async, wait_async
from pyengine.stores.composite.receipt import Answer, Receipt
from pyengine.stores.interfaces import Flushed

if TYPE_CHECKING:
    from pyengine.stores.composite.base import Composite
    from pyengine.stores.composite.layer import Layer
    from pyengine.stores.composite.orders import CompositeOrderStore
    from pyengine.stores.composite.questions import ListMethod
    from pyengine.stores.composite.trades import CompositeTradeStore


class _AsyncComposite:
    def __init__(self, store: Composite) -> None:
        self._composite = store

    async def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:
        """See the store's `flush`."""
        return await asyncio.to_thread(self._composite.flush, layers, timeout_s)

    async def close(self, timeout_s: float = 5.0) -> None:
        """See the store's `close`."""
        await asyncio.to_thread(self._composite.close, timeout_s)

    async def _accepted(self, accept: Callable[[float | None], Accepted]) -> Accepted:
        """Write at once where there is room; where there is none, wait for it in another thread."""
        try:
            return accept(0.0)
        except StoreFull:
            return await asyncio.to_thread(accept, None)

    async def _receipt(self, done: Accepted, wait: Wait | None, timeout_s: float | None) -> Receipt:
        composite = self._composite
        waited = composite._waited if wait is None else composite._intake.layers_named(wait)
        deadline = time.monotonic() + (composite._wait_s if timeout_s is None else timeout_s)
        safe: list[Layer] = []
        for layer in waited:
            await wait_async(partial(is_over, (layer,), done[2]), layer, deadline - time.monotonic())
            if layer.has_reached(done[2]) and await asyncio.to_thread(store_flushed, layer, deadline - time.monotonic()):
                safe.append(layer)
        return composite._intake.told(done, waited, safe)

    async def _stored(self, done: Accepted) -> int:
        if self._composite._waited:
            await self._receipt(done, None, None)
        return done[0]

    async def _position(self) -> int:
        composite = self._composite
        return composite._position(await composite._wait_for_engine_async(composite._longest_deadline_s))


class AsyncCompositeOrders(_AsyncComposite):
    """The methods of a `CompositeOrderStore` as coroutines. Any event loop, in any thread."""

    def __init__(self, store: CompositeOrderStore) -> None:
        super().__init__(store)
        self._store = store

    @overload
    async def save(self, order: Order) -> bool: ...
    @overload
    async def save(self, order: Order, *, wait: Wait, timeout_s: float | None = None) -> Receipt: ...
    async def save(self, order: Order, *, wait: Wait | None = None, timeout_s: float | None = None) -> bool | Receipt:
        """See `CompositeOrderStore.save`."""
        done = await self._accepted(partial(self._store._accept_one, order))
        if wait is None:
            return await self._stored(done) == 1
        return await self._receipt(done, wait, timeout_s)

    async def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """See `CompositeOrderStore.save_batch`."""
        rows = self._store._array(orders)
        return await self._stored(await self._accepted(partial(self._store._accept_batch, rows)))

    async def write_batch(
        self, orders: Records | Iterable[Order], *, wait: Wait | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """See `CompositeOrderStore.write_batch`."""
        rows = self._store._array(orders)
        return await self._receipt(await self._accepted(partial(self._store._accept_batch, rows)), wait, timeout_s)

    async def update(self, order: Order) -> bool:
        """See `CompositeOrderStore.update`."""
        if type(order) is not Order:
            raise FieldTypeError("order", order, "an Order")
        old = await self.get(order.order_id)
        return old is not None and old.version <= order.version and await self.save(order)

    async def remove(self, order_id: int) -> bool:
        """See `CompositeOrderStore.remove`."""
        return await self.remove_batch((order_id,)) == 1

    async def remove_batch(self, order_ids: Iterable[int]) -> int:
        """See `CompositeOrderStore.remove_batch`."""
        rows = self._store._removals(order_ids)
        unseen = self._store._not_in_memory(rows)
        found = 0
        if unseen:
            position = await self._position()
            for order_id in unseen:
                try:
                    found += await read_async(self._store._find(order_id, position, put_back=False)) is not None
                except StoreUnavailable:
                    continue
        return found + (await self._accepted(partial(self._store._accept_removals, rows)))[0]

    async def get(self, order_id: int) -> Order | None:
        """See `CompositeOrderStore.get`."""
        store = self._store
        order: Order | None = None if store._memory is None else store._memory.get(order_id)
        if order is not None or store._holds_all:
            return order
        store._refuse_closed()
        return await read_async(store._find(order_id, await self._position()))

    async def get_all(self) -> Answer[Order]:
        """See `CompositeOrderStore.get_all`."""
        return await self._list("get_all")

    async def get_by_user(self, user: str | int) -> Answer[Order]:
        """See `CompositeOrderStore.get_by_user`."""
        return await self._list("get_by_user", user)

    async def get_by_side(self, side: Side | int | str, symbol: str | int | None = None) -> Answer[Order]:
        """See `CompositeOrderStore.get_by_side`."""
        return await self._list("get_by_side", side, symbol)

    async def _list(self, method: ListMethod, *arguments: Any) -> Answer[Order]:
        own = self._store._from_memory(method, arguments)
        if own is not None:
            return own
        return await read_async(self._store._gather(method, arguments, await self._position()))


class AsyncCompositeTrades(_AsyncComposite):
    """The methods of a `CompositeTradeStore` as coroutines. Any event loop, in any thread."""

    def __init__(self, store: CompositeTradeStore) -> None:
        super().__init__(store)
        self._store = store

    @overload
    async def save(self, trade: Trade) -> bool: ...
    @overload
    async def save(self, trade: Trade, *, wait: Wait, timeout_s: float | None = None) -> Receipt: ...
    async def save(self, trade: Trade, *, wait: Wait | None = None, timeout_s: float | None = None) -> bool | Receipt:
        """See `CompositeTradeStore.save`."""
        done = await self._accepted(partial(self._store._accept_one, trade))
        if wait is None:
            return await self._stored(done) == 1
        return await self._receipt(done, wait, timeout_s)

    async def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """See `CompositeTradeStore.save_batch`."""
        rows = self._store._array(trades)
        return await self._stored(await self._accepted(partial(self._store._accept_batch, rows)))

    async def write_batch(
        self, trades: Records | Iterable[Trade], *, wait: Wait | None = None, timeout_s: float | None = None
    ) -> Receipt:
        """See `CompositeTradeStore.write_batch`."""
        rows = self._store._array(trades)
        return await self._receipt(await self._accepted(partial(self._store._accept_batch, rows)), wait, timeout_s)

    async def get_recent(self, limit: int = 100) -> Answer[Trade]:
        """See `CompositeTradeStore.get_recent`."""
        own = self._store._from_memory(limit)
        return own if own is not None else await read_async(self._store._gather(limit, await self._position()))
