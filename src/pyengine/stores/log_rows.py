"""Lines of the trade log as records: the usual form by the core, any other JSON one by one, what is neither as damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyengine._core.log_lines import trade_rows
from pyengine._core.names import Names
from pyengine._core.trade import Trade
from pyengine.errors import FieldError
from pyengine.records import TRADE_DTYPE, Records
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file_meta import LogMeta, same_grid
from pyengine.stores.json_form import read_object, read_symbol, read_trade
from pyengine.stores.log_cursor import Block, lines_before

_MOST_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that isn't a trade, and where it is.

    Attributes
    ----------
    path : Path
    line : int
        Counted from 1.
    at : int
        Byte of the file, unpacked, that it begins at.
    text : bytes
    why : str
        What is wrong with it, after the place.
    """

    path: Path
    line: int
    at: int
    text: bytes
    why: str

    def __str__(self) -> str:
        """Say where and why."""
        return f"{self.path}, line {self.line}, byte {self.at}: {self.why}"


class LogRows:
    """Makes records of the lines of a log.

    Parameters
    ----------
    path : Path
        The file that is (or was) written to.
    names : Names
        Table of the instruments that records refer to; symbols that are met are added.
    skips : bool
        Whether a line that isn't a trade is skipped, or raises StoreDamaged.
    on_damaged : callable, optional
        Told of each line that is skipped.

    Attributes
    ----------
    names : Names
    damaged : list of DamagedLine
        Lines that were skipped, the first thousand of them.
    damaged_count : int

    Notes
    -----
    Not thread-safe.
    """

    def __init__(self, path: Path, names: Names, *, skips: bool, on_damaged: Callable[[DamagedLine], object] | None) -> None:
        self.path = path
        self.names = names
        self.damaged: list[DamagedLine] = []
        self.damaged_count = 0
        self._skips = skips
        self._on_damaged = on_damaged
        self._counted: tuple[int, int, int] = (0, 0, 0)
        self._checked: set[str] = set()

    def of_block(self, block: Block) -> Records:
        """Read the lines of a block; kind is 0 where one was skipped."""
        rows, ends = trade_rows(block.text, self.names, self.number)
        end = int(ends[-1]) if len(ends) else 0
        if not rows["kind"].all() or end != len(block.text):
            self.mend(block, rows, ends.tolist())
        return rows

    def mend(self, block: Block, rows: Records, ends: list[int]) -> None:
        """Read the lines that aren't in the usual form, one by one."""
        for row in np.flatnonzero(rows["kind"] == 0).tolist():
            begin = ends[row - 1] if row else 0
            trade = self._trade(block, begin, block.text[begin : ends[row] - 1])
            rows[row] = np.frombuffer(bytes(trade), TRADE_DTYPE)[0] if trade is not None else np.zeros(1, TRADE_DTYPE)[0]
        end = ends[-1] if ends else 0
        if end != len(block.text):
            self._damaged(block, end, block.text[end:], "line must end with a line feed, is the last of a closed file")

    def _trade(self, block: Block, begin: int, text: bytes) -> Trade | None:
        """Read a line by all that JSON allows."""
        try:
            fields = read_object(text, "")
            number = self._numbered(read_symbol(fields, ""))
            return read_trade(fields, self.names.instruments[number], "", number)
        except StoreDamaged as error:
            self._damaged(block, begin, text, str(error).removeprefix(": "))
            return None

    def _damaged(self, block: Block, begin: int, text: bytes, why: str) -> None:
        """Report a line."""
        line = DamagedLine(block.path, self._line(block, begin), block.at + begin, text, why)
        if not self._skips:
            raise StoreDamaged(f"file store: {line}")
        self.damaged_count += 1
        if len(self.damaged) < _MOST_KEPT:
            self.damaged.append(line)
        if self._on_damaged is not None:
            self._on_damaged(line)

    def _line(self, block: Block, begin: int) -> int:
        """Give the number of a line, from 1; those before a block are counted once."""
        number, at, lines = self._counted
        if (number, at) != (block.number, block.at) or at == 0:
            lines = lines_before(self.path, block.number, block.at) if block.at else 0
            self._counted = block.number, block.at, lines
        return lines + block.text.count(b"\n", 0, begin) + 1

    def number(self, spelt: bytes) -> int | None:
        """Give the number of an instrument whose symbol stands in a line; None leaves the line to `_trade`."""
        try:
            symbol = spelt.decode()
            return self._numbered(json.loads(f'"{symbol}"') if "\\" in symbol else symbol)
        except FieldError as error:
            if error.field == "names":
                raise
            return None
        except ValueError:
            return None

    def _numbered(self, symbol: str) -> int:
        """Give the number of an instrument, which is added if it is new.

        Raises
        ------
        FieldError
            It is no symbol, or the names have it on another grid than the file.
        """
        number = self.names.instrument_index(symbol)
        if symbol in self._checked and number is not None:
            return number
        meta = LogMeta(self.path)
        if number is None:
            return self.names.add_instrument(meta.instrument(symbol))
        written, known = meta.instruments.get(symbol), self.names.instruments[number]
        if written is not None and not same_grid(known, written):
            raise FieldError("names", known, f"on the grid that {self.path} was written with: {written}")
        self._checked.add(symbol)
        return number
