"""Connections to PostgreSQL: few of them for many callers, old ones, closed ones, and those of a forked child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stores.postgres_rows import known_names, order, order_rows, trade_rows
from stores.servers import PostgresServer, run_sql

from pyengine.store_errors import StoreClosed, StoreUnavailable
from pyengine.stores.io_thread import io_thread
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore


def test_a_pool_with_all_connections_in_use_says_so_in_time(postgres_database: str) -> None:
    async def hog(lease: Any) -> None:
        async with lease.connection.transaction():
            await lease.connection.execute("SET LOCAL statement_timeout = 0")
            await lease.connection.execute("SELECT pg_sleep(1.5)", timeout=10)

    with (
        PostgresOrderStore(postgres_database, max_connections=2, command_timeout_s=0.5) as store,
        ThreadPoolExecutor(2) as threads,
    ):
        store.save(order(1))
        hogs = [threads.submit(store.pool.run, "hog", hog, bounded=False) for _ in range(2)]
        while store.pool.gauges["connections_used"] < 2:
            time.sleep(0.01)
        start = time.perf_counter()
        with pytest.raises(StoreUnavailable, match=r"all 2 connections were in use for 0\.5 s"):
            store.get(1)
        assert 0.4 < time.perf_counter() - start < 1.2
        assert [one.result(10) for one in hogs] == [None, None]
        assert store.get(1) == order(1)
        assert store.pool.gauges["connections_waited_for"] == 0


def test_waiting_for_a_connection_counts_towards_the_deadline(postgres_database: str) -> None:
    async def hog(lease: Any) -> None:
        await lease.connection.execute("SELECT pg_sleep(1.5)")

    async def slow(lease: Any) -> None:
        await lease.connection.execute("SELECT pg_sleep(1.9)")

    with PostgresPool(postgres_database, max_connections=1, command_timeout_s=2) as pool, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(pool.run, "hog", hog)
        while not pool.gauges["connections_used"]:
            time.sleep(0.01)
        start = time.perf_counter()
        with pytest.raises(StoreUnavailable, match="slow failed: the server didn't answer in time"):
            pool.run("slow", slow)
        assert time.perf_counter() - start < 3.0
        busy.result(10)


def test_a_connection_handed_to_somebody_who_has_just_given_up_isnt_lost(postgres_database: str) -> None:
    with PostgresPool(postgres_database, max_connections=1) as pool:
        connections = pool._here().connections

        async def give_up() -> None:
            lease = await connections.acquire()
            waiting = asyncio.create_task(connections.acquire())
            await asyncio.sleep(0.01)
            connections.release(lease)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        io_thread().run(give_up())
        assert pool.gauges["connections_idle"] == 1
        assert PostgresOrderStore(pool=pool).get(1) is None


def test_when_one_connection_is_lost_the_idle_ones_arent_trusted(postgres_database: str) -> None:
    """The server that they led to is probably gone, though nobody has said so yet."""
    served: list[int] = []

    async def work(lease: Any) -> int:
        served.append(await lease.connection.fetchval("SELECT pg_backend_pid()"))
        if len(served) == 1:
            raise ConnectionResetError("lost")
        return served[-1]

    with PostgresPool(postgres_database, min_connections=3) as pool:
        before = {
            row[0] for row in run_sql(postgres_database, "SELECT pid FROM pg_stat_activity WHERE application_name = 'pyengine'")
        }
        assert len(before) == 3
        assert pool.run("work", work) not in before
        assert served[0] in before
        assert pool.retries == 1
        assert pool.gauges["connections_open"] == 1


def test_a_server_without_free_connections_is_unavailable(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres(
        options=("max_connections=4", "superuser_reserved_connections=0", "reserved_connections=0", "max_wal_senders=0")
    )
    with (
        PostgresPool(server.url, min_connections=3, max_connections=3) as pool,
        PostgresPool(server.url, min_connections=0, lazy=True) as other,
    ):
        with PostgresPool(server.url), pytest.raises(StoreUnavailable, match="no connection free"):
            other.open()
        PostgresOrderStore(pool=pool).save(order(1))
        deadline = time.monotonic() + 5
        while True:
            try:
                assert PostgresOrderStore(pool=other).get(1) == order(1)
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_forty_threads_share_few_connections(postgres_database: str) -> None:
    with PostgresPool(postgres_database, max_connections=4, max_idle_connections=2, command_timeout_s=60) as pool:
        names = known_names()
        orders, trades = PostgresOrderStore(pool=pool, names=names), PostgresTradeStore(pool=pool, names=names)
        most = []

        def work(number: int) -> int:
            first = 1 + 100 * number
            assert orders.save_batch(order_rows(first, 50)) == 50
            assert trades.save_batch(trade_rows(first, 50)) == 50
            assert orders.save(order(first + 99))
            most.append(pool.gauges["connections_open"])
            found = [orders.get(first + n) for n in range(5)]
            return sum(one is not None and one.order_id == first + n for n, one in enumerate(found))

        with ThreadPoolExecutor(40) as threads:
            assert list(threads.map(work, range(40))) == [5] * 40
        assert max(most) <= 4
        assert pool.gauges["connections_idle"] == pool.gauges["connections_open"] <= 2
        assert len(orders.get_all()) == 40 * 51
        assert len(trades.get_recent(10**6)) == 40 * 50
        assert orders.stats().counts["written"] == 40 * 51


def test_old_connections_are_replaced_and_idle_ones_not_kept_for_ever(postgres_database: str) -> None:
    async def sleep(lease: Any) -> int:
        return int(await lease.connection.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.5)"))

    async def ask(lease: Any) -> int:
        return int(await lease.connection.fetchval("SELECT pg_backend_pid()"))

    with PostgresPool(postgres_database, max_lifetime_s=0.4) as pool:
        first = pool.run("sleep", sleep)
        assert pool.gauges["connections_open"] == 0
        second = pool.run("ask", ask)
        assert second != first
        assert pool.run("ask", ask) == second
        deadline = time.monotonic() + 5
        while pool.gauges["connections_open"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with PostgresPool(postgres_database, max_lifetime_s=0) as pool:
        assert pool.run("sleep", sleep) == pool.run("ask", ask)


def test_closing_while_others_call_ends_their_calls(postgres_database: str) -> None:
    pool = PostgresPool(postgres_database, max_connections=2)
    store = PostgresOrderStore(pool=pool)
    store.save(order(1))
    ends: list[BaseException] = []

    def call() -> None:
        try:
            while True:
                assert store.get(1) == order(1)
        except StoreClosed as error:
            ends.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    pool.close()
    for thread in threads:
        thread.join(10)
    assert len(ends) == 8
    assert pool.gauges["connections_open"] == 0
    pool.close()


def test_a_forked_child_has_connections_of_its_own(postgres_database: str) -> None:
    """It uses and closes the store that it inherited, and its parent doesn't notice."""
    program = """
        import os, sys
        from stores.postgres_rows import order, trade
        from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore

        store = PostgresOrderStore(sys.argv[1], min_connections=2)
        trades = PostgresTradeStore(pool=store.pool)
        store.save(order(1)), trades.save(trade(1))
        children = []
        for number in range(2, 5):
            child = os.fork()
            if child == 0:
                assert store.pool.gauges == {}
                assert store.get(1) == order(1)
                assert store.save(order(number)) and trades.save_batch([trade(number), trade(number + 100)]) == 2
                if number == 2:
                    store.close()
                elif number == 3:
                    del store, trades
                sys.exit()
            assert store.get(1) == order(1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert [one.order_id for one in store.get_all()] == [1, 2, 3, 4]
        assert len(trades.get_recent()) == 7
        assert store.stats().counts["retries"] == 0
        store.close()
        print("done")
    """
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:This process:DeprecationWarning",
            "-c",
            textwrap.dedent(program),
            postgres_database,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(("tests", os.environ.get("PYTHONPATH", "")))},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
