"""How the stores in PostgreSQL find rows: in pages, by filters, and with doubts about what somebody may have edited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from stores.postgres_rows import known_names, order, order_rows, trade, trade_rows
from stores.servers import run_sql

from pyengine import Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool, PostgresTradeStore


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


# Lists and pages


def test_long_lists_are_read_in_pages_and_complete(orders: PostgresOrderStore, trades: PostgresTradeStore) -> None:
    orders.save_batch(order_rows(1, 12_000))
    orders.save_batch(order_rows(2**64 - 6_000, 6_000))
    trades.save_batch(trade_rows(1, 12_000))
    ids = [*range(1, 12_001), *range(2**64 - 6_000, 2**64)]
    assert [one.order_id for one in orders.get_all()] == ids
    assert [one.order_id for one in orders.get_by_user("alice")] == ids
    assert [one.order_id for one in orders.get_by_side("buy")] == ids
    assert [one.trade_id for one in trades.get_recent(11_000)] == [*range(12_000, 1_000, -1)]


def test_a_side_is_in_price_time_order_of_each_instrument(pool: PostgresPool) -> None:
    """By price, then as orders entered, then by when they were accepted, then by id; all of them may be beyond 2**63."""
    eth, ada = Instrument("ETH-USD", "0.01", "0.001"), Instrument("ADA-USD", "0.01", "0.001")
    given = [
        order(9, price="7", entered=1, instrument=eth),
        order(8, price="7", entered=1, instrument=ada),
        order(1, price="5", entered=2**63),
        order(2, price="5", entered=2**63 - 1),
        order(3, price="5.01", entered=2**64 - 1),
        order(2**64 - 1, price="5", entered=3, created_ns=4),
        order(4, price="5", entered=3, created_ns=5),
        order(5, price="5", entered=3, created_ns=5),
    ]
    with PostgresOrderStore(pool=pool) as store:
        store.save_batch(given)
        assert [one.order_id for one in store.get_by_side("buy")] == [9, 8, 3, 2**64 - 1, 4, 5, 2, 1]
        assert [one.order_id for one in store.get_by_side(1, "BTC-USD")] == [3, 2**64 - 1, 4, 5, 2, 1]
        store.save_batch([one.replace(side="sell", version=1) for one in given])
        assert [one.order_id for one in store.get_by_side("sell")] == [9, 8, 2**64 - 1, 4, 5, 2, 1, 3]
        assert store.get_by_side("buy") == []
        store.save(given[0].replace(side="sell", version=2, status="cancelled"))
        assert [one.order_id for one in store.get_by_side("sell", "ETH-USD")] == []


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_pages_of_orders_follow_each_other_without_gap_or_overlap(orders: PostgresOrderStore, limit: int) -> None:
    ids = [0, 1, 2, 3, 10, 2**63 - 2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]
    orders.save_batch([order(one) for one in ids])
    found: list[int] = []
    after = None
    while True:
        page = orders.query(after=after, limit=limit)
        found += [one.order_id for one in page]
        assert len(page) == min(limit, len(ids) - len(found) + len(page))
        if page.next is None:
            break
        after = page.next
    assert found == ids


def test_pages_of_trades_follow_each_other_from_the_newest_on(trades: PostgresTradeStore) -> None:
    trades.save_batch(trade_rows(1, 25))
    first = trades.query(limit=10)
    trades.save(trade(26))
    second = trades.query(limit=10, after=first.next)
    third = trades.query(limit=10, after=second.next)
    assert [one.trade_id for page in (first, second, third) for one in page] == [*range(25, 0, -1)]
    assert third.next is None


def test_orders_are_selected_by_any_filters(orders: PostgresOrderStore) -> None:
    eth = Instrument("ETH-USD")
    given = [
        order(
            n,
            "sell" if n % 2 else "buy",
            user="bob" if n % 3 else None,
            created_ns=1000 * n + 7,
            status="cancelled" if n % 5 == 0 else None,
        )
        for n in range(40)
    ]
    orders.save_batch([*given, order(99, instrument=eth, price=3, qty=1, user="bob")])

    def ids(**filters: Any) -> list[int]:
        return [one.order_id for one in orders.query(**filters)]

    assert ids(user="bob", side="sell") == [n for n in range(40) if n % 3 and n % 2]
    assert ids(symbol="ETH-USD") == [99]
    assert ids(symbol="BTC-USD", status="cancelled", side=1) == [0, 10, 20, 30]
    assert ids(status=["resting", 4], user="bob", symbol="BTC-USD") == [n for n in range(40) if n % 3]
    assert ids(status=[]) == ids(status="filled") == ids(user="carol") == ids(user=77) == []
    assert ids(from_ns=5007, to_ns=8007) == [5, 6, 7]
    assert ids(from_ns=5008, to_ns=8008) == [6, 7, 8]
    assert ids(from_ns=-(2**63), to_ns=2**63 - 1, after=37) == [38, 39, 99]


def test_trades_are_selected_by_any_filters(trades: PostgresTradeStore) -> None:
    eth = Instrument("ETH-USD")
    trades.save_batch([trade(n, taker_id=2**63 + n, maker_id=n % 4, ts_ns=1000 * n + 7, side=1 + n % 2) for n in range(1, 30)])
    trades.save(trade(40, instrument=eth))

    def ids(**filters: Any) -> list[int]:
        return [one.trade_id for one in trades.query(**filters)]

    assert ids(symbol="ETH-USD") == [40]
    assert ids(order_id=2**63 + 5) == [5]
    assert ids(order_id=3) == [27, 23, 19, 15, 11, 7, 3]
    assert ids(from_ns=5007, to_ns=8007, symbol="BTC-USD") == [7, 6, 5]
    assert ids(order_id=3, after=19, limit=2) == [15, 11]


@pytest.mark.parametrize(
    ("filters", "error", "text"),
    [
        ({"limit": 0}, FieldError, "limit must be an int from 1 to 10000"),
        ({"limit": 10_001}, FieldError, "limit must be"),
        ({"after": -1}, FieldError, "after must be"),
        ({"status": "lost"}, FieldError, "status must be one of resting"),
        ({"status": 7}, FieldError, "status must be"),
        ({"status": [1.5]}, FieldTypeError, "status must be"),
        ({"side": 3}, FieldError, "side must be"),
        ({"from_ns": 2**63}, FieldError, "from_ns must be"),
        ({"symbol": 1.5}, FieldTypeError, "symbol must be"),
    ],
)
def test_a_filter_that_cant_be_is_refused(orders: PostgresOrderStore, filters: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        orders.query(**filters)
    assert orders.stats().counts["errors"] == 0


# Rows that somebody edited


@pytest.mark.parametrize(
    "change",
    [
        "price = 100.505",
        "price = 'NaN'",
        "price = 'Infinity'",
        "price = NULL",
        "price = 1e30",
        "order_type = 1",
        "order_type = 3",
        "order_type = NULL",
        "side = 3",
        "side = NULL",
        "size = 0",
        "size = -1",
        "size = 0.2505",
        "size = 1e40",
        "remaining = 0.3",
        "remaining = NULL",
        "status = 2",
        "status = 5",
        "status = -1",
        "tif = 99",
        "stp = 300",
        "flags = -1",
        "user_id = repeat('x', 256)",
        "user_id = E'a\\nb'",
        "created_at = now()",
        "created_at = NULL",
        "created_at = 'infinity'",
        "updated_ns = updated_ns + 1000",
        "symbol = repeat('y', 256)",
    ],
)
def test_an_edited_order_is_reported_with_its_place(orders: PostgresOrderStore, postgres_database: str, change: str) -> None:
    orders.save(order(2**64 - 7))
    orders.save(order(5))
    run_sql(postgres_database, f"UPDATE orders SET {change} WHERE order_id = -7")
    place = "symbol 'y" if "symbol" in change else f"orders, order_id {2**64 - 7}: "
    with pytest.raises(StoreDamaged, match=rf"postgres .*, {place}"):
        orders.get(2**64 - 7)
    with pytest.raises(StoreDamaged, match=place):
        orders.get_all()
    assert orders.get(5) == order(5)


@pytest.mark.parametrize(
    "change",
    [
        "price = 1.001",
        "price = 'NaN'",
        "quantity = 0",
        "quantity = 0.0001",
        "quantity = '-Infinity'",
        "taker_side = 0",
        "timestamp = '2020-01-01'",
        "timestamp_ns = timestamp_ns + 1000",
        "trade_id = -3",
    ],
)
def test_an_edited_trade_is_reported_with_its_place(trades: PostgresTradeStore, postgres_database: str, change: str) -> None:
    trades.save_batch([trade(3), trade(4)])
    run_sql(postgres_database, f"UPDATE trades SET {change} WHERE trade_id = 3")
    number = -3 if "trade_id" in change else 3
    with pytest.raises(StoreDamaged, match=f"postgres .*, trades, trade_id {number}: "):
        trades.get(number)
    with pytest.raises(StoreDamaged, match=f"trade_id {number}: "):
        trades.get_recent(2)
    assert trades.get_recent(1) == [trade(4)]


@pytest.mark.parametrize("change", ["tick_size = 0", "lot_size = 'NaN'", "max_qty = 0", "min_price = 0.005"])
def test_an_edited_definition_is_reported(
    orders: PostgresOrderStore, pool: PostgresPool, postgres_database: str, change: str
) -> None:
    orders.save(order(1))
    run_sql(postgres_database, f"UPDATE instruments SET {change}")
    with pytest.raises(StoreDamaged, match="instruments, symbol 'BTC-USD': "):
        PostgresOrderStore(pool=pool).get(1)


def test_a_number_edited_to_another_way_of_writing_it_is_the_same(orders: PostgresOrderStore, postgres_database: str) -> None:
    orders.save(order(1))
    run_sql(postgres_database, "UPDATE orders SET price = 100.500000000000, size = 0.25")
    assert orders.get(1) == order(1)
