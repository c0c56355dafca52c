"""Callers that wait for the disk commit for each other: what they write is what the journal's thread would have written."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from journal_setup import journaled, rows, same, until

from pyengine import Engine, Instrument, SelfTrade
from pyengine.journal import Journal, JournalFailed, recover

SEGMENT = 16 << 20


def led(engine: Engine) -> int:
    """Tell how many commits callers have made."""
    count: int = engine.journal._committer.group.led
    return count


def test_a_single_caller_makes_its_own_commits(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    book = engine.book(0)
    for number in range(200):
        book.submit(1 + number % 2, 100, 5)
        assert engine.journal.durable_seq == engine.next_seq - 1 == engine.journal.last_seq
    assert led(engine) > 20
    assert engine.journal.stats()["commits"] >= 200
    assert engine.journal.stats()["events"] == engine.next_seq - 1
    same(engine, tmp_path)
    engine.close()
    assert recover(tmp_path).complete


def test_commits_over_the_end_of_the_ring_and_of_segments_are_whole(tmp_path: Path) -> None:
    for segment in (1 << 16, 1 << 18):
        path = tmp_path / str(segment)
        engine = Engine(self_trade=SelfTrade.CANCEL_TAKER, ring_capacity=256)
        Journal(path, segment_bytes=segment + 256 * 64 + (1 << 16)).attach(engine)
        for turn in range(120):
            if turn % 5 == 0:
                engine.user(f"user {turn}", SelfTrade(turn % 6))
            while len(engine.books) < 3:
                engine.add_instrument(Instrument(f"I{len(engine.books)}"))
            engine.run(rows(90, seed=turn))
        assert led(engine) > 5
        assert len(list(path.glob("*.journal"))) > 1
        same(engine, path)
        state = engine.snapshot()
        engine.close()
        with Journal(path).resume() as again:
            assert again.snapshot() == state


def test_threads_share_commits_with_futures_and_names_among_them(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    books = [engine.book(number % 2) for number in range(16)]

    def caller(number: int) -> None:
        for turn in range(60):
            result = books[number].submit(1 + turn % 2, 100 + number, 5)
            assert engine.journal.durable_seq >= 1
            assert result.order_id
            if turn % 20 == 7:
                engine.user(f"user {number} {turn}")
            if turn % 10 == 3:
                seq = engine.next_seq - 1
                assert engine.journal.future(seq).result(20) == seq
                assert engine.journal.durable_seq >= seq

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(caller, range(16)))
    assert engine.journal.stats()["commits"] < 16 * 60
    assert led(engine) > 10
    same(engine, tmp_path)
    engine.close()


def test_names_are_on_the_disk_before_what_refers_to_them(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    for number in range(10):
        engine.book(0).submit(1, 100, 5)
        order = engine.book(0).submit(1, 100, 5, user=engine.user(f"new {number}")).order_id
        found = recover(tmp_path).engine
        assert found.user_name(found.order(order).user) == f"new {number}"
        engine.add_instrument(Instrument(f"new {number}"))
        order = engine.book(f"new {number}").submit(1, 100, 5).order_id
        assert recover(tmp_path).engine.order(order).instrument.symbol == f"new {number}"
    engine.close()


def test_what_callers_leave_is_written_by_the_journals_thread(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    engine.run(rows(5))
    engine.acknowledge_by(None)
    for turn in range(20):
        engine.run(rows(5, seed=turn))
    until(lambda: engine.journal.durable_seq == engine.next_seq - 1)
    same(engine, tmp_path)
    engine.close()


def test_a_callers_failed_write_latches(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    engine.run(rows(50))
    before, state = engine.next_seq - 1, engine.snapshot()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, engine.journal._committer.writer.place[0])
    os.close(full)
    with pytest.raises(JournalFailed, match="No space left on device") as caught:
        engine.book(0).submit(1, 100, 5)
    assert str(before) in str(caught.value)
    assert engine.journal.durable_seq == before
    with pytest.raises(JournalFailed):
        engine.book(0).submit(1, 100, 5)
    with pytest.raises(JournalFailed):
        engine.close()
    found = recover(tmp_path)
    assert (found.last_seq, found.engine.snapshot()) == (before, state)


def test_who_waits_for_another_hears_of_its_failure(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    engine.run(rows(50))
    group = engine.journal._committer.group
    group.begin_lead()
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(engine.book(0).submit, 1, 100, 5) for _ in range(8)]
        time.sleep(0.05)
        assert not any(wait.done() for wait in waits)
        full = os.open("/dev/full", os.O_RDWR)
        os.dup2(full, engine.journal._committer.writer.place[0])
        os.close(full)
        group.resume()
        for wait in waits:
            assert isinstance(wait.exception(20), JournalFailed)
    with pytest.raises(JournalFailed):
        engine.close()


def test_an_interrupt_ends_a_wait_and_harms_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    engine.run(rows(20))
    group = engine.journal._committer.group
    group.begin_lead()
    # Somebody may have started us with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.book(0).submit(1, 100, 5)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    group.resume()
    engine.book(0).submit(1, 100, 5)
    assert engine.journal.failure is None
    same(engine, tmp_path)
    engine.close()


def test_interrupts_of_a_caller_that_commits_lose_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    book, interrupts, stopped = engine.book(0), 0, threading.Event()

    def disturb() -> None:
        while not stopped.wait(0.003):
            os.kill(os.getpid(), signal.SIGINT)

    def guarded(work: Callable[[], object]) -> int:
        try:
            work()
        except KeyboardInterrupt:
            return 1
        return 0

    def raise_it(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        signal.signal(signal.SIGINT, raise_it)
        for number in range(300):
            interrupts += guarded(lambda number=number: book.submit(1 + number % 2, 100, 5))
    except KeyboardInterrupt:
        interrupts += 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stopped.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert interrupts
    engine.acknowledged().result()
    assert engine.journal.failure is None
    same(engine, tmp_path)
    engine.close()


class Interrupted:
    """A group of callers whose first lead, once it was had, is interrupted."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._interrupts = 1

    def begin_lead(self) -> Any:
        place = self._group.begin_lead()
        if self._interrupts:
            self._interrupts = 0
            raise KeyboardInterrupt
        return place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)


def test_an_interrupt_of_who_has_just_got_the_lead_leaves_nobody_waiting(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=SEGMENT)
    journal = engine.journal
    journal._committer.group = Interrupted(journal._committer.group)
    heard: list[str] = []

    def call() -> None:
        try:
            while True:
                engine.book(0).submit(1, 100, 5)
        except JournalFailed:
            heard.append("failed")

    # The journal's own thread must not be the one that is interrupted.
    with journal._lock:
        callers = [threading.Thread(target=call, daemon=True) for _ in range(3)]
        for caller in callers:
            caller.start()
        with pytest.raises(KeyboardInterrupt):
            journal.step()
    for caller in callers:
        caller.join(10)
    assert heard == ["failed"] * 3
    with pytest.raises(JournalFailed):
        engine.close()
