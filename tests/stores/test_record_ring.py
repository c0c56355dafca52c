"""The ring of a composite, held against a list: nothing lost, nothing twice, nothing overwritten that somebody keeps."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyengine.errors import FieldError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE
from pyengine.stores.composite.ring import REMOVE, SAVE, RecordRing


def rows(*ids: int) -> np.ndarray:
    """Make records that differ in every eighth byte."""
    made = np.zeros(len(ids), ORDER_RECORD_DTYPE)
    made["order_id"] = ids
    made["entered"] = ids
    return made


class RingMachine(RuleBasedStateMachine):
    """Pushes, takes and outages in any order; the model is a list of all records ever pushed."""

    CAPACITY = 8

    def __init__(self) -> None:
        super().__init__()
        self.ring = RecordRing(ORDER_RECORD_DTYPE, self.CAPACITY)
        self.cursors = [self.ring.add_cursor(), self.ring.add_cursor(keep_lost=True)]
        self.pushed: list[tuple[int, int]] = []
        self.got: list[list[tuple[int, int]]] = [[], []]
        self.out = [None, None]

    @rule(count=st.integers(1, CAPACITY), op=st.sampled_from((SAVE, REMOVE)))
    def push(self, count: int, op: int) -> None:
        ids = range(len(self.pushed) + 1, len(self.pushed) + count + 1)
        kept = [cursor.taken for cursor in self.cursors if cursor.holds]
        fits = not kept or len(self.pushed) + count - min(kept) <= self.CAPACITY
        done = self.ring.push(rows(*ids), op)
        assert (done is not None) == fits
        if fits:
            assert done == (ids[0], ids[-1])
            self.pushed += [(i, op) for i in ids]

    @rule(which=st.integers(0, 1), most=st.integers(1, 10))
    def take(self, which: int, most: int) -> None:
        if self.out[which] is not None:
            return
        batch = self.ring.take(self.cursors[which], most)
        if batch is None:
            assert self.cursors[which].taken == len(self.pushed)
            return
        assert len(batch.rows) <= most
        assert batch.rows["order_id"].tolist() == batch.rows["entered"].tolist() == list(range(batch.first, batch.last + 1))
        self.got[which] += zip(batch.rows["order_id"].tolist(), batch.ops.tolist(), strict=True)
        self.out[which] = batch

    @rule(which=st.integers(0, 1))
    def finish(self, which: int) -> None:
        if self.out[which] is not None:
            self.ring.finish(self.cursors[which], self.out[which].last)
            self.out[which] = None

    @rule(which=st.integers(0, 1))
    def let_go(self, which: int) -> None:
        self.ring.let_go(self.cursors[which])

    @rule(which=st.integers(0, 1))
    def hold(self, which: int) -> None:
        self.ring.hold(self.cursors[which])
        behind = len(self.pushed) - self.cursors[which].taken
        assert self.cursors[which].holds or behind > self.CAPACITY // 2

    @precondition(lambda self: self.out[0] is None)
    @rule()
    def give_up(self) -> None:
        self.ring.give_up(self.cursors[0])
        assert self.cursors[0].done == len(self.pushed)

    @invariant()
    def every_record_is_got_or_missed_or_to_come(self) -> None:
        for cursor, got in zip(self.cursors, self.got, strict=True):
            missed = [i for first, last in self.ring.missed(cursor) for i in range(first, last + 1)]
            due = [i for i in range(cursor.taken + 1, len(self.pushed) + 1) if i > len(self.pushed) - self.CAPACITY]
            assert sorted([i for i, _ in got] + missed + due) == list(range(1, len(self.pushed) + 1))
            assert all(self.pushed[i - 1] == (i, op) for i, op in got)
            assert cursor.done <= cursor.taken <= self.ring.head == len(self.pushed)
            assert cursor.missed_count == sum(last - first + 1 for first, last in cursor.missed)

    @invariant()
    def keys_of_what_is_missed_are_kept(self) -> None:
        cursor = self.cursors[1]
        missed = [i for first, last in self.ring.missed(cursor) for i in range(first, last + 1)]
        assert sorted(i for keys in cursor.lost or [] for i in keys.tolist()) == missed

    @invariant()
    def pending_records_are_seen(self) -> None:
        for cursor in self.cursors:
            for wanted in range(max(1, len(self.pushed) - 12), len(self.pushed) + 1):
                if wanted > cursor.done:
                    assert self.ring.may_have(cursor, "order_id", wanted, len(self.pushed))
            assert not self.ring.may_have(cursor, "order_id", 0, cursor.done)


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=120, stateful_step_count=40)


@pytest.mark.parametrize("capacity", [0, 3, -8, 1 << 29])
def test_capacity_must_be_a_power_of_two(capacity: int) -> None:
    with pytest.raises(FieldError, match="ring_capacity must be a power of two"):
        RecordRing(TRADE_DTYPE, capacity)


def test_records_come_out_as_they_went_in_over_the_end_of_the_ring() -> None:
    ring = RecordRing(TRADE_DTYPE, 16)
    cursor = ring.add_cursor()
    rng = np.random.default_rng(7)
    sent, got = [], []
    for _ in range(40):
        made = np.frombuffer(rng.bytes(64 * 7), TRADE_DTYPE)
        assert ring.push(made) is not None
        sent.append(made.tobytes())
        batch = ring.take(cursor, 16)
        got.append(batch.rows.tobytes())
        ring.finish(cursor, batch.last)
    assert got == sent


def test_a_taken_batch_is_a_copy() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    made = rows(1, 2, 3, 4)
    ring.push(made)
    batch = ring.take(cursor, 4)
    made["order_id"] = 9
    ring.push(rows(5, 6, 7, 8))
    assert batch.rows["order_id"].tolist() == [1, 2, 3, 4]


def test_what_was_overwritten_while_it_was_copied_is_missed() -> None:
    class Overtaken(RecordRing):
        """A ring whose pushers are faster than its readers' copies."""

        def _copy(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            copied = super()._copy(first, count)
            if self.head == 4:
                self.push(rows(5, 6, 7))
                copied[0]["order_id"][:3] = 666
            return copied

    ring = Overtaken(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    ring.let_go(cursor)
    ring.push(rows(1, 2, 3, 4))
    batch = ring.take(cursor, 9)
    assert (batch.first, batch.rows["order_id"].tolist()) == (4, [4])
    assert ring.missed(cursor) == ((1, 3),)
    assert ring.take(cursor, 9).rows["order_id"].tolist() == [5, 6, 7]


def test_a_pusher_waits_for_a_cursor_that_holds_and_is_woken_by_it() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    ring.push(rows(1, 2, 3, 4))
    start = time.monotonic()
    assert ring.push(rows(5), timeout_s=0.1) is None
    assert 0.1 <= time.monotonic() - start < 10
    taker = threading.Timer(0.05, lambda: ring.take(cursor, 1))
    taker.start()
    assert ring.push(rows(5), timeout_s=20) == (5, 5)
    taker.join()


def test_a_pusher_may_let_a_cursor_go_when_the_ring_is_full() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    ring.push(rows(1, 2, 3, 4))
    with ring.lock:
        assert ring.make_room(2, 0, lambda: ring.let_go(cursor))
        ring.append(rows(5, 6))
    assert ring.missed(cursor) == ((1, 2),)
    assert ring.take(cursor, 9).rows["order_id"].tolist() == [3, 4, 5, 6]


def test_a_reader_is_woken_by_a_push_by_a_nudge_and_by_the_end() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    assert not ring.wait(cursor, 0.01)
    for wake, expected in ((lambda: ring.push(rows(1)), True), (lambda: ring.nudge(cursor), False), (ring.close, False)):
        timer = threading.Timer(0.05, wake)
        timer.start()
        start = time.monotonic()
        assert ring.wait(cursor, 20) == expected
        assert time.monotonic() - start < 10
        timer.join()
        ring.take(cursor, 9)
    assert ring.closing


def test_a_ring_may_end_in_a_moment() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    ring.close(delay_s=0.1)
    assert not ring.closing
    assert ring.push(rows(1)) == (1, 1)
    ring.take(cursor, 1)
    start = time.monotonic()
    assert not ring.wait(cursor, 20)
    assert 0.05 < time.monotonic() - start < 10
    assert ring.closing


def test_age_of_the_oldest_record_is_known() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 64)
    cursor = ring.add_cursor()
    assert ring.lag_s(cursor) == 0
    for i in range(1, 7):
        ring.push(rows(i))
        time.sleep(0.02)
    assert 0.12 <= ring.lag_s(cursor) < 1
    ring.take(cursor, 4)
    ring.finish(cursor, 4)
    assert 0.04 <= ring.lag_s(cursor) < 0.1
    ring.take(cursor, 4)
    ring.finish(cursor, 6)
    assert ring.lag_s(cursor) == 0


def test_a_cursor_that_follows_a_journal_takes_nothing_behind_a_gap() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    cursor.follows = True
    ring.sequence.note(0, 10, 0)
    ring.let_go(cursor)
    for position in range(1, 8):
        ring.push(rows(position))
        if position == 1:
            ring.sequence.note_foreign(1, 1)
        ring.sequence.note(position, 10 + position, position - 4)
    assert ring.take(cursor, 9) is None
    assert cursor.lapsed
    assert ring.take(cursor, 9) is None, "until it has joined again"
    assert ring.missed(cursor) == ((1, 1),), "the rest is in the journal"
    assert not ring.join(cursor, 12, near=False), "what is behind event 12 was overwritten"
    assert not ring.join(cursor, 14, near=True), "it would be again at once"
    assert ring.join(cursor, 14, near=False)
    assert not cursor.lapsed
    batch = ring.take(cursor, 2)
    assert (batch.first, batch.rows["order_id"].tolist()) == (5, [5, 6])
    assert ring.join(cursor, 15, near=True), "and back"
    assert ring.take(cursor, 9).rows["order_id"].tolist() == [6, 7]


def test_a_cursor_that_follows_a_journal_is_overtaken_while_it_copies() -> None:
    class Overtaken(RecordRing):
        def _copy(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            copied = super()._copy(first, count)
            if self.head == 4:
                self.push(rows(5, 6, 7))
            return copied

    ring = Overtaken(ORDER_RECORD_DTYPE, 4)
    cursor = ring.add_cursor()
    cursor.follows = True
    ring.let_go(cursor)
    ring.push(rows(1, 2, 3, 4))
    assert ring.take(cursor, 9) is None
    assert cursor.lapsed


def test_marks_of_time_stay_few() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 64)
    cursor = ring.add_cursor()
    ring.let_go(cursor)
    ring._times._spacing_s = 0
    for i in range(1, 10_001):
        ring.push(rows(i))
    assert len(ring._times._noted) < 4200
    assert 0 < ring.lag_s(cursor) < 60


def test_many_pushers_and_readers_lose_nothing() -> None:
    ring = RecordRing(ORDER_RECORD_DTYPE, 256)
    cursors = [ring.add_cursor() for _ in range(3)]
    got: list[list[int]] = [[] for _ in cursors]

    def push(first: int) -> None:
        for i in range(200):
            assert ring.push(rows(*range(first + 5 * i, first + 5 * i + 5)), timeout_s=60) is not None

    def read(which: int) -> None:
        cursor = cursors[which]
        while len(got[which]) < 8 * 1000:
            assert ring.wait(cursor, 60)
            batch = ring.take(cursor, 50 * (which + 1))
            got[which] += batch.rows["order_id"].tolist()
            ring.finish(cursor, batch.last)

    threads = [threading.Thread(target=push, args=(10_000 * i,)) for i in range(8)]
    threads += [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert got[0] == got[1] == got[2]
    assert sorted(got[0]) == sorted(i for first in range(0, 80_000, 10_000) for i in range(first, first + 1000))
    for first in range(0, 80_000, 10_000):
        mine = [i for i in got[0] if first <= i < first + 10_000]
        assert mine == sorted(mine)
