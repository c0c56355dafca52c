"""What tests of the stores write to: a file, servers, one of each kind for the session, and any number of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from stores.servers import PostgresServer, ValkeyServer, fresh_database

POSTGRES_URL = os.environ.get("PYENGINE_TEST_POSTGRES_URL")
REDIS_URL = os.environ.get("PYENGINE_TEST_REDIS_URL")
"""Servers to test against instead of embedded ones, for the tests that don't stop them. Their Redis database is flushed!"""

WITHOUT_SERVERS = bool(os.environ.get("PYENGINE_TEST_WITHOUT_SERVERS"))
"""Leave out what needs a server: the sanitizers look into our own code, and would be loaded into the servers too."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a trade log in a folder of its own."""
    return tmp_path / "trades.log"


@pytest.fixture(scope="session")
def servers_wanted() -> None:
    """Skip the test if no server is to be started."""
    if WITHOUT_SERVERS:
        pytest.skip("no servers: PYENGINE_TEST_WITHOUT_SERVERS is set")


@pytest.fixture(scope="session")
def postgres_server(servers_wanted: None) -> Iterator[PostgresServer]:
    """Run one PostgreSQL for all tests that leave it alone."""
    with PostgresServer(options=("max_connections=200",)) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(servers_wanted: None) -> Iterator[ValkeyServer]:
    """Run one Valkey for all tests that leave it alone."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make an empty database and give out its URL."""
    admin = POSTGRES_URL or request.getfixturevalue("postgres_server").url
    with fresh_database(admin) as url:
        yield url


@pytest.fixture
def valkey(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give out the URL of an empty Valkey (or Redis)."""
    url = REDIS_URL or request.getfixturevalue("valkey_server").url
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    """Make a client that gives out text."""
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        yield client


@pytest.fixture
def own_postgres(servers_wanted: None) -> Iterator[Callable[..., PostgresServer]]:
    """Give out a function that starts a PostgreSQL of the test's own, with the options of `PostgresServer`."""
    yield from _own(PostgresServer)


@pytest.fixture
def own_valkey(servers_wanted: None) -> Iterator[Callable[..., ValkeyServer]]:
    """Give out a function that starts a Valkey of the test's own, with the options of `ValkeyServer`."""
    yield from _own(ValkeyServer)


def _own(kind: type[Any]) -> Iterator[Callable[..., Any]]:
    servers = []

    def start(**options: Any) -> Any:
        servers.append(kind(**options))
        return servers[-1].start()

    yield start
    for server in servers:
        server.close()
