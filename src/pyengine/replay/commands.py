"""Our own recordings: commands in columns named by COMMAND_DTYPE, as Parquet, CSV or NPZ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine.commands import Commands, commands_from
from pyengine.errors import FieldError, PyengineError
from pyengine.instrument import Instrument
from pyengine.records import COMMAND_COLUMNS, COMMAND_DTYPE, EVERY_INSTRUMENT, TRADE_DTYPE, Records
from pyengine.replay.checks import Check, TradesCheck
from pyengine.replay.errors import ReplayError, shown
from pyengine.replay.folder import expected_check
from pyengine.replay.kinds import Integer, Ints, Kind
from pyengine.replay.table import (
    arrow_errors,
    form_of,
    from_arrow,
    parquet_file,
    read_note,
    read_table,
    require_columns,
    write_table,
)
from pyengine.replay.tape import Batch, PlainTape, Prints, batches_of

if TYPE_CHECKING:
    from pyengine.engine import Engine

_NUMBERED = {"instrument": 1 << 20, "user": 1 << 24}
"""Columns whose numbers the engine must know beforehand, and how many of them a file may have."""

_READ_AHEAD = 2  # groups of rows decoded while the engine runs the one before


_FIELDS: dict[str, Kind] = {name: Integer(COMMAND_DTYPE[name].str) for name in COMMAND_COLUMNS}
_TRADE_FIELDS: dict[str, Kind] = {name: Integer(TRADE_DTYPE[name].str) for name in TRADE_DTYPE.names or ()}
_REQUIRED = {"action": _FIELDS["action"]}


def write_commands(path: str | PathLike[str], commands: Batch, *, instruments: Sequence[Instrument] = ()) -> None:
    """Write commands to a file that `read_commands` and `replay` read.

    Parameters
    ----------
    path : str or path
        Ends in .parquet, .csv or .npz, each also followed by .gz, .xz or .zst. The file is replaced.
    commands : array of COMMAND_DTYPE, or Commands
        A column that is 0 in all rows is left out, as that is what a missing one stands for.
    instruments : sequence of Instrument, optional
        What is traded, in the order of its numbers; kept in Parquet and NPZ.

    Raises
    ------
    ReplayError
        The name ends otherwise.
    FieldError
        A reserved byte isn't 0.
    """
    if isinstance(commands, Commands):
        columns = dict(zip(COMMAND_COLUMNS, commands.columns, strict=True))
    else:
        columns = {name: commands[name] for name in COMMAND_COLUMNS}
        if commands["reserved"].any():
            raise FieldError("reserved", commands["reserved"].max(), "0, as it has no column")
    _write_columns(Path(path), columns, instruments, "action")


def read_commands(path: str | PathLike[str]) -> Records:
    """Read a file of commands.

    Parameters
    ----------
    path : str or path
        A .parquet, .csv or .npz file with the column `action` and any others of COMMAND_DTYPE. Integers of another
        width are converted if they are in range.

    Returns
    -------
    ndarray of COMMAND_DTYPE

    Raises
    ------
    ReplayError
        The file is damaged, lacks `action`, or holds what isn't an integer or not in range.
    """
    return commands_from(read_table(Path(path), _REQUIRED, optional=_FIELDS)).to_array()


def write_trades(
    path: str | PathLike[str],
    trades: Records,
    *,
    instruments: Sequence[Instrument] = (),
    sources: Ints | None = None,
) -> None:
    """Write trades as `write_commands` writes commands; such a file also serves as `expected` of a later replay.

    Parameters
    ----------
    path, instruments
        As for `write_commands`.
    trades : array of TRADE_DTYPE, shape (n,)
        In order.
    sources : ndarray, optional
        Which recording each trade is of, as the column ``source``.
    """
    columns = {} if sources is None else {"source": sources}
    columns |= {name: trades[name] for name in _TRADE_FIELDS}
    _write_columns(Path(path), columns, instruments, "taker_id")


def _write_columns(path: Path, columns: Mapping[str, Ints], instruments: Sequence[Instrument], always: str) -> None:
    kept = {name: values for name, values in columns.items() if name == always or values.any()}
    described = [
        {"symbol": one.symbol, "tick_size": f"{one.tick_size:f}", "lot_size": f"{one.lot_size:f}"} for one in instruments
    ]
    write_table(path, kept, note={"instruments": described} if described else None)


def commands_tape(path: Path, *, expected: Path | None = None, instrument: Instrument | None = None) -> PlainTape | ParquetTape:
    """Open a file of commands.

    Parameters
    ----------
    path : Path
        As for `read_commands`.
    expected : Path, optional
        A file of trades, as `write_trades` writes it or as a folder has it, or of a final book.
    instrument : Instrument, optional
        What is traded, if it is one. By default what the file says, else instruments named ``0``, ``1`` and so on, of
        tick 1 and lot 1.

    Returns
    -------
    tape
        Parquet is decoded while it is replayed, a group of rows at a time; the other forms are read at once.
    """
    expectations = [] if expected is None else [_expected(expected)]
    if form_of(path) == "parquet":
        rows, highest, users = _parquet_shape(path)
        return ParquetTape(path.name, _instruments(path, highest, instrument), path, rows, users, expectations)
    columns = read_table(path, _REQUIRED, optional=_FIELDS)
    highest, users = (_highest(path, name, columns[name]) if name in columns else 0 for name in _NUMBERED)
    instruments = _instruments(path, highest, instrument)
    return PlainTape(path.name, instruments, commands_from(columns), expectations=expectations, users=users)


def _expected(path: Path) -> Callable[[], Check]:
    """Read expected trades under the names of TRADE_DTYPE, or what a folder may have."""
    columns = read_table(path, {}, optional=_TRADE_FIELDS)
    if "price_ticks" not in columns:
        return expected_check(path)
    return lambda: TradesCheck(columns)


def _highest(path: Path, name: str, numbers: Ints) -> int:
    """Find the highest number in use; the one that stands for all books doesn't count."""
    highest = int(numbers[numbers != EVERY_INSTRUMENT].max(initial=0))
    if highest >= _NUMBERED[name]:
        raise ReplayError(path, f"below {_NUMBERED[name]}", str(highest), column=name)
    return highest


def _instruments(path: Path, highest: int, instrument: Instrument | None) -> list[Instrument]:
    """List the instruments: the one given, those the file describes, and plain ones."""
    described = [instrument] if instrument is not None else _described(path)
    return described + [Instrument(str(number)) for number in range(len(described), highest + 1)]


def _described(path: Path) -> list[Instrument]:
    note = {} if form_of(path) == "csv" else read_note(path)
    try:
        return [Instrument(one["symbol"], one["tick_size"], one["lot_size"]) for one in note.get("instruments", [])]
    except (KeyError, TypeError, PyengineError) as error:
        raise ReplayError(path, "instruments with symbol, tick_size and lot_size", shown(str(note))) from error


def _parquet_shape(path: Path) -> tuple[int, int, int]:
    """Read the number of rows, and the highest instrument and user numbers."""
    with parquet_file(path) as file:
        require_columns(path, _REQUIRED, file.schema_arrow.names)
        highest, users = (_parquet_highest(path, file, name) for name in _NUMBERED)
        return int(file.metadata.num_rows), highest, users


def _parquet_highest(path: Path, file: Any, name: str) -> int:
    """Read the highest number of a column, from the statistics where the file has them."""
    if name not in file.schema_arrow.names:
        return 0
    place = file.schema_arrow.names.index(name)
    groups = [file.metadata.row_group(k).column(place).statistics for k in range(file.metadata.num_row_groups)]
    tops = [group.max if group is not None and group.has_min_max else None for group in groups]
    if all(isinstance(top, int) and 0 <= top < EVERY_INSTRUMENT for top in tops):
        return _highest(path, name, np.array(tops, np.int64))
    with arrow_errors(path):
        column = file.read(columns=[name]).column(0)
    return _highest(path, name, from_arrow(path, name, column, _FIELDS[name]))


@dataclass(frozen=True)
class ParquetTape:
    """Commands in Parquet, decoded by another thread while the engine runs those before."""

    name: str
    instruments: Sequence[Instrument]
    path: Path
    rows: int
    users: int = 0
    expectations: Sequence[Callable[[], Check]] = ()
    seed: None = None
    prints: Prints | None = None

    def checks(self) -> Sequence[Check]:
        """Make fresh checks."""
        return [make() for make in self.expectations]

    def batches(self, engine: Engine, checks: Sequence[Check]) -> Iterator[Batch]:  # noqa: ARG002  needs no look at the book
        """Give the commands, a group of rows at a time, with at most `_READ_AHEAD` groups waiting."""
        with parquet_file(self.path) as file, ThreadPoolExecutor(1) as reader:
            names = [name for name in _FIELDS if name in file.schema_arrow.names]
            starts = np.cumsum([0] + [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)])
            groups = range(file.metadata.num_row_groups)
            waiting = [reader.submit(self._group, file, k, names, int(starts[k])) for k in groups[:_READ_AHEAD]]
            for k in groups:
                commands = waiting.pop(0).result()
                if k + _READ_AHEAD < len(groups):
                    later = k + _READ_AHEAD
                    waiting.append(reader.submit(self._group, file, later, names, int(starts[later])))
                yield from batches_of(commands)

    def _group(self, file: Any, number: int, names: list[str], rows_before: int) -> Commands:
        """Decode one group of rows."""
        with arrow_errors(self.path):
            table = file.read_row_group(number, columns=names, use_threads=True)
        arrays: Mapping[str, Ints] = {
            name: from_arrow(self.path, name, table.column(name), _FIELDS[name], rows_before) for name in names
        }
        return commands_from(arrays)
