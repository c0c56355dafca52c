"""Stores under several threads at once: every answer is one that some order of the calls would have given."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Order, StoreClosed, Trade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 150
ORDERS = 2000


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let threads take turns every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run(*jobs: Callable[[], None]) -> None:
    """Run jobs at the same time and raise what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def guarded(job: Callable[[], None]) -> None:
        try:
            start.wait()
            job()
        except BaseException as error:  # noqa: BLE001  handed to the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def life_of_orders(seq: int) -> np.ndarray:
    """Make the events of orders that come, trade two by two, and are cancelled: three for each order."""
    events = np.zeros(3 * ORDERS, EVENT_DTYPE)
    ids = np.arange(1, ORDERS + 1)
    events["seq"] = seq + np.arange(len(events))
    events["side"], events["instrument"] = 1, 0
    events["kind"][:ORDERS], events["order_id"][:ORDERS] = 1, ids
    events["qty_lots"][:ORDERS], events["detail"][:ORDERS] = 10, (ids % 50 + 1).astype("u8") | np.uint64(2 << 32)
    events["side"][:ORDERS], events["price_ticks"][:ORDERS] = 1 + ids % 2, 100 + ids % 7
    half = slice(ORDERS, 2 * ORDERS)
    events["kind"][half], events["order_id"][half], events["detail"][half] = 3, ids, np.roll(ids, 1)
    events["qty_lots"][half], events["value"][half] = 2, events["seq"][half]
    last = slice(2 * ORDERS, 3 * ORDERS)
    events["kind"][last], events["order_id"][last], events["qty_lots"][last] = 4, ids, 6
    return events


def test_an_engine_writes_while_others_read_and_write() -> None:
    store = InMemoryOrderStore(keep_finished=500)
    done = threading.Event()

    def engine() -> None:
        try:
            for number in range(ROUNDS):
                store.apply(life_of_orders(1 + number * 3 * ORDERS))
        finally:
            done.set()

    def reader() -> None:
        while not done.is_set():
            order = store.get(7)
            if order is not None:
                assert order.order_id == 7
                assert order.user == 8
                assert 0 <= order.remaining_lots <= order.qty_lots == 10
            for mine in store.get_by_user(8):
                assert mine.order_id % 50 == 7

    def lister() -> None:
        while not done.is_set():
            rows = store.get_by_side_array("buy")
            assert (np.diff(rows["price_ticks"]) <= 0).all()
            assert (rows["remaining_lots"] > 0).all()
            every = store.get_all_array()
            assert (np.diff(every["order_id"].astype("i8")) > 0).all()

    def writer() -> None:
        number = 10**6
        while not done.is_set():
            number += 1
            store.save(Order(number, "sell", user=51, qty_lots=1, price_ticks=99))
            assert number in store
            assert store.remove(number)

    run(engine, reader, lister, writer)
    store.check()
    assert store.unmatched_events == 0
    assert (store.open_count, store.finished_count) == (0, 500)


def test_an_order_is_never_seen_half_changed() -> None:
    store = InMemoryOrderStore()
    steps, lots = 30_000, 10**9
    store.save(Order(7, 1, price_ticks=1, qty_lots=lots, user=3))
    events = np.zeros(steps, EVENT_DTYPE)
    events["kind"], events["order_id"], events["qty_lots"] = 4, 7, 1
    done = threading.Event()

    def engine() -> None:
        try:
            for _ in range(60):
                events["seq"] = events["ts_ns"] = np.arange(1, steps + 1) + store.get(7).version
                events["value"] = lots - events["seq"].astype("i8")
                store.apply(events)
        finally:
            done.set()

    def reader(answer: Callable[[], list[Order]]) -> Callable[[], None]:
        def job() -> None:
            version = 0
            while not done.is_set():
                for order in answer():
                    assert order.version == order.updated_ns == lots - order.remaining_lots
                    assert order.qty_lots == order.remaining_lots
                    assert order.version >= version
                    version = order.version

        return job

    # Apart, because a reader that waits for the lock once has missed the rest of the writer's turn.
    run(engine, reader(lambda: [store.get(7)]))
    done.clear()
    run(engine, reader(lambda: [*store.get_by_user(3), *store.get_by_side(1)]))
    store.check()
    assert store.unmatched_events == 0
    assert store.get(7).version == 120 * steps


def test_many_savers_lose_nothing() -> None:
    store = InMemoryOrderStore()

    def saver(first: int) -> Callable[[], None]:
        def job() -> None:
            for number in range(first, first + 3000):
                store.save(Order(number, 1 + number % 2, user=f"u{number % 9}", qty_lots=5, price_ticks=number % 11))
                if number % 3 == 0:
                    store.save(Order(number, 1 + number % 2, user=f"u{number % 9}", qty_lots=5, status="filled"))

        return job

    run(*(saver(first) for first in (1, 10_001, 20_001, 30_001)))
    store.check()
    assert (len(store), store.finished_count) == (12_000, 4_000)
    assert sum(len(store.get_by_user(f"u{n}")) for n in range(9)) == 12_000


def test_a_batch_is_seen_whole_or_not_at_all() -> None:
    store = InMemoryOrderStore()
    store.save_batch(Order(n, 1, qty_lots=100, price_ticks=1, user=1) for n in range(1, 401))
    rows = store.get_all_array()
    done = threading.Event()

    def writer() -> None:
        try:
            for number in range(1, 1500):
                rows["client_id"] = number
                store.save_batch(rows)
        finally:
            done.set()

    def reader() -> None:
        while not done.is_set():
            for array in (store.get_all_array(), store.get_by_user_array(1), store.get_by_side_array(1)):
                assert len(set(array["client_id"].tolist())) == 1

    run(writer, reader, reader)
    store.check()


def test_an_array_that_changes_while_it_is_saved_breaks_nothing() -> None:
    store = InMemoryOrderStore()
    ring = InMemoryTradeStore(50)
    orders = InMemoryOrderStore()
    orders.save_batch(Order(n, 1, qty_lots=100, price_ticks=1, user=n % 5) for n in range(1, 2001))
    rows, good = orders.get_all_array(), orders.get_all_array()
    trades = np.zeros(2000, TRADE_DTYPE)
    trades["kind"], trades["side"], trades["qty_lots"], trades["trade_id"] = 3, 1, 1, range(1, 2001)
    good_trades = trades.copy()
    done = threading.Event()

    def saver() -> None:
        try:
            for _ in range(ROUNDS):
                for call, given in (
                    (store.save_batch, rows),
                    (ring.save_batch, trades),
                    (store.apply, trades.view(EVENT_DTYPE)),
                ):
                    try:
                        call(given)
                    except ValueError:
                        continue
                store.check()
                ring.check()
        finally:
            done.set()

    def spoiler() -> None:
        random = np.random.default_rng(1)
        raw, raw_trades = rows.view("u1"), trades.view("u1")
        while not done.is_set():
            raw[random.integers(0, len(raw), 50)] = random.integers(0, 256, 50)
            raw_trades[random.integers(0, len(raw_trades), 50)] = random.integers(0, 256, 50)
            rows[:], trades[:] = good, good_trades

    run(saver, spoiler)
    store.check()
    ring.check()


def test_the_ring_under_writers_and_readers() -> None:
    ring = InMemoryTradeStore(64)
    done = threading.Event()

    def writer() -> None:
        try:
            for number in range(1, 20_001):
                ring.save(Trade(number, 1, 2, 100, number, 1))
        finally:
            done.set()

    def late_writer() -> None:
        while not done.is_set():
            newest = ring.newest_trade_id
            if newest is not None:
                ring.save(Trade(newest, 1, 2, 100, newest, 1))

    def reader() -> None:
        while not done.is_set():
            array = ring.get_recent_array(64)
            assert (array["trade_id"] == array["qty_lots"]).all()
            assert (np.diff(array["trade_id"]) == -1).all()
            for trade in ring.get_recent(3):
                assert trade.trade_id == trade.qty_lots

    run(writer, late_writer, reader)
    ring.check()
    assert (ring.total, ring.newest_trade_id, len(ring)) == (20_000, 20_000, 64)


def test_closing_under_use_ends_in_the_stores_own_error() -> None:
    for _ in range(20):
        store, ring = InMemoryOrderStore(), InMemoryTradeStore(10)

        def work(store: InMemoryOrderStore = store, ring: InMemoryTradeStore = ring) -> None:
            while True:
                store.save(Order(1, 1, qty_lots=5))
                store.get_all()
                store.apply(life_of_orders(1)[:50])
                ring.save(Trade(1, 2, 3, 4, 5, 1))
                ring.get_recent()

        def use(work: Callable[[], None] = work) -> None:
            with pytest.raises(StoreClosed):
                work()

        def close(store: InMemoryOrderStore = store, ring: InMemoryTradeStore = ring) -> None:
            threading.Event().wait(0.002)
            store.clear()
            ring.clear()
            store.close()
            ring.close()

        run(use, use, close)
