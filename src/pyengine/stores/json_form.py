"""Orders, trades and instruments out of the JSON that stores write: exact, and suspicious of every value.

What can't be right raises `StoreDamaged`, which names the place that the text came from, the field and its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from decimal import Context, Decimal, DecimalException, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from typing import Any, NoReturn

from pyengine._core.order import Order
from pyengine._core.trade import Trade
from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import MAX_TICKS, Instrument
from pyengine.records import Action, Side
from pyengine.store_errors import StoreDamaged

_EPOCH = date(1970, 1, 1).toordinal()
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Enough for the steps of any grid that fit 64 bits; a quotient that needs more is off the grid."""

_LIMITS = (
    ("min_price", "min_price_ticks", 1),
    ("max_price", "max_price_ticks", MAX_TICKS),
    ("min_qty", "min_qty_lots", 1),
    ("max_qty", "max_qty_lots", MAX_TICKS),
)
"""Limits of an instrument, the same in steps, and what they are when nobody gives them."""

_SHOWN = 80


def read_object(text: bytes | str, place: str) -> dict[str, Any]:
    """Read a JSON object; its decimals become Decimal, never float.

    Parameters
    ----------
    text : bytes or str
        UTF-8 if it is bytes.
    place : str
        Where it comes from, for the error.

    Raises
    ------
    StoreDamaged
        It is no JSON, or no object.
    """
    try:
        value = _decoder.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError, DecimalException) as error:
        raise StoreDamaged(f"{place}: value must be a JSON object, was {_shown(text)}") from error
    if not isinstance(value, dict):
        raise StoreDamaged(f"{place}: value must be a JSON object, was {_shown(text)}")
    return value


def read_symbol(fields: Mapping[str, Any], place: str) -> str:
    """Return the symbol among the fields of an order or a trade.

    Raises
    ------
    StoreDamaged
        There is none, or it is no symbol.
    """
    try:
        symbol = _text(fields, "symbol")
        if not 1 <= len(symbol) <= 255 or not symbol.isprintable():
            _refuse("symbol", symbol, "1 to 255 printable characters")
    except FieldError as error:
        raise StoreDamaged(f"{place}: {error}") from error
    return symbol


def read_order(fields: Mapping[str, Any], instrument: Instrument, place: str) -> Order:
    """Make an order of the fields of its JSON object, whose symbol is that of `instrument`.

    Raises
    ------
    StoreDamaged
        A field is missing, of the wrong type, off the instrument's grid, or contradicts another.
    """
    try:
        order_type = _whole(fields, "order_type")
        if order_type == Action.MARKET:
            if _value(fields, "price") is not None:
                _refuse("price", fields["price"], "null for a market order")
            price_ticks = 0
        else:
            price_ticks = _steps(fields, "price", instrument.tick_size)
        return Order(
            _whole(fields, "order_id"),
            _whole(fields, "side"),
            user=_text(fields, "user_id") or None,
            instrument=instrument,
            price_ticks=price_ticks,
            qty_lots=_steps(fields, "size", instrument.lot_size),
            remaining_lots=_steps(fields, "remaining", instrument.lot_size),
            order_type=order_type,
            tif=_whole(fields, "tif"),
            status=_whole(fields, "status"),
            created_ns=_time(fields, "created_at"),
            updated_ns=_time(fields, "updated_at"),
            version=_whole(fields, "version"),
            client_id=_whole(fields, "client_order_id"),
            flags=_whole(fields, "flags"),
            stp=_whole(fields, "stp"),
            aux=_whole(fields, "aux"),
            entered=_whole(fields, "entered"),
        )
    except FieldError as error:
        raise StoreDamaged(f"{place}: {error}") from error


def read_trade(fields: Mapping[str, Any], instrument: Instrument, place: str, instrument_index: int = 0) -> Trade:
    """Make a trade of the fields of its JSON object, whose symbol is that of `instrument`; `seq` may be missing.

    `instrument_index` is the instrument's number in records.

    Raises
    ------
    StoreDamaged
        As `read_order` does.
    """
    try:
        side = _whole(fields, "side")
        buyer, seller = _whole(fields, "buy_order_id"), _whole(fields, "sell_order_id")
        taker, maker = (buyer, seller) if side == Side.BUY else (seller, buyer)
        return Trade(
            _whole(fields, "trade_id"),
            taker,
            maker,
            _steps(fields, "price", instrument.tick_size),
            _steps(fields, "quantity", instrument.lot_size),
            side,
            instrument=instrument,
            ts_ns=_time(fields, "timestamp"),
            seq=_whole(fields, "seq") if "seq" in fields else 0,
            instrument_index=instrument_index,
        )
    except FieldError as error:
        raise StoreDamaged(f"{place}: {error}") from error


def instrument_value(instrument: Instrument) -> bytes:
    """Write an instrument as a JSON object; its numbers are texts, so that no reader makes floats of them.

    Limits that say nothing are left out: some are beyond what an instrument may be given.
    """
    fields = {name: f"{getattr(instrument, name):f}" for name in ("tick_size", "lot_size")}
    for name, steps, default in _LIMITS:
        if getattr(instrument, steps) != default:
            fields[name] = f"{getattr(instrument, name):f}"
    return json.dumps({"symbol": instrument.symbol, **fields}, ensure_ascii=False, separators=(",", ":")).encode()


def read_instrument(text: bytes | str, place: str) -> Instrument:
    """Make an instrument of the JSON that `instrument_value` writes.

    Raises
    ------
    StoreDamaged
        It is something else.
    """
    fields = read_object(text, place)
    try:
        limits = {name: _decimal(fields, name) for name, _, _ in _LIMITS if name in fields}
        return Instrument(_text(fields, "symbol"), _decimal(fields, "tick_size"), _decimal(fields, "lot_size"), **limits)
    except FieldError as error:
        raise StoreDamaged(f"{place}: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def _refuse(field: str, value: object, expected: str) -> NoReturn:
    raise FieldError(field, value, expected)


def _value(fields: Mapping[str, Any], name: str) -> Any:
    try:
        return fields[name]
    except KeyError:
        raise FieldError(name, "missing", "there") from None


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = _value(fields, name)
    if type(value) is not int:
        raise FieldTypeError(name, value, "a whole number")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = _value(fields, name)
    if type(value) is not str:
        raise FieldTypeError(name, value, "a text")
    return value


def _decimal(fields: Mapping[str, Any], name: str) -> Decimal:
    text = _text(fields, name)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise FieldError(name, text, "a decimal number") from None


def _steps(fields: Mapping[str, Any], name: str, step: Decimal) -> int:
    """Count the steps of the grid in a number, exactly."""
    value = _value(fields, name)
    if type(value) is int:
        value = Decimal(value)
    elif type(value) is not Decimal:
        raise FieldTypeError(name, value, "a number")
    try:
        steps = _EXACT.divide(value, step)
    except DecimalException:
        raise FieldError(name, value, f"a multiple of {step:f}") from None
    if not steps.is_finite() or (steps and steps.adjusted() > 18):
        raise FieldError(name, value, f"below 2**63 steps of {step:f}")
    count = int(steps)
    if count != steps:
        raise FieldError(name, value, f"a multiple of {step:f}")
    return count


def _time(fields: Mapping[str, Any], name: str) -> int:
    """Read an RFC 3339 time as nanoseconds since 1970."""
    value = _text(fields, name)
    match = _TIME.fullmatch(value)
    if match is None:
        raise FieldError(name, value, "an RFC 3339 time")
    day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        seconds = (_day_number(day) * 24 + int(hour)) * 3600 + int(minute) * 60 + int(second)
    except ValueError:
        raise FieldError(name, value, "an RFC 3339 time") from None
    if sign is not None:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * 1_000_000_000 + (0 if fraction is None else int(fraction.ljust(9, "0")))


@lru_cache(maxsize=1024)
def _day_number(day: str) -> int:
    """Return a date as a number of days since 1970-01-01."""
    return date.fromisoformat(day).toordinal() - _EPOCH


def _shown(text: bytes | str) -> str:
    """Show the beginning of a text."""
    return repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")
