"""The schema: brought up to date step by step, whoever else is doing the same, or refused with what to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pyengine.store_errors import SchemaError
from pyengine.stores.postgres.driver import Connection
from pyengine.stores.postgres.statements import Migration, migrations, statements

SQL = statements("migrations.sql")
FIRST_COLUMNS = {
    "orders": {
        "order_id": "bigint",
        "user_id": "text",
        "symbol": "text",
        "order_type": "integer",
        "side": "integer",
        "price": "numeric",
        "size": "integer",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "trades": {
        "trade_id": "bigint",
        "buy_order_id": "bigint",
        "sell_order_id": "bigint",
        "price": "numeric",
        "quantity": "integer",
        "timestamp": "timestamp with time zone",
    },
}
"""What tables must have to be taken over when nobody wrote down where they come from."""

TIMEOUT_S = 3600.0
"""How long one step may take, and waiting for another node that is at it: tables may be large."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Which version of the schema a database has, and which one this release works with."""

    version: int
    newest: int

    @property
    def is_current(self) -> bool:
        """Whether they are the same."""
        return self.version == self.newest


async def read_schema(connection: Connection) -> Schema:
    """Look up the version; 0 where nobody wrote one down."""
    known = await connection.fetchval(SQL["journal_exists"])
    return Schema(await connection.fetchval(SQL["version"]) if known else 0, len(migrations()))


def refuse_unfit(schema: Schema, address: str) -> None:
    """Raise SchemaError for a schema that isn't the one of this release."""
    if schema.version < schema.newest:
        raise SchemaError(
            f"postgres {address}: schema version must be {schema.newest}, was {schema.version}: run `pyengine migrate`, "
            "or start with migrations on"
        )
    _refuse_later(schema, address)


async def migrate(connection: Connection, address: str) -> tuple[str, ...]:
    """Take the missing steps and return their names; each is one transaction, and one node at a time takes them.

    Tables of the first version that are there already are taken over with their rows.

    Raises
    ------
    SchemaError
        The schema is of a later release, or there are tables of the same names that aren't ours.
    """
    taken: list[str] = []
    schema = await read_schema(connection)
    while not schema.is_current:
        _refuse_later(schema, address)
        schema = await _step(connection, address, taken)
    return tuple(taken)


async def _step(connection: Connection, address: str, taken: list[str]) -> Schema:
    """Take the next step, if nobody else has meanwhile."""
    async with asyncio.timeout(TIMEOUT_S), connection.transaction():
        await connection.execute(SQL["no_timeout"])
        await connection.execute(SQL["lock"], timeout=TIMEOUT_S)
        schema = await read_schema(connection)
        if schema.version >= schema.newest:
            return schema
        step: Migration = migrations()[schema.version]
        if schema.version == 0:
            await _refuse_foreign(connection, address)
            await connection.execute(SQL["create_journal"])
        await connection.execute(step.sql, timeout=TIMEOUT_S)
        await connection.execute(SQL["record"], step.version, step.name)
    taken.append(f"{step.version:04}_{step.name}")
    return Schema(step.version, schema.newest)


async def _refuse_foreign(connection: Connection, address: str) -> None:
    """Leave tables alone that only have the same names."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in await connection.fetch(SQL["columns"]):
        found.setdefault(table.rpartition(".")[2], {})[column] = kind
    for table, columns in found.items():
        wrong = [f"{name} {kind}" for name, kind in FIRST_COLUMNS[table].items() if columns.get(name) != kind]
        if wrong:
            raise SchemaError(
                f"postgres {address}: table {table} must have {', '.join(wrong)}, or not be there: "
                "it belongs to something else, choose another database"
            )


def _refuse_later(schema: Schema, address: str) -> None:
    if schema.version > schema.newest:
        raise SchemaError(
            f"postgres {address}: schema version must be at most {schema.newest}, was {schema.version}: "
            "a later release has been here, use that one"
        )
