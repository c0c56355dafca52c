"""One call in each layer, on 4,000 orders and 10,000 trades; batches are a thousand records, divide by a thousand for one."""

# ruff: noqa: D103 - the name of a benchmark says what it times.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import in_rounds
from bench.market import names, order_objects, orders, trade_objects, trades
from bench.servers import Places, running
from bench.stacks import FOUR_LAYERS, Maker, Stack

ORDERS = 4_000
TRADES = 10_000
BATCH = 1_000
ORDER_LAYERS = {"memory": 1, "redis": 1, "postgres": 1, "sqlite": 1, "composite": 3}
TRADE_LAYERS = {"memory": 1, "redis": 1, "postgres": 1, "sqlite": 1, "file": 1, "composite": 4}
"""How many layers each has."""


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Run a PostgreSQL that syncs and a Valkey."""
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def maker(places: Places) -> Iterator[Maker]:
    """Make stores that are closed at the end."""
    with ExitStack() as kept:
        yield Maker(places, names, kept)


@pytest.fixture(scope="module")
def order_stack(maker: Maker) -> Callable[[str], Stack]:
    """Give a layer, or the composite, with orders in it; each is made once."""
    made: dict[str, Stack] = {}

    def stack(kind: str) -> Stack:
        if kind not in made:
            made[kind] = maker.order_stack(kind, *((kind,) if ORDER_LAYERS[kind] == 1 else FOUR_LAYERS[:3]))
            made[kind].store.save_batch(orders(1, ORDERS))
            made[kind].settle()
        return made[kind]

    return stack


@pytest.fixture(scope="module")
def trade_stack(maker: Maker) -> Callable[[str], Stack]:
    """Give a layer, or the composite, with trades in it; each is made once."""
    made: dict[str, Stack] = {}

    def stack(kind: str) -> Stack:
        if kind not in made:
            made[kind] = maker.trade_stack(kind, *((kind,) if TRADE_LAYERS[kind] == 1 else FOUR_LAYERS))
            made[kind].store.save_batch(trades(1, TRADES))
            made[kind].settle()
        return made[kind]

    return stack


@pytest.mark.parametrize("kind", ORDER_LAYERS)
def test_get(benchmark: BenchmarkFixture, maker: Maker, order_stack: Callable[[str], Stack], kind: str) -> None:
    store, ids = order_stack(kind).store, cycle(range(1, ORDERS + 1))
    benchmark.extra_info |= {"orders": ORDERS}
    found = benchmark(lambda: store.get(next(ids)))
    assert found == order_objects(orders(found.order_id, 1), maker.names)[0]


@pytest.mark.parametrize("kind", ORDER_LAYERS)
def test_save_of_a_known_order(benchmark: BenchmarkFixture, maker: Maker, order_stack: Callable[[str], Stack], kind: str) -> None:
    stack = order_stack(kind)
    [order] = order_objects(orders(1, 1), maker.names)
    assert benchmark(stack.store.save, order)
    stack.settle()


@pytest.mark.parametrize("kind", ORDER_LAYERS)
def test_save_batch_of_orders(benchmark: BenchmarkFixture, order_stack: Callable[[str], Stack], kind: str) -> None:
    stack, versions = order_stack(kind), count(2)

    def setup() -> tuple[tuple[object], dict[str, object]]:
        stack.settle()
        return (orders(ORDERS + 1, BATCH, next(versions)),), {}

    assert in_rounds(benchmark, stack.store.save_batch, setup) == BATCH
    stack.settle()


@pytest.mark.parametrize("kind", TRADE_LAYERS)
def test_save_batch_of_trades(benchmark: BenchmarkFixture, trade_stack: Callable[[str], Stack], kind: str) -> None:
    stack, first_ids = trade_stack(kind), count(TRADES + 1, BATCH)

    def setup() -> tuple[tuple[object], dict[str, object]]:
        stack.settle()
        return (trades(next(first_ids), BATCH),), {}

    assert in_rounds(benchmark, stack.store.save_batch, setup) == BATCH
    stack.settle()


@pytest.mark.parametrize("kind", [kind for kind in TRADE_LAYERS if kind != "file"])
def test_get_recent(benchmark: BenchmarkFixture, maker: Maker, trade_stack: Callable[[str], Stack], kind: str) -> None:
    stack = trade_stack(kind)
    stack.settle()
    found = benchmark(stack.store.get_recent, 100)
    newest = found[0].trade_id
    assert found == trade_objects(trades(newest - 99, 100)[::-1], maker.names)
