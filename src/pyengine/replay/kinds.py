"""The kinds of columns a recording has, and how text becomes the integers that the engine works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[Any]
Bytes: TypeAlias = NDArray[np.uint8]

FRONT_BYTES = 64
"""Bytes that a block of text has before its first cell, so that a cell can be read with what precedes it."""

_SAFE_DIGITS = 19  # any number of 19 digits fits 64 bits unsigned
_ZEROS = np.uint64(0x3030303030303030)  # eight times "0"
_THREES = np.uint64(0x3333333333333333)
_SIXES = np.uint64(0x0606060606060606)
_UPPER = np.uint64(0xF0F0F0F0F0F0F0F0)  # the upper half of each byte
_MINUS, _POINT, _ZERO = b"-.0"
_TIME_FORM = np.frombuffer(b"0000-00-00T00:00:00.000000000", np.uint8)
_TIME_LENGTHS = (10, 19, *range(21, 30))  # a day, a second, and any fraction of it


class CellError(Exception):
    """A cell isn't of its column's kind: `index` is its place in the block, from 0."""

    def __init__(self, index: int, expected: str) -> None:
        self.index = index
        self.expected = expected
        super().__init__(expected)


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one column in a block of text: from `starts` up to, not including, `ends`."""

    text: Bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __getitem__(self, index: int) -> str:
        return self.text[self.starts[index] : self.ends[index]].tobytes().decode(errors="replace")

    def padded(self, width: int) -> NDArray[np.bytes_]:
        """Copy the cells into fixed-size strings of `width` bytes; a longer cell is cut."""
        matrix = np.zeros((len(self.starts), width), np.uint8)
        for k in range(width):
            at = self.starts + k
            live = at < self.ends
            matrix[live, k] = self.text[at[live]]
        return matrix.view(f"S{width}")[:, 0]


@dataclass(frozen=True, slots=True)
class Integer:
    """Whole numbers. `blank` stands in for an empty cell or null; without it there must be none."""

    dtype: str = "<i8"
    blank: int | None = None

    @property
    def expected(self) -> str:
        """What a cell must be."""
        info = np.iinfo(self.dtype)
        return f"a whole number from {info.min} to {info.max}"

    def parse(self, cells: Cells) -> Ints:
        """Read the cells. O(digits)."""
        return _signed(cells, self, lambda magnitudes: _digits(cells.text, *magnitudes))


@dataclass(frozen=True, slots=True)
class Decimal:
    """Decimal numbers as whole steps of 10**-places, exactly: no binary fraction in between."""

    places: int
    blank: int | None = None
    dtype: str = "<i8"

    @property
    def expected(self) -> str:
        """What a cell must be."""
        return f"a decimal number of at most {self.places} places"

    def parse(self, cells: Cells) -> Ints:
        """Read the cells. O(digits)."""
        return _signed(cells, self, lambda magnitudes: self._steps(cells.text, *magnitudes))

    def _steps(self, text: Bytes, starts: Ints, ends: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Read whole and fractional digits apart, and add them up."""
        points = np.append(np.flatnonzero(text == _POINT), len(text))
        points = np.minimum(points[np.searchsorted(points, starts)], ends)
        whole, bad = _digits(text, starts, points)
        bad |= whole >= np.uint64((2**63 - 1) // 10**self.places)
        first = np.minimum(points + 1, ends)
        last = np.minimum(first + self.places, ends)
        fraction, bad_fraction = _digits(text, first, last, may_be_empty=True)
        beyond, bad_beyond = _digits(text, last, ends, may_be_empty=True)
        powers = np.array([10**k for k in range(self.places + 1)], np.uint64)
        steps = whole * powers[-1] + fraction * powers[self.places - (last - first)]
        return steps, bad | bad_fraction | bad_beyond | (beyond != 0)


@dataclass(frozen=True, slots=True)
class Code:
    """Words that stand for numbers. Columns that aren't text may hold the numbers themselves."""

    codes: Mapping[str, int]
    blank: int | None = None
    dtype: str = "u1"

    @property
    def expected(self) -> str:
        """What a cell must be."""
        return f"one of {', '.join(word for word in self.codes if word)}"

    def parse(self, cells: Cells) -> Ints:
        """Read the cells. O(words)."""
        width = max(map(len, self.codes)) + 1  # one more, so that a longer word is no match
        tokens = cells.padded(width)
        values = np.zeros(len(tokens), self.dtype)
        known = np.zeros(len(tokens), bool)
        codes = dict(self.codes) if self.blank is None else {**self.codes, "": self.blank}
        for word, number in codes.items():
            match = tokens == word.encode()
            values[match] = number
            known |= match
        _refuse(~known, self.expected)
        return values


@dataclass(frozen=True, slots=True)
class Time:
    """UTC times such as 2025-07-17T07:05:09.035793433Z, or integers, as nanoseconds since 1970."""

    blank: int | None = None
    dtype: str = "<i8"

    @property
    def expected(self) -> str:
        """What a cell must be."""
        return "a UTC time such as 2025-07-17T07:05:09.035793433Z, or nanoseconds since 1970"

    def parse(self, cells: Cells) -> Ints:
        """Read the cells; NumPy reads the calendar."""
        lengths = cells.ends - cells.starts
        zulu = (lengths > 0) & (cells.text[np.maximum(cells.ends - 1, 0)] == ord("Z"))
        if not zulu.any():
            return Integer(self.dtype, self.blank).parse(cells)
        _refuse(~np.isin(lengths - 1, _TIME_LENGTHS) | ~zulu, self.expected)
        texts = Cells(cells.text, cells.starts, cells.ends - 1).padded(len(_TIME_FORM))
        # NumPy would also take offsets from UTC, words such as NaT, and years that don't fit into nanoseconds.
        letters = texts.view(np.uint8).reshape(len(texts), -1)
        is_digit = letters - np.uint8(_ZERO) <= 9
        fits = np.where(_TIME_FORM == _ZERO, is_digit, letters == _TIME_FORM) | (letters == 0)
        _refuse(~fits.all(axis=1) | (texts < b"1678") | (texts >= b"2262"), self.expected)
        try:
            return texts.astype("datetime64[ns]").view("<i8")
        except ValueError:
            for index, text in enumerate(texts):
                if not _is_time(text):
                    raise CellError(index, self.expected) from None
            raise


@dataclass(frozen=True, slots=True)
class Word:
    """Short text, kept as bytes; at most `width` of them."""

    width: int = 64
    dtype: str = "S1"

    @property
    def expected(self) -> str:
        """What a cell must be."""
        return f"text of at most {self.width} bytes"

    def parse(self, cells: Cells) -> Ints:
        """Copy the cells. O(width)."""
        lengths = cells.ends - cells.starts
        _refuse(lengths > self.width, self.expected)
        return cells.padded(max(1, int(lengths.max(initial=1))))


Kind: TypeAlias = Integer | Decimal | Code | Time | Word


def _refuse(bad: NDArray[np.bool_], expected: str) -> None:
    """Raise for the first cell that is bad, if any."""
    if bad.any():
        raise CellError(int(bad.argmax()), expected)


def _is_time(text: bytes) -> bool:
    try:
        np.datetime64(text.decode(errors="replace"), "ns")
    except ValueError:
        return False
    return True


def _signed(cells: Cells, kind: Integer | Decimal, read: Callable[[tuple[Ints, Ints]], tuple[Ints, NDArray[np.bool_]]]) -> Ints:
    """Take blanks and signs off, read the magnitudes, and put both back in the column's type."""
    empty = cells.ends == cells.starts
    first = cells.text[np.where(empty, 0, cells.starts)]
    negative = ~empty & (first == _MINUS)
    magnitude, bad = read((cells.starts + negative, cells.ends))
    if kind.blank is not None:
        bad &= ~empty
    info = np.iinfo(kind.dtype)
    limit = np.where(negative, np.uint64(-info.min), np.uint64(info.max))
    _refuse(bad | (magnitude > limit), kind.expected)
    values = np.where(negative, np.uint64(0) - magnitude, magnitude).astype(kind.dtype)
    if kind.blank is not None:
        values[empty] = kind.blank
    return values


def _digits(text: Bytes, starts: Ints, ends: Ints, *, may_be_empty: bool = False) -> tuple[Ints, NDArray[np.bool_]]:
    """Read unsigned whole numbers, all rows at once; `text` has `FRONT_BYTES` in front of the first cell.

    Eight digits are taken as one 64-bit word, so a number costs a few operations on arrays and not some for each digit.
    """
    lengths = ends - starts
    bad = lengths < 0 if may_be_empty else lengths <= 0
    values = np.zeros(len(starts), np.uint64)
    words = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))  # the eight bytes from each place on
    longest = min(int(lengths.max(initial=0)), _SAFE_DIGITS)
    for done in range(0, longest, 8):
        number, wrong = _eight_digits(words[ends - (done + 8)], lengths - done)
        values += number * np.uint64(10**done)
        bad |= wrong
    for index in np.flatnonzero(lengths > _SAFE_DIGITS):  # rare: ids near 2**64, or nonsense
        cell = text[starts[index] : ends[index]].tobytes()
        large = int(cell) if cell.isdigit() and len(cell) <= FRONT_BYTES else 2**64
        bad[index] = large >= 2**64
        values[index] = large if large < 2**64 else 0
    return values, bad


def _eight_digits(words: Ints, lengths: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Read the last `lengths` (at most 8) characters of each word as a number; say which have other characters.

    Neighbouring digits are joined to pairs, pairs to fours, fours to eights, each by one multiplication.
    """
    drop = (8 * (8 - np.clip(lengths, 0, 8))).astype(np.uint64)
    keep = np.uint64(2**64 - 1) << drop
    words = (words & keep) | (_ZEROS & ~keep)
    wrong = ((words & _UPPER) | (((words + _SIXES) & _UPPER) >> np.uint64(4))) != _THREES
    words = ((words & ~_UPPER) * np.uint64(10 * 2**8 + 1)) >> np.uint64(8)
    words = ((words & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(100 * 2**16 + 1)) >> np.uint64(16)
    words = ((words & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(10000 * 2**32 + 1)) >> np.uint64(32)
    return words, wrong
