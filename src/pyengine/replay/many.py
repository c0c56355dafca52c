"""Replaying many recordings at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE, Records
from pyengine.replay.run import Progress, ReplayReport, joined, replay
from pyengine.replay.sources import Source

_Call: TypeAlias = tuple[Callable[..., ReplayReport], Any, dict[str, Any]]  # what to call, the source, keywords


@dataclass(frozen=True, slots=True)
class ManyReport:
    """What the replays of several recordings did, in the order in which these were given.

    Parameters
    ----------
    reports : tuple of ReplayReport
    seconds : float
        From first to last.
    """

    reports: tuple[ReplayReport, ...]
    seconds: float

    @property
    def commands(self) -> int:
        """Commands of all replays."""
        return sum(report.commands for report in self.reports)

    @property
    def events(self) -> int:
        """Events of all replays."""
        return sum(report.events for report in self.reports)

    @property
    def commands_per_s(self) -> float:
        """Commands a second, all replays together."""
        return self.commands / self.seconds if self.seconds else 0.0

    def trades(self) -> Records:
        """Join the trades of all replays, in order. O(trades)."""
        return joined([report.trades for report in self.reports])

    def sources(self) -> NDArray[np.uint32]:
        """Say for each of `trades` which replay it is of, counted from 0."""
        return np.repeat(np.arange(len(self.reports), dtype=np.uint32), [len(report.trades) for report in self.reports])


def replay_many(
    sources: Iterable[Source],
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    verify: bool = False,
    form: str | None = None,
    instrument: Instrument | None = None,
) -> ManyReport:
    """Replay several recordings at once, each in an engine of its own.

    Parameters
    ----------
    sources : iterable of str, path or Tape
        What to replay. Paths cost nothing to send to another process; tapes are sent whole.
    executor : concurrent.futures.Executor, optional
        Where to run; it is left open. By default a pool of processes. The engine runs without the GIL, so threads
        serve too.
    jobs : int, optional
        Size of the default pool; as many as there are processors by default.
    progress : callable, optional
        Called with the number of recordings done, and how many there are.
    verify, form, instrument
        As for `replay`.

    Returns
    -------
    ManyReport
        In the order of `sources`, whatever finished first. From the default pool the trades are read-only, mapped from
        temporary files that are gone when this returns.

    Raises
    ------
    ReplayError
        The first, by the order of `sources`, that a replay raised. The others are finished or dropped.
    """
    start = perf_counter()
    work = [fspath(source) if isinstance(source, PathLike) else source for source in sources]
    keywords: dict[str, Any] = {"verify": verify, "form": form, "instrument": instrument}
    if executor is not None:
        reports = tuple(_gather(executor, [(replay, source, keywords) for source in work], progress))
    else:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        with TemporaryDirectory(prefix="pyengine-") as folder, ProcessPoolExecutor(jobs, mp_context=context) as own:
            parcels = [Path(folder) / str(number) for number in range(len(work))]
            calls = [(_replay_apart, source, keywords | {"parcel": parcel}) for source, parcel in zip(work, parcels, strict=True)]
            reports = tuple(map(_unpack, _gather(own, calls, progress), parcels))
    return ManyReport(reports, perf_counter() - start)


def _gather(executor: Executor, calls: Sequence[_Call], progress: Progress | None) -> Iterator[ReplayReport]:
    """Submit all, and give the reports in order."""
    futures = [executor.submit(call, source, **keywords) for call, source, keywords in calls]
    try:
        for done, future in enumerate(futures, 1):
            yield future.result()
            if progress is not None:
                progress(done, len(futures))
    finally:
        for future in futures:
            future.cancel()


def _replay_apart(source: Source, *, parcel: Path, **keywords: Any) -> ReplayReport:
    """Replay in a process of the pool, and leave the trades in a file: a pipe would copy them four times."""
    report = replay(source, **keywords)
    report.trades.tofile(parcel)
    return replace(report, trades=report.trades[:0])


def _unpack(report: ReplayReport, parcel: Path) -> ReplayReport:
    """Map the trades into memory. The mapping outlives the file."""
    if not parcel.stat().st_size:
        return report
    return replace(report, trades=np.asarray(np.memmap(parcel, TRADE_DTYPE, mode="r")))
