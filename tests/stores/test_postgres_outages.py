"""PostgreSQL when it is away, slow, full, read-only or restarted, with few connections and many callers."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from stores.postgres_rows import known_names, order, order_rows, trade, trade_rows
from stores.servers import PostgresServer, run_sql

from pyengine.store_errors import StoreRefused, StoreUnavailable
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore

OwnPostgres = Callable[..., PostgresServer]


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Hold a lock that nobody else writes beside."""
    began, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with PostgresPool(url, migrate=False, lazy=True, command_timeout_s=60) as pool:

            async def work(lease: object) -> None:
                connection = lease.connection  # type: ignore[attr-defined]
                async with connection.transaction():
                    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                    began.set()
                    while not ended.is_set():
                        await connection.execute("SELECT pg_sleep(0.01)")

            pool.run("lock", work, bounded=False)

    thread = threading.Thread(target=hold)
    thread.start()
    assert began.wait(20)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def backends(url: str, condition: str) -> list[int]:
    """Wait until there are server processes that meet a condition."""
    for _ in range(500):
        sql = f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        found = [row[0] for row in run_sql(url, sql)]
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"no backend where {condition}")


# Away


def test_a_server_that_is_away_at_the_start_is_found_later(own_postgres: OwnPostgres) -> None:
    server = own_postgres()
    server.stop()
    with pytest.raises(StoreUnavailable, match="open failed"):
        PostgresOrderStore(server.url)
    with PostgresOrderStore(server.url, lazy=True) as store:
        for call in (lambda: store.get(1), store.get_all, lambda: store.save(order(1)), lambda: store.save_batch([order(1)])):
            with pytest.raises(StoreUnavailable):
                call()
        server.start()
        assert store.save(order(1))
        assert store.get(1) == order(1)


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_restarted_server_is_used_again_at_once(own_postgres: OwnPostgres, ending: str) -> None:
    """All connections are dead by then; nobody notices but the counter."""
    server = own_postgres(durable=True)
    with PostgresOrderStore(server.url, min_connections=3) as store:
        store.save_batch([order(n) for n in range(100)])
        assert store.pool.gauges["connections_idle"] == 3
        getattr(server, ending)()
        with pytest.raises(StoreUnavailable):
            store.get(1)
        server.start()
        assert store.get(1) == order(1)
        assert store.save(order(1, version=1))
        assert len(store.get_all()) == 100


def test_a_connection_cut_in_mid_batch_costs_one_retry(postgres_database: str) -> None:
    names = known_names()
    with PostgresPool(postgres_database, command_timeout_s=20) as pool, ThreadPoolExecutor(2) as threads:
        orders, trades = PostgresOrderStore(pool=pool, names=names), PostgresTradeStore(pool=pool, names=names)
        orders.save_batch(order_rows(1, 10))
        with locked(postgres_database, "orders, trades"):
            writes = [
                threads.submit(orders.save_batch, order_rows(1, 3_000, version=1)),
                threads.submit(trades.save_batch, trade_rows(1, 3_000)),
            ]
            waiting: list[int] = []
            while len(waiting) < 2:
                waiting = backends(postgres_database, "wait_event_type = 'Lock'")
            for pid in waiting:
                run_sql(postgres_database, f"SELECT pg_terminate_backend({pid})")
        assert [write.result(20) for write in writes] == [3_000, 3_000]
        assert orders.stats().counts["retries"] == 2
        assert orders.stats().counts["errors"] == 0
        assert len(orders.get_all()) == len(trades.get_recent(9_999)) == 3_000


def test_a_server_restarted_in_mid_batch_loses_and_doubles_nothing(own_postgres: OwnPostgres) -> None:
    server = own_postgres(durable=True)
    names = known_names()
    stop = threading.Event()
    failures = []

    def write(kind: type, make: Callable[..., np.ndarray], batches: int) -> int:
        total = 0
        with kind(server.url, names=names) as store:
            for batch in range(batches):
                while True:
                    try:
                        total += store.save_batch(make(1 + 5_000 * batch, 5_000))
                        break
                    except StoreUnavailable as error:
                        failures.append(error)
                        time.sleep(0.05)
                if stop.is_set():
                    return batch + 1
        return batches

    with ThreadPoolExecutor(2) as threads:
        writers = [
            threads.submit(write, PostgresTradeStore, trade_rows, 400),
            threads.submit(write, PostgresOrderStore, order_rows, 400),
        ]
        for ending in (server.stop, server.kill):
            time.sleep(0.5)
            ending()
            server.start()
        time.sleep(0.3)
        stop.set()
        done = [writer.result(60) for writer in writers]
    assert failures
    with PostgresPool(server.url) as pool:
        assert [one.trade_id for one in PostgresTradeStore(pool=pool).get_recent(10**7)] == [*range(5_000 * done[0], 0, -1)]
        assert [one.order_id for one in PostgresOrderStore(pool=pool).get_all()] == [*range(1, 5_000 * done[1] + 1)]


def test_a_paused_server_costs_its_deadline_and_no_more(own_postgres: OwnPostgres, caplog: pytest.LogCaptureFixture) -> None:
    """Connections are there and nobody answers: the one that a call has, a new one, and those that others wait for."""
    caplog.set_level(logging.WARNING)
    server = own_postgres()
    calls: list[Callable[[PostgresOrderStore], object]] = [
        lambda store: store.get(1),
        lambda store: store.get_all(),
        lambda store: store.save(order(2)),
        lambda store: store.save_batch([order(n) for n in range(9)]),
    ]
    for call in calls:
        with PostgresOrderStore(server.url, command_timeout_s=0.4, max_connections=2) as store:
            store.save(order(1))
            server.pause()
            try:
                for _ in range(2):
                    start = time.perf_counter()
                    with pytest.raises(StoreUnavailable, match="didn't answer in time"):
                        call(store)
                    assert time.perf_counter() - start < 2.0
                    # What it has left behind on the connection is anybody's guess.
                    assert store.pool.gauges["connections_open"] == 0
                start = time.perf_counter()
                with ThreadPoolExecutor(8) as threads:
                    found = [threads.submit(call, store) for _ in range(8)]
                    assert all(isinstance(one.exception(10), StoreUnavailable) for one in found)
                assert time.perf_counter() - start < 5.0
            finally:
                server.resume()
            assert store.get(1) == order(1)
    assert [record.message for record in caplog.records] == []


def test_many_who_find_a_server_paused_at_the_start_wait_together(own_postgres: OwnPostgres) -> None:
    server = own_postgres()
    with PostgresOrderStore(server.url, command_timeout_s=0.8, lazy=True) as store:
        server.pause()
        start = time.perf_counter()
        with ThreadPoolExecutor(16) as threads:
            found = [threads.submit(store.get, n) for n in range(16)]
            time.sleep(0.2)
            assert store.pool.gauges["connections_open"] == 1
            assert all(isinstance(one.exception(20), StoreUnavailable) for one in found)
        assert time.perf_counter() - start < 2.5
        server.resume()
        assert store.get(1) is None


def test_closing_doesnt_wait_for_a_paused_server(own_postgres: OwnPostgres) -> None:
    server = own_postgres()
    store = PostgresOrderStore(server.url, min_connections=3)
    server.pause()
    start = time.perf_counter()
    store.close()
    assert time.perf_counter() - start < 3.0
    server.resume()


# Slow, full, read-only


def test_a_statement_that_takes_too_long_is_cut_off_and_its_connection_kept(postgres_database: str) -> None:
    with PostgresOrderStore(postgres_database, command_timeout_s=0.4) as store:
        store.save(order(1))
        with locked(postgres_database, "orders"):
            for call in (lambda: store.get(1), lambda: store.save_batch([order(2)]), store.get_all):
                start = time.perf_counter()
                with pytest.raises(StoreUnavailable, match=r"too long|in time"):
                    call()
                assert time.perf_counter() - start < 2.0
        assert store.get(1) == order(1)
        assert store.get(2) is None
        # The server has given up too, and holds nothing for a caller who is gone.
        assert run_sql(postgres_database, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0] == 0


def test_a_read_only_server_answers_and_refuses_to_write(own_postgres: OwnPostgres) -> None:
    server = own_postgres()
    with PostgresOrderStore(server.url) as store, PostgresTradeStore(pool=store.pool) as trades:
        store.save_batch([order(1), order(2)])
        trades.save(trade(1))
        server.set_read_only()
        calls = [
            lambda: store.save(order(3)),
            lambda: store.update(order(1)),
            lambda: store.save_batch([order(1), order(3)]),
            lambda: store.remove(1),
            lambda: store.remove_batch([1]),
            lambda: trades.save(trade(2)),
            lambda: trades.save_batch([trade(1), trade(2)]),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="the server is read-only"):
                call()
        assert len(store.get_all()) == len(store.query().rows) == 2
        assert trades.get_recent() == [trade(1)]
        server.set_read_only(read_only=False)
        assert store.save(order(3))
        assert trades.save(trade(2))


def test_a_read_only_server_at_the_start_is_fine_once_the_tables_are_there(own_postgres: OwnPostgres) -> None:
    server = own_postgres(read_only=True)
    with pytest.raises(StoreUnavailable, match="open failed: the server is read-only"):
        PostgresOrderStore(server.url)
    server.set_read_only(read_only=False)
    PostgresOrderStore(server.url).close()
    server.set_read_only()
    with PostgresOrderStore(server.url) as store:
        assert store.get(1) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_a_full_disk_is_unavailable_and_comes_back(own_postgres: OwnPostgres) -> None:
    server = own_postgres(disk_mb=400, options=("max_wal_size=64MB", "min_wal_size=32MB"))
    names = known_names()
    with PostgresOrderStore(server.url, names=names) as store:
        store.save_batch(order_rows(1, 1_000))
        server.fill_disk()
        written = 1_000
        with pytest.raises(StoreUnavailable):  # noqa: PT012  some fit into what the files have left
            while written < 500_000:
                store.save_batch(order_rows(written + 1, 10_000))
                written += 10_000
        server.free_disk()
        deadline = time.monotonic() + 20
        while True:
            try:
                store.save_batch(order_rows(written + 1, 10_000))
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline
                if not server.running:
                    server.start()
                time.sleep(0.1)
        assert [one.order_id for one in store.get_all()] == [*range(1, written + 10_001)]


def test_what_a_constraint_forbids_is_refused_for_good(postgres_database: str) -> None:
    with PostgresOrderStore(postgres_database) as store, PostgresTradeStore(pool=store.pool) as trades:
        store.save(order(1))
        trades.save(trade(1))
        run_sql(postgres_database, "ALTER TABLE orders ADD CHECK (size < 5); ALTER TABLE trades ADD CHECK (quantity < 5)")
        big = order(2, qty=5)
        for call in (
            lambda: store.save(big),
            lambda: store.save_batch([order(3), big]),
            lambda: store.save_batch([order(1, version=2), big]),
        ):
            with pytest.raises(StoreRefused, match="violates check constraint"):
                call()
        with pytest.raises(StoreRefused, match="violates check constraint"):
            trades.save_batch([trade(2), trade(3, qty_lots=5_000)])
        assert store.get_all() == [order(1)]
        assert trades.get_recent() == [trade(1)]
