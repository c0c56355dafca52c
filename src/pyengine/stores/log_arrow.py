"""Trades as Arrow record batches, in the columns of the log; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine._core.names import Names
from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.optional import require
from pyengine.records import Records, Side

_LEAST_DECIMALS = 8
_DIGITS = 38
_WIDE = Context(prec=1000)


class TradeBatches:
    """Makes batches of one schema.

    Prices and sizes are decimals of 38 digits, eight of them after the point, or as many as the finest grid needs of the
    instruments that are known at the start. What doesn't fit is refused by Arrow.

    Parameters
    ----------
    names : Names
        Whose numbers the instruments are.
    instruments : iterable of Instrument
        Those that may come besides.

    Raises
    ------
    MissingExtraError
        pyarrow isn't installed.
    """

    def __init__(self, names: Names, instruments: Iterable[Instrument] = ()) -> None:
        self._arrow = arrow = require("pyarrow", "parquet")
        self._names = names
        known = (*names.instruments, *instruments)
        self._of_price = max([_LEAST_DECIMALS, *(_decimals(one.tick_size) for one in known)])
        self._of_quantity = max([_LEAST_DECIMALS, *(_decimals(one.lot_size) for one in known)])
        self.schema = arrow.schema(
            [
                ("trade_id", arrow.int64()),
                ("buy_order_id", arrow.uint64()),
                ("sell_order_id", arrow.uint64()),
                ("price", arrow.decimal128(_DIGITS, self._of_price)),
                ("quantity", arrow.decimal128(_DIGITS, self._of_quantity)),
                ("timestamp", arrow.timestamp("ns", "UTC")),
                ("symbol", arrow.string()),
                ("side", arrow.uint8()),
            ]
        )

    def make(self, rows: Records) -> Any:
        """Make a batch of an array of TRADE_DTYPE.

        Raises
        ------
        FieldError
            An instrument has more decimals than the schema; it came after the start.
        """
        arrow = self._arrow
        bought = rows["side"] == Side.BUY
        numbers, of_row = np.unique(rows["instrument"], return_inverse=True)
        used = [self._names.instruments[number] for number in numbers]
        symbols = arrow.DictionaryArray.from_arrays(
            of_row.astype(np.int32), arrow.array([one.symbol for one in used], arrow.string())
        )
        columns = [
            arrow.array(rows["trade_id"]),
            arrow.array(np.where(bought, rows["taker_id"], rows["maker_id"])),
            arrow.array(np.where(bought, rows["maker_id"], rows["taker_id"])),
            self._numbers(rows["price_ticks"], of_row, [one.tick_size for one in used], self._of_price),
            self._numbers(rows["qty_lots"], of_row, [one.lot_size for one in used], self._of_quantity),
            arrow.array(rows["ts_ns"], arrow.timestamp("ns", "UTC")),
            symbols.cast(arrow.string()),
            arrow.array(rows["side"]),
        ]
        return arrow.record_batch(columns, schema=self.schema)

    def table(self, batches: Iterable[Any]) -> Any:
        """Make a table of batches."""
        return self._arrow.Table.from_batches(list(batches), self.schema)

    def _numbers(self, steps: NDArray[np.int64], of_row: NDArray[np.intp], sizes: list[Decimal], decimals: int) -> Any:
        """Make a column of decimals of steps on the grid of each row."""
        kind = self._arrow.decimal128(_DIGITS, decimals)
        factors = [_factor(size, decimals) for size in sizes]
        largest = int(np.abs(steps).max(initial=0))
        if steps.min(initial=0) > -(2**63) and largest * max(factors, default=0) < 2**63:
            words = np.zeros((len(steps), 2), np.int64)  # 128 bits, the low half first
            words[:, 0] = steps * np.array(factors, np.int64)[of_row]
            words[:, 1] = words[:, 0] >> 63
            return self._arrow.Array.from_buffers(kind, len(steps), [None, self._arrow.py_buffer(words)])
        rows = zip(steps.tolist(), of_row.tolist(), strict=True)
        return self._arrow.array([Decimal(step * factors[which]).scaleb(-decimals, _WIDE) for step, which in rows], kind)


def _factor(size: Decimal, decimals: int) -> int:
    """Give a step in units of the last decimal of a column."""
    scaled = size.scaleb(decimals, _WIDE)
    if scaled != int(scaled):
        raise FieldError("instrument", size, f"of steps with at most {decimals} decimals, as the schema has")
    return int(scaled)


def _decimals(step: Decimal) -> int:
    """Count the decimals of a step, without zeros at the end."""
    exponent = step.normalize(_WIDE).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)
