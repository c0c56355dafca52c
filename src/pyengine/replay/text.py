"""A reader of CSV that turns whole blocks into integer columns at once, and names the row of whatever it can't read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyengine.replay.compression import read_blocks
from pyengine.replay.errors import ReplayError, shown
from pyengine.replay.kinds import FRONT_BYTES, CellError, Cells, Ints, Kind

_COMMA, _NEWLINE = b",\n"
_MAX_LINE_BYTES = 1 << 16


def csv_header(path: Path) -> list[str]:
    """Read the names in the first line of a CSV file.

    Raises
    ------
    ReplayError
        The file is empty, has no text in its first line, or can't be unpacked.
    """
    for block in _whole_lines(path):
        return _names(path, block.partition(b"\n")[0])
    raise ReplayError(path, "a header line", "an empty file")


def read_csv(
    path: Path, schema: Mapping[str, Kind], *, optional: Mapping[str, Kind] | None = None, names: Sequence[str] = ()
) -> dict[str, Ints]:
    """Read columns of a CSV file.

    Parameters
    ----------
    path : Path
        The file; gzip, xz and zstd are unpacked.
    schema, optional : mapping of name to kind
        Columns that must, and that may be there. Others are skipped unread.
    names : sequence of str, optional
        The columns in order, when the file has no header line.

    Returns
    -------
    dict of str to ndarray
        Columns of equal length.

    Raises
    ------
    ReplayError
        A column is missing, a row has too few or too many fields, a cell isn't of its kind, or the file can't be
        unpacked.

    Notes
    -----
    O(bytes of the wanted columns), in blocks; only the result stays in memory.
    """
    kinds = {**schema, **(optional or {})}
    parts: dict[str, list[Ints]] = {}
    rows = 0
    for block in _whole_lines(path):
        text = block
        if not parts:
            if not names:
                line, _, text = block.partition(b"\n")
                names = _names(path, line)
            missing = [name for name in schema if name not in names]
            if missing:
                raise ReplayError(path, f"there, beside {', '.join(names)}", "missing", column=missing[0])
            parts = {name: [np.zeros(0, kind.dtype)] for name, kind in kinds.items() if name in names}
        rows += _read_block(path, text, rows, list(names), kinds, parts)
    if not parts:
        raise ReplayError(path, "a header line" if not names else "at least one row", "an empty file")
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _read_block(
    path: Path, text: bytes, rows_before: int, names: list[str], kinds: Mapping[str, Kind], parts: dict[str, list[Ints]]
) -> int:
    """Add the columns of some whole lines to `parts`; give the number of lines."""
    if not text:
        return 0
    buffer = np.frombuffer(bytes(FRONT_BYTES) + text, np.uint8)
    ends = _cell_ends(path, buffer, len(names), rows_before)
    line_starts = np.append(FRONT_BYTES, ends[:-1, -1] + 1)
    for name, columns in parts.items():
        place = names.index(name)
        starts = line_starts if place == 0 else ends[:, place - 1] + 1
        cells = Cells(buffer, starts, ends[:, place])
        try:
            columns.append(kinds[name].parse(cells))
        except CellError as error:
            row = rows_before + error.index + 1
            raise ReplayError(path, error.expected, shown(cells[error.index]), row=row, column=name) from None
    return len(ends)


def _cell_ends(path: Path, buffer: NDArray[np.uint8], width: int, rows_before: int) -> NDArray[np.int64]:
    """Find where each cell ends, as an array of rows by columns."""
    is_newline = buffer == _NEWLINE
    at = np.flatnonzero(is_newline | (buffer == _COMMA))
    ends_line = is_newline[at]
    if len(at) % width == 0:
        ends = at.reshape(-1, width)
        shape = ends_line.reshape(-1, width)
        if shape[:, -1].all() and not shape[:, :-1].any():
            return ends
    widths = np.diff(np.flatnonzero(ends_line), prepend=-1)
    index = int((widths != width).argmax())
    raise ReplayError(path, f"{width} fields", str(widths[index]), row=rows_before + index + 1)


def _names(path: Path, line: bytes) -> list[str]:
    """Read the header line."""
    try:
        names = line.decode().split(",")
    except UnicodeDecodeError:
        raise ReplayError(path, "a line of text", shown(line), row=0) from None
    return [name.strip() for name in names]


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Read a file in blocks of whole lines, with plain line ends, no quotes, and nothing blank at the end."""
    rest = b""
    first = True
    for block in read_blocks(path):
        text = rest + block
        if first and text.startswith(b"\xef\xbb\xbf"):
            text = text[3:]
        cut = text.rfind(b"\n") + 1
        lines, rest = text[:cut], text[cut:]
        if len(rest) > _MAX_LINE_BYTES:
            raise ReplayError(path, f"lines of at most {_MAX_LINE_BYTES} bytes", "longer")
        if lines:
            first = False
            yield _plain(path, lines)
    if rest.strip():
        yield _plain(path, rest + b"\n")


def _plain(path: Path, lines: bytes) -> bytes:
    """Take carriage returns and quotes away."""
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    if b'"' not in lines:
        return lines
    out = []
    try:
        for fields in csv.reader(io.StringIO(lines.decode(errors="replace"))):
            if any("," in field or "\n" in field for field in fields):
                raise ReplayError(path, "fields without commas or line ends inside", shown(",".join(fields)))
            out.append(",".join(fields) + "\n")
    except csv.Error as error:
        raise ReplayError(path, "lines of CSV", f"damaged ({error})") from error
    return "".join(out).encode()
