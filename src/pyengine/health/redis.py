"""Try out Redis as it is configured."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from shlex import quote
from typing import Any

from pyengine.health.finding import Finding, Trial
from pyengine.settings import Settings
from pyengine.store_errors import StoreError
from pyengine.stores.backends import redis_connection
from pyengine.stores.redis.connection import RedisConnection
from pyengine.stores.redis.exchange import Exchange, Steps, pack_command, refuse_errors


def check_redis(settings: Settings) -> Finding:
    """Connect, log in, try a write that changes nothing, and measure; never raises for what Redis does."""
    connection = redis_connection(settings)
    trial = Trial("redis", connection.address)
    with connection:
        try:
            connection.connect()
            trial.facts.append("reachable")
            server = _read_info(connection)
            name = "Valkey" if "valkey_version" in server else "Redis"
            trial.facts.append(f"{name} {server.get('valkey_version') or server.get('redis_version', 'of an unknown version')}")
            _send(connection, b"DEL", f"{connection.prefix}order:check".encode())
            trial.facts.append("takes writes")
            trial.time(lambda: _send(connection, b"PING"))
        except StoreError as error:
            return trial.failed(
                f"Failed to connect to Redis: {error}" if not trial.facts else str(error), _advice(settings, error)
            )
    return _remarks(trial, settings, server).done()


def _remarks(trial: Trial, settings: Settings, server: dict[str, str]) -> Trial:
    """Add what works but could be better."""
    assert trial.latency_s is not None
    timeout_s = settings.redis_timeout.total_seconds()
    if trial.latency_s > timeout_s / 2:
        trial.advice.append(
            f"An answer takes {trial.latency_s * 1e3:.1f} ms; raise REDIS_TIMEOUT, which is {timeout_s * 1e3:g} ms"
        )
    if server.get("maxmemory", "0") != "0" and server.get("maxmemory_policy") == "noeviction":
        trial.advice.append("Full memory makes it refuse writes; as it is a cache, set maxmemory-policy to allkeys-lru")
    if server.get("cluster_enabled") == "1" and "cluster" not in trial.address:
        trial.advice.append("This is a node of a cluster; use a REDIS_URL of the form redis+cluster://host:port")
    return trial


def _read_info(connection: RedisConnection) -> dict[str, str]:
    reply = _send(connection, b"INFO").decode(errors="replace")
    lines = (line.partition(":") for line in reply.splitlines())
    return {name: value for name, colon, value in lines if colon}


def _send(connection: RedisConnection, *command: bytes) -> Any:
    def steps() -> Steps[Any]:
        what = command[0].decode()
        replies = yield Exchange(what, [pack_command(command)], write=True)
        refuse_errors(replies, what, connection.address)
        return replies[0]

    return connection.run(steps())


def _advice(settings: Settings, error: BaseException) -> list[str]:
    """Say what to look at, by what went wrong."""
    where = "REDIS_URL" if settings.redis_url is not None else "REDIS_HOST and REDIS_PORT"
    client = _client(settings)
    causes = [*_causes(error)]
    text = " ".join(map(str, causes))
    if any(code in text for code in ("NOAUTH", "Authentication required", "WRONGPASS", "invalid password", "invalid username")):
        return [f"Check REDIS_PASSWORD, and REDIS_USERNAME if there are access lists, in .env: {client} --askpass ping"]
    found: list[str] = []
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        found = [f"Check {where} in .env: no host of this name is known"]
    elif any(isinstance(cause, ssl.SSLError) for cause in causes) or "SSL" in text:
        found = ["Check REDIS_TLS (or rediss:// in REDIS_URL) and REDIS_TLS_CA in .env"]
    elif "NOPERM" in text:
        found = ["The user needs all commands on the keys order:*, user_orders:*, side_orders:*, trades:* and instruments"]
    elif "READONLY" in text:
        found = [f"This is a replica; set {where} to the master, or use a REDIS_URL of the form redis+sentinel://…"]
    elif "LOADING" in text:
        found = ["Redis is reading its files after a start; wait, then check again"]
    elif any(isinstance(cause, TimeoutError) for cause in causes) or "Timeout" in text:
        found = ["Check firewall rules", f"Check {where} in .env", f"Is Redis running? {client} ping"]
        if settings.redis_tls or (settings.redis_url is not None and "rediss" in str(settings.redis_url)):
            found.insert(0, "Check that the server speaks TLS, or turn REDIS_TLS off")
    else:
        found = [f"Is Redis running? {client} ping", f"Check {where} in .env", "Check REDIS_PASSWORD if AUTH is enabled"]
    return [*found, f"Look at what it says itself: {client} INFO server"]


def _client(settings: Settings) -> str:
    """Write the command line of a client that would reach the same server, without a password."""
    if settings.redis_url is not None:
        return "redis-cli -u $REDIS_URL"
    user = f" --user {quote(settings.redis_username)}" if settings.redis_username else ""
    tls = " --tls" if settings.redis_tls else ""
    if settings.redis_host.startswith("/"):
        return f"redis-cli -s {quote(settings.redis_host)}{user}"
    return f"redis-cli -h {quote(settings.redis_host)} -p {settings.redis_port}{user}{tls}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk what an error came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
