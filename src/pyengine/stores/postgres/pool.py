"""The way to a PostgreSQL database that any number of stores share."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self, TypedDict, TypeVar

from pyengine.errors import FieldError, FieldTypeError, PyengineError
from pyengine.store_errors import SchemaError, StoreClosed
from pyengine.stores.arguments import whole
from pyengine.stores.io_thread import io_thread
from pyengine.stores.postgres.address import Address, address_of_parts, address_of_url
from pyengine.stores.postgres.connections import Connections, Lease
from pyengine.stores.postgres.driver import Connection, asyncpg
from pyengine.stores.postgres.errors import DRIVER_ERRORS, is_lost, may_pass, translated
from pyengine.stores.postgres.migrate import Schema, migrate, read_schema, refuse_unfit

T = TypeVar("T")
Work = Callable[[Lease], Awaitable[T]]

OLDEST_SERVER = 14
MAX_SECONDS = 365 * 86400


class PoolOptions(TypedDict, total=False):
    """Keyword arguments of `PostgresPool`, which the stores pass on."""

    host: str
    port: int
    database: str
    user: str
    password: str | None
    ssl_mode: str
    ssl_root_cert: str | Path | None
    min_connections: int
    max_connections: int
    max_idle_connections: int
    max_lifetime_s: float
    command_timeout_s: float
    migrate: bool
    lazy: bool


class PostgresPool:
    """Connections to one database, opened when needed and shared by all threads and stores.

    Parameters
    ----------
    url : str, optional
        The whole address, ``postgresql://user:password@host:port/database?sslmode=require``, with the parameters of libpq that
        asyncpg knows. Without it:
    host, port, database, user, password
        A host that begins with "/" is the folder of a Unix socket. Without a password, asyncpg looks for `PGPASSWORD` and
        `~/.pgpass` as libpq does.
    ssl_mode : {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
    ssl_root_cert : str or Path, optional
        File of the authority that "verify-ca" and "verify-full" trust. Default: `~/.postgresql/root.crt`.
    min_connections, max_connections, max_idle_connections : int
        How many are opened at the start, how many there may be, and how many stay while nobody needs them.
    max_lifetime_s : float
        Age at which a connection is replaced; 0 for none.
    command_timeout_s : float
        How long to wait for a statement, for a connection to open, and for one to become free; each of them.
    migrate : bool
        Whether to bring the schema up to date at the start. If not, one that isn't is refused.
    lazy : bool
        Whether the start waits for the first call, so that the database may be away now.

    Raises
    ------
    FieldTypeError, FieldError
        If a parameter can't be.
    StoreUnavailable, SchemaError
        If it isn't lazy, and the database can't be reached or used.

    Notes
    -----
    Thread-safety: any thread may call. A forked child gets connections of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        host: str = "localhost",
        port: int = 5432,
        database: str = "matching_engine",
        user: str = "postgres",
        password: str | None = None,
        ssl_mode: str = "prefer",
        ssl_root_cert: str | Path | None = None,
        min_connections: int = 1,
        max_connections: int = 20,
        max_idle_connections: int = 5,
        max_lifetime_s: float = 300.0,
        command_timeout_s: float = 5.0,
        migrate: bool = True,
        lazy: bool = False,
    ) -> None:
        if url is None:
            self._address = address_of_parts(host, port, database, user, password, ssl_mode, ssl_root_cert)
        else:
            self._address = address_of_url(url)
        self._most = whole("max_connections", max_connections, 1, 10_000)
        self._least = whole("min_connections", min_connections, 0, self._most)
        self._spare = max(self._least, min(self._most, whole("max_idle_connections", max_idle_connections, 0, 10_000)))
        self._max_lifetime_s = _seconds("max_lifetime_s", max_lifetime_s, zero=True)
        self._timeout_s = _seconds("command_timeout_s", command_timeout_s)
        self._migrates = migrate
        self._closed = False
        self._retries = 0
        self._processes: dict[int, _Process] = {}
        weakref.finalize(self, _abandon, self._processes).atexit = False
        if not lazy:
            self.open()

    @property
    def address(self) -> str:
        """Where the database is: host:port/database."""
        return self._address.text

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def open(self) -> None:
        """Connect and see to the schema now rather than with the first call, however long migrations take.

        Raises
        ------
        StoreUnavailable, SchemaError
            If the database can't be reached or used.
        """
        io_thread().run(self._open())

    def close(self) -> None:
        """Close every connection, those in use when they come back. Closing twice is closing once."""
        self._closed = True
        here = self._processes.get(os.getpid())
        if here is not None and not io_thread().ended:
            io_thread().run(here.close())

    async def aclose(self) -> None:
        """Do what `close` does without blocking the caller's loop."""
        self._closed = True
        here = self._processes.get(os.getpid())
        if here is not None and not io_thread().ended:
            await asyncio.wrap_future(io_thread().submit(here.close()))

    def run(self, operation: str, work: Work[T], *, bounded: bool = True) -> T:
        """Do something with a connection and wait for it.

        It is done once more if the connection was lost meanwhile, so it must be something that may be done twice.

        Parameters
        ----------
        operation : str
            What it is, for errors.
        work : callable
            A coroutine function that takes a Lease.
        bounded : bool
            Whether all of it must end within the command timeout, not only each statement.

        Raises
        ------
        StoreUnavailable, StoreRefused, StoreDamaged, SchemaError, StoreClosed
        """
        return io_thread().run(self._perform(operation, work, bounded))

    async def arun(self, operation: str, work: Work[T], *, bounded: bool = True) -> T:
        """Do what `run` does without blocking the caller's loop."""
        return await asyncio.wrap_future(io_thread().submit(self._perform(operation, work, bounded)))

    def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date, whatever the pool was told, and return the names of the steps that were missing."""
        return io_thread().run(self._alone("migrate", lambda lease: migrate(lease.connection, self.address)))

    def schema(self) -> Schema:
        """Look up the version of the schema, without changing or refusing it."""
        return io_thread().run(self._alone("schema", lambda lease: read_schema(lease.connection)))

    @property
    def gauges(self) -> dict[str, float]:
        """Connections open, idle, used and waited for, in this process."""
        here = self._processes.get(os.getpid())
        return {} if here is None else here.connections.gauges

    @property
    def retries(self) -> int:
        """How many calls were done once more."""
        return self._retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PostgresPool {self.address}{', closed' if self._closed else ''}>"

    def _here(self) -> _Process:
        """Return what this process has; a forked child has nothing yet."""
        if self._closed:
            raise StoreClosed(f"postgres {self.address}: the pool was closed")
        found = self._processes.get(os.getpid())
        if found is None:
            connections = Connections(
                f"postgres {self.address}",
                partial(_connect, self._address, self._timeout_s),
                most=self._most,
                spare=self._spare,
                max_lifetime_s=self._max_lifetime_s,
                wait_s=self._timeout_s,
            )
            found = self._processes.setdefault(os.getpid(), _Process(connections))
            _alive.add(found)
        return found

    async def _open(self) -> None:
        try:
            await self._make_ready(self._here())
        except DRIVER_ERRORS as error:
            if isinstance(error, PyengineError):
                raise
            raise translated(error, "open", self.address) from error

    async def _perform(self, operation: str, work: Work[T], bounded: bool) -> T:
        here = self._here()
        start_s = asyncio.get_running_loop().time()
        try:
            if not here.ready:
                # Not for as long as it may take: another node may be migrating large tables.
                async with asyncio.timeout_at(start_s + self._timeout_s):
                    await self._make_ready(here)
            try:
                return await self._once(here, work, start_s, bounded)
            except Exception as error:
                if not may_pass(error):
                    raise
                if is_lost(error):
                    here.connections.cut_idle()
            self._retries += 1
            return await self._once(here, work, start_s, bounded)
        except DRIVER_ERRORS as error:
            if isinstance(error, PyengineError):
                raise
            if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
                # The database was made anew, or brought back from before a migration: the next call sees to the schema.
                here.ready = False
            raise translated(error, operation, self.address) from error

    async def _once(self, here: _Process, work: Work[T], start_s: float, bounded: bool) -> T:
        lease = await here.connections.acquire()
        try:
            async with asyncio.timeout_at(start_s + self._timeout_s if bounded else None):
                result = await work(lease)
        except BaseException as error:
            # What the server answered leaves the connection as it was; anything else may have left half a message behind.
            here.connections.release(lease, sound=isinstance(error, (asyncpg.PostgresError, PyengineError)))
            raise
        here.connections.release(lease)
        return result

    async def _alone(self, operation: str, work: Work[T]) -> T:
        """Do something on a connection of its own, whatever the schema is."""
        if self._closed:
            raise StoreClosed(f"postgres {self.address}: the pool was closed")
        try:
            connection = await _connect(self._address, self._timeout_s)
            try:
                return await work(Lease(connection, 0.0))
            finally:
                await connection.close(timeout=self._timeout_s)
        except DRIVER_ERRORS as error:
            if isinstance(error, PyengineError):
                raise
            raise translated(error, operation, self.address) from error

    async def _make_ready(self, here: _Process) -> None:
        """Wait until the schema has been seen to, which happens once however many wait for it, and fails for all of them."""
        if here.opening is None:
            here.opening = asyncio.get_running_loop().create_task(self._see_to_schema(here))
            here.opening.add_done_callback(here.opened)
        try:
            await asyncio.shield(here.opening)
        except SchemaError as error:
            # One for each thread, as raising writes into it.
            raise SchemaError(str(error)) from error

    async def _see_to_schema(self, here: _Process) -> None:
        """Migrate, or refuse what isn't up to date, and open the connections that are to be there from the start."""
        leases = []
        try:
            leases.append(await here.connections.acquire())
            connection = leases[0].connection
            version = connection.get_server_version()
            if version.major < OLDEST_SERVER:
                was = f"{version.major}.{version.minor}"
                raise SchemaError(f"postgres {self.address}: server must be at least {OLDEST_SERVER}, was {was}")
            if self._migrates:
                await migrate(connection, self.address)
            else:
                refuse_unfit(await read_schema(connection), self.address)
            while len(leases) < self._least:
                leases.append(await here.connections.acquire())
            here.ready = True
        finally:
            for lease in leases:
                here.connections.release(lease, sound=here.ready)


class _Process:
    """What a pool has in one process."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.opening: asyncio.Task[None] | None = None
        self.ready = False

    def opened(self, opening: asyncio.Task[None]) -> None:
        """Let the next call try again if that failed; nobody may have waited for it."""
        self.opening = None
        if not opening.cancelled():
            opening.exception()

    async def close(self) -> None:
        await self.connections.close()
        _alive.discard(self)


_alive: set[_Process] = set()
"""Keeps those of a parent from being collected in its forked child: the end of a connection says goodbye to the server."""


async def _connect(address: Address, timeout_s: float) -> Connection:
    settings = {
        "application_name": "pyengine",
        "statement_timeout": str(round(timeout_s * 1000)),
        # Who is cut off in a transaction must not keep others waiting for its locks for hours.
        "idle_in_transaction_session_timeout": str(round(4 * timeout_s * 1000)),
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    connection = await asyncpg.connect(
        **address.options,
        timeout=timeout_s,
        command_timeout=timeout_s,
        max_cached_statement_lifetime=0,
        server_settings=settings,
    )
    # As integers, because datetime ends in the year 9999 and knows no infinity.
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", format="tuple", encoder=lambda us: (us,), decoder=lambda parts: parts[0]
    )
    return connection


def _abandon(processes: dict[int, _Process]) -> None:
    """Close what a pool has left behind that nobody closed."""
    here = processes.get(os.getpid())
    if here is not None and not io_thread().ended:
        io_thread().submit(here.close())


def _seconds(field: str, value: float, *, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldTypeError(field, value, "a number of seconds")
    if not (0 < value <= MAX_SECONDS or (zero and value == 0)):
        raise FieldError(field, value, f"{'from' if zero else 'above'} 0 to {MAX_SECONDS} s")
    return float(value)
