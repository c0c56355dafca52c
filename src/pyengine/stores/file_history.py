"""The lines of a log, across the files it was closed in: the newest trades, and all ids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from pyengine._core.json_lines import line_trade_ids
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file_append import last_line_end
from pyengine.stores.file_ids import IdRanges
from pyengine.stores.file_packed import PackedFile, packed_path
from pyengine.stores.json_form import read_object

_FIRST_BLOCK_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 22
_EPOCH = date(1970, 1, 1).toordinal()


class Section(Protocol):
    """Bytes of one file."""

    path: Path
    size: int

    def read(self, at: int, count: int) -> bytes:
        """Read up to `count` bytes."""
        ...

    def close(self) -> None:
        """Close the descriptor."""
        ...


class PlainFile:
    """Reads a file as it is, up to its last whole line or a given size."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = last_line_end(self._fd, self.full_size) if size is None else size

    @property
    def full_size(self) -> int:
        """Bytes that are there now, whole lines or not."""
        return os.fstat(self._fd).st_size

    def read(self, at: int, count: int) -> bytes:
        """Read up to `count` bytes."""
        return os.pread(self._fd, min(count, self.size - at), at)

    def is_under(self, path: Path) -> bool:
        """Whether it is the file of a name at the moment."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._fd))

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)


class Line(NamedTuple):
    """A line and where it is."""

    path: Path
    at: int
    text: bytes

    @property
    def place(self) -> str:
        """Name the place for errors."""
        return f"file store: {self.path}, byte {self.at}"

    @property
    def trade_id(self) -> int:
        """Read the trade id."""
        return int(line_trade_ids(self.text + b"\n")[0]) or _odd_id(self)

    @property
    def day(self) -> int:
        """Read the day of the trade, counted from 1970."""
        stamp = read_object(self.text, self.place).get("timestamp")
        try:
            return date.fromisoformat(str(stamp)[:10]).toordinal() - _EPOCH
        except ValueError as error:
            raise StoreDamaged(f"{self.place}: timestamp must be an RFC 3339 time, was {stamp!r}") from error


def closed_files(path: Path) -> list[tuple[int, Path]]:
    """List the closed files of a log by rising number, each under the name of its unpacked form."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d{6,})(?:\.zst)?")
    matches = (pattern.fullmatch(entry.name) for entry in os.scandir(path.parent))
    return [(number, closed_path(path, number)) for number in sorted({int(match[1]) for match in matches if match})]


def closed_path(path: Path, number: int) -> Path:
    """Name a closed file of a log."""
    return path.with_name(f"{path.name}.{number:06}")


def closed_section(path: Path) -> Section:
    """Open a closed file, packed or not, which the caller closes; it may be being packed at this moment."""
    try:
        return PackedFile(packed_path(path))
    except FileNotFoundError:
        try:
            return PlainFile(path)
        except FileNotFoundError:
            return PackedFile(packed_path(path))


@contextmanager
def open_closed(path: Path) -> Iterator[Section]:
    """Open a closed file until the end of the block."""
    with closing(closed_section(path)) as section:
        yield section


class LogView:
    """The files of a log at one moment.

    Attributes
    ----------
    closed : list of (int, Path)
        Numbers and names of the closed files, by rising number.
    current : PlainFile or None
        The file that is being written to.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.closed: list[tuple[int, Path]] = []
        self.current: PlainFile | None = None
        while True:
            self.closed = closed_files(path)
            try:
                self.current = PlainFile(path, size)
            except FileNotFoundError:
                self.current = None
            # Another process may have closed the file and begun a new one between the two.
            if closed_files(path) == self.closed:
                return
            self.close()

    def sections(self) -> Iterator[Section]:
        """Give the files, the newest first; each closed one is open until the next is asked for."""
        if self.current is not None:
            yield self.current
        for _, path in reversed(self.closed):
            with open_closed(path) as section:
                yield section

    def close(self) -> None:
        """Close the current file."""
        if self.current is not None:
            self.current.close()


def blocks_backwards(section: Section) -> Iterator[tuple[int, bytes]]:
    """Give whole lines in blocks of growing size, from the end, each with its place."""
    end, count = section.size, _FIRST_BLOCK_BYTES
    while end > 0:
        begin = max(0, end - count)
        block = section.read(begin, end - begin)
        if len(block) != end - begin or not block.endswith(b"\n"):
            raise StoreDamaged(f"file store: {section.path}, byte {begin}: file must hold whole lines up to byte {end}, does not")
        if begin > 0:
            cut = block.find(b"\n") + 1
            if cut == len(block):
                count *= 2
                continue
            begin, block = begin + cut, block[cut:]
        yield begin, block
        end, count = begin, min(count * 2, _BLOCK_BYTES)


def lines_backwards(section: Section) -> Iterator[tuple[int, Line]]:
    """Give each line from the end with its trade id."""
    for begin, block in blocks_backwards(section):
        ids = line_trade_ids(block).tolist()
        end = len(block)
        for trade_id in reversed(ids):
            at = block.rfind(b"\n", 0, end - 1) + 1
            line = Line(section.path, begin + at, block[at : end - 1])
            yield trade_id or _odd_id(line), line
            end = at


def _odd_id(line: Line) -> int:
    """Read the trade id of a line that isn't in the form that the core writes."""
    trade_id = read_object(line.text, line.place).get("trade_id")
    if type(trade_id) is not int or not 0 < trade_id < 2**63:
        raise StoreDamaged(f"{line.place}: trade_id must be a whole number from 1, was {trade_id!r}")
    return trade_id


def newest_lines(view: LogView, limit: int, late: IdRanges) -> dict[int, Line]:
    """Find the lines of the newest trades, by id, and maybe more; of an id that is there twice the first line.

    Lines rise by trade id, but for those whose ids are in `late`: from the first that came late to the highest of that time. So a
    line whose id isn't there has all lower ids before it, and all higher ones behind it.

    Raises
    ------
    StoreDamaged
        A line is damaged, or isn't where it must be.
    """
    found: dict[int, Line] = {}
    lowest = 2**63
    if limit == 0:
        return found
    for section in view.sections():
        for trade_id, line in lines_backwards(section):
            found[trade_id] = line
            if trade_id in late:
                continue
            if trade_id >= lowest:
                raise StoreDamaged(f"{line.place}: trade_id must be below {lowest}, which follows it, was {trade_id}")
            lowest = trade_id
            if len(found) >= limit:
                return found
    return found


def last_line(view: LogView, late: IdRanges) -> tuple[Line | None, IdRanges]:
    """Find the last line, and the ids of the lines near it, the highest of all among them.

    A line whose id isn't in `late` has no higher one before it: what stands before a block that begins with it needn't be read.
    """
    near = IdRanges()
    line = None
    for section in view.sections():
        for begin, block in blocks_backwards(section):
            ids = line_trade_ids(block)
            near.add(np.unique(ids[ids > 0]))
            if line is None:
                at = block.rfind(b"\n", 0, len(block) - 1) + 1
                line = Line(section.path, begin + at, block[at:-1])
                near.add_range(line.trade_id, line.trade_id)
            if ids[0] > 0 and int(ids[0]) not in late:
                return line, near
    return line, near


def all_ids(view: LogView) -> IdRanges:
    """Read the ids of all lines. O(bytes), about a second for each gigabyte."""
    known = IdRanges()
    for section in view.sections():
        for begin, block in blocks_backwards(section):
            ids = line_trade_ids(block)
            known.add(np.unique(ids[ids > 0]))
            if (ids == 0).any():
                _add_odd(known, section, begin, block, ids.tolist())
    return known


def _add_odd(known: IdRanges, section: Section, begin: int, block: bytes, ids: list[int]) -> None:
    at = 0
    for trade_id, text in zip(ids, block.split(b"\n"), strict=False):
        if trade_id == 0:
            known.add_range(*[_odd_id(Line(section.path, begin + at, text))] * 2)
        at += len(text) + 1
