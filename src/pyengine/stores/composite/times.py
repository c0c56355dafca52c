"""When the records of a ring came, every now and then: how long a reader is behind."""

from __future__ import annotations

import time
from bisect import bisect_right

_KEPT = 4096
_FIRST_SPACING_S = 0.005


class Times:
    """Positions of pushes, and when they were. The ring's lock guards it."""

    def __init__(self) -> None:
        self._noted: list[tuple[int, float]] = []
        self._spacing_s = _FIRST_SPACING_S

    def note(self, position: int) -> tuple[int, float] | None:
        """Note that a record has come, unless another one has just been noted."""
        now = time.monotonic()
        if self._noted and now - self._noted[-1][1] < self._spacing_s:
            return None
        self._noted.append((position, now))
        return self._noted[-1] if len(self._noted) >= _KEPT else None

    def forget(self, oldest: int, now: float) -> None:
        """Forget what is of no use to who has dealt with everything up to a position; thin the rest out if it is much."""
        del self._noted[: max(0, bisect_right(self._noted, (oldest, now)) - 1)]
        if len(self._noted) > _KEPT // 2:
            self._noted = self._noted[::2]
            self._spacing_s *= 2

    def age_s(self, position: int) -> float:
        """Return how long ago a record came, within a few milliseconds or a thousandth."""
        if not self._noted:
            return 0.0
        i = bisect_right(self._noted, (position, float("inf"))) - 1
        return time.monotonic() - self._noted[max(i, 0)][1]
