"""Books of ten million orders: what a command costs when nothing is in the processor's caches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Section, share
from bench.flows import Records, WrongResultError, new_engine
from bench.sizes import Sizes
from bench.timing import Lap, Prepare, cost, in_turns, progress
from pyengine import Action, Engine, Run, Side, make_commands

SHALLOW_ORDERS = 10_000
SHAPES = {"2,000 levels": 1_000, "200,000 levels": 100_000}
"""Price levels of both sides together, and of one."""

MIDDLE = 1_000_000
CHUNK = 1_000_000
SEED = 11

TEXT = """
A book of {deep:,} resting orders and one of {shallow:,}, alike but for that: sides and prices at random over the same
levels, ids dense in order of arrival. Then, in turns, arrays of {commands:,} commands: cancel a random order of the
book and add a new one at a random price, so that the size stays. Events and trades are returned. Both books live
through all rounds, which go on where the one before ended. Ratios are taken round by round.
"""


def fill(engine: Engine, count: int, levels: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """Add so many orders, of ids from 1; give the ids."""
    engine.reserve(count + 1)
    for first in range(1, count + 1, CHUNK):
        rows = min(CHUNK, count + 1 - first)
        engine.run(adds(np.arange(first, first + rows, dtype=np.uint64), levels, rng), events=False)
    if engine.resting_orders != count:
        message = f"{count} orders must rest, were {engine.resting_orders}"
        raise WrongResultError(message)
    return np.arange(1, count + 1, dtype=np.uint64)


def adds(ids: NDArray[np.uint64], levels: int, rng: np.random.Generator) -> Records:
    """Make limit orders that never cross."""
    commands = make_commands(len(ids))
    side = rng.integers(1, 3, len(ids))
    depth = rng.integers(1, levels + 1, len(ids))
    commands["action"], commands["order_id"], commands["side"] = Action.LIMIT, ids, side
    commands["price_ticks"] = np.where(side == Side.BUY, MIDDLE - depth, MIDDLE + depth)
    commands["qty_lots"] = rng.integers(1, 101, len(ids))
    return commands


class Churn:
    """A book whose orders are replaced at random; `slots` has the ids that rest."""

    def __init__(self, count: int, levels: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(SEED))
        self.levels = levels
        self.engine = new_engine(capacity=count)
        self.slots = fill(self.engine, count, levels, self.rng)
        self.next_id = count + 1

    def commands(self, pairs: int) -> Records:
        """Make so many pairs of a cancel and an add."""
        picks = self.rng.integers(0, len(self.slots), pairs)
        new_ids = np.arange(self.next_id, self.next_id + pairs, dtype=np.uint64)
        self.next_id += pairs
        commands = make_commands(2 * pairs)
        cancels = commands[0::2]
        cancels["action"] = Action.CANCEL
        cancels["order_id"] = self._replaced(picks, new_ids)
        commands[1::2] = adds(new_ids, self.levels, self.rng)
        return commands

    def _replaced(self, picks: NDArray[np.int64], new_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Put the new ids into the picked slots one after another; give what was there before."""
        order = np.argsort(picks, kind="stable")
        sorted_picks = picks[order]
        again = np.flatnonzero(sorted_picks[1:] == sorted_picks[:-1])
        old = self.slots[picks]
        old[order[again + 1]] = new_ids[order[again]]
        self.slots[picks] = new_ids  # of a slot picked twice the last one stays
        return old

    def turn(self, count: int) -> Prepare:
        """Replace orders by so many commands."""

        def prepare() -> Callable[[], Run]:
            commands = self.commands(count // 2)

            def work() -> Run:
                out = self.engine.run(commands)
                assert not out.rejected.any()
                assert len(out.events) == len(out)
                return out

            return work

        return prepare


def measure(sizes: Sizes) -> Section:
    """Measure both shapes of book, deep and shallow in turns."""
    text = TEXT.format(deep=sizes.deep_orders, shallow=SHALLOW_ORDERS, commands=sizes.deep_commands)
    section = Section(title="Deep books", text=text)
    target = "deep" if sizes.deep_orders >= 10_000_000 else ""
    for shape, levels in SHAPES.items():
        progress(f"books of {shape}")
        deep, shallow = Churn(sizes.deep_orders, levels), Churn(SHALLOW_ORDERS, levels)
        count = sizes.deep_commands
        laps = in_turns({"deep": deep.turn(count), "shallow": shallow.turn(count)}, sizes.deep_rounds, warm_up=2)
        section.figures += [
            cost(f"{shape}, {sizes.deep_orders:,} orders, per command", laps["deep"], count),
            cost(f"{shape}, {SHALLOW_ORDERS:,} orders, per command", laps["shallow"], count),
            against(f"{shape}, {sizes.deep_orders:,} : {SHALLOW_ORDERS:,} orders", laps, target),
        ]
        for churn in (deep, shallow):
            if churn.engine.resting_orders != len(churn.slots):
                message = f"{len(churn.slots)} orders must rest, were {churn.engine.resting_orders}"
                raise WrongResultError(message)
        del deep, shallow
    return section


def against(name: str, laps: dict[str, list[Lap]], target: str) -> Figure:
    """Divide the deep book's time by the shallow one's, round by round."""
    deep, shallow = laps["deep"], laps["shallow"]
    return Figure(
        name=name,
        unit="x",
        values=share([one.seconds for one in deep], [one.seconds for one in shallow]),
        cpu_values=share([one.cpu_seconds for one in deep], [one.cpu_seconds for one in shallow]),
        target=target,
    )
