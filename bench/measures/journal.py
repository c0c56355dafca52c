"""The journal: commands that wait for the disk, one at a time, many at once and in arrays; recovery; size."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.figures import Figure, Section
from bench.flows import MixedFlow, WrongResultError, mixed_flow
from bench.measures import journal_pace
from bench.servers import filesystem
from bench.sizes import Sizes
from bench.timing import Lap, Prepare, in_turns, progress, rate
from pyengine import Engine, Instrument
from pyengine.journal import Journal, recover

ARRAY = 10_000
IN_FLIGHT = 1_000
THREADS = 32
EVENT_BYTES = 64

TEXT = """
Everything is in a temporary folder ({folder}). An engine with `durability="journal"` runs the mixed flow in
arrays of {array:,} and waits for the disk after each. One caller places orders, and each call waits; in turns with it a
bare `pwrite` of 64 bytes and `fdatasync` into a file that was allocated before, and the figure is the difference of the
medians of a round. Coroutines use `"memory"` and await `engine.acknowledged()` after each order, {in_flight:,} at a
time; {threads} threads use `"journal"`. Recovery reads and checks the journal of the arrays, from the cache of the
operating system, and its state is compared with the engine's.
"""


class Places:
    """New folders for journals, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = 0

    def engine(self, durability: str = "journal") -> Engine:
        """Make an engine with a new journal."""
        self._made += 1
        return Engine([Instrument("X")], journal=Journal(self.folder / str(self._made)), durability=durability)


def arrays(places: Places, flow: MixedFlow) -> Prepare:
    """Run the flow in arrays, each of which waits."""
    rows = flow.records()
    parts = [rows[at : at + ARRAY] for at in range(0, len(rows), ARRAY)]

    def prepare() -> Callable[[], Engine]:
        engine = places.engine()

        def work() -> Engine:
            for part in parts:
                engine.run(part, events=False)
            return engine

        return work

    return prepare


def tasks(places: Places, count: int) -> Prepare:
    """Place orders from coroutines, each waiting for its own."""

    async def caller(engine: Engine, each: int) -> None:
        submit = engine.book("X").submit
        for _ in range(each):
            submit(1, 5, 5)
            await engine.acknowledged()

    async def all_of_them(engine: Engine) -> None:
        await asyncio.gather(*(caller(engine, count // IN_FLIGHT) for _ in range(IN_FLIGHT)))

    def prepare() -> Callable[[], object]:
        engine = places.engine("memory")
        return lambda: (asyncio.run(all_of_them(engine)), engine)

    return prepare


def threads(places: Places, pool: ThreadPoolExecutor, count: int) -> Prepare:
    """Place orders from threads, each waiting for its own."""

    def prepare() -> Callable[[], object]:
        engine = places.engine()
        submit = engine.book("X").submit

        def caller(_: int) -> None:
            for _ in range(count // THREADS):
                submit(1, 5, 5)

        return lambda: (list(pool.map(caller, range(THREADS))), engine)

    return prepare


def median_us(call: Callable[[int], object], count: int) -> float:
    """Median time of a call."""
    took = []
    for number in range(count):
        begun = time.perf_counter_ns()
        call(number)
        took.append(time.perf_counter_ns() - begun)
    return statistics.median(took) / 1e3


def single_calls(places: Places, count: int, rounds: int) -> list[Figure]:
    """Compare a call that waits with a bare sync, in turns."""
    waiting, bare = [], []
    for turn in range(rounds):
        path = places.folder / f"bare {turn}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.posix_fallocate(fd, 0, 1 << 26)
        os.fsync(fd)

        def sync(number: int, fd: int = fd) -> None:
            os.pwrite(fd, b"x" * EVENT_BYTES, number * EVENT_BYTES)
            os.fdatasync(fd)

        bare.append(median_us(sync, count))
        os.close(fd)
        path.unlink()
        with places.engine() as engine:
            submit = engine.book("X").submit
            waiting.append(median_us(lambda _, submit=submit: submit(1, 5, 5), count))
    extra = tuple(one - other for one, other in zip(waiting, bare, strict=True))
    return [
        Figure(name="one caller, each call waits, p50", unit="us", values=tuple(waiting)),
        Figure(name="a bare write and fdatasync, p50", unit="us", values=tuple(bare)),
        Figure(name="the call without the bare sync", unit="us", values=extra, target="journal_call"),
    ]


def recoveries(places: Places, flow: MixedFlow, rounds: int) -> tuple[list[Lap], int, float]:
    """Recover the journal of the arrays; give the laps, the events, and bytes of the files an event."""
    engine = arrays(places, flow)()()
    assert isinstance(engine, Engine)
    assert engine.journal is not None
    path, state = engine.journal.path, engine.state_hash()
    engine.close()
    events = engine.journal.durable_seq
    if recover(path).engine.state_hash() != state:
        message = "the recovered engine must have an equal state hash, had another"
        raise WrongResultError(message)
    laps = in_turns({"recovery": lambda: lambda: recover(path)}, rounds)["recovery"]
    size = sum(file.stat().st_size for file in path.glob("*.journal"))
    return laps, events, size / events


def measure(sizes: Sizes) -> Section:
    """Measure all of it."""
    flow = mixed_flow(sizes.flow_commands)
    calls, rounds = sizes.journal_calls, sizes.journal_rounds
    many = 20 * calls // IN_FLIGHT * IN_FLIGHT
    with tempfile.TemporaryDirectory(prefix="pyengine-bench-") as folder, ThreadPoolExecutor(THREADS) as pool:
        places = Places(Path(folder))
        progress("many at once")
        works = {
            "arrays": arrays(places, flow),
            "tasks": tasks(places, many),
            "threads": threads(places, pool, many),
        }
        laps = in_turns(works, rounds)
        progress("one at a time")
        single = single_calls(places, calls, rounds)
        progress("recovery")
        recovered, events, bytes_each = recoveries(places, flow, rounds)
        where = filesystem(Path(folder))
        further = journal_pace.measure(flow, sizes, Path(folder))
    figures = [
        rate("arrays, each waits", laps["arrays"], len(flow), target="journal_arrays"),
        *single,
        rate(f"{IN_FLIGHT:,} coroutines, each waits", laps["tasks"], many, prefix="k", target="journal_flight"),
        rate(f"{THREADS} threads, each waits", laps["threads"], many // THREADS * THREADS, prefix="k", target="journal_flight"),
        rate("recovery", recovered, events, thing="events", target="journal_recovery"),
        Figure(name="size of the journal, an event", unit="B", values=(bytes_each,), target="journal_bytes"),
        *further,
    ]
    text = TEXT.format(folder=where, array=ARRAY, in_flight=IN_FLIGHT, threads=THREADS) + journal_pace.text(sizes)
    return Section(title="Journal", text=text, figures=[_without_cpu(figure) for figure in figures])


def _without_cpu(figure: Figure) -> Figure:
    """Leave out the caller's processor time, as much of the work is the disk's and another thread's."""
    return Figure(**{**vars(figure), "cpu_values": ()})
