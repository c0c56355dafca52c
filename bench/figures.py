"""What a measurement gives: figures with their spread, held against what the project promises."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self


@dataclass(frozen=True, kw_only=True)
class Target:
    """A promised figure: `must` is the least that counts as kept, `aim` what is wanted."""

    words: str
    unit: str
    must: float
    aim: float | None
    more_is_better: bool

    def verdict(self, value: float) -> str:
        """Say how a value does against the two."""
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim"
        return "must" if self._reaches(value, self.must) else "**below must**"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more_is_better else value <= bound

    def worst(self, values: Iterable[float]) -> float:
        """Choose the value that decides where several figures belong to one target."""
        return min(values) if self.more_is_better else max(values)

    def bounds(self) -> tuple[str, str]:
        """Word must and aim."""
        sign = "≥" if self.more_is_better else "≤"
        better = "more" if self.more_is_better else "less"
        aim = better if self.aim is None else f"{sign} {number(self.aim)}"
        return f"{sign} {number(self.must)} {self.unit}", aim


TARGETS: Final[Mapping[str, Target]] = {
    "arrays": Target(words="arrays, events and trades returned", unit="M commands/s", must=15, aim=30, more_is_better=True),
    "calls": Target(words="one fast call from Python, trades available", unit="M calls/s", must=3, aim=5, more_is_better=True),
    "flash1": Target(
        words="flash1, the worst scenario of each, against CppTrader in the same run",
        unit="x CppTrader",
        must=3.5,
        aim=6,
        more_is_better=True,
    ),
    "get": Target(words="L1: get", unit="ns", must=100, aim=None, more_is_better=False),
    "save": Target(words="L1: save", unit="ns", must=150, aim=None, more_is_better=False),
    "append": Target(words="L1: ring append", unit="ns", must=100, aim=None, more_is_better=False),
    "memory_get": Target(words="layers: memory, get of an order", unit="ns", must=100, aim=None, more_is_better=False),
    "redis_get": Target(words="layers: Redis, get of an order, p50", unit="us", must=1_000, aim=150, more_is_better=False),
    "postgres_get": Target(words="layers: Postgres, get of an order, p50", unit="us", must=5_000, aim=300, more_is_better=False),
    "write": Target(
        words="four layers: the caller's cost of a write, in arrays of 1,000",
        unit="ns/record",
        must=150,
        aim=50,
        more_is_better=False,
    ),
    "file": Target(words="file: trades encoded and written", unit="M trades/s", must=1, aim=None, more_is_better=True),
    "chain": Target(words="file: speed with the hash chain, against without", unit="x", must=0.8, aim=0.95, more_is_better=True),
    "redis_trades": Target(words="Redis: trades", unit="k trades/s", must=300, aim=500, more_is_better=True),
    "redis_orders": Target(words="Redis: orders with both index sets", unit="k orders/s", must=100, aim=160, more_is_better=True),
    "postgres_trades": Target(words="Postgres: trades", unit="k trades/s", must=250, aim=500, more_is_better=True),
    "postgres_orders": Target(words="Postgres: orders upserted", unit="k orders/s", must=60, aim=150, more_is_better=True),
    "sustained": Target(
        words="four layers at once, sustained, nothing lost", unit="k trades/s", must=80, aim=150, more_is_better=True
    ),
    "attached": Target(
        words="arrays with a four-layer composite behind the engine, until the ring is full, against bare",
        unit="x",
        must=0.5,
        aim=0.8,
        more_is_better=True,
    ),
    "deep": Target(
        words="arrays: cost per command with 10 million resting orders and random cancels, against 10 thousand",
        unit="x",
        must=5,
        aim=2,
        more_is_better=False,
    ),
    "memory": Target(words="memory per resting order, everything counted", unit="B", must=96, aim=64, more_is_better=False),
    "recorded": Target(
        words="reading a recorded day from Parquet and replaying it",
        unit="M commands/s",
        must=5,
        aim=10,
        more_is_better=True,
    ),
    "journal_arrays": Target(
        words="journal: arrays, waiting for the disk after each 10,000 commands",
        unit="M commands/s",
        must=2,
        aim=5,
        more_is_better=True,
    ),
    "journal_call": Target(
        words="journal: one caller waiting for each command, p50, on top of a bare fdatasync",
        unit="us",
        must=200,
        aim=50,
        more_is_better=False,
    ),
    "journal_flight": Target(
        words="journal: 1,000 coroutines, or 32 threads, each waiting", unit="k commands/s", must=30, aim=100, more_is_better=True
    ),
    "journal_recovery": Target(
        words="journal: events applied in recovery", unit="M events/s", must=5, aim=10, more_is_better=True
    ),
    "journal_paced": Target(
        words="journal, Redis and PostgreSQL on, 50 k commands/s paced: the matching thread's p99 of a call, against bare",
        unit="x",
        must=3,
        aim=1.5,
        more_is_better=False,
    ),
    "journal_snapshot": Target(
        words="journal: a snapshot loaded and checked", unit="M orders/s", must=2, aim=5, more_is_better=True
    ),
    "journal_pause": Target(
        words="journal: what a snapshot of a million orders adds to the matching thread's p99.9 from the planned time",
        unit="ms",
        must=5,
        aim=1,
        more_is_better=False,
    ),
    "journal_bytes": Target(words="journal: bytes an event", unit="B", must=80, aim=40, more_is_better=False),
}
"""The table of promised figures, all for the mixed flow around a book of about 4,000 orders unless they say otherwise."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure: a value for each round, and the same by processor time where that can be had."""

    name: str
    unit: str
    values: tuple[float, ...]
    cpu_values: tuple[float, ...] = ()
    target: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.values)

    @property
    def cells(self) -> tuple[str, ...]:
        """Texts for a table: name, median, unit, spread, median by processor time, note."""
        spread = f"{number(min(self.values))} to {number(max(self.values))}" if len(self.values) > 1 else ""
        by_cpu = number(statistics.median(self.cpu_values)) if self.cpu_values else ""
        note = self.note
        if self.target:
            target = TARGETS[self.target]
            bounds = target.bounds()
            note = "; ".join(filter(None, (f"must {bounds[0]}, aim {bounds[1]}: {target.verdict(self.median)}", note)))
        return self.name, number(self.median), self.unit, spread, by_cpu, note


@dataclass(kw_only=True)
class Section:
    """Figures that belong together, and a few sentences on what was timed."""

    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    table: str = ""
    """Further rows that have a form of their own, as Markdown."""
    skipped: str = ""
    """Why there is nothing."""

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        figures = [
            Figure(**{**one, "values": tuple(one["values"]), "cpu_values": tuple(one["cpu_values"])}) for one in plain["figures"]
        ]
        return cls(**{**plain, "figures": figures})


def number(value: float) -> str:
    """Write a number with three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(parts: Iterable[float], wholes: Iterable[float]) -> tuple[float, ...]:
    """Divide round by round: a busy spell of the machine meets both."""
    return tuple(part / whole for part, whole in zip(parts, wholes, strict=True))
