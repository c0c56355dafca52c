"""What the encoders of binary COPY write, read back by a slow and obvious decoder."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyengine._core.pg_copy import ORDER_COLUMNS, TRADE_COLUMNS, order_rows, trade_rows
from stores.extreme_records import known_names, orders, trades

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Names

EXACT = Context(prec=2000, Emin=-5000, Emax=5000)
BTC = Instrument("BTC-USD", "0.01", "0.001")

TYPES = {
    "price": "numeric",
    "quantity": "numeric",
    "size": "numeric",
    "remaining": "numeric",
    "timestamp": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "symbol": "text",
    "user_id": "text",
    "order_type": "int4",
    "side": "int4",
    "taker_side": "int2",
    "status": "int2",
    "tif": "int2",
    "flags": "int2",
    "stp": "int2",
}
"""Types of the columns that aren't bigints."""


def numeric(value: bytes) -> Decimal:
    """Read a numeric as the server does, and check all that it would refuse or silently cut off."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", value)
    digits = struct.unpack_from(f">{count}H", value, 8)
    assert len(value) == 8 + 2 * count
    assert sign in (0, 0x4000)
    assert scale <= 0x3FFF
    assert all(digit < 10000 for digit in digits)
    assert not digits or (digits[0] != 0 and digits[-1] != 0), "zeros at the ends are for nothing"
    assert digits or (sign, weight) == (0, 0), "zero has one form"
    exact: Decimal = sum_exactly(digits, weight)
    shown = EXACT.quantize(exact, Decimal(1).scaleb(-scale))
    assert shown == exact, "the display scale would cut digits off"
    return EXACT.minus(exact) if sign else exact


def sum_exactly(digits: tuple[int, ...], weight: int) -> Decimal:
    """Add up the digits of base 10,000 as integers, then place the point."""
    whole = 0
    for digit in digits:
        whole = whole * 10000 + digit
    return EXACT.scaleb(Decimal(whole), 4 * (weight - len(digits) + 1))


def field(value: bytes, kind: str) -> Any:
    if kind == "numeric":
        return numeric(value)
    if kind == "text":
        return value.decode()
    if kind == "timestamptz":
        return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=struct.unpack(">q", value)[0])
    return struct.unpack({"int2": ">h", "int4": ">i", "int8": ">q"}[kind], value)[0]


def decoded(stream: bytes, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Read a whole COPY stream."""
    assert stream.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    at = 19
    while (count := struct.unpack_from(">h", stream, at)[0]) != -1:
        assert count == len(columns)
        at += 2
        row = {}
        for name in columns:
            (size,) = struct.unpack_from(">i", stream, at)
            at += 4
            row[name] = None if size == -1 else field(stream[at : at + size], TYPES.get(name, "int8"))
            at += max(size, 0)
        yield row
    assert at + 2 == len(stream)


def value(steps: Any, step: Decimal) -> Decimal:
    return EXACT.multiply(Decimal(int(steps)), step)


def time(ts_ns: Any) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ts_ns) // 1000)


def signed(number: Any) -> int:
    """Take the bits of an unsigned number for a signed one."""
    return int(np.uint64(number).astype("i8"))


def some_trades(count: int = 1) -> np.ndarray:
    rows = np.zeros(count, TRADE_DTYPE)
    rows["kind"], rows["side"], rows["qty_lots"], rows["trade_id"] = 3, 1, 10, np.arange(1, count + 1)
    return rows


def some_orders(count: int = 1) -> np.ndarray:
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    rows["side"], rows["order_type"], rows["status"], rows["qty_lots"], rows["remaining_lots"] = 1, 2, 1, 10, 10
    return rows


@given(st.data())
def test_trades_are_read_back_exactly(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(trades(names))
    found = list(decoded(trade_rows(rows, names), TRADE_COLUMNS))
    assert len(found) == len(rows)
    for row, columns in zip(rows, found, strict=True):
        instrument = names.instruments[row["instrument"]]
        buyer, seller = (row["taker_id"], row["maker_id"]) if row["side"] == 1 else (row["maker_id"], row["taker_id"])
        assert columns == {
            "trade_id": row["trade_id"],
            "buy_order_id": signed(buyer),
            "sell_order_id": signed(seller),
            "price": value(row["price_ticks"], instrument.tick_size),
            "quantity": value(row["qty_lots"], instrument.lot_size),
            "timestamp": time(row["ts_ns"]),
            "symbol": instrument.symbol,
            "taker_side": row["side"],
            "seq": signed(row["seq"]),
            "timestamp_ns": row["ts_ns"],
        }


@given(st.data())
def test_orders_are_read_back_exactly(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(orders(names))
    found = list(decoded(order_rows(rows, names), ORDER_COLUMNS))
    assert len(found) == len(rows)
    for row, columns in zip(rows, found, strict=True):
        instrument = names.instruments[row["instrument"]]
        expected = {name: row[name] for name in ("order_type", "side", "status", "tif", "flags", "stp", "aux")}
        expected |= {name: signed(row[name]) for name in ("order_id", "version", "entered")}
        assert columns == expected | {
            "user_id": "" if row["user"] == 0 else names.users[row["user"]],
            "symbol": instrument.symbol,
            "price": None if row["order_type"] == 1 else value(row["price_ticks"], instrument.tick_size),
            "size": value(row["qty_lots"], instrument.lot_size),
            "remaining": value(row["remaining_lots"], instrument.lot_size),
            "created_at": time(row["created_ns"]),
            "updated_at": time(row["updated_ns"]),
            "client_order_id": signed(row["client_id"]),
            "created_ns": row["created_ns"],
            "updated_ns": row["updated_ns"],
        }


@given(ticks=st.integers(-(2**63), 2**63 - 1), scale=st.integers(0, 40), mantissa=st.integers(1, 10**25))
def test_numbers_of_every_size_and_scale(ticks: int, scale: int, mantissa: int) -> None:
    names = Names([Instrument("X", Decimal(mantissa).scaleb(-scale, EXACT))])
    rows = some_trades()
    rows["price_ticks"] = ticks
    (columns,) = decoded(trade_rows(rows, names), TRADE_COLUMNS)
    assert columns["price"] == value(ticks, names.instruments[0].tick_size)


def test_a_number_shows_the_decimals_of_its_grid() -> None:
    rows = some_trades()
    rows["price_ticks"] = 12300
    stream = trade_rows(rows, Names([BTC]))
    assert struct.pack(">iHhHHH", 10, 1, 0, 0, 2, 123) in stream


def test_times_are_rounded_down_on_both_sides_of_every_epoch() -> None:
    rows = some_trades(6)
    rows["ts_ns"] = [-1, 0, 999, 946684799999999999, 946684800000000000, -(2**63)]
    found = [row["timestamp"] for row in decoded(trade_rows(rows, Names([BTC])), TRADE_COLUMNS)]
    assert found == [time(ts) for ts in rows["ts_ns"]]
    assert found[0] == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_no_rows_are_a_whole_stream_too() -> None:
    names = Names([BTC])
    assert (
        trade_rows(some_trades(0), names) == order_rows(some_orders(0), names) == b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"
    )


def test_rows_of_all_lengths_find_room() -> None:
    names = Names([Instrument("\U0001f600" * 255, "1e-200", "1e200"), BTC], ["日" * 255])
    rows, placed = some_trades(3000), some_orders(3000)
    rows["instrument"][::7] = placed["instrument"][::7] = 1
    placed["user"][::5] = 1
    rows["price_ticks"] = placed["price_ticks"] = -(2**63)
    assert [row["trade_id"] for row in decoded(trade_rows(rows, names), TRADE_COLUMNS)] == list(range(1, 3001))
    found = list(decoded(order_rows(placed, names), ORDER_COLUMNS))
    assert [row["user_id"] for row in found[:6]] == ["日" * 255, "", "", "", "", "日" * 255]
    assert {row["price"] for row in found} == {value(-(2**63), Decimal("1e-200")), value(-(2**63), Decimal("0.01"))}


def test_what_cannot_be_is_refused_by_row_and_field() -> None:
    names, rows, placed = Names([BTC]), some_trades(5), some_orders(5)
    rows["instrument"][3] = 1
    with pytest.raises(FieldError, match=r"trades\[3\]\.instrument must be .* that the store knows, was 1"):
        trade_rows(rows, names)
    rows["side"][1] = 7
    with pytest.raises(FieldError, match=r"trades\[1\]\.side must be"):
        trade_rows(rows, names)
    placed["user"][2] = 7
    with pytest.raises(FieldError, match=r"orders\[2\]\.user must be a name that the store knows, was 7"):
        order_rows(placed, names)
    placed["instrument"][1] = 9
    with pytest.raises(FieldError, match=r"orders\[1\]\.instrument must be .* was 9"):
        order_rows(placed, names)
    placed["tif"][0] = 9
    with pytest.raises(FieldError, match=r"orders\[0\]\.tif must be"):
        order_rows(placed, names)


def test_other_arguments_are_refused() -> None:
    for encode, rows in ((trade_rows, some_orders()), (order_rows, some_trades())):
        for wrong in (rows, [], None, np.zeros(3)):
            with pytest.raises(FieldTypeError):
                encode(wrong, Names([BTC]))
    with pytest.raises(FieldTypeError, match="names must be Names, was 'x'"):
        order_rows(some_orders(), "x")  # type: ignore[arg-type]
