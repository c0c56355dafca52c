"""Instruments: the grid of prices and sizes, and the exact way onto it and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from typing import Any, TypeAlias

import numpy as np

from pyengine.errors import FieldError, FieldTypeError

Number: TypeAlias = str | int | float | Decimal

MAX_TICKS = 2**62 - 1
"""Largest price in ticks and size in lots that a book can hold."""

_EXACT = Context(prec=1000, Emin=-(10**6), Emax=10**6)
_MAX_TEXT = 400


def _decimal(name: str, value: Any) -> Decimal:
    """Read a finite number exactly; a float stands for its shortest decimal, as people write it."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        if isinstance(value, np.timedelta64) or not isinstance(value, (np.integer, np.float16, np.float32)):
            raise FieldTypeError(name, value, "a str, int, float or Decimal")
        # NumPy's narrow floats print their own shortest decimal; as Python floats they would print noise.
        return _decimal(name, int(value) if isinstance(value, np.integer) else str(value))
    try:
        if isinstance(value, int):
            if value.bit_length() > 256:
                raise FieldError(name, value, "a number below 2**62 steps of the grid")
            return Decimal(value)
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise FieldError(name, value, f"a number of at most {_MAX_TEXT} characters")
        number = Decimal(repr(float(value)) if isinstance(value, float) else value)
    except InvalidOperation:
        raise FieldError(name, value, "a decimal number") from None
    if not number.is_finite():
        raise FieldError(name, value, "finite")
    if number and not -200 <= number.adjusted() <= 200:
        raise FieldError(name, value, "a number between 1e-200 and 1e200 in size")
    return number


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded in one book, and on which grid.

    Inside, prices are whole `ticks` and sizes whole `lots`, 64-bit. The conversions are exact both ways and refuse what isn't
    on the grid. Limits are given as prices and sizes (not in ticks or lots), inclusive.

    Parameters
    ----------
    symbol : str
        Unique name within an engine, 1 to 255 characters without control characters.
    tick_size, lot_size : str, int, float or Decimal
        Smallest price and size step, above 0. A float counts as the shortest decimal that prints it, so 0.1 is 1/10.
    min_price, max_price : number, optional
        Price limits of orders. Default: one tick, and 2**62 - 1 ticks. A `min_price` below zero allows negative prices.
    min_qty, max_qty : number, optional
        Size limits of orders. Default: one lot, and 2**62 - 1 lots.

    Raises
    ------
    FieldError
        A parameter is out of its range or off the grid; the error has `field`, `value` and `expected`.
    """

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_price: Decimal
    max_price: Decimal
    min_qty: Decimal
    max_qty: Decimal
    min_price_ticks: int = field(repr=False)
    max_price_ticks: int = field(repr=False)
    min_qty_lots: int = field(repr=False)
    max_qty_lots: int = field(repr=False)

    def __init__(
        self,
        symbol: str,
        tick_size: Number = 1,
        lot_size: Number = 1,
        *,
        min_price: Number | None = None,
        max_price: Number | None = None,
        min_qty: Number | None = None,
        max_qty: Number | None = None,
    ) -> None:
        if not isinstance(symbol, str):
            raise FieldTypeError("symbol", symbol, "a str")
        if not 1 <= len(symbol) <= 255 or not symbol.isprintable():
            raise FieldError("symbol", symbol, "1 to 255 printable characters")
        put = object.__setattr__
        put(self, "symbol", symbol)
        for name, size in (("tick_size", tick_size), ("lot_size", lot_size)):
            number = _decimal(name, size)
            if number <= 0:
                raise FieldError(name, size, "above 0")
            put(self, name, number)
        lowest = 1 if min_price is None else self._steps("min_price", min_price, self.tick_size)
        highest = MAX_TICKS if max_price is None else self._steps("max_price", max_price, self.tick_size)
        smallest = 1 if min_qty is None else self._steps("min_qty", min_qty, self.lot_size)
        largest = MAX_TICKS if max_qty is None else self._steps("max_qty", max_qty, self.lot_size)
        if highest < lowest:
            raise FieldError("max_price", max_price, "at least min_price")
        if smallest < 1:
            raise FieldError("min_qty", min_qty, "at least one lot")
        if largest < smallest:
            raise FieldError("max_qty", max_qty, "at least min_qty")
        put(self, "min_price_ticks", lowest)
        put(self, "max_price_ticks", highest)
        put(self, "min_qty_lots", smallest)
        put(self, "max_qty_lots", largest)
        put(self, "min_price", self.ticks_to_price(lowest))
        put(self, "max_price", self.ticks_to_price(highest))
        put(self, "min_qty", self.lots_to_qty(smallest))
        put(self, "max_qty", self.lots_to_qty(largest))

    @staticmethod
    def _steps(name: str, value: Any, step: Decimal) -> int:
        """Count the steps in a value exactly."""
        steps, rest = _EXACT.divmod(_decimal(name, value), step)
        if rest:
            raise FieldError(name, value, f"a multiple of {step:f}")
        count = int(steps)
        if not -MAX_TICKS <= count <= MAX_TICKS:
            raise FieldError(name, value, f"at most 2**62 - 1 steps of {step:f}")
        return count

    def price_to_ticks(self, price: Number, field_name: str = "price") -> int:
        """Convert a price to ticks, exactly.

        Raises
        ------
        FieldError
            The price is not a finite number, off the grid, or outside the instrument's limits.
        """
        ticks = self._steps(field_name, price, self.tick_size)
        if not self.min_price_ticks <= ticks <= self.max_price_ticks:
            raise FieldError(field_name, price, f"from {self.min_price:f} to {self.max_price:f}")
        return ticks

    def qty_to_lots(self, qty: Number, field_name: str = "qty") -> int:
        """Convert a size to lots, exactly.

        Raises
        ------
        FieldError
            The size is not a finite number, off the grid, or outside the instrument's limits.
        """
        lots = self._steps(field_name, qty, self.lot_size)
        if not self.min_qty_lots <= lots <= self.max_qty_lots:
            raise FieldError(field_name, qty, f"from {self.min_qty:f} to {self.max_qty:f}")
        return lots

    def ticks_to_price(self, ticks: int) -> Decimal:
        """Convert ticks to a price, exactly. O(1)."""
        return _EXACT.multiply(Decimal(int(ticks)), self.tick_size)

    def lots_to_qty(self, lots: int) -> Decimal:
        """Convert lots to a size, exactly. O(1)."""
        return _EXACT.multiply(Decimal(int(lots)), self.lot_size)
