"""Arrays of commands on a book of 4,000 orders."""

# ruff: noqa: D103 - the name of a benchmark says what it times.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import RESTING_ORDERS, in_rounds
from bench.flows import MixedFlow, Records, mixed_flow
from pyengine import Book, Engine, Instrument, Run

FLOW_COMMANDS = 10_000


@pytest.fixture(scope="module")
def flow() -> MixedFlow:
    """Ten thousand commands of the mixed flow."""
    return mixed_flow(FLOW_COMMANDS)


def started(flow: MixedFlow, commands: Records) -> Engine:
    """Make an engine with the flow's first orders."""
    engine = Engine([Instrument("X")])
    engine.run(commands[: flow.prefill])
    return engine


@pytest.mark.parametrize("events", [True, False], ids=["events", "statuses_only"])
def test_run_of_10000_mixed_commands(benchmark: BenchmarkFixture, flow: MixedFlow, *, events: bool) -> None:
    commands = flow.records()
    body = commands[flow.prefill :]

    def setup() -> tuple[tuple[Engine], dict[str, Any]]:
        return (started(flow, commands),), {}

    def run(engine: Engine) -> Run:
        out = engine.run(body, events=events)
        if events:
            _ = out.events, out.trades
        return out

    benchmark.extra_info |= {"commands": FLOW_COMMANDS, "resting orders": flow.prefill}
    out = in_rounds(benchmark, run, setup)
    assert not out.rejected.any()
    if events:
        flow.check(out.trades)


def test_run_of_one_command(benchmark: BenchmarkFixture, flow: MixedFlow) -> None:
    commands = flow.records()
    engine = started(flow, commands)
    refused = commands[:1].copy()
    refused["order_id"] = 1 << 40
    refused["action"] = 3
    benchmark.extra_info |= {"resting orders": RESTING_ORDERS}
    assert benchmark(engine.run, refused).rejected.all()


@pytest.mark.parametrize("name", ["state_hash", "check", "snapshot"])
def test_whole_book(benchmark: BenchmarkFixture, book_of_4000: Callable[[], Book], name: str) -> None:
    benchmark.extra_info |= {"resting orders": RESTING_ORDERS}
    benchmark(getattr(book_of_4000().engine, name))
