"""How the stores in PostgreSQL write rows: exactly, once, all or none, and with what others need to read them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from stores.postgres_rows import BTC, known_names, order, order_rows, trade, trade_rows
from stores.servers import run_sql

from pyengine import Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged
from pyengine.stores import Names
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore
from pyengine.stores.postgres.writes import CHUNK_ROWS


@pytest.fixture
def pool(postgres_database: str) -> Iterator[PostgresPool]:
    with PostgresPool(postgres_database, command_timeout_s=20) as pool:
        yield pool


@pytest.fixture
def orders(pool: PostgresPool) -> PostgresOrderStore:
    return PostgresOrderStore(pool=pool, names=known_names())


@pytest.fixture
def trades(pool: PostgresPool) -> PostgresTradeStore:
    return PostgresTradeStore(pool=pool, names=known_names())


# What the tables hold


def test_rows_read_as_the_columns_say(orders: PostgresOrderStore, trades: PostgresTradeStore, postgres_database: str) -> None:
    ns = 1_736_937_045_123_456_789
    orders.save(order(2**64 - 1, "sell", created_ns=ns, client_id=2**63, version=2**64 - 2, remaining_lots=50, tif="ioc"))
    trades.save(trade(5, side=2, ts_ns=ns, seq=2**63))
    [row] = run_sql(postgres_database, "SELECT * FROM orders")
    assert (row["order_id"], row["user_id"], row["symbol"], row["order_type"], row["side"]) == (-1, "alice", "BTC-USD", 2, 2)
    assert (row["price"], row["size"], row["remaining"]) == (Decimal("100.5"), Decimal("0.25"), Decimal("0.05"))
    assert row["created_at"].isoformat() == "2025-01-15T10:30:45.123456+00:00"
    assert (row["created_ns"], row["status"], row["tif"], row["version"], row["client_order_id"]) == (ns, 2, 1, -2, -(2**63))
    [row] = run_sql(postgres_database, "SELECT * FROM trades")
    assert (row["trade_id"], row["buy_order_id"], row["sell_order_id"], row["taker_side"]) == (5, 8, 7, 2)
    assert (row["price"], row["quantity"], row["symbol"], row["seq"]) == (Decimal("100.5"), Decimal("0.01"), "BTC-USD", -(2**63))
    assert row["timestamp_ns"] == ns
    [row] = run_sql(postgres_database, "SELECT * FROM instruments")
    assert tuple(row)[:3] == ("BTC-USD", Decimal("0.01"), Decimal("0.001"))


def test_a_market_order_has_no_price_and_nobody_is_an_empty_user(orders: PostgresOrderStore, postgres_database: str) -> None:
    given = order(1, price=None, user=None)
    orders.save(given)
    [row] = run_sql(postgres_database, "SELECT price, user_id FROM orders")
    assert tuple(row) == (None, "")
    assert orders.get(1) == given


@pytest.mark.parametrize("save", ["save", "save_batch"])
@pytest.mark.parametrize("ns", [-(2**63), -1, 0, 999, -(10**18) - 1, 2**63 - 1])
def test_one_order_and_a_batch_write_the_same_row(orders: PostgresOrderStore, postgres_database: str, save: str, ns: int) -> None:
    given = order(3, created_ns=ns, updated_ns=ns, aux=-5, flags=3, stp=2, entered=9, status="cancelled")
    assert orders.save(given) if save == "save" else orders.save_batch([given])
    assert orders.get(3) == given
    [row] = run_sql(postgres_database, "SELECT created_ns, updated_ns, created_at = updated_at FROM orders")
    assert tuple(row) == (ns, ns, True)


@pytest.mark.parametrize(
    ("tick", "lot"), [("1e-200", "1e200"), ("1e200", "1e-200"), ("0.3", "7"), ("123456789.987654321", "1e-18")]
)
@pytest.mark.parametrize("steps", [1, 2**62 - 1, 2**63 - 1])
def test_prices_and_sizes_are_exact_on_any_grid(pool: PostgresPool, tick: str, lot: str, steps: int) -> None:
    grid = Instrument("GRID", tick, lot, min_price=-Decimal(tick) * 5)
    given = [
        order(n, instrument=grid, price=None, qty=None, price_ticks=ticks, qty_lots=steps)
        for n, ticks in ((1, steps), (2, -steps))
    ]
    with PostgresOrderStore(pool=pool) as store, PostgresTradeStore(pool=pool) as trades:
        store.save(given[0])
        store.save_batch(given[1:])
        done = trade(1, instrument=grid, price_ticks=-steps, qty_lots=steps)
        trades.save(done)
        assert store.get_all() == given
        assert trades.get_recent(1) == [done]


def test_names_are_kept_as_they_are(pool: PostgresPool) -> None:
    names = ["O'Brien", '"; DROP TABLE orders;--', "$1", "{columns}", "\\", "%s", "日本", "\U0001f600" * 255]
    grids = [Instrument(name, "0.5", "0.001") for name in names]
    given = [order(n, user=name, instrument=grids[n]) for n, name in enumerate(names)]
    with PostgresOrderStore(pool=pool) as store, PostgresTradeStore(pool=pool) as trades:
        store.save_batch(given[:4])
        assert all(store.save(one) for one in given[4:])
        trades.save_batch([trade(n + 1, instrument=grid) for n, grid in enumerate(grids)])
        for n, name in enumerate(names):
            assert store.get_by_user(name) == [given[n]]
            assert store.get_by_side("buy", name) == [given[n]]
            assert store.query(user=name, symbol=name).rows == [given[n]]
            assert [one.trade_id for one in trades.query(symbol=name)] == [n + 1]
        for name in ("\0", "x" * 256, "", "\ud800", "\n"):
            assert store.get_by_side("buy", name) == []
            assert store.query(symbol=name).rows == trades.query(symbol=name).rows == []
            with pytest.raises(FieldError, match="user must be"):
                store.query(user=name)


# Batches


def test_a_batch_may_be_written_again(orders: PostgresOrderStore, trades: PostgresTradeStore) -> None:
    assert (
        trades.save_batch(trade_rows(1, 100)),
        trades.save_batch(trade_rows(51, 100)),
        trades.save_batch(trade_rows(1, 150)),
    ) == (100, 50, 0)
    assert (orders.save_batch(order_rows(1, 100)), orders.save_batch(order_rows(51, 100))) == (100, 100)
    assert len(trades.get_recent(1000)) == 150
    assert len(orders.get_all()) == 150


def test_a_batch_of_many_chunks_is_one_transaction(
    orders: PostgresOrderStore, trades: PostgresTradeStore, postgres_database: str
) -> None:
    count = 2 * CHUNK_ROWS + 5
    for _ in range(2):
        assert orders.save_batch(order_rows(1, count)) == count
    assert trades.save_batch(trade_rows(1, count)) == count
    assert trades.save_batch(trade_rows(CHUNK_ROWS, count)) == CHUNK_ROWS - 1
    assert len(trades.get_recent(10**6)) == count + CHUNK_ROWS - 1
    for table, most in (("orders", 1), ("trades", 2)):
        [row] = run_sql(postgres_database, f"SELECT count(DISTINCT xmin::text) FROM {table}")
        assert row[0] == most


def test_new_rows_are_stored_beside_old_ones_wherever_their_ids_are(
    orders: PostgresOrderStore, trades: PostgresTradeStore
) -> None:
    orders.save_batch(order_rows(100, 10, version=5))
    trades.save_batch(trade_rows(100, 10))
    mixed = np.concatenate([order_rows(95, 10, version=7), order_rows(200, 10, version=7), order_rows(2**63 + 1, 3, version=7)])
    assert orders.save_batch(mixed[::-1].copy()) == 23
    assert trades.save_batch(np.concatenate([trade_rows(1, 3), trade_rows(99, 5), trade_rows(300, 2)])) == 6
    assert [one.order_id for one in orders.get_all()] == [*range(95, 110), *range(200, 210), *range(2**63 + 1, 2**63 + 4)]
    assert [one.version for one in orders.get_all()] == [7] * 10 + [5] * 5 + [7] * 13
    assert [one.trade_id for one in trades.get_recent(99)] == [301, 300, *range(109, 98, -1), 3, 2, 1]


def test_an_older_version_never_replaces_a_newer_one(orders: PostgresOrderStore) -> None:
    versions = [2**63 - 1, 2**63, 2**64 - 1]
    for old, new in pairwise(versions):
        assert orders.save_batch(order_rows(1, 2, version=new)) == 2
        assert orders.save_batch(order_rows(1, 3, version=old)) == 1
        assert orders.save(order(1, version=old)) is False
        assert orders.update(order(1, version=old)) is False
        assert orders.update(order(9, version=new)) is False
        assert orders.update(order(2, version=new)) is True
        assert [one.version for one in orders.get_all()] == [new, new, old]
        orders.remove(3)


def test_of_one_id_in_a_batch_the_newest_counts_for_orders_and_the_first_for_trades(
    orders: PostgresOrderStore, trades: PostgresTradeStore
) -> None:
    assert (
        orders.save_batch([order(1, version=1), order(1, version=5), order(1, version=5, client_id=9), order(1, version=3)]) == 1
    )
    assert trades.save_batch([trade(1, seq=1), trade(1, seq=2)]) == 1
    assert orders.get(1) == order(1, version=5, client_id=9)
    assert trades.get(1) == trade(1, seq=1)


def test_two_nodes_that_write_the_same_at_once_agree(pool: PostgresPool, postgres_database: str) -> None:
    """Whoever comes second finds ids taken that were free when it looked."""
    names = known_names()
    start = threading.Barrier(4)

    def write(node: int) -> int:
        with PostgresPool(postgres_database, command_timeout_s=30) as own:
            orders, trades = PostgresOrderStore(pool=own, names=names), PostgresTradeStore(pool=own, names=names)
            new = 0
            for batch in range(5):
                start.wait(30)
                new += trades.save_batch(trade_rows(1 + 300 * batch, 300))
                orders.save_batch(order_rows(1 + 300 * batch, 300, version=1 + node))
            return new

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(write, range(4))) == 1500
    found = PostgresOrderStore(pool=pool).get_all()
    assert [(one.order_id, one.version) for one in found] == [(n, 4) for n in range(1, 1501)]


def test_nothing_of_a_refused_batch_is_stored(orders: PostgresOrderStore, trades: PostgresTradeStore) -> None:
    for field, value in (("user", 3), ("instrument", 1), ("side", 3), ("status", 9), ("qty_lots", 0)):
        rows = order_rows(1, 10)
        rows[field][7] = value
        with pytest.raises(FieldError, match=field.partition("_")[0]):
            orders.save_batch(rows)
    rows = trade_rows(1, 10)
    rows["instrument"][3] = 1
    with pytest.raises(FieldError, match="instrument"):
        trades.save_batch(rows)
    with pytest.raises(FieldTypeError):
        trades.save_batch(order_rows(1, 1))
    assert orders.is_empty()
    assert trades.is_empty()


# Names and definitions


def test_another_process_learns_instruments_from_the_table(orders: PostgresOrderStore, pool: PostgresPool) -> None:
    orders.save(order(1))
    other = PostgresOrderStore(pool=pool)
    found = other.get(1)
    assert found == order(1)
    assert other.names.instruments == [BTC]
    assert other.names.user_index("alice") == 1


def test_a_definition_that_contradicts_the_table_is_refused_with_both(orders: PostgresOrderStore, pool: PostgresPool) -> None:
    orders.save(order(1))
    other = Instrument("BTC-USD", "0.05", "0.001")
    with pytest.raises(FieldError, match=r"as postgres .* has it, .*'0\.01'.*, was .*'0\.05'"):
        PostgresOrderStore(pool=pool).save(order(2, instrument=other))
    with pytest.raises(StoreDamaged, match=r"instruments, symbol BTC-USD: the definition must be .*0\.05.*was .*0\.01"):
        PostgresOrderStore(pool=pool, names=Names([other])).get(1)
    assert len(orders.get_all()) == 1


def test_lent_names_are_read_and_never_added_to(orders: PostgresOrderStore, pool: PostgresPool) -> None:
    orders.save(order(1))
    lent = Names([Instrument("ETH-USD", "0.01", "0.001")], ["bob"])
    store, trades = PostgresOrderStore(pool=pool), PostgresTradeStore(pool=pool)
    for one in (store, trades):
        one.attach_names(lent)
    assert store.get(1) == order(1)
    with pytest.raises(FieldError, match="user must be known"):
        store.save(order(2, instrument=lent.instruments[0]))
    with pytest.raises(FieldError, match="instrument must be known"):
        store.save_batch([order(2, user=None)])
    with pytest.raises(FieldError, match="instrument must be known"):
        trades.save_batch([trade(2)])
    assert (len(lent.instruments), len(lent.users)) == (1, 2)
    assert store.save(order(2, user="bob", instrument=lent.instruments[0])) is True
    with pytest.raises(FieldError, match="before the store was used"):
        store.attach_names(Names())
