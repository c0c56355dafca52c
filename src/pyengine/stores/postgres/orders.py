"""Orders in PostgreSQL: the record that outlives every node."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyengine._core.order import Order
from pyengine.records import Records, Side, Status
from pyengine.stores.interfaces import Mark, OrderStore
from pyengine.stores.postgres.aio import AsyncPostgresOrderStore
from pyengine.stores.postgres.order_calls import OrderCalls
from pyengine.stores.postgres.page import Page
from pyengine.stores.postgres.store import PostgresStore


class PostgresOrderStore(PostgresStore[OrderCalls], OrderStore):
    """Orders in the table `orders` of a PostgreSQL database.

    A write is committed when it returns, as durable as the server's `synchronous_commit` makes it. One order costs a round trip
    and a commit; batches share both.

    Parameters
    ----------
    url, pool, names, **options
        As of `PostgresStore`.

    Notes
    -----
    A write whose connection is lost is done once more. It counts as stored then, also if the first time had stored it already.

    Examples
    --------
    >>> store = PostgresOrderStore("postgresql://postgres@localhost/matching_engine")  # doctest: +SKIP
    >>> store.save(Order(42, "buy", instrument=Instrument("BTC-USD", "0.01"), price="100.5", qty=3))  # doctest: +SKIP
    True
    """

    _calls_type = OrderCalls

    @property
    def aio(self) -> AsyncPostgresOrderStore:
        """The same store as coroutines, for any event loop."""
        return AsyncPostgresOrderStore(self)

    @property
    def calls(self) -> OrderCalls:
        """The operations, not yet run."""
        return self._calls

    def save(self, order: Order) -> bool:
        """See `OrderStore.save`."""
        return self.run(self._calls.save(order))

    def update(self, order: Order) -> bool:
        """See `OrderStore.update`."""
        return self.run(self._calls.update(order))

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """See `OrderStore.save_batch`. One transaction."""
        return self.run(self._calls.save_batch(orders))

    def save_marked(self, records: Records | Iterable[Order], mark: Mark) -> int:
        """See `Watermarked.save_marked`. One transaction."""
        return self.run(self._calls.save_marked(records, mark))

    def get(self, order_id: int) -> Order | None:
        """See `OrderStore.get`."""
        return self.run(self._calls.get(order_id))

    def remove(self, order_id: int) -> bool:
        """See `OrderStore.remove`."""
        return self.run(self._calls.remove(order_id))

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        """See `OrderStore.remove_batch`. One transaction."""
        return self.run(self._calls.remove_batch(order_ids))

    def get_all(self) -> list[Order]:
        """See `OrderStore.get_all`. The server is asked for one page after the other, all of the same moment."""
        return self.run(self._calls.get_all())

    def get_by_user(self, user: str) -> list[Order]:
        """See `OrderStore.get_by_user`. Read in pages as `get_all` is."""
        return self.run(self._calls.get_by_user(user))

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        """See `OrderStore.get_by_side`. Read in pages as `get_all` is."""
        return self.run(self._calls.get_by_side(side, symbol))

    def is_empty(self) -> bool:
        """Whether there is no order at all."""
        return self.run(self._calls.is_empty())

    def query(
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
        """Select orders by rising id, those that meet every condition that is given.

        Parameters
        ----------
        user, symbol, side
            Of the order.
        status : Status, int, str or a collection of them, optional
            One status, or any of several.
        from_ns, to_ns : int, optional
            Accepted at `from_ns` or later, and before `to_ns`.
        after : int, optional
            The id that the page comes after: `next` of the page before it.
        limit : int
            Rows of a page, at most 10,000.

        Returns
        -------
        Page of Order
        """
        return self.run(
            self._calls.query(
                user=user, symbol=symbol, side=side, status=status, from_ns=from_ns, to_ns=to_ns, after=after, limit=limit
            )
        )
