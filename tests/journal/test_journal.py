"""What a journal promises while it is written: who waits, for what, and what is on the disk then."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from journal_setup import FailingDisk, journaled, rows, same

from pyengine import (
    Engine,
    EngineClosed,
    FieldError,
    FieldTypeError,
    InMemoryOrderStore,
    Instrument,
    SelfTrade,
)
from pyengine.journal import (
    Journal,
    JournalClosed,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalHeld,
    JournalTimeout,
    recover,
)
from pyengine.journal.disk import Disk

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class SlowDisk(Disk):
    """A disk that is busy until it is told."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.free.wait(20)
        self.syncs += 1
        super().sync(fd)


@pytest.fixture
def slow() -> SlowDisk:
    return SlowDisk()


def btc(path: Path, **options: object) -> Engine:
    return Engine([Instrument("BTC-USD", "0.01", "0.001")], journal=Journal(path), **options)


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


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_journal_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    reference = journaled(tmp_path / "reference", segment_bytes=8192)
    engine = journaled(tmp_path / "j", segment_bytes=8192)
    for turn in range(6):
        assert engine.run(rows(60, turn)).events.tobytes() == reference.run(rows(60, turn)).events.tobytes()
        identity = engine.journal.identity
        engine.close()
        engine = Journal(tmp_path / "j", segment_bytes=8192).resume(ring_capacity=1024)
        assert engine.journal.identity == identity
        assert engine.ring_capacity == 1024
    assert engine.self_trade == SelfTrade.CANCEL_TAKER
    assert engine.snapshot() == reference.snapshot()
    same(reference, tmp_path / "j")
    assert recover(tmp_path / "j").segments > 3


def test_resuming_an_empty_journal_makes_a_new_engine_and_later_ones_get_their_instruments(tmp_path: Path) -> None:
    btc_usd, eth_usd = Instrument("BTC-USD"), Instrument("ETH-USD")
    Journal(tmp_path).resume(instruments=[btc_usd]).close()
    with Journal(tmp_path).resume(instruments=[btc_usd, eth_usd]) as engine:
        assert engine.instruments == (btc_usd, eth_usd)
    with pytest.raises(FieldError, match="equal to the one known as BTC-USD"):
        Journal(tmp_path).resume(instruments=[Instrument("BTC-USD", "0.5")])


def test_an_engine_that_is_somewhere_else_is_refused(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    engine.run(rows(50))
    engine.close()
    with pytest.raises(FieldError, match="one whose next event is"):
        Engine(journal=tmp_path)
    journal = Journal(tmp_path)
    other = Engine(self_trade=SelfTrade.CANCEL_TAKER)
    for _ in range(journal.last_seq):
        other.cancel(5)
    with pytest.raises(FieldError, match="the instruments and users that the journal has defined"):
        journal.attach(other)
    recovered = recover(tmp_path).engine
    with pytest.raises(FieldError, match="'journal' or 'memory'"):
        journal.attach(recovered, durability="disk")
    journal.attach(recovered)
    with pytest.raises(JournalError, match="has one already"):
        journal.attach(recover(tmp_path).engine)
    with pytest.raises(FieldError, match="one without a journal"):
        Journal(tmp_path / "other").attach(recovered)
    recovered.close()


def test_a_new_journal_takes_no_engine_with_a_past(tmp_path: Path) -> None:
    engine = Engine([Instrument("X")])
    engine.submit("X", "buy", 1, 1)
    with pytest.raises(FieldError, match="one whose next event is 1"):
        Journal(tmp_path).attach(engine)
    assert engine.journal is None
    with pytest.raises(FieldError, match="a Journal for anything to be on the disk"):
        engine.acknowledged()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldTypeError, match="a Journal, or the path of one"):
        Engine(journal=5)
    with pytest.raises(FieldError, match="segment_bytes must be from 4096"):
        Journal(tmp_path, segment_bytes=5)
    with pytest.raises(FieldTypeError, match="an Engine"):
        Journal(tmp_path).attach("engine")
    with pytest.raises(JournalError, match="has no segments"):
        recover(tmp_path)
    with pytest.raises(JournalError, match="must be the folder of a journal"):
        recover(tmp_path / "nowhere")
    with pytest.raises(FieldError, match="until_seq"):
        recover(tmp_path, until_seq="5")


def test_recovery_alone_takes_no_stores_and_an_engine_out_of_a_snapshot_no_journal(tmp_path: Path) -> None:
    engine = journaled(tmp_path / "j")
    engine.run(rows(20))
    engine.close()
    for name, value in (("order_store", InMemoryOrderStore()), ("journal", tmp_path / "other"), ("durability", "memory")):
        with pytest.raises(FieldError, match=f"options must be among capacity, .*, was '{name}'"):
            recover(tmp_path / "j", **{name: value})
    with pytest.raises(FieldError, match="a journal begins with event 1"):
        Engine.restore(recover(tmp_path / "j").engine.snapshot(), journal=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_journal_that_is_forgotten_holds_nothing(tmp_path: Path) -> None:
    Journal(tmp_path)
    gc.collect()
    Journal(tmp_path).close()


# --- points in time ---------------------------------------------------------------------------------------------------


def test_recovery_to_each_event_gives_the_state_between_two_commands(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=4096)
    states = {0: engine.snapshot()}
    for row in rows(100, seed=3):
        engine.run(row.reshape(1))
        states[engine.next_seq - 1] = engine.snapshot()
    engine.close()
    for seq in range(-1, engine.journal.durable_seq + 3):
        found = recover(tmp_path, until_seq=seq)
        assert found.last_seq == max(known for known in states if known <= max(seq, 0))
        assert found.engine.snapshot() == states[found.last_seq]


def test_recovery_into_the_middle_of_a_commit_gives_whole_commands(tmp_path: Path) -> None:
    engine, apart = journaled(tmp_path), journaled(tmp_path / "apart")
    stream = rows(300, seed=5)
    engine.run(stream)
    states = {0: apart.state_hash()}
    for row in stream:
        apart.run(row.reshape(1))
        states[apart.next_seq - 1] = apart.state_hash()
    for seq in range(engine.next_seq):
        found = recover(tmp_path, until_seq=seq)
        assert found.last_seq == max(known for known in states if known <= seq)
        assert found.engine.state_hash() == states[found.last_seq]
        found.engine.check()


def test_a_mass_cancel_is_done_whole_or_not_at_all(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    for _ in range(4):
        engine.submit("BTC-USD", "buy", 1, 1, ts_ns=1)
    engine.mass_cancel(ts_ns=2)
    engine.submit("BTC-USD", "buy", 1, 1, ts_ns=3)
    engine.mass_cancel(ts_ns=4)
    engine.close()
    assert [recover(tmp_path, until_seq=seq).last_seq for seq in range(11)] == [0, 1, 2, 3, 4, 4, 4, 4, 8, 9, 10]


def test_recovery_to_a_time(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    for ts_ns in (10, 20, 20, 30):
        engine.book("BTC-USD").submit(1, 5, 5, ts_ns=ts_ns)
    assert [recover(tmp_path, until_ns=ts).last_seq for ts in (5, 10, 19, 20, 29, 30, 2**80, -(2**80))] == [
        0,
        1,
        1,
        3,
        3,
        4,
        4,
        0,
    ]


# --- one writer, and ends ---------------------------------------------------------------------------------------------


def run_script(script: str, path: Path, *, fails: bool = False) -> str:
    """Run a script in a process of its own."""
    head = f"from pyengine import *\nfrom pyengine.journal import *\nimport os, signal, sys\npath = {str(path)!r}\n"
    command = [sys.executable, "-W", "error", "-c", head + textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert fails == (done.returncode != 0), done.stderr
    return done.stdout + done.stderr


def test_a_second_writer_hears_who_the_first_one_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalHeld, match=rf"held by pid {os.getpid()} on \S+ since 20\d\d-"):
        Journal(tmp_path)
    found = run_script("Journal(path)", tmp_path, fails=True)
    assert f"JournalHeld: journal {tmp_path} must have one writer, is held by pid {os.getpid()} on " in found
    journal.close()
    run_script("Journal(path)", tmp_path)


def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    run_script("engine = Engine([Instrument('X')], journal=path); os.kill(os.getpid(), signal.SIGKILL)", tmp_path, fails=True)
    with Journal(tmp_path).resume() as engine:
        assert engine.instruments == (Instrument("X"),)


def test_the_end_of_the_interpreter_is_no_crash(tmp_path: Path) -> None:
    script = """
        engine = Engine([Instrument('X')], journal=path, durability='memory')
        for _ in range(1000):
            engine.book('X').submit(1, 5, 5)
    """
    run_script(script, tmp_path)
    found = recover(tmp_path)
    assert (found.last_seq, found.complete) == (1000, True)


def test_an_engine_that_is_gone_has_written_everything(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    for _ in range(100):
        engine.book("BTC-USD").submit(1, 5, 5)
    del engine
    gc.collect()
    found = recover(tmp_path)
    assert (found.last_seq, found.complete) == (100, True)
    Journal(tmp_path).close()


def test_closing_ends_everything(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    engine.submit("BTC-USD", "buy", 1, 1)
    journal = engine.journal
    engine.close()
    engine.close()
    assert journal.closed
    assert journal.failure is None
    assert journal.durable_seq == 1
    with pytest.raises(EngineClosed):
        engine.submit("BTC-USD", "buy", 1, 1)
    with pytest.raises(JournalClosed, match="was closed"):
        journal.wait(2)
    with pytest.raises(JournalClosed):
        journal.attach(Engine())


def test_an_engine_whose_journal_was_closed_runs_nothing_any_more(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    engine.journal.close()
    with pytest.raises(JournalClosed):
        engine.submit("BTC-USD", "buy", 1, 1)
    with pytest.raises(JournalClosed):
        engine.run(rows(3))
    assert engine.next_seq == 1
    assert engine.resting_orders == 0


def test_closing_in_vain_says_so_and_may_be_tried_again(tmp_path: Path, slow: SlowDisk) -> None:
    engine = journaled(tmp_path, disk=slow, durability="memory")
    slow.free.clear()
    engine.run(rows(20))
    engine.journal.future(engine.next_seq - 1)
    time.sleep(0.05)
    with pytest.raises(JournalTimeout, match="the disk is still busy"):
        engine.journal.close(0.05)
    slow.free.set()
    engine.close()
    assert recover(tmp_path).complete


@forks
def test_a_forked_child_writes_nothing_and_runs_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    engine.run(rows(50))
    before = engine.state_hash()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert engine.state_hash() == before
            with pytest.raises(JournalFailed, match="belongs to the process that opened it"):
                engine.run(rows(5))
            with pytest.raises(JournalFailed):
                engine.books[0].submit(1, 5, 5)
            with pytest.raises(JournalFailed):
                engine.acknowledged().future()
            engine.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    engine.run(rows(50, seed=8))
    same(engine, tmp_path)
    with pytest.raises(JournalHeld):
        Journal(tmp_path)
    engine.close()


@forks
def test_a_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    begun, stop = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begun[1], b"x")
        os.read(stop[0], 1)
        os._exit(0)
    os.read(begun[0], 1)
    engine.close()
    Journal(tmp_path).close()
    os.write(stop[1], b"x")
    os.waitpid(child, 0)


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
