"""An engine with composites behind it, against a bare one, until the rings are full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bench.checks import Totals, check_file, same
from bench.figures import Figure
from bench.flows import MixedFlow, Records, WrongResultError
from bench.measures.arrays import ratio
from bench.servers import run_sql
from bench.stacks import FOUR_LAYERS, Maker, Stack
from bench.timing import Lap, lap, rate
from pyengine import TRADE_DTYPE, Action, Engine, Instrument
from pyengine.stores import Names

COMMANDS: Final = 50_000
"""Of a lap; their events fit into the engine's ring, and their orders and trades into those of the composites."""

KEEP_FINISHED: Final = 10_000
INSTRUMENT: Final = Instrument("X")


class Attached:
    """An engine that goes through the flow a lap at a time, and the composites behind it."""

    def __init__(self, trade_stack: Stack | None = None, order_stack: Stack | None = None) -> None:
        stores: dict[str, Any] = {}
        if trade_stack is not None:
            stores["trade_store"] = trade_stack.store
        if order_stack is not None:
            stores["order_store"] = order_stack.store
        self.trade_stack, self.order_stack = trade_stack, order_stack
        self.engine = Engine([INSTRUMENT], **stores)
        self.trades: list[Records] = []
        self.laps: list[Lap] = []

    def settle(self) -> None:
        """Wait until the layers have caught up."""
        for stack in filter(None, (self.trade_stack, self.order_stack)):
            stack.settle()

    def work(self, commands: Records) -> Callable[[], object]:
        """Prepare to run commands and to take their events and trades."""

        def run() -> object:
            out = self.engine.run(commands)
            assert len(out.events) >= len(out)
            self.trades.append(out.trades)
            return out

        return run

    def take(self, commands: Records) -> None:
        """Run commands that aren't timed."""
        self.work(commands)()

    def all_trades(self) -> Records:
        """Join the trades of all laps."""
        return np.concatenate(self.trades).view(TRADE_DTYPE)


def attached(maker: Maker, flow: MixedFlow) -> list[Figure]:
    """Measure laps of the engines in turns; each lap goes on where the one before ended."""
    bounds = {"keep_finished": KEEP_FINISHED}
    engines = {
        "bare": Attached(),
        "memory": Attached(maker.trade_stack("memory", "memory"), maker.order_stack("memory", "memory", of_memory=bounds)),
        "trades": Attached(maker.trade_stack("trades behind an engine", *FOUR_LAYERS)),
        "both": Attached(
            maker.trade_stack("trades behind an engine, orders too", *FOUR_LAYERS),
            maker.order_stack("orders behind an engine", *FOUR_LAYERS[:3], of_memory=bounds),
        ),
    }
    commands = flow.records()
    start = flow.prefill + COMMANDS
    for one in engines.values():
        one.take(commands[: flow.prefill])
        one.settle()
        one.take(commands[flow.prefill : start])  # the first lap warms up
    for turn, first in enumerate(range(start, len(commands) - COMMANDS + 1, COMMANDS)):
        for name in list(engines)[:: 1 if turn % 2 == 0 else -1]:
            for one in engines.values():
                one.settle()
            engines[name].laps.append(lap(engines[name].work(commands[first : first + COMMANDS])))
    for one in engines.values():
        check(one, flow, maker, commands[: first + COMMANDS])
    return figures_of(engines)


def figures_of(engines: dict[str, Attached]) -> list[Figure]:
    """Compare speeds lap by lap."""
    words = {
        "bare": "bare engine",
        "memory": "with trade and order stores in memory alone",
        "trades": "with a four-layer trade composite",
        "both": "with that and a three-layer order composite",
    }
    figures = [rate(f"arrays, {words[name]}", one.laps, COMMANDS) for name, one in engines.items()]
    ratios = [ratio(f"{words[name]} : bare, speed", engines["bare"].laps, engines[name].laps) for name in list(engines)[1:]]
    # The composite of four layers is the one of trades. Stores in memory, and orders, are there to tell what is whose.
    ratios[1] = replace(ratios[1], target="attached")
    return figures + ratios


def check(one: Attached, flow: MixedFlow, maker: Maker, commands: Records) -> None:
    """See that the trades are the flow's, that the trade layers have them all, and the order layers every order."""
    one.settle()
    rows = one.all_trades()
    flow.check(rows)
    if one.trade_stack is not None and one.trade_stack.parts:
        parts = one.trade_stack.parts
        same("postgres: totals", Totals.in_postgres(maker.place_of(parts["postgres"])), Totals.of(rows, INSTRUMENT))
        check_file("file", maker.place_of(parts["file"]), rows[:1000], rows[-1000:], Names([INSTRUMENT]))
        newest = parts["memory"].get_recent(1000)
        same("redis: newest", numbers_of(parts["redis"].get_recent(1000)), numbers_of(newest))
        same("memory: newest", [trade.trade_id for trade in newest], rows["trade_id"][:-1001:-1].tolist())
    if one.order_stack is not None and one.order_stack.parts:
        check_order_layers(one, maker, commands)


def numbers_of(trades: list[Any]) -> list[tuple[int, ...]]:
    """Give what Redis says of trades; it leaves out which orders were filled."""
    return [(one.trade_id, one.taker_id, one.maker_id, one.price_ticks, one.qty_lots, one.ts_ns, one.seq) for one in trades]


def check_order_layers(one: Attached, maker: Maker, commands: Records) -> None:
    """See that all layers have the open orders of the engine, and Postgres as many others as there were."""
    assert one.order_stack is not None
    parts = one.order_stack.parts
    url = maker.place_of(parts["postgres"])
    [row] = run_sql(url, "SELECT count(*) FROM orders")
    same("postgres: orders", row[0], int((commands["action"] == Action.LIMIT).sum()))
    for side in ("buy", "sell"):
        expected = parts["memory"].get_by_side(side)
        for kind in ("redis", "postgres"):
            same(f"{kind}: open orders", parts[kind].get_by_side(side), expected)
    if sum(len(parts["memory"].get_by_side(side)) for side in ("buy", "sell")) != one.engine.resting_orders:
        message = f"memory must have the engine's {one.engine.resting_orders} open orders, had others"
        raise WrongResultError(message)
