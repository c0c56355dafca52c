"""Arrays of records into the tables: binary COPY, idempotent, all or nothing.

Ids grow, so most of what comes is above everything that is there, and goes straight into the table. What may be there already
goes into a staging table first, from where one statement adds or replaces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine._core.names import Names
from pyengine._core.pg_copy import ORDER_COLUMNS, TRADE_COLUMNS, order_rows, trade_rows
from pyengine.records import Records
from pyengine.stores.interfaces import Mark
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import asyncpg
from pyengine.stores.postgres.statements import statements

CHUNK_ROWS = 20_000
"""Rows of one COPY; more of them would bound neither the time of a statement nor the memory of the encoded rows."""

_MESSAGE_BYTES = 131_072
"""Of one message of a COPY, so that the server works on the first while the others are sent."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that takes arrays of records.

    Attributes
    ----------
    name, staging : str
        Its name, and that of its staging table.
    key : str
        The field of a record that is its primary key.
    columns : tuple of str
    encode : callable
        Makes a COPY of records.
    sql : mapping
        The statements of its file.
    """

    name: str
    staging: str
    key: str
    columns: tuple[str, ...]
    encode: Callable[[Records, Names], bytes]
    sql: Mapping[str, str]


MARKS = statements("watermarks.sql")

ORDERS = Table("orders", "staged_orders", "order_id", ORDER_COLUMNS, order_rows, statements("orders.sql"))
TRADES = Table("trades", "staged_trades", "trade_id", TRADE_COLUMNS, trade_rows, statements("trades.sql"))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to be written.

    Attributes
    ----------
    rows : array
        By rising id, each once, and at least one.
    names : Names
        What their numbers mean.
    encoded : bytes or None
        All of them as a COPY, encoded on the caller's thread; None if they are too many for one.
    """

    rows: Records
    names: Names
    encoded: bytes | None


def batch_of(table: Table, rows: Records, names: Names) -> Batch:
    """Encode rows. Raises FieldError for one that can't be."""
    return Batch(rows, names, table.encode(rows, names) if len(rows) <= CHUNK_ROWS else None)


async def write(lease: Lease, table: Table, batch: Batch, mark: Mark | None = None, place: str = "postgres") -> int:
    """Add trades, or add or replace orders, in one transaction.

    Parameters
    ----------
    lease : Lease
    table : Table
    batch : Batch
    mark : Mark, optional
        The watermark that moves in the same transaction; if it has moved already, nothing is written.
    place : str
        The database, for errors.

    Returns
    -------
    int
        How many trades were new, or how many orders weren't older than what was there.

    Raises
    ------
    WatermarkMoved
        The watermark is somewhere else; nothing was written.
    """
    ids = batch.rows[table.key].view(np.int64)
    for all_known in (False, True):
        try:
            if mark is None:
                return await _put(lease, table, batch, ids, all_known=all_known)
            return await _put_marked(lease, table, batch, ids, mark, place, all_known=all_known)
        except asyncpg.UniqueViolationError:
            # Another node has just added one of them; the staging table can tell which.
            if all_known:
                raise
    raise AssertionError("unreachable")


async def move(lease: Lease, table: Table, mark: Mark, place: str) -> None:
    """Move the watermark of a table that has nothing to be written; errors as of `write`."""
    if not await lease.connection.fetchval(MARKS["move"], table.name, mark.journal, mark.after, mark.to):
        await _refuse_elsewhere(lease, table, mark, place)


def _known(ids: NDArray[Any], highest: int | None) -> int:
    """Count the ids that aren't above the highest one of the table that is among them.

    Across 2**63, where ids begin to be negative, it finds none; then the table refuses what it has, and all are merged.
    """
    return 0 if highest is None else int(np.searchsorted(ids, highest, side="right"))


async def _put(lease: Lease, table: Table, batch: Batch, ids: NDArray[Any], *, all_known: bool) -> int:
    """Write rows in one transaction."""
    known = len(ids)
    if not all_known:
        highest = await lease.connection.fetchval(table.sql["highest_between"], int(ids[0]), int(ids[-1]))
        known = _known(ids, highest)
    if known:
        await _prepare(lease, table)
    elif batch.encoded is not None:
        return await _copy(lease, table.name, table, batch, slice(len(ids)))
    async with lease.connection.transaction(isolation="read_committed"):
        return await _put_parts(lease, table, batch, known)


async def _put_marked(
    lease: Lease, table: Table, batch: Batch, ids: NDArray[Any], mark: Mark, place: str, *, all_known: bool
) -> int:
    """Write rows and move the watermark in one transaction."""
    values = (table.name, mark.journal, mark.after, mark.to, int(ids[0]), int(ids[-1]))
    async with lease.connection.transaction(isolation="read_committed"):
        moved, highest = await lease.connection.fetchrow(MARKS[f"move_for_{table.name}"], *values)
        if not moved:
            await _refuse_elsewhere(lease, table, mark, place)
            return 0
        known = len(ids) if all_known else _known(ids, highest)
        if known and table.staging not in lease.prepared:
            await lease.connection.execute(table.sql["create_staging"])
        stored = await _put_parts(lease, table, batch, known)
    if known:
        # Only now, because what a transaction that fails has made is gone.
        lease.prepared.add(table.staging)
    return stored


async def _refuse_elsewhere(lease: Lease, table: Table, mark: Mark, place: str) -> None:
    """Raise WatermarkMoved for a watermark that couldn't be moved, unless it has moved already."""
    actual = await lease.connection.fetchval(MARKS["get"], table.name, mark.journal)
    if mark.follows(actual, f"{place}, {table.name}"):
        # It has come back since.
        raise mark.refusal(actual, f"{place}, {table.name}, a moment ago")


async def _put_parts(lease: Lease, table: Table, batch: Batch, known: int) -> int:
    """Write the first `known` rows by way of the staging table, the others straight into the table."""
    stored, count = 0, len(batch.rows)
    for start in range(known, count, CHUNK_ROWS):
        stored += await _copy(lease, table.name, table, batch, slice(start, start + CHUNK_ROWS))
    for start in range(0, known, CHUNK_ROWS):
        if start:
            await lease.connection.execute(table.sql["empty_staging"])
        await _copy(lease, table.staging, table, batch, slice(start, min(known, start + CHUNK_ROWS)))
        stored += tag_count(await lease.connection.execute(table.sql["merge"]))
    return stored


async def _prepare(lease: Lease, table: Table) -> None:
    """Make the staging table, once in a session."""
    if table.staging not in lease.prepared:
        await lease.connection.execute(table.sql["create_staging"])
        lease.prepared.add(table.staging)


async def _copy(lease: Lease, target: str, table: Table, batch: Batch, part: slice) -> int:
    """Send some of the rows to a table."""
    rows = batch.rows[part]
    if batch.encoded is not None and len(rows) == len(batch.rows):
        encoded = batch.encoded
    else:
        encoded = await asyncio.to_thread(table.encode, rows, batch.names)
    tag = await lease.connection.copy_to_table(target, source=_messages(encoded), columns=table.columns, format="binary")
    return tag_count(tag)


async def _messages(encoded: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(encoded)
    for start in range(0, len(view), _MESSAGE_BYTES):
        yield view[start : start + _MESSAGE_BYTES]


def tag_count(tag: str) -> int:
    """Read how many rows a statement touched: the end of "COPY 5", "INSERT 0 5", "UPDATE 5" or "DELETE 5"."""
    return int(tag.rpartition(" ")[2])
