"""A recorded day: out of Parquet into an engine, and several days on several processes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.figures import Figure, Section, share
from bench.flows import MixedFlow, Records, WrongResultError, mixed_flow
from bench.sizes import Sizes
from bench.timing import Prepare, in_turns, progress, rate
from pyengine import Action, Engine, Instrument, make_commands
from pyengine.replay import ReplayReport, read_commands, replay, replay_many, write_commands

OPENING_NS = 1_700_000_000_000_000_000
MEAN_GAP_NS = 5_000
PROCESSES = 2
DAYS_PER_PROCESS = 2
INSTRUMENT = Instrument("X", tick_size="0.01", lot_size="0.001")

TEXT = """
The day is the mixed flow again and again: {commands:,} commands with times at random gaps; between two repeats every
resting order is cancelled and the book of 4,000 is built anew, with fresh ids. `write_commands` put it into a Parquet
file of {size:.1f} MB ({bytes_each:.1f} bytes a command), which is in the operating system's cache when it is read.
`replay(path)` opens, decodes, runs, and returns all trades, which are compared with what must come out; decoding
takes a thread of its own. `replay_many` replays {days} such files in a pool of one and a pool of two processes, which
are started beforehand; trades travel back to the caller.
"""


def day_of(flow: MixedFlow, repeats: int) -> tuple[Records, Records]:
    """Put repeats of the flow together; give the commands, and taker, maker, price and quantity of the trades they cause."""
    commands = flow.records()
    step = np.uint64(commands["order_id"].max())
    clear = make_commands(len(flow.columns["final_order_id"]))
    clear["action"], clear["order_id"] = Action.CANCEL, flow.columns["final_order_id"]
    parts, trades = [], []
    for turn in range(repeats):
        shift = np.uint64(turn) * step
        for part in (commands, clear):
            moved = part.copy()
            moved["order_id"] += shift
            parts.append(moved.view(np.uint8))
        expected = flow.trades()
        expected[:, :2] += int(shift)
        trades.append(expected)
    day = np.concatenate(parts).view(commands.dtype)
    gaps = np.random.Generator(np.random.PCG64(3)).exponential(MEAN_GAP_NS, len(day)).astype(np.int64)
    day["ts_ns"] = OPENING_NS + np.cumsum(gaps)
    return day, np.concatenate(trades)


def check(report: ReplayReport, expected: Records) -> None:
    """See that all trades came out."""
    found = np.column_stack([report.trades[name] for name in ("taker_id", "maker_id", "price_ticks", "qty_lots")])
    if report.rejected or not np.array_equal(found.astype(np.int64), expected):
        message = f"trades must be those of the flow, were others among {len(found)}, {report.rejected} rejected"
        raise WrongResultError(message)


def read_and_run(path: Path) -> Callable[[], object]:
    """Read the whole file, then run it."""

    def work() -> object:
        engine = Engine([INSTRUMENT])
        out = engine.run(read_commands(path))
        return engine, out, out.trades

    return work


def many(path: Path, executor: ProcessPoolExecutor, days: int) -> Callable[[], object]:
    """Replay the file several times over."""
    return lambda: replay_many([path] * days, executor=executor)


def prepared(work: Callable[[], object]) -> Prepare:
    """Time work that needs nothing beforehand."""
    return lambda: work


def pool(processes: int, path: Path) -> ProcessPoolExecutor:
    """Start processes and let each import all it needs."""
    executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    for future in [executor.submit(replay, str(path)) for _ in range(2 * processes)]:
        future.result()
    return executor


def measure(sizes: Sizes) -> Section:
    """Measure one day in several ways, then many."""
    day, expected = day_of(mixed_flow(sizes.flow_commands), sizes.day_repeats)
    days = PROCESSES * DAYS_PER_PROCESS
    with tempfile.TemporaryDirectory() as folder:
        path, short = Path(folder, "day.parquet"), Path(folder, "short.parquet")
        progress("writing Parquet")
        write_commands(path, day, instruments=[INSTRUMENT])
        write_commands(short, day[: len(day) // 100], instruments=[INSTRUMENT])
        check(replay(path), expected)
        size = path.stat().st_size
        section = Section(
            title="Recorded days",
            text=TEXT.format(commands=len(day), size=size / 1e6, bytes_each=size / len(day), days=days),
        )
        works = {
            "replay": prepared(lambda: replay(path)),
            "read": prepared(lambda: read_commands(path)),
            "both": prepared(read_and_run(path)),
        }
        laps = in_turns(works, sizes.day_rounds)
        section.figures = [
            rate("`replay` of the file", laps["replay"], len(day), target="recorded"),
            rate("`read_commands` alone", laps["read"], len(day)),
            rate("`read_commands`, then `Engine.run`", laps["both"], len(day)),
        ]
        progress("many days on one and two processes")
        with pool(1, short) as one, pool(PROCESSES, short) as two:
            turns = in_turns({"one": prepared(many(path, one, days)), "two": prepared(many(path, two, days))}, sizes.day_rounds)
    speed_up = share([lap.seconds for lap in turns["one"]], [lap.seconds for lap in turns["two"]])
    section.figures += [
        without_cpu(rate(f"`replay_many` of {days} days, one process", turns["one"], days * len(day))),
        without_cpu(rate(f"`replay_many` of {days} days, two processes", turns["two"], days * len(day))),
        Figure(name="two processes : one, speed", unit="x", values=speed_up),
    ]
    return section


def without_cpu(figure: Figure) -> Figure:
    """Leave out the caller's processor time, as the work is done elsewhere."""
    return Figure(name=figure.name, unit=figure.unit, values=figure.values)
