"""From the status codes of the core to the errors that Python callers see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyengine.errors import FieldError, PyengineError, RingFullError
from pyengine.records import Reason

if TYPE_CHECKING:
    from pyengine.instrument import Instrument


def rejection_error(
    code: int,
    price_ticks: int,
    qty_lots: int,
    side: int,
    tif: int,
    flags: int,
    stp: int,
    user: int,
    instrument: Instrument | None,
) -> Exception:
    """Make the error for a command that the core found malformed or had no room for.

    Parameters
    ----------
    code : int
        A Reason below 64 or from 96 on.
    price_ticks, qty_lots, side, tif, flags, stp, user : int
        The command's fields.
    instrument : Instrument or None
        Whose limits a price or a size broke.
    """
    prices = (instrument.min_price_ticks, instrument.max_price_ticks) if instrument else (1, 2**62 - 1)
    sizes = (instrument.min_qty_lots, instrument.max_qty_lots) if instrument else (1, 2**62 - 1)
    fields: dict[int, tuple[str, object, str]] = {
        Reason.INVALID_ACTION: ("action", None, "a known Action"),
        Reason.INVALID_INSTRUMENT: ("instrument", None, "the index of a book"),
        Reason.INVALID_SIDE: ("side", side, "1 (BUY) or 2 (SELL)"),
        Reason.INVALID_TIF: ("tif", tif, "0 (GTC), 1 (IOC) or 2 (FOK)"),
        Reason.INVALID_FLAGS: (
            "flags",
            flags,
            "flags that this command allows: POST_ONLY, with or without SLIDE, on GTC limit orders",
        ),
        Reason.INVALID_STP: ("stp", stp, "a SelfTrade from 0 to 5"),
        Reason.INVALID_PRICE: ("price_ticks", price_ticks, "above 0 for a limit order and 0 for a market order"),
        Reason.INVALID_QTY: ("qty_lots", qty_lots, "above 0"),
        Reason.PRICE_OUT_OF_RANGE: ("price_ticks", price_ticks, f"from {prices[0]} to {prices[1]}"),
        Reason.QTY_OUT_OF_RANGE: ("qty_lots", qty_lots, f"from {sizes[0]} to {sizes[1]}"),
        Reason.NOTIONAL_OVERFLOW: ("price_ticks * qty_lots", price_ticks * qty_lots, "below 2**63"),
        Reason.INVALID_USER: ("user", user, "0 or the number of an interned user"),
        Reason.INVALID_RESERVED: ("reserved", None, "0"),
    }
    if code == Reason.RING_FULL:
        return RingFullError("the event ring must have room for the command's events, but a required consumer held it up")
    if code == Reason.OUT_OF_MEMORY:
        return MemoryError("no memory for another order")
    if code in fields:
        return FieldError(*fields[code])
    return PyengineError(f"the core returned an unknown code {code}")
