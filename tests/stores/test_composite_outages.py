"""Layers that are dead, slow, deaf or back again: callers go on, everything is counted, and said once."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

import pytest
from stores.composite_setup import BTC, QUICK, ids, order, trade_rows
from stores.gated import Gate, GatedOrderStore, GatedTradeStore, eventually

from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions


def said(caplog: pytest.LogCaptureFixture, layer: str) -> list[str]:
    """List what a layer has logged, but for its greeting."""
    lines = [record.getMessage() for record in caplog.records if record.name == f"pyengine.stores.{layer}"]
    return [line for line in lines if not line.endswith("is connected")]


def time_of_writes(gate: Gate, spoil: str, batches: int = 300) -> float:
    """Time writes to a composite of four layers, one of which is spoilt."""
    layers = [GatedTradeStore("one", gate=gate), GatedTradeStore("two"), GatedTradeStore("three")]
    quick = dict.fromkeys(("one", "two", "three"), replace(QUICK, stall_s=0.05))
    store = CompositeTradeStore(InMemoryTradeStore(1000), *layers, options=quick)
    with store:
        store.names.add_instrument(BTC)
        eventually(lambda: all(layer.greeted for layer in store.layers))
        rows = [trade_rows(1 + 500 * i, 500) for i in range(batches)]
        if spoil == "dead":
            gate.shut = True
        elif spoil == "paused":
            gate.hang()
        elif spoil == "slow":
            gate.delay_s = 0.3
        start = time.perf_counter()
        for batch in rows:
            store.save_batch(batch)
            time.sleep(0.0005)
        taken = time.perf_counter() - start
        assert store.flush(["two", "three"], timeout_s=60)
        gate.go_on()
        gate.shut, gate.delay_s = False, 0
    return taken


@pytest.mark.parametrize("spoil", ["dead", "paused", "slow"])
def test_callers_go_on_while_a_layer_is(spoil: str) -> None:
    well = min(time_of_writes(Gate(), "") for _ in range(3))
    ill = min(time_of_writes(Gate(), spoil) for _ in range(3))
    # One stall until the breaker opens, and what a busy machine makes of a few hundred milliseconds.
    assert ill < 1.5 * well + 0.2


def test_an_outage_and_its_end_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    below = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(), below, options={"base": QUICK}) as store:
        for turn in range(1, 3):
            below.gate.shut = True
            for i in range(20):
                store.save(order(20 * turn + i))
                time.sleep(0.01)
            eventually(lambda: not store.layers[0].breaker.closed)
            below.gate.shut = False
            assert store.flush()
            first, second = said(caplog, "base")[2 * turn - 2 :]
            assert first == (
                "base is out of reach: the backend must be reachable, the gate is shut; the newest 65536 records are kept for it"
            )
            assert second.startswith("base answers again after ")
            assert second.endswith("has missed 0 records so far")
        assert len(below.inner) == 40
        counts = store.stats().layers[1].counts
        assert counts["errors"] >= 6
        assert counts["errors"] == counts["retries"]


def test_a_layer_that_is_dead_at_the_start_gets_everything_when_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    below, base = GatedOrderStore("late"), GatedOrderStore("base")
    below.gate.shut = True
    with CompositeOrderStore(InMemoryOrderStore(), below, base, options={"late": QUICK}) as store:
        eventually(lambda: said(caplog, "late"))
        assert "late is out of reach" in said(caplog, "late")[0]
        store.save_batch(map(order, range(1, 100)))
        assert store.flush(["base"])
        assert store.get(5) == order(5)
        stats = store.stats().layers[1]
        assert stats.state in {"open", "half-open"}
        assert (stats.gauges["lag_records"], stats.gauges["queue_length"]) == (99, 99)
        assert stats.gauges["lag_s"] > 0
        below.gate.shut = False
        assert store.flush()
        assert len(below.inner) == 99
        assert store.stats().layers[1].gauges["lag_s"] == 0


def test_what_a_layer_missed_is_counted_in_ranges_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    below = GatedTradeStore("base")
    with CompositeTradeStore(InMemoryTradeStore(10), below, ring_capacity=64, options={"base": QUICK}) as store:
        store.names.add_instrument(BTC)
        store.save_batch(trade_rows(1, 10))
        assert store.flush()
        below.gate.shut = True
        store.save_batch(trade_rows(11, 10))
        eventually(lambda: not store.layers[0].breaker.closed)
        for i in range(50):
            store.save_batch(trade_rows(21 + 10 * i, 10))
        stats = store.stats().layers[1]
        assert stats.missed == ((21, 456),), "positions 11 to 20 are in the writer's hands"
        assert stats.counts["missed"] == 436
        eventually(lambda: any("misses records" in line for line in said(caplog, "base")))
        below.gate.shut = False
        eventually(lambda: store.layers[0].cursor.done == 520)
        assert sorted(ids(below.inner.get_recent(1000))) == [*range(1, 21), *range(457, 521)]
        assert store.stats().layers[1].missed == ((21, 456),)
        assert store.flush().late == ("base",), "it will never have everything"
        assert [line for line in said(caplog, "base") if "misses" in line] == [
            "base misses records from 21 on: more than the ring holds are waiting"
        ]
        assert said(caplog, "base")[-1].endswith("has missed 436 records so far")
        lost = store.write_batch(trade_rows(900, 1), wait="all")
        assert lost.durable == ("memory", "base"), "what comes after is safe again"


def test_a_write_that_missed_a_layer_is_told_so() -> None:
    below = GatedTradeStore("base")
    with CompositeTradeStore(InMemoryTradeStore(10), below, ring_capacity=16, options={"base": QUICK}) as store:
        store.names.add_instrument(BTC)
        assert store.flush()
        below.gate.shut = True
        store.save_batch(trade_rows(1, 1))
        eventually(lambda: not store.layers[0].breaker.closed)
        store.save_batch(trade_rows(2, 15))
        receipt = store.write_batch(trade_rows(17, 40))
        assert receipt.durable == ("memory",)
        assert isinstance(receipt.refused["base"], StoreUnavailable)
        assert "misses records" in str(receipt.refused["base"])


def test_nobody_waits_for_a_layer_that_is_out_of_reach() -> None:
    below = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(), below, wait="all", wait_s=60, options={"base": QUICK}) as store:
        assert store.save(order(1), wait="all").durable == ("memory", "base")
        below.gate.shut = True
        start = time.monotonic()
        receipt = store.save(order(2), wait="all")
        assert receipt
        assert receipt.pending == ("base",)
        assert store.save(order(3))
        assert time.monotonic() - start < 10
        below.gate.shut = False
        assert store.flush()


def test_a_write_that_hangs_makes_room_when_the_ring_is_full(caplog: pytest.LogCaptureFixture) -> None:
    hung, well = GatedTradeStore("hung"), GatedTradeStore("well")
    options = {"hung": replace(QUICK, stall_s=0.2)}
    with CompositeTradeStore(InMemoryTradeStore(10), hung, well, ring_capacity=64, full_wait_s=30, options=options) as store:
        store.names.add_instrument(BTC)
        assert store.flush()
        hung.gate.hang()
        start = time.monotonic()
        for i in range(100):
            store.save_batch(trade_rows(1 + 10 * i, 10))
        assert 0.1 < time.monotonic() - start < 5
        assert store.flush(["well"])
        assert len(well.inner) == 1000
        assert len(said(caplog, "hung")) == 1
        assert said(caplog, "hung")[0].startswith("hung is out of reach: a write has taken more than 0.2 s")
        hung.gate.go_on()
        eventually(lambda: store.layers[0].cursor.done == 1000)
        stats = store.stats().layers[1]
        assert stats.counts["missed"] + len(hung.inner) == 1000
        assert stats.state == "closed"


def test_a_layer_that_is_back_keeps_nobody_waiting_until_it_has_caught_up() -> None:
    below = GatedTradeStore("base")
    options = {"base": replace(QUICK, batch=4)}
    with CompositeTradeStore(InMemoryTradeStore(10), below, ring_capacity=64, full_wait_s=30, options=options) as store:
        store.names.add_instrument(BTC)
        assert store.flush()
        below.gate.shut = True
        store.save_batch(trade_rows(1, 64))
        eventually(lambda: not store.layers[0].breaker.closed)
        below.gate.delay_s, below.gate.shut = 0.02, False
        eventually(lambda: store.layers[0].breaker.closed)
        start = time.monotonic()
        for i in range(20):
            store.save_batch(trade_rows(65 + 64 * i, 64))
        assert time.monotonic() - start < 10
        assert not store.layers[0].cursor.holds
        eventually(lambda: store.layers[0].cursor.holds)


def test_one_probe_at_a_time_however_many_ask() -> None:
    cache, base = GatedOrderStore("cache", is_cache=True), GatedOrderStore("base")
    base.inner.save_batch(map(order, range(1, 500)))
    quick = dict.fromkeys(("cache", "base"), replace(QUICK, read_deadline_s=0.2))
    with CompositeOrderStore(cache, base, options=quick) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        cache.gate.hang()
        errors: list[Exception] = []

        def ask(number: int) -> None:
            try:
                for order_id in range(1 + 10 * number, 10 + 10 * number):
                    assert store.get(order_id) == order(order_id)
            except Exception as error:  # noqa: BLE001  handed to the test
                errors.append(error)

        ask(49)
        eventually(lambda: not store.layers[0].breaker.closed)
        hanging = cache.gate.waiting
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert cache.gate.waiting <= hanging + 1
        cache.gate.go_on()
        eventually(lambda: store.layers[0].breaker.closed)


def test_readers_are_few_however_long_a_store_hangs() -> None:
    base = GatedOrderStore("base")
    options = {"base": replace(QUICK, failures=10**6, readers=3)}
    with CompositeOrderStore(InMemoryOrderStore(), base, options=options, sole_writer=False) as store:
        eventually(lambda: store.layers[0].greeted)
        base.gate.hang()
        before = set(threading.enumerate())
        for _ in range(8):
            with pytest.raises(StoreUnavailable, match=r"base must answer get in 0\.05 s, has not"):
                store.get(7)
        assert base.gate.waiting == 3
        assert len(set(threading.enumerate()) - before) == 3, "threads of other tests may end meanwhile"
        base.gate.go_on()
        eventually(lambda: base.gate.waiting == 0)
        assert base.gate.calls.count(("get", 1)) == 3, "who gave up isn't answered any more"
        assert store.get(7) is None


def test_forty_threads_and_two_layers_that_come_and_go() -> None:
    layers = [GatedOrderStore("one"), GatedOrderStore("two")]
    with CompositeOrderStore(
        InMemoryOrderStore(), *layers, full_wait_s=30, options={"one": QUICK, "two": LayerOptions(linger_s=0)}
    ) as store:
        done = threading.Event()
        errors: list[Exception] = []

        def spoil() -> None:
            while not done.wait(0.03):
                layers[0].gate.shut = not layers[0].gate.shut
            layers[0].gate.shut = False

        def work(number: int) -> None:
            try:
                for turn in range(60):
                    order_id = 100 * number + turn
                    assert store.save(order(order_id))
                    assert store.get(order_id) == order(order_id)
                    if turn % 10 == 9:
                        assert store.remove(order_id)
                        assert set(range(100 * number, order_id)) - set(ids(store.get_all())) == {
                            100 * number + turn for turn in range(9, turn, 10)
                        }
            except Exception as error:  # noqa: BLE001  handed to the test
                errors.append(error)

        spoiler = threading.Thread(target=spoil)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 41)]
        for thread in [spoiler, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        spoiler.join()
        assert not errors
        assert store.flush(timeout_s=30)
        assert layers[0].inner.get_all() == layers[1].inner.get_all() == store.get_all()
        assert len(store.get_all()) == 40 * 54


def test_closing_takes_no_longer_than_its_deadline_and_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    dead, hung, well = GatedOrderStore("dead"), GatedOrderStore("hung"), GatedOrderStore("well")
    store = CompositeOrderStore(InMemoryOrderStore(), dead, hung, well, options={"dead": QUICK, "hung": QUICK})
    eventually(lambda: all(layer.greeted for layer in store.layers))
    dead.gate.shut = True
    hung.gate.hang()
    store.save_batch(map(order, range(1, 8)))
    start = time.monotonic()
    store.close(timeout_s=0.5)
    assert time.monotonic() - start < 3
    assert len(well.inner) == 7
    assert said(caplog, "dead")[-1] == "dead was closed without the last 7 records"
    assert said(caplog, "hung") == ["hung hangs, and may lack the last 7 records"]
    hung.gate.go_on()
    assert (dead.closed, hung.closed, well.closed) == (1, 1, 1)
