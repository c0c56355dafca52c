"""The instruments of the file store: which may be written to a file, and what its lines and rows stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyengine._core.json_lines import trade_lines
from pyengine._core.names import Names
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.records import Records
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file_history import Line
from pyengine.stores.file_meta import LogMeta, same_grid
from pyengine.stores.json_form import read_object, read_symbol, read_trade


class FileInstruments:
    """The instruments that numbers in arrays stand for, beside those that a file was written with.

    Attributes
    ----------
    names : Names
    lent : bool
        Whether they belong to an engine, so that nothing is added to them here.
    """

    def __init__(self, path: Path, names: Names) -> None:
        self._path = path
        self.names = names
        self.lent = False
        self._checked = np.zeros(0, np.bool_)

    def replace(self, names: Names) -> None:
        """Take other names."""
        self.names = names
        self._checked = np.zeros(0, np.bool_)

    def refuse(self, rows: Records, meta: LogMeta) -> None:
        """Raise for an instrument that is unknown, or that can't be written with the decimals of the file."""
        numbers, instruments = np.ascontiguousarray(rows["instrument"]), self.names.instruments
        if numbers.max() >= len(instruments):
            row = int((numbers >= len(instruments)).argmax())
            raise FieldError(f"trades[{row}].instrument", int(numbers[row]), "the number of an instrument that the store knows")
        checked = self._checked
        if len(checked) < len(instruments):
            checked = np.concatenate((checked, np.zeros(len(instruments) - len(checked), np.bool_)))
            self._checked = checked
        if checked[numbers].all():
            return
        for number in np.unique(numbers[~checked[numbers]]):
            instrument = instruments[number]
            written = meta.instruments.get(instrument.symbol)
            if written is not None and not same_grid(instrument, written):
                raise FieldError("instrument", instrument, f"on the grid that {self._path} was written with: {written}")
            trade_lines(rows[numbers == number][:1], self.names)  # refuses a grid that has too many digits
            checked[number] = True

    def trade_of_row(self, row: Records) -> Trade:
        """Make a trade of a row that waits, as it would be read back from its line."""
        row = row.copy()
        row["seq"] = row["flags"] = row["reason"] = 0
        return trade_from_bytes(row.tobytes(), self.names.instruments[row["instrument"]])

    def trade_of_line(self, line: Line, meta: LogMeta) -> Trade:
        """Make a trade of a line."""
        fields = read_object(line.text, line.place)
        symbol = read_symbol(fields, line.place)
        return read_trade(fields, self._instrument(symbol, meta, line.place), line.place)

    def _instrument(self, symbol: str, meta: LogMeta, place: str) -> Instrument:
        """Find the instrument of a symbol: in the names, where it must have the grid of the file, else as the file has it."""
        number = self.names.instrument_index(symbol)
        written = meta.instruments.get(symbol)
        if number is None:
            instrument = meta.instrument(symbol)
            if not self.lent:
                self.names.add_instrument(instrument)
            return instrument
        instrument = self.names.instruments[number]
        if written is not None and not same_grid(instrument, written):
            raise StoreDamaged(f"{place}: instrument must have one grid, is {written} in {meta.path} and {instrument} here")
        return instrument
