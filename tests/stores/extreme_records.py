"""Hypothesis strategies of records at the edges of what their fields hold, with names that are awkward to quote."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, Names

STEPS = [
    "1",
    "0.01",
    "0.25",
    "2.5e3",
    "1e-10",
    "1e-18",
    "1e-19",
    "1e-20",
    "3e-7",
    "0.00000001",
    "7",
    "1e30",
    "123456789.987654321",
]
"""Tick and lot sizes: of few digits and many, with and without decimals, and whose multiples exceed 64 bits."""

LONG_STEPS = ["1e-200", "9" * 200, "1." + "7" * 300, "1e200", f"{2**64 - 1}", f"{2**64}", "0." + "0" * 19 + "123456789" * 30]

INT64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), -(2**63) + 1, -1, 0, 1, 2**62, 2**62 - 1, 2**63 - 1])
)
UINT64 = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 99999999, 10**8, 10**16 - 1, 10**16, 2**63, 2**64 - 1]))
POSITIVE = st.one_of(st.integers(1, 2**63 - 1), st.sampled_from([1, 10, 10**8, 2**62, 2**63 - 1]))
SIZES = st.one_of(POSITIVE, st.integers(1, 10**6))
PRICES = st.one_of(INT64, st.integers(-(10**9), 10**9))
TIMES = st.one_of(
    INT64,
    st.builds(lambda n, zeros: n // 10**zeros * 10**zeros, st.integers(-(2**62), 2**62), st.integers(1, 10)),
)

NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12),
    st.sampled_from(['"', "\\", '\\"\\', 'it\'s "quoted"', "日本𠀀", "user:*", "x" * 255, "\U0001f600" * 255, "a b"]),
).filter(str.isprintable)


@st.composite
def known_names(draw: Any, *, long_steps: bool = True) -> Names:
    """Draw instruments and users."""
    steps = st.one_of(
        st.sampled_from(STEPS + (LONG_STEPS if long_steps else [])),
        st.decimals(Decimal("1e-12"), Decimal("1e6"), allow_nan=False).map(str),
    )
    symbols = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return Names(
        [Instrument(symbol, draw(steps), draw(steps)) for symbol in symbols], draw(st.lists(NAMES, max_size=4, unique=True))
    )


def _fill(draw: Any, row: Any, fields: dict[str, st.SearchStrategy[int]]) -> None:
    for field, values in fields.items():
        row[field] = draw(values)


@st.composite
def trades(draw: Any, names: Names, most: int = 6) -> np.ndarray:
    """Draw trades of the instruments of `names`."""
    rows = np.zeros(draw(st.integers(0, most)), TRADE_DTYPE)
    rows["kind"] = 3
    for row in rows:
        fields = {"seq": UINT64, "ts_ns": TIMES, "taker_id": UINT64, "maker_id": UINT64, "price_ticks": PRICES}
        _fill(draw, row, fields | {"qty_lots": SIZES, "trade_id": POSITIVE, "side": st.integers(1, 2)})
        row["instrument"] = draw(st.integers(0, len(names.instruments) - 1))
        row["flags"] = draw(st.integers(0, 3))
    return rows


@st.composite
def orders(draw: Any, names: Names, most: int = 6) -> np.ndarray:
    """Draw orders of the instruments and users of `names`."""
    rows = np.zeros(draw(st.integers(0, most)), ORDER_RECORD_DTYPE)
    byte = st.integers(0, 255)
    for row in rows:
        fields = {"order_id": UINT64, "price_ticks": PRICES, "created_ns": TIMES, "updated_ns": TIMES, "version": UINT64}
        _fill(draw, row, fields | {"client_id": UINT64, "aux": INT64, "entered": UINT64, "flags": byte, "qty_lots": SIZES})
        small = {"side": st.integers(1, 2), "order_type": st.sampled_from([1, 2, 4, 5]), "tif": st.integers(0, 4)}
        _fill(draw, row, small | {"stp": st.integers(0, 5), "status": st.integers(1, 4)})
        row["instrument"] = draw(st.integers(0, len(names.instruments) - 1))
        row["user"] = draw(st.integers(0, len(names.users) - 1))
        row["remaining_lots"] = row["qty_lots"]
        if row["status"] == 3:
            row["remaining_lots"] = 0
        elif row["status"] == 2:
            row["qty_lots"] = max(2, row["qty_lots"])
            row["remaining_lots"] = draw(st.integers(1, int(row["qty_lots"]) - 1))
    return rows
