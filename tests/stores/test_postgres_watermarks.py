"""Watermarks in PostgreSQL: in the transaction of the rows, whatever becomes of it, and forgotten with the rows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from stores.postgres_rows import order, trade
from stores.postgres_versions import FIRST_ROWS, at_version
from stores.servers import PostgresServer, run_sql

from pyengine.store_errors import SchemaError, StoreRefused, StoreUnavailable, WatermarkMoved
from pyengine.stores.interfaces import Mark
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore, writes
from pyengine.stores.postgres.statements import migrations

JOURNAL = "00ff" * 8
Stores = tuple[PostgresOrderStore, PostgresTradeStore]


@pytest.fixture
def stores(postgres_database: str) -> Iterator[Stores]:
    with PostgresOrderStore(postgres_database) as orders, PostgresTradeStore(pool=orders.pool) as trades:
        yield orders, trades


def mark(after: int | None, to: int) -> Mark:
    return Mark(JOURNAL, after, to)


def ids(trades: PostgresTradeStore) -> list[int]:
    return [found.trade_id for found in trades.get_recent(100_000)][::-1]


def trades_of(*numbers: int) -> list[Any]:
    return [trade(number) for number in numbers]


def test_the_table(postgres_database: str, stores: Stores) -> None:
    orders, trades = stores
    orders.save_marked([order(1)], mark(None, 5))
    trades.save_marked([trade(1)], mark(None, 6))
    rows = run_sql(postgres_database, "SELECT store, journal, seq, now() - updated_at < '1 minute' FROM watermarks ORDER BY 1")
    assert [tuple(row) for row in rows] == [("orders", JOURNAL, 5, True), ("trades", JOURNAL, 6, True)]


@pytest.mark.parametrize("table", ["orders", "trades"])
def test_a_table_that_is_emptied_forgets_its_own(postgres_database: str, stores: Stores, table: str) -> None:
    for store in stores:
        store.save_marked([], mark(None, 5))
    run_sql(postgres_database, f"TRUNCATE {table}")
    assert [store.watermark(JOURNAL) for store in stores] == ([None, 5] if table == "orders" else [5, None])


def test_a_table_that_is_emptied_by_somebody_who_may_do_no_more(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres()
    with PostgresTradeStore(server.url) as trades:
        trades.save_marked(trades_of(1), mark(None, 5))
        server.execute("CREATE ROLE cleaner; GRANT TRUNCATE ON trades TO cleaner")
        server.execute("SET ROLE cleaner; TRUNCATE trades")
        assert trades.watermark(JOURNAL) is None


def test_in_a_schema_of_its_own(postgres_database: str) -> None:
    run_sql(postgres_database, "CREATE SCHEMA mine; ALTER ROLE CURRENT_USER SET search_path = mine")
    try:
        with PostgresTradeStore(postgres_database) as trades:
            trades.save_marked([trade(1)], mark(None, 5))
            assert len(run_sql(postgres_database, "TABLE mine.watermarks")) == 1
            run_sql(postgres_database, "SET search_path = public; TRUNCATE mine.trades")
            assert trades.watermark(JOURNAL) is None
    finally:
        run_sql(postgres_database, "ALTER ROLE CURRENT_USER RESET search_path")


@pytest.mark.parametrize("known", [(), (2,), (2, 5)])
def test_rows_that_the_server_refuses_leave_nothing(postgres_database: str, stores: Stores, known: tuple[int, ...]) -> None:
    _, trades = stores
    trades.save_batch(trades_of(*known))
    run_sql(postgres_database, "ALTER TABLE trades ADD CHECK (trade_id <> 4)")
    with pytest.raises(StoreRefused):
        trades.save_marked(trades_of(1, 2, 3, 4, 5), mark(None, 5))
    assert (ids(trades), trades.watermark(JOURNAL)) == ([*known], None)


def test_many_chunks_are_one_transaction(postgres_database: str, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "CHUNK_ROWS", 10)
    _, trades = stores
    trades.save_batch(trades_of(*range(40, 60)))
    assert trades.save_marked(trades_of(*range(1, 101)), mark(None, 100)) == 80
    run_sql(postgres_database, "ALTER TABLE trades ADD CHECK (trade_id <> 195)")
    with pytest.raises(StoreRefused):
        trades.save_marked(trades_of(*range(101, 201)), mark(100, 200))
    assert (ids(trades), trades.watermark(JOURNAL)) == ([*range(1, 101)], 100)


def test_a_staging_table_that_was_taken_back_is_made_again(postgres_database: str, stores: Stores) -> None:
    _, trades = stores
    run_sql(postgres_database, "ALTER TABLE trades ADD CONSTRAINT no_four CHECK (trade_id <> 4)")
    trades.save_marked(trades_of(1, 2), mark(None, 2))
    for _ in range(2):
        with pytest.raises(StoreRefused):
            trades.save_marked(trades_of(2, 3, 4), mark(2, 4))
    run_sql(postgres_database, "ALTER TABLE trades DROP CONSTRAINT no_four")
    assert trades.save_marked(trades_of(2, 3, 4), mark(2, 4)) == 2
    assert trades.save_marked(trades_of(4, 5), mark(4, 5)) == 1
    assert trades.save_batch(trades_of(5, 6)) == 1
    assert (ids(trades), trades.watermark(JOURNAL)) == ([1, 2, 3, 4, 5, 6], 5)


def test_new_rows_need_no_right_to_make_tables(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres()
    PostgresPool(server.url).close()
    server.execute("REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC")
    server.execute("CREATE ROLE node LOGIN; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO node")
    options = {"host": server.host, "port": server.port, "database": "postgres", "user": "node", "migrate": False}
    with PostgresTradeStore(**options) as trades:
        assert trades.save_marked(trades_of(1, 2), mark(None, 2)) == 2
        assert trades.save_marked(trades_of(3), mark(2, 3)) == 1
        assert trades.watermark(JOURNAL) == 3


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give out a function that has the connection lost once, at the end of the next transaction."""

    def arrange(when: str) -> None:
        original = Transaction.__aexit__
        left = [1]

        async def leave(self: Any, kind: Any, error: Any, trace: Any) -> Any:
            if not left or kind is not None:
                return await original(self, kind, error, trace)
            left.pop()
            if when == "after the commit":
                await original(self, kind, error, trace)
            self._connection.terminate()
            raise ConnectionResetError("connection lost")

        monkeypatch.setattr(Transaction, "__aexit__", leave)

    return arrange


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
@pytest.mark.parametrize("after", [None, 3])
def test_a_connection_lost_at_the_commit(stores: Stores, cut: Callable[[str], None], when: str, after: int | None) -> None:
    _, trades = stores
    if after is not None:
        trades.save_marked([], mark(None, after))
    cut(when)
    assert trades.save_marked(trades_of(1, 2), mark(after, 5)) == (0 if when == "after the commit" else 2)
    assert (ids(trades), trades.watermark(JOURNAL), trades.pool.retries) == ([1, 2], 5, 1)
    trades.save_marked(trades_of(3), mark(5, 6))


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_whoever_comes_second_waits_for_the_first(postgres_database: str, stores: Stores, end: str) -> None:
    _, trades = stores
    trades.save_marked(trades_of(1), mark(None, 1))
    begun, told = threading.Event(), threading.Event()

    async def first() -> None:
        connection = await asyncpg.connect(postgres_database)
        await connection.execute("BEGIN; UPDATE watermarks SET seq = 4")
        begun.set()
        await asyncio.to_thread(told.wait, 10)
        await asyncio.sleep(0.2)
        await connection.execute(end)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(first()))
    thread.start()
    assert begun.wait(10)
    told.set()
    start = time.monotonic()
    if end == "COMMIT":
        with pytest.raises(WatermarkMoved) as raised:
            trades.save_marked(trades_of(2), mark(1, 2))
        assert raised.value.actual == 4
    else:
        assert trades.save_marked(trades_of(2), mark(1, 2)) == 1
    assert time.monotonic() - start > 0.15
    thread.join()


def test_rows_that_another_node_adds_meanwhile(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the look at the table didn't see yet, the table refuses; then all goes by way of the staging table."""
    _, trades = stores
    trades.save_batch(trades_of(2))
    monkeypatch.setattr(writes, "_known", lambda *_: 0)
    assert trades.save_marked(trades_of(1, 2, 3), mark(None, 3)) == 2
    assert (ids(trades), trades.watermark(JOURNAL)) == ([1, 2, 3], 3)


def test_a_lock_that_nobody_gives_back_is_an_outage(postgres_database: str) -> None:
    with PostgresTradeStore(postgres_database, command_timeout_s=0.5) as trades:
        trades.save_marked([], mark(None, 1))

        async def hold() -> None:
            connection = await asyncpg.connect(postgres_database)
            await connection.execute("BEGIN; UPDATE watermarks SET seq = 4")
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(trades.save_marked, trades_of(2), mark(1, 2))
            await connection.execute("ROLLBACK")
            await connection.close()

        asyncio.run(hold())
        assert trades.save_marked(trades_of(2), mark(1, 2)) == 1


def test_sessions_do_not_sit_on_locks_for_ever(stores: Stores) -> None:
    _, trades = stores

    async def ask(lease: Any) -> list[str]:
        names = ("idle_in_transaction_session_timeout", "statement_timeout", "application_name")
        return [await lease.connection.fetchval(f"SHOW {name}") for name in names]

    assert trades.pool.run("show", ask) == ["20s", "5s", "pyengine"]


@pytest.mark.parametrize("gone", ["DROP SCHEMA public CASCADE; CREATE SCHEMA public", "older"])
def test_a_database_that_is_made_anew_is_migrated_anew(postgres_database: str, stores: Stores, gone: str) -> None:
    orders, trades = stores
    for store, record in ((orders, order(1)), (trades, trade(1))):
        store.save_marked([record], mark(None, 5))
    run_sql(postgres_database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    if gone == "older":
        at_version(postgres_database, 3)
    with pytest.raises(SchemaError, match="the tables must be as the migrations make them"):
        trades.save_marked([trade(2)], mark(5, 6))
    for store, record in ((orders, order(2)), (trades, trade(2))):
        with pytest.raises(WatermarkMoved) as raised:
            store.save_marked([record], mark(5, 6))
        assert raised.value.actual is None
        assert store.save_marked([record], mark(None, 6)) == 1
    with PostgresTradeStore(postgres_database) as stranger:
        assert stranger.get_recent() == [trade(2)]


def test_a_user_who_may_not_migrate_is_told_to(postgres_database: str) -> None:
    at_version(postgres_database, 3)
    with pytest.raises(SchemaError, match=r"schema version must be \d+, was 3: run `pyengine migrate`"):
        PostgresPool(postgres_database, migrate=False)


@pytest.mark.parametrize("version", range(1, len(migrations())))
def test_an_older_schema_with_rows_has_no_watermark(postgres_database: str, version: int) -> None:
    at_version(postgres_database, 1)
    run_sql(postgres_database, FIRST_ROWS)
    for step in migrations()[1:version]:
        run_sql(postgres_database, step.sql)
        run_sql(postgres_database, "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", step.version, step.name)
    with PostgresOrderStore(postgres_database) as orders, PostgresTradeStore(pool=orders.pool) as trades:
        assert (orders.watermark(JOURNAL), trades.watermark(JOURNAL)) == (None, None)
        assert not orders.is_empty()
        assert not trades.is_empty()
        assert trades.save_marked([trade(3), trade(4)], mark(None, 9)) == 1
        assert orders.save_marked([order(9)], mark(None, 9)) == 1
        assert (len(orders.get_all()), len(trades.get_recent())) == (5, 4)
        assert (orders.watermark(JOURNAL), trades.watermark(JOURNAL)) == (9, 9)
