"""Raw bytes as commands: whatever they say, nothing breaks.

A run is a row of rounds. Each makes an engine with books, users, a ring and listeners drawn at random, and sends it streams of
commands, valid, damaged and pure noise, as arrays of every layout, as calls and through the C functions; takes snapshots,
goes on from them, and restores damaged ones. After every array everything that can be seen is looked at; see `fuzz_target`.
Each round depends on the seed and its own number only: `--first N --rounds 1` repeats one.

Under the sanitizers (`make fuzz`) a read or write out of bounds ends the run; without them the checks are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import sys
import time
import traceback

import numpy as np
from fuzz_inputs import EXTREMES, Rng, commands, damaged_snapshot, filling, with_state_hash
from fuzz_table import CEngine
from fuzz_target import BOOKS, DEEP_IDS, KNOWN, Listener, Target, require

from pyengine import Engine
from pyengine.errors import EngineClosed, PyengineError, SnapshotError
from pyengine.records import EVENT_DTYPE, FIRST_REJECTION, Kind, Reason
from pyengine.stores import StoreClosed

RUNS = 10_000_000
COUNTS = (1, 2, 3, 15, 31, 63, 64, 65, 100, 127, 128, 200, 255, 400, 512, 513, 1025)
DEEP_COUNTS = (33, 512, 1000, 3000)
DEEP = 0.15
"""Share of rounds with so many orders that the engine looks ahead."""


def run_arrays(target: Target) -> int:
    """Run a few arrays; returns the number of commands."""
    rng, done = target.rng, 0
    counts = np.array(DEEP_COUNTS if target.ids > DEEP_IDS else COUNTS)
    if target.waits and rng.random() < 0.8:
        # Half the ring, so that most commands find room.
        counts = np.minimum(counts, target.engine.ring_capacity // 2)
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.choice(counts))
        target.run(commands(rng, count, target.ids, target.sizes))
        done += count
    return done


def run_calls(target: Target) -> int:
    """Make a few calls."""
    rows = commands(target.rng, int(target.rng.integers(1, 200)), target.ids, target.sizes)
    for row in rows:
        target.call(row)
    target.said = target.said[:0]
    target.settle()
    return len(rows)


def look_around(target: Target) -> int:
    """Ask for views with odd arguments, and compare them with each other."""
    rng, engine = target.rng, target.engine
    for book in engine.books[:5]:
        orders, (bids, asks) = book.orders(), book.depth()
        require(len(orders) == bids["orders"].sum() + asks["orders"].sum(), "a book's views differ")
        limit = int(rng.integers(0, 5))
        shallow = book.depth(limit)
        require(all(len(side) <= limit for side in shallow), "a view is deeper than asked for")
        best = tuple(bids[0].tolist()) if len(bids) else None
        require(book.best_bid() == best and len(book.orders(1)) == bids["orders"].sum(), "a view of the bids differs")
        for row in rng.choice(orders, min(len(orders), 5), replace=False) if len(orders) else ():
            view = engine.order(int(row["order_id"]))
            require(view is not None and view.qty_lots == row["qty_lots"], "an order isn't what the book shows")
    for number in rng.choice(EXTREMES, 5):
        engine.order(int(number))
    return 0


def go_on_from_snapshot(target: Target) -> int:
    """Restore a snapshot, and see that both engines do the same from there."""
    rng, engine = target.rng, target.engine
    data = engine.snapshot()
    twin = Engine.restore(data, ring_capacity=64, publish_wait_s=0)
    require(twin.state_hash() == engine.state_hash() and twin.snapshot() == data, "a snapshot doesn't come back whole")
    rows = commands(rng, 300, target.ids, target.sizes)
    other = twin.run(rows)
    twin.check()
    if target.waits:
        return len(rows)
    out = engine.run(rows)
    require(out.status.tobytes() == other.status.tobytes(), "statuses differ after a snapshot")
    require(out.events.tobytes() == other.events.tobytes(), "events differ after a snapshot")
    require(engine.state_hash() == twin.state_hash(), "states differ after a snapshot")
    target.said = out.events
    target.settle()
    return 2 * len(rows)


def restore_damaged(target: Target) -> int:
    """Restore damaged snapshots: they are refused, or make an engine that holds."""
    rng, done = target.rng, 0
    data = target.engine.snapshot()
    for _ in range(8):
        damaged: bytes | None = damaged_snapshot(rng, data)
        engine = None
        while damaged is not None and engine is None:
            try:
                engine = Engine.restore(damaged, ring_capacity=64, publish_wait_s=0)
            except SnapshotError as error:
                damaged = with_state_hash(damaged, str(error))
        if engine is None:
            continue
        engine.check()
        rows = commands(rng, 200, target.ids, target.sizes)
        engine.run(rows)
        engine.check()
        # Counters that were damaged may have been the highest that are taken, and be beyond by now.
        if max(engine.next_seq, engine.next_trade_id) <= 2**62:
            require(Engine.restore(engine.snapshot()).state_hash() == engine.state_hash(), "a snapshot doesn't come back")
        done += len(rows)
    return done


def feed_stores(target: Target) -> int:
    """Give damaged events to stores of their own: they are refused, or the stores hold."""
    rng, events = target.rng, target.said[:500].copy()
    if not target.stores or not len(events):
        return 0
    octets = events.view(np.uint8).reshape(len(events), -1)
    chosen = np.flatnonzero(rng.random(len(events)) < rng.choice([0.01, 0.2]))
    octets[chosen, rng.integers(0, EVENT_DTYPE.itemsize, len(chosen))] = rng.integers(0, 256, len(chosen))
    for kind in map(type, target.stores):
        store = kind()
        for _ in range(2):
            try:
                store.apply(events)
            except PyengineError as error:
                target.digest.update(str(error).encode())
            store.check()
    return 0


def run_c_functions(target: Target) -> int:
    """Send commands through the table of C functions, and hold events against statuses."""
    rng, done = target.rng, 0
    limits = [(b.min_price_ticks, b.max_price_ticks, b.min_qty_lots, b.max_qty_lots) for b in BOOKS]
    with CEngine(int(rng.choice([64, 256, 4096])), limits, users := int(rng.integers(0, 5))) as engine:
        sizes = target.sizes._replace(books=len(BOOKS), users=users)
        next_seq = 1
        for _ in range(3):
            rows = commands(rng, int(rng.choice([20, 200])), 200, sizes)
            status = engine.apply(rows)
            events = engine.hear(int(rng.choice([1, 7, 2**32])))
            require(KNOWN[status].all(), "a status that doesn't exist")
            require(np.array_equal(events["seq"], next_seq + np.arange(len(events))), "sequence numbers aren't dense")
            refused = (status >= FIRST_REJECTION) & (status < Reason.RING_FULL)
            require((events["kind"] == Kind.REJECTED).sum() == refused.sum(), "rejections and their statuses differ")
            next_seq += len(events)
            target.digest.update(events.tobytes())
            done += len(rows)
        for book in (*range(len(BOOKS) + 1), 2**32 - 1):
            for side in (0, 1, 2, 3, -1, 2**31 - 1):
                price = engine.best(book, side)
                lots = engine.api.depth_at(engine.state, book, side, 0 if price is None else price)
                require((lots > 0) == (price is not None) or price is None, "there are no lots at the best price")
        require(engine.api.state_hash(engine.state) == engine.api.state_hash(engine.state), "the hash isn't stable")
    return done


STEPS = (run_arrays, run_calls, look_around, go_on_from_snapshot, restore_damaged, feed_stores, run_c_functions)
WEIGHTS = np.array([60, 12, 8, 4, 4, 8, 4])


def play(seed: int, number: int) -> tuple[int, str]:
    """Play one round; returns how many commands were run, and a digest of what came out."""
    rng: Rng = np.random.default_rng([seed, number])
    deep = bool(rng.random() < DEEP)
    target = Target(rng, deep=deep)
    done = len(target.run(filling(rng, 3 * DEEP_IDS, target.ids)).status) if deep else 0
    for _ in range(int(rng.integers(5, 30))):
        if rng.random() < 0.2:
            target.change_listeners()
        done += STEPS[rng.choice(len(STEPS), p=WEIGHTS / WEIGHTS.sum())](target)
    close(target)
    return done, target.digest.hexdigest()


def close(target: Target) -> None:
    """Close the engine; consumers may still read, and what was handed out stays as it is."""
    said, copy, listeners, engine = target.said, target.said.tobytes(), target.listeners, target.engine
    listeners.append(Listener(engine, required=False))
    rows = commands(target.rng, 100, 20, target.sizes)
    for part in (*target.stores[:1], engine):
        part.close()
        before = engine.next_seq
        try:
            engine.run(rows)
        except (EngineClosed, StoreClosed):
            require(engine.next_seq == before, "a refused run left events")
        else:
            require(False, f"commands were run with a closed {type(part).__name__}")
    del engine, target.engine
    for listener in listeners:
        listener.hear(said, None, hold=False)
        listener.let_go()
    require(said.tobytes() == copy, "events changed after their engine was gone")


def fuzz(runs: int, seed: int, first: int = 0, rounds: int | None = None, *, quiet: bool = False) -> str:
    """Play rounds until so many commands were run; returns a digest of all that came out."""
    started, said, done, number = time.perf_counter(), 0.0, 0, first
    digest = hashlib.blake2b(digest_size=8)
    while done < runs and (rounds is None or number < first + rounds):
        try:
            count, outcome = play(seed, number)
        except BaseException:
            print(f"FAILED in round {number}: repeat with --seed {seed} --first {number} --rounds 1", file=sys.stderr)
            raise
        done += count
        number += 1
        digest.update(outcome.encode())
        seconds = time.perf_counter() - started
        if not quiet and (seconds - said > 10 or done >= runs):
            said = seconds
            print(f"  {done:>11,} commands, rounds {first} to {number - 1} done, {seconds:.0f} s", flush=True)
    return digest.hexdigest()


def main() -> int:
    """Run the fuzzer and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=RUNS, help="commands to run")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=None, help="how many rounds to play at most")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"fuzz: {options.runs:,} commands, --seed {seed}", flush=True)
    started = time.perf_counter()
    try:
        digest = fuzz(options.runs, seed, options.first, options.rounds)
    except Exception:  # noqa: BLE001  any error is a finding
        traceback.print_exc()
        return 1
    print(f"no findings; digest {digest}, {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
