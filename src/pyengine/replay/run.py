"""Replaying one recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from time import perf_counter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.commands import Commands
from pyengine.engine import Engine
from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.records import COMMAND_COLUMNS, FIRST_REJECTION, TRADE_DTYPE, Reason, Records, Status
from pyengine.replay.checks import Check, Moment, Verification
from pyengine.replay.errors import ReplayError
from pyengine.replay.sources import Source, open_tape
from pyengine.replay.tape import Batch, Tape

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with the commands run so far, and how many there are (0 if that isn't known)."""

_TS_COLUMN = COMMAND_COLUMNS.index("ts_ns")
_PROGRESS_S = 0.05


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did.

    Parameters
    ----------
    name : str
        The recording.
    instruments : tuple of Instrument
        By number.
    commands, events : int
        Commands run after the seed, and the events that they made.
    seeded : int
        Orders of the book that the replay started from.
    trades : ndarray of TRADE_DTYPE
        All trades, in order.
    prints : int
        Trades that the recording reports and the commands don't make.
    statuses : dict of str to int
        How many commands ended how, by the names of `Status` and `Reason`.
    rejected : int
        How many of them were rejected.
    state_hash : int
        Of the engine at the end.
    seconds : float
        All of it: opening, reading, running, comparing.
    engine_seconds : float
        Of these, in the engine.
    verification : Verification or None
        What was compared; None if that wasn't asked for.
    """

    name: str
    instruments: tuple[Instrument, ...]
    commands: int
    events: int
    seeded: int
    trades: Records = field(repr=False)
    prints: int
    statuses: dict[str, int]
    rejected: int
    state_hash: int
    seconds: float
    engine_seconds: float
    verification: Verification | None = None

    @property
    def commands_per_s(self) -> float:
        """Commands a second, everything counted."""
        return self.commands / self.seconds if self.seconds else 0.0

    @property
    def engine_commands_per_s(self) -> float:
        """Commands a second of the time in the engine."""
        return self.commands / self.engine_seconds if self.engine_seconds else 0.0


def replay(
    source: Source,
    engine: Engine | None = None,
    *,
    progress: Progress | None = None,
    verify: bool = False,
    expected: str | PathLike[str] | None = None,
    form: str | None = None,
    instrument: Instrument | None = None,
    watch: Sequence[Check] = (),
) -> ReplayReport:
    """Replay a recording.

    Parameters
    ----------
    source : str, path or Tape
        What to replay; see `open_tape` for the forms.
    engine : Engine, optional
        Where to replay it, to look at its books afterwards or to attach consumers before. Its instruments must be the
        recording's, or begin with them; instruments that it lacks are added. A new one by default.
    progress : callable, optional
        Called now and then with the commands run, and how many there are (0 if that isn't known).
    verify : bool
        Compare with what the recording says must come out.
    expected : str or path, optional
        Where that is, if not beside the recording; `verify` is then implied.
    form, instrument
        See `open_tape`.
    watch : sequence of Check
        Checks of your own, which see the trades, and the books at their points.

    Returns
    -------
    ReplayReport

    Raises
    ------
    ReplayError
        The recording is damaged, or there is nothing to verify against, or the engine's instruments are others.
    """
    start = perf_counter()
    tape = open_tape(source, form=form, expected=expected, instrument=instrument)
    checks = list(tape.checks()) if verify or expected is not None else []
    if (verify or expected is not None) and not checks:
        raise ReplayError(tape.name, "there to be compared with", "missing", subject="expected results")
    engine = engine or Engine()
    _prepare(engine, tape)
    seed = 0 if tape.seed is None else len(tape.seed)
    if tape.seed is not None:
        _seed(engine, tape)
    run = _Run(engine, tape, [*checks, *watch], progress)
    run.play(checks)
    counts = np.bincount(np.concatenate([np.zeros(0, np.uint8), *run.statuses]), minlength=256)
    findings = [finding for check in checks if (finding := check.finish(run.moment)) is not None]
    return ReplayReport(
        name=tape.name,
        instruments=tuple(tape.instruments),
        commands=run.moment.commands,
        events=run.events,
        seeded=seed,
        trades=joined(run.trades),
        prints=0 if tape.prints is None else len(tape.prints),
        statuses=_names(counts),
        rejected=int(counts[FIRST_REJECTION:].sum()),
        state_hash=engine.state_hash(),
        seconds=perf_counter() - start,
        engine_seconds=run.engine_seconds,
        verification=Verification(tuple(findings)) if checks else None,
    )


def _prepare(engine: Engine, tape: Tape) -> None:
    """See that the engine's instruments are the tape's, under the same numbers, and that its users are known."""
    for number, wanted in enumerate(tape.instruments):
        if number >= len(engine.books):
            try:
                engine.add_instrument(wanted)
            except FieldError as error:
                raise ReplayError(tape.name, error.expected, repr(error.value), subject=error.field) from error
        elif (have := engine.books[number].instrument) != wanted:
            raise ReplayError(tape.name, repr(have), repr(wanted), subject=f"instrument {number}, in the engine given,")
    for number in range(engine.user_count + 1, tape.users + 1):
        engine.user(str(number))


def _seed(engine: Engine, tape: Tape) -> None:
    """Build the book to start from."""
    assert tape.seed is not None
    status = engine.run(tape.seed, events=False).status
    bad = status >= FIRST_REJECTION
    if bad.any():
        row = int(bad.argmax())
        raise ReplayError(
            tape.name, "accepted", f"rejected: {Reason(int(status[row])).name}", subject=f"order {row + 1} of the seed"
        )


class _Run:
    """One replay under way: runs the batches, cut where a check wants to look, and counts."""

    def __init__(self, engine: Engine, tape: Tape, checks: Sequence[Check], progress: Progress | None) -> None:
        self.moment = Moment(engine)
        self.tape = tape
        self.checks = checks
        self.progress = progress
        self.events = 0
        self.engine_seconds = 0.0
        self.trades: list[Records] = []
        self.statuses: list[NDArray[np.uint8]] = []
        self.told = perf_counter()
        points = [np.asarray(check.points, np.int64) for check in checks]
        owners = [np.full(len(of_one), k) for k, of_one in enumerate(points)]
        indices = [np.arange(len(of_one)) for of_one in points]
        all_points = np.concatenate([np.zeros(0, np.int64), *points])
        order = np.argsort(all_points, kind="stable")
        order = order[all_points[order] >= 0]
        columns = [np.concatenate([np.zeros(0, np.int64), *lists])[order].tolist() for lists in (points, owners, indices)]
        self.agenda: list[tuple[int, int, int]] = list(zip(*columns, strict=True))
        self.agenda.reverse()  # so that the next one is popped off the end

    def play(self, checks: Sequence[Check]) -> None:
        """Run all batches; `checks` are those of the tape."""
        for batch in self.tape.batches(self.moment.engine, checks):
            start = 0
            while start < len(batch):
                self._look()
                stop = len(batch)
                if self.agenda:
                    stop = min(stop, start + self.agenda[-1][0] - self.moment.commands)
                self._run(batch if stop - start == len(batch) else batch[start:stop])
                start = stop
        self._look()
        if self.progress is not None:
            self.progress(self.moment.commands, self.tape.rows or self.moment.commands)

    def _look(self) -> None:
        """Let the checks look whose point has come."""
        while self.agenda and self.agenda[-1][0] <= self.moment.commands:
            _, owner, index = self.agenda.pop()
            self.checks[owner].look(self.moment, index)

    def _run(self, batch: Batch) -> None:
        """Run some commands and count what came of them."""
        start = perf_counter()
        out = self.moment.engine.run(batch)
        self.engine_seconds += perf_counter() - start
        self.events += len(out.events)
        self.statuses.append(out.status)
        if len(trades := out.trades):
            self.trades.append(trades)
            for check in self.checks:
                check.trades(trades)
        self.moment.commands += len(batch)
        times = batch.columns[_TS_COLUMN] if isinstance(batch, Commands) else batch["ts_ns"]
        self.moment.ts_ns = int(times[-1])
        for check in self.checks:
            check.passed(self.moment)
        if self.progress is not None and start - self.told > _PROGRESS_S:
            self.told = start
            self.progress(self.moment.commands, self.tape.rows)


def joined(parts: Sequence[Records]) -> Records:
    """Join arrays of trades; as plain words, since NumPy copies records field by field."""
    words = [np.zeros(0, np.uint64), *(np.ascontiguousarray(part).view(np.uint64) for part in parts)]
    return np.concatenate(words).view(TRADE_DTYPE)


def _names(counts: NDArray[np.int64]) -> dict[str, int]:
    """Name the statuses that occurred."""
    return {
        (Status(code) if code < FIRST_REJECTION else Reason(code)).name: int(counts[code])
        for code in np.flatnonzero(counts).tolist()
    }
