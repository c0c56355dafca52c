"""The grids of prices and sizes, kept beside the data so that another process can read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal

from pyengine._core.names import Names
from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.store_errors import StoreDamaged
from pyengine.stores.sqlite.file import SQLiteFile, statements

SQL = statements("instruments.sql")


def price_text(instrument: Instrument, ticks: int) -> str:
    """Write a price exactly, with the fewest decimals but at least one."""
    text = f"{instrument.ticks_to_price(ticks):f}"
    if "." not in text:
        return f"{text}.0"
    text = text.rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def qty_text(instrument: Instrument, lots: int) -> str:
    """Write a size exactly, with the fewest decimals."""
    text = f"{instrument.lots_to_qty(lots):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def same_number(text: str | None, other: str | None) -> bool:
    """Whether two decimals are the same number, however they are written."""
    try:
        return text is not None and other is not None and Decimal(text) == Decimal(other)
    except ArithmeticError:
        return False


class Definitions:
    """The table `instruments` of a file, held against a store's `names`."""

    def __init__(self, file: SQLiteFile, names: Names) -> None:
        self._file = file
        self._names = names
        self._numbers: dict[str, int] = {}
        self._learnt = False

    def learn(self) -> None:
        """Give the instruments of the file their numbers, before the first new one of a caller gets one."""
        if not self._learnt:
            with self._file.read("read of instruments") as connection:
                self._learn(connection)

    def _learn(self, connection: sqlite3.Connection) -> None:
        for row in connection.execute(SQL["all"]).fetchall():
            # One that contradicts a caller's, or itself, is reported to whoever needs it.
            with suppress(FieldError):
                self._names.add_instrument(_instrument(row))
        self._learnt = True

    def keep(self, numbers: Iterable[int]) -> None:
        """Write down the instruments of these numbers, in a transaction of their own before the first row that needs them.

        Raises
        ------
        FieldError
            If the file has another definition of a symbol.
        """
        given = [self._names.instruments[number] for number in set(numbers)]
        new = [instrument for instrument in given if instrument.symbol not in self._numbers]
        if not new:
            return
        with self._file.write("save of instruments") as connection:
            connection.executemany(SQL["keep"], [_row(instrument) for instrument in new])
            for instrument in new:
                known = _instrument(connection.execute(SQL["get"], (instrument.symbol,)).fetchone())
                if known != instrument:
                    raise FieldError("instrument", instrument, f"as {self._file.path} has it, {known!r}")
        for instrument in new:
            self._numbers[instrument.symbol] = self._names.add_instrument(instrument)

    def forget(self) -> None:
        """Note that the table may be another one."""
        self._numbers = {}
        self._learnt = False

    def number(self, connection: sqlite3.Connection, symbol: str) -> int:
        """Return the number of a symbol that was read, which may be new to this process."""
        found = self._numbers.get(symbol)
        if found is None:
            self._learn(connection)
            place = f"sqlite {self._file.path}, table instruments"
            row = connection.execute(SQL["get"], (symbol,)).fetchone()
            if row is None:
                raise StoreDamaged(f"{place}: {symbol!r} must be there, was missing")
            try:
                found = self._numbers[symbol] = self._names.add_instrument(_instrument(row))
            except FieldError as error:
                raise StoreDamaged(f"{place}, symbol {symbol!r}: {error}") from error
        return found


def _instrument(row: tuple[str, ...]) -> Instrument:
    symbol, tick_size, lot_size, *limits = row
    bounds = dict(zip(("min_price", "max_price", "min_qty", "max_qty"), limits, strict=True))
    return Instrument(symbol, tick_size, lot_size, **bounds)


def _row(instrument: Instrument) -> tuple[str, ...]:
    sizes = (
        instrument.tick_size,
        instrument.lot_size,
        instrument.min_price,
        instrument.max_price,
        instrument.min_qty,
        instrument.max_qty,
    )
    return (instrument.symbol, *(f"{size:f}" for size in sizes))
