"""Several threads at one engine: every call is whole, whoever else calls meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from pyengine import Engine, EngineClosed, Instrument, RingFullError, make_commands
from pyengine.records import Action, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def together(*jobs: Callable[[], None]) -> None:
    """Run jobs in threads of their own; the first error of any of them is raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  it is raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def orders(count: int, first_id: int, side: int, price: int) -> NDArray[np.void]:
    """Make limit orders of one lot."""
    rows = make_commands(count)
    rows["action"], rows["side"], rows["price_ticks"], rows["qty_lots"] = Action.LIMIT, side, price, 1
    rows["order_id"] = np.arange(first_id, first_id + count)
    return rows


def test_arrays_and_calls_of_several_threads_are_one_sequence() -> None:
    engine = Engine([Instrument("X")], ring_capacity=1 << 18)
    listener = engine.attach(required=True)
    book = engine.book("X")
    seen: list[NDArray[np.void]] = []

    def arrays(first_id: int, side: int) -> None:
        seen.extend(engine.run(orders(1000, first_id + 1000 * k, side, 100)).events for k in range(10))

    def calls() -> None:
        for k in range(3000):
            result = book.submit(1, 50, 3, 10**9 + k)
            assert (result.status, result.order_id, result.remaining_lots) == (Status.RESTING, 10**9 + k, 3)
            assert book.cancel(10**9 + k).status == Status.CANCELLED

    def looks() -> None:
        for _ in range(300):
            engine.check()
            bids, asks = book.depth()
            assert not (len(bids) and len(asks) and bids["price_ticks"][0] >= asks["price_ticks"][0])
            assert len(book.orders()) >= 0
            engine.state_hash()

    together(lambda: arrays(1, 1), lambda: arrays(10**6, 2), calls, looks)
    heard: list[NDArray[np.void]] = []
    while len(batch := listener.read()):
        heard.append(batch)
    events = np.concatenate(heard)
    assert events["seq"].tolist() == list(range(1, len(events) + 1))
    trades = events[events["kind"] == Kind.TRADE]
    assert trades["value"].tolist() == list(range(1, len(trades) + 1))
    assert len(trades) == 10_000
    for part in seen:
        assert np.all(np.diff(part["seq"].astype(np.int64)) == 1)
        assert events[part["seq"][0] - 1 : part["seq"][-1]].tobytes() == part.tobytes()
    engine.check()


def test_results_of_concurrent_calls_arent_mixed_up() -> None:
    engine = Engine([Instrument("X"), Instrument("Y")])

    def trade(symbol: str, base: int) -> None:
        book = engine.book(symbol)
        for k in range(4000):
            maker, taker = base + 2 * k, base + 2 * k + 1
            book.submit(1, 100 + base, 2, maker)
            result = book.submit(2, 100 + base, 2, taker)
            [fill] = result.trades
            assert (fill.maker_id, fill.taker_id, fill.price_ticks) == (maker, taker, 100 + base)

    together(lambda: trade("X", 0), lambda: trade("Y", 10**6))
    engine.check()


def test_call_that_waits_for_a_consumer_lets_other_threads_go_on() -> None:
    engine = Engine([Instrument("X")], ring_capacity=64, publish_wait_s=30)
    listener = engine.attach(required=True)
    book = engine.book("X")
    total = 5000

    def produce() -> None:
        for k in range(total):
            assert book.submit(1, 100, 1, k).status == Status.RESTING

    def consume() -> None:
        last = 0
        while last < total:
            batch = listener.read(timeout_s=5)
            assert len(batch)
            assert batch["seq"].tolist() == list(range(last + 1, last + 1 + len(batch)))
            last = int(batch["seq"][-1])

    together(produce, consume)
    engine.check()


def test_single_calls_keep_the_interpreter_lock_while_there_is_room() -> None:
    # Getting the lock back from a busy thread takes milliseconds.
    engine = Engine([Instrument("X")], ring_capacity=1 << 16)
    listener = engine.attach(required=True)
    book, turns, stop = engine.book("X"), [0], threading.Event()

    def take_turns() -> None:
        while not stop.is_set():
            turns.append(0)
            time.sleep(0)

    ids, noughts, ones = range(1, 10_001), repeat(0), repeat(1)
    calls = [
        map(book.submit, ones, repeat(100), ones, ids),
        map(engine.cancel, repeat(10**6, len(ids))),
        map(engine.cancel, ids, noughts, noughts, ids),
    ]
    interval = sys.getswitchinterval()
    other = threading.Thread(target=take_turns)
    other.start()
    try:
        # Who wants the lock has it at the first opportunity; what runs to its end in C gives none, unless a call does.
        sys.setswitchinterval(1e-6)
        counts = [list(chain(map(len, [turns]), some, map(len, [turns]))) for some in calls]
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        other.join()
    assert [each[0] for each in counts] == [each[-1] for each in counts]
    assert len(listener.read()) == 40_000
    engine.check()


def test_closing_while_others_call_ends_them_cleanly() -> None:
    engine = Engine([Instrument("X")], ring_capacity=64, publish_wait_s=0.01)
    listener = engine.attach(required=True)

    def produce() -> None:
        for k in range(100_000):
            try:
                engine.book("X").submit(1, 100, 1, k)
                engine.run(orders(200, 10**6 + 200 * k, 1, 99))
            except RingFullError:
                continue
            except EngineClosed:
                return

    def stop() -> None:
        for _ in range(20):
            listener.read(timeout_s=0.01)
        engine.close()

    together(produce, produce, stop)


def test_consumers_may_come_and_go_while_an_array_runs() -> None:
    engine = Engine([Instrument("X")], ring_capacity=256)

    def produce() -> None:
        for k in range(40):
            engine.run(orders(5000, 1 + 5000 * k, 1, 100))

    def listen() -> None:
        for number in range(150):
            consumer = engine.attach(required=number % 2 == 0)
            batch = consumer.read(timeout_s=0.001)
            assert np.all(np.diff(batch["seq"].astype(np.int64)) == 1)
            # A batch in hand keeps its place in the ring, and the producer waiting.
            del batch
            consumer.close()

    together(produce, listen, listen)
    engine.check()
