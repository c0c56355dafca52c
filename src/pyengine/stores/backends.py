"""Each backend as the settings describe it, not yet connected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from pyengine._core.names import Names
from pyengine.errors import FieldError
from pyengine.settings import Settings
from pyengine.store_errors import SettingsError
from pyengine.stores.interfaces import OrderStore, TradeStore
from pyengine.stores.registry import load_order_store, load_trade_store

if TYPE_CHECKING:
    from pyengine.stores.postgres.address import Address
    from pyengine.stores.postgres.pool import PostgresPool
    from pyengine.stores.redis.connection import RedisConnection


def postgres_address(settings: Settings) -> Address:
    """Say where the database is and as whom to connect; DATABASE_URL counts before the other variables.

    Raises
    ------
    SettingsError
        A variable can't be used; most are refused before, by the settings.
    MissingExtraError
        asyncpg isn't installed.
    """
    from pyengine.stores.postgres.address import address_of_parts, address_of_url  # noqa: PLC0415
    from pyengine.stores.postgres.driver import asyncpg  # noqa: F401, PLC0415  says which extra brings it

    with _named_as_variable("DATABASE"):
        if settings.database_url is not None:
            return address_of_url(_postgres_url(settings))
        return address_of_parts(
            settings.database_host,
            settings.database_port,
            settings.database_name,
            settings.database_user,
            settings.database_password.get_secret_value() or None,
            settings.database_ssl_mode,
            settings.database_ssl_root_cert,
        )


def postgres_pool(settings: Settings, *, migrate: bool | None = None) -> PostgresPool:
    """Make the pool that all Postgres stores share; it opens nothing before it is used.

    DATABASE_URL counts before the other variables, which fill in what it doesn't say.

    Parameters
    ----------
    settings : Settings
    migrate : bool, optional
        Instead of DATABASE_MIGRATE.

    Raises
    ------
    SettingsError
        A variable can't be used; most are refused before, by the settings.
    MissingExtraError
        asyncpg isn't installed.
    """
    from pyengine.stores.postgres.pool import PostgresPool  # noqa: PLC0415  an extra brings its driver

    with _named_as_variable("DATABASE"):
        return PostgresPool(
            None if settings.database_url is None else _postgres_url(settings),
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
            user=settings.database_user,
            password=settings.database_password.get_secret_value() or None,
            ssl_mode=settings.database_ssl_mode,
            ssl_root_cert=settings.database_ssl_root_cert,
            min_connections=min(1, settings.database_max_idle_connections),
            max_connections=settings.database_max_connections,
            max_idle_connections=settings.database_max_idle_connections,
            max_lifetime_s=settings.database_conn_max_lifetime.total_seconds(),
            command_timeout_s=settings.database_command_timeout.total_seconds(),
            migrate=settings.database_migrate if migrate is None else migrate,
            lazy=True,
        )


def _postgres_url(settings: Settings) -> str:
    """Fill into DATABASE_URL what the other variables say and it doesn't."""
    assert settings.database_url is not None
    parts = urlsplit(settings.database_url.get_secret_value())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if not user and "user" not in query:
        user = quote(settings.database_user, safe="")
    if not password and "password" not in query:
        password = quote(settings.database_password.get_secret_value(), safe="")
    if not hosts and "host" not in query:
        query |= {"host": settings.database_host, "port": str(settings.database_port)}
    if not parts.path.strip("/") and not {"dbname", "database"} & set(query):
        parts = parts._replace(path=f"/{quote(settings.database_name, safe='')}")
    # Unless somebody asked for it, a mode that refuses encryption would keep us out of most servers that have a URL.
    if "sslmode" not in query and "database_ssl_mode" in settings.origins:
        query["sslmode"] = settings.database_ssl_mode
    if "sslrootcert" not in query and settings.database_ssl_root_cert is not None:
        query["sslrootcert"] = str(settings.database_ssl_root_cert)
    secret = f":{password}" if password else ""
    at = "@" if user or secret else ""
    return parts._replace(netloc=f"{user}{secret}{at}{hosts}", query=urlencode(query, quote_via=quote)).geturl()


def redis_connection(settings: Settings) -> RedisConnection:
    """Make the connection that all Redis stores share; it opens nothing before it is used.

    REDIS_URL counts before the other variables, which fill in what it doesn't say.

    Raises
    ------
    SettingsError
        A variable can't be used; most are refused before, by the settings.
    MissingExtraError
        redis-py or hiredis isn't installed.
    """
    from pyengine.stores.redis.connection import RedisConnection  # noqa: PLC0415  an extra brings its driver

    options: dict[str, Any] = {
        "pool_size": settings.redis_pool_size,
        "min_idle": settings.redis_min_idle_conns,
        "prefix": settings.redis_prefix,
        "read_timeout_s": settings.redis_timeout.total_seconds(),
    }
    url = None if settings.redis_url is None else _redis_url(settings)
    # A connection that isn't encrypted has no parameter for certificates.
    if settings.redis_tls_ca is not None and (settings.redis_tls if url is None else url.startswith("rediss")):
        options["ssl_ca_certs"] = str(settings.redis_tls_ca)
    if url is None:
        options["unix_socket" if settings.redis_host.startswith("/") else "host"] = settings.redis_host
        options |= {"port": settings.redis_port, "db": settings.redis_db, "tls": settings.redis_tls}
        options |= {"username": settings.redis_username, "password": settings.redis_password.get_secret_value()}
    with _named_as_variable("REDIS"):
        return RedisConnection(url, **options)


def _redis_url(settings: Settings) -> str:
    """Fill into REDIS_URL what the other variables say and it doesn't: user, password and database."""
    assert settings.redis_url is not None
    parts = urlsplit(settings.redis_url.get_secret_value())
    query = parse_qs(parts.query)
    user, password = settings.redis_username, settings.redis_password.get_secret_value()
    if (user or password) and "@" not in parts.netloc and not {"username", "password"} & set(query):
        parts = parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}")
    plain = parts.scheme in {"redis", "rediss"}
    if plain and settings.redis_db and not parts.path.strip("/") and "db" not in query:
        parts = parts._replace(path=f"/{settings.redis_db}")
    return parts.geturl()


@contextmanager
def _named_as_variable(prefix: str) -> Iterator[None]:
    """Say of a refused parameter which variable it comes from."""
    try:
        yield
    except FieldError as error:
        raise SettingsError(f"{prefix}_{error.field.upper()}: {error}") from error


def own_order_store(settings: Settings, spec: str) -> OrderStore:
    """Make an order store that somebody else wrote; it gets `settings` and `names` if it has such parameters.

    Raises
    ------
    SettingsError
        There is no such store, or it can't be made like that.
    """
    return load_order_store(spec, offer={"settings": settings, "names": Names()})


def own_trade_store(settings: Settings, spec: str) -> TradeStore:
    """Make a trade store that somebody else wrote, as `own_order_store` does."""
    return load_trade_store(spec, offer={"settings": settings, "names": Names()})
