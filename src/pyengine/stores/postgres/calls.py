"""What the blocking and the asyncio form of a store have in common: each operation, as a thing to be run on the I/O thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pyengine._core.names import Names
from pyengine.records import Records
from pyengine.store_errors import WatermarkMoved
from pyengine.stores.arguments import whole
from pyengine.stores.interfaces import Mark, journal_of
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import Connection, Row
from pyengine.stores.postgres.instruments import Definitions
from pyengine.stores.postgres.rows import timestamp_us
from pyengine.stores.postgres.writes import MARKS, Table, batch_of, move, write

T = TypeVar("T")

PAGE_ROWS = 5_000
"""Rows that are asked of the server at a time."""

MAX_LIMIT = 10_000
"""Rows of a page at most."""

MAX_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One operation of a store, its arguments checked.

    Attributes
    ----------
    operation : str
        What it is called, for errors.
    work : callable
        The part that talks to the server, on the I/O thread.
    finish : callable
        Makes the answer of what `work` returned, on the caller's thread: making many objects would hold up others' calls.
    bounded : bool
        Whether all of it must end within the command timeout, and not each statement.
    """

    operation: str
    work: Callable[[Lease], Awaitable[Any]]
    finish: Callable[[Any], T]
    bounded: bool = True


class Calls:
    """What the calls for orders and those for trades share.

    Parameters
    ----------
    place : str
        The database, for errors.
    names : Names
    lent : bool
        Whether the names are somebody else's.
    """

    table: Table

    def __init__(self, place: str, names: Names, *, lent: bool = False) -> None:
        self.place = place
        self.names = names
        self.definitions = Definitions(place, names, lent=lent)
        self.counts = dict.fromkeys(("hits", "misses", "written", "removed"), 0)

    async def fetch(self, connection: Connection, sql: str, *values: Any) -> list[Row]:
        """Run a query, and see to it that the instruments of its rows are known."""
        rows: list[Row] = await connection.fetch(sql, *values)
        await self.definitions.load(connection, {row["symbol"] for row in rows})
        return rows

    async def stream(self, connection: Connection, sql: str, *values: Any) -> list[Row]:
        """Run a query page by page, inside a transaction, so that neither side has to hold back a long answer."""
        cursor = await connection.cursor(sql, *values)
        rows: list[Row] = []
        while page := await cursor.fetch(PAGE_ROWS):
            await self.definitions.load(connection, {row["symbol"] for row in page})
            rows += page
            if len(page) < PAGE_ROWS:
                break
        return rows

    def write(self, operation: str, rows: Records, mark: Mark | None = None) -> Call[int]:
        """Save rows, by rising id and each once, in one transaction, and move a watermark in it."""
        batch = batch_of(self.table, rows, self.names) if len(rows) else None

        async def work(lease: Lease) -> int:
            try:
                if batch is not None:
                    await self.definitions.keep(lease.connection, self.definitions.unkept(rows["instrument"]))
                    return self.add("written", await write(lease, self.table, batch, mark, self.place))
                if mark is not None:
                    await move(lease, self.table, mark, self.place)
            except WatermarkMoved:
                # Whatever has taken the watermark away may have taken the instruments too.
                self.definitions.forget_kept()
                raise
            return 0

        return Call(operation, work, int, bounded=False)

    def watermark(self, journal: str) -> Call[int | None]:
        """See `Watermarked.watermark`."""
        identity = journal_of(journal)

        async def work(lease: Lease) -> int | None:
            found: int | None = await lease.connection.fetchval(MARKS["get"], self.table.name, identity)
            return found

        return Call("watermark", work, lambda found: found)

    def forget_watermark(self, journal: str) -> Call[None]:
        """See `Watermarked.forget_watermark`."""
        identity = journal_of(journal)

        async def work(lease: Lease) -> None:
            await lease.connection.execute(MARKS["forget"], self.table.name, identity)

        return Call("forget_watermark", work, lambda _: None)

    def clear(self) -> Call[None]:
        """See `Clearable.clear`."""

        async def work(lease: Lease) -> None:
            async with lease.connection.transaction():
                await lease.connection.execute(MARKS["clear"].format(table=self.table.name))
                await lease.connection.execute(MARKS["forget_all"], self.table.name)

        return Call("clear", work, lambda _: None, bounded=False)

    def add(self, name: str, number: int) -> int:
        """Add to a counter and pass the number on; only on the I/O thread, where nobody interferes."""
        self.counts[name] += number
        return number


class Filters:
    """The conditions of a query, from fragments of SQL with `{value}` and `{micros}` in them.

    Parameters
    ----------
    fragments : mapping of str to str
        Statements of a file; those called `filter_...` are meant.
    values : iterable
        The parameters that come before.
    """

    def __init__(self, fragments: Mapping[str, str], values: Iterable[Any]) -> None:
        self._fragments = fragments
        self._conditions: list[str] = []
        self.values = list(values)
        self.possible = True

    @property
    def conditions(self) -> str:
        """All of them."""
        return " ".join(self._conditions)

    def add(self, name: str, given: Any, read: Callable[[Any], Any]) -> None:
        """Add the condition of a name, unless None is given. What is read as None is a value that no row can have."""
        if given is None:
            return
        value = read(given)
        self.possible &= value is not None
        self.values.append(value)
        self._conditions.append(self._fragments[f"filter_{name}"].format(value=f"${len(self.values)}"))

    def add_times(self, from_ns: int | None, to_ns: int | None) -> None:
        """Add conditions on the time, in microseconds for the index and in nanoseconds for exactness."""
        for name, given in (("from", from_ns), ("to", to_ns)):
            if given is not None:
                number = whole(f"{name}_ns", given, -MAX_NS - 1, MAX_NS)
                self.values += (number, timestamp_us(number))
                last = len(self.values)
                condition = self._fragments[f"filter_{name}"].format(value=f"${last - 1}", micros=f"${last}")
                self._conditions.append(condition)


def page_limit(limit: Any) -> int:
    """Read the rows that a page may have."""
    return whole("limit", limit, 1, MAX_LIMIT)
