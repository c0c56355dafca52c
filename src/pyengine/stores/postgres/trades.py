"""Trades in PostgreSQL: the record that outlives every node."""

from __future__ import annotations

from collections.abc import Iterable

from pyengine._core.trade import Trade
from pyengine.records import Records
from pyengine.stores.interfaces import Mark, TradeStore
from pyengine.stores.postgres.aio import AsyncPostgresTradeStore
from pyengine.stores.postgres.page import Page
from pyengine.stores.postgres.store import PostgresStore
from pyengine.stores.postgres.trade_calls import TradeCalls
from pyengine.stores.postgres.writes import CHUNK_ROWS


class PostgresTradeStore(PostgresStore[TradeCalls], TradeStore):
    """Trades in the table `trades` of a PostgreSQL database.

    A write is committed when it returns, as durable as the server's `synchronous_commit` makes it. Trades that come singly cost
    a commit each; batches share one.

    Parameters
    ----------
    url, pool, names, **options
        As of `PostgresStore`.

    Notes
    -----
    A write whose connection is lost is done once more. What the first time had stored already doesn't count as new then.
    """

    batch_rows = CHUNK_ROWS
    """Trades that one write should bring when many are waiting: a commit waits for the disk as long for few as for many."""

    _calls_type = TradeCalls

    @property
    def aio(self) -> AsyncPostgresTradeStore:
        """The same store as coroutines, for any event loop."""
        return AsyncPostgresTradeStore(self)

    @property
    def calls(self) -> TradeCalls:
        """The operations, not yet run."""
        return self._calls

    def save(self, trade: Trade) -> bool:
        """See `TradeStore.save`."""
        return self.run(self._calls.save(trade))

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """See `TradeStore.save_batch`. One transaction."""
        return self.run(self._calls.save_batch(trades))

    def save_marked(self, records: Records | Iterable[Trade], mark: Mark) -> int:
        """See `Watermarked.save_marked`. One transaction."""
        return self.run(self._calls.save_marked(records, mark))

    def get(self, trade_id: int) -> Trade | None:
        """Return a trade, or None if there is none of this id."""
        return self.run(self._calls.get(trade_id))

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """See `TradeStore.get_recent`. Many are read in pages."""
        return self.run(self._calls.get_recent(limit))

    def is_empty(self) -> bool:
        """Whether there is no trade at all."""
        return self.run(self._calls.is_empty())

    def query(
        self,
        *,
        symbol: str | None = None,
        order_id: int | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        after: int | None = None,
        limit: int = 1_000,
    ) -> Page[Trade]:
        """Select trades, the newest first, those that meet every condition that is given.

        Parameters
        ----------
        symbol : str, optional
            What was traded.
        order_id : int, optional
            The buyer's or the seller's order.
        from_ns, to_ns : int, optional
            At `from_ns` or later, and before `to_ns`.
        after : int, optional
            The id that the page comes after: `next` of the page before it.
        limit : int
            Rows of a page, at most 10,000.

        Returns
        -------
        Page of Trade
        """
        return self.run(
            self._calls.query(symbol=symbol, order_id=order_id, from_ns=from_ns, to_ns=to_ns, after=after, limit=limit)
        )
