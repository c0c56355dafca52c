"""Lines of the trade log, one by one: damaged ones, odd ones, and what the kernel makes of any, against json."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyengine._core.json_lines import trade_lines
from pyengine._core.log_lines import line_marks, trade_rows
from stores.trade_files import BTC, ETH, START_NS, eventually, ids, mixed, names, rows, write_log

from pyengine import Instrument, TradeLogReader
from pyengine.store_errors import StoreDamaged
from pyengine.stores import Names, Trade
from pyengine.stores.file import FileTradeStore
from pyengine.stores.json_form import read_object, read_symbol, read_trade
from pyengine.stores.log_rows import DamagedLine

ODD = [
    (b'{"trade_id":2,"buy', "value must be a JSON object"),
    (b"", "value must be a JSON object"),
    (b"\xff\xfe", "value must be a JSON object"),
    (b'{"trade_id":2}', "symbol must be there"),
    (trade_lines(rows([2]), names())[:-1].replace(b'"side":1', b'"side":3'), "side must be"),
    (trade_lines(rows([2]), names())[:-1].replace(b"100.02", b"100.025"), "price must be a multiple of 0.01"),
    (trade_lines(rows([2]), names())[:-1].replace(b"2025-01", b"2025-13"), "timestamp must be an RFC 3339 time"),
    (trade_lines(rows([2]), names())[:-1].replace(b"100.02", b"NaN"), "value must be a JSON object"),
    (b"x" * 3_000_000, "value must be a JSON object"),
]


@pytest.mark.parametrize(("line", "why"), ODD)
def test_a_damaged_line_is_named_or_skipped(path: Path, line: bytes, why: str) -> None:
    head, tail = trade_lines(rows([1]), names()), trade_lines(rows([3]), names())
    write_log(path, [rows([9])])  # for the meta file
    path.write_bytes(head + line + b"\n" + tail)
    with pytest.raises(StoreDamaged, match=rf"trades.log, line 2, byte {len(head)}: .*{why}"):
        list(TradeLogReader(path))
    told: list[DamagedLine] = []
    reader = TradeLogReader(path, damaged="skip", on_damaged=told.append)
    assert ids(reader) == [1, 3]
    assert told == reader.damaged
    [only] = told
    assert (only.line, only.at, only.text, reader.damaged_count) == (2, len(head), line, 1)
    assert ids(reader.last(5)) == [1, 3]


def test_damage_in_a_packed_file_has_its_line_number(path: Path) -> None:
    write_log(path, np.array_split(rows(range(1, 20_001)), 4), rotate_bytes=2_000_000, compress=False)
    plain_file = path.with_name("trades.log.000001")
    text = bytearray(plain_file.read_bytes())
    at = text.index(b'{"trade_id":9000,')
    text[at] = ord("[")
    plain_file.write_bytes(text)
    FileTradeStore(path, names=names(), rotate_bytes=2_000_000).close()
    eventually(lambda: (FileTradeStore(path, names=names(), rotate_bytes=2_000_000).close(), plain_file.exists())[1] is False)
    reader = TradeLogReader(path, damaged="skip")
    assert len(list(reader)) == 19_999
    [only] = reader.damaged
    assert (only.path.name, only.line, only.at) == ("trades.log.000001.zst", 9000, at)


def test_an_unfinished_line_is_damage_only_in_a_closed_file(path: Path) -> None:
    text = trade_lines(rows([1, 2]), names())
    path.write_bytes(text[:-5])
    assert ids(TradeLogReader(path)) == [1]
    path.with_name("trades.log.000001").write_bytes(text[:-5])
    path.write_bytes(trade_lines(rows([3]), names()))
    with pytest.raises(StoreDamaged, match=r"trades.log.000001, line 2, .*must end with a line feed"):
        list(TradeLogReader(path))
    assert ids(TradeLogReader(path, damaged="skip")) == [1, 3]


def test_other_spellings_of_json_are_read_too(path: Path) -> None:
    line = {
        "side": 2,
        "symbol": "BTC-USD",
        "timestamp": "2025-01-15T11:30:45.1+01:00",
        "quantity": Decimal("0.0050"),
        "price": 100,
        "sell_order_id": 1,
        "buy_order_id": 2,
        "trade_id": 5,
    }
    write_log(path, [rows([4])])
    with path.open("a") as file:
        file.write(json.dumps(line, default=float, ensure_ascii=True).replace("BTC", "\\u0042TC") + "\n")
    [_, found] = TradeLogReader(path, names=names())
    assert found == Trade(5, 1, 2, 10000, 5, "sell", instrument=BTC, ts_ns=START_NS - 23_000_000)


GRIDS = Names([BTC, ETH, Instrument('S"\\ü', "0.25", "1e-9"), Instrument("WIDE", "1e-30", "7")])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 2**63 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(1, 2**63 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 3),
            st.integers(1, 2),
        ),
        max_size=8,
    )
)
def test_the_kernel_reads_back_what_was_written(trades: list[tuple[int, ...]]) -> None:
    array = np.zeros(len(trades), rows([1]).dtype)
    array["kind"] = 3
    for row, fields in zip(array, trades, strict=True):
        for name, value in zip(
            ("trade_id", "taker_id", "maker_id", "price_ticks", "qty_lots", "ts_ns", "instrument", "side"), fields, strict=True
        ):
            row[name] = value
    text = trade_lines(array, GRIDS)
    found, ends = trade_rows(text, GRIDS, lambda spelt: GRIDS.instrument_index(json.loads(b'"' + spelt + b'"')))
    assert [text[end - 1 : end] for end in ends] == [b"\n"] * len(trades)
    sure = found["kind"] == 3
    assert (found[sure] == array[sure]).all()
    # What the kernel leaves to json are numbers and times at the end of their ranges.
    for row, ok in zip(array, sure, strict=True):
        usual = abs(int(row["price_ticks"])) < 2**40 and row["qty_lots"] < 2**30 and row["instrument"] < 3
        assert ok or not usual or not 1678 <= 1970 + int(row["ts_ns"]) / 31_556_952e9 <= 2261


LINE = trade_lines(mixed(range(2, 3)), names())


@settings(max_examples=1500, deadline=None)
@given(at=st.integers(0, len(LINE) - 2), byte=st.integers(0, 255), drop=st.integers(0, 2))
def test_what_the_kernel_takes_json_takes_too_and_the_same(at: int, byte: int, drop: int) -> None:
    text = LINE[:at] + bytes([byte]) * (drop != 1) + LINE[at + (drop != 2) :]
    found, ends = trade_rows(text, GRIDS, lambda spelt: GRIDS.instrument_index(spelt.decode(errors="replace")))
    for row, line in zip(found, text.split(b"\n")[: len(ends)], strict=True):
        if row["kind"] == 0:
            continue
        fields = read_object(line, "")
        number = GRIDS.instrument_index(read_symbol(fields, ""))
        expected = read_trade(fields, GRIDS.instruments[number], "", number)
        assert bytes(row) == bytes(expected)


def test_marks_change_with_every_bit() -> None:
    [mark], lowest, highest = line_marks(LINE)
    assert (lowest, highest) == (2, 2)
    for at in range(len(LINE) - 1):
        for bit in range(8):
            changed = bytearray(LINE)
            changed[at] ^= 1 << bit
            if changed[at] != 10:
                assert line_marks(bytes(changed))[0][0] != mark
    for length in range(40):
        assert len(set(line_marks(b"\0" * length + b"\n" + b"\0" * (length + 1) + b"\n")[0].tolist())) == 2


def test_marks_come_with_the_lowest_and_the_highest_id() -> None:
    text = trade_lines(rows([7, 3, 2**63 - 1, 5]), names())
    assert line_marks(text + b"x\n{}\n" + b'{"trade_id":0,\n{"trade_id":9223372036854775808,\n{"trade_id":01,\n')[1:] == (
        3,
        2**63 - 1,
    )
    for text in (b"", b"x", b"\n", b'{"trade_id":\n', b'{"trade_id":1\n'):
        assert line_marks(text)[1:] == (0, 0)
