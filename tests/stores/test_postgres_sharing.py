"""Who shares connections of the stores in PostgreSQL, who closes them, and the coroutines."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import asyncpg
import pytest
from stores.postgres_rows import known_names, order, order_rows, trade, trade_rows

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore


@pytest.fixture
def pool(postgres_database: str) -> Iterator[PostgresPool]:
    with PostgresPool(postgres_database, command_timeout_s=20) as pool:
        yield pool


@pytest.fixture
def orders(pool: PostgresPool) -> PostgresOrderStore:
    return PostgresOrderStore(pool=pool, names=known_names())


# Sharing, closing, coroutines


def test_stores_share_a_pool_and_leave_it_open(pool: PostgresPool) -> None:
    with PostgresOrderStore(pool=pool) as orders, PostgresTradeStore(pool=pool) as trades:
        orders.save(order(1))
        trades.save(trade(1))
        assert pool.gauges["connections_open"] == 1
    assert not pool.closed
    assert PostgresOrderStore(pool=pool).get(1) == order(1)


def test_a_store_closes_the_connections_that_it_opened(postgres_database: str) -> None:
    store = PostgresOrderStore(postgres_database)
    assert store.save(order(1))
    store.close()
    store.close()
    assert store.pool.closed
    assert store.pool.gauges["connections_open"] == 0
    for call in (
        lambda: store.get(1),
        store.get_all,
        lambda: store.save(order(2)),
        store.flush,
        store.pool.open,
        store.pool.schema,
    ):
        with pytest.raises(StoreClosed, match="was closed"):
            call()
    assert repr(store).endswith(", closed>")


def test_a_pool_that_nobody_closed_is_closed_when_it_is_forgotten(postgres_database: str) -> None:
    store = PostgresOrderStore(postgres_database)
    gauges = store.pool._here().connections
    del store
    for _ in range(100):
        if gauges.gauges["connections_open"] == 0:
            break
        threading.Event().wait(0.05)
    assert gauges.gauges["connections_open"] == 0


def test_a_pool_and_an_address_contradict_each_other(pool: PostgresPool) -> None:
    with pytest.raises(FieldError, match="pool must be None when an address is given"):
        PostgresOrderStore("postgresql://localhost/x", pool=pool)
    with pytest.raises(FieldTypeError, match="pool must be a PostgresPool"):
        PostgresOrderStore(pool=3)


def test_coroutines_answer_as_the_blocking_form_does(postgres_database: str) -> None:
    async def main() -> None:
        orders = await asyncio.to_thread(PostgresOrderStore, postgres_database, names=known_names())
        trades = PostgresTradeStore(pool=orders.pool, names=orders.names)
        assert await orders.aio.is_empty()
        assert await trades.aio.is_empty()
        assert await orders.aio.save(order(1)) is True
        assert await orders.aio.update(order(1, version=1)) is True
        assert await orders.aio.save_batch(order_rows(2, 500)) == 500
        assert await orders.aio.save_batch(order(n) for n in (600, 601)) == 2
        assert await orders.aio.get(1) == order(1, version=1)
        assert await orders.aio.get(999) is None
        assert len(await orders.aio.get_all()) == len(await orders.aio.get_by_user("alice")) == 503
        assert len(await orders.aio.get_by_side("buy", "BTC-USD")) == 503
        assert (await orders.aio.query(limit=2)).next == 2
        assert await orders.aio.remove(1) is True
        assert await orders.aio.remove_batch([2, 3, 3, 1]) == 2
        assert await trades.aio.save(trade(1)) is True
        assert await trades.aio.save_batch(trade_rows(1, 300)) == 299
        assert await trades.aio.get(1) == trade(1)
        assert len(await trades.aio.get_recent(200)) == 200
        assert len(await trades.aio.query(order_id=8)) == 2
        with pytest.raises(FieldError):
            await orders.aio.get(-1)
        await trades.aio.close()
        await orders.aio.close()
        with pytest.raises(StoreClosed):
            await orders.aio.get(1)

    asyncio.run(main())


def test_coroutines_dont_block_their_loop(postgres_database: str) -> None:
    """While one waits for a lock in the database, the loop goes on, and so do others."""

    async def main() -> int:
        store = await asyncio.to_thread(PostgresOrderStore, postgres_database)
        blocker = await asyncpg.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        waiting = asyncio.create_task(store.aio.save(order(1)))
        turns = 0
        while turns < 20:
            await asyncio.sleep(0.005)
            turns += 1
        assert await store.aio.get(1) is None
        assert not waiting.done()
        await blocker.execute("COMMIT")
        assert await waiting is True
        await blocker.close()
        await store.aio.close()
        return turns

    assert asyncio.run(main()) == 20


def test_a_cancelled_coroutine_gives_its_connection_back(postgres_database: str) -> None:
    async def main() -> None:
        store = await asyncio.to_thread(lambda: PostgresOrderStore(postgres_database, max_connections=1))
        blocker = await asyncpg.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.aio.save(order(1)), 0.2)
        await blocker.execute("COMMIT")
        assert await store.aio.get(1) is None
        await blocker.close()
        await store.aio.close()

    asyncio.run(main())


def test_stats_count_what_happened(orders: PostgresOrderStore) -> None:
    orders.save_batch(order_rows(1, 10))
    orders.get(1)
    orders.get(11)
    orders.remove(1)
    stats = orders.stats()
    assert stats.name == orders.name == "postgres"
    assert stats.counts == {"hits": 1, "misses": 1, "written": 10, "removed": 1, "errors": 0, "retries": 0}
    assert stats.gauges["connections_open"] == stats.gauges["connections_idle"] == 1


def test_without_the_driver_the_extra_is_named() -> None:
    program = """
        import sys
        sys.modules["asyncpg"] = None
        from pyengine.optional import MissingExtraError
        try:
            import pyengine.stores.postgres
        except MissingExtraError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert run.stdout == "asyncpg must be installed for this: pip install 'pyengine[postgres]'\n"
