"""Memory of a resting order: growth of a new process's resident memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Section
from bench.flows import Records, WrongResultError, new_engine
from bench.sizes import Sizes
from bench.timing import progress
from pyengine import Action, Engine, make_commands

LEVELS = 2_000
MIDDLE = 1_000_000
USERS = 1_000
CHUNK = 100_000
TIMEOUT_S = 300
ROOT = Path(__file__).resolve().parents[2]

TEXT = """
Each figure is of a new process: resident memory (`/proc/self/statm`) after the orders came to rest, less that before,
divided by the orders. So it counts orders, levels, tables of ids, links of users, free room that was touched, and
what the allocator keeps. Before the first reading the engine is made and has run a few commands, so its ring and the
arrays of commands are there. Orders arrive in arrays; sides, prices (over 2,000 levels) and users at random.
1,600,000 is just above a size at which the table of ids has doubled, the worst moment. `peak` includes what is copied
while tables grow.
"""


@dataclass(frozen=True)
class Case:
    """How many orders, with which ids, and whether of users."""

    orders: int
    random_ids: bool
    users: bool

    @property
    def name(self) -> str:
        """Words for the row."""
        ids = "random 64-bit ids" if self.random_ids else "dense ids"
        return f"{self.orders:,} orders, {ids}, {f'{USERS:,} users' if self.users else 'no users'}"


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def forget_peak() -> None:
    """Let the kernel count the most resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Most resident memory that this process has had since."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def scattered(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Map numbers one to one to ids without a pattern."""
    x = numbers
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def orders_of(case: Case) -> Records:
    """Make the commands, of the whole case at once: arrays that come and go would leave holes that look like growth."""
    rng = np.random.Generator(np.random.PCG64(5))
    commands = make_commands(case.orders)
    numbers = np.arange(1, case.orders + 1, dtype=np.uint64)
    commands["action"] = Action.LIMIT
    commands["order_id"] = scattered(numbers) if case.random_ids else numbers
    commands["side"] = rng.integers(1, 3, case.orders)
    depth = rng.integers(1, LEVELS // 2 + 1, case.orders)
    commands["price_ticks"] = np.where(commands["side"] == 1, MIDDLE - depth, MIDDLE + depth)
    commands["qty_lots"] = rng.integers(1, 1001, case.orders)
    commands["user"] = rng.integers(1, USERS + 1, case.orders) if case.users else 0
    return commands


def add(engine: Engine, commands: Records) -> None:
    """Let the orders come to rest."""
    for first in range(0, len(commands), CHUNK):
        if engine.run(commands[first : first + CHUNK], events=False).rejected.any():
            message = "every order must be accepted, some were rejected"
            raise WrongResultError(message)


def weigh(case: Case) -> dict[str, int]:
    """Add the orders and say by how much the process has grown; best in a new one."""
    commands = orders_of(case)
    add(new_engine(), orders_of(Case(1_000, case.random_ids, users=False)))
    engine = new_engine()
    for number in range(USERS):
        engine.user(f"user {number}")
    # The ring is used all around, as it would be soon.
    nothing = make_commands(engine.ring_capacity)
    nothing["action"] = Action.CANCEL
    engine.run(nothing, events=False)
    forget_peak()
    before = resident_bytes()
    add(engine, commands)
    after = resident_bytes()
    if engine.resting_orders != case.orders:
        message = f"{case.orders} orders must rest, were {engine.resting_orders}"
        raise WrongResultError(message)
    return {"grown": after - before, "peak": peak_bytes() - before, "reserved": engine.memory_bytes}


def in_new_process(case: Case) -> dict[str, int]:
    """Weigh in a process that has done nothing before."""
    arguments = [str(case.orders), str(int(case.random_ids)), str(int(case.users))]
    done = subprocess.run(
        [sys.executable, "-m", "bench.measures.memory", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
        cwd=ROOT,
    )
    weights: dict[str, int] = json.loads(done.stdout)
    return weights


def measure(sizes: Sizes) -> Section:
    """Weigh all cases."""
    section = Section(title="Memory", text=TEXT)
    for orders in sizes.memory_orders:
        for random_ids, users in ((False, False), (True, True)):
            case = Case(orders, random_ids, users)
            progress(case.name)
            weights = in_new_process(case)
            note = f"peak {weights['peak'] / orders:.1f}, address space {weights['reserved'] / orders:.1f}"
            figure = Figure(name=case.name, unit="B/order", values=(weights["grown"] / orders,), target="memory", note=note)
            section.figures.append(figure)
    return section


if __name__ == "__main__":
    case_of_arguments = Case(int(sys.argv[1]), bool(int(sys.argv[2])), bool(int(sys.argv[3])))
    print(json.dumps(weigh(case_of_arguments)))
