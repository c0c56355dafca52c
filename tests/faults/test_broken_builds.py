"""A promise is shown only by what notices when it is broken: each broken build of `simulation.mutants` is caught."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_runs import folder_in_memory
from faults.test_log_every_call import System, ids, opened, trades, write_all
from simulation.journaled import JournaledSimulation
from simulation.layered import LayeredSimulation
from simulation.mutants import JOURNALED, LAYERED, LOG, MUTANTS, Mutant
from stores.trade_files import ids_written

SEEDS = {JOURNALED: 600, LAYERED: 150, LOG: 60}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Keep broken builds from filling the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class HarshSimulation(JournaledSimulation):
    """Small segments and a disk that fails all the time: what is rare elsewhere happens in each run."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.segment_bytes = 4096

    def survive(self, do: Callable[[], object]) -> None:
        self.disk.failure_chance = 0.04
        self.disk.crash_chance = 0.04
        if self.engine is not None and self.rng.random() < 0.08:
            do = self.snapshot
        super().survive(do)


def journaled(seed: int) -> None:
    with folder_in_memory() as folder:
        HarshSimulation(seed, folder).run()


def layered(seed: int) -> None:
    with folder_in_memory() as folder:
        LayeredSimulation(seed, folder).run()


def log(seed: int) -> None:
    """Write a log on a failing disk that loses what isn't synced, and once more what is there."""
    rng = random.Random(seed)
    with folder_in_memory() as folder:
        path = folder / "trades.log"
        write_all(path, System(False, rng.randrange(1, 120), "EIO"), rng)
        with opened(path) as store:
            store.save_batch(np.concatenate(trades()[0]))
        assert ids_written(path) == ids()


CHECKS: dict[str, Callable[[int], None]] = {JOURNALED: journaled, LAYERED: layered, LOG: log}


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_build_is_noticed(mutant: Mutant) -> None:
    with mutant.applied():
        for seed in range(SEEDS[mutant.caught_by]):
            try:
                CHECKS[mutant.caught_by](seed)
            except Exception as error:  # noqa: BLE001  whatever it was, it was noticed
                print(f"seed {seed}: {type(error).__name__}: {error}")
                return
    pytest.fail(f"{mutant.promise}: {SEEDS[mutant.caught_by]} seeds have noticed nothing")
