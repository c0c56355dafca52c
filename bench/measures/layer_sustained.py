"""Four layers at once for a minute: what they take together, and whether all of it is there afterwards."""

from __future__ import annotations

import time
from typing import Final

from bench.checks import ENDS, Totals, check_file, check_newest, same
from bench.figures import Figure, number
from bench.market import INSTRUMENT, trades
from bench.stacks import FOUR_LAYERS, Maker, Stack
from pyengine.stores.composite import LayerOptions

ARRAY: Final = 1_000
WINDOW_S: Final = 10.0
FULL_WAIT_S: Final = 60.0
STALL_S: Final = 60.0
"""A layer whose write takes long is waited for: to lose nothing is what is asked here."""

CHUNK: Final = 1_000_000


def sustained(maker: Maker, seconds: float) -> list[Figure]:
    """Write trades as fast as the composite takes them, and wait until every layer has them."""
    patient = dict.fromkeys(FOUR_LAYERS[1:], LayerOptions(stall_s=STALL_S))
    stack = maker.trade_stack("four layers, sustained", *FOUR_LAYERS, full_wait_s=FULL_WAIT_S, options=patient)
    save = stack.store.save_batch
    next_id = 1
    marks = []
    start = now = time.perf_counter()
    while now < start + seconds:
        marks.append((now - start, next_id))
        save(trades(next_id, ARRAY))
        next_id += ARRAY
        now = time.perf_counter()
    marks.append((now - start, next_id))
    writing_s = now - start
    stack.settle()
    elapsed_s = time.perf_counter() - start
    count = next_id - 1
    check(stack, count, maker)
    least, most = windows(marks)
    note = (
        f"{count:,} trades in {elapsed_s:.1f} s, of which {elapsed_s - writing_s:.2f} s until the last layer had the last one; "
        f"{number(least)} to {number(most)} accepted in windows of {min(WINDOW_S, seconds):g} s"
    )
    rate = count / elapsed_s / 1e3
    return [Figure(name="four layers at once, sustained", unit="k trades/s", values=(rate,), target="sustained", note=note)]


def windows(marks: list[tuple[float, int]]) -> tuple[float, float]:
    """Give the least and the most thousands a second that were accepted in any window, from mark to mark."""
    rates: list[float] = []
    begin = marks[0]
    for mark in marks:
        if mark[0] - begin[0] >= WINDOW_S or (mark is marks[-1] and not rates):
            rates.append((mark[1] - begin[1]) / (mark[0] - begin[0]) / 1e3)
            begin = mark
    return min(rates), max(rates)


def check(stack: Stack, count: int, maker: Maker) -> None:
    """See that nothing was missed or refused, that Postgres and file have all, and memory and Redis the newest."""
    below = stack.store.stats().layers[1:]
    for layer in below:
        lost = {"missed": layer.missed, "refused": layer.counts["refused"], "written": layer.counts["written"]}
        same(f"{layer.name}: counts", lost, {"missed": (), "refused": 0, "written": count})
    expected = Totals.of(trades(1, 0), INSTRUMENT)
    for first in range(1, count + 1, CHUNK):
        expected += Totals.of(trades(first, min(CHUNK, count + 1 - first)), INSTRUMENT)
    parts, names = stack.parts, maker.names
    ends = min(ENDS, count)
    newest = trades(count + 1 - ends, ends)
    same("postgres: totals", Totals.in_postgres(maker.place_of(parts["postgres"])), expected)
    check_newest("postgres", parts["postgres"], newest, names)
    check_newest("redis", parts["redis"], newest[-parts["redis"].capacity :], names)
    check_newest("memory", parts["memory"], newest[-parts["memory"].capacity :], names)
    check_file("file", maker.place_of(parts["file"]), trades(1, ends), newest, names)
