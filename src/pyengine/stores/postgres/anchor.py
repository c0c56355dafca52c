"""Heads of the chain beside a trade log, kept in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pyengine.stores.audit.anchor import HeadKeeper
from pyengine.stores.audit.checkpoint import ChainHead
from pyengine.stores.postgres.connections import Lease
from pyengine.stores.postgres.driver import asyncpg
from pyengine.stores.postgres.pool import PostgresPool
from pyengine.stores.postgres.statements import statements

SQL = statements("audit_heads.sql")


class PostgresAnchor(HeadKeeper):
    """Keeps heads in the table `audit_heads`.

    Parameters
    ----------
    pool : PostgresPool
        It stays open when the anchor is closed.
    path, log
        As of `HeadKeeper`.

    Notes
    -----
    A user who may insert there but not delete keeps every head, which is safer and takes more room.
    """

    name = "postgres"

    def __init__(self, pool: PostgresPool, path: Path | str, log: str | None = None) -> None:
        self._pool = pool
        self.place = f"postgres {pool.address}"
        super().__init__(path, log)

    def heads(self) -> list[ChainHead]:
        """See `HeadKeeper.heads`."""

        async def work(lease: Lease) -> list[ChainHead]:
            return [ChainHead(*row) for row in await lease.connection.fetch(SQL["heads"], self.log)]

        return self._pool.run("heads", work)

    def keep(self, head: ChainHead, older: Collection[str]) -> None:
        """See `HeadKeeper.keep`."""

        async def work(lease: Lease) -> None:
            await lease.connection.execute(SQL["keep"], self.log, *head)
            if older:
                try:
                    await lease.connection.execute(SQL["forget"], self.log, [*older])
                except asyncpg.InsufficientPrivilegeError:
                    """Its owner wants every head to stay."""

        self._pool.run("head", work)
