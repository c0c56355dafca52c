"""Commands as columns: whatever table they come from, they do what the same rows do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from command_streams import MIXES, NAMED, random_rows
from side_by_side import new_engine

from pyengine import commands_from, make_commands
from pyengine.records import COMMAND_DTYPE, Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROWS = random_rows(np.random.default_rng(8), 3000, MIXES[4])
ROWS["reserved"] = 0


def columns() -> dict[str, NDArray[Any]]:
    """Take the rows apart."""
    return {name: np.ascontiguousarray(ROWS[name]) for name in NAMED}


def strided() -> dict[str, NDArray[Any]]:
    """Take the rows apart without copying: every column has a stride of a row."""
    return {name: ROWS[name] for name in NAMED}


MAKERS: dict[str, Callable[[], Any]] = {
    "dict": columns,
    "strided": strided,
    "pandas": lambda: pd.DataFrame(columns()),
    "polars": lambda: pl.DataFrame(columns()),
    "arrow": lambda: pa.table(columns()),
    "arrow in chunks": lambda: pa.concat_tables([pa.table(columns()).slice(0, 1000), pa.table(columns()).slice(1000)]),
    "record batch": lambda: pa.RecordBatch.from_pydict(columns()),
    "wider integers": lambda: {n: c.astype(np.int64) if n != "order_id" else c for n, c in columns().items()},
}


@pytest.mark.parametrize("form", MAKERS)
def test_table_does_what_the_rows_do(form: str) -> None:
    by_rows, by_columns = new_engine(), new_engine()
    expected = by_rows.run(ROWS)
    commands = commands_from(MAKERS[form]())
    assert len(commands) == len(ROWS)
    out = by_columns.run(commands)
    assert out.status.tobytes() == expected.status.tobytes()
    assert out.events.tobytes() == expected.events.tobytes()
    assert by_columns.state_hash() == by_rows.state_hash()
    assert commands.to_array().tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 2000])
def test_slices_of_columns_follow_one_another(size: int) -> None:
    whole, sliced = new_engine(), new_engine()
    expected = whole.run(ROWS).events.tobytes()
    commands = commands_from(columns())
    parts = [sliced.run(commands[at : at + size]) for at in range(0, len(ROWS), size)]
    assert b"".join(part.events.tobytes() for part in parts) == expected


def test_missing_columns_are_zero_and_constants_hold_for_every_row() -> None:
    prices = np.arange(90, 100, dtype=np.int64)
    engine = new_engine()
    commands = commands_from({"price_ticks": prices}, action=Action.LIMIT, side=1, qty_lots=3, flags=128, ts_ns=5)
    out = engine.run(commands)
    assert set(out.status.tolist()) == {1}
    assert out.events["order_id"].tolist() == list(range(1, 11))
    assert set(out.events["ts_ns"].tolist()) == {5}
    assert engine.books[0].best_bid() == (99, 3, 1)


def test_columns_of_the_right_type_arent_copied() -> None:
    given = columns()
    for frame in (given, pd.DataFrame(given), pa.table(given), pl.DataFrame(given)):
        made = dict(zip(NAMED_BY_DTYPE, commands_from(frame).columns, strict=True))
        source = frame["price_ticks"]
        array = source if isinstance(source, np.ndarray) else np.asarray(source)
        assert np.shares_memory(made["price_ticks"], array)


NAMED_BY_DTYPE = tuple(name for name in COMMAND_DTYPE.names or () if name != "reserved")


def test_commands_are_zeroed_rows_of_64_bytes() -> None:
    rows = make_commands(5)
    assert rows.dtype == COMMAND_DTYPE
    assert rows.nbytes == 5 * 64
    assert not rows.view(np.uint8).any()
    assert len(new_engine().run(make_commands(0)).events) == 0
