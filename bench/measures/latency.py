"""How long one call takes, and how long an event takes to a consumer, as distributions."""

from __future__ import annotations

import gc
import threading
import time
from array import array

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Section
from bench.flows import Call, mixed_flow, new_engine
from bench.measures.calls import started
from bench.peers.flow import ADD
from bench.sizes import Sizes
from pyengine import Engine, Side

ROUNDS = 5
RATE_PER_S = 2_000
"""Slow enough that the reader sleeps between two orders, which is the slower case."""

PERCENTILES = (50, 99, 99.9)

TEXT = f"""
Single calls: the clock is read before and after each call of the mixed flow; reading it takes what the row `the clock
alone` says, and is part of the others. The maximum of a round is what the operating system did meanwhile.

Hand-over: one thread submits orders at {RATE_PER_S:,} a second, at times fixed beforehand, and sleeps in between;
another one waits in `consumer.read(timeout_s=…)`. The time runs from just before the call to the moment when the
reader has the array in hand. `from the planned time` also counts what the sender was late for, so nothing that waits
is left out. Both threads are Python and share the interpreter's lock.
"""


def percentiles(name: str, rounds: list[NDArray[np.int64]], unit: str = "ns") -> list[Figure]:
    """Make a figure of each percentile, and of the maximum."""
    scale = {"ns": 1.0, "us": 1e-3}[unit]
    figures = [
        Figure(name=f"{name}, p{p:g}", unit=unit, values=tuple(float(np.percentile(one, p)) * scale for one in rounds))
        for p in PERCENTILES
    ]
    worst = tuple(float(one.max()) * scale for one in rounds)
    return [*figures, Figure(name=f"{name}, maximum", unit=unit, values=worst)]


def timed_calls(engine: Engine, prefill: list[Call], calls: list[Call]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Time each submit and each cancel."""
    book = started(prefill, engine).book("X")
    submit, cancel, now = book.submit, book.cancel, time.perf_counter_ns
    submits, cancels = array("q"), array("q")
    gc.collect()
    gc.freeze()
    for action, order_id, side, price, qty in calls:
        if action == ADD:
            start = now()
            submit(side, price, qty, order_id)
            submits.append(now() - start)
        else:
            start = now()
            cancel(order_id)
            cancels.append(now() - start)
    gc.unfreeze()
    return np.array(submits), np.array(cancels)


def timed_nothing(count: int) -> NDArray[np.int64]:
    """Time the clock."""
    now = time.perf_counter_ns
    laps = array("q")
    for _ in range(count):
        start = now()
        laps.append(now() - start)
    return np.array(laps)


def hand_over(seconds: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Send orders on schedule; give for each the time until the reader had it, from the call and from the plan."""
    engine = new_engine()
    book = engine.book("X")
    consumer = engine.attach(required=True)
    count = int(seconds * RATE_PER_S)
    received = np.zeros(count, np.int64)
    sent = np.zeros(count, np.int64)

    def read() -> None:
        place = 0
        while place < count:
            events = consumer.read(timeout_s=1.0)
            arrived = time.perf_counter_ns()
            received[place : place + len(events)] = arrived
            place += len(events)

    reader = threading.Thread(target=read)
    reader.start()
    planned = time.perf_counter_ns() + 20_000_000 + np.arange(count) * (1_000_000_000 // RATE_PER_S)
    for place, due in enumerate(planned.tolist()):
        wait_ns = due - time.perf_counter_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        sent[place] = start = time.perf_counter_ns()
        book.submit(Side.BUY, 1000 + place % 100, 1, None, 0, 0, 0, start)
    reader.join()
    return received - sent, received - planned


def measure(sizes: Sizes) -> Section:
    """Measure rounds of each."""
    flow = mixed_flow(sizes.flow_commands)
    prefill, calls = flow.calls(sizes.latency_commands)
    engine = new_engine()
    timed_calls(engine, prefill, calls)
    both = [timed_calls(engine, prefill, calls) for _ in range(ROUNDS)]
    nothing = [timed_nothing(len(calls)) for _ in range(ROUNDS)]
    handed = [hand_over(sizes.paced_seconds / ROUNDS) for _ in range(ROUNDS)]
    figures = [
        *percentiles("submit", [submits for submits, _ in both]),
        *percentiles("cancel", [cancels for _, cancels in both]),
        *percentiles("the clock alone", nothing)[:-1],
        *percentiles("hand-over to a Python thread", [one for one, _ in handed], "us"),
        *percentiles("the same from the planned time", [one for _, one in handed], "us"),
    ]
    return Section(title="Latency", text=TEXT, figures=figures)
