"""Orders in Redis: a cache that several nodes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine.records import Records, Side
from pyengine.stores.interfaces import Mark, OrderStore
from pyengine.stores.redis.aio import AsyncOrders
from pyengine.stores.redis.connection import RedisConnection
from pyengine.stores.redis.order_saves import BACKFILL, SAVE, UPDATE
from pyengine.stores.redis.order_steps import OrderSteps
from pyengine.stores.redis.store import RedisStore, connection_of, seconds_of

DAY_S = 24 * 3600.0


class RedisOrderStore(RedisStore, OrderStore):
    """Orders in Redis: `order:{id}` is a JSON object that expires, `user_orders:{user}` and `side_orders:{side}` are sets of ids.

    Parameters
    ----------
    connection : RedisConnection or str, optional
        A URL or None makes a connection of the store's own, from it and the `options`.
    names : Names, optional
        Tables of users and instruments. Default: tables of its own.
    ttl_s : float
        How long an order stays after it was last written. Default: 24 hours.
    **options
        Of `RedisConnection`.

    Raises
    ------
    FieldTypeError, FieldError
        A parameter can't be used.

    Notes
    -----
    Durability: a cache. It forgets what is old, may forget anything at any time, and never says that it knows every order
    (`complete` is False). A value that nobody can read raises `StoreDamaged` until the order is saved again, or its key is
    deleted.

    Latency: one round trip for `get` and each batch of writes, two or more for lists.

    Versions: an order never gives way to one of a lower version, also when several nodes write; the check and the index
    sets are one step of the server. A batch goes in steps of 500 orders: if it fails midway, some may be stored, and
    saving it again is safe.

    Index sets: finished orders leave `side_orders`, removed ones leave both; ids of expired orders are taken out when a read
    meets them, and by `sweep`.

    Thread-safety: any thread may call, and a forked child.
    """

    complete = False

    def __init__(
        self, connection: RedisConnection | str | None = None, *, names: Names | None = None, ttl_s: float = DAY_S, **options: Any
    ) -> None:
        way, owned = connection_of(connection, options)
        self.ttl_s = seconds_of("ttl_s", ttl_s)
        self._steps = OrderSteps(names, way.prefix, way.address, self.ttl_s)
        super().__init__(way, owned=owned, steps=self._steps)
        self._aio = AsyncOrders(self, self._steps)

    @property
    def aio(self) -> AsyncOrders:
        """The same methods as coroutines, for the caller's own loop."""
        return self._aio

    def save(self, order: Order) -> bool:
        """Add or replace an order; see `OrderStore.save`."""
        return self.run(self._steps.save([order], SAVE)) == 1

    def update(self, order: Order) -> bool:
        """Replace an order that is there; see `OrderStore.update`."""
        return self.run(self._steps.save([order], UPDATE)) == 1

    def get(self, order_id: int) -> Order | None:
        """Return an order; None if Redis doesn't have it, which says nothing about other layers."""
        return self.run(self._steps.get(order_id))

    def remove(self, order_id: int) -> bool:
        """Forget an order."""
        return self.run(self._steps.remove([order_id])) == 1

    def get_all(self) -> list[Order]:
        """Return every order in Redis, by id. It walks all keys of the database, without blocking the server."""
        return self.run(self._steps.get_all())

    def get_by_user(self, user: str | int) -> list[Order]:
        """Return a user's orders that Redis has, by id."""
        return self.run(self._steps.get_by_user(user))

    def get_by_side(self, side: Side | int | str, symbol: str | int | None = None) -> list[Order]:
        """Return the open orders of a side that Redis has, in price-time order."""
        return self.run(self._steps.get_by_side(side, symbol))

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """Save many orders in one round trip and return how many were stored."""
        return self.run(self._steps.save(orders, SAVE))

    def save_marked(self, records: Records | Iterable[Order], mark: Mark) -> int:
        """See `Watermarked.save_marked`.

        A batch goes in steps as that of `save_batch`: if it fails midway, orders may be stored, but the watermark isn't moved.
        """
        return self.run(self._steps.save(records, SAVE, mark))

    def backfill(self, orders: Records | Iterable[Order]) -> int:
        """Put in what other layers know, where Redis has nothing of that id; return how many were put in."""
        return self.run(self._steps.save(orders, BACKFILL))

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        """Forget many orders and return how many there were."""
        return self.run(self._steps.remove(order_ids))

    def sweep(self, limit: int = 10_000) -> int:
        """Take ids of expired orders out of the index sets and return how many.

        Parameters
        ----------
        limit : int
            About how many ids to look at; the next call goes on from there.
        """
        return self.run(self._steps.sweep(limit))

    def is_empty(self) -> bool:
        """Whether Redis has no order. It may walk all keys of the database, without blocking the server."""
        return self.run(self._steps.is_empty())
