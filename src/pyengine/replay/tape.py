"""What a recording is to a replay: commands in batches, the book to start from, and what has to come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.commands import Commands
from pyengine.instrument import Instrument
from pyengine.records import Records

if TYPE_CHECKING:
    from pyengine.engine import Engine
    from pyengine.replay.checks import Check

BATCH_ROWS = 1 << 18
"""Commands run at a time: enough to hide the cost of a call, few enough to stay in the caches and to show progress."""


Batch: TypeAlias = Commands | Records
"""Some commands: columns, or an array of COMMAND_DTYPE."""


def batches_of(commands: Batch, rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """Cut commands into batches, without copying."""
    for start in range(0, len(commands), rows):
        yield commands[start : start + rows]


@dataclass(frozen=True)
class Prints:
    """Trades as the recording reports them; a feed of book events has them beside the commands.

    Parameters
    ----------
    ts_ns, price_ticks, qty_lots : ndarray of int64, shape (n,)
        Time, price and size of each.
    side : ndarray of uint8, shape (n,)
        The taker's side; 0 where the recording doesn't say.
    """

    ts_ns: NDArray[np.int64]
    price_ticks: NDArray[np.int64]
    qty_lots: NDArray[np.int64]
    side: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ts_ns)


class Tape(Protocol):
    """A recording that is ready to be replayed.

    Anything with these members can be given to `replay`. Its `instruments` must have the numbers that its commands use.
    """

    @property
    def name(self) -> str:
        """What to call it in reports."""

    @property
    def instruments(self) -> Sequence[Instrument]:
        """The instruments, in the order of their numbers."""

    @property
    def users(self) -> int:
        """The highest user number that its commands use."""

    @property
    def rows(self) -> int:
        """How many commands `batches` will give; 0 when that isn't known beforehand."""

    @property
    def seed(self) -> Batch | None:
        """Commands that build the book to start from; not counted and not reported."""

    @property
    def prints(self) -> Prints | None:
        """Trades that the recording reports and the commands don't make."""

    def batches(self, engine: Engine, checks: Sequence[Check]) -> Iterator[Batch]:
        """Give the commands, for a replay that has these checks.

        A batch has been run when the next one is asked for, so a tape may look at the book in between, and compare it.
        """

    def checks(self) -> Sequence[Check]:
        """Make fresh checks of what the recording says has to come out; none when it says nothing."""


@dataclass(frozen=True)
class PlainTape:
    """A tape whose commands don't depend on the book: all that is known beforehand."""

    name: str
    instruments: Sequence[Instrument]
    commands: Batch
    seed: Batch | None = None
    prints: Prints | None = None
    expectations: Sequence[Callable[[], Check]] = ()
    users: int = 0

    @property
    def rows(self) -> int:
        """Number of commands."""
        return len(self.commands)

    def batches(self, engine: Engine, checks: Sequence[Check]) -> Iterator[Batch]:  # noqa: ARG002  needs no look at the book
        """Give the commands, `BATCH_ROWS` at a time."""
        return batches_of(self.commands)

    def checks(self) -> Sequence[Check]:
        """Make fresh checks."""
        return [make() for make in self.expectations]
