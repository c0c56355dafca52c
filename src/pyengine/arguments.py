"""What callers say to an engine by name, as the numbers that the core takes."""

from __future__ import annotations

import numpy as np

from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import SelfTrade, Side, TimeInForce

_SIDES = {"buy": 1, "sell": 2, "b": 1, "s": 2}


def side_of(side: str | int) -> int:
    """Read a side given by name or number."""
    if isinstance(side, str):
        if side.lower() not in _SIDES:
            raise FieldError("side", side, "'buy' or 'sell'")
        return _SIDES[side.lower()]
    if isinstance(side, bool) or not isinstance(side, (int, np.integer)):
        raise FieldTypeError("side", side, "'buy' or 'sell'")
    if side not in (Side.BUY, Side.SELL):
        raise FieldError("side", side, "1 (BUY) or 2 (SELL)")
    return int(side)


def mode_of(self_trade: SelfTrade | int) -> int:
    """Check a self-trade mode under the name that friendly callers know it by."""
    if isinstance(self_trade, bool) or not isinstance(self_trade, (int, np.integer)):
        raise FieldTypeError("self_trade", self_trade, "a SelfTrade")
    if self_trade not in SelfTrade.__members__.values():
        raise FieldError("self_trade", self_trade, "a SelfTrade from 0 to 5")
    return int(self_trade)


def tif_of(tif: str | int) -> int:
    """Read a time in force given by name or number."""
    if isinstance(tif, str):
        if tif.upper() not in TimeInForce.__members__:
            raise FieldError("tif", tif, "'GTC', 'IOC' or 'FOK'")
        return TimeInForce[tif.upper()].value
    if isinstance(tif, bool) or not isinstance(tif, (int, np.integer)):
        raise FieldTypeError("tif", tif, "'GTC', 'IOC' or 'FOK'")
    return int(tif)
