"""Which positions of a ring go with which events of a journal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

_KEPT_RANGES = 1000
_TRIMMED = 1024


class Sequence:
    """Pairs of a position and the events up to which everything lies at or before it. The ring's lock guards it.

    A position has the lowest and the highest of such events: between them nothing came into the ring.
    """

    def __init__(self) -> None:
        self.active = False
        self._positions: list[int] = []
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._foreign: list[tuple[int, int]] = []

    def note(self, position: int, seq: int, oldest: int) -> None:
        """Note that everything up to an event lies at or before a position; what is before `oldest` isn't there any more."""
        self.active = True
        if self._positions and self._positions[-1] == position:
            self._highs[-1] = seq
            return
        self._positions.append(position)
        self._lows.append(seq)
        self._highs.append(seq)
        if len(self._positions) % _TRIMMED == 0:
            gone = bisect_left(self._positions, oldest)
            del self._positions[:gone], self._lows[:gone], self._highs[:gone]

    def covered(self, position: int) -> int | None:
        """Return the last event up to which everything lies at or before a position; None if that isn't known."""
        place = bisect_right(self._positions, position) - 1
        return self._highs[place] if place >= 0 else None

    def end_of_batch(self, taken: int, most: int) -> int | None:
        """Return where to end a batch behind a position: at the last noted position within reach, or the next one."""
        place = bisect_right(self._positions, taken + most) - 1
        if place >= 0 and self._positions[place] > taken:
            return self._positions[place]
        return self._positions[place + 1] if place + 1 < len(self._positions) else None

    def join(self, seq: int, oldest: int) -> int | None:
        """Return the last position behind which is all that follows an event, if that is still there."""
        place = bisect_right(self._lows, seq) - 1
        return self._positions[place] if place >= 0 and self._positions[place] >= oldest else None

    def note_foreign(self, first: int, last: int) -> None:
        """Note records that aren't the journal's; of more than 1,000 ranges the oldest grow together."""
        if self._foreign and self._foreign[-1][1] + 1 == first:
            self._foreign[-1] = (self._foreign[-1][0], last)
            return
        self._foreign.append((first, last))
        if len(self._foreign) > _KEPT_RANGES:
            self._foreign[:2] = [(self._foreign[0][0], self._foreign[1][1])]

    def foreign(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the ranges of records between two positions, both included, that aren't the journal's."""
        return [(max(a, first), min(b, last)) for a, b in self._foreign if max(a, first) <= min(b, last)]
