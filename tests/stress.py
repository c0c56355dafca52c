"""Ten million random commands through `Engine.run`, held against other ways to say the same.

For each mix of flow, the same commands go to one engine in large arrays, to a second one in arrays of other sizes with
a listener on the ring, the first of them also by single calls, and the very first to the reference. Events, statuses
and state hashes must agree, and `check()` must pass after each array. The seed is printed; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import secrets
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from command_streams import MIXES, Mix, commands_of, random_rows, rows_of
from side_by_side import as_call, call, canonical, new_engine, new_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyengine import Engine

BY_CALLS = 100_000
BY_REFERENCE = 20_000
LARGEST_ARRAY = 200_000
ORDERS = 20_000


class MismatchError(AssertionError):
    """Two ways to run the same commands came out differently."""


def agree(what: str, one: object, two: object) -> None:
    """Refuse a difference."""
    if one != two:
        message = f"{what} differ"
        raise MismatchError(message)


def run_in_parts(engine: Engine, rows: NDArray[np.void], rng: np.random.Generator) -> tuple[bytes, bytes]:
    """Run an array in random parts; returns all events and all statuses."""
    cuts = np.sort(rng.integers(0, len(rows) + 1, int(rng.integers(0, 12))))
    outs = [engine.run(part) for part in np.split(rows, cuts)]
    return b"".join(o.events.tobytes() for o in outs), b"".join(o.status.tobytes() for o in outs)


def compare_with_reference(rows: NDArray[np.void]) -> None:
    """Run commands through the reference and a fresh engine, and compare events, statuses and books."""
    engine, reference = new_engine(), new_reference()
    outcomes = [reference.apply(c) for c in commands_of(rows)]
    out = engine.run(rows)
    agree("statuses of engine and reference", out.status.tolist(), [o.status for o in outcomes])
    agree("events of engine and reference", out.events.tolist(), [e for o in outcomes for e in o.events])
    agree("books of engine and reference", canonical(engine), reference.state())


def compare_with_calls(rows: NDArray[np.void]) -> None:
    """Run commands by calls and by array on two fresh engines; what a call can't say is left out of both."""
    sayable = [c for c in map(as_call, commands_of(rows)) if c is not None]
    arrays, calls = new_engine(), new_engine()
    status = arrays.run(rows_of(sayable), events=False).status.tolist()
    for number, command in enumerate(sayable):
        if 32 <= status[number] < 64:
            continue
        agree(f"statuses of call and array at {number}", int(call(calls, command).status), status[number])
    agree("hashes of calls and arrays", calls.state_hash(), arrays.state_hash())
    calls.check()


def stress(mix: Mix, count: int, seed: int) -> tuple[int, int]:
    """Run one mix; returns the number of events and of resting orders at the end."""
    rng, cutter = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    plain, watched = new_engine(), new_engine(ring_capacity=4096)
    listener = watched.attach(required=False)
    digest, events, done = hashlib.blake2b(), 0, 0
    while done < count:
        rows = random_rows(rng, min(count - done, int(cutter.integers(1, LARGEST_ARRAY))), mix)
        if done == 0:
            compare_with_reference(rows[:BY_REFERENCE])
            compare_with_calls(rows[:BY_CALLS])
        out = plain.run(rows)
        said, statuses = run_in_parts(watched, rows, cutter)
        agree("events of whole and cut arrays", said, out.events.tobytes())
        agree("statuses of whole and cut arrays", statuses, out.status.tobytes())
        agree("state hashes", plain.state_hash(), watched.state_hash())
        plain.check()
        watched.check()
        digest.update(said)
        events += len(out.events)
        done += len(rows)
        agree("sequence numbers", plain.next_seq, events + 1)
        listener.read()
    resting = plain.resting_orders
    print(f"  {mix.name:10} {done:>10,} commands {events:>11,} events {resting:>7,} resting  {digest.hexdigest()[:16]}")
    return events, resting


def main() -> int:
    """Run every mix and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commands", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"stress: {options.commands:,} commands, seed {seed}")
    started = time.perf_counter()
    for number, mix in enumerate(MIXES):
        wide = dataclasses.replace(mix, ids=mix.ids * ORDERS // 600, mass=mix.mass / 10)
        try:
            stress(wide, options.commands // len(MIXES), seed + number)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the seed must be said
            print(f"FAILED in {mix.name}, repeat with --seed {seed}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(f"all agree, {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
