"""What was found out about a backend, and what to do about it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One backend, tried out.

    Attributes
    ----------
    backend : str
        "postgres", "redis", "sqlite", "file", or how a store of one's own is named in the settings.
    address : str
        Where it is, without any secret.
    facts : tuple of str
        What was found, step by step.
    problem : str
        What is wrong, "" if nothing is.
    advice : tuple of str
        What to look at, most likely first; also where all is well but could be better.
    latency_s : float or None
        Median of one small round trip.
    """

    backend: str
    address: str
    facts: tuple[str, ...] = ()
    problem: str = ""
    advice: tuple[str, ...] = ()
    latency_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the backend can be used as it is configured."""
        return not self.problem


@dataclass
class Trial:
    """A finding under construction."""

    backend: str
    address: str
    facts: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    latency_s: float | None = None

    def done(self) -> Finding:
        """Say that all is well."""
        return self._finding("")

    def failed(self, problem: str, advice: Sequence[str]) -> Finding:
        """Say what is wrong and what to do."""
        self.advice[:0] = advice
        return self._finding(problem)

    def time(self, round_trip: Callable[[], object]) -> None:
        """Measure a round trip."""
        round_trip()
        seconds = []
        for _ in range(SAMPLES):
            start = time.perf_counter()
            round_trip()
            seconds.append(time.perf_counter() - start)
        self.latency_s = statistics.median(seconds)

    def _finding(self, problem: str) -> Finding:
        return Finding(self.backend, self.address, tuple(self.facts), problem, tuple(self.advice), self.latency_s)
