"""A schema in PostgreSQL that isn't as it must be, or takes its time: what is refused, left alone, and waited for."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from stores.postgres_rows import order
from stores.postgres_versions import NEWEST, at_version, versions
from stores.servers import run_sql

from pyengine.store_errors import SchemaError, StoreUnavailable
from pyengine.stores import Order
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore
from pyengine.stores.postgres.migrate import SQL


def test_a_database_from_the_future_is_refused(postgres_database: str) -> None:
    with PostgresPool(postgres_database):
        run_sql(postgres_database, SQL["record"], NEWEST + 1, "later")
    for migrate in (True, False):
        with pytest.raises(
            SchemaError, match=rf"version must be at most {NEWEST}, was {NEWEST + 1}: a later release .* use that one"
        ):
            PostgresPool(postgres_database, migrate=migrate)
    with PostgresPool(postgres_database, lazy=True) as pool:
        assert not pool.schema().is_current
        with pytest.raises(SchemaError, match="at most"):
            pool.migrate()


def test_an_older_schema_is_refused_when_migrations_are_off(postgres_database: str) -> None:
    at_version(postgres_database, 1)
    with pytest.raises(SchemaError, match=rf"version must be {NEWEST}, was 1: run `pyengine migrate`"):
        PostgresPool(postgres_database, migrate=False)
    assert versions(postgres_database) == [1]
    with PostgresPool(postgres_database, migrate=False, lazy=True) as pool:
        with pytest.raises(SchemaError, match="was 1"):
            PostgresOrderStore(pool=pool).get(1)
        pool.migrate()
        assert PostgresOrderStore(pool=pool).get(1) is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("CREATE TABLE orders (id SERIAL PRIMARY KEY, customer TEXT)", "table orders must have order_id bigint, user_id text"),
        ("CREATE TABLE trades (trade_id BIGINT, price DOUBLE PRECISION)", "table trades must have buy_order_id bigint"),
    ],
)
def test_tables_of_something_else_are_left_alone(postgres_database: str, table: str, said: str) -> None:
    run_sql(postgres_database, table)
    with pytest.raises(SchemaError, match=f"{said}.*choose another database"):
        PostgresPool(postgres_database)
    tables = run_sql(postgres_database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) == 1


def test_a_schema_that_somebody_changed_is_reported(postgres_database: str) -> None:
    with PostgresOrderStore(postgres_database) as store, PostgresTradeStore(pool=store.pool) as trades:
        store.save(order(1))
        run_sql(postgres_database, "ALTER TABLE orders DROP COLUMN tif; DROP TABLE trades")
        for call in (
            lambda: store.get(1),
            lambda: store.save(order(2)),
            lambda: store.save_batch([order(2)]),
            trades.is_empty,
            trades.get_recent,
        ):
            with pytest.raises(SchemaError, match="the tables must be as the migrations make them"):
                call()


def test_no_right_to_make_tables_is_needed_once_they_are_there(postgres_database: str) -> None:
    """An application's role may be allowed to read and write, and no more."""
    with PostgresOrderStore(postgres_database) as store:
        store.save(order(1))
    run_sql(
        postgres_database,
        """DROP ROLE IF EXISTS plain_writer; CREATE ROLE plain_writer LOGIN PASSWORD 'plain';
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain_writer""",
    )
    try:
        with PostgresOrderStore(postgres_database.replace("postgres@", "plain_writer:plain@")) as store:
            assert store.save(order(2))
            assert store.save_batch([order(1, version=3), order(3)]) == 2
            assert len(store.get_all()) == 3
    finally:
        run_sql(postgres_database, "DROP OWNED BY plain_writer; DROP ROLE plain_writer")


def test_a_long_migration_isnt_cut_off_by_the_command_timeout(postgres_database: str) -> None:
    at_version(postgres_database, 1)

    async def main() -> None:
        blocker = await asyncpg.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE")
        pool = asyncio.create_task(asyncio.to_thread(PostgresPool, postgres_database, command_timeout_s=0.3))
        await asyncio.sleep(1.0)
        assert not pool.done()
        await blocker.execute("COMMIT")
        await blocker.close()
        await (await pool).aclose()

    asyncio.run(main())
    assert versions(postgres_database) == [*range(1, NEWEST + 1)]


def test_calls_dont_wait_for_a_long_migration_beyond_their_deadline(postgres_database: str) -> None:
    at_version(postgres_database, 1)

    async def main() -> None:
        blocker = await asyncpg.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE")
        store = PostgresOrderStore(postgres_database, command_timeout_s=0.3, lazy=True)
        for call in (store.aio.get(1), store.aio.get_all(), store.aio.save(order(1))):
            with pytest.raises(StoreUnavailable, match="in time"):
                await asyncio.wait_for(call, 2)
        await blocker.execute("COMMIT")
        await blocker.close()
        await asyncio.to_thread(store.pool.open)
        assert await store.aio.get(1) is None
        await store.aio.close()

    asyncio.run(main())


def test_a_refusal_is_told_to_everybody_who_waits(postgres_database: str) -> None:
    at_version(postgres_database, 1)

    async def main() -> list[BaseException | Order | None]:
        store = PostgresOrderStore(postgres_database, migrate=False, lazy=True)
        blocker = await asyncpg.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.create_task(store.aio.get(1)) for _ in range(8)]
        await asyncio.sleep(0.2)
        await blocker.execute("COMMIT")
        await blocker.close()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        await store.aio.close()
        return found

    errors = asyncio.run(main())
    assert all(isinstance(error, SchemaError) for error in errors)
    assert {str(error).partition(": schema ")[2] for error in errors} == {
        f"version must be {NEWEST}, was 1: run `pyengine migrate`, or start with migrations on"
    }
    assert len({id(error) for error in errors}) == 8
