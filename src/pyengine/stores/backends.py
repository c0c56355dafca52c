"""Each backend as the settings describe it, not yet connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from pyengine.settings import Settings

if TYPE_CHECKING:
    from pyengine.stores.redis.connection import RedisConnection


def redis_connection(settings: Settings) -> RedisConnection:
    """Make the connection that all Redis stores share; it opens nothing before it is used.

    REDIS_URL counts before the other variables, which fill in what it doesn't say.

    Raises
    ------
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
    if settings.redis_tls_ca is not None:
        options["ssl_ca_certs"] = str(settings.redis_tls_ca)
    if settings.redis_url is not None:
        return RedisConnection(_redis_url(settings), **options)
    options["unix_socket" if settings.redis_host.startswith("/") else "host"] = settings.redis_host
    return RedisConnection(
        **options,
        port=settings.redis_port,
        db=settings.redis_db,
        username=settings.redis_username,
        password=settings.redis_password.get_secret_value(),
        tls=settings.redis_tls,
    )


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
