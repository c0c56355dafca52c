"""The way onto the grid and back is exact, and what isn't on it is refused by name."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument

LARGEST = 2**62 - 1
BTC = Instrument("BTC-USD", tick_size="0.01", lot_size="0.00000001")


@pytest.mark.parametrize(
    ("price", "ticks"),
    [
        ("6190.84", 619084),
        (Decimal("6190.84"), 619084),
        (6190.84, 619084),
        (6190, 619000),
        ("6.19084e3", 619084),
        ("0.01", 1),
        (0.01, 1),
        (0.07, 7),
        (1.1, 110),
        (0.29, 29),
        (np.float64(0.57), 57),
        (np.int64(3), 300),
        (np.uint8(3), 300),
        (np.str_("1.50"), 150),
        ("46116860184273879.03", LARGEST),
        (Decimal("1.000000000000000000000000000000000000000"), 100),
    ],
)
def test_price_becomes_exact_ticks(price: Any, ticks: int) -> None:
    assert BTC.price_to_ticks(price) == ticks
    assert type(BTC.price_to_ticks(price)) is int


@pytest.mark.parametrize(
    ("qty", "lots"),
    [
        ("0.5", 50_000_000),
        (0.1, 10_000_000),
        ("0.00000001", 1),
        (1e-8, 1),
        (Decimal("1E-8"), 1),
        (21_000_000, 21 * 10**14),
    ],
)
def test_size_becomes_exact_lots(qty: Any, lots: int) -> None:
    assert BTC.qty_to_lots(qty) == lots


@given(st.integers(1, LARGEST), st.sampled_from(["1", "0.01", "0.25", "0.00000001", "5", "1e-30", "0.3", "1e18"]))
def test_ticks_survive_the_round_trip_as_decimal_and_as_text(ticks: int, tick_size: str) -> None:
    instrument = Instrument("X", tick_size, tick_size)
    price = instrument.ticks_to_price(ticks)
    assert Fraction(price) == ticks * Fraction(Decimal(tick_size))
    assert instrument.price_to_ticks(price) == ticks
    assert instrument.price_to_ticks(f"{price:f}") == ticks
    assert instrument.lots_to_qty(ticks) == price
    assert instrument.qty_to_lots(str(price)) == ticks


@given(st.integers(1, 10**15 - 1))
def test_every_float_that_prints_on_the_grid_is_on_the_grid(cents: int) -> None:
    assert BTC.price_to_ticks(cents / 100) == cents


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("0.005", "a multiple of 0.01"),
        (0.015, "a multiple of 0.01"),
        (Decimal("100.001"), "a multiple of 0.01"),
        ("100.0000000000000000000000000000000000000000001", "a multiple of 0.01"),
        (float("nan"), "finite"),
        ("NaN", "finite"),
        (Decimal("sNaN"), "finite"),
        (float("inf"), "finite"),
        (float("-inf"), "finite"),
        ("Infinity", "finite"),
        (np.float64("nan"), "finite"),
        (0, "from 0.01 to"),
        (0.0, "from 0.01 to"),
        (-0.0, "from 0.01 to"),
        ("-0", "from 0.01 to"),
        ("0e500000", "from 0.01 to"),
        (-1, "from 0.01 to"),
        ("-0.01", "from 0.01 to"),
        ("46116860184273879.04", "2**62 - 1 steps"),
        (2**62, "2**62 - 1 steps"),
        (2**63, "2**62 - 1 steps"),
        (10**100, "2**62 steps"),
        pytest.param(-(10**5000), "2**62 steps", id="huge"),
        (1e300, "1e200"),
        (5e-324, "1e-200"),
        ("1e999999999", "1e200"),
        ("1e99999999999999999999999999", "a decimal number"),
        ("", "a decimal number"),
        ("abc", "a decimal number"),
        ("1,5", "a decimal number"),
        ("0x10", "a decimal number"),
        ("1\0", "a decimal number"),
        ("\ud800", "a decimal number"),
        ("9" * 401, "at most 400 characters"),
    ],
)
def test_unacceptable_price_is_refused_with_field_value_and_expectation(price: Any, expected: str) -> None:
    with pytest.raises(FieldError) as caught:
        BTC.price_to_ticks(price)
    assert caught.value.field == "price"
    assert caught.value.value is price
    assert expected in caught.value.expected
    assert str(caught.value).startswith("price must be ")


@pytest.mark.parametrize(
    "price",
    [
        None,
        True,
        np.True_,
        b"1",
        [1],
        (1,),
        {},
        1 + 0j,
        np.complex128(1),
        object(),
        float,
        np.array([1]),
        np.array([[1.0]]),
        np.datetime64(5, "ns"),
        np.timedelta64(5, "ns"),
        np.longdouble(1),
        np.void(b"12345678"),
        Fraction(1, 3),
        memoryview(b"1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_price_of_another_type_is_a_type_error_of_ours(price: Any) -> None:
    with pytest.raises(FieldTypeError) as caught:
        BTC.price_to_ticks(price)
    assert isinstance(caught.value, FieldError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.field == "price"


@pytest.mark.parametrize("qty", ["0.000000001", 0, -1, "nan", float("inf"), 2**62, 1e-9, "x"])
def test_unacceptable_size_is_refused(qty: Any) -> None:
    with pytest.raises(FieldError) as caught:
        BTC.qty_to_lots(qty)
    assert caught.value.field == "qty"


def test_limits_are_inclusive() -> None:
    limited = Instrument("L", "0.5", "0.1", min_price="1.5", max_price=2, min_qty="0.2", max_qty="0.4")
    assert [limited.price_to_ticks(p) for p in ("1.5", "2.0")] == [3, 4]
    assert [limited.qty_to_lots(q) for q in ("0.2", "0.4")] == [2, 4]
    for price in ("1.0", "2.5"):
        with pytest.raises(FieldError, match=r"from 1\.5 to 2"):
            limited.price_to_ticks(price)
    for qty in ("0.1", "0.5"):
        with pytest.raises(FieldError, match=r"from 0\.2 to 0\.4"):
            limited.qty_to_lots(qty)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"symbol": ""}, "symbol"),
        ({"symbol": "x" * 256}, "symbol"),
        ({"symbol": "a\nb"}, "symbol"),
        ({"symbol": "a\0"}, "symbol"),
        ({"symbol": None}, "symbol"),
        ({"symbol": b"BTC"}, "symbol"),
        ({"symbol": 1}, "symbol"),
        ({"tick_size": 0}, "tick_size"),
        ({"tick_size": "-0.01"}, "tick_size"),
        ({"tick_size": float("nan")}, "tick_size"),
        ({"tick_size": "inf"}, "tick_size"),
        ({"tick_size": None}, "tick_size"),
        ({"tick_size": "1e-300"}, "tick_size"),
        ({"lot_size": 0}, "lot_size"),
        ({"lot_size": -1}, "lot_size"),
        ({"lot_size": True}, "lot_size"),
        ({"min_price": "0.001"}, "min_price"),
        ({"min_price": 2, "max_price": 1}, "max_price"),
        ({"max_price": "0.015"}, "max_price"),
        ({"max_price": 2**62}, "max_price"),
        ({"min_qty": 0}, "min_qty"),
        ({"min_qty": -1}, "min_qty"),
        ({"min_qty": 2, "max_qty": 1}, "max_qty"),
        ({"max_qty": "nan"}, "max_qty"),
        ({"max_qty": 2**62}, "max_qty"),
    ],
)
def test_impossible_instrument_is_refused_by_field(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        Instrument(**{"symbol": "X", "tick_size": "0.01", "lot_size": 1, **arguments})
    assert caught.value.field == field


def test_instrument_is_frozen_comparable_hashable_and_survives_a_pickle() -> None:
    twin = Instrument("BTC-USD", tick_size="0.01", lot_size="0.00000001")
    assert twin == BTC
    assert hash(twin) == hash(BTC)
    assert pickle.loads(pickle.dumps(BTC)) == BTC
    assert copy.deepcopy(BTC) == BTC
    assert Instrument("BTC-USD", "0.1") != BTC
    with pytest.raises(AttributeError):
        BTC.symbol = "ETH-USD"  # type: ignore[misc]


def test_error_keeps_its_parts_through_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(FieldError("price", "x", "a decimal number")))
    assert (error.field, error.value, error.expected) == ("price", "x", "a decimal number")
    assert str(error) == "price must be a decimal number, was 'x'"


def test_value_whose_repr_fails_or_never_ends_doesnt_hide_the_complaint() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(FieldTypeError, match="Loud whose repr raised RuntimeError"):
        BTC.price_to_ticks(Loud())  # type: ignore[arg-type]
    with pytest.raises(FieldError) as caught:
        BTC.price_to_ticks("1" * 100_000)
    assert len(str(caught.value)) < 300
