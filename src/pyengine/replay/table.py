"""Columns of integers out of CSV, Parquet and NPZ files, and into them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyengine.optional import MissingExtraError, require
from pyengine.replay.compression import bare_name, packed_writer, read_all
from pyengine.replay.errors import ReplayError, shown
from pyengine.replay.kinds import Code, Integer, Ints, Kind, Time
from pyengine.replay.text import read_csv

_NPZ_MAGIC = b"PK"
_WHOLE_NPZ = "a whole NPZ file of plain arrays"
NOTE_KEY = "pyengine"
"""Where Parquet and NPZ files keep what isn't a column: a JSON object."""

_CSV_ROWS = 1 << 16
_GROUP_ROWS = 1 << 18  # of Parquet: decoded at a time, by one thread while another one runs the group before


def form_of(path: Path) -> str:
    """Tell ``csv``, ``parquet`` or ``npz`` from the name of a file, the suffix of its compression aside.

    Raises
    ------
    ReplayError
        The name ends otherwise.
    """
    form = bare_name(path).rpartition(".")[2]
    if form in {"csv", "txt"}:
        return "csv"
    if form in {"parquet", "npz"}:
        return form
    raise ReplayError(path, "one of .csv, .parquet, .npz, each also with .gz, .xz or .zst", path.name, subject="name")


def read_table(path: Path, schema: Mapping[str, Kind], *, optional: Mapping[str, Kind] | None = None) -> dict[str, Ints]:
    """Read columns of a CSV, Parquet or NPZ file.

    Parameters
    ----------
    path : Path
        The file.
    schema, optional : mapping of name to kind
        Columns that must, and that may be there. Others are skipped unread.

    Returns
    -------
    dict of str to ndarray
        Columns of equal length, in the types of their kinds.

    Raises
    ------
    ReplayError
        A column is missing or of another type, a value isn't of its kind, or the file is damaged.
    """
    form = form_of(path)
    if form == "csv":
        return read_csv(path, schema, optional=optional)
    kinds = {**schema, **(optional or {})}
    if form == "npz":
        return _read_npz(path, schema, kinds)
    with parquet_file(path) as file:
        names = file.schema_arrow.names
        require_columns(path, schema, names)
        with arrow_errors(path):
            table = file.read(columns=[name for name in kinds if name in names])
        return {name: from_arrow(path, name, table.column(name), kinds[name]) for name in table.column_names}


def require_columns(path: Path, schema: Mapping[str, Kind], names: list[str]) -> None:
    """Raise ReplayError for the first column that isn't there."""
    for name in schema:
        if name not in names:
            raise ReplayError(path, f"there, beside {', '.join(names) or 'nothing'}", "missing", column=name)


@contextmanager
def damage_named(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into ReplayError."""
    try:
        yield
    except (ReplayError, MissingExtraError):
        raise
    except Exception as error:  # damaged headers lead decoders into errors of every kind
        raise ReplayError(path, expected, f"damaged ({type(error).__name__}: {error})") from error


def arrow_errors(path: Path) -> AbstractContextManager[None]:
    """Name a damaged Parquet file."""
    return damage_named(path, "a whole Parquet file")


@contextmanager
def parquet_file(path: Path) -> Iterator[Any]:
    """Open a Parquet file, mapped into memory, or unpacked into it when the file itself was compressed."""
    parquet = require("pyarrow.parquet", "parquet")
    if not path.is_file():
        raise ReplayError(path, "a readable file", "no file", subject="path")
    with arrow_errors(path):
        if path.name.lower() == bare_name(path):
            file = parquet.ParquetFile(path, memory_map=True)
        else:
            file = parquet.ParquetFile(io.BytesIO(read_all(path)))
    with file:
        yield file


def from_arrow(path: Path, name: str, column: Any, kind: Kind, rows_before: int = 0) -> Ints:
    """Convert an Arrow array or chunked array; without a copy where type, nulls and chunks allow.

    Raises
    ------
    ReplayError
        The type is neither integer nor what the kind allows, or a value is null or out of range.
    """
    types = require("pyarrow.types", "parquet")
    compute = require("pyarrow.compute", "parquet")
    blank = getattr(kind, "blank", None)
    if column.null_count:
        if blank is None:
            row = rows_before + int(compute.index(compute.is_null(column), value=True).as_py()) + 1
            raise ReplayError(path, kind.expected, "null", row=row, column=name)
        if types.is_integer(column.type):
            column = column.fill_null(blank)
    if isinstance(kind, Time) and types.is_timestamp(column.type):
        arrow = require("pyarrow", "parquet")
        column = column.cast(arrow.timestamp("ns", column.type.tz)).cast(arrow.int64())
    if isinstance(kind, Code) and not types.is_integer(column.type):
        return _coded(path, name, column, kind, rows_before)
    if not types.is_integer(column.type):
        raise ReplayError(path, "integers", str(column.type), column=name)
    return in_range(path, name, column.to_numpy(), kind, rows_before)


def _coded(path: Path, name: str, column: Any, kind: Code, rows_before: int) -> Ints:
    """Convert words by way of their dictionary."""
    types = require("pyarrow.types", "parquet")
    if not types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = dict(kind.codes) if kind.blank is None else {**kind.codes, "": kind.blank}
    values = []
    for chunk in getattr(column, "chunks", [column]):
        words = [word.decode() if isinstance(word, bytes) else word for word in chunk.dictionary.to_pylist()]
        numbers = np.array([codes.get(word, -1) for word in words] + [codes.get("", -1)], np.int64)
        indices = chunk.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
        part = numbers[indices]
        if (part < 0).any():
            index = int((part < 0).argmax())
            word = shown(words[indices[index]])
            raise ReplayError(path, kind.expected, word, row=rows_before + index + 1, column=name)
        rows_before += len(part)
        values.append(part)
    return np.concatenate(values or [np.zeros(0, np.int64)]).astype(kind.dtype)


def in_range(path: Path, name: str, values: Ints, kind: Kind, rows_before: int = 0) -> Ints:
    """Give integers the type of their kind: as they are when it is theirs, else checked and converted."""
    dtype = np.dtype(getattr(kind, "dtype", values.dtype))
    if values.dtype == dtype:
        return values
    if values.dtype.kind not in "iu":
        raise ReplayError(path, "integers", str(values.dtype), column=name)
    info, have = np.iinfo(dtype), np.iinfo(values.dtype)
    bad = np.zeros(len(values), bool)
    if have.min < info.min:
        bad |= values < info.min
    if have.max > info.max:
        bad |= values > info.max
    if bad.any():
        index = int(bad.argmax())
        expected = Integer(dtype.str).expected
        raise ReplayError(path, expected, str(values[index]), row=rows_before + index + 1, column=name)
    return values.view(dtype) if values.dtype.itemsize == dtype.itemsize else values.astype(dtype)


def _read_npz(path: Path, schema: Mapping[str, Kind], kinds: Mapping[str, Kind]) -> dict[str, Ints]:
    """Read the arrays of an NPZ file; pickled objects are refused."""
    with _npz(path) as arrays, damage_named(path, _WHOLE_NPZ):
        require_columns(path, schema, [name for name in arrays.files if name != NOTE_KEY])
        columns = {name: arrays[name] for name in kinds if name in arrays.files}
    lengths = {len(values) if values.ndim == 1 else -1 for values in columns.values()}
    if len(lengths) > 1 or -1 in lengths:
        found = ", ".join(f"{name} {values.shape}" for name, values in columns.items())
        raise ReplayError(path, "one-dimensional arrays of equal length", found)
    return {name: in_range(path, name, values, kinds[name]) for name, values in columns.items()}


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    raw = read_all(path)
    if not raw.startswith(_NPZ_MAGIC):
        raise ReplayError(path, "an NPZ file", f"a file that starts with {shown(raw[:8])}")
    with damage_named(path, _WHOLE_NPZ):
        arrays = np.load(io.BytesIO(raw), allow_pickle=False)
    with arrays:
        yield arrays


def read_note(path: Path) -> dict[str, Any]:
    """Read what `write_table` was given as `note`; empty when there is none."""
    form = form_of(path)
    text: str | bytes = b""
    if form == "npz":
        with _npz(path) as arrays, damage_named(path, _WHOLE_NPZ):
            text = str(arrays[NOTE_KEY]) if NOTE_KEY in arrays.files else b""
    elif form == "parquet":
        with parquet_file(path) as file:
            text = (file.schema_arrow.metadata or {}).get(NOTE_KEY.encode(), b"")
    try:
        note = json.loads(text or b"{}")
    except ValueError as error:
        raise ReplayError(path, "JSON", shown(text), subject=f"entry {NOTE_KEY}") from error
    return note if isinstance(note, dict) else {}


def write_table(path: Path, columns: Mapping[str, Ints], *, note: Mapping[str, Any] | None = None) -> None:
    """Write columns as the name says: .csv, .parquet or .npz, packed again by a further .gz, .xz or .zst.

    Parameters
    ----------
    path : Path
        The file; it is replaced.
    columns : mapping of name to ndarray
        Integer columns of equal length.
    note : mapping, optional
        What is no column, as JSON. Kept in Parquet and NPZ; CSV has no place for it.
    """
    form = form_of(path)
    with packed_writer(path) as file:
        if form == "csv":
            file.write((",".join(columns) + "\n").encode())
            rows = len(next(iter(columns.values()), ()))
            for start in range(0, rows, _CSV_ROWS):
                lists = [map(str, values[start : start + _CSV_ROWS].tolist()) for values in columns.values()]
                file.write(("\n".join(map(",".join, zip(*lists, strict=True))) + "\n").encode())
        elif form == "npz":
            arrays: dict[str, Any] = {name: np.ascontiguousarray(values) for name, values in columns.items()}
            whole = io.BytesIO()  # a zip file goes back to its headers, which a packed one can't
            if note:
                arrays[NOTE_KEY] = np.array(json.dumps(note))
            np.savez_compressed(whole, **arrays)
            file.write(whole.getbuffer())
        else:
            _write_parquet(file, columns, note)


def _write_parquet(file: Any, columns: Mapping[str, Ints], note: Mapping[str, Any] | None) -> None:
    """Write Parquet that is small and reads fast: codes by dictionary, numbers by differences, lightly compressed."""
    arrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    table = arrow.table({name: arrow.array(np.ascontiguousarray(values)) for name, values in columns.items()})
    if note:
        table = table.replace_schema_metadata({NOTE_KEY: json.dumps(note)})
    codes = [name for name, values in columns.items() if values.dtype.itemsize == 1]
    parquet.write_table(
        table,
        file,
        compression="zstd",
        compression_level=1,
        row_group_size=_GROUP_ROWS,
        use_dictionary=codes,
        column_encoding={name: "DELTA_BINARY_PACKED" for name in columns if name not in codes},
    )
