"""Seeded simulations: engine and journal through crashes, power cuts and failing disks. A seed is a reproduction."""

from __future__ import annotations

import os
import time
from collections import Counter

from fault_runs import LONG, folder_in_memory, seed
from simulation.journaled import JournaledSimulation

SEEDS = int(os.environ.get("PYENGINE_SIMULATIONS") or (100_000 if LONG else 1000))
ONE = "PYENGINE_SEED" in os.environ


def journaled(drawn: int) -> dict[str, int]:
    """Run one simulation."""
    with folder_in_memory() as folder:
        simulation = JournaledSimulation(drawn, folder)
        try:
            simulation.run()
        except BaseException:
            print(f"PYENGINE_SEED={drawn}")
            raise
        return simulation.counts


def test_an_engine_and_its_journal_keep_their_promises() -> None:
    first = seed()
    last = first + (1 if ONE else SEEDS)
    print(f"seeds {first} to {last - 1}")
    begun, counts = time.monotonic(), Counter[str]()
    for drawn in range(first, last):
        counts.update(journaled(drawn))
    print(f"{last - first} simulations in {time.monotonic() - begun:.0f} s: {dict(counts)}")
    assert ONE or min(counts.values()) > 0
