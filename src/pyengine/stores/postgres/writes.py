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

_INLINE_ROWS = 2_000
"""Rows that are encoded on the loop itself; more would hold up other calls for too long."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    staging: str
    columns: tuple[str, ...]
    encode: Callable[[Records, Names], bytes]
    sql: Mapping[str, str]


_ORDERS = _Table("orders", "staged_orders", ORDER_COLUMNS, order_rows, statements("orders.sql"))
_TRADES = _Table("trades", "staged_trades", TRADE_COLUMNS, trade_rows, statements("trades.sql"))


async def write_trades(lease: Lease, rows: Records, names: Names) -> int:
    """Add trades in one transaction and return how many were new. They come by rising id, each once."""
    ids = rows["trade_id"]
    highest = await lease.connection.fetchval(_TRADES.sql["highest_between"], int(ids[0]), int(ids[-1]))
    return await _write(lease, _TRADES, rows, _rows_up_to(ids, highest), names)


async def write_orders(lease: Lease, rows: Records, names: Names) -> int:
    """Add or replace orders in one transaction and return how many weren't older. They come by rising id, each once."""
    ids = rows["order_id"].view(np.int64)
    if ids[0] > ids[-1]:
        # Those from 2**63 on are negative numbers in the table.
        rows = rows[np.argsort(ids)]
        ids = rows["order_id"].view(np.int64)
    highest = await lease.connection.fetchval(_ORDERS.sql["highest_between"], int(ids[0]), int(ids[-1]))
    return await _write(lease, _ORDERS, rows, _rows_up_to(ids, highest), names)


def _rows_up_to(ids: NDArray[Any], highest: int | None) -> int:
    """Count the ids that aren't above the highest one of the table that is among them."""
    return 0 if highest is None else int(np.searchsorted(ids, highest, side="right"))


async def _write(lease: Lease, table: _Table, rows: Records, known: int, names: Names) -> int:
    """Write the first `known` rows by way of the staging table and the others straight into the table."""
    if known:
        await _prepare(lease, table)
    elif len(rows) <= CHUNK_ROWS:
        try:
            return await _copy(lease, table.name, table, rows, names)
        except asyncpg.UniqueViolationError:
            return await _write(lease, table, rows, len(rows), names)
    try:
        async with lease.connection.transaction(isolation="read_committed"):
            stored = 0
            for start in range(known, len(rows), CHUNK_ROWS):
                stored += await _copy(lease, table.name, table, rows[start : start + CHUNK_ROWS], names)
            for start in range(0, known, CHUNK_ROWS):
                if start:
                    await lease.connection.execute(table.sql["empty_staging"])
                await _copy(lease, table.staging, table, rows[start : min(known, start + CHUNK_ROWS)], names)
                stored += tag_count(await lease.connection.execute(table.sql["merge"]))
            return stored
    except asyncpg.UniqueViolationError:
        # Another node has just added one of them; the staging table can tell which.
        if known == len(rows):
            raise
        return await _write(lease, table, rows, len(rows), names)


async def _prepare(lease: Lease, table: _Table) -> None:
    """Make the staging table, once in a session."""
    if table.staging not in lease.prepared:
        await lease.connection.execute(table.sql["create_staging"])
        lease.prepared.add(table.staging)


async def _copy(lease: Lease, target: str, table: _Table, rows: Records, names: Names) -> int:
    if len(rows) <= _INLINE_ROWS:
        encoded = table.encode(rows, names)
    else:
        encoded = await asyncio.to_thread(table.encode, rows, names)
    tag = await lease.connection.copy_to_table(target, source=_messages(encoded), columns=table.columns, format="binary")
    return tag_count(tag)


async def _messages(encoded: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(encoded)
    for start in range(0, len(view), _MESSAGE_BYTES):
        yield view[start : start + _MESSAGE_BYTES]


def tag_count(tag: str) -> int:
    """Read how many rows a statement touched: the end of "COPY 5", "INSERT 0 5", "UPDATE 5" or "DELETE 5"."""
    return int(tag.rpartition(" ")[2])
