"""The stores as coroutines, for callers that have an event loop. They share connections with the blocking form."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from pyengine._core.order import Order
from pyengine._core.trade import Trade
from pyengine.records import Records, Side, Status
from pyengine.stores.postgres.page import Page

if TYPE_CHECKING:
    from pyengine.stores.postgres.orders import PostgresOrderStore
    from pyengine.stores.postgres.trades import PostgresTradeStore


class AsyncPostgresOrderStore:
    """The coroutines of a `PostgresOrderStore`: the same names, arguments, answers and errors. Use its `aio`."""

    def __init__(self, store: PostgresOrderStore) -> None:
        self._store = store

    async def save(self, order: Order) -> bool:
        """See `OrderStore.save`."""
        return await self._store.arun(self._store.calls.save, order)

    async def update(self, order: Order) -> bool:
        """See `OrderStore.update`."""
        return await self._store.arun(self._store.calls.update, order)

    async def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """See `OrderStore.save_batch`."""
        return await self._store.arun(self._store.calls.save_batch, orders)

    async def get(self, order_id: int) -> Order | None:
        """See `OrderStore.get`."""
        return await self._store.arun(self._store.calls.get, order_id)

    async def remove(self, order_id: int) -> bool:
        """See `OrderStore.remove`."""
        return await self._store.arun(self._store.calls.remove, order_id)

    async def remove_batch(self, order_ids: Iterable[int]) -> int:
        """See `OrderStore.remove_batch`."""
        return await self._store.arun(self._store.calls.remove_batch, order_ids)

    async def get_all(self) -> list[Order]:
        """See `OrderStore.get_all`."""
        return await self._store.arun(self._store.calls.get_all)

    async def get_by_user(self, user: str) -> list[Order]:
        """See `OrderStore.get_by_user`."""
        return await self._store.arun(self._store.calls.get_by_user, user)

    async def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        """See `OrderStore.get_by_side`."""
        return await self._store.arun(self._store.calls.get_by_side, side, symbol)

    async def is_empty(self) -> bool:
        """Whether there is no order at all."""
        return await self._store.arun(self._store.calls.is_empty)

    async def query(
        self,
        *,
        user: str | None = None,
        symbol: str | None = None,
        side: Side | int | str | None = None,
        status: Status | int | str | Collection[Status | int | str] | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        after: int | None = None,
        limit: int = 1_000,
    ) -> Page[Order]:
        """See `PostgresOrderStore.query`."""
        return await self._store.arun(
            self._store.calls.query,
            user=user,
            symbol=symbol,
            side=side,
            status=status,
            from_ns=from_ns,
            to_ns=to_ns,
            after=after,
            limit=limit,
        )

    async def close(self) -> None:
        """Close the store, blocking form included."""
        await self._store.aclose()


class AsyncPostgresTradeStore:
    """The coroutines of a `PostgresTradeStore`: the same names, arguments, answers and errors. Use its `aio`."""

    def __init__(self, store: PostgresTradeStore) -> None:
        self._store = store

    async def save(self, trade: Trade) -> bool:
        """See `TradeStore.save`."""
        return await self._store.arun(self._store.calls.save, trade)

    async def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """See `TradeStore.save_batch`."""
        return await self._store.arun(self._store.calls.save_batch, trades)

    async def get(self, trade_id: int) -> Trade | None:
        """Return a trade, or None if there is none of this id."""
        return await self._store.arun(self._store.calls.get, trade_id)

    async def get_recent(self, limit: int = 100) -> list[Trade]:
        """See `TradeStore.get_recent`."""
        return await self._store.arun(self._store.calls.get_recent, limit)

    async def is_empty(self) -> bool:
        """Whether there is no trade at all."""
        return await self._store.arun(self._store.calls.is_empty)

    async def query(
        self,
        *,
        symbol: str | None = None,
        order_id: int | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        after: int | None = None,
        limit: int = 1_000,
    ) -> Page[Trade]:
        """See `PostgresTradeStore.query`."""
        return await self._store.arun(
            self._store.calls.query,
            symbol=symbol,
            order_id=order_id,
            from_ns=from_ns,
            to_ns=to_ns,
            after=after,
            limit=limit,
        )

    async def close(self) -> None:
        """Close the store, blocking form included."""
        await self._store.aclose()
