"""Numbers of users and instruments, turned from those of one table into those of another.

Each layer that reads a shared place learns names that this process has never used. It has tables of its own for them, so that
the numbers in an engine's events depend on nothing but the engine's commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine.errors import FieldError
from pyengine.records import Records


class NumberMap:
    """Rewrites the numbers in arrays of records. Single thread.

    Parameters
    ----------
    source : Names
        What the numbers are now.
    target : Names
        What they shall be; learns the names that it doesn't know.
    """

    def __init__(self, source: Names, target: Names) -> None:
        self.source = source
        self.target = target
        self._columns = [_Column("instrument", "an instrument"), _Column("user", "a name")]
        self._columns[1].append(lambda _: 0, None)

    def translate(self, rows: Records) -> dict[int, FieldError]:
        """Rewrite the numbers in place, and return the rows that have no right number, with the reason. O(n)."""
        if self.source is self.target:
            return {}
        instruments, users = self._columns
        instruments.learn(self.source.instruments, self.target.add_instrument)
        users.learn(self.source.users, self.target.add_user)
        wrong: dict[int, FieldError] = {}
        for column in self._columns:
            if column.name in (rows.dtype.names or ()):
                column.rewrite(rows, wrong)
        return wrong


class _Column:
    """One field of the records, with the new number for each old one."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self._what = what
        self._numbers = np.empty(0, np.uint32)
        self._errors: dict[int, FieldError] = {}
        self._same = True

    def learn(self, values: Sequence[Any], add: Callable[[Any], int]) -> None:
        for i in range(len(self._numbers), len(values)):
            self.append(add, values[i])

    def append(self, add: Callable[[Any], int], value: Any) -> None:
        known = len(self._numbers)
        try:
            number = add(value)
        except FieldError as error:  # the target knows the symbol as another instrument
            self._errors[known] = error
            number = 0
        self._same = self._same and number == known
        self._numbers = np.append(self._numbers, np.uint32(number))

    def rewrite(self, rows: Records, wrong: dict[int, FieldError]) -> None:
        values = rows[self.name]
        known = len(self._numbers)
        if len(rows) and values.max() >= known:
            for row in np.flatnonzero(values >= known).tolist():
                wrong[row] = FieldError(f"rows[{row}].{self.name}", int(values[row]), f"{self._what} that the store knows")
            values = np.where(values < known, values, 0)
        for number, error in self._errors.items():
            wrong.update(dict.fromkeys(np.flatnonzero(values == number).tolist(), error))
        if not self._same:
            rows[self.name] = self._numbers[values]
