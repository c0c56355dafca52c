"""Commands as columns: from Arrow tables, pandas and polars frames, or mappings of arrays, without copying where they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import COMMAND_COLUMNS, COMMAND_DTYPE, Records

Table: TypeAlias = Any
"""A mapping of names to arrays, a pyarrow Table or RecordBatch, or a pandas or polars DataFrame."""


class Commands:
    """One array for each of COMMAND_COLUMNS, all of one length; made by `commands_from`.

    The engine reads the columns where they are and brings them together a few hundred rows at a time.

    Parameters
    ----------
    columns : mapping of str to array
        For each of COMMAND_COLUMNS an array of the field's type; a constant has stride 0.
    rows : int
        Their length.
    """

    __slots__ = ("_columns", "_rows")

    def __init__(self, columns: Mapping[str, NDArray[Any]], rows: int) -> None:
        self._columns = tuple(columns[name] for name in COMMAND_COLUMNS)
        self._rows = rows

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in the order of COMMAND_COLUMNS."""
        return self._columns

    def __len__(self) -> int:
        """Return the number of commands."""
        return self._rows

    def __getitem__(self, rows: slice) -> Commands:
        """Select rows, without copying."""
        if not isinstance(rows, slice):
            raise FieldTypeError("rows", rows, "a slice")
        selected = {name: column[rows] for name, column in zip(COMMAND_COLUMNS, self._columns, strict=True)}
        return Commands(selected, len(range(self._rows)[rows]))

    def to_array(self) -> Records:
        """Copy into one array of COMMAND_DTYPE. O(rows)."""
        array = np.zeros(self._rows, COMMAND_DTYPE)
        for name, column in zip(COMMAND_COLUMNS, self._columns, strict=True):
            array[name] = column
        return array

    def __repr__(self) -> str:
        """Show the number of commands."""
        return f"<Commands: {self._rows} rows>"


def commands_from(table: Table, /, **constants: int) -> Commands:
    """Make commands from the columns of a table.

    Columns are found by the field names of COMMAND_DTYPE; fields that are neither in the table nor among the constants are 0.
    Integer columns of the field's own type are used in place; others are converted if every value fits.

    Parameters
    ----------
    table : Table
        A mapping of names to arrays, a pyarrow Table or RecordBatch, or a pandas or polars DataFrame.
    **constants : int
        One value for all rows, for example ``instrument=0``.

    Returns
    -------
    Commands

    Raises
    ------
    FieldError
        A column is unknown, given twice, of another length, has nulls, or holds values that don't fit its field.
    FieldTypeError
        The table is none of the above, or a column isn't of integers.
    """
    given = _columns_of(table)
    for name in (*given, *constants):
        if name not in COMMAND_COLUMNS:
            raise FieldError("column", name, f"one of {', '.join(COMMAND_COLUMNS)}")
        if name in given and name in constants:
            raise FieldError("column", name, "either in the table or a constant")
    arrays = {name: _as_array(name, column) for name, column in given.items()}
    if not arrays:
        raise FieldError("table", list(given), "a table with at least one column")
    rows = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        if len(array) != rows:
            raise FieldError(name, len(array), f"{rows} rows, as {next(iter(arrays))}")
    columns: dict[str, NDArray[Any]] = {}
    for name in COMMAND_COLUMNS:
        field = COMMAND_DTYPE[name]
        if name in given:
            columns[name] = _as_field(name, arrays[name], field)
        else:
            value = constants.get(name, 0)
            single = np.array([_checked(name, value, field)], field)
            columns[name] = np.broadcast_to(single, (rows,))
    return Commands(columns, rows)


def _columns_of(table: Table) -> dict[str, Any]:
    """Take a table apart into its columns, whatever library it comes from."""
    if isinstance(table, Mapping):
        return {str(name): column for name, column in table.items()}
    names = getattr(table, "column_names", None)  # pyarrow
    if names is None:
        names = getattr(table, "columns", None)  # pandas, polars
    if names is None or isinstance(table, np.ndarray):
        raise FieldTypeError("table", type(table).__name__, "a mapping, an Arrow table, or a pandas or polars frame")
    return {str(name): table[name] for name in names}


def _as_array(name: str, column: Any) -> NDArray[Any]:
    """View a column as a NumPy array, without copying if its library can."""
    nulls = getattr(column, "null_count", 0)  # pyarrow; polars has a method of this name
    if (nulls() if callable(nulls) else nulls) > 0:
        raise FieldError(name, "a column with nulls", "without nulls")
    if hasattr(column, "combine_chunks"):  # pyarrow.ChunkedArray
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if type(column).__module__.partition(".")[0] == "pyarrow":
        column = column.to_numpy(zero_copy_only=False)  # pyarrow refuses to copy unless told that it may
    elif hasattr(column, "to_numpy"):
        column = column.to_numpy()
    array = np.asarray(column)
    if array.ndim != 1:
        raise FieldError(name, array.shape, "one-dimensional")
    return array


def _as_field(name: str, array: NDArray[Any], field: np.dtype[Any]) -> NDArray[Any]:
    """Return the array itself if it has the field's type, or a converted copy if every value fits."""
    if array.dtype == field:
        return array
    if array.dtype.kind not in "iub":
        raise FieldTypeError(name, array.dtype, "a column of integers")
    if len(array):
        _checked(name, int(array.min()), field)
        _checked(name, int(array.max()), field)
    return array.astype(field)


def _checked(name: str, value: Any, field: np.dtype[Any]) -> int:
    """Return an integer that fits its field."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise FieldTypeError(name, value, "an int")
    limits = np.iinfo(field)
    number = int(value.__index__())
    if not limits.min <= number <= limits.max:
        raise FieldError(name, value, f"from {limits.min} to {limits.max}")
    return number
