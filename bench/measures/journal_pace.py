"""What journal, layers and snapshots cost the matching thread: single calls at a steady pace, and the gaps between them."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, share
from bench.flows import Call, MixedFlow, WrongResultError, new_engine
from bench.measures.calls import started
from bench.peers.flow import ADD
from bench.servers import running
from bench.sizes import Sizes
from bench.stacks import Maker
from bench.timing import cost, in_turns, progress, rate
from pyengine import Action, Engine, Instrument, make_commands
from pyengine.journal import Journal, recover, write_snapshot
from pyengine.journal.upkeep import Upkeep, UpkeepOptions
from pyengine.stores import Names

RATE_PER_S: Final = 50_000
NAP_NS: Final = 5_000
TAIL_EVENTS: Final = 1_000_000

TEXT = f"""
Pace: single calls of the mixed flow on the main thread, {RATE_PER_S:,} a second at times fixed beforehand; between two of them
the thread gives the interpreter's lock away and looks at the clock. `p99 of a call` is the call alone, with two readings of the
clock; `from the planned time` counts what the thread was late for too, so it has each wait for the lock and each preemption.
Loaded means a journal (`durability="memory"`), orders and trades in memory, Redis and PostgreSQL, all on this machine; bare and
loaded take turns. With {{orders:,}} resting orders, the same pace while the journal's child process makes, checks and prunes a
snapshot, in turns with the same time without one. Snapshots are loaded, and their journals recovered, from the cache of the
operating system; recovery with a tail is from a snapshot and the {{tail:,}} events behind it.
"""


def paced(engine: Engine, calls: list[Call]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Make calls on schedule; give the time of each, and how long after its planned time each was done."""
    book = engine.book("X")
    submit, cancel, now, nap = book.submit, book.cancel, time.perf_counter_ns, time.sleep
    count = len(calls)
    took, late = np.zeros(count, np.int64), np.zeros(count, np.int64)
    laps: list[int] = []
    delays: list[int] = []
    due, each = now() + 1_000_000, 1_000_000_000 // RATE_PER_S
    for action, order_id, side, price, qty in calls:
        while due - now() > NAP_NS:
            nap(0)
        while (begun := now()) < due:
            pass
        if action == ADD:
            submit(side, price, qty, order_id)
        else:
            cancel(order_id)
        done = now()
        laps.append(done - begun)
        delays.append(done - due)
        due += each
    took[:], late[:] = laps, delays
    return took, late


def undisturbed(engine: Engine, calls: list[Call]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Make paced calls without garbage to collect meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        return paced(engine, calls)
    finally:
        gc.unfreeze()


def percentile(name: str, rounds: list[NDArray[np.int64]], p: float, unit: str = "us") -> Figure:
    """Make a figure of a percentile of each round."""
    scale = {"us": 1e3, "ms": 1e6}[unit]
    return Figure(name=name, unit=unit, values=tuple(float(np.percentile(one, p)) / scale for one in rounds))


def behind_layers(flow: MixedFlow, sizes: Sizes, folder: Path) -> list[Figure]:
    """Compare a bare engine with one that has a journal, Redis and PostgreSQL behind it, in turns."""
    rounds = sizes.journal_rounds
    prefill, calls = flow.calls(int(sizes.paced_seconds / rounds * RATE_PER_S))
    bare, loaded = [], []
    with running() as places, ExitStack() as kept:
        maker = Maker(places, Names, kept)
        kinds = "memory", "redis", "postgres"
        for turn in range(rounds + 1):
            trades = maker.trade_stack("trades", *kinds)
            orders = maker.order_stack("orders", *kinds)
            stores = {"trade_store": trades.store, "order_store": orders.store}
            journal = Journal(folder / f"paced {turn}")
            engine = Engine([Instrument("X")], journal=journal, durability="memory", **stores)
            with new_engine() as alone:
                bare.append(undisturbed(started(prefill, alone), calls))
            loaded.append(undisturbed(started(prefill, engine), calls))
            trades.settle()
            orders.settle()
            engine.close()
            trades.store.close()
            orders.store.close()
    # The first round only warms up.
    del bare[0], loaded[0]
    p99 = [[float(np.percentile(took, 99)) for took, _ in one] for one in (loaded, bare)]
    return [
        percentile("paced, bare: p99 of a call", [took for took, _ in bare], 99),
        percentile("paced, loaded: p99 of a call", [took for took, _ in loaded], 99),
        Figure(name="paced: p99 of a call, loaded against bare", unit="x", values=share(*p99), target="journal_paced"),
        percentile("paced, bare: p99 from the planned time", [late for _, late in bare], 99),
        percentile("paced, loaded: p99 from the planned time", [late for _, late in loaded], 99),
    ]


def resting(count: int) -> np.ndarray:
    """Make commands that rest, in no order of price."""
    draw = np.random.default_rng(20261122)
    rows = make_commands(count)
    rows["action"], rows["qty_lots"], rows["order_id"] = Action.LIMIT, 5, np.arange(1, count + 1)
    rows["side"] = draw.integers(1, 3, count)
    away = draw.integers(0, 5_000, count)
    rows["price_ticks"] = np.where(rows["side"] == 1, 10_000 - away, 10_001 + away)
    return rows


def snapshots(sizes: Sizes, folder: Path) -> list[Figure]:
    """Measure the load of a snapshot, recovery with a tail, and the pauses while one is made."""
    path, count = folder / "snapshots", sizes.state_orders
    engine = Engine([Instrument("X")], journal=Journal(path), durability="memory")
    engine.run(resting(count), events=False)
    engine.acknowledged().result()
    file = write_snapshot(path)
    laps = in_turns({"load": lambda: lambda: file.load(None, {})}, sizes.journal_rounds)["load"]
    figures = [rate("a snapshot loaded and checked", laps, count, thing="orders", target="journal_snapshot")]
    figures += pauses(engine, path, sizes, count)
    prices = np.array([[1, 9_000, 1], [2, 1, 1]])
    tail = make_commands(min(TAIL_EVENTS, count))
    tail["action"], tail["order_id"] = Action.LIMIT, np.arange(len(tail)) + 10 * count
    tail["side"], tail["price_ticks"], tail["qty_lots"] = np.tile(prices, (len(tail) // 2, 1)).T
    engine.run(tail, events=False)
    state = engine.state_hash()
    engine.close()
    found = recover(path)
    if found.engine.state_hash() != state or found.events == 0:
        message = "recovery must begin with the snapshot and go on with the tail, didn't"
        raise WrongResultError(message)
    laps = in_turns({"recovery": lambda: lambda: recover(path)}, sizes.journal_rounds)["recovery"]
    name = f"recovery, {count:,} resting orders from a snapshot and {found.events:,} events"
    return [*figures, cost(name, laps, 1, unit="ms")]


def pauses(engine: Engine, path: Path, sizes: Sizes, count: int) -> list[Figure]:
    """Make paced calls while a snapshot is made, and as long without."""
    upkeep = Upkeep(path, UpkeepOptions(snapshot_every_s=1))
    quiet, busy, took_s = [], [], []
    # Orders far from the best that come and go: the book stays as large as it is.
    pairs = [(action, 5 * count + n // 2, 1, 1, 1) for n, action in enumerate([ADD, ADD + 1] * 25_000)]
    for _ in range(max(2, sizes.journal_rounds // 2)):
        making = threading.Thread(target=upkeep.run, args=(1,))
        gaps, begun = [], time.monotonic()
        making.start()
        while making.is_alive():
            gaps.append(undisturbed(engine, pairs)[1])
        took_s.append(time.monotonic() - begun)
        busy.append(np.concatenate(gaps))
        quiet.append(np.concatenate([undisturbed(engine, pairs)[1] for _ in gaps]))
    if upkeep.counts["snapshots"] != len(busy):
        message = f"{len(busy)} snapshots must be made, were {upkeep.counts}"
        raise WrongResultError(message)
    figures = []
    for name, rounds in (("no snapshot", quiet), ("a snapshot is being made", busy)):
        figures += [percentile(f"paced, {name}: p{p:g} from the planned time", rounds, p) for p in (99, 99.9)]
        figures.append(percentile(f"paced, {name}: longest from the planned time", rounds, 100, "ms"))
    both = [[float(np.percentile(one, 99.9)) / 1e6 for one in rounds] for rounds in (busy, quiet)]
    added = tuple(one - other for one, other in zip(*both, strict=True))
    figures.append(Figure(name="paced: what a snapshot adds to the p99.9", unit="ms", values=added, target="journal_pause"))
    return [*figures, Figure(name="a snapshot made, checked and pruned by the child process", unit="s", values=tuple(took_s))]


def measure(flow: MixedFlow, sizes: Sizes, folder: Path) -> list[Figure]:
    """Measure all of it."""
    progress("snapshots")
    figures = snapshots(sizes, folder)
    progress("at a steady pace, with and without layers")
    return [*behind_layers(flow, sizes, folder), *figures]


def text(sizes: Sizes) -> str:
    """Say what was measured."""
    return TEXT.format(orders=sizes.state_orders, tail=min(TAIL_EVENTS, sizes.state_orders))
