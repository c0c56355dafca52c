"""Each test of the contract runs with each store of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from stores.conftest import POSTGRES_URL, REDIS_URL
from stores.contract.backends import ORDER_BACKENDS, TRADE_BACKENDS, Backend, Place
from stores.servers import fresh_database, run_sql

from pyengine.stores import Names

Open = Callable[..., Any]

EMPTY_TABLES = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%migration%' LOOP
    EXECUTE format('TRUNCATE %I', name);
  END LOOP;
END $$
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill in the backend: of orders or of trades, and of those what the fixtures of the test call for."""
    for fixture, table in (("order_backend", ORDER_BACKENDS), ("trade_backend", TRADE_BACKENDS)):
        if fixture in metafunc.fixturenames:
            rows = [row for row in table if row.keeps or "reopen" not in metafunc.fixturenames]
            rows = [row for row in rows if row.arrays or "numbered" not in metafunc.fixturenames]
            metafunc.parametrize(fixture, rows, ids=str)


@pytest.fixture(scope="session")
def contract_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make one database for all tests of the contract."""
    with fresh_database(POSTGRES_URL or request.getfixturevalue("postgres_server").url) as url:
        yield url


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """Give out a function that makes an empty place; only the last one counts."""

    def redis_url() -> str:
        url = REDIS_URL or request.getfixturevalue("valkey_server").url
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return str(url)

    def postgres_url() -> str:
        url = request.getfixturevalue("contract_database")
        run_sql(url, EMPTY_TABLES)
        return str(url)

    return lambda: Place(lambda: tmp_path_factory.mktemp("stores"), redis_url, postgres_url)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """Find the row that the test runs with."""
    name = next(name for name in ("order_backend", "trade_backend") if name in request.fixturenames)
    row: Backend = request.getfixturevalue(name)
    return row


@pytest.fixture
def open_store(request: pytest.FixtureRequest, new_place: Callable[[], Place]) -> Iterator[Open]:
    """Give out a function that opens a store in the test's place, closed at the end."""
    backend = request.getfixturevalue("backend")
    place, stores = new_place(), []

    def open_one(names: Names | None = None) -> Any:
        stores.append(backend.open(place, names))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def reopen() -> Callable[[Open, Any], Any]:
    """Give out a function that closes a store and opens the next one, for backends that keep what they were given."""

    def close_and_open(open_store: Open, store: Any) -> Any:
        assert store.flush(timeout_s=10)
        store.close()
        return open_store()

    return close_and_open


@pytest.fixture
def said(backend: Backend) -> Callable[[object, object], bool]:
    """Give out a function that compares what a write said with what became of it, where the store can know."""
    return lambda answer, expected: answer == expected or not backend.tells


@pytest.fixture
def seq(backend: Backend) -> Callable[[int], int]:
    """Give out a function that leaves the number of an event out where the store doesn't keep it."""
    return lambda number: number if backend.keeps_seq else 0


@pytest.fixture
def numbered() -> None:
    """Ask for backends that take arrays of records."""


@pytest.fixture
def orders(order_backend: Backend, open_store: Open) -> Any:
    """Open an empty order store."""
    return open_store()


@pytest.fixture
def trades(trade_backend: Backend, open_store: Open) -> Any:
    """Open an empty trade store."""
    return open_store()
