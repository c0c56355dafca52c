"""Single calls, a thousand in each round, on a book of 4,000 orders; divide by a thousand for one."""

# ruff: noqa: D103 - the name of a benchmark says what it times.

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import LEVELS, MIDDLE, RESTING_ORDERS, in_rounds
from pyengine import Book, Side, Status

CALLS = 1_000

MakeBook = Callable[[], Book]
Row = tuple[Any, ...]


def thousand(benchmark: BenchmarkFixture, make_book: MakeBook, method: str, rows: list[Row], status: Status) -> None:
    """Call a method of a new book a thousand times in each round."""

    def setup() -> tuple[Row, dict[str, Any]]:
        return (getattr(make_book(), method),), {}

    def calls(call: Callable[..., Any]) -> Any:
        for row in rows:
            result = call(*row)
        return result

    benchmark.extra_info |= {"calls": len(rows), "resting orders": RESTING_ORDERS}
    result = in_rounds(benchmark, calls, setup)
    assert result.status == status


@pytest.fixture
def shuffled_ids() -> list[int]:
    """Choose a thousand resting orders at random."""
    ids = list(range(1, RESTING_ORDERS + 1))
    random.Random(1).shuffle(ids)
    return ids[:CALLS]


def test_submit_that_rests(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    rows = [(Side.BUY.value, MIDDLE - 1 - i % LEVELS, 5, RESTING_ORDERS + 1 + i) for i in range(CALLS)]
    thousand(benchmark, book_of_4000, "submit", rows, Status.RESTING)


def test_submit_that_takes_one_order(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    rows = [(Side.BUY.value, MIDDLE + LEVELS, 10, RESTING_ORDERS + 1 + i) for i in range(CALLS)]
    thousand(benchmark, book_of_4000, "submit", rows, Status.FILLED)


def test_cancel(benchmark: BenchmarkFixture, book_of_4000: MakeBook, shuffled_ids: list[int]) -> None:
    thousand(benchmark, book_of_4000, "cancel", [(order_id,) for order_id in shuffled_ids], Status.CANCELLED)


def test_amend_that_keeps_its_place(benchmark: BenchmarkFixture, book_of_4000: MakeBook, shuffled_ids: list[int]) -> None:
    book = book_of_4000()
    rows = []
    for order_id in shuffled_ids:
        order = book.engine.order(order_id)
        assert order is not None
        rows.append((order_id, order.price_ticks, 5))
    thousand(benchmark, book_of_4000, "amend", rows, Status.REPLACED)


def test_amend_to_another_price(benchmark: BenchmarkFixture, book_of_4000: MakeBook, shuffled_ids: list[int]) -> None:
    bids = [order_id for order_id in shuffled_ids if order_id % 2]
    rows = [(order_id, MIDDLE - 1 - i % LEVELS, 10) for i, order_id in enumerate(bids)]
    thousand(benchmark, book_of_4000, "amend", rows, Status.REPLACED)


def test_cancel_of_an_unknown_order(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    book = book_of_4000()
    benchmark.extra_info |= {"resting orders": RESTING_ORDERS}
    assert not benchmark(book.cancel, 1 << 40).ok


def test_best_bid(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    assert benchmark(book_of_4000().best_bid) == (MIDDLE - 1, 100, 10)


def test_depth_of_10_levels(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    assert len(benchmark(book_of_4000().depth, 10)[0]) == 10


def test_depth_of_all_levels(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    assert len(benchmark(book_of_4000().depth)[0]) == LEVELS


def test_friendly_submit_and_cancel(benchmark: BenchmarkFixture, book_of_4000: MakeBook) -> None:
    engine = book_of_4000().engine

    def both() -> Any:
        return engine.cancel(engine.submit("X", "buy", qty="5", price="99000").order_id)

    assert benchmark(both).status == Status.CANCELLED
