"""Seeded simulations of an engine and what keeps its events. A seed is a reproduction."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_runs import LONG, folder_in_memory, seed
from simulation.journaled import JournaledSimulation
from simulation.layered import LayeredSimulation

SEEDS = int(os.environ.get("PYENGINE_SIMULATIONS") or (100_000 if LONG else 2000))
LAYERED_OF = 8
"""Of so many seeds one runs with layers, which takes several times as long."""
ONE = bool(os.environ.get("PYENGINE_SEED"))


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Keep what is broken thousands of times out of the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def simulate(make: Callable[[int, Path], JournaledSimulation], first: int, count: int) -> None:
    """Run simulations one after the other, and say how many there were, of what."""
    begun, counts = time.monotonic(), Counter[str]()
    for drawn in range(first, first + count):
        with folder_in_memory() as folder:
            simulation = make(drawn, folder)
            try:
                simulation.run()
            except BaseException:
                print(f"PYENGINE_SEED={drawn}")
                raise
        counts.update(simulation.counts)
        # Its layers have its clock, and composites keep their layers until they are gone themselves: so they have to go.
        vars(simulation).clear()
    print(f"{make.__name__}: seeds {first} to {first + count - 1} in {time.monotonic() - begun:.0f} s, {dict(counts)}")


def test_an_engine_and_its_journal_keep_their_promises() -> None:
    simulate(JournaledSimulation, seed(), 1 if ONE else SEEDS - SEEDS // LAYERED_OF)


def test_layers_become_equal_to_the_journal() -> None:
    simulate(LayeredSimulation, seed(), 1 if ONE else SEEDS // LAYERED_OF)
