"""Orders and trades out of rows of the tables: exact, and suspicious of every value, because anybody may edit a table."""

from __future__ import annotations

import struct
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from pyengine._core.order import Order, order_from_bytes
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.records import Action, Kind, Side
from pyengine.store_errors import StoreDamaged
from pyengine.stores.postgres.driver import Row
from pyengine.stores.postgres.instruments import Definitions

UNSIGNED = 2**64 - 1
EPOCH_US = 946_684_800_000_000
"""2000-01-01, where timestamps of PostgreSQL begin, in microseconds since 1970."""

_ORDER = struct.Struct("<Q5q2QqII6BHQ")
"""One row of ORDER_RECORD_DTYPE."""

_TRADE = struct.Struct("<QqQQqqqI4B")
"""One row of TRADE_DTYPE."""

_EXACT = Context(prec=40, traps=[InvalidOperation])
"""Enough for any number of steps that fits 64 bits; more digits than that are an error."""

_BUY, _MARKET, _TRADE_KIND = int(Side.BUY), int(Action.MARKET), int(Kind.TRADE)


def signed(number: int) -> int:
    """Return the BIGINT of the same 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def timestamp_us(ts_ns: int) -> int:
    """Return the TIMESTAMPTZ of a time, rounded down."""
    return ts_ns // 1000 - EPOCH_US


def order_of_row(row: Row, definitions: Definitions) -> Order:
    """Make an order of a row with the columns of `orders.sql`, whose instrument `definitions` knows.

    Raises
    ------
    StoreDamaged
        Names the row and what is wrong with it.
    """
    order_id, user, symbol, order_type, side, price, size, created_at, updated_at, remaining, status, tif, *rest = row
    client_id, version, entered, flags, stp, aux, created_ns, updated_ns = rest
    instrument = definitions.found[symbol]
    try:
        if order_type == _MARKET:
            if price is not None:
                raise FieldError("price", price, "NULL for a market order")  # noqa: TRY301
            ticks = 0
        else:
            ticks = _steps("price", price, instrument.tick_size)
        _same_time("created_at", created_at, created_ns)
        _same_time("updated_at", updated_at, updated_ns)
        record = _ORDER.pack(
            order_id & UNSIGNED,
            ticks,
            _steps("size", size, instrument.lot_size),
            _steps("remaining", remaining, instrument.lot_size),
            created_ns,
            updated_ns,
            version & UNSIGNED,
            client_id & UNSIGNED,
            aux,
            definitions.number(instrument),
            definitions.user_number(user),
            side,
            order_type,
            tif,
            status,
            flags,
            stp,
            0,
            entered & UNSIGNED,
        )
        return order_from_bytes(record, user or None, instrument)
    except (FieldError, struct.error) as error:
        raise StoreDamaged(f"{definitions.place}, orders, order_id {order_id & UNSIGNED}: {_said(error, row)}") from error


def trade_of_row(row: Row, definitions: Definitions) -> Trade:
    """Make a trade of a row with the columns of `trades.sql`, as `order_of_row` does."""
    trade_id, buyer, seller, price, quantity, timestamp, symbol, side, seq, ts_ns = row
    instrument = definitions.found[symbol]
    taker, maker = (buyer, seller) if side == _BUY else (seller, buyer)
    try:
        if trade_id < 1:
            raise FieldError("trade_id", trade_id, "at least 1")  # noqa: TRY301
        lots = _steps("quantity", quantity, instrument.lot_size)
        if lots < 1:
            raise FieldError("quantity", quantity, "above 0")  # noqa: TRY301
        _same_time("timestamp", timestamp, ts_ns)
        ticks = _steps("price", price, instrument.tick_size)
        number = definitions.number(instrument)
        ids = (taker & UNSIGNED, maker & UNSIGNED)
        record = _TRADE.pack(seq & UNSIGNED, ts_ns, *ids, ticks, lots, trade_id, number, _TRADE_KIND, side, 0, 0)
        return trade_from_bytes(record, instrument)
    except (FieldError, struct.error) as error:
        raise StoreDamaged(f"{definitions.place}, trades, trade_id {trade_id}: {_said(error, row)}") from error


def order_parameters(row: Any, instrument: Instrument, user: str) -> tuple[Any, ...]:
    """Make the parameters of the statements `save` and `update` of one row of an array of ORDER_RECORD_DTYPE."""
    order_id, ticks, lots, remaining, created_ns, updated_ns, version, client_id, aux, _, _, *codes, _, entered = row.item()
    side, order_type, tif, status, flags, stp = codes
    return (
        signed(order_id),
        user,
        instrument.symbol,
        order_type,
        side,
        None if order_type == _MARKET else instrument.ticks_to_price(ticks),
        instrument.lots_to_qty(lots),
        timestamp_us(created_ns),
        timestamp_us(updated_ns),
        instrument.lots_to_qty(remaining),
        status,
        tif,
        signed(client_id),
        signed(version),
        signed(entered),
        flags,
        stp,
        aux,
        created_ns,
        updated_ns,
    )


def trade_parameters(row: Any, instrument: Instrument) -> tuple[Any, ...]:
    """Make the parameters of the statement `save` of one row of an array of TRADE_DTYPE."""
    seq, ts_ns, taker, maker, ticks, lots, trade_id, _, _, side, _, _ = row.item()
    buyer, seller = (taker, maker) if side == _BUY else (maker, taker)
    price, quantity = instrument.ticks_to_price(ticks), instrument.lots_to_qty(lots)
    return (
        trade_id,
        signed(buyer),
        signed(seller),
        price,
        quantity,
        timestamp_us(ts_ns),
        instrument.symbol,
        side,
        signed(seq),
        ts_ns,
    )


def _steps(field: str, value: Any, step: Decimal) -> int:
    """Count the steps of the grid in a number, exactly."""
    if type(value) is not Decimal:
        raise FieldTypeError(field, value, "a number")
    try:
        count, rest = _EXACT.divmod(value, step)
    except ArithmeticError:
        raise FieldError(field, value, f"a multiple of {step:f}") from None
    # Of no number the rest is no number either, which counts as true.
    if rest:
        raise FieldError(field, value, f"a multiple of {step:f}")
    return int(count)


def _same_time(field: str, found_us: int | None, ts_ns: int | None) -> None:
    """Refuse a time that contradicts its nanoseconds."""
    if ts_ns is None or found_us != ts_ns // 1000 - EPOCH_US:
        raise FieldError(field, found_us, f"the microseconds since 2000 of {field.removesuffix('_at')}_ns, {ts_ns}")


def _said(error: Exception, row: Row) -> str:
    """Say what is wrong; a number that doesn't fit a record is shown with all others, as `struct` doesn't tell which it is."""
    return str(error) if isinstance(error, FieldError) else f"numbers must fit their fields, were {tuple(row)}: {error}"
