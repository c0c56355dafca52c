"""Run one adapter over a stored flow and print the result as one line of JSON.

This is executed by the Python of the engine's own environment, which has the engine and NumPy and nothing else.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import platform
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.peers.contract import Columns, ConstructsOrders, ShowsVolumes, as_trade_array, digest
from bench.peers.flow import ADD, BUY, COMMAND_COLUMNS, SELL, TRADE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bench.peers.contract import Adapter


def first_difference(reported: NDArray[np.int64], expected: NDArray[np.int64]) -> dict[str, Any] | None:
    """Describe where the trades part from the expected ones, or None where they are equal."""
    common = min(len(reported), len(expected))
    differs = reported[:common] != expected[:common]
    rows = np.flatnonzero(differs.any(axis=1))
    if not len(rows) and len(reported) == len(expected):
        return None
    row = int(rows[0]) if len(rows) else common
    return {
        "row": row,
        "rows": len(rows) + abs(len(reported) - len(expected)),
        "columns": [name for name, wrong in zip(TRADE_COLUMNS, differs.any(axis=0).tolist(), strict=True) if wrong],
        "expected": expected[row].tolist() if row < len(expected) else None,
        "reported": reported[row].tolist() if row < len(reported) else None,
    }


def book_difference(adapter: ShowsVolumes, flow: Columns) -> dict[str, Any] | None:
    """Run command by command and compare the volumes at the prices that each one touched; None if all are equal.

    Comparing the final book alone would not do: that an order was filled in place of another can no longer be seen once
    the other one is cancelled.
    """
    expected: defaultdict[int, dict[int, int]] = defaultdict(lambda: {BUY: 0, SELL: 0})
    trades = zip(*(flow[name].tolist() for name in TRADE_COLUMNS), strict=True)
    trade = next(trades, None)
    commands = adapter.build({name: flow[name] for name in COMMAND_COLUMNS})
    rows = zip(*(flow[name].tolist() for name in COMMAND_COLUMNS), strict=True)
    for number, (action, order_id, side, price, qty) in enumerate(rows):
        touched = {price}
        open_qty = qty
        while action == ADD and trade is not None and trade[0] == order_id:
            _, _, trade_price, trade_qty = trade
            expected[trade_price][BUY + SELL - side] -= trade_qty
            open_qty -= trade_qty
            touched.add(trade_price)
            trade = next(trades, None)
        expected[price][side] += open_qty if action == ADD else -open_qty
        adapter.run(commands[number : number + 1])
        prices = sorted(touched)
        for at, volumes in zip(prices, adapter.volumes(prices), strict=True):
            if volumes != (expected[at][BUY], expected[at][SELL]):
                return {"command": number, "price": at, "expected": list(expected[at].values()), "reported": volumes}
    return None


def timed(call: Callable[[Any], Any], argument: Any) -> tuple[float, float, Any]:
    """Time one call by the clock and by processor time, which waiting for a busy core does not raise.

    All that existed before the call is hidden from the garbage collector, which stays on.
    """
    gc.collect()
    gc.freeze()
    start_cpu = time.process_time()
    start = time.perf_counter()
    outcome = call(argument)
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - start_cpu
    gc.unfreeze()
    return seconds, cpu_seconds, outcome


def measure(adapter_class: type[Adapter], flow: Columns, repeat: int, warmup: int) -> dict[str, Any]:
    """Run the flow through new engines; the first `warmup` runs are not counted."""
    prefill = int(flow["prefill"][0])
    head: Columns = {name: flow[name][:prefill] for name in COMMAND_COLUMNS}
    body: Columns = {name: flow[name][prefill:] for name in COMMAND_COLUMNS}
    expected = np.column_stack([flow[name] for name in TRADE_COLUMNS])
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    construct_cpu_seconds: list[float] = []
    result: dict[str, Any] = {}
    for _ in range(warmup + repeat):
        adapter = adapter_class()
        adapter.run(adapter.build(head))
        commands = adapter.build(body)
        elapsed, cpu, fills = timed(adapter.run, commands)
        seconds.append(elapsed)
        cpu_seconds.append(cpu)
        if isinstance(adapter, ConstructsOrders):
            construct_cpu_seconds.append(timed(adapter.construct, commands)[1])
        seen = verify(adapter, fills, expected)
        if result and seen != result:
            message = f"runs of the same flow must give the same result, were {result} and {seen}"
            raise RuntimeError(message)
        result = seen
    witness = adapter_class()
    if isinstance(witness, ShowsVolumes):
        result |= {"book_checked": True, "book_difference": book_difference(witness, flow)}
    return result | {
        "seconds": seconds[warmup:],
        "cpu_seconds": cpu_seconds[warmup:],
        "construct_cpu_seconds": construct_cpu_seconds[warmup:],
        "commands": len(body["action"]),
    }


def verify(adapter: Adapter, fills: Any, expected: NDArray[np.int64]) -> dict[str, Any]:
    """Compare what the engine reported with what had to happen."""
    result: dict[str, Any] = {"trades": None, "digest": None, "difference": None}
    if adapter.reports_fills:
        trades = as_trade_array(adapter.trades(fills))
        result = {"trades": len(trades), "digest": digest(trades), "difference": first_difference(trades, expected)}
    return result


def main() -> int:
    """Print one line of JSON; an engine that fails is a result too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", help="module in bench.peers.adapters")
    parser.add_argument("flow", help="file written by bench.peers.compare")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=1, help="runs that are not counted")
    options = parser.parse_args()
    result: dict[str, Any] = {"name": options.adapter, "python": platform.python_version()}
    try:
        with np.load(options.flow) as archive:
            flow: Columns = dict(archive)
        adapter_class = importlib.import_module(f"bench.peers.adapters.{options.adapter}").Adapter
        result["reports_fills"] = adapter_class.reports_fills
        result["notes"] = adapter_class.notes
        if adapter_class.distribution:
            result["version"] = importlib.metadata.version(adapter_class.distribution)
        result |= measure(adapter_class, flow, options.repeat, options.warmup)
    except Exception as error:  # noqa: BLE001 - whatever an engine raises belongs in its row of the table.
        result["error"] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
