"""What a journal promises while it is written: who waits, for what, and what is on the disk then."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from journal_setup import FailingDisk, SlowDisk, btc, journaled, rows, same

from pyengine import Engine, FieldError, Instrument, SelfTrade
from pyengine.journal import Journal, JournalDamaged, JournalFailed, JournalTimeout, recover


@pytest.fixture
def slow() -> SlowDisk:
    return SlowDisk()


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_each_call_returns_when_its_events_are_on_the_disk(tmp_path: Path) -> None:
    with btc(tmp_path) as engine:
        book = engine.book("BTC-USD")
        calls = [
            lambda: engine.submit("BTC-USD", "buy", qty="0.5", price=100, user="ann", order_id=7),
            lambda: engine.submit("BTC-USD", "buy", qty="0.5", price=100, order_id=7),
            lambda: engine.amend(7, qty="0.3"),
            lambda: engine.amend(99, qty="0.3"),
            lambda: book.submit(2, 10000, 5),
            lambda: engine.cancel(99),
            lambda: engine.cancel(7),
            lambda: book.submit_market(1, 5),
            lambda: engine.submit("BTC-USD", "sell", qty="0.5", price=100, order_id=8),
            engine.mass_cancel,
        ]
        for number, call in enumerate(calls, start=1):
            before = engine.next_seq
            call()
            assert engine.next_seq > before, number
            assert engine.journal.durable_seq == engine.next_seq - 1
    same(engine_again(engine), tmp_path)


def engine_again(engine: Engine) -> Engine:
    """Make a closed engine readable once more."""
    return recover(engine.journal.path).engine


def test_a_run_waits_once_at_its_end(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow)
    before = slow.syncs
    run = engine.run(rows(400))
    assert engine.journal.durable_seq == int(run.events["seq"][-1]) == engine.next_seq - 1
    assert slow.syncs - before <= 3
    engine.run(rows(400), events=False)
    assert engine.journal.durable_seq == engine.next_seq - 1
    same(engine, tmp_path)


def test_memory_returns_at_once_and_acknowledges_later(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow, durability="memory")
    slow.free.clear()
    engine.run(rows(50))
    told = engine.acknowledged()
    future = told.future()
    assert not told.done
    with pytest.raises(JournalTimeout, match=f"event {told.seq} must be on the disk within 0.05 s"):
        told.result(timeout_s=0.05)
    with pytest.raises(JournalTimeout):
        engine.journal.wait(told.seq, timeout_s=0.01)
    assert not future.done()
    slow.free.set()
    assert future.result(10) == told.result(10) == told.seq == engine.next_seq - 1
    assert told.done
    assert engine.journal.future(told.seq).result(0) == told.seq
    engine.journal.wait(told.seq, 0)


def test_memory_reaches_the_disk_without_anybody_waiting(tmp_path: Path) -> None:
    engine = journaled(tmp_path, durability="memory")
    engine.run(rows(50))
    deadline = time.monotonic() + 10
    while engine.journal.durable_seq < engine.next_seq - 1:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    same(engine, tmp_path)


def test_coroutines_share_commits(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow, durability="memory")

    async def caller() -> None:
        for _ in range(5):
            engine.books[0].submit(1, 50, 1)
            seq = engine.next_seq - 1
            assert await engine.acknowledged() == seq
            assert engine.journal.durable_seq >= seq

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(caller() for _ in range(200))), 30)

    before = slow.syncs
    asyncio.run(all_of_them())
    assert slow.syncs - before < 100
    assert recover(tmp_path).last_seq == engine.next_seq - 1


def test_threads_share_commits(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow)
    book = engine.books[0]

    def caller(_: int) -> None:
        for _ in range(20):
            book.submit(1, 50, 1)

    before = slow.syncs
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(caller, range(16)))
    assert engine.journal.durable_seq == engine.next_seq - 1 == 320
    assert slow.syncs - before < 320
    same(engine, tmp_path)


def test_a_cancelled_future_and_a_closed_loop_disturb_nobody(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow, durability="memory")
    slow.free.clear()
    engine.run(rows(20))
    told = engine.acknowledged()
    future = told.future()
    future.cancel()

    async def given_up() -> None:
        await asyncio.wait_for(told, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
    slow.free.set()
    assert told.result(10) == told.seq


def test_waiting_for_what_has_not_happened_yet(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    seq = engine.next_seq + 2
    future = engine.journal.future(seq)
    engine.books[0].submit(1, 50, 1)
    assert not future.done()
    engine.run(rows(50))
    assert future.result(10) == seq


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_and_modes_are_there_without_any_event(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    engine.user("ann")
    engine.user("bob", SelfTrade.CANCEL_BOTH)
    engine.add_instrument(Instrument("ÄÖÜ-€", "0.5", 3, min_price=-10, max_qty=99))
    engine.acknowledged().result(10)
    same(engine, tmp_path)
    engine.user("ann", SelfTrade.DECREMENT)
    engine.user("bob", SelfTrade.DEFAULT)
    told = engine.acknowledged()
    assert asyncio.run(_awaited(told)) == 0
    same(engine, tmp_path)
    assert recover(tmp_path).engine.instruments == engine.instruments


async def _awaited(told: object) -> int:
    return await told


def test_ten_thousand_users_are_there(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    for number in range(10_000):
        engine.user(f"user {number}", SelfTrade.CANCEL_MAKER if number % 3 else None)
    engine.book("BTC-USD").submit(1, 5, 5, user=10_000)
    same(engine, tmp_path)
    engine.close()
    with Journal(tmp_path).resume() as again:
        assert again.user("user 9999") == 10_000
        assert again.user("another") == 10_001
        again.submit("BTC-USD", "buy", price=1, qty=1, user="another")
        same(again, tmp_path)


# --- size, failures ---------------------------------------------------------------------------------------------------


def test_an_event_takes_at_most_80_bytes_in_batches_of_100(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    while engine.next_seq < 20_000:
        engine.run(rows(100, seed=engine.next_seq))
    engine.close()
    size = sum(path.stat().st_size for path in tmp_path.glob("*.journal"))
    assert size <= 80 * (engine.next_seq - 1 if not engine.closed else engine.journal.durable_seq)


def test_segments_are_bounded_and_taken_whole(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=1 << 16)
    for turn in range(60):
        engine.run(rows(100, seed=turn))
    paths = sorted(tmp_path.glob("*.journal"))
    assert len(paths) > 4
    assert paths[-1].stat().st_size == 1 << 16
    assert max(path.stat().st_size for path in paths) <= 1 << 16
    assert not list(tmp_path.glob("*.next"))
    engine.run(rows(3000, seed=99))
    same(engine, tmp_path)


def test_a_failed_sync_latches(tmp_path: Path) -> None:
    disk = FailingDisk()
    engine = journaled(tmp_path, disk=disk)
    engine.run(rows(30))
    good = engine.journal.durable_seq
    disk._fails_at = len(disk.calls) + 2
    waiting = engine.journal.future(good + 5)
    with pytest.raises(JournalFailed, match=rf"the disk is broken. Events up to {good} are on the disk.*resume") as failed:
        engine.run(rows(30, seed=2))
    assert disk.failed == "sync"
    assert isinstance(failed.value.__cause__, OSError)
    after = len(disk.calls)
    for call in (
        lambda: engine.run(rows(3)),
        lambda: engine.books[0].submit(1, 5, 5),
        lambda: engine.cancel(77),
        lambda: engine.acknowledged().result(),
        lambda: engine.journal.wait(good + 1),
        waiting.result,
        engine.close,
    ):
        with pytest.raises(JournalFailed):
            call()
    assert len(disk.calls) == after
    assert engine.journal.durable_seq == good
    assert engine.journal.failure is not None
    assert engine.closed
    with Journal(tmp_path).resume() as again:
        assert again.next_seq > good


def test_damage_is_found_when_a_journal_is_opened(tmp_path: Path) -> None:
    journaled(tmp_path).close()
    [path] = tmp_path.glob("*.journal")
    with path.open("r+b") as file:
        file.write(b"X")
    with pytest.raises(JournalDamaged, match=rf"{path.name}, byte 0, event 1: a segment must begin with") as damaged:
        Journal(tmp_path)
    assert (damaged.value.segment, damaged.value.offset, damaged.value.seq) == (path.name, 0, 1)
    with pytest.raises(JournalDamaged):
        Journal(tmp_path)


def test_a_journal_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=4096)
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            engine.run(rows(20, seed=turn))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        before, deadline = 0, time.monotonic() + 20
        while len(list(tmp_path.glob("*.journal"))) < 20:
            assert time.monotonic() < deadline
            at_least = engine.journal.durable_seq
            found = recover(tmp_path, ring_capacity=64)
            assert found.last_seq >= max(before, at_least)
            before = found.last_seq
    finally:
        stop.set()
        thread.join()
    engine.close()


def test_a_ring_that_could_become_one_unreadable_commit_is_refused(tmp_path: Path) -> None:
    with Engine(ring_capacity=1 << 24) as engine, Journal(tmp_path) as journal:
        with pytest.raises(FieldError, match="ring_capacity must be at most 8388608 with a journal, was 16777216"):
            journal.attach(engine)
        assert engine.journal is None
