"""Whole books: hash, check, snapshot, restore, depth and orders as arrays."""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Figure, Section
from bench.flows import WrongResultError
from bench.measures.deep import Churn
from bench.sizes import Sizes
from bench.timing import Prepare, cost, in_turns
from pyengine import Engine

LEVELS = 1_000
REPEATS = 200

TEXT = """
One engine with {orders:,} resting orders at random over 2,000 levels, some of which have been replaced at random, so
that orders that are neighbours in a queue aren't neighbours in memory. A snapshot has {bytes_each:.1f} bytes an
order. The restored engine is dropped after the clock.
"""


def whole(call: Callable[[], object]) -> Prepare:
    """Time one call."""
    return lambda: call


def repeat(call: Callable[[], object]) -> None:
    """Call often enough for the clock."""
    for _ in range(REPEATS):
        call()


def measure(sizes: Sizes) -> Section:
    """Measure each in turns."""
    churn = Churn(sizes.state_orders, LEVELS)
    engine, count = churn.engine, sizes.state_orders
    engine.run(churn.commands(count // 2), events=False)
    book = engine.book("X")
    snapshot = engine.snapshot()
    if Engine.restore(snapshot).state_hash() != engine.state_hash():
        message = "the restored engine must have an equal state hash, was another"
        raise WrongResultError(message)
    works = {
        "state_hash()": whole(engine.state_hash),
        "check()": whole(engine.check),
        "snapshot()": whole(engine.snapshot),
        "Engine.restore(…)": whole(lambda: Engine.restore(snapshot)),
        "book.orders()": whole(book.orders),
    }
    laps = in_turns(works, sizes.state_rounds)
    figures: list[Figure] = []
    for name, of_one in laps.items():
        figures += [cost(f"`{name}`", of_one, 1, unit="ms"), cost(f"`{name}`, per order", of_one, count)]
    levels = len(book.depth()[0]) + len(book.depth()[1])
    depth = in_turns(
        {"10": whole(lambda: repeat(lambda: book.depth(10))), "all": whole(lambda: repeat(book.depth))}, sizes.state_rounds
    )
    figures += [
        cost("`book.depth(10)`", depth["10"], REPEATS, unit="us"),
        cost(f"`book.depth()` of {levels:,} levels", depth["all"], REPEATS, unit="us"),
    ]
    return Section(title="Whole books", text=TEXT.format(orders=count, bytes_each=len(snapshot) / count), figures=figures)
