"""The memory of a ring: records, and what is to be done with each, by position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyengine.records import Records

SAVE = 0
REMOVE = 1


class Slots:
    """Room for a power of two of records; a slot is (position - 1) & mask.

    Writing copies through memoryviews, which keeps the GIL: an array would give it away, a busy writer would take it, and who
    writes would wait milliseconds for its return.
    """

    def __init__(self, dtype: np.dtype[np.void], capacity: int) -> None:
        self._capacity = capacity
        self._mask = capacity - 1
        self._size = dtype.itemsize
        self._rows = np.zeros(capacity, dtype)
        self._words = self._rows.view("<u8").reshape(capacity, -1)
        self._bytes = self._rows.view(np.uint8).data
        self._ops = np.zeros(capacity, np.uint8)
        self._op_bytes = self._ops.data
        self._op_patterns = (memoryview(bytes(capacity)), memoryview(bytes([REMOVE]) * capacity))

    def write(self, before: int, raw: memoryview | bytes, count: int, op: int) -> None:
        """Copy records behind a position."""
        at = before & self._mask
        ops = self._op_patterns[op]
        to_end = self._capacity - at
        if count <= to_end:
            self._bytes[at * self._size : (at + count) * self._size] = raw
            self._op_bytes[at : at + count] = ops[:count]
        else:
            cut = to_end * self._size
            self._bytes[at * self._size :] = raw[:cut]
            self._bytes[: len(raw) - cut] = raw[cut:]
            self._op_bytes[at:] = ops[:to_end]
            self._op_bytes[: count - to_end] = ops[: count - to_end]

    def read(self, first: int, count: int) -> tuple[Records, NDArray[np.uint8]]:
        """Copy records from a position on."""
        at = (first - 1) & self._mask
        to_end = min(count, self._capacity - at)
        rows = np.empty(count, self._rows.dtype)
        words = rows.view("<u8").reshape(count, -1)
        words[:to_end] = self._words[at : at + to_end]
        words[to_end:] = self._words[: count - to_end]
        return rows, np.concatenate([self._ops[at : at + to_end], self._ops[: count - to_end]])

    def keys(self, before: int, count: int) -> NDArray[np.uint64]:
        """Return the first 8 bytes of each record behind a position."""
        found: NDArray[np.uint64] = self._words[np.arange(before, before + count) & self._mask, 0]
        return found

    def has(self, before: int, count: int, column: str, value: int) -> bool:
        """Whether one of the records behind a position has a value."""
        at = before & self._mask
        values = self._rows[column]
        return bool(
            (values[at : at + count] == value).any()
            or (at + count > self._capacity and (values[: at + count - self._capacity] == value).any())
        )
