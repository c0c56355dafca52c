"""Places in a ring of records, and what is taken from there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pyengine.records import Records

_KEPT_RANGES = 1000
_KEPT_KEYS = 4_000_000


@dataclass(slots=True, eq=False)
class Cursor:
    """A layer's place in the ring, which alone changes it.

    Attributes
    ----------
    taken, done : int
        Last position that was copied out, and up to which the layer has dealt with everything.
    holds : bool
        Whether what wasn't taken is kept.
    returning : bool
        Whether it will hold again once it has caught up.
    nudged : bool
        Whether a wait shall end although nothing has come.
    missed, missed_count
        Ranges of positions that were overwritten before they were taken, and how many positions that is.
    lost : list of array, or None
        Keys of what was missed and not been made good; None if nobody wants to know, or they were too many.
    healed : int
        Of `missed_count`, how many have been made good.
    follows : bool
        Whether the layer can go on from a journal, so that it misses nothing that is in there.
    lapsed : bool
        Whether it has to, as records were overwritten that it hadn't taken.
    """

    taken: int
    done: int
    holds: bool = True
    returning: bool = False
    nudged: bool = False
    missed: list[tuple[int, int]] = field(default_factory=list)
    missed_count: int = 0
    lost: list[NDArray[np.uint64]] | None = None
    healed: int = 0
    follows: bool = False
    lapsed: bool = False

    def miss(self, first: int, last: int) -> None:
        """Note positions that the layer will never get; of more than 1,000 ranges, the oldest grow together."""
        self.missed_count += last - first + 1
        if self.missed and self.missed[-1][1] + 1 == first:
            self.missed[-1] = (self.missed[-1][0], last)
        else:
            self.missed.append((first, last))
            if len(self.missed) > _KEPT_RANGES:
                self.missed[:2] = [(self.missed[0][0], self.missed[1][1])]

    def lose(self, keys: NDArray[np.uint64]) -> None:
        """Note the keys of records that are about to be overwritten."""
        if self.lost is not None:
            self.lost.append(keys)
            if sum(map(len, self.lost)) > _KEPT_KEYS:
                self.lost = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that a cursor has taken: a copy, with the position of the first and what to do with each."""

    first: int
    rows: Records
    ops: NDArray[np.uint8]

    @property
    def last(self) -> int:
        """Position of the last record."""
        return self.first + len(self.rows) - 1
