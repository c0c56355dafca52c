"""Arrays of commands: records, columns, with consumers of the ring, and in small pieces."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from bench.figures import Figure, Section, share
from bench.flows import MixedFlow, Records, WrongResultError, mixed_flow, new_engine
from bench.sizes import Sizes
from bench.timing import Lap, Prepare, cost, in_turns, lap, rate
from pyengine import Commands, Run

PIECES = (10_000, 1_000, 100, 10, 1)

TEXT = """
One `engine.run(commands)`, and `out.events` and `out.trades` taken from it: that is what the clock sees. The engine
is new in each round and holds the flow's first 4,000 orders; the output memory has been used by an earlier round, as
it is in a process that does this more than once. `first run of a process` is the same without that. The trades of
every round are compared with those of the generator's own book after the clock has stopped.
"""


def whole(flow: MixedFlow, commands: Records | Commands) -> Prepare:
    """Run all commands at once and take events and trades."""

    def prepare() -> Callable[[], Run]:
        engine = new_engine()
        engine.run(commands[: flow.prefill])
        body = commands[flow.prefill :]

        def work() -> Run:
            out = engine.run(body)
            assert len(out.events) >= len(out)
            assert len(out.trades)
            return out

        return work

    return prepare


def statuses_only(flow: MixedFlow, commands: Records) -> Prepare:
    """Run all commands and keep no events."""

    def prepare() -> Callable[[], Run]:
        engine = new_engine()
        engine.run(commands[: flow.prefill])
        body = commands[flow.prefill :]
        return lambda: engine.run(body, events=False)

    return prepare


def consumed(flow: MixedFlow, commands: Records, *, required: bool, keep: bool) -> Prepare:
    """Run all commands while a Python thread reads the ring; until it has read the last event if it is required."""

    def prepare() -> Callable[[], Run]:
        engine = new_engine(publish_wait_s=60)
        engine.run(commands[: flow.prefill])
        body = commands[flow.prefill :]
        consumer = engine.attach(required=required)
        ended = threading.Event()

        def read_all() -> None:
            while not (ended.is_set() and consumer.position == engine.next_seq):
                consumer.read(timeout_s=0.01)

        thread = threading.Thread(target=read_all)
        thread.start()

        def work() -> Run:
            out = engine.run(body, events=keep)
            if keep:
                assert len(out.events) >= len(out)
                assert len(out.trades)
            ended.set()
            thread.join()
            return out

        return work

    return prepare


def in_pieces(flow: MixedFlow, commands: Records, piece: int, count: int) -> Prepare:
    """Run `count` commands, so many at a time, and take events and trades of each piece."""

    def prepare() -> Callable[[], None]:
        engine = new_engine()
        engine.run(commands[: flow.prefill])
        pieces = [
            commands[start : min(start + piece, flow.prefill + count)]
            for start in range(flow.prefill, flow.prefill + count, piece)
        ]

        def work() -> None:
            for one in pieces:
                out = engine.run(one)
                _ = out.events, out.trades

        return work

    return prepare


def check(flow: MixedFlow, commands: Records | Commands) -> int:
    """Compare all trades, and give the number of events."""
    engine = new_engine()
    engine.run(commands[: flow.prefill])
    out = engine.run(commands[flow.prefill :])
    flow.check(out.trades)
    if len(out.trades) != len(flow.trades()) or out.rejected.any():
        message = f"{len(flow.trades())} trades must come out and nothing be rejected, was {len(out.trades)}"
        raise WrongResultError(message)
    return len(out.events)


def measure(sizes: Sizes) -> Section:
    """Measure all forms in turns, then pieces of several sizes."""
    flow = mixed_flow(sizes.flow_commands)
    records, columns = flow.records(), flow.as_columns()
    first = lap(whole(flow, records)())
    events = check(flow, records)
    check(flow, columns)
    works = {
        "records": whole(flow, records),
        "columns": whole(flow, columns),
        "statuses only": statuses_only(flow, records),
        "required, statuses only": consumed(flow, records, required=True, keep=False),
        "required": consumed(flow, records, required=True, keep=True),
        "optional": consumed(flow, records, required=False, keep=True),
    }
    laps = in_turns(works, sizes.array_rounds)
    section = Section(title="Arrays", text=TEXT)
    faults = int(np.median([one.page_faults for one in laps["records"]]))
    base = laps["records"]
    section.figures = [
        rate("arrays, events and trades returned", base, len(flow), target="arrays", note=f"{faults} page faults"),
        cost("the same, per command", base, len(flow), note=f"{events / len(flow):.2f} events a command"),
        rate("first run of a process", [first], len(flow), note=f"{first.page_faults} page faults"),
        rate("columns instead of records", laps["columns"], len(flow)),
        rate("statuses only, `events=False`", laps["statuses only"], len(flow)),
        rate("a required consumer in another thread", laps["required"], len(flow)),
        rate("the same, `events=False`", laps["required, statuses only"], len(flow)),
        rate("an optional consumer in another thread", laps["optional"], len(flow)),
        ratio("columns : records, time", laps["columns"], base),
        ratio("required consumer : none, time", laps["required"], base),
        *pieces(flow, records, sizes),
    ]
    return section


def ratio(name: str, laps: list[Lap], base: list[Lap]) -> Figure:
    """Time against time, round by round."""
    return Figure(
        name=name,
        unit="x",
        values=share([one.seconds for one in laps], [one.seconds for one in base]),
        cpu_values=share([one.cpu_seconds for one in laps], [one.cpu_seconds for one in base]),
    )


def pieces(flow: MixedFlow, commands: Records, sizes: Sizes) -> list[Figure]:
    """Measure what small arrays cost."""
    counts = {piece: min(len(flow), max(2_000, piece * 2_000)) // 10 for piece in PIECES}
    works = {str(piece): in_pieces(flow, commands, piece, counts[piece]) for piece in PIECES}
    laps = in_turns(works, max(3, sizes.array_rounds // 2))
    return [cost(f"arrays of {piece:,}, per command", laps[str(piece)], counts[piece]) for piece in PIECES]
