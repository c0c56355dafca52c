"""What the encoders of JSON write, against the slow and obvious way."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyengine._core.json_lines import line_trade_ids, order_values, trade_lines, trade_values
from stores.extreme_records import known_names, orders, trades

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Names

if TYPE_CHECKING:
    from collections.abc import Callable

EXACT = Context(prec=2000, Emin=-5000, Emax=5000)
SEED = Instrument("BTC-USD", "0.1")


def shown(steps: Any, step: Decimal, decimals: int = 0) -> str:
    """Write a number of steps without an exponent and without zeros at the end, but with so many decimals."""
    text = format(EXACT.multiply(Decimal(int(steps)), step), "f")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(decimals, "0")
    return f"{whole}.{fraction}" if fraction else whole


def time_shown(ts_ns: Any) -> str:
    """Write a time as the fewest of 3, 6 or 9 decimals allow."""
    seconds, ns = divmod(int(ts_ns), 10**9)
    text = f"{ns:09}"
    fraction = next(text[:n] for n in (3, 6, 9) if int(text[n:] or 0) == 0)
    return f"{(datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()}.{fraction}Z"  # noqa: DTZ001  text only


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def slow_trade(row: Any, names: Names, *, seq: bool) -> str:
    instrument = names.instruments[row["instrument"]]
    ids = [row["taker_id"], row["maker_id"]]
    buyer, seller = ids if row["side"] == 1 else ids[::-1]
    price, quantity = shown(row["price_ticks"], instrument.tick_size, 1), shown(row["qty_lots"], instrument.lot_size)
    text = f'{{"trade_id":{row["trade_id"]},"buy_order_id":{buyer},"sell_order_id":{seller},"price":{price},'
    text += f'"quantity":{quantity},"timestamp":"{time_shown(row["ts_ns"])}","symbol":{quoted(instrument.symbol)},'
    return text + f'"side":{row["side"]}' + (f',"seq":{row["seq"]}}}' if seq else "}")


def slow_order(row: Any, names: Names) -> str:
    instrument = names.instruments[row["instrument"]]
    fields = {
        "order_id": row["order_id"],
        "user_id": quoted("" if row["user"] == 0 else names.users[row["user"]] or ""),
        "symbol": quoted(instrument.symbol),
        "order_type": row["order_type"],
        "side": row["side"],
        "price": "null" if row["order_type"] == 1 else shown(row["price_ticks"], instrument.tick_size, 1),
        "size": shown(row["qty_lots"], instrument.lot_size),
        "created_at": quoted(time_shown(row["created_ns"])),
        "updated_at": quoted(time_shown(row["updated_ns"])),
        "remaining": shown(row["remaining_lots"], instrument.lot_size),
        "status": row["status"],
        "tif": row["tif"],
        "client_order_id": row["client_id"],
        **{name: row[name] for name in ("version", "entered", "flags", "stp", "aux")},
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


def some_trades(count: int = 1) -> np.ndarray:
    rows = np.zeros(count, TRADE_DTYPE)
    rows["kind"], rows["side"], rows["qty_lots"], rows["trade_id"] = 3, 1, 10, np.arange(1, count + 1)
    return rows


def some_orders(count: int = 1) -> np.ndarray:
    rows = np.zeros(count, ORDER_RECORD_DTYPE)
    rows["side"], rows["order_type"], rows["status"], rows["qty_lots"], rows["remaining_lots"] = 1, 2, 1, 10, 10
    return rows


def test_a_line_is_as_the_format_says() -> None:
    rows = some_trades()
    rows["taker_id"], rows["maker_id"], rows["price_ticks"], rows["ts_ns"] = 42, 99, 1005, 1736937045123000000
    assert trade_lines(rows, Names([SEED])) == (
        b'{"trade_id":1,"buy_order_id":42,"sell_order_id":99,"price":100.5,"quantity":10,'
        b'"timestamp":"2025-01-15T10:30:45.123Z","symbol":"BTC-USD","side":1}\n'
    )
    rows["side"], rows["price_ticks"] = 2, 1010
    assert trade_lines(rows, Names([SEED])).startswith(b'{"trade_id":1,"buy_order_id":99,"sell_order_id":42,"price":101.0,')


def test_a_value_of_the_cache_ends_with_seq() -> None:
    rows = some_trades()
    rows["seq"] = 2**64 - 1
    (value,) = trade_values(rows, Names([SEED]))
    assert value.endswith(b'"symbol":"BTC-USD","side":1,"seq":18446744073709551615}')


def test_an_order_is_as_the_format_says() -> None:
    rows = some_orders()
    rows["order_id"], rows["user"], rows["price_ticks"], rows["remaining_lots"], rows["status"] = 7, 1, 1005, 4, 2
    rows["created_ns"], rows["updated_ns"], rows["client_id"], rows["version"], rows["aux"] = 0, 1, 5, 6, -7
    (value,) = order_values(rows, Names([SEED], ["al"]))
    assert value == (
        b'{"order_id":7,"user_id":"al","symbol":"BTC-USD","order_type":2,"side":1,"price":100.5,"size":10,'
        b'"created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000000001Z","remaining":4,"status":2,'
        b'"tif":0,"client_order_id":5,"version":6,"entered":0,"flags":0,"stp":0,"aux":-7}'
    )


@given(st.data())
def test_trades_are_written_as_the_slow_way_does(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(trades(names))
    text = trade_lines(rows, names)
    assert text.decode().split("\n") == [*(slow_trade(row, names, seq=False) for row in rows), ""]
    values = trade_values(rows, names)
    assert [value.decode() for value in values] == [slow_trade(row, names, seq=True) for row in rows]
    for row, value in zip(rows, values, strict=True):
        instrument = names.instruments[row["instrument"]]
        fields = json.loads(value, parse_float=Decimal)
        assert fields["symbol"] == instrument.symbol
        assert fields["price"] == EXACT.multiply(Decimal(int(row["price_ticks"])), instrument.tick_size)
        assert fields["quantity"] == EXACT.multiply(Decimal(int(row["qty_lots"])), instrument.lot_size)


@given(st.data())
def test_orders_are_written_as_the_slow_way_does(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(orders(names))
    values = order_values(rows, names)
    assert [value.decode() for value in values] == [slow_order(row, names) for row in rows]
    for row, value in zip(rows, values, strict=True):
        assert json.loads(value)["user_id"] == ("" if row["user"] == 0 else names.users[row["user"]])


def test_every_second_and_day_of_the_calendar_that_has_an_edge() -> None:
    days = np.arange(-106750, 106750, dtype="i8")
    rows = some_trades(len(days) * 2)
    rows["ts_ns"][0::2], rows["ts_ns"][1::2] = days * 86_400_000_000_000, days * 86_400_000_000_000 - 1
    lines = trade_lines(rows, Names([SEED])).decode().splitlines()
    written = np.array([line[line.index('"timestamp":"') + 13 : line.index('Z","symbol')] for line in lines], "M8[ns]")
    assert (written.astype("i8") == rows["ts_ns"]).all()


def test_every_number_of_eight_digits_that_has_an_edge() -> None:
    numbers = sorted({n * 10**k + d for n in range(1, 1000) for k in range(17) for d in (-1, 0, 1)})
    rows = some_trades(len(numbers))
    rows["taker_id"] = numbers
    lines = trade_lines(rows, Names([SEED])).decode().splitlines()
    assert [int(line.split(":")[2].split(",")[0]) for line in lines] == numbers


def test_nothing_is_written_of_no_rows() -> None:
    names = Names([SEED])
    assert (trade_lines(some_trades(0), names), trade_values(some_trades(0), names)) == (b"", [])
    assert order_values(some_orders(0), names) == []


def test_rows_apart_and_backwards_are_written_in_their_order() -> None:
    rows = some_trades(1000)
    lines = trade_lines(rows, Names([SEED])).splitlines(keepends=True)
    assert trade_lines(rows[::-3], Names([SEED])) == b"".join(lines[::-3])


def test_long_names_and_rows_of_all_lengths_find_room() -> None:
    names = Names([Instrument("\U0001f600" * 255, "1e-200", "1e-200"), SEED], ['"' * 255])
    rows = some_trades(5000)
    rows["instrument"][::1000] = 1
    rows["instrument"] = 1 - rows["instrument"]
    rows["price_ticks"] = 2**62
    assert trade_lines(rows, names).decode().splitlines() == [slow_trade(row, names, seq=False) for row in rows]
    wanted = some_orders(500)
    wanted["user"] = 1
    assert [value.decode() for value in order_values(wanted, names)] == [slow_order(row, names) for row in wanted]


def test_names_that_come_later_are_known() -> None:
    names = Names([SEED])
    trade_lines(some_trades(), names)
    for n in range(1, 300):
        names.add_user(f"user {n}")
        names.add_instrument(Instrument(f"S{n}", f"1e-{n % 30}"))
        rows, placed = some_trades(), some_orders()
        rows["instrument"] = placed["instrument"] = placed["user"] = n
        assert json.loads(trade_lines(rows, names))["symbol"] == f"S{n}"
        order = json.loads(order_values(placed, names)[0])
        assert (order["user_id"], order["symbol"]) == (f"user {n}", f"S{n}")


def test_numbers_that_nobody_knows_are_refused_by_row_and_field() -> None:
    names, rows, placed = Names([SEED]), some_trades(5), some_orders(5)
    rows["instrument"][3] = 1
    for encode in (trade_lines, trade_values):
        with pytest.raises(FieldError, match=r"trades\[3\]\.instrument must be .* that the store knows, was 1"):
            encode(rows, names)
    placed["user"][2] = 7
    with pytest.raises(FieldError, match=r"orders\[2\]\.user must be a name that the store knows, was 7"):
        order_values(placed, names)
    placed["user"] = 0
    placed["instrument"][4] = 2**32 - 1
    with pytest.raises(FieldError, match=r"orders\[4\]\.instrument must be .* was 4294967295"):
        order_values(placed, names)


@pytest.mark.parametrize(("field", "value"), [("kind", 1), ("side", 0), ("trade_id", 0), ("qty_lots", 0)])
def test_rows_that_are_no_trades_are_refused(field: str, value: int) -> None:
    rows = some_trades(9)
    rows[field][7] = value
    with pytest.raises(FieldError, match=rf"trades\[7\]\.{field} must be"):
        trade_lines(rows, Names([SEED]))


@pytest.mark.parametrize(("field", "value"), [("status", 0), ("side", 3), ("remaining_lots", 11), ("reserved", 1)])
def test_rows_that_are_no_orders_are_refused(field: str, value: int) -> None:
    rows = some_orders(9)
    rows[field][8] = value
    with pytest.raises(FieldError, match=rf"orders\[8\]\.{field} must be"):
        order_values(rows, Names([SEED]))


def test_other_arguments_are_refused() -> None:
    calls: list[tuple[Callable[..., Any], np.ndarray]] = [
        (trade_lines, some_orders()),
        (trade_values, some_orders()),
        (order_values, some_trades()),
    ]
    for encode, rows in calls:
        for wrong in (rows, [], None, np.zeros(3), rows.tobytes()):
            with pytest.raises(FieldTypeError):
                encode(wrong, Names([SEED]))
    with pytest.raises(FieldTypeError, match="names must be Names, was None"):
        trade_lines(some_trades(), None)  # type: ignore[arg-type]
    with pytest.raises(FieldError, match="of one dimension"):
        trade_lines(np.zeros((2, 2), TRADE_DTYPE), Names([SEED]))


def test_a_step_of_too_many_digits_is_refused_and_the_others_work_on() -> None:
    names = Names([SEED, Instrument("X", Decimal("1." + "3" * 700))])
    rows = some_trades()
    rows["instrument"] = 1
    for _ in range(2):
        with pytest.raises(FieldError, match="step must be a number of at most 620 digits"):
            trade_lines(rows, names)
    rows["instrument"] = 0
    assert trade_lines(rows, names)


def test_names_grow_while_other_threads_write() -> None:
    names = Names([SEED])
    rows = some_orders(2000)
    wrong: list[object] = []

    def write() -> None:
        for _ in range(60):
            known = len(names.users) - 1
            if known:
                rows_here = rows.copy()
                rows_here["user"] = 1 + np.arange(len(rows)) % known
                found = [json.loads(value)["user_id"] for value in order_values(rows_here, names)[:: len(rows) // 7]]
                wrong.extend(user for user in found if user not in names.users)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(3000):
        names.add_user(f"u{n}")
    for thread in threads:
        thread.join()
    assert not wrong


def test_writing_into_the_array_meanwhile_crashes_nothing() -> None:
    names = Names([SEED])
    rows = some_trades(200_000)
    stop = threading.Event()

    def scribble() -> None:
        generator = np.random.default_rng(1)
        while not stop.is_set():
            rows["instrument"] = 0
            rows["instrument"][generator.integers(0, len(rows), 10)] = 2**32 - 1

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(20):
            try:
                text = trade_lines(rows, names)
            except FieldError:
                continue
            assert text.count(b"\n") == len(rows)
    finally:
        stop.set()
        thread.join()


@given(st.lists(st.integers(1, 2**63 - 1)))
def test_the_ids_of_lines_are_found(ids: list[int]) -> None:
    rows = some_trades(len(ids))
    rows["trade_id"] = ids
    text = trade_lines(rows, Names([SEED]))
    assert line_trade_ids(text).tolist() == ids
    assert line_trade_ids(bytearray(text + text[:50])).tolist() == ids, "a line without its end isn't one"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"trade_id":',
        b'{"trade_id":}',
        b'{"trade_id":1}',
        b'{"trade_id":1,',
        b'{"trade_id":0,"x":1}',
        b'{"trade_id":01,"x":1}',
        b'{"trade_id":-1,"x":1}',
        b'{"trade_id":1.5,"x":1}',
        b'{"trade_id": 1,"x":1}',
        b'{"trade_id":9223372036854775808,"x":1}',
        b'{"trade_id":99999999999999999999,"x":1}',
        b'{"trade_id":18446744073709551617,"x":1}',
        b"\0" * 50,
    ],
)
def test_lines_that_are_none_of_ours_have_no_id(line: bytes) -> None:
    mine = trade_lines(some_trades(), Names([SEED]))
    assert line_trade_ids(mine + line + b"\n" + mine).tolist() == [1, 0, 1]
