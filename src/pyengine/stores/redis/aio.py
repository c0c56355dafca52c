"""The stores in Redis for asyncio: the same operations as coroutines, over connections of the caller's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pyengine._core.order import Order
from pyengine._core.trade import Trade
from pyengine.records import Records, Side
from pyengine.stores.redis.order_saves import BACKFILL, SAVE, UPDATE
from pyengine.stores.redis.order_steps import OrderSteps
from pyengine.stores.redis.trade_steps import TradeSteps

if TYPE_CHECKING:
    from pyengine.stores.redis.store import RedisStore


class AsyncOrders:
    """The methods of `RedisOrderStore` as coroutines."""

    def __init__(self, store: RedisStore, steps: OrderSteps) -> None:
        self._store, self._steps = store, steps

    async def save(self, order: Order) -> bool:
        """Add or replace an order."""
        return await self._store.run_async(self._steps.save([order], SAVE)) == 1

    async def update(self, order: Order) -> bool:
        """Replace an order that is there."""
        return await self._store.run_async(self._steps.save([order], UPDATE)) == 1

    async def get(self, order_id: int) -> Order | None:
        """Return an order, or None."""
        return await self._store.run_async(self._steps.get(order_id))

    async def remove(self, order_id: int) -> bool:
        """Forget an order."""
        return await self._store.run_async(self._steps.remove([order_id])) == 1

    async def get_all(self) -> list[Order]:
        """Return every order in Redis, by id."""
        return await self._store.run_async(self._steps.get_all())

    async def get_by_user(self, user: str | int) -> list[Order]:
        """Return a user's orders, by id."""
        return await self._store.run_async(self._steps.get_by_user(user))

    async def get_by_side(self, side: Side | int | str, symbol: str | int | None = None) -> list[Order]:
        """Return the open orders of a side in price-time order."""
        return await self._store.run_async(self._steps.get_by_side(side, symbol))

    async def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """Save many orders in one round trip."""
        return await self._store.run_async(self._steps.save(orders, SAVE))

    async def backfill(self, orders: Records | Iterable[Order]) -> int:
        """Put in what Redis has nothing of."""
        return await self._store.run_async(self._steps.save(orders, BACKFILL))

    async def remove_batch(self, order_ids: Iterable[int]) -> int:
        """Forget many orders."""
        return await self._store.run_async(self._steps.remove(order_ids))

    async def sweep(self, limit: int = 10_000) -> int:
        """Take ids of expired orders out of the index sets."""
        return await self._store.run_async(self._steps.sweep(limit))

    async def close(self) -> None:
        """Close the connections of the running loop; the store stays open. Call it before the loop ends."""
        await self._store.connection.close_async()


class AsyncTrades:
    """The methods of `RedisTradeStore` as coroutines."""

    def __init__(self, store: RedisStore, steps: TradeSteps) -> None:
        self._store, self._steps = store, steps
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def save(self, trade: Trade) -> bool:
        """Take in a trade."""
        return await self.save_batch([trade]) == 1

    async def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """Take in many trades and return how many were new."""
        async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await self._store.run_async(self._steps.save(trades))

    async def backfill(self, trades: Records | Iterable[Trade]) -> int:
        """Put in what other layers know."""
        return await self.save_batch(trades)

    async def get_recent(self, limit: int = 100) -> list[Trade]:
        """Return the newest trades, by falling id."""
        return await self._store.run_async(self._steps.get_recent(limit))

    async def complete_for(self, limit: int) -> bool:
        """Whether that many trades are there without a gap, or all from the first on."""
        return await self._store.run_async(self._steps.complete_for(limit))

    async def close(self) -> None:
        """Close the connections of the running loop; the store stays open. Call it before the loop ends."""
        await self._store.connection.close_async()
