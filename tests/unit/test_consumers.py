"""The event ring as its consumers see it: nothing lost, nothing twice, nothing waited for without an end."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyengine import Engine, EngineClosed, FieldError, Instrument, RingFullError, make_commands
from pyengine.records import EVENT_DTYPE, Action, Kind, Reason, Side, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyengine import Consumer

BUY, SELL = Side.BUY, Side.SELL


def small(wait_s: float = 0.05, capacity: int = 64) -> Engine:
    """Make an engine with a small ring and little patience."""
    return Engine([Instrument("X")], ring_capacity=capacity, publish_wait_s=wait_s)


def bids(count: int, first_id: int = 1) -> NDArray[np.void]:
    """Make commands that each cause one event."""
    rows = make_commands(count)
    rows["action"], rows["side"], rows["price_ticks"], rows["qty_lots"] = Action.LIMIT, BUY, 100, 1
    rows["order_id"] = np.arange(first_id, first_id + count)
    return rows


def test_consumer_reads_what_happens_after_it_came() -> None:
    engine = small()
    engine.book("X").submit(BUY, 100, 1, 1)
    consumer = engine.attach()
    assert len(consumer.read()) == 0
    engine.book("X").submit(BUY, 100, 1, 2)
    assert consumer.read()["order_id"].tolist() == [2]
    assert len(consumer.read()) == 0


def test_batch_is_a_read_only_array_of_event_records() -> None:
    engine = small()
    consumer = engine.attach()
    engine.run(bids(3))
    batch = consumer.read()
    assert batch.dtype == EVENT_DTYPE
    assert not batch.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        batch["qty_lots"] = 0


def test_read_gives_no_more_than_asked_for() -> None:
    engine = small()
    consumer = engine.attach()
    engine.run(bids(10))
    assert [len(consumer.read(4)) for _ in range(4)] == [4, 4, 2, 0]


def test_every_consumer_gets_everything() -> None:
    engine = small()
    consumers = [engine.attach(required=required) for required in (True, False, True)]
    for first in range(1, 400, 20):
        events = engine.run(bids(20, first)).events
        for consumer in consumers:
            assert np.concatenate([consumer.read(), consumer.read()]).tolist() == events.tolist()


def test_slow_required_consumer_makes_the_command_fail_after_the_deadline_and_nothing_change() -> None:
    engine = small(wait_s=0.1)
    book = engine.book("X")
    slow = engine.attach(required=True)
    count = 0

    def fill() -> None:
        nonlocal count
        while count <= engine.ring_capacity:
            assert book.submit(BUY, 100, 1, count).status == Status.RESTING
            count += 1

    with pytest.raises(RingFullError):
        fill()
    # An order needs room for two events; cancels of nothing fill the last place.
    unknown = bids(2, 5000)
    unknown["action"] = Action.CANCEL
    engine.run(unknown)
    before, orders = engine.state_hash(), len(book.orders())
    started = time.monotonic()
    with pytest.raises(RingFullError):
        book.cancel(0)
    waited = time.monotonic() - started
    assert 0.09 <= waited < 5
    assert orders == count <= engine.ring_capacity
    for refused in (lambda: book.submit_market(SELL, 1), lambda: book.amend(0, 100, 1), book.mass_cancel):
        with pytest.raises(RingFullError):
            refused()
    assert engine.run(bids(3, 2000)).status.tolist() == [Reason.RING_FULL] * 3
    assert (engine.state_hash(), len(book.orders())) == (before, orders)
    batches = [slow.read(), slow.read()]  # A batch ends where the ring does.
    assert np.concatenate(batches)["order_id"].tolist()[:count] == list(range(count))
    engine.check()


def test_room_made_by_the_consumer_lets_the_producer_go_on() -> None:
    engine = small()
    consumer = engine.attach(required=True)
    statuses = engine.run(bids(100)).status
    done = int((statuses == Status.RESTING).sum())
    assert set(statuses.tolist()) == {int(Status.RESTING), int(Reason.RING_FULL)}
    assert statuses[:done].tolist() == [Status.RESTING] * done
    seen = [int(i) for _ in range(3) for i in consumer.read()["order_id"].tolist()]
    assert seen == list(range(1, done + 1))
    assert engine.book("X").submit(BUY, 100, 1, 1000).status == Status.RESTING
    assert consumer.read()["order_id"].tolist() == [1000]


def test_closing_a_slow_required_consumer_frees_the_producer() -> None:
    engine = small()
    consumer = engine.attach(required=True)
    engine.run(bids(100))
    consumer.close()
    assert engine.book("X").submit(BUY, 100, 1, 1000).status == Status.RESTING


def test_optional_consumer_that_falls_behind_is_told_what_it_missed() -> None:
    engine = small()
    consumer = engine.attach(required=False)
    engine.run(bids(1000))
    batches = [consumer.read().copy() for _ in range(3)]
    seen = np.concatenate(batches)["seq"].tolist()
    gone = [seq for first, last in consumer.missed for seq in range(first, last + 1)]
    assert seen
    assert gone
    assert gone + seen == list(range(1, 1001))
    engine.run(bids(5, 2000))
    assert consumer.read()["seq"].tolist() == list(range(1001, 1006))


def test_optional_consumer_that_keeps_up_misses_nothing() -> None:
    engine = small()
    consumer = engine.attach(required=False)
    for first in range(1, 400, 10):
        engine.run(bids(10, first))
        assert len(consumer.read()) + len(consumer.read()) == 10
    assert list(consumer.missed) == []


def test_batch_in_hand_isnt_overwritten() -> None:
    engine = small()
    required, optional = engine.attach(required=True), engine.attach(required=False)
    engine.run(bids(40))
    batches = [required.read(), optional.read()]
    copies = [batch.copy() for batch in batches]
    engine.run(bids(500, 1000))
    for batch, copy in zip(batches, copies, strict=True):
        assert batch.tolist() == copy.tolist()


def test_batch_outlives_consumer_and_engine() -> None:
    engine = small()
    consumer = engine.attach(required=True)
    engine.run(bids(5))
    batch = consumer.read()
    consumer.close()
    del engine, consumer
    assert batch["order_id"].tolist() == [1, 2, 3, 4, 5]


def test_batch_in_a_reference_cycle_gives_its_place_back() -> None:
    engine = small(wait_s=0)
    consumer = engine.attach(required=True)
    engine.run(bids(5))
    cycle: list[object] = [consumer.read().base]
    cycle.append(cycle)
    del cycle
    gc.collect()
    for first in range(10, 1000, 10):
        assert set(engine.run(bids(10, first)).status.tolist()) == {Status.RESTING}
        while len(consumer.read()):
            pass


def test_read_waits_no_longer_than_told() -> None:
    consumer = small().attach()
    started = time.monotonic()
    assert len(consumer.read(timeout_s=0.1)) == 0
    assert 0.09 <= time.monotonic() - started < 5


def test_waiting_read_returns_when_something_happens() -> None:
    engine = small()
    consumer = engine.attach()
    timer = threading.Timer(0.05, lambda: engine.book("X").submit(BUY, 100, 1, 1))
    timer.start()
    batch = consumer.read(timeout_s=30)
    timer.join()
    assert batch["order_id"].tolist() == [1]


def test_more_consumers_than_the_ring_can_hold_are_refused() -> None:
    engine = small()
    kept: list[Consumer] = []
    with pytest.raises((FieldError, RuntimeError)):
        kept.extend(engine.attach() for _ in range(10_000))
    kept.pop().close()
    kept.append(engine.attach())


def test_closed_consumer_says_so() -> None:
    consumer = small().attach()
    consumer.close()
    consumer.close()
    with pytest.raises(EngineClosed):
        consumer.read()


def drain(consumer: Consumer, until: int, into: list[NDArray[np.void]]) -> None:
    """Read until a sequence number has come or been missed, in one thread."""
    last = 0
    while last < until:
        batch = consumer.read(timeout_s=1.0)
        if len(batch):
            into.append(batch.copy())
            last = int(batch["seq"][-1])
        elif not consumer.missed:
            assert last < until


def test_threads_that_read_while_run_produces_lose_nothing() -> None:
    engine = small(wait_s=30, capacity=1024)
    readers = [engine.attach(required=True, name=f"reader {i}") for i in range(2)]
    seen: list[list[NDArray[np.void]]] = [[] for _ in readers]
    total = 40_000
    threads = [threading.Thread(target=drain, args=(r, total, s)) for r, s in zip(readers, seen, strict=True)]
    for thread in threads:
        thread.start()
    produced = [engine.run(bids(5000, 1 + 5000 * k)).events for k in range(8)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    expected = np.concatenate(produced).tobytes()
    for batches in seen:
        assert np.concatenate(batches).tobytes() == expected


def test_optional_reader_beside_a_fast_producer_sees_true_records_and_knows_the_gaps() -> None:
    engine = small(capacity=256)
    consumer = engine.attach(required=False)
    total = 60_000
    batches: list[NDArray[np.void]] = []
    thread = threading.Thread(target=drain, args=(consumer, total, batches))
    thread.start()
    for k in range(12):
        engine.run(bids(5000, 1 + 5000 * k))
    thread.join(60)
    assert not thread.is_alive()
    events = np.concatenate(batches)
    assert np.all(events["order_id"] == events["seq"])
    assert np.all(events["kind"] == Kind.ACCEPTED)
    gone = [seq for first, last in consumer.missed for seq in range(first, last + 1)]
    assert sorted(gone + events["seq"].tolist()) == list(range(1, total + 1))
