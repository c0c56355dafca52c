"""Orders and trades as objects, out of arrays of records, for stores that take nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine._core.order import Order, order_from_bytes
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records


def orders_of(rows: Records | Iterable[Order], store: Any) -> list[Order]:
    """Make the orders of an array, whose numbers are those of the store's `names`; objects are checked. O(n)."""
    if not isinstance(rows, np.ndarray):
        return _checked(rows, Order, "order", "orders", "an array of ORDER_RECORD_DTYPE or an iterable of Order")
    names = _names(rows, store, ORDER_RECORD_DTYPE, "orders")
    return [
        order_from_bytes(row.tobytes(), names.user(row["user"]) or int(row["user"]), names.instrument(row["instrument"]))
        for row in rows
    ]


def trades_of(rows: Records | Iterable[Trade], store: Any) -> list[Trade]:
    """Make the trades of an array, as `orders_of` does."""
    if not isinstance(rows, np.ndarray):
        return _checked(rows, Trade, "trade", "trades", "an array of TRADE_DTYPE or an iterable of Trade")
    names = _names(rows, store, TRADE_DTYPE, "trades")
    return [trade_from_bytes(row.tobytes(), names.instrument(row["instrument"])) for row in rows]


def _checked(given: Iterable[Any], kind: type[Any], field: str, many: str, expected: str) -> list[Any]:
    """List what an iterable gives, all of it before any is used, so that a bad one leaves nothing behind."""
    if not isinstance(given, Iterable):
        raise FieldTypeError(many, given, expected)
    objects = list(given)
    for one in objects:
        if not isinstance(one, kind):
            raise FieldTypeError(field, one, f"an {kind.__name__}" if kind is Order else f"a {kind.__name__}")
    return objects


def _names(rows: Records, store: Any, dtype: np.dtype[np.void], field: str) -> Names:
    if rows.dtype != dtype or rows.ndim != 1:
        what = f"an array of {rows.dtype} and {rows.ndim} dimensions"
        raise FieldTypeError(field, what, "an array of records of its kind and of one dimension")
    names = getattr(store, "names", None)
    if not isinstance(names, Names):
        raise FieldError(field, f"an array for a {type(store).__name__}", "objects, as the store has no `names` for numbers")
    return names
