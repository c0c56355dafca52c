"""What is read out of the JSON of orders and trades is what was written, or else nobody believes it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyengine._core.json_lines import order_values, trade_lines, trade_values
from stores.extreme_records import known_names, orders, trades

from pyengine.instrument import Instrument
from pyengine.store_errors import StoreDamaged
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, Trade
from pyengine.stores.json_form import instrument_value, read_instrument, read_object, read_order, read_symbol, read_trade

BTC = Instrument("BTC-USD", "0.5", "0.25")
PLACE = "a place"
ORDER: dict[str, Any] = {
    "order_id": 7,
    "user_id": "alice",
    "symbol": "BTC-USD",
    "order_type": 2,
    "side": 1,
    "price": Decimal("100.5"),
    "size": 3,
    "created_at": "2025-01-15T10:30:45.123Z",
    "updated_at": "2025-01-15T10:30:45.123456789Z",
    "remaining": Decimal("2.75"),
    "status": 2,
    "tif": 0,
    "client_order_id": 9,
    "version": 2**64 - 1,
    "entered": 5,
    "flags": 1,
    "stp": 0,
    "aux": -1,
}
TRADE: dict[str, Any] = {
    "trade_id": 1,
    "buy_order_id": 42,
    "sell_order_id": 99,
    "price": Decimal("100.5"),
    "quantity": 10,
    "timestamp": "2025-01-15T10:30:45.123Z",
    "symbol": "BTC-USD",
    "side": 2,
    "seq": 8,
}


@given(st.data())
def test_orders_come_back_as_they_were(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(orders(names))
    # A market order has no price to come back with.
    rows["price_ticks"][rows["order_type"] == 1] = 0
    for row, value in zip(rows, order_values(rows, names), strict=True):
        fields = read_object(value, PLACE)
        instrument = names.instruments[row["instrument"]]
        assert read_symbol(fields, PLACE) == instrument.symbol
        order = read_order(fields, instrument, PLACE)
        row["instrument"], user = 0, names.user(row["user"])
        row["user"] = 0
        assert bytes(order) == row.tobytes()
        assert order.user == user


@given(st.data())
def test_trades_come_back_as_they_were(data: st.DataObject) -> None:
    names = data.draw(known_names())
    rows = data.draw(trades(names))
    rows["flags"] = 0
    lines = trade_lines(rows, names).splitlines()
    for row, value, line in zip(rows, trade_values(rows, names), lines, strict=True):
        instrument = names.instruments[row["instrument"]]
        row["instrument"] = 0
        assert bytes(read_trade(read_object(value, PLACE), instrument, PLACE)) == row.tobytes()
        row["seq"] = 0
        assert bytes(read_trade(read_object(line.decode(), PLACE), instrument, PLACE)) == row.tobytes()


@given(known_names())
def test_instruments_come_back_as_they_were(names: Names) -> None:
    for instrument in names.instruments:
        assert read_instrument(instrument_value(instrument), PLACE) == instrument


def test_an_order_of_another_writer() -> None:
    """Spaces, another order of the fields, whole prices and a zone of time are all the same."""
    text = json.dumps(ORDER | {"price": 101, "remaining": 2.75, "created_at": "2025-01-15T12:30:45+02:00"}, indent=1)
    order = read_order(read_object(text, PLACE), BTC, PLACE)
    assert order.price == 101
    assert order.created_ns == 1736937045 * 10**9
    assert order.remaining_lots == 11
    assert order.user == "alice"
    nobody = read_order(ORDER | {"user_id": ""}, BTC, PLACE)
    assert nobody.user is None
    assert read_order(ORDER | {"order_type": 1, "price": None}, BTC, PLACE).price is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price": Decimal("100.3")}, "price must be a multiple of 0.5, was Decimal('100.3')"),
        ({"price": Decimal("1e400000")}, "price must be below 2"),
        ({"price": 10**4000}, "price must be below 2"),
        ({"price": 10**30}, "price must be below 2"),
        ({"price": None}, "price must be a number, was None"),
        ({"price": "100.5"}, "price must be a number, was '100.5'"),
        ({"price": True}, "price must be a number, was True"),
        ({"order_type": 1}, "price must be null for a market order"),
        ({"order_type": 3}, "order_type must be"),
        ({"order_type": 9}, "order_type must be"),
        ({"size": 0}, "qty_lots must be"),
        ({"size": Decimal("0.1")}, "size must be a multiple of 0.25"),
        ({"size": 2**61}, "qty_lots must be an int from"),
        ({"remaining": 4}, "remaining_lots must be"),
        ({"status": 1}, "status must be"),
        ({"status": 0}, "status must be"),
        ({"side": 3}, "side must be"),
        ({"side": "buy"}, "side must be a whole number, was 'buy'"),
        ({"side": True}, "side must be a whole number, was True"),
        ({"side": Decimal("1.0")}, "side must be a whole number"),
        ({"order_id": -1}, "order_id must be"),
        ({"order_id": 2**64}, "order_id must be"),
        ({"version": None}, "version must be a whole number"),
        ({"user_id": None}, "user_id must be a text"),
        ({"user_id": 5}, "user_id must be a text"),
        ({"user_id": "x" * 256}, "user must be"),
        ({"user_id": "a\nb"}, "user must be"),
        ({"created_at": "2025-02-30T10:30:45Z"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "2025-01-15T24:00:00Z"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "2025-01-15T10:30:45"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "2025-01-15T10:30:45.1234567891Z"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "٢٠٢٥-01-15T10:30:45Z"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "0000-01-15T10:30:45Z"}, "created_at must be an RFC 3339 time"),
        ({"created_at": "2263-01-15T10:30:45Z"}, "created_ns must be"),
        ({"created_at": 1736937045}, "created_at must be a text"),
        ({"flags": 256}, "flags must be"),
        ({"tif": 77}, "tif must be"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StoreDamaged) as caught:
        read_order(ORDER | changes, BTC, PLACE)
    assert str(caught.value).startswith(f"a place: {said}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", sorted(ORDER))
def test_a_field_that_is_missing_from_an_order(name: str) -> None:
    fields = {key: value for key, value in ORDER.items() if key != name}
    with pytest.raises(StoreDamaged, match=f"a place: {name} must be there, was 'missing'"):
        read_symbol(fields, PLACE) and read_order(fields, BTC, PLACE)


@pytest.mark.parametrize("name", sorted(set(TRADE) - {"seq"}))
def test_a_field_that_is_missing_from_a_trade(name: str) -> None:
    fields = {key: value for key, value in TRADE.items() if key != name}
    with pytest.raises(StoreDamaged, match=f"a place: {name} must be there, was 'missing'"):
        read_symbol(fields, PLACE) and read_trade(fields, BTC, PLACE)


@pytest.mark.parametrize(
    "changes",
    [
        {"side": 0},
        {"trade_id": 0},
        {"trade_id": 2**63},
        {"quantity": 0},
        {"price": Decimal("NaN")},
        {"seq": -1},
        {"buy_order_id": 1.0},
    ],
)
def test_a_trade_that_cannot_be(changes: dict[str, Any]) -> None:
    assert read_trade(TRADE, BTC, PLACE) == Trade(1, 99, 42, 201, 40, 2, instrument=BTC, ts_ns=1736937045_123000000, seq=8)
    with pytest.raises(StoreDamaged, match=r"^a place: "):
        read_trade(TRADE | changes, BTC, PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '"x"',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":1' + "0" * 5000 + "}",
        "[" * 100_000,
        b"\xff\xfe",
        "{} x",
    ],
)
def test_what_is_no_object(text: bytes | str) -> None:
    with pytest.raises(StoreDamaged) as caught:
        read_object(text, PLACE)
    assert str(caught.value).startswith("a place: value must be a JSON object, was ")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("symbol", ["", "a\x00b", "\ud800", "x" * 256, None, 5])
def test_what_is_no_symbol(symbol: Any) -> None:
    with pytest.raises(StoreDamaged, match=r"^a place: symbol must be "):
        read_symbol({"symbol": symbol}, PLACE)


def test_an_instrument_that_cannot_be() -> None:
    good = json.loads(instrument_value(BTC))
    for name, value in (("tick_size", "0"), ("tick_size", 0.5), ("lot_size", "NaN"), ("max_price", "0.7"), ("symbol", "")):
        with pytest.raises(StoreDamaged, match=r"^a place: "):
            read_instrument(json.dumps(good | {name: value}), PLACE)
    with pytest.raises(StoreDamaged, match="lot_size must be there"):
        read_instrument(json.dumps({k: v for k, v in good.items() if k != "lot_size"}), PLACE)


def test_limits_of_an_instrument() -> None:
    plain = json.loads(instrument_value(BTC))
    assert plain == {"symbol": "BTC-USD", "tick_size": "0.5", "lot_size": "0.25"}
    narrow = Instrument("N", "0.5", 1, min_price=-5, max_price="7.5", min_qty=2, max_qty=9)
    assert json.loads(instrument_value(narrow))["min_price"] == "-5.0"
    assert read_instrument(instrument_value(narrow), PLACE) == narrow
    long = Instrument("L", Decimal("1." + "7" * 900), Decimal("1e-200"))
    assert read_instrument(instrument_value(long), PLACE) == long


def test_no_float_on_the_way() -> None:
    fine = Instrument("FINE", "0.000000000000000001", 1)
    order = Order(1, "buy", instrument=fine, price="1.000000000000000001", qty=1)
    (value,) = order_values(np.frombuffer(bytes(order), ORDER_RECORD_DTYPE), Names([fine]))
    assert read_order(read_object(value, PLACE), fine, PLACE).price_ticks == 10**18 + 1
