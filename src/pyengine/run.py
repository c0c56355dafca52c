"""What came of an array of commands."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyengine._core.batch import EventBuffer
from pyengine.errors import FieldError
from pyengine.records import EVENT_DTYPE, FIRST_REJECTION, TRADE_DTYPE, Records


class Run:
    """What `Engine.run` returns.

    Attributes
    ----------
    status : ndarray of uint8
        One for each command: a `Status` below 32, a `Reason` from 32 on.
    """

    def __init__(self, buffer: EventBuffer | None, status: NDArray[np.uint8], repeated: NDArray[np.bool_] | None = None) -> None:
        self._buffer = buffer
        self._repeated = repeated
        self.status = status

    @cached_property
    def events(self) -> Records:
        """All events in order, as a read-only array of EVENT_DTYPE. O(1), no copy."""
        return _records(self._needed(), EVENT_DTYPE)

    @cached_property
    def trades(self) -> Records:
        """The trades in order, as a read-only array of TRADE_DTYPE. O(events) the first time."""
        return _records(self._needed().trades(), TRADE_DTYPE)

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """For each command whether it was rejected."""
        return self.status >= FIRST_REJECTION

    @cached_property
    def repeated(self) -> NDArray[np.bool_]:
        """For each command whether it was run before, by its client order id; it has its first status, and no events."""
        return np.zeros(len(self.status), np.bool_) if self._repeated is None else self._repeated

    def _needed(self) -> EventBuffer:
        if self._buffer is None:
            raise FieldError("events", False, "True in Engine.run to have events and trades")
        return self._buffer

    def __len__(self) -> int:
        """Return the number of commands."""
        return len(self.status)

    def __repr__(self) -> str:
        """Show the number of commands and events."""
        events = "no" if self._buffer is None else str(self._buffer.count)
        return f"<Run: {len(self.status)} commands, {events} events>"


def _records(buffer: EventBuffer, dtype: np.dtype[np.void]) -> Records:
    """View a buffer as an array of records; NumPy refuses empty buffers."""
    return np.frombuffer(memoryview(buffer), dtype) if buffer.count else np.empty(0, dtype)
