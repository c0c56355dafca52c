"""How long one call takes in each layer: L1, L2 and L3 side by side, what else there is, and the stacks of the three modes."""

from __future__ import annotations

import gc
import random
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import check_orders, check_trades, same
from bench.figures import Figure, Section, number
from bench.market import names as market_names
from bench.market import order_objects, orders, trade_objects, trades
from bench.measures.latency import PERCENTILES, timed_nothing
from bench.measures.stores import each
from bench.report import grid
from bench.servers import running
from bench.sizes import Sizes
from bench.stacks import Maker, Stack
from bench.timing import cost, in_turns, progress
from pyengine.stores import Names
from pyengine.stores.composite import CompositeOrderStore

ORDERS: Final = 4_000
TRADES: Final = 10_000
RECENT: Final = 100
LOOP_TURNS: Final = 25
HEADINGS: Final = ("operation", "layer", "p50", "p99", "p99.9", "p50 of the rounds")

GET, SAVE, SAVE_TRADE, GET_RECENT = "get an order", "save an order", "save a trade", f"get_recent({RECENT})"
MEMORY, REDIS, POSTGRES = "memory (L1)", "Redis (L2)", "Postgres (L3)"
MODES: Final = ("mode 1, development", "mode 2, single node", "mode 3, distributed")

TEXT = """
One call after another from one thread, {calls:,} a round; the clock is read before and after each, which takes what the row
`the clock alone` says and is part of the others. `memory, get of an order` above is the same call in a loop without the clock.
Each layer holds {orders:,} orders and {trades:,} trades beforehand (memory and Redis the newest, as many as they keep); ids to
get are random, orders and trades to save are new ones. What a call returns has been decoded to objects by the end of it. The
layers take turns, every other round backwards, and have written everything before the next one's turn. At the end each
layer, also inside the composites, must hold exactly what was saved.

The modes are composites: mode 1 has memory and, for trades, the file; mode 2 memory, Postgres and, for trades, the file; mode 3
memory, Redis, Postgres and, for trades, the file. They save to memory within the call and answer from it. `not in
memory` are gets of mode 3 that Redis answers, `nor in Redis` those that Postgres answers.
{servers}
"""


@dataclass
class Row:
    """An operation in a layer, with the time of each of its calls, round by round."""

    operation: str
    layer: str
    method: Callable[[Any], Any]
    values: Callable[[int], list[Any]]
    """What to call the method with in a round."""
    expected: Callable[[list[Any]], list[Any]]
    """What it must return for these."""
    after: Callable[[], object]
    """Done when the clock has stopped."""
    rounds: list[NDArray[Any]] = field(default_factory=list)

    def run(self, turn: int) -> None:
        """Time the calls of a round; those before round 0 aren't kept."""
        values = self.values(turn)
        laps_ns, found = timed(self.method, values)
        self.after()
        same(f"{self.layer}: {self.operation}", found, self.expected(values))
        if turn >= 0:
            self.rounds.append(laps_ns * 1e-3)

    def percentile(self, p: float) -> tuple[float, ...]:
        """Give a percentile of each round, in microseconds."""
        return tuple(float(np.percentile(one, p)) for one in self.rounds)

    def cells(self) -> tuple[str, ...]:
        """Texts for the table, after the operation."""
        medians = self.percentile(50)
        return (
            self.layer,
            *(number(float(np.median(self.percentile(p)))) for p in PERCENTILES),
            f"{number(min(medians))} to {number(max(medians))}",
        )


def timed(method: Callable[[Any], Any], values: list[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Time each call, and give what they returned."""
    now = time.perf_counter_ns
    laps = array("q")
    found = []
    gc.collect()
    gc.freeze()
    for value in values:
        start = now()
        result = method(value)
        laps.append(now() - start)
        found.append(result)
    gc.unfreeze()
    return np.array(laps), found


class Market:
    """The orders and trades of this section: some that are there beforehand, and new ones for each round."""

    def __init__(self, names: Names, calls: int, rounds: int) -> None:
        self.names = names
        self.calls = calls
        count = calls * (rounds + 1)
        self.order_rows = orders(1, ORDERS + count)
        self.trade_rows = trades(1, TRADES + count)
        self.orders = order_objects(self.order_rows, names)
        self.trades = trade_objects(self.trade_rows, names)
        # Lines of a file don't have the number of the event.
        lines = self.trade_rows.copy()
        lines["seq"] = 0
        self.trades_of_file = trade_objects(lines, names)

    def some_ids(self, turn: int) -> list[int]:
        """Choose different orders at random that were there beforehand."""
        return random.Random(turn).sample(range(1, ORDERS + 1), min(self.calls, ORDERS))

    def orders_of(self, ids: list[int]) -> list[Any]:
        """Give the orders of ids."""
        return [self.orders[order_id - 1] for order_id in ids]

    def new_orders(self, turn: int) -> list[Any]:
        """Give the orders that a round adds; rounds count from -1."""
        return self._new(self.orders, ORDERS, turn)

    def new_trades(self, turn: int) -> list[Any]:
        """Give the trades that a round adds."""
        return self._new(self.trades, TRADES, turn)

    def newest(self, turn: int, *, of_file: bool) -> list[Any]:
        """Give the newest trades while the store has those up to a round."""
        end = TRADES + self.calls * (turn + 2)
        return (self.trades_of_file if of_file else self.trades)[end - RECENT : end][::-1]

    def _new(self, things: list[Any], before: int, turn: int) -> list[Any]:
        start = before + self.calls * (turn + 1)
        return things[start : start + self.calls]


def order_works(market: Market, stacks: list[Stack]) -> list[Row]:
    """Prepare get and save of orders."""
    rows = []
    for stack in stacks:
        stack.store.save_batch(market.order_rows[:ORDERS])
        stack.settle()
        getting = Row(GET, stack.name, stack.store.get, market.some_ids, market.orders_of, stack.settle)
        saving = Row(SAVE, stack.name, stack.store.save, market.new_orders, all_stored, stack.settle)
        rows += [getting, saving]
    return rows


def trade_works(market: Market, stacks: list[Stack]) -> list[Row]:
    """Prepare save and get_recent of trades."""
    rows = []
    for stack in stacks:
        stack.store.save_batch(market.trade_rows[:TRADES])
        stack.settle()
        rows.append(Row(SAVE_TRADE, stack.name, stack.store.save, market.new_trades, all_stored, stack.settle))
        rows.append(reading(market, stack))
    return rows


def reading(market: Market, stack: Stack) -> Row:
    """Prepare get_recent; how many trades there are by then depends on the round."""
    newest: list[Any] = []

    def limits(turn: int) -> list[int]:
        # Every other round runs backwards, and so reads before it saves.
        newest[:] = market.newest(turn if turn % 2 == 0 else turn - 1, of_file=stack.name == "file")
        return [RECENT] * (market.calls // 2)

    return Row(GET_RECENT, stack.name, stack.store.get_recent, limits, lambda values: [newest] * len(values), stack.settle)


def all_stored(values: list[Any]) -> list[bool]:
    """Say that every save must be told that it stored something."""
    return [True] * len(values)


def fallen_through(maker: Maker, market: Market) -> list[Row]:
    """Prepare gets of mode 3 that memory, or memory and Redis, can't answer."""
    redis, empty, postgres = maker.order_layer("redis"), maker.order_layer("redis"), maker.order_layer("postgres")
    for store in (redis, postgres):
        store.save_batch(market.order_rows[:ORDERS])
    rows = []
    for words, cache in (("not in memory", redis), ("nor in Redis", empty)):
        memory = maker.order_layer("memory")
        # One that isn't the only writer puts no open orders back into memory.
        mode = maker.kept(CompositeOrderStore(memory, cache, postgres, own=False, sole_writer=False))
        rows.append(Row(GET, f"{MODES[2]}, {words}", mode.get, market.some_ids, market.orders_of, nothing))
    # What was put back into the second Redis is removed again; each id is asked for once a round.
    rows[-1].after = lambda: empty.remove_batch(range(1, ORDERS + 1))
    return rows


def nothing() -> None:
    """Do nothing."""


def figures_of(rows: list[Row], sizes: Sizes) -> list[Figure]:
    """Give the promised ones apart; memory in a loop, because reading the clock takes as long as the call."""
    by_place = {(row.operation, row.layer): row for row in rows}
    memory = by_place[GET, MEMORY]
    ids = memory.values(0)
    laps = in_turns({"get": lambda: each(memory.method, ids, LOOP_TURNS)}, sizes.store_rounds, warm_up=2)["get"]
    figures = [
        cost("memory, get of an order", laps, len(ids) * LOOP_TURNS, target="memory_get", note="in a loop, which is part of it")
    ]
    for layer, target in ((REDIS, "redis_get"), (POSTGRES, "postgres_get")):
        values = by_place[GET, layer].percentile(50)
        figures.append(Figure(name=f"{layer.partition(' ')[0]}, get of an order, p50", unit="us", values=values, target=target))
    return figures


def table(rows: list[Row], clock: list[NDArray[np.int64]]) -> str:
    """Draw the table, one operation after the other, upper layers first."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for operation in (GET, SAVE, SAVE_TRADE, GET_RECENT):
        for row in rows:
            if row.operation == operation:
                named = f"**{operation}**" if row.layer == MEMORY else ""
                lines.append((named, *row.cells()))
    empty = Row("", "the clock alone", str, lambda _: [], list, nothing, [one * 1e-3 for one in clock])
    return "All in µs.\n\n" + grid([*lines, ("", *empty.cells())])


def turns(rows: list[Row], rounds: int) -> None:
    """Run all, every other round backwards, with a round before the first."""
    for turn in range(-1, rounds):
        progress(f"round {turn + 1} of {rounds}")
        for row in rows[:: 1 if turn % 2 == 0 else -1]:
            row.run(turn)


def made_orders(maker: Maker) -> list[Stack]:
    """Make all order stores."""
    return [
        maker.order_stack(MEMORY, "memory"),
        maker.order_stack(REDIS, "redis"),
        maker.order_stack(POSTGRES, "postgres"),
        maker.order_stack("SQLite", "sqlite"),
        maker.order_stack(MODES[1], "memory", "postgres"),
        maker.order_stack(MODES[2], "memory", "redis", "postgres"),
        Stack("Redis over a Unix socket", maker.order_layer("redis", socket=True)),
        Stack("Postgres over a Unix socket", maker.order_layer("postgres", socket=True)),
    ]


def made_trades(maker: Maker) -> list[Stack]:
    """Make all trade stores."""
    return [
        maker.trade_stack(MEMORY, "memory"),
        maker.trade_stack(REDIS, "redis"),
        maker.trade_stack(POSTGRES, "postgres"),
        maker.trade_stack("SQLite", "sqlite"),
        maker.trade_stack("file", "file"),
        maker.trade_stack(MODES[0], "memory", "file"),
        maker.trade_stack(MODES[1], "memory", "postgres", "file"),
        maker.trade_stack(MODES[2], "memory", "redis", "postgres", "file"),
    ]


def measure(sizes: Sizes) -> Section:
    """Measure all layers in turns."""
    with running() as places, ExitStack() as kept:
        maker = Maker(places, market_names, kept)
        names = maker.names
        market = Market(names, sizes.layer_calls, sizes.layer_rounds)
        order_stacks, trade_stacks = made_orders(maker), made_trades(maker)
        rows = order_works(market, order_stacks) + fallen_through(maker, market) + trade_works(market, trade_stacks)
        turns(rows, sizes.layer_rounds)
        for stack in order_stacks:
            check_orders(stack, market.order_rows, names)
        for stack in trade_stacks:
            check_trades(stack, market.trade_rows, names, maker)
        clock = [timed_nothing(sizes.layer_calls) for _ in range(sizes.layer_rounds)]
        text = TEXT.format(calls=sizes.layer_calls, orders=ORDERS, trades=TRADES, servers=places.settings().strip())
        return Section(title="Layers, side by side", text=text, figures=figures_of(rows, sizes), table=table(rows, clock))
