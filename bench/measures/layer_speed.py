"""How much the layers take a second: what a write costs its caller, each backend alone, all at once, and behind an engine."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyengine._core.json_lines import trade_lines

from bench.checks import Totals, check_file, check_newest, same
from bench.figures import Figure, Section
from bench.flows import Records, mixed_flow
from bench.market import INSTRUMENT, order_objects, orders, trades
from bench.market import names as market_names
from bench.measures.layer_catch_up import caught_up
from bench.measures.layer_engine import COMMANDS, attached
from bench.measures.layer_sustained import STALL_S, sustained
from bench.meter import Meter
from bench.servers import run_sql, running
from bench.sizes import Sizes
from bench.stacks import FOUR_LAYERS, Maker, Stack
from bench.timing import Lap, Prepare, cost, in_turns, progress, rate
from pyengine.stores import Names
from pyengine.stores.postgres import PostgresTradeStore

ARRAY: Final = 1_000
BATCH: Final = 5_000
"""What the writer of a composite's layer hands over at once when there is enough, unless the store wants more."""

ARRAYS_A_LAP: Final = 50
"""They fit into the ring, so that nobody waits for a layer."""

PACE_S: Final = 0.02
ORDERS_SHARE: Final = 4
"""Laps of orders have as many fewer records."""

TEXT = """
`a write` is `save_batch` of an array of {array:,} records on memory, Redis, Postgres and file (orders: without the
file), as its caller sees it: {arrays} calls in a row, which the ring holds, while the layers' own threads work on the
same processors. `at a pace` is one such call every {pace_ms:g} ms. Backends alone get arrays of {batch:,} (trades in
Postgres: {commit:,}), as the composite's writers give them when as many wait, from one thread over one connection at
a time, and the clock stops when the backend has answered (Redis), has committed (Postgres), or when `flush` has seen
everything written and synced (file). `replaced` are orders that are there, in a newer version. Redis keeps the newest
10,000 trades; all orders stay. At the end, counts and sums of what each holds are compared with what was written, and
the newest records one by one.

Four layers, sustained: one thread writes arrays of {array:,} trades for {seconds} s as fast as the composite takes
them. It waits when the ring is full, for `full_wait_s` of {patience:g} s, and a slow layer isn't given up, by `stall_s`
of as much. The clock stops when `flush` says that all layers have all of it. Afterwards nothing may be missed or
refused, Postgres and file must have every trade, memory and Redis the newest that they keep.

Behind an engine: arrays of {commands:,} commands of the mixed flow, which the rings hold, into a bare engine, one with
stores in memory alone, one with a four-layer trade composite, and one with an order composite of memory, Redis and
Postgres too. They take turns, all layers have caught up before each, and the clock stops when `run` has returned events
and trades. All trades are compared with the flow's, and with what the layers hold.

Catching up: an engine is resumed from a journal of {caught_up:,} trades and twice as many orders, with one layer that is
empty. The clock stops when `flush` says that it has everything, and all of it is compared with the journal.

{servers}
"""


class Growing:
    """Trades of rising ids for one store, lap by lap, and what they have come to so far."""

    def __init__(self) -> None:
        self.next_id = 1
        self.totals = Totals.of(trades(1, 0), INSTRUMENT)
        self.newest = trades(1, 0)

    def take(self, count: int) -> Records:
        """Make the next ones."""
        rows = trades(self.next_id, count)
        self.next_id += count
        self.totals += Totals.of(rows, INSTRUMENT)
        self.newest = rows
        return rows


def cut(rows: Records, size: int) -> list[Records]:
    """Cut an array into pieces that are arrays of their own."""
    return [rows[start : start + size].copy() for start in range(0, len(rows), size)]


def given(save: Callable[[Records], object], pieces: list[Records]) -> None:
    """Save piece by piece."""
    for piece in pieces:
        save(piece)


def write_cost(maker: Maker, sizes: Sizes) -> list[Figure]:
    """Measure what writes to composites cost their callers."""
    trade_stack = maker.trade_stack("four layers", *FOUR_LAYERS)
    order_stack = maker.order_stack("three layers", *FOUR_LAYERS[:3])
    memory = maker.trade_layer("memory")
    growing, alone = Growing(), Growing()
    next_order = [1]
    count = ARRAYS_A_LAP * ARRAY

    def write_trades() -> Callable[[], None]:
        trade_stack.settle()
        pieces = cut(growing.take(count), ARRAY)
        return lambda: given(trade_stack.store.save_batch, pieces)

    def write_orders() -> Callable[[], None]:
        order_stack.settle()
        pieces = cut(orders(next_order[0], count), ARRAY)
        next_order[0] += count
        return lambda: given(order_stack.store.save_batch, pieces)

    def write_memory() -> Callable[[], None]:
        pieces = cut(alone.take(count), ARRAY)
        return lambda: given(memory.save_batch, pieces)

    works: dict[str, Prepare] = {"trades": write_trades, "orders": write_orders, "memory": write_memory}
    laps = in_turns(works, sizes.speed_rounds)
    trade_stack.settle()
    paced_ns = paced(trade_stack, growing, sizes.paced_seconds) / ARRAY
    check_four(trade_stack, growing, maker)
    order_stack.settle()
    [row] = run_sql(maker.place_of(order_stack.parts["postgres"]), "SELECT count(*) FROM orders")
    same("three layers, postgres: orders", row[0], next_order[0] - 1)
    per_second = f"{ARRAY / PACE_S:,.0f} records a second"
    paced_figures = [
        Figure(name=f"the same at a pace of {per_second}, p{p}", unit="ns/record", values=(float(np.percentile(paced_ns, p)),))
        for p in (50, 99)
    ]
    figures = [
        cost("a write of trades to four layers", laps["trades"], count, target="write"),
        *paced_figures,
        cost("a write of orders to three layers", laps["orders"], count),
        cost("a write of trades to memory alone", laps["memory"], count),
    ]
    return [Figure(**{**vars(one), "unit": "ns/record"}) for one in figures]


def paced(stack: Stack, growing: Growing, seconds: float) -> NDArray[np.int64]:
    """Write an array at fixed times and give what each call took."""
    pieces = [growing.take(ARRAY) for _ in range(int(seconds / PACE_S))]
    save, now = stack.store.save_batch, time.perf_counter_ns
    laps = array("q")
    due = now()
    for piece in pieces:
        due += int(PACE_S * 1e9)
        time.sleep(max(0, due - now()) / 1e9)
        start = now()
        save(piece)
        laps.append(now() - start)
    return np.array(laps)


def check_four(stack: Stack, growing: Growing, maker: Maker) -> None:
    """See that memory, Redis, Postgres and file have what was written."""
    stack.settle()
    parts, names = stack.parts, maker.names
    for kind in ("memory", "redis"):
        check_newest(f"{stack.name}, {kind}", parts[kind], growing.newest[-parts[kind].capacity :], names)
    same(f"{stack.name}, postgres: totals", Totals.in_postgres(maker.place_of(parts["postgres"])), growing.totals)
    check_newest(f"{stack.name}, postgres", parts["postgres"], growing.newest, names)
    check_file(f"{stack.name}, file", maker.place_of(parts["file"]), trades(1, ARRAY), growing.newest, names)


def trade_rates(maker: Maker, sizes: Sizes) -> list[Figure]:
    """Measure trades into file, Redis and Postgres, each alone, in turns."""
    count = sizes.speed_records
    kinds = ("file", "redis", "postgres")
    stores = {kind: maker.trade_layer(kind) for kind in kinds}
    growing = {kind: Growing() for kind in kinds}

    def save_all(kind: str) -> Prepare:
        def prepare() -> Callable[[], object]:
            pieces = cut(growing[kind].take(count), getattr(stores[kind], "batch_rows", BATCH))
            stack = Stack(kind, stores[kind])

            def work() -> None:
                given(stack.store.save_batch, pieces)
                stack.settle()

            return work

        return prepare

    rows = trades(1, count)
    meter = Meter(maker.places)
    works = {kind: meter.around(kind, save_all(kind)) for kind in kinds}
    works["encode"] = lambda: lambda: trade_lines(rows, maker.names)
    laps = in_turns(works, sizes.speed_rounds)
    for kind in ("redis", "postgres"):
        newest = growing[kind].newest[-getattr(stores[kind], "capacity", BATCH) :]
        check_newest(kind, stores[kind], newest, maker.names)
    same("postgres: totals", Totals.in_postgres(maker.place_of(stores["postgres"])), growing["postgres"].totals)
    path = maker.place_of(stores["file"])
    check_file("file", path, trades(1, BATCH), growing["file"].newest, maker.names)
    bytes_each = path.stat().st_size / growing["file"].totals.count
    megabytes = np.median([count * bytes_each / one.seconds for one in laps["file"]]) / 1e6
    note = f"{megabytes:.0f} MB/s, {bytes_each:.0f} bytes a trade, synced once a batch"
    return [
        without_cpu(rate("file: trades encoded and written", laps["file"], count, thing="trades", target="file", note=note)),
        rate("the same, encoded only", laps["encode"], count, thing="trades"),
        into("Redis", "trades", laps["redis"], count, meter.words("redis", count)),
        into("Postgres", "trades", laps["postgres"], count, meter.words("postgres", count)),
    ]


def into(server: str, what: str, laps: list[Lap], count: int, note: str) -> Figure:
    """Make the figure of records into a server, in thousands a second."""
    thing = "trades" if what == "trades" else "orders"
    return without_cpu(
        rate(f"{server}: {what}", laps, count, thing=thing, prefix="k", target=f"{server.lower()}_{thing}", note=note)
    )


def order_rates(maker: Maker, sizes: Sizes) -> list[Figure]:
    """Measure orders into Redis and Postgres: new ones, and others in a newer version, in turns."""
    count = sizes.speed_records // ORDERS_SHARE
    stores = {kind: maker.order_layer(kind) for kind in ("redis", "postgres")}
    first = dict.fromkeys(stores, 1)
    version = dict.fromkeys(stores, 1)
    for store in stores.values():
        given(store.save_batch, cut(orders(1, count), BATCH))

    def add(kind: str) -> Prepare:
        def prepare() -> Callable[[], None]:
            first[kind] += count
            pieces = cut(orders(first[kind], count), BATCH)
            return lambda: given(stores[kind].save_batch, pieces)

        return prepare

    def replace(kind: str) -> Prepare:
        def prepare() -> Callable[[], None]:
            version[kind] += 1
            pieces = cut(orders(1, count, version[kind]), BATCH)
            return lambda: given(stores[kind].save_batch, pieces)

        return prepare

    meter = Meter(maker.places)
    works = {f"{kind} {name}": work(kind) for kind in stores for name, work in (("new", add), ("replaced", replace))}
    laps = in_turns({name: meter.around(name, work) for name, work in works.items()}, sizes.speed_rounds)
    for kind, store in stores.items():
        expected = order_objects(orders(1, ARRAY, version[kind]), maker.names)
        same(f"{kind}: replaced orders", [store.get(order.order_id) for order in expected], expected)
        expected = order_objects(orders(first[kind] + count - ARRAY, ARRAY), maker.names)
        same(f"{kind}: new orders", [store.get(order.order_id) for order in expected], expected)
    check_counts(maker, stores, first["redis"] + count - 1)
    return [
        into(words, what, laps[f"{kind} {name}"], count, meter.words(f"{kind} {name}", count))
        for kind, words in (("redis", "Redis"), ("postgres", "Postgres"))
        for name, what in (("new", "new orders"), ("replaced", "orders replaced"))
    ]


def check_counts(maker: Maker, stores: dict[str, Any], count: int) -> None:
    """See that Postgres has so many orders, and Redis so many, each in the set of its user and of its side."""
    [row] = run_sql(maker.place_of(stores["postgres"]), "SELECT count(*) FROM orders")
    same("postgres: orders", row[0], count)
    for sets, pattern in (("users", "user_orders:*"), ("sides", "side_orders:*")):
        same(f"redis: ids in the sets of {sets}", maker.places.members(maker.place_of(stores["redis"]), pattern), count)


def without_cpu(figure: Figure) -> Figure:
    """Leave out the caller's processor time, as most of the work is done elsewhere."""
    return Figure(**{**vars(figure), "cpu_values": ()})


def measure(sizes: Sizes) -> Section:
    """Measure all of it, one after another, each on places of its own."""
    figures: list[Figure] = []
    flow = mixed_flow(sizes.flow_commands)
    parts: dict[str, Callable[[Maker], list[Figure]]] = {
        "writes to composites": lambda maker: write_cost(maker, sizes),
        "trades into each backend": lambda maker: trade_rates(maker, sizes),
        "orders into each backend": lambda maker: order_rates(maker, sizes),
        "all layers at once": lambda maker: sustained(maker, sizes.sustained_s),
        "catching up": lambda maker: caught_up(maker, sizes),
    }
    with running() as places:
        for words, part in parts.items():
            progress(words)
            with ExitStack() as kept:
                figures += part(Maker(places, market_names, kept))
        progress("behind an engine")
        with ExitStack() as kept:
            figures += attached(Maker(places, Names, kept), flow)
        text = TEXT.format(
            array=ARRAY,
            arrays=ARRAYS_A_LAP,
            batch=BATCH,
            commit=PostgresTradeStore.batch_rows,
            pace_ms=PACE_S * 1e3,
            seconds=sizes.sustained_s,
            patience=STALL_S,
            commands=COMMANDS,
            caught_up=sizes.speed_records,
            servers=places.settings().strip(),
        )
    return Section(title="Layers, what they take", text=text, figures=figures)
