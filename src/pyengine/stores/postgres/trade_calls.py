"""The operations on trades."""

from __future__ import annotations

from collections.abc import Iterable

from pyengine._core.trade import Trade
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.records import Records
from pyengine.stores.arguments import limit_of, order_id_of, symbol_of, trade_rows, whole
from pyengine.stores.interfaces import Mark
from pyengine.stores.postgres.calls import MAX_NS, PAGE_ROWS, Call, Calls, Filters, page_limit
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import Row
from pyengine.stores.postgres.page import Page
from pyengine.stores.postgres.rows import signed, trade_of_row, trade_parameters
from pyengine.stores.postgres.statements import statements
from pyengine.stores.postgres.writes import TRADES, tag_count

SQL = statements("trades.sql")


class TradeCalls(Calls):
    """The operations of `PostgresTradeStore` and of its asyncio form."""

    table = TRADES

    def save(self, trade: Trade) -> Call[bool]:
        """See `TradeStore.save`."""
        row = self.rows_of([trade])[0]
        instrument = self.names.instruments[row["instrument"]]
        parameters = trade_parameters(row, instrument)

        async def work(lease: Lease) -> int:
            await self.definitions.keep(lease.connection, (instrument,))
            return self.add("written", tag_count(await lease.connection.execute(SQL["save"], *parameters)))

        return Call("save", work, bool)

    def save_batch(self, trades: Records | Iterable[Trade]) -> Call[int]:
        """See `TradeStore.save_batch`."""
        return self.write("save_batch", self.rows_of(trades))

    def save_marked(self, records: Records | Iterable[Trade], mark: Mark) -> Call[int]:
        """See `Watermarked.save_marked`."""
        return self.write("save_marked", self.rows_of(records), mark)

    def get(self, trade_id: int) -> Call[Trade | None]:
        """Find a trade by its id."""
        number = whole("trade_id", trade_id, -MAX_NS - 1, MAX_NS)

        async def work(lease: Lease) -> list[Row]:
            rows = await self.fetch(lease.connection, SQL["get"], number)
            self.add("hits" if rows else "misses", 1)
            return rows

        return Call("get", work, lambda rows: trade_of_row(rows[0], self.definitions) if rows else None)

    def get_recent(self, limit: int = 100) -> Call[list[Trade]]:
        """See `TradeStore.get_recent`."""
        most = limit_of(limit)

        async def work(lease: Lease) -> list[Row]:
            if most <= PAGE_ROWS:
                return await self.fetch(lease.connection, SQL["recent"], most)
            async with lease.connection.transaction(readonly=True):
                return await self.stream(lease.connection, SQL["recent"], most)

        return Call("get_recent", work, self._trades, bounded=most <= PAGE_ROWS)

    def is_empty(self) -> Call[bool]:
        """Whether there is no trade at all."""

        async def work(lease: Lease) -> bool:
            return bool(await lease.connection.fetchval(SQL["is_empty"]))

        return Call("is_empty", work, bool)

    def query(
        self,
        *,
        symbol: str | None = None,
        order_id: int | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        after: int | None = None,
        limit: int = 1_000,
    ) -> Call[Page[Trade]]:
        """Select trades by any of these, page by page."""
        last = MAX_NS if after is None else whole("after", after, 1, MAX_NS) - 1
        most = page_limit(limit)
        filters = Filters(SQL, (last, most + 1))
        filters.add("symbol", symbol, lambda given: symbol_of(given, self.names))
        filters.add("order_id", order_id, lambda given: signed(order_id_of(given)))
        filters.add_times(from_ns, to_ns)
        sql = SQL["query"].format(filters=filters.conditions)

        async def work(lease: Lease) -> list[Row]:
            return await self.fetch(lease.connection, sql, *filters.values) if filters.possible else []

        def finish(rows: list[Row]) -> Page[Trade]:
            trades = self._trades(rows[:most])
            return Page(trades, trades[-1].trade_id if len(rows) > most else None)

        return Call("query", work, finish)

    def rows_of(self, trades: Records | Iterable[Trade]) -> Records:
        """Check trades and make them an array, each id once; names that are lent are not added to."""
        if self.definitions.lent and not hasattr(trades, "dtype"):
            given = list(trades)
            check = InMemoryTradeStore(max(1, len(given)))
            check.attach_names(self.names)
            check.save_batch(given)
            trades = check.get_recent_array(len(check))
        return trade_rows(trades, self.names)

    def _trades(self, rows: list[Row]) -> list[Trade]:
        return [trade_of_row(row, self.definitions) for row in rows]
