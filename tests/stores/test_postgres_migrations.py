"""The schema in PostgreSQL: from each older version with rows in it, and by several nodes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from stores.postgres_rows import BTC, order, trade
from stores.postgres_versions import FIRST_ROWS, NEWEST, at_version, versions
from stores.servers import run_sql

from pyengine import Instrument
from pyengine.store_errors import SchemaError, StoreDamaged
from pyengine.stores import Order
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore
from pyengine.stores.postgres.statements import migrations


def described(url: str) -> list[str]:
    """List everything that makes the schema."""
    columns = run_sql(
        url,
        """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'public' ORDER BY 1, 2""",
    )
    indexes = run_sql(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    options = run_sql(url, "SELECT relname, reloptions FROM pg_class WHERE relname IN ('orders', 'trades') ORDER BY 1")
    return [str(tuple(row)) for row in (*columns, *indexes, *options)]


def test_an_empty_database_gets_the_tables_and_indexes(postgres_database: str) -> None:
    with PostgresPool(postgres_database) as pool:
        assert pool.schema().is_current
    assert versions(postgres_database) == [*range(1, NEWEST + 1)]
    tables = {row[0] for row in run_sql(postgres_database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables == {"orders", "trades", "instruments", "watermarks", "audit_heads", "schema_migrations"}
    indexes = "\n".join(row[0] for row in run_sql(postgres_database, "SELECT indexdef FROM pg_indexes"))
    for index in (
        "idx_orders_user ON public.orders",
        "idx_orders_symbol ON",
        "idx_orders_side ON",
        'idx_trades_timestamp ON public.trades USING btree ("timestamp")',
    ):
        assert index in indexes
    before = described(postgres_database)
    with PostgresPool(postgres_database) as pool:
        assert pool.migrate() == ()
    assert described(postgres_database) == before


def test_the_newest_trades_by_time_are_read_off_the_index(postgres_database: str) -> None:
    PostgresPool(postgres_database).close()
    plan = run_sql(postgres_database, "EXPLAIN (COSTS OFF) SELECT * FROM trades ORDER BY timestamp DESC LIMIT 100")
    assert "Index Scan Backward using idx_trades_timestamp" in plan[1][0]


def test_the_first_version_is_the_documented_one(postgres_database: str) -> None:
    at_version(postgres_database, 1)
    columns = run_sql(
        postgres_database,
        """SELECT attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
            || CASE WHEN attnotnull THEN '!' ELSE '' END
        FROM pg_attribute WHERE attrelid IN ('orders'::regclass, 'trades'::regclass) AND attnum > 0
        ORDER BY attrelid, attnum""",
    )
    assert [row[0] for row in columns] == [
        "orders.order_id bigint!",
        "orders.user_id text!",
        "orders.symbol text!",
        "orders.order_type integer",
        "orders.side integer",
        "orders.price numeric(18,8)",
        "orders.size integer",
        "orders.created_at timestamp with time zone",
        "orders.updated_at timestamp with time zone",
        "trades.trade_id bigint!",
        "trades.buy_order_id bigint!",
        "trades.sell_order_id bigint!",
        "trades.price numeric(18,8)!",
        "trades.quantity integer!",
        "trades.timestamp timestamp with time zone!",
    ]
    indexes = [
        row[0]
        for row in run_sql(
            postgres_database, "SELECT indexname FROM pg_indexes WHERE tablename IN ('orders', 'trades') ORDER BY 1"
        )
    ]
    assert indexes == [
        "idx_orders_side",
        "idx_orders_symbol",
        "idx_orders_user",
        "idx_trades_timestamp",
        "orders_pkey",
        "trades_pkey",
    ]


@pytest.mark.parametrize("version", range(NEWEST))
def test_every_older_version_ends_as_a_new_one(postgres_database: str, version: int) -> None:
    at_version(postgres_database, version)
    with PostgresPool(postgres_database, migrate=False, lazy=True) as pool:
        assert (pool.schema().version, pool.schema().newest) == (version, NEWEST)
        assert pool.migrate() == tuple(f"{step.version:04}_{step.name}" for step in migrations()[version:])
        assert pool.schema().is_current
    upgraded = described(postgres_database)
    run_sql(
        postgres_database,
        "DROP TABLE orders, trades, instruments, schema_migrations; DROP TABLE IF EXISTS watermarks, audit_heads",
    )
    with PostgresPool(postgres_database):
        assert described(postgres_database) == upgraded


@pytest.mark.parametrize("journal", [True, False])
def test_rows_of_the_first_version_are_kept_and_read(postgres_database: str, journal: bool) -> None:
    """Without a journal of migrations, the tables are those of another program, and taken over."""
    at_version(postgres_database, 1, journal=journal)
    run_sql(postgres_database, FIRST_ROWS)
    with PostgresOrderStore(postgres_database) as store, PostgresTradeStore(pool=store.pool) as trades:
        assert versions(postgres_database) == [*range(1, NEWEST + 1)]
        orders = store.get_all()
        done = trades.get_recent(10)
        assert store.names.instruments == trades.names.instruments == []
    assert [(one.order_id, one.user, one.symbol, one.order_type, one.side) for one in orders] == [
        (1, "alice", "BTC-USD", 2, 1),
        (2, "bob", "BTC-USD", 1, 2),
        (3, "bob", "ETH-USD", 2, 2),
        (4, "bob", "ETH-USD", 1, 2),
    ]
    assert [one.price for one in orders] == [Decimal("100.5"), None, Decimal("9999999999.99999999"), None]
    assert [one.qty for one in orders] == [10, 2147483647, 7, 7]
    assert all(one.is_open and one.filled == 0 and one.version == 0 for one in orders)
    assert [one.created_ns for one in orders] == [1_736_937_045_123_456_000, 1_736_937_045_000_000_000, 0, 0]
    assert [one.updated_ns for one in orders] == [1_736_937_046_000_000_000, 1_736_937_045_000_000_000, 0, 0]
    assert [(one.trade_id, one.symbol, one.buy_order_id, one.sell_order_id, one.side, one.seq) for one in done] == [
        (3, "UNKNOWN", 98, 99, 2, 0),
        (2, "ETH-USD", 77, 3, 1, 0),
        (1, "BTC-USD", 1, 2, 2, 0),
    ]
    assert [one.price for one in done] == [101, Decimal("0.00000001"), Decimal("100.5")]
    assert [one.qty for one in done] == [5, 3, 10]
    assert [one.ts_ns for one in done] == [0, -1000, 1_736_937_045_123_000_000]


def test_rows_that_no_order_can_be_are_kept_and_reported(postgres_database: str) -> None:
    at_version(postgres_database, 1, journal=False)
    run_sql(postgres_database, "INSERT INTO orders (order_id, user_id, symbol) VALUES (5, 'alice', 'X')")
    with PostgresOrderStore(postgres_database) as store:
        with pytest.raises(StoreDamaged, match="orders, order_id 5: "):
            store.get(5)
        assert store.save(order(5))
        assert store.get(5) == order(5)


def test_rows_from_before_take_the_grid_that_an_engine_brings(postgres_database: str) -> None:
    """Nobody wrote down a grid for them; once somebody does, it counts for every store."""
    at_version(postgres_database, 1, journal=False)
    run_sql(postgres_database, FIRST_ROWS)
    with PostgresOrderStore(postgres_database) as store, PostgresOrderStore(pool=store.pool) as other:
        assert store.get(1).instrument == other.get(1).instrument == Instrument("BTC-USD", "0.00000001", 1)
        assert store.save(order(9))
        assert store.get(1).instrument == other.get(1).instrument == BTC
        assert other.get(1).price_ticks == 10_050
        assert other.names.instruments == [BTC]


def test_rows_of_the_version_before_indexes_are_kept(postgres_database: str) -> None:
    at_version(postgres_database, 2)
    run_sql(
        postgres_database,
        """INSERT INTO instruments VALUES ('BTC-USD', 0.01, 0.001, 0.01, 46116860184273879.03, 0.001, 4611686018427387.903);
        INSERT INTO orders VALUES
            (-1, 'alice', 'BTC-USD', 2, 2, 100.50, 0.250, '1970-01-01 00:00:01.7Z', '1970-01-01 00:00:01.7Z', 0.250, 1, 0, 0,
             -5, 0, 0, 0, 0, 1700000000, 1700000000);
        INSERT INTO trades VALUES (1, 7, 8, 100.50, 0.010, 'epoch', 'BTC-USD', 1, 0, 0)""",
    )
    with PostgresOrderStore(postgres_database) as store, PostgresTradeStore(pool=store.pool) as trades:
        assert store.get_by_side("sell") == [order(2**64 - 1, "sell", version=2**64 - 5)]
        assert trades.get_recent(1) == trades.query(order_id=8).rows == [trade(1)]


def test_ids_go_on_where_a_sequence_would_be(postgres_database: str) -> None:
    """Who inserts trades without an id still gets one from the sequence."""
    at_version(postgres_database, 1, journal=False)
    run_sql(postgres_database, FIRST_ROWS)
    with PostgresTradeStore(postgres_database) as trades:
        run_sql(
            postgres_database,
            """INSERT INTO trades (buy_order_id, sell_order_id, price, quantity, timestamp, symbol, taker_side, timestamp_ns)
            VALUES (1, 2, 3, 4, 'epoch', 'X', 1, 0)""",
        )
        assert trades.get(4).qty == 4


@pytest.mark.parametrize("version", [0, 1])
def test_nodes_that_start_at_once_migrate_once(postgres_database: str, version: int) -> None:
    at_version(postgres_database, version, journal=False)
    if version:
        run_sql(postgres_database, FIRST_ROWS)

    def start(number: int) -> int:
        with PostgresOrderStore(postgres_database, command_timeout_s=30, min_connections=2) as store:
            store.save(order(100 + number))
            return len(store.get_all())

    with ThreadPoolExecutor(8) as nodes:
        assert max(nodes.map(start, range(8))) == 8 + (4 if version else 0)
    assert versions(postgres_database) == [*range(1, NEWEST + 1)]


def test_a_step_that_fails_leaves_nothing_behind(postgres_database: str) -> None:
    """Something in the way of a later step: the steps before it stay, it and what follows it don't."""
    at_version(postgres_database, 1)
    run_sql(postgres_database, FIRST_ROWS)
    run_sql(postgres_database, "CREATE TABLE instruments (something INTEGER)")
    with pytest.raises(SchemaError, match=r"must be as the migrations make them.*instruments. already exists"):
        PostgresPool(postgres_database)
    assert versions(postgres_database) == [1]
    assert not any(".status" in line or "'status'" in line for line in described(postgres_database))
    run_sql(postgres_database, "DROP TABLE instruments")
    with PostgresOrderStore(postgres_database) as store:
        assert len(store.get_all()) == 4


def test_one_of_the_first_tables_alone_is_taken_over(postgres_database: str) -> None:
    run_sql(postgres_database, migrations()[0].sql)
    run_sql(postgres_database, f"{FIRST_ROWS}; DROP TABLE orders; DROP INDEX idx_trades_timestamp")
    with PostgresTradeStore(postgres_database) as trades:
        assert [one.symbol for one in trades.get_recent(10)] == ["UNKNOWN"] * 3


def test_an_order_from_before_can_be_replaced(postgres_database: str) -> None:
    at_version(postgres_database, 1, journal=False)
    run_sql(postgres_database, FIRST_ROWS)
    given: Order = order(1, version=1, status="cancelled")
    with PostgresOrderStore(postgres_database) as store:
        assert store.update(given)
        assert store.get(1) == given
