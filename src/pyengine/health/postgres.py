"""Try out PostgreSQL as it is configured."""

from __future__ import annotations

import socket
import ssl
import statistics
from shlex import quote
from time import perf_counter

from pyengine.health.finding import SAMPLES, Finding, Trial
from pyengine.settings import Settings
from pyengine.stores.backends import postgres_address
from pyengine.stores.io_thread import io_thread
from pyengine.stores.postgres.address import Address
from pyengine.stores.postgres.driver import Connection, Row, asyncpg
from pyengine.stores.postgres.errors import DRIVER_ERRORS, translated
from pyengine.stores.postgres.migrate import Schema, read_schema
from pyengine.stores.postgres.statements import statements

SQL = statements("health.sql")


def check_postgres(settings: Settings) -> Finding:
    """Connect, log in, look at the tables, and measure; never raises for what PostgreSQL does, and changes nothing."""
    address = postgres_address(settings)
    return io_thread().run(_check(settings, address, Trial("postgres", address.text)))


async def _check(settings: Settings, address: Address, trial: Trial) -> Finding:
    timeout_s = settings.database_command_timeout.total_seconds()
    try:
        connection = await asyncpg.connect(**address.options, timeout=timeout_s, command_timeout=timeout_s)
    except DRIVER_ERRORS as error:
        problem = f"Failed to connect to PostgreSQL: {translated(error, 'check', address.text)}"
        return trial.failed(problem, _advice(settings, error))
    try:
        return await _look(settings, connection, trial)
    except DRIVER_ERRORS as error:
        return trial.failed(str(translated(error, "check", address.text)), _advice(settings, error))
    finally:
        connection.terminate()


async def _look(settings: Settings, connection: Connection, trial: Trial) -> Finding:
    server: Row = await connection.fetchrow(SQL["server"])
    trial.facts += ["reachable", f"PostgreSQL {server['version']}", f"user {server['login']}"]
    schema = await read_schema(connection)
    trial.facts.append(f"schema version {schema.version} of {schema.newest}")
    lacking = [privilege for (privilege,) in await connection.fetch(SQL["lacking"])]
    trial.latency_s = await _latency_s(connection)
    if server["read_only"]:
        advice = ["This is a standby, or default_transaction_read_only is on; use the primary"]
        return trial.failed("The server is read-only", advice)
    if lacking:
        return trial.failed(
            f"User {server['login']} must have {', '.join(lacking)}", ["GRANT what is missing, as the owner of the tables"]
        )
    if not schema.is_current:
        wrong = await _about_schema(settings, connection, trial, schema)
        if wrong is not None:
            return wrong
    if server["connections"] < settings.database_max_connections:
        most = settings.database_max_connections
        trial.advice.append(f"DATABASE_MAX_CONNECTIONS is {most}, but the server takes only {server['connections']} of all")
    return trial.done()


async def _about_schema(settings: Settings, connection: Connection, trial: Trial, schema: Schema) -> Finding | None:
    """Say what a schema of another version means."""
    if schema.version > schema.newest:
        return trial.failed("The tables are of a later release of pyengine", ["Upgrade pyengine, or use another database"])
    if not settings.database_migrate:
        return trial.failed(
            "The tables are of an earlier release of pyengine", ["pyengine migrate", "Or set DATABASE_MIGRATE=true"]
        )
    if not await connection.fetchval(SQL["may_create"]):
        return trial.failed(
            "The user must be allowed to create tables, was not", ["pyengine migrate, as another DATABASE_USER who is"]
        )
    trial.advice.append("The next start brings the tables up to date; `pyengine migrate` does it now")
    return None


async def _latency_s(connection: Connection) -> float:
    probe = await connection.prepare(SQL["nothing"])
    seconds = []
    for _ in range(SAMPLES):
        start = perf_counter()
        await probe.fetchval()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def _advice(settings: Settings, error: BaseException) -> list[str]:
    """Say what to look at, by what went wrong."""
    host, port = quote(settings.database_host), settings.database_port
    user, name = quote(settings.database_user), quote(settings.database_name)
    where, login, mode = "DATABASE_HOST and DATABASE_PORT", "DATABASE_USER and DATABASE_PASSWORD", "DATABASE_SSL_MODE"
    running, by_hand = f"pg_isready -h {host} -p {port}", f"psql -h {host} -p {port} -U {user} -d {name}"
    create = f"createdb -h {host} -p {port} -U {user} {name}"
    if settings.database_url is not None:
        where = login = mode = "DATABASE_URL"
        running, by_hand, create = "pg_isready -d $DATABASE_URL", "psql $DATABASE_URL", "createdb, with the name in DATABASE_URL"
    running, by_hand = f"Is PostgreSQL running? {running}", f"Can you connect manually? {by_hand}"
    check = f"Check {where} in .env"
    texts = {
        "login": [f"Check {login} in .env", by_hand, "Does pg_hba.conf let this host and user in?"],
        "no database": [f"Create the database: {create}", f"{check}, and DATABASE_NAME"],
        "full": ["Lower DATABASE_MAX_CONNECTIONS in .env, of every node", "Raise max_connections of the server"],
        "starting": ["The server is starting up or shutting down; wait, then check again"],
        "no host": [f"{check}: no host of this name is known"],
        "encryption": [f"Check {mode} and DATABASE_SSL_ROOT_CERT in .env", by_hand],
        "slow": ["Check firewall rules", check, running],
        "other": [running, check, by_hand, "Check firewall rules"],
    }
    return [*texts[_kind(error)], "Look at what it says itself: sudo journalctl -u postgresql"]


def _kind(error: BaseException) -> str:
    """Sort an error by what there is to do about it."""
    state = str(getattr(error, "sqlstate", None) or "")
    for beginning, kind in (("28", "login"), ("3D000", "no database"), ("53300", "full"), ("57P03", "starting")):
        if state.startswith(beginning):
            return kind
    if isinstance(error, ssl.SSLError) or "SSL" in str(error) or "certificate" in str(error):
        return "encryption"
    kinds = {socket.gaierror: "no host", TimeoutError: "slow"}
    return next((kind for cause, kind in kinds.items() if isinstance(error, cause)), "other")
