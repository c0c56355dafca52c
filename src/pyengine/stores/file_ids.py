"""Which trade ids a file holds: ranges of them, because they are nearly always dense."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class IdRanges:
    """A set of integers, kept as ranges that rise, don't touch, and include both ends.

    Parameters
    ----------
    others : iterable of (int, int)
        Ranges to begin with.
    *more : (int, int)
        More of them.

    Notes
    -----
    Adding at the end is O(1), elsewhere O(ranges). Not thread-safe.
    """

    def __init__(self, others: Iterable[tuple[int, int]] = (), *more: tuple[int, int]) -> None:
        self._firsts = array("q")
        self._lasts = array("q")
        for first, last in (*others, *more):
            self.add_range(first, last)

    def __contains__(self, number: int) -> bool:
        """Whether a number is in a range. O(log ranges)."""
        at = bisect_left(self._lasts, number)
        return at < len(self._lasts) and self._firsts[at] <= number

    def covers(self, first: int, last: int) -> bool:
        """Whether all numbers from `first` to `last` are here. O(log ranges)."""
        at = bisect_left(self._lasts, first)
        return at < len(self._lasts) and self._firsts[at] <= first and last <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give the ranges."""
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """Count the ranges."""
        return len(self._firsts)

    @property
    def highest(self) -> int:
        """The highest number; 0 when there is none."""
        return self._lasts[-1] if self._lasts else 0

    def add_range(self, first: int, last: int) -> None:
        """Add all numbers from `first` to `last`."""
        if self._lasts and first == self._lasts[-1] + 1:
            self._lasts[-1] = last
            return
        begin = bisect_left(self._lasts, first - 1)
        end = bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = array("q", [first])
        self._lasts[begin:end] = array("q", [last])

    def add(self, ids: Ids) -> None:
        """Add numbers that rise."""
        if len(ids) == 0:
            return
        first, last = int(ids[0]), int(ids[-1])
        if last - first + 1 == len(ids):
            self.add_range(first, last)
            return
        breaks = np.flatnonzero(np.diff(ids) != 1)
        firsts = ids[np.concatenate(([0], breaks + 1))].tolist()
        lasts = ids[np.concatenate((breaks, [len(ids) - 1]))].tolist()
        for begin, end in zip(firsts, lasts, strict=True):
            self.add_range(begin, end)

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell for each number whether it is here. O(numbers * log ranges)."""
        if not self._lasts:
            return np.zeros(len(ids), np.bool_)
        at = np.searchsorted(np.frombuffer(self._lasts, np.int64), ids)
        inside = at < len(self._lasts)
        at[~inside] = 0
        found: NDArray[np.bool_] = inside & (np.frombuffer(self._firsts, np.int64)[at] <= ids)
        return found


def is_rising(ids: Ids) -> bool:
    """Whether each number is higher than the one before."""
    return len(ids) == 1 or bool((ids[1:] > ids[:-1]).all())
