"""Clocks: one lap, and several pieces of work in turns."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Lap:
    """What one run of a piece of work took."""

    seconds: float
    cpu_seconds: float
    """Processor time of the calling thread: what other processes take away isn't in it."""
    page_faults: int


def lap(work: Callable[[], object]) -> Lap:
    """Run a piece of work once, without garbage of earlier ones to collect. What it returns is dropped after the clock."""
    gc.collect()
    gc.freeze()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    cpu = time.thread_time()
    start = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - start
    cpu = time.thread_time() - cpu
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    gc.unfreeze()
    del kept
    return Lap(seconds, cpu, faults)


Prepare = Callable[[], Callable[[], object]]
"""Makes what a lap needs, outside the clock, and returns the work to be timed."""


def in_turns(works: Mapping[str, Prepare], rounds: int, *, warm_up: int = 1) -> dict[str, list[Lap]]:
    """Run all works once a round, every other round backwards; the first `warm_up` rounds aren't kept."""
    laps: dict[str, list[Lap]] = {name: [] for name in works}
    for turn in range(-warm_up, rounds):
        for name in list(works)[:: 1 if turn % 2 == 0 else -1]:
            result = lap(works[name]())
            if turn >= 0:
                laps[name].append(result)
    return laps


def rate(
    name: str, laps: list[Lap], count: int, *, thing: str = "commands", prefix: str = "M", target: str = "", note: str = ""
) -> Figure:
    """Millions a second, or thousands with the prefix k."""
    scale = {"M": 1e6, "k": 1e3}[prefix]
    return Figure(
        name=name,
        unit=f"{prefix} {thing}/s",
        values=tuple(count / one.seconds / scale for one in laps),
        cpu_values=tuple(count / one.cpu_seconds / scale for one in laps),
        target=target,
        note=note,
    )


def cost(name: str, laps: list[Lap], count: int, *, unit: str = "ns", target: str = "", note: str = "") -> Figure:
    """Time of one of `count`, in ns, us or ms."""
    scale = {"ns": 1e9, "us": 1e6, "ms": 1e3}[unit] / count
    return Figure(
        name=name,
        unit=unit,
        values=tuple(one.seconds * scale for one in laps),
        cpu_values=tuple(one.cpu_seconds * scale for one in laps),
        target=target,
        note=note,
    )


def progress(text: str) -> None:
    """Tell a waiting user what is going on."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()
