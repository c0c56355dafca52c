"""The reader of the trade log: every form, seeking, and following."""

from __future__ import annotations

import json
import threading
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyengine._core.json_lines import trade_lines
from stores.trade_files import START_NS, closed, eventually, ids, mixed, names, plain, rows, write_log, written

from pyengine import Instrument, TradeLogReader
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryTradeStore, Names
from pyengine.stores.composite import CompositeTradeStore
from pyengine.stores.file import FileTradeStore
from pyengine.stores.log_cursor import CurrentFile

# --- forms


@pytest.mark.parametrize("options", [{}, {"rotate_bytes": 40_000, "compress": False}, {"rotate_bytes": 40_000}])
def test_all_forms_say_the_same_as_json(path: Path, options: dict[str, object]) -> None:
    expected = mixed(range(1, 3001))
    write_log(path, np.array_split(expected, 7), **options)
    assert len(closed(path)) == (11 if options else 0)
    reader = TradeLogReader(path, names=names())
    assert (reader.array() == expected).all()
    assert [plain(np.frombuffer(bytes(each), expected.dtype))[0] for each in reader] == list(expected)
    lines = written(path)
    table = reader.table()
    columns = ("trade_id", "buy_order_id", "sell_order_id", "price", "quantity", "symbol", "side")
    assert [{name: row[name] for name in columns} for row in table.to_pylist()] == [
        {name: line[name] for name in columns} for line in lines
    ]
    assert table.column("timestamp").cast("int64").to_pylist() == expected["ts_ns"].tolist()
    assert reader.damaged_count == 0


def test_objects_have_their_instruments_as_the_file_knows_them(path: Path) -> None:
    write_log(path, [mixed(range(1, 5))])
    found = list(TradeLogReader(path))
    assert [each.symbol for each in found] == ["ETH-USD", "BTC-USD"] * 2
    assert found[0].price == Decimal("500.05")
    assert found[1].price == Decimal("100.02")
    assert isinstance(found[1].price, Decimal)


def test_nobody_needs_a_meta_file(path: Path) -> None:
    write_log(path, [rows([1])])
    (path.parent / "trades.log.meta").unlink()
    [only] = TradeLogReader(path)
    assert (only.price, only.symbol, only.ts_ns) == (Decimal("100.01"), "BTC-USD", int(rows([1])["ts_ns"][0]))


def test_names_on_another_grid_are_refused_and_not_taken_for_damage(path: Path) -> None:
    write_log(path, [rows([1])])
    other = Names([Instrument("BTC-USD", "0.05", "0.001")])
    with pytest.raises(FieldError, match=r"on the grid that .* was written with"):
        list(TradeLogReader(path, names=other, damaged="skip"))


def test_arrow_is_exact_beyond_64_bits(path: Path) -> None:
    big = Names([Instrument("BIG", "0.000000000000000001", "1e9")])
    array = rows([1, 2])
    array["price_ticks"], array["qty_lots"] = 2**62 - 1, 2**40
    with FileTradeStore(path, names=big) as store:
        store.save_batch(array)
    [first, _] = TradeLogReader(path).table().to_pylist()
    assert first["price"] == Decimal(2**62 - 1).scaleb(-18)
    assert first["quantity"] == Decimal(2**40 * 10**9)


# --- seeking


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "trades.log"
    write_log(path, np.array_split(mixed(range(1, 30_001)), 10), rotate_bytes=700_000)
    assert len(closed(path)) == 6
    return path


@pytest.mark.parametrize("first", [1, 2, 4_000, 4_321, 15_000, 29_999, 30_000])
def test_seek_by_id(long_log: Path, first: int) -> None:
    reader = TradeLogReader(long_log)
    assert ids(reader.trades(first_id=first)) == list(range(first, 30_001))
    last = min(30_000, first + 10)
    assert ids(reader.trades(first_id=first, last_id=last)) == list(range(first, last + 1))
    found = reader.find(first)
    assert found is not None
    assert json.loads(found.text)["trade_id"] == first


@pytest.mark.parametrize("first", [1, 4_321, 29_999, 30_000])
def test_seek_by_time(long_log: Path, first: int) -> None:
    reader = TradeLogReader(long_log)
    begin = START_NS + first * 1000
    assert ids(reader.trades(from_ns=begin)) == list(range(first, 30_001))
    assert ids(reader.trades(from_ns=begin - 999, to_ns=begin + 1000)) == [first]
    assert ids(reader.trades(from_ns=begin, first_id=first + 5)) == list(range(first + 5, 30_001))


def test_beyond_the_ends_there_is_nothing(long_log: Path) -> None:
    reader = TradeLogReader(long_log)
    assert list(reader.trades(first_id=30_001)) == []
    assert list(reader.trades(from_ns=START_NS * 2)) == []
    assert list(reader.trades(last_id=0)) == []
    assert list(reader.trades(to_ns=START_NS)) == []
    assert reader.find(30_001) is None


def test_seeking_reads_little(long_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TradeLogReader(long_log)
    parsed = 0
    read = reader._rows.of_block

    def counting(block: object) -> np.ndarray:
        nonlocal parsed
        parsed += len(block.text)
        return read(block)

    monkeypatch.setattr(reader._rows, "of_block", counting)
    assert ids(reader.trades(first_id=15_000, last_id=15_000)) == [15_000]
    assert 0 < parsed < 800_000


def test_a_symbol_is_selected(long_log: Path) -> None:
    reader = TradeLogReader(long_log)
    assert ids(reader.trades(symbol="BTC-USD", last_id=9)) == [2, 4, 6, 8]
    assert list(reader.trades(symbol="XRP-USD")) == []


def test_the_last_ones(long_log: Path) -> None:
    reader = TradeLogReader(long_log)
    assert ids(reader.last(3)) == [29_998, 29_999, 30_000]
    assert ids(reader.last(3, symbol="ETH-USD")) == [29_995, 29_997, 29_999]
    assert ids(reader.last(10_000)) == list(range(20_001, 30_001))
    assert reader.last(0) == []
    assert len(reader.last(10**9)) == 30_000


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(8)), first=st.integers(1, 240), last=st.integers(1, 240))
def test_ids_that_came_late_are_found(tmp_path_factory: pytest.TempPathFactory, order: list[int], first: int, last: int) -> None:
    path = tmp_path_factory.mktemp("late") / "trades.log"
    write_log(path, [rows(range(30 * part + 1, 30 * part + 31)) for part in order], rotate_bytes=12_000, compress=False)
    reader = TradeLogReader(path, rising_times=False)
    assert sorted(ids(reader.trades(first_id=first, last_id=last))) == list(range(first, last + 1))
    assert ids(reader.last(first)) == list(range(241 - first, 241))
    assert json.loads(reader.find(last).text)["trade_id"] == last


def test_times_that_fall_are_found_when_asked_for(path: Path) -> None:
    array = rows(range(1, 5001))
    array["ts_ns"] = START_NS + (array["trade_id"] * 7919) % 5003
    write_log(path, [array])
    reader = TradeLogReader(path, rising_times=False)
    expected = array["trade_id"][(array["ts_ns"] >= START_NS + 100) & (array["ts_ns"] < START_NS + 110)].tolist()
    assert ids(reader.trades(from_ns=START_NS + 100, to_ns=START_NS + 110)) == expected


def test_a_store_reads_ranges_of_what_it_has_written(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=9_000) as store:
        store.save_batch(mixed(range(1, 201)))
        assert store.flush()
        assert ids(store.reader().trades(first_id=50, last_id=60)) == list(range(50, 61))
        assert ids(store.reader(names=names()).trades(symbol="BTC-USD", first_id=195)) == [196, 198, 200]
        with pytest.raises(FieldError, match="damaged must be"):
            store.reader(damaged="maybe")


def test_the_file_is_the_last_layer_of_a_composite(path: Path) -> None:
    array = mixed(range(1, 201))
    table = names()
    memory, file = InMemoryTradeStore(8, names=table), FileTradeStore(path, names=table, rotate_bytes=9_000)
    with CompositeTradeStore(memory, file, names=table) as store:
        store.save_batch(array)
        found = store.get_recent(150)
        assert (found.complete, found.layer) == (True, "file")
        assert ids(found) == list(range(200, 50, -1))
        assert store.complete_for(200)


# --- following


def test_following_goes_across_rotation_and_packing(path: Path) -> None:
    stop, seen = threading.Event(), []
    store = FileTradeStore(path, names=names(), rotate_bytes=30_000)

    def follow() -> None:
        for array in TradeLogReader(path).arrays(follow=True, stop=stop):
            seen.extend(array["trade_id"].tolist())

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        for begin in range(1, 2001, 50):
            store.save_batch(rows(range(begin, begin + 50)))
            store.flush()
            time.sleep(0.002)
        eventually(lambda: len(seen) >= 2000)
    finally:
        stop.set()
        thread.join()
        store.close()
    assert seen == list(range(1, 2001))
    assert len(closed(path)) > 5


def test_following_waits_for_the_rest_of_a_line(path: Path) -> None:
    text = trade_lines(rows([1, 2]), names())
    path.write_bytes(text[:-20])
    following = TradeLogReader(path).trades(follow=True)
    assert next(following).trade_id == 1
    later = threading.Timer(0.1, lambda: path.write_bytes(text))
    later.start()
    assert next(following).trade_id == 2
    later.join()
    following.close()
    assert ids(TradeLogReader(path)) == [1, 2]


def test_what_is_written_just_before_a_file_is_closed_is_not_missed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(trade_lines(rows([1]), names()))
    following = TradeLogReader(path).trades(follow=True)
    assert next(following).trade_id == 1
    is_current = CurrentFile.is_current

    def closed_now(file: CurrentFile) -> bool:
        if not path.with_name("trades.log.000001").exists():
            with path.open("ab") as log:
                log.write(trade_lines(rows([2]), names()))
            path.rename(path.with_name("trades.log.000001"))
            path.write_bytes(trade_lines(rows([3]), names()))
        return is_current(file)

    monkeypatch.setattr(CurrentFile, "is_current", closed_now)
    assert next(following).trade_id == 2
    assert next(following).trade_id == 3
    following.close()


def test_following_ends_where_it_was_told_to(path: Path) -> None:
    write_log(path, [rows(range(1, 11))])
    assert ids(TradeLogReader(path).trades(follow=True, last_id=7)) == list(range(1, 8))


def test_bad_arguments_are_refused(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        list(TradeLogReader(path))
    with pytest.raises(FieldError, match="damaged must be raise or skip"):
        TradeLogReader(path, damaged="ignore")
    with pytest.raises(FieldTypeError, match="names must be Names"):
        TradeLogReader(path, names={})
    with pytest.raises(FieldError, match="first_id must be"):
        TradeLogReader(path).arrays(first_id=-1)
    with pytest.raises(FieldTypeError, match="symbol must be a str"):
        TradeLogReader(path).arrays(symbol=1)
