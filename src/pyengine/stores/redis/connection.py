"""The way to one Redis, which several stores may share: deadlines, a bounded pool, and errors that name the place."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from itertools import count
from typing import Any, Self
from weakref import WeakKeyDictionary

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed, StoreError, StoreUnavailable
from pyengine.stores.redis.address import Address, read_url, redis, single
from pyengine.stores.redis.async_lender import AsyncLender, aioredis
from pyengine.stores.redis.exchange import Answer, Exchange, Steps, pack_command, refuse_errors
from pyengine.stores.redis.lender import Lender, Loan
from pyengine.stores.redis.replies import ReplyError, is_elsewhere, store_error

_log = logging.getLogger("pyengine.stores.redis")

READ_TIMEOUT_S = 0.05
WRITE_TIMEOUT_S = 5.0
_FAMILIES = re.compile("(order|user_orders|side_orders|trades|instruments|watermarks|audit_heads)(:|$)")

DRIVER_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""Whatever redis-py raises when Redis doesn't answer as it should."""


class RedisConnection:
    """Connections to one Redis (or Valkey), for as many stores as like to share them.

    Nothing is opened before the first use. Whoever makes it closes it; a store that was given one doesn't.

    Parameters
    ----------
    url : str, optional
        Instead of host, port, tls and unix_socket; `read_url` names the forms.
    host, port : str, int
    db, username, password : optional
        They count before those of the URL.
    tls : bool
    unix_socket : path, optional
        Instead of host and port.
    prefix : str
        Before every key. In a cluster it needs a hash tag, such as "{pyengine}:", because a script's keys have to be
        together.
    pool_size : int
        Most connections that are open at once. Who finds none free waits for as long as for an answer.
    min_idle : int
        How many `connect` opens beforehand.
    read_timeout_s, write_timeout_s : float
        How long to wait for a connection, for the server to accept one, and for the next bytes of its answer.
    **options
        Further options of redis-py's connections, such as ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_check_hostname.

    Raises
    ------
    FieldTypeError, FieldError
        A parameter can't be used.
    MissingExtraError
        redis-py or hiredis isn't installed.

    Notes
    -----
    Thread-safety: any thread may use it, and so may a forked child, which opens connections of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        host: str = "localhost",
        port: int = 6379,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        unix_socket: str | os.PathLike[str] | None = None,
        prefix: str = "",
        pool_size: int = 10,
        min_idle: int = 0,
        read_timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        **options: Any,
    ) -> None:
        given = {"db": db, "username": username, "password": password}
        options |= {name: value for name, value in given.items() if value}
        if url is None:
            options |= {"host": host, "port": port} if unix_socket is None else {"path": os.fspath(unix_socket)}
            self._address = single(options, tls=tls)
        elif isinstance(url, str):
            self._address = read_url(url, options)
        else:
            raise FieldTypeError("url", type(url).__name__, "a str or None")
        self.prefix = _checked_prefix(prefix, self._address)
        self.pool_size = _at_least("pool_size", pool_size, 1)
        self.min_idle = _at_least("min_idle", min_idle, 0)
        self.read_timeout_s = _positive("read_timeout_s", read_timeout_s)
        self.write_timeout_s = _positive("write_timeout_s", write_timeout_s)
        self._successes = count()
        self._greeted = False
        self._closed = False
        self._lender = Lender(self._make, self.pool_size)
        self._async_lenders: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLender] = WeakKeyDictionary()

    @property
    def address(self) -> str:
        """Host and port, or what else stands for them; never a password."""
        return self._address.shown

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def open_count(self) -> int:
        """Number of connections that are open."""
        return self._lender.open_count

    @property
    def lent_count(self) -> int:
        """Number of connections that are in use."""
        return self._lender.lent_count

    def connect(self) -> None:
        """Open `min_idle` connections, at least one, and see that the server answers and knows us.

        Raises
        ------
        StoreUnavailable
            It doesn't.
        """
        lender = self._lender_here()
        loans: list[Loan] = []
        try:
            while len(loans) < min(max(1, self.min_idle), self.pool_size):
                loans.append(lender.borrow(write=len(loans) % 2 == 0, timeout_s=self.write_timeout_s))
        except DRIVER_ERRORS as error:
            raise self.error(error, "connect") from self.cause(error)
        finally:
            for loan in loans:
                lender.give_back(loan)
        self.run(ping(self.address))

    def run(self, steps: Steps[Answer]) -> Answer:
        """Carry out an operation, blocking.

        Raises
        ------
        StoreUnavailable
            The server can't be reached, is too slow or has no room.
        StoreClosed
            This was closed.
        StoreError
            Whatever the steps raise.
        """
        try:
            exchange = next(steps)
            while True:
                exchange = steps.send(self._carry_out(exchange))
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        finally:
            steps.close()

    async def run_async(self, steps: Steps[Answer]) -> Answer:
        """Carry out an operation on the running loop; errors as of `run`."""
        try:
            exchange = next(steps)
            while True:
                exchange = steps.send(await self._carry_out_async(exchange))
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        finally:
            steps.close()

    def close(self) -> None:
        """Close every connection; stores that share this raise StoreClosed from now on.

        Connections of an event loop are closed by the loop, if it runs; `close_async` waits for that.
        """
        self._closed = True
        if self._lender.process_id != os.getpid():
            return
        self._lender.close()
        for loop, lender in list(self._async_lenders.items()):
            if loop.is_running() and not lender.closed:
                asyncio.run_coroutine_threadsafe(lender.close(), loop)

    async def close_async(self) -> None:
        """Close the connections of the running loop."""
        lender = self._async_lenders.pop(asyncio.get_running_loop(), None)
        if lender is not None:
            await lender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RedisConnection to {self.address}{', closed' if self._closed else ''}>"

    def error(self, error: BaseException, what: str) -> StoreError:
        """Make an error of ours out of one of the driver's, without any password."""
        found = store_error(error, what, self.address)
        text = str(found)
        for secret in self._address.secrets:
            text = text.replace(secret, "***")
        return found if text == str(found) else type(found)(text)

    def cause(self, error: BaseException) -> BaseException | None:
        """Return what an error of ours comes from; None if that repeats a password."""
        return None if any(secret in str(error) for secret in self._address.secrets) else error

    def connected(self) -> None:
        """Say so, the first time."""
        if not self._greeted and next(self._successes) == 0:
            self._greeted = True
            _log.info("Redis cache connected successfully", extra={"address": self.address})

    def options_for(self, *, write: bool) -> dict[str, Any]:
        """Return what a new connection of redis-py is made from; this may have to ask sentinels or a cluster."""
        timeout_s = self.write_timeout_s if write else self.read_timeout_s
        located = self._address.locate(self.prefix.encode(), timeout_s)
        return {**located, "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "protocol": 2}

    @property
    def connection_kind(self) -> str:
        """Name of the class of redis-py's connections."""
        return self._address.kind

    def _make(self, write: bool) -> Any:
        return getattr(redis.connection, self.connection_kind)(**self.options_for(write=write))

    async def _make_async(self) -> Any:
        if type(self._address) is Address:
            options = self.options_for(write=True)
        else:
            options = await asyncio.to_thread(self.options_for, write=True)
        return getattr(aioredis.connection, self.connection_kind)(**options)

    def _lender_here(self) -> Lender:
        """Return the lender of this process. Two threads of a new child may each make one; the loser's is used once."""
        if self._closed:
            raise StoreClosed(f"redis at {self.address}: the connection must be open, was closed")
        lender = self._lender
        if lender.process_id != os.getpid():
            lender = self._lender = Lender(self._make, self.pool_size)
        return lender

    def _carry_out(self, exchange: Exchange) -> list[Any]:
        """Send, and read all replies; a read is sent again if its connection turns out to be dead."""
        timeout_s = self.write_timeout_s if exchange.write else self.read_timeout_s
        for attempt in (1, 2):
            lender = self._lender_here()
            try:
                loan = lender.borrow(write=exchange.write, timeout_s=timeout_s)
            except DRIVER_ERRORS as error:
                raise self.error(error, exchange.what) from self.cause(error)
            try:
                replies = _talk(loan.connection, exchange)
            except DRIVER_ERRORS as error:
                lender.drop(loan)
                if attempt == 1 and loan.used and not exchange.write and _is_broken(error):
                    continue
                raise self.error(error, exchange.what) from self.cause(error)
            except BaseException:
                lender.drop(loan)
                raise
            lender.give_back(loan)
            self.connected()
            if any(map(is_elsewhere, replies)):
                lender.forget()
            return replies
        raise AssertionError("unreachable")

    async def _carry_out_async(self, exchange: Exchange) -> list[Any]:
        """Send, and read all replies, within one deadline."""
        if self._closed:
            raise StoreClosed(f"redis at {self.address}: the connection must be open, was closed")
        lender = self._async_lenders.get(asyncio.get_running_loop())
        if lender is None:
            lender = self._async_lenders[asyncio.get_running_loop()] = AsyncLender(self._make_async, self.pool_size)
        timeout_s = self.write_timeout_s if exchange.write else self.read_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                replies = await lender.talk(exchange)
        except TimeoutError as error:
            raise StoreUnavailable(f"redis at {self.address}: {exchange.what} failed: no answer in {timeout_s} s") from error
        except DRIVER_ERRORS as error:
            raise self.error(error, exchange.what) from self.cause(error)
        self.connected()
        if any(map(is_elsewhere, replies)):
            await lender.forget()
        return replies


def ping(address: str) -> Steps[None]:
    """See that the server answers."""
    replies = yield Exchange("ping", [pack_command((b"PING",))])
    refuse_errors(replies, "ping", address)


def _talk(connection: Any, exchange: Exchange) -> list[Any]:
    """Send commands as they come and read their replies; an error reply is a reply."""
    sent = 0
    for command in exchange.commands:
        connection.send_packed_command([command], check_health=False)
        sent += exchange.replies_each
    replies = []
    for _ in range(sent):
        try:
            replies.append(connection.read_response())
        except ReplyError as error:
            replies.append(error)
    return replies


def _is_broken(error: BaseException) -> bool:
    """Whether the connection is dead, rather than slow or refused."""
    return isinstance(error, OSError) or type(error) is redis.ConnectionError


def _checked_prefix(prefix: str, address: Address) -> str:
    if not isinstance(prefix, str):
        raise FieldTypeError("prefix", prefix, "a str")
    if not prefix.isprintable() or len(prefix) > 255 or _FAMILIES.match(prefix):
        raise FieldError("prefix", prefix, "at most 255 printable characters, and not the beginning of a key of ours")
    if address.needs_tag and not re.search(r"^[^{]*\{[^}]+\}", prefix):
        raise FieldError("prefix", prefix, "with a hash tag such as {pyengine}: for a cluster")
    return prefix


def _at_least(name: str, value: Any, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldTypeError(name, value, "an int")
    if value < lowest:
        raise FieldError(name, value, f"at least {lowest}")
    return value


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldTypeError(name, value, "a number of seconds")
    if not 0 < value < 1e9:
        raise FieldError(name, value, "a number of seconds above 0")
    return float(value)
