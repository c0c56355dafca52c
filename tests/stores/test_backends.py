"""What the settings say of connections reaches them: sizes of pools, lifetimes, timeouts, addresses."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from stores.servers import run_sql

from pyengine.settings import Settings
from pyengine.store_errors import SettingsError, StoreUnavailable
from pyengine.stores.backends import postgres_address, postgres_pool, redis_connection

SECRET = "hunter2"
SLEEP = "SELECT pg_sleep(0.2)"
OURS = "SELECT count(*)::INTEGER FROM pg_stat_activity WHERE application_name = 'pyengine' AND datname = current_database()"


def connections(url: str) -> int:
    [[count]] = run_sql(url, OURS)
    return int(count)


async def sleep(lease: Any) -> None:
    await lease.connection.execute(SLEEP)


def test_the_pool_of_postgres_is_as_large_as_it_says(postgres_database: str) -> None:
    settings = Settings(database_url=postgres_database, database_max_connections=3, database_max_idle_connections=1)
    with postgres_pool(settings) as pool, ThreadPoolExecutor(12) as threads:
        pool.open()
        jobs = [threads.submit(pool.run, "sleep", sleep) for _ in range(12)]
        most = 0
        while not all(job.done() for job in jobs):
            most = max(most, connections(postgres_database))
        for job in jobs:
            job.result()
        assert most == 3
        deadline = time.monotonic() + 10
        while connections(postgres_database) > 1:
            assert time.monotonic() < deadline, "idle connections beyond DATABASE_MAX_IDLE_CONNECTIONS are closed"
        assert pool.gauges["connections_idle"] == 1


def test_connections_of_postgres_are_replaced_when_they_are_old(postgres_database: str) -> None:
    with postgres_pool(Settings(database_url=postgres_database, database_conn_max_lifetime="200ms")) as pool:
        pool.open()
        assert connections(postgres_database) == 1
        deadline = time.monotonic() + 10
        while connections(postgres_database):
            assert time.monotonic() < deadline, "it is closed after DATABASE_CONN_MAX_LIFETIME"
            time.sleep(0.02)


def test_statements_of_postgres_end_in_time(postgres_database: str) -> None:
    with postgres_pool(Settings(database_url=postgres_database, database_command_timeout="100ms")) as pool:
        pool.migrate()
        with pytest.raises(StoreUnavailable):
            pool.run("sleep", sleep)


def test_the_pool_of_redis_is_as_large_as_it_says(valkey: str) -> None:
    with redis.Redis.from_url(valkey) as client:
        before = len(client.client_list())
        with redis_connection(Settings(redis_url=valkey, redis_pool_size=7, redis_min_idle_conns=4)) as connection:
            connection.connect()
            assert len(client.client_list()) == before + 4
            assert connection.pool_size == 7


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "localhost:5432/matching_engine"),
        ({"database_host": "db", "database_port": 6000, "database_name": "x"}, "db:6000/x"),
        ({"database_url": "postgres://me@db:6000/x", "database_host": "other"}, "db:6000/x"),
        ({"database_url": "postgres://db", "database_name": "named"}, "db/named"),
        ({"database_url": "postgres:///x", "database_host": "/run/pg"}, "/run/pg:5432/x"),
    ],
)
def test_where_postgres_is(fields: dict[str, Any], text: str) -> None:
    address = postgres_address(Settings(**fields, database_password=SECRET))
    assert address.text == text
    assert address.options["password"]() == SECRET
    assert SECRET not in repr(address) + str(address.options)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "disable"),
        ({"database_ssl_mode": "require"}, "require"),
        ({"database_url": "postgres://db/x"}, None),
        ({"database_url": "postgres://db/x", "database_ssl_mode": "require"}, "require"),
        ({"database_url": "postgres://db/x?sslmode=verify-full", "database_ssl_mode": "require"}, "verify-full"),
    ],
)
def test_how_the_way_to_postgres_is_encrypted(fields: dict[str, Any], mode: str | None) -> None:
    options = postgres_address(Settings(**fields, database_ssl_root_cert="ca.pem")).options
    assert "sslrootcert=ca.pem" in options["dsn"]
    assert (f"sslmode={mode}" in options["dsn"] or options.get("ssl") == mode) if mode else "sslmode" not in options["dsn"]


@pytest.mark.parametrize(
    ("fields", "address", "options"),
    [
        ({}, "localhost:6379", {"host": "localhost", "port": 6379}),
        ({"redis_host": "/run/redis.sock", "redis_db": 2}, "/run/redis.sock", {"db": 2}),
        ({"redis_url": "redis://cache", "redis_db": 2}, "cache:6379", {"db": 2}),
        ({"redis_url": "redis://cache/3", "redis_db": 2}, "cache:6379", {"db": 3}),
        ({"redis_url": "redis://a:b@cache", "redis_username": "c"}, "cache:6379", {"username": "a", "password": "b"}),
        ({"redis_username": "c"}, "localhost:6379", {"username": "c", "password": SECRET}),
        ({"redis_url": "rediss://cache", "redis_tls_ca": "ca.pem"}, "cache:6379", {"ssl_ca_certs": "ca.pem"}),
        ({"redis_tls": True, "redis_tls_ca": "ca.pem"}, "localhost:6379", {"ssl_ca_certs": "ca.pem"}),
        ({"redis_tls_ca": "ca.pem"}, "localhost:6379", {"ssl_ca_certs": None}),
        ({"redis_url": "redis+sentinel://one,two/master"}, "master of sentinels one:26379,two:26379", {"password": SECRET}),
    ],
)
def test_where_redis_is(fields: dict[str, Any], address: str, options: dict[str, Any]) -> None:
    connection = redis_connection(Settings(**fields, redis_password=SECRET))
    assert connection.address == address
    assert {name: connection._address.options.get(name) for name in options} == options
    assert SECRET not in repr(connection)


def test_what_only_the_connection_can_refuse_names_the_variable() -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_PREFIX: prefix must be with a hash tag"):
        redis_connection(Settings(redis_url="redis+cluster://:hunter2@one,two"))
    with pytest.raises(SettingsError, match=r"^REDIS_URL: ") as error:
        redis_connection(Settings(redis_url="redis+sentinel://:hunter2@one"))
    assert SECRET not in str(error.value)
    assert (
        redis_connection(Settings(redis_url="redis+cluster://one,two", redis_prefix="{x}:")).address
        == "cluster of one:6379,two:6379"
    )
