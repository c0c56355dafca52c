"""Orders and trades as objects, out of arrays of records, for stores that take nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine._core.order import Order, order_from_bytes
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records


def orders_of(rows: Records | Iterable[Order], store: Any) -> Iterator[Order]:
    """Make the orders of an array, whose numbers are those of the store's `names`; objects pass through. O(n)."""
    if not isinstance(rows, np.ndarray):
        yield from rows
        return
    names = _names(rows, store, ORDER_RECORD_DTYPE, "orders")
    for row in rows:
        yield order_from_bytes(row.tobytes(), names.user(row["user"]) or int(row["user"]), names.instrument(row["instrument"]))


def trades_of(rows: Records | Iterable[Trade], store: Any) -> Iterator[Trade]:
    """Make the trades of an array, as `orders_of` does."""
    if not isinstance(rows, np.ndarray):
        yield from rows
        return
    names = _names(rows, store, TRADE_DTYPE, "trades")
    for row in rows:
        yield trade_from_bytes(row.tobytes(), names.instrument(row["instrument"]))


def _names(rows: Records, store: Any, dtype: np.dtype[np.void], field: str) -> Names:
    if rows.dtype != dtype:
        raise FieldTypeError(field, rows.dtype, f"an array of {dtype}")
    names = getattr(store, "names", None)
    if not isinstance(names, Names):
        raise FieldError(field, f"an array for a {type(store).__name__}", "objects, as the store has no `names` for numbers")
    return names
