"""Books for the micro-benchmarks: `pytest bench --benchmark-only`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pyengine import Action, Book, Engine, Instrument, Side, make_commands

RESTING_ORDERS = 4_000
LEVELS = 200
"""Of each side; 10 orders on each."""

MIDDLE = 100_000


@pytest.fixture(scope="session")
def book_of_4000() -> Callable[[], Book]:
    """Give a book of 4,000 orders with the ids from 1, on 200 levels a side, 10 on each; bids below 100,000, asks above.

    It is the same book each time, put in order again, because the memory of a new engine has yet to be touched.
    """
    commands = make_commands(RESTING_ORDERS)
    place = np.arange(RESTING_ORDERS)
    commands["action"], commands["order_id"], commands["qty_lots"] = Action.LIMIT, place + 1, 10
    commands["side"] = np.where(place % 2, Side.SELL, Side.BUY)
    depth = place // 2 % LEVELS + 1
    commands["price_ticks"] = np.where(place % 2, MIDDLE + depth, MIDDLE - depth)
    engine = Engine([Instrument("X")])

    def tidy() -> Book:
        engine.mass_cancel()
        assert not engine.run(commands).rejected.any()
        return engine.book("X")

    return tidy


ROUNDS = 50

Setup = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]


def in_rounds(benchmark: BenchmarkFixture, work: Callable[..., Any], setup: Setup) -> Any:
    """Time some work in rounds, each on what `setup` prepares for it outside the clock."""
    return benchmark.pedantic(work, setup=setup, rounds=ROUNDS, warmup_rounds=2)  # type: ignore[no-untyped-call]
