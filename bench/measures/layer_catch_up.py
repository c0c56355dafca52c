"""A layer that has nothing, behind an engine whose journal has everything: how fast it catches up."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from bench.checks import same
from bench.figures import Figure
from bench.sizes import Sizes
from bench.stacks import FLUSH_S, Maker
from pyengine import COMMAND_DTYPE, Action, Engine, Flag, Instrument, Side
from pyengine.journal import History, Journal
from pyengine.journal.compare import compare_trades
from pyengine.stores import InMemoryTradeStore
from pyengine.stores.composite import CompositeTradeStore

ARRAY: Final = 20_000
ROUNDS: Final = 3
INSTRUMENT: Final = Instrument("X")
LAYERS: Final = {"postgres": None, "redis": 10_000}
"""How many trades each keeps."""


def caught_up(maker: Maker, sizes: Sizes) -> list[Figure]:
    """Write a journal of trades, and have empty layers catch up from it."""
    path = maker.places.path("journal")
    count = sizes.speed_records
    write_journal(path, count)
    return [
        Figure(
            name=f"{layer}: trades, catching up from the journal",
            unit="k trades/s",
            values=tuple(once(maker, path, layer, count) for _ in range(ROUNDS)),
            target=f"{layer}_catch_up",
        )
        for layer in LAYERS
    ]


def write_journal(path: Any, count: int) -> None:
    """Write so many trades, each of two orders, with an event for each order too."""
    commands = np.zeros(2 * ARRAY, COMMAND_DTYPE)
    commands["action"], commands["price_ticks"], commands["qty_lots"] = Action.LIMIT, 100, 1
    commands["side"][0::2], commands["side"][1::2] = Side.BUY, Side.SELL
    commands["flags"] = Flag.ASSIGN_ID
    with Engine([INSTRUMENT], journal=Journal(path), durability="memory") as engine:
        for first in range(0, count, ARRAY):
            engine.run(commands[: 2 * min(ARRAY, count - first)], events=False)


def once(maker: Maker, path: Any, layer: str, count: int) -> float:
    """Resume with an empty layer; return how many thousands a second it took until it had everything."""
    store = maker.trade_layer(layer)
    composite = CompositeTradeStore(InMemoryTradeStore(), store, own=False)
    with Journal(path).resume(trade_store=composite) as engine:
        start = time.perf_counter()
        flushed = composite.flush(timeout_s=FLUSH_S)
        elapsed_s = time.perf_counter() - start
        same(f"{layer}: late", flushed.late, ())
        found = compare_trades(History(path), engine.names, store, newest=LAYERS[layer])
        same(f"{layer}: differences from the journal", found.differences, ())
        same(f"{layer}: compared", found.compared, min(count, LAYERS[layer] or count))
    composite.close()
    return count / elapsed_s / 1e3
