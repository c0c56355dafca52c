"""The clean-up: finished orders leave memory when they are old enough, open ones never do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from pyengine import Engine, InMemoryOrderStore, Instrument, Order, Status
from pyengine.errors import FieldError
from pyengine.store_errors import StoreClosed
from pyengine.stores.cleanup import OrderCleanup

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def order(order_id: int, status: Status, age_s: float) -> Order:
    """Make an order that was last changed a while ago."""
    changed_ns = NOW - round(age_s * SECOND)
    return Order(order_id, "buy", price_ticks=100, qty_lots=10, status=status, created_ns=changed_ns, updated_ns=changed_ns)


def filled_store() -> InMemoryOrderStore:
    store = InMemoryOrderStore()
    store.save(order(1, Status.FILLED, age_s=7_201))
    store.save(order(2, Status.CANCELLED, age_s=7_200))
    store.save(order(3, Status.RESTING, age_s=900_000))
    store.save(order(4, Status.FILLED, age_s=1))
    return store


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.002)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "pyengine-order-cleanup"]


def test_finished_orders_go_by_age_and_open_ones_stay() -> None:
    store = filled_store()
    cleanup = OrderCleanup(store, age_s=7_200, interval_s=60, clock=lambda: NOW)
    assert cleanup.clean() == 1
    assert [found.order_id for found in store.get_all()] == [2, 3, 4]
    assert cleanup.clean() == 0
    cleanup = OrderCleanup(store, age_s=0.5, interval_s=60, clock=lambda: NOW)
    assert cleanup.clean() == 2
    assert [found.order_id for found in store.get_all()] == [3]
    assert cleanup.stats().counts == {"runs": 1, "removed": 2, "errors": 0}


def test_the_thread_cleans_at_the_interval_and_stops(caplog: pytest.LogCaptureFixture) -> None:
    store, now = filled_store(), [NOW]
    with (
        caplog.at_level(logging.INFO, "pyengine"),
        OrderCleanup(store, age_s=7_200, interval_s=0.01, clock=lambda: now[0]) as cleanup,
    ):
        until(lambda: cleanup.stats().counts["removed"] == 1, "one order removed")
        now[0] += 7_200 * SECOND
        until(lambda: cleanup.stats().counts["removed"] == 3, "all finished orders removed")
        assert cleanup.start() is cleanup
        assert len(threads()) == 1, "starting twice starts once"
    assert threads() == []
    assert not cleanup.running
    assert store.count == 1, "the store stays open"
    assert "removed 1 finished orders from memory" in caplog.text
    runs = cleanup.stats().counts["runs"]
    time.sleep(0.03)
    assert cleanup.stats().counts["runs"] == runs
    cleanup.close()
    cleanup.start()
    assert threads() == [], "what was closed doesn't start again"


def test_stopping_does_not_wait_for_the_interval() -> None:
    cleanup = OrderCleanup(filled_store(), age_s=1, interval_s=3_600).start()
    assert cleanup.running
    began = time.monotonic()
    cleanup.close()
    assert time.monotonic() - began < 5


def test_it_ends_with_its_store() -> None:
    store = filled_store()
    cleanup = OrderCleanup(store, age_s=1, interval_s=0.005, clock=lambda: NOW).start()
    store.close()
    until(lambda: not cleanup.running, "the thread ended")
    with pytest.raises(StoreClosed):
        cleanup.clean()
    assert cleanup.stats().counts["errors"] == 0
    cleanup.close()


def test_an_error_is_logged_and_counted_and_the_next_run_works(caplog: pytest.LogCaptureFixture) -> None:
    store, times = filled_store(), iter([None, NOW])

    def clock() -> int:
        now = next(times, NOW)
        if now is None:
            raise OSError("no clock")
        return now

    with OrderCleanup(store, age_s=7_200, interval_s=0.005, clock=clock) as cleanup:
        until(lambda: cleanup.stats().counts["removed"] == 1, "the second run removed something")
    assert cleanup.stats().counts["errors"] == 1
    assert "finished orders could not be removed" in caplog.text
    assert "no clock" in caplog.text


def test_behind_an_engine_memory_stays_bounded() -> None:
    """What the documentation says against high memory usage: filled orders are deleted periodically."""
    store, now = InMemoryOrderStore(), [0]
    engine = Engine([Instrument("BTC-USD")], order_store=store)
    cleanup = OrderCleanup(store, age_s=10, interval_s=60, clock=lambda: now[0])
    most = 0
    for second in range(200):
        now[0] = second * SECOND
        for side in ("sell", "buy"):
            engine.submit("BTC-USD", side, qty=1, price=100, ts_ns=now[0])
        engine.submit("BTC-USD", "buy", qty=1, price=1, ts_ns=now[0])
        cleanup.clean()
        most = max(most, store.finished_count)
    assert most == 2 * 11
    assert store.open_count == 200
    store.check()


@pytest.mark.parametrize("name", ["age_s", "interval_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_bad_times(name: str, value: float) -> None:
    times = {"age_s": 1.0, "interval_s": 1.0} | {name: value}
    with pytest.raises(FieldError, match=f"{name} must be a positive number of seconds, was {value}"):
        OrderCleanup(InMemoryOrderStore(), **times)
