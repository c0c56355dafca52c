"""What callers give to a store, checked: the same errors as those of the compiled stores, for stores that aren't."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade import Trade
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import Records, Side

MAX_ID = 2**64 - 1
MAX_USER = 2**32 - 1


def whole(field: str, value: Any, lowest: int, highest: int) -> int:
    """Read an integer, of NumPy too but no bool."""
    if isinstance(value, bool):
        raise FieldTypeError(field, value, "an int")
    try:
        number = operator.index(value)
    except TypeError:
        raise FieldTypeError(field, value, "an int") from None
    if not lowest <= number <= highest:
        raise FieldError(field, value, f"an int from {lowest} to {highest}")
    return number


def order_id_of(value: Any) -> int:
    """Read the id of an order."""
    return whole("order_id", value, 0, MAX_ID)


def limit_of(value: Any) -> int:
    """Read how many are wanted at most; more than a signed integer holds is as many as there are."""
    return min(whole("limit", value, 0, 2**64 - 1), 2**63 - 1)


def side_of(value: Any) -> Side:
    """Read a side: a member, its number, or its name in any case."""
    if isinstance(value, str):
        if value.upper() not in Side.__members__:
            raise FieldError("side", value, "one of buy, sell")
        return Side[value.upper()]
    return Side(whole("side", value, 1, 2))


def user_of(value: Any, names: Names) -> str | None:
    """Read a user, a name or its number, and return the name; None for a number that has none."""
    if isinstance(value, str):
        if not 1 <= len(value) <= 255 or not value.isprintable():
            raise FieldError("user", value, "1 to 255 printable characters")
        return value
    if value is None:
        raise FieldError("user", value, "a name, or a number from 1")
    try:
        number = whole("user", value, 0, MAX_USER)
    except FieldTypeError:
        raise FieldTypeError("user", value, "a str or an int") from None
    if number == 0:
        raise FieldError("user", value, "a name, or a number from 1")
    return names.user(number)


def symbol_of(value: Any, names: Names) -> str | None:
    """Read an instrument, a symbol or its number, and return the symbol; None for what no instrument can have."""
    if isinstance(value, str):
        return value if 1 <= len(value) <= 255 and value.isprintable() else None
    instrument = names.instrument(whole("symbol", value, 0, MAX_USER))
    return None if instrument is None else instrument.symbol


def order_rows(orders: Records | Iterable[Order], names: Names) -> Records:
    """Check orders, in whatever form `save_batch` takes, and return them as an array, each id once.

    Of several of one id it is the one that a store would have kept that was given them one after the other. Users and
    instruments of objects get numbers in `names`.

    Raises
    ------
    FieldTypeError, FieldError
        If something isn't an order, or a number isn't known to `names`; nothing came of the others.
    """
    check = InMemoryOrderStore(names=names)
    check.save_batch(orders)
    rows = check.get_all_array()
    _refuse_unknown("user", rows["user"], len(names.users))
    _refuse_unknown("instrument", rows["instrument"], len(names.instruments))
    return rows


def trade_rows(trades: Records | Iterable[Trade], names: Names) -> Records:
    """Check trades as `order_rows` does, and return them by rising id; of several of one id the first."""
    if not isinstance(trades, Iterable):
        raise FieldTypeError("trades", trades, "an array of TRADE_DTYPE or an iterable of Trade")
    given = trades if isinstance(trades, np.ndarray) else list(trades)
    check = InMemoryTradeStore(max(1, len(given)), names=names)
    check.save_batch(given)
    rows = check.get_recent_array(len(check))[::-1]
    _refuse_unknown("instrument", rows["instrument"], len(names.instruments))
    return rows


def _refuse_unknown(field: str, numbers: Records, known: int) -> None:
    """Refuse numbers that stand for nothing. User 0 is nobody, whom the table counts too."""
    if len(numbers) and numbers.max() >= known:
        what = "a name" if field == "user" else "an instrument"
        raise FieldError(field, int(numbers.max()), f"{what} that the store knows")


def path_of(path: Any) -> Path:
    """Return the whole path of a file.

    Raises
    ------
    FieldTypeError, FieldError
        It can't be one.
    """
    try:
        return Path(path).resolve()
    except TypeError:
        raise FieldTypeError("path", path, "a path") from None
    except ValueError:
        raise FieldError("path", path, "a path without NUL") from None
