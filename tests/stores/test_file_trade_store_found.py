"""What is found in a trade log that was there before: read back, put in order, or reported with its place."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores.trade_files import BTC, ETH, START_NS, ids_written, names, recent, rows, trade, written

from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file import FileTradeStore
from pyengine.stores.file_meta import LogMeta

if TYPE_CHECKING:
    pass

POLICIES = ("always", "batch", "interval", "never")


def test_the_grids_of_instruments_are_kept_beside_the_log(path: Path) -> None:
    with FileTradeStore(path) as store:
        store.save_batch([trade(1), trade(2, instrument=ETH)])
    with FileTradeStore(path) as again:
        assert [(each.price_ticks, each.instrument) for each in again.get_recent()] == [(10050, ETH), (10050, BTC)]
        assert again.names.instruments == [ETH, BTC]
    Path(f"{path}.meta").unlink()
    with FileTradeStore(path) as again:
        (_, found) = again.get_recent()
        assert (found.price, found.qty, found.instrument.tick_size) == (Decimal("100.5"), Decimal("0.005"), Decimal("1e-8"))


def test_limits_of_an_instrument_may_change_its_grid_may_not(path: Path) -> None:
    with FileTradeStore(path) as store:
        store.save(trade(1))
    wider = Instrument("BTC-USD", "0.01", "0.001", max_price="1000000")
    with FileTradeStore(path) as store:
        assert store.save(trade(2, instrument=wider)) is True
    other = Instrument("BTC-USD", "0.05", "0.001")
    with FileTradeStore(path) as store:
        with pytest.raises(FieldError, match=r"instrument must be on the grid that .*trades\.log was written with"):
            store.save(trade(3, instrument=other))
        with pytest.raises(StoreDamaged, match=r"trades\.log, byte \d+: instrument must have one grid"):
            store.get_recent()
    with FileTradeStore(path) as store:
        assert store.names.instruments == []
        assert store.get_recent(1)[0].instrument == wider


def test_ids_are_remembered_over_a_restart(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows([*range(1, 1001), *range(1005, 6000)]))
    with FileTradeStore(path, names=names()) as again:
        assert again.save_batch(rows(range(5700, 6100))) == 100
        assert not again._writer._scanned, "what is sent again after a crash is near the end"
        assert again.save_batch(rows(range(990, 1010))) == 4, "a gap is filled"
        assert again.save_batch(rows(range(1, 6100))) == 0
        assert recent(again, 6100) == list(range(6099, 0, -1))
    assert sorted(ids_written(path)) == list(range(1, 6100))


def test_trades_that_come_late_take_their_place(path: Path) -> None:
    order = np.random.default_rng(3).permutation(np.arange(1, 2001)).tolist()
    with FileTradeStore(path, names=names(), capacity=10) as store:
        for n in order[:500]:
            assert store.save(trade(n)) is True
        store.flush()
        assert recent(store, 20) == sorted(order[:500], reverse=True)[:20]
        for begin in range(500, 2000, 100):
            assert store.save_batch(rows(order[begin : begin + 100])) == 100
    with FileTradeStore(path, names=names()) as again:
        assert again.stats().gauges["last_trade_id"] == 2000
        assert recent(again, 20) == list(range(2000, 1980, -1))
        assert again.save_batch(rows(order)) == 0
        assert again.save_batch(rows(range(2001, 2101))) == 100
        assert recent(again, 3000) == list(range(2100, 0, -1))
        assert recent(again, 50) == list(range(2100, 2050, -1))
    assert len(ids_written(path)) == 2100


def test_old_trades_can_be_put_in_behind_new_ones(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1001, 2001)))
    with FileTradeStore(path, names=names()) as store:
        assert store.save_batch(rows(range(1, 1001))) == 1000
    assert ids_written(path)[-1] == 1000
    with FileTradeStore(path, names=names()) as store:
        assert store.stats().gauges["last_trade_id"] == 2000
        assert recent(store, 5) == [2000, 1999, 1998, 1997, 1996]
        assert store.save_batch(rows(range(1, 2001))) == 0
        assert store.save(trade(2001)) is True
        assert recent(store, 2) == [2001, 2000]


def test_lines_of_another_writer_are_read(path: Path) -> None:
    line = {"side": 2, "symbol": "BTC-USD", "timestamp": "2025-01-15T12:30:45+02:00", "quantity": 10, "price": 101.0}
    line |= {"sell_order_id": 99, "buy_order_id": 42, "trade_id": 7}
    path.write_text(json.dumps(line) + "\n")
    with FileTradeStore(path, names=names()) as store:
        (found,) = store.get_recent()
        assert (found.trade_id, found.taker_id, found.price_ticks, found.qty_lots) == (7, 99, 10100, 10_000)
        assert found.ts_ns == START_NS // 10**9 * 10**9
        assert store.save(trade(7)) is False
        assert store.save_batch(rows([6, 8])) == 2
        assert recent(store) == [8, 7, 6]


def test_a_line_of_any_length_is_read(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 4)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'":', b'":' + b" " * 100_000) + lines[2])
    with FileTradeStore(path, names=names()) as store:
        assert recent(store) == [3, 2, 1]
        assert store.save_batch(rows(range(1, 5))) == 1


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=15), min_size=1, max_size=12), st.integers(0, 45))
@settings(max_examples=60)
def test_any_order_of_ids_reads_as_a_set(batches: list[list[int]], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trades.log"
        model: set[int] = set()
        for number, batch in enumerate(batches):
            if number % 4 == 0:
                store = FileTradeStore(path, names=names(), rotate_bytes=1200, compress=False)
            assert store.save_batch(rows(batch)) == len({*batch} - model)
            model.update(batch)
            assert recent(store, limit) == sorted(model, reverse=True)[:limit]
            if number % 4 == 3 or number == len(batches) - 1:
                store.close()
        assert sorted(ids_written(path)) == sorted(model)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (b'"price":100.5', "price must be a number, was 'cheap'"),
        (b'"trade_id":3', "trade_id must be"),
        (b'"quantity":0.005', "quantity must be a multiple of 0.001"),
        (b'"symbol":"BTC-USD"', "symbol must be a text"),
        (b'"side":2', "side must be an int from 1 to 2, was 3"),
        (b"2025-01-15", "timestamp must be an RFC 3339 time"),
        (b"{", "must be a JSON object"),
    ],
)
def test_a_damaged_line_is_reported_with_its_place(path: Path, damage: bytes, text: str) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(trade(n) for n in range(1, 6))
    lines = path.read_bytes().splitlines(keepends=True)
    changes = {b'"price"': b'"price":"cheap"', b'"trade_i': b'"trade_id":3.5', b'"quanti': b'"quantity":0.0055'}
    changes |= {b'"symbol': b'"symbol":5', b'"side":': b'"side":3', b"2025-01": b"2025-13-15", b"{": b"["}
    lines[2] = lines[2].replace(damage, changes[damage[:7] if damage != b'"trade_id":3' else b'"trade_i'], 1)
    path.write_bytes(b"".join(lines))
    place = len(lines[0]) + len(lines[1])
    with FileTradeStore(path, names=names()) as store:
        assert recent(store, 2) == [5, 4], "what isn't asked for doesn't hurt"
        with pytest.raises(StoreDamaged, match=rf"trades\.log, byte {place}: .*{text}"):
            store.get_recent(3)


def test_lines_in_the_wrong_place_are_damage_too(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 6)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[3], lines[2], lines[4]]))
    with FileTradeStore(path, names=names()) as store, pytest.raises(StoreDamaged, match="trade_id must be below 3"):
        store.get_recent(5)


@pytest.mark.parametrize("last", [b"garbage\n", b"{}\n", b'{"trade_id":"1"}\n', b'{"trade_id":1}\n', b"\0" * 100 + b"\n"])
def test_a_log_that_ends_in_something_else_is_refused(path: Path, last: bytes) -> None:
    path.write_bytes(last)
    with pytest.raises(StoreDamaged, match=r"trades\.log, byte 0: "):
        FileTradeStore(path)
    path.unlink()
    FileTradeStore(path).close()


@pytest.mark.parametrize("line", [b"x\n", b"{}\n", b'{"symbol":"X"}\n', b'{"late_from":2,"late_to":1}\n'])
def test_damage_beside_the_log_is_reported_with_its_place(path: Path, line: bytes) -> None:
    with FileTradeStore(path) as store:
        store.save(trade(1))
    meta = Path(f"{path}.meta")
    size = meta.stat().st_size
    meta.write_bytes(meta.read_bytes() + line)
    with pytest.raises(StoreDamaged, match=rf"trades\.log\.meta, byte {size}: "):
        FileTradeStore(path)


@pytest.mark.parametrize("cut", [1, 2, 50, 150])
def test_an_unfinished_last_line_is_cut_off_and_kept(path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 11)))
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[:-cut])
    with caplog.at_level(logging.WARNING, "pyengine.stores.file"), FileTradeStore(path, names=names()) as store:
        assert recent(store) == list(range(9, 0, -1))
        assert store.stats().counts["cut_bytes"] == len(last) - cut
        assert store.save_batch(rows([9, 10, 11])) == 2
    assert "cut an unfinished line" in caplog.text
    assert Path(f"{path}.unfinished").read_bytes() == last[:-cut] + b"\n"
    assert ids_written(path) == list(range(1, 12))


def test_a_file_of_nothing_but_an_unfinished_line_starts_over(path: Path) -> None:
    path.write_bytes(b"\0" * 200_000)
    with FileTradeStore(path, names=names()) as store:
        assert store.get_recent() == []
        store.save_batch(rows([1]))
    assert (ids_written(path), Path(f"{path}.unfinished").stat().st_size) == ([1], 200_001)


def test_it_vouches_for_its_lists_as_long_as_its_files_are_there(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=1000, compress=False) as store:
        assert store.complete_for(5)
        store.save_batch(rows(range(1, 31)))
        store.flush()
        assert store.complete_for(10**9)
        path.with_name("trades.log.000001").unlink()
        left = len(recent(store, 100))
        assert left < 30
        assert store.complete_for(left)
        assert not store.complete_for(left + 1)


def test_a_file_that_is_taken_away_is_begun_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 11)))
        store.flush()
        path.rename(path.with_name("elsewhere"))
        Path(f"{path}.meta").unlink()
        store.save_batch(rows([10, 11, 12]))
        store.flush()
        assert recent(store) == [12, 11]
        assert (store.stats().counts["reopened"], ids_written(path)) == (1, [11, 12])
        assert LogMeta(path).instruments == {"BTC-USD": BTC}
        os.truncate(path, path.stat().st_size - 5)
        store.save_batch(rows([13]))
        store.flush()
        assert (store.stats().counts["reopened"], ids_written(path)) == (2, [11, 13])
    assert "moved or changed by somebody else" in caplog.text
    assert written(path)[0]["symbol"] == "BTC-USD"
