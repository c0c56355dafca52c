"""The L1 stores, a thousand calls in each round, on 4,000 orders; divide by a thousand for one."""

# ruff: noqa: D103 - the name of a benchmark says what it times.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import in_rounds
from bench.measures.stores import orders_of
from pyengine import InMemoryOrderStore, InMemoryTradeStore, Instrument, Side, Trade
from pyengine.stores import Order

ORDERS = 4_000
CALLS = 1_000


@pytest.fixture
def store() -> InMemoryOrderStore:
    """Make an empty store with room."""
    return InMemoryOrderStore(capacity=2 * ORDERS)


@pytest.fixture
def orders(store: InMemoryOrderStore) -> list[Order]:
    """Make orders in the words of the store's names."""
    return orders_of(store, ORDERS)


def each(method: Callable[[Any], Any], values: list[Any]) -> Any:
    """Call a method once for each value."""
    for value in values:
        result = method(value)
    return result


def test_get(benchmark: BenchmarkFixture, store: InMemoryOrderStore, orders: list[Order]) -> None:
    store.save_batch(orders)
    ids = [order.order_id for order in orders[:CALLS]]
    found = in_rounds(benchmark, each, lambda: ((store.get, ids), {}))
    assert found == orders[CALLS - 1]


def test_save_of_a_new_order(benchmark: BenchmarkFixture, store: InMemoryOrderStore, orders: list[Order]) -> None:
    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        store.clear()
        store.save_batch(orders[CALLS:])
        return (store.save, orders[:CALLS]), {}

    assert in_rounds(benchmark, each, setup)


def test_save_of_a_known_order(benchmark: BenchmarkFixture, store: InMemoryOrderStore, orders: list[Order]) -> None:
    store.save_batch(orders)
    assert in_rounds(benchmark, each, lambda: ((store.save, orders[:CALLS]), {}))


def test_remove(benchmark: BenchmarkFixture, store: InMemoryOrderStore, orders: list[Order]) -> None:
    ids = [order.order_id for order in orders[:CALLS]]

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        store.save_batch(orders)
        return (store.remove, ids), {}

    assert in_rounds(benchmark, each, setup)


def test_append_to_the_ring(benchmark: BenchmarkFixture) -> None:
    instrument = Instrument("X")
    trades = [Trade(i, 2 * i, 2 * i + 1, 100, 1, Side.BUY, instrument=instrument) for i in range(1, CALLS + 1)]

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (InMemoryTradeStore().save, trades), {}

    assert in_rounds(benchmark, each, setup)


def test_the_loop_alone(benchmark: BenchmarkFixture) -> None:
    in_rounds(benchmark, each, lambda: ((bool, list(range(CALLS))), {}))
