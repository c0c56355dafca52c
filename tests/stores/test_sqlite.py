"""SQLite files: what is left of them after every kind of accident, and what they say about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyengine import Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import TRADE_DTYPE
from pyengine.store_errors import SchemaError, StoreClosed, StoreDamaged, StoreUnavailable
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, Trade
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

BTC = Instrument("BTC-USD", "0.01", "0.001")
FIELDS: dict[str, Any] = {"user": "alice", "instrument": BTC, "price": "101.50", "qty": "0.250"}


def order(order_id: int = 1, **changes: Any) -> Order:
    return Order(order_id, "buy", **(FIELDS | changes))


def trade(trade_id: int = 1, **changes: Any) -> Trade:
    fields = {"taker_id": 2, "maker_id": 2**64 - 1, "price_ticks": 10_000, "qty_lots": 10, "side": 2, "instrument": BTC}
    return Trade(trade_id, **(fields | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stores.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteOrderStore]:
    with SQLiteOrderStore(path) as store:
        yield store


def edit(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(sql)
    connection.close()


def test_one_file_holds_orders_and_trades_and_keeps_them(path: Path) -> None:
    with SQLiteOrderStore(path) as orders, SQLiteTradeStore(path) as trades:
        assert orders.save(order())
        assert trades.save(trade(ts_ns=-1, seq=2**63))
        assert trades.is_empty() is orders.is_empty() is False
    with SQLiteOrderStore(path) as orders, SQLiteTradeStore(path) as trades:
        assert orders.get_all() == [order()]
        assert trades.get_recent() == [trades.get(1)] == [trade(ts_ns=-1, seq=2**63)]


def test_people_read_decimals_and_dates(path: Path, store: SQLiteOrderStore) -> None:
    store.save(order(created_ns=1_736_937_045_123_456_789))
    store.save(Order(2, "sell", qty=3, instrument=Instrument("HALF", "1e2", "0.5")))
    with SQLiteTradeStore(path) as trades:
        trades.save(trade())
    connection = sqlite3.connect(path)
    columns = "user_id, symbol, price, size, remaining, created_at"
    assert connection.execute(f"SELECT {columns} FROM orders").fetchall() == [
        ("alice", "BTC-USD", "101.5", "0.25", "0.25", "2025-01-15T10:30:45.123Z"),
        ("", "HALF", None, "3", "3", "1970-01-01T00:00:00.000Z"),
    ]
    assert connection.execute("SELECT price, quantity, sell_order_id FROM trades").fetchall() == [("100.0", "0.01", 2)]
    connection.close()


def test_flags_of_a_trade_survive(path: Path) -> None:
    rows = np.frombuffer(bytes(trade()), TRADE_DTYPE).copy()
    rows["flags"] = 3
    with SQLiteTradeStore(path, names=Names([BTC])) as trades:
        trades.save_batch(rows)
        assert trades.get_recent()[0].maker_filled
        assert bytes(trades.get_recent()[0]) == rows.tobytes()


def test_trades_of_a_time_range_come_in_pages(path: Path) -> None:
    ether = Instrument("ETH-USD")
    with SQLiteTradeStore(path) as trades:
        trades.save_batch(trade(n, ts_ns=n * 10, instrument=ether if n % 2 else BTC) for n in range(1, 101))
        first = trades.get_between(200, 900, limit=40)
        rest = trades.get_between(200, 900, after_id=first[-1].trade_id)
        assert [found.trade_id for found in first + rest] == list(range(20, 90))
        assert [found.trade_id for found in trades.get_between(0, 60, symbol="ETH-USD")] == [1, 3, 5]
        with pytest.raises(FieldTypeError, match="from_ns must be an int, was '1h'"):
            trades.get_between("1h", 5)  # type: ignore[arg-type]


def test_finished_orders_are_cleaned_up_by_age(store: SQLiteOrderStore) -> None:
    store.save_batch([order(n, status=status, updated_ns=n) for n, status in enumerate(["resting", "filled", "cancelled"])])
    assert store.remove_finished(older_than_ns=2) == 1
    assert [found.order_id for found in store.get_all()] == [0, 2]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("UPDATE orders SET price = '101.6'", "order_id 1: price must be 101.5 as its integers say, was 101.6"),
        ("UPDATE orders SET price = NULL", "price must be 101.5 as its integers say, was None"),
        ("UPDATE orders SET price = 'cheap'", "price must be 101.5 as its integers say, was cheap"),
        ("UPDATE orders SET size = 'NaN'", "size must be 0.25 as its integers say, was NaN"),
        ("UPDATE orders SET remaining = '1'", "remaining must be 0.25"),
        ("UPDATE orders SET qty_lots = 300", "order_id 1: status must be 1"),
        ("UPDATE orders SET order_type = 1", "price must be None as its integers say, was 101.5"),
        ("UPDATE orders SET side = 3", "order_id 1: side must be 1"),
        ("UPDATE orders SET side = 300", "order_id 1: "),
        ("UPDATE orders SET tif = -1", "order_id 1: "),
        ("UPDATE orders SET remaining_lots = 300", "remaining_lots must be"),
        ("UPDATE orders SET user_id = 'a' || char(10)", "order_id 1: user must be 1 to 255 printable characters"),
        ("UPDATE orders SET symbol = 'ETH'", "table instruments: 'ETH' must be there, was missing"),
        ("UPDATE instruments SET tick_size = '0'", "symbol 'BTC-USD': tick_size must be above 0"),
        ("UPDATE instruments SET tick_size = '0.1', min_price = '0.1'", "symbol 'BTC-USD': max_price"),
        ("UPDATE trades SET price = '1'", "row of trade_id 1: price must be 100.0 as its integers say, was 1"),
        ("UPDATE trades SET quantity = ''", "quantity must be 0.01"),
        ("UPDATE trades SET qty_lots = 0, quantity = '0'", "row of trade_id 1: qty_lots must be"),
        ("UPDATE trades SET trade_id = -1", "row of trade_id -1: trade_id must be"),
        ("UPDATE trades SET side = 0", "row of trade_id 1: side must be"),
    ],
)
def test_a_row_edited_by_hand_is_reported_with_its_place(path: Path, sql: str, text: str) -> None:
    with SQLiteOrderStore(path) as orders, SQLiteTradeStore(path) as trades:
        orders.save(order())
        trades.save(trade())
    edit(path, sql)
    with SQLiteOrderStore(path) as orders, SQLiteTradeStore(path) as trades, pytest.raises(StoreDamaged) as caught:
        _ = orders.get_all(), trades.get_recent()
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_table_that_is_gone_is_reported(path: Path, store: SQLiteOrderStore) -> None:
    edit(path, "DROP TABLE orders")
    with pytest.raises(StoreDamaged, match="get_all failed: no such table: orders"):
        store.get_all()
    with pytest.raises(SchemaError, match="must be a store or empty"):
        SQLiteOrderStore(path)


def test_a_decimal_written_another_way_is_the_same_number(path: Path, store: SQLiteOrderStore) -> None:
    store.save(order())
    edit(path, "UPDATE orders SET price = '101.500', size = '.25'")
    assert store.get(1) == order()


def test_an_instrument_is_the_same_for_all_who_share_the_file(path: Path, store: SQLiteOrderStore) -> None:
    store.save(order())
    other = Instrument("BTC-USD", "0.05", "0.001")
    wrong = Order(2, "buy", instrument=other, price=1, qty=1)
    with SQLiteOrderStore(path) as second:
        with pytest.raises(FieldError, match="instrument must be equal to the one known as BTC-USD, was"):
            second.save(wrong)
        assert second.save(order(3))
    with SQLiteOrderStore(path, names=Names([other])) as third:
        with pytest.raises(FieldError, match=r"instrument must be as .*stores.db has it, .*'0.01'.*, was .*'0.05'"):
            third.save(wrong)
        assert third.get(2) is None
        third.save(Order(4, "buy", instrument=Instrument("NEW"), price=1, qty=1))
        with pytest.raises(StoreDamaged, match=r"stores.db, table instruments, symbol 'BTC-USD': .*equal to the one known"):
            third.get_all()


def test_instruments_keep_their_order(path: Path, store: SQLiteOrderStore) -> None:
    symbols = ["B", "C", "A"]
    store.save_batch(order(n, instrument=Instrument(symbol), price=n + 1, qty=1) for n, symbol in enumerate(symbols))
    assert [found.symbol for found in store.get_by_side("buy")] == symbols
    with SQLiteOrderStore(path) as second:
        assert second.get(2) == store.get(2)
        assert [found.symbol for found in second.get_by_side("buy")] == symbols


def test_a_file_of_a_later_release_is_left_alone(path: Path) -> None:
    SQLiteOrderStore(path).close()
    edit(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(SchemaError, match=r"schema version must be at most 2, was 99: use the release that wrote it"):
        SQLiteOrderStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_of_another_program_is_left_alone(path: Path, version: int) -> None:
    edit(path, f"CREATE TABLE recipes (name TEXT); PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="must be a store or empty, was another program's"):
        SQLiteTradeStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"trade_id,price\n" * 100)
    with pytest.raises(StoreDamaged, match="file is not a database"):
        SQLiteOrderStore(path)
    assert path.read_bytes() == b"trade_id,price\n" * 100


def test_a_page_overwritten_is_reported(path: Path) -> None:
    with SQLiteOrderStore(path) as store:
        store.save_batch([order(n) for n in range(1000)])
    raw = bytearray(path.read_bytes())
    raw[4096 * 8 : 4096 * 20] = b"\xff" * 4096 * 12
    path.write_bytes(raw)
    with SQLiteOrderStore(path) as store, pytest.raises(StoreDamaged, match="malformed"):
        store.get_all()


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"sqlite .*missing/stores\.db: open failed: unable to open"):
        SQLiteOrderStore(tmp_path / "missing" / "stores.db")
    with pytest.raises(StoreUnavailable, match="unable to open"):
        SQLiteOrderStore(tmp_path)


@pytest.mark.parametrize("path", [":memory:", ""])
def test_a_store_in_memory_is_another_class(path: str) -> None:
    with pytest.raises(FieldError, match="path must be a file"):
        SQLiteOrderStore(path)


def test_synchronous_is_one_of_two(path: Path) -> None:
    with pytest.raises(FieldError, match="synchronous must be one of full, normal, was 'off'"):
        SQLiteOrderStore(path, synchronous="off")


def test_flush_syncs_what_commits_did_not(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    with SQLiteOrderStore(path, synchronous="normal") as store:
        store.save(order())
        before = path.stat().st_size
        assert store.flush().done == ("sqlite",)
        assert path.stat().st_size > before
        assert log.exists()
        assert store.flush({"redis"}).done == ()
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM orders").fetchall()
        store.save(order(2))
        reader.execute("COMMIT")
        reader.close()
        assert store.flush()


def test_numbers_come_from_whom_the_store_is_given_to(path: Path) -> None:
    names = Names([Instrument("X"), BTC], ["zoe", "alice"])
    with SQLiteOrderStore(path) as store:
        with pytest.raises(FieldTypeError, match="names must be Names, was None"):
            store.attach_names(None)  # type: ignore[arg-type]
        store.attach_names(names)
        assert store.names is names
        rows = np.frombuffer(bytes(order(user=2, instrument=None, price=None, price_ticks=10_150, qty=None, qty_lots=250)), "u1")
        rows = rows.copy().view(ORDER_RECORD_DTYPE)
        rows["instrument"] = 1
        assert store.save_batch(rows) == 1
        assert store.get(1) == order()
        store.attach_names(names)
        with pytest.raises(FieldError, match="names must be given before the store was used"):
            store.attach_names(Names())


def test_a_closed_store_says_so(path: Path) -> None:
    store = SQLiteOrderStore(path)
    store.close()
    store.close()
    for call in (lambda: store.get(1), store.get_all, lambda: store.save(order()), store.flush, store.is_empty):
        with pytest.raises(StoreClosed, match=r"stores\.db: the store was closed"):
            call()
    assert repr(store) == f"<SQLiteOrderStore {path}>"
