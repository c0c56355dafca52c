"""The operations on orders."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pyengine._core.order import Order
from pyengine._core.order_store import InMemoryOrderStore
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import Records, Side, Status
from pyengine.stores.arguments import MAX_ID, order_id_of, order_rows, side_of, symbol_of, user_of, whole
from pyengine.stores.interfaces import Mark
from pyengine.stores.postgres.calls import PAGE_ROWS, Call, Calls, Filters, page_limit
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import Row
from pyengine.stores.postgres.page import Page
from pyengine.stores.postgres.rows import UNSIGNED, order_of_row, order_parameters, signed
from pyengine.stores.postgres.statements import statements
from pyengine.stores.postgres.writes import ORDERS, tag_count

SQL = statements("orders.sql")
HALVES = ((0, 2**63 - 1), (-(2**63), -1))
"""Unsigned ids in their order, as the signed numbers of the table."""


class OrderCalls(Calls):
    """The operations of `PostgresOrderStore` and of its asyncio form."""

    table = ORDERS

    def save(self, order: Order) -> Call[bool]:
        """See `OrderStore.save`."""
        return self._put("save", order)

    def update(self, order: Order) -> Call[bool]:
        """See `OrderStore.update`."""
        return self._put("update", order)

    def _put(self, statement: str, order: Order) -> Call[bool]:
        rows = self.rows_of([order])
        row = rows[0]
        instrument, user = self.names.instruments[row["instrument"]], self.names.users[row["user"]]
        parameters = order_parameters(row, instrument, user or "")

        async def work(lease: Lease) -> int:
            await self.definitions.keep(lease.connection, (instrument,))
            return self.add("written", tag_count(await lease.connection.execute(SQL[statement], *parameters)))

        return Call(statement, work, bool)

    def save_batch(self, orders: Records | Iterable[Order]) -> Call[int]:
        """See `OrderStore.save_batch`."""
        return self.write("save_batch", self.rows_of(orders))

    def save_marked(self, records: Records | Iterable[Order], mark: Mark) -> Call[int]:
        """See `Watermarked.save_marked`."""
        return self.write("save_marked", self.rows_of(records), mark)

    def get(self, order_id: int) -> Call[Order | None]:
        """See `OrderStore.get`."""
        number = signed(order_id_of(order_id))

        async def work(lease: Lease) -> list[Row]:
            rows = await self.fetch(lease.connection, SQL["get"], number)
            self.add("hits" if rows else "misses", 1)
            return rows

        return Call("get", work, lambda rows: order_of_row(rows[0], self.definitions) if rows else None)

    def remove(self, order_id: int) -> Call[bool]:
        """See `OrderStore.remove`."""
        number = signed(order_id_of(order_id))

        async def work(lease: Lease) -> int:
            return self.add("removed", tag_count(await lease.connection.execute(SQL["remove"], number)))

        return Call("remove", work, bool)

    def remove_batch(self, order_ids: Iterable[int]) -> Call[int]:
        """See `OrderStore.remove_batch`."""
        numbers = sorted({signed(order_id_of(order_id)) for order_id in order_ids})

        async def work(lease: Lease) -> int:
            removed = 0
            async with lease.connection.transaction(isolation="read_committed"):
                for start in range(0, len(numbers), PAGE_ROWS):
                    some = numbers[start : start + PAGE_ROWS]
                    removed += tag_count(await lease.connection.execute(SQL["remove_batch"], some))
            return self.add("removed", removed)

        return Call("remove_batch", work, int, bounded=False)

    def get_all(self) -> Call[list[Order]]:
        """See `OrderStore.get_all`."""
        return self._by_id("get_all", SQL["all"])

    def get_by_user(self, user: str) -> Call[list[Order]]:
        """See `OrderStore.get_by_user`."""
        name = user_of(user, self.names)
        return self._nothing("get_by_user") if name is None else self._by_id("get_by_user", SQL["of_user"], name)

    def _by_id(self, operation: str, sql: str, *values: Any) -> Call[list[Order]]:
        async def work(lease: Lease) -> list[Row]:
            rows: list[Row] = []
            async with lease.connection.transaction(isolation="repeatable_read", readonly=True):
                for lowest, highest in HALVES:
                    rows += await self.stream(lease.connection, sql, lowest, highest, *values)
            return rows

        return Call(operation, work, self._orders, bounded=False)

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> Call[list[Order]]:
        """See `OrderStore.get_by_side`."""
        values: tuple[Any, ...] = (int(side_of(side)),)
        if symbol is not None:
            wanted = symbol_of(symbol, self.names)
            if wanted is None:
                return self._nothing("get_by_side")
            values += (wanted,)
        sql = SQL["of_side" if symbol is None else "of_side_and_symbol"]

        async def work(lease: Lease) -> list[Row]:
            async with lease.connection.transaction(readonly=True):
                return await self.stream(lease.connection, sql, *values)

        def finish(rows: list[Row]) -> list[Order]:
            orders = [order_of_row(row, self.definitions) for row in rows]
            sign = -1 if values[0] == Side.BUY else 1
            ranks = {symbol: self.definitions.rank(symbol) for symbol in {str(order.symbol) for order in orders}}
            orders.sort(key=lambda o: (ranks[str(o.symbol)], sign * o.price_ticks, o.entered, o.created_ns, o.order_id))
            return orders

        return Call("get_by_side", work, finish, bounded=False)

    def is_empty(self) -> Call[bool]:
        """Whether there is no order at all."""

        async def work(lease: Lease) -> bool:
            return bool(await lease.connection.fetchval(SQL["is_empty"]))

        return Call("is_empty", work, bool)

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
    ) -> Call[Page[Order]]:
        """Select orders by any of these, page by page."""
        start = -1 if after is None else whole("after", after, 0, MAX_ID)
        most = page_limit(limit)
        filters = Filters(SQL, (None, None, None))
        filters.add("user", user, lambda given: user_of(given, self.names))
        filters.add("symbol", symbol, lambda given: symbol_of(given, self.names))
        filters.add("side", side, lambda given: int(side_of(given)))
        filters.add("status", status, _statuses)
        filters.add_times(from_ns, to_ns)
        sql = SQL["query"].format(filters=filters.conditions)

        async def work(lease: Lease) -> list[Row]:
            rows: list[Row] = []
            for lowest, highest in HALVES if filters.possible else ():
                # Both halves are one rising row of unsigned ids.
                first, last = lowest & UNSIGNED, highest & UNSIGNED
                if start < last and len(rows) <= most:
                    values = [signed(max(first, start + 1)), highest, most + 1 - len(rows), *filters.values[3:]]
                    rows += await self.fetch(lease.connection, sql, *values)
            return rows

        def finish(rows: list[Row]) -> Page[Order]:
            orders = self._orders(rows[:most])
            return Page(orders, orders[-1].order_id if len(rows) > most else None)

        return Call("query", work, finish)

    def rows_of(self, orders: Records | Iterable[Order]) -> Records:
        """Check orders and make them an array, each id once; names that are lent are not added to."""
        if self.definitions.lent and not hasattr(orders, "dtype"):
            check = InMemoryOrderStore()
            check.attach_names(self.names)
            check.save_batch(orders)
            orders = check.get_all_array()
        return order_rows(orders, self.names)

    def _orders(self, rows: list[Row]) -> list[Order]:
        return [order_of_row(row, self.definitions) for row in rows]

    @staticmethod
    def _nothing(operation: str) -> Call[list[Order]]:
        async def work(_: Lease) -> None:
            pass

        return Call(operation, work, lambda _: [])


def _statuses(status: Any) -> list[int]:
    """Read one status or several: members, their numbers, or their names in any case."""
    given = [status] if isinstance(status, (str, int)) else list(status)
    found = []
    for value in given:
        if isinstance(value, str):
            if value.upper() not in Status.__members__:
                raise FieldError("status", value, f"one of {', '.join(name.lower() for name in Status.__members__)}")
            found.append(int(Status[value.upper()]))
        elif isinstance(value, int):
            found.append(whole("status", value, 1, max(Status)))
        else:
            raise FieldTypeError("status", value, "a Status, its number or its name")
    return found
