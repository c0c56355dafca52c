"""The grids of prices and sizes, kept in the table `instruments` so that another process can read the rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pyengine._core.names import Names
from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.store_errors import StoreDamaged
from pyengine.stores.postgres.driver import Connection, Row
from pyengine.stores.postgres.statements import statements

SQL = statements("instruments.sql")

FIRST_TICK = "0.00000001"
FIRST_LOT = 1
"""The grid of rows from before there was a table of instruments: NUMERIC(18,8) and INTEGER."""

_LIMITS = ("min_price", "max_price", "min_qty", "max_qty")


class Definitions:
    """What the database and a store's `names` say of instruments, held against each other.

    Parameters
    ----------
    place : str
        The database, for errors.
    names : Names
    lent : bool
        Whether the names are somebody else's, an engine's perhaps, and nothing may be added to them.

    Attributes
    ----------
    found : dict of str to Instrument
        Every symbol that was read or written so far. Never shrinks.

    Notes
    -----
    Thread-safety: entries are added on the I/O thread, and are read by any.
    """

    def __init__(self, place: str, names: Names, *, lent: bool) -> None:
        self.place = place
        self.names = names
        self.lent = lent
        self.found: dict[str, Instrument] = {}
        self._kept: set[str] = set()
        self._assumed: set[str] = set()

    def number(self, instrument: Instrument) -> int:
        """Return the number of an instrument in `names`, 0 if it has none there."""
        return self.names.instrument_index(instrument.symbol) or 0

    def rank(self, symbol: str) -> int:
        """Return a symbol's place among all that the store has learnt: by number, and those without one behind them."""
        number = self.names.instrument_index(symbol)
        return list(self.found).index(symbol) + len(self.names.instruments) if number is None else number

    def user_number(self, user: str) -> int:
        """Return the number of a user's name in `names`, 0 for nobody and for names that can't be added."""
        if not user:
            return 0
        found = self.names.user_index(user)
        if found is not None:
            return found
        return 0 if self.lent else self.names.add_user(user)

    def unkept(self, numbers: NDArray[np.uint32]) -> list[Instrument]:
        """List the instruments of these numbers that the database may not know yet."""
        given = [self.names.instruments[number] for number in np.unique(numbers)]
        return [instrument for instrument in given if instrument.symbol not in self._kept]

    async def keep(self, connection: Connection, instruments: Iterable[Instrument]) -> None:
        """Write definitions down, before the first row that needs them.

        Raises
        ------
        FieldError
            The database has another definition of a symbol.
        """
        new = {instrument.symbol: instrument for instrument in instruments if instrument.symbol not in self._kept}
        if not new:
            return
        await connection.execute(SQL["keep"], *map(list, zip(*map(_row, new.values()), strict=True)))
        for row in await connection.fetch(SQL["load"], list(new)):
            known = self._defined(row)
            given = new[known.symbol]
            if known != given:
                raise FieldError("instrument", given, f"as {self.place} has it, {known!r}")
        self.found.update(new)
        self._kept.update(new)
        self._assumed.difference_update(new)

    def forget_kept(self) -> None:
        """Note that the table may be another one, which knows nothing of what was written into the one before."""
        self._kept.clear()

    async def load(self, connection: Connection, symbols: Iterable[str]) -> None:
        """Read the definitions of symbols that were found in rows.

        Raises
        ------
        StoreDamaged
            A definition can't be, or contradicts the one of `names`.
        """
        new = {symbol for symbol in symbols if symbol not in self.found or symbol in self._assumed}
        if not new:
            return
        known = {row[0]: self._defined(row) for row in await connection.fetch(SQL["load"], list(new))}
        for symbol in new:
            self._learn(symbol, known.get(symbol))
        self._kept.update(known)

    def _learn(self, symbol: str, known: Instrument | None) -> None:
        number = self.names.instrument_index(symbol)
        ours = None if number is None else self.names.instruments[number]
        if known is None:
            # Rows from before there were definitions. What is only assumed stays out of `names`, and is looked up again, as
            # somebody may write down the truth.
            self.found[symbol] = ours or self._assume(symbol)
            self._assumed.add(symbol)
            return
        if ours is not None and ours != known:
            raise StoreDamaged(f"{self.place}, instruments, symbol {symbol}: the definition must be {ours!r}, was {known!r}")
        if ours is None and not self.lent:
            self.names.add_instrument(known)
        self.found[symbol] = ours or known
        self._assumed.discard(symbol)

    def _assume(self, symbol: str) -> Instrument:
        try:
            return Instrument(symbol, FIRST_TICK, FIRST_LOT)
        except FieldError as error:
            raise StoreDamaged(f"{self.place}, symbol {symbol!r} of a row: {error}") from error

    def _defined(self, row: Row) -> Instrument:
        symbol, tick_size, lot_size, *limits = row
        try:
            whole = Instrument(symbol, tick_size, lot_size)
            # A limit that nobody set may be beyond what may be set.
            named = zip(_LIMITS, limits, strict=True)
            return Instrument(symbol, tick_size, lot_size, **{n: limit for n, limit in named if limit != getattr(whole, n)})
        except FieldError as error:
            raise StoreDamaged(f"{self.place}, instruments, symbol {symbol!r}: {error}") from error


def _row(instrument: Instrument) -> tuple[object, ...]:
    grid = (instrument.symbol, instrument.tick_size, instrument.lot_size)
    return (*grid, *(getattr(instrument, name) for name in _LIMITS))
