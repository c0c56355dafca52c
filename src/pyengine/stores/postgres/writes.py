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
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import asyncpg
from pyengine.stores.postgres.statements import statements

CHUNK_ROWS = 20_000
"""Rows of one COPY; more of them would bound neither the time of a statement nor the memory of the encoded rows."""

_MESSAGE_BYTES = 131_072
"""Of one message of a COPY, so that the server works on the first while the others are sent."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    staging: str
    columns: tuple[str, ...]
    encode: Callable[[Records, Names], bytes]
    sql: Mapping[str, str]


_ORDERS = _Table("orders", "staged_orders", ORDER_COLUMNS, order_rows, statements("orders.sql"))
_TRADES = _Table("trades", "staged_trades", TRADE_COLUMNS, trade_rows, statements("trades.sql"))


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


def batch_of_trades(rows: Records, names: Names) -> Batch:
    """Encode trades. Raises FieldError for a row that can't be."""
    return Batch(rows, names, trade_rows(rows, names) if len(rows) <= CHUNK_ROWS else None)


def batch_of_orders(rows: Records, names: Names) -> Batch:
    """Encode orders, as `batch_of_trades` does."""
    return Batch(rows, names, order_rows(rows, names) if len(rows) <= CHUNK_ROWS else None)


async def write_trades(lease: Lease, batch: Batch) -> int:
    """Add trades in one transaction and return how many were new."""
    return await _write(lease, _TRADES, batch, await _known(lease, _TRADES, batch.rows["trade_id"]))


async def write_orders(lease: Lease, batch: Batch) -> int:
    """Add or replace orders in one transaction and return how many weren't older than what was there."""
    return await _write(lease, _ORDERS, batch, await _known(lease, _ORDERS, batch.rows["order_id"].view(np.int64)))


async def _known(lease: Lease, table: _Table, ids: NDArray[Any]) -> int:
    """Count the ids that aren't above the highest one of the table that is among them.

    Across 2**63, where ids begin to be negative, it finds none; then the table refuses what it has, and all are merged.
    """
    highest = await lease.connection.fetchval(table.sql["highest_between"], int(ids[0]), int(ids[-1]))
    return 0 if highest is None else int(np.searchsorted(ids, highest, side="right"))


async def _write(lease: Lease, table: _Table, batch: Batch, known: int) -> int:
    """Write the first `known` rows by way of the staging table and the others straight into the table."""
    count = len(batch.rows)
    if known:
        await _prepare(lease, table)
    try:
        if not known and batch.encoded is not None:
            return await _copy(lease, table.name, table, batch, slice(count))
        async with lease.connection.transaction(isolation="read_committed"):
            stored = 0
            for start in range(known, count, CHUNK_ROWS):
                stored += await _copy(lease, table.name, table, batch, slice(start, start + CHUNK_ROWS))
            for start in range(0, known, CHUNK_ROWS):
                if start:
                    await lease.connection.execute(table.sql["empty_staging"])
                await _copy(lease, table.staging, table, batch, slice(start, min(known, start + CHUNK_ROWS)))
                stored += tag_count(await lease.connection.execute(table.sql["merge"]))
            return stored
    except asyncpg.UniqueViolationError:
        # Another node has just added one of them; the staging table can tell which.
        if known == count:
            raise
    return await _write(lease, table, batch, count)


async def _prepare(lease: Lease, table: _Table) -> None:
    """Make the staging table, once in a session."""
    if table.staging not in lease.prepared:
        await lease.connection.execute(table.sql["create_staging"])
        lease.prepared.add(table.staging)


async def _copy(lease: Lease, target: str, table: _Table, batch: Batch, part: slice) -> int:
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
