"""An engine with any stores: they hold what the books hold, whatever kind they are and however they do."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from command_streams import MIXES, random_rows, rows_of, streams
from hypothesis import given, settings
from reference_records import Command
from side_by_side import MODES, NAMES
from stores.composite_setup import BTC, QUICK, ids
from stores.gated import GatedOrderStore, GatedTradeStore, OwnOrderStore, eventually

from pyengine import Engine, Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import EVENT_DTYPE
from pyengine.store_errors import StoreClosed
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Order
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
BOOKS = [Instrument("BOOK-0"), Instrument("BOOK-1"), Instrument("BOOK-2", min_price=90, max_price=110, min_qty=2, max_qty=500)]


def engine_with(**options: object) -> Engine:
    """Make an engine of three books and some users."""
    engine = Engine(BOOKS, **options)
    for number, name in enumerate(NAMES, 1):
        engine.user(name, MODES[number])
    return engine


def memory_beside(rows: list[np.ndarray]) -> tuple[InMemoryOrderStore, InMemoryTradeStore]:
    """Run the same commands with the stores that the engine writes by itself."""
    orders, trades = InMemoryOrderStore(), InMemoryTradeStore(100_000)
    engine = engine_with(order_store=orders, trade_store=trades)
    for part in rows:
        engine.run(part)
    return orders, trades


@settings(max_examples=40)
@given(streams())
def test_stores_hold_what_the_stores_in_memory_hold(stream: list[Command]) -> None:
    rows = rows_of(stream)
    orders, trades = memory_beside([rows])
    fed_orders, fed_trades = GatedOrderStore(), GatedTradeStore()
    with engine_with(order_store=fed_orders, trade_store=fed_trades) as engine:
        engine.run(rows[: len(rows) // 2])
        engine.run(rows[len(rows) // 2 :])
        assert engine.flush_stores(20).done == ("gated",)
        assert fed_orders.inner.get_all() == orders.get_all()
        assert fed_trades.inner.get_recent(10_000) == trades.get_recent(10_000)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_composites_hold_the_same_in_every_layer(mix: object) -> None:
    parts = np.array_split(random_rows(np.random.default_rng(5), 30_000, mix), 7)
    orders, trades = memory_beside(parts)
    order_layers = [GatedOrderStore("one"), GatedOrderStore("two")]
    trade_layers = [GatedTradeStore("one"), GatedTradeStore("two")]
    with (
        CompositeOrderStore(InMemoryOrderStore(), *order_layers) as order_store,
        CompositeTradeStore(InMemoryTradeStore(1000), *trade_layers) as trade_store,
        engine_with(order_store=order_store, trade_store=trade_store) as engine,
    ):
        assert (engine.order_store, engine.trade_store) == (order_store, trade_store)
        for part in parts:
            engine.run(part)
            assert order_store.get_by_side("buy").layer == "memory", "written within the call"
        assert order_store.get_all() == orders.get_all()
        assert engine.flush_stores(60).done == ("memory", "one", "two")
        for layer in order_layers:
            assert layer.inner.get_all() == orders.get_all()
        for layer in trade_layers:
            assert layer.inner.get_recent(100_000) == trades.get_recent(100_000)
        assert trade_store.get_recent(2000) == trades.get_recent(2000)
        assert engine._feed.stats().counts["unmatched_events"] == 0


def test_files_of_somebody_who_has_no_server(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    with Engine([BTC], order_store=SQLiteOrderStore(path), trade_store=SQLiteTradeStore(path)) as engine:
        engine.submit("BTC-USD", "sell", qty="0.5", price="100.25", user="alice", order_id=7)
        engine.submit("BTC-USD", "buy", qty="0.2", price="100.25", user="bob", order_id=8)
        assert engine.flush_stores()
        order = engine.order_store.get(7)
        assert (order.user, order.symbol, str(order.remaining)) == ("alice", "BTC-USD", "0.300")
        assert [str(trade.qty) for trade in engine.trade_store.get_recent()] == ["0.200"]


def test_a_store_as_a_user_writes_it_takes_part() -> None:
    store = OwnOrderStore()
    with Engine([BTC], order_store=store) as engine:
        engine.submit("BTC-USD", "sell", qty=2, price=100, user="alice", order_id=7)
        engine.submit("BTC-USD", "buy", qty=1, price=100, user="bob", order_id=8)
        assert engine.flush_stores().done == ("OwnOrderStore",)
        assert [(order.order_id, order.user, order.filled_lots) for order in store.get_all()] == [
            (7, "alice", 1000),
            (8, "bob", 1000),
        ]


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(FieldTypeError, match="order_store must be an OrderStore"):
        Engine(order_store=InMemoryTradeStore())
    with pytest.raises(FieldTypeError, match="trade_store must be a TradeStore"):
        Engine(trade_store=GatedOrderStore())


def test_a_composite_in_use_is_not_taken() -> None:
    with CompositeOrderStore(GatedOrderStore()) as store:
        store.save(Order(1, 1, user="zoe", instrument=BTC, qty=1))
        with pytest.raises(FieldError, match="names must be given before the first write"):
            Engine(order_store=store)


def test_numbers_of_the_engine_do_not_depend_on_what_stores_know() -> None:
    store = GatedOrderStore()
    store.names.add_instrument(Instrument("ETH-USD"))
    store.inner.save(Order(99, 1, user="zoe", instrument=BTC, price=5, qty=1))
    with CompositeOrderStore(InMemoryOrderStore(), store) as orders, Engine([BTC], order_store=orders) as engine:
        assert engine.user("alice") == 1
        engine.submit("BTC-USD", "buy", qty=1, price=100, user="alice", order_id=1)
        assert orders.get(99).user == "zoe"
        assert engine.names.users == [None, "alice"]
        assert [instrument.symbol for instrument in engine.instruments] == ["BTC-USD"]
        assert engine.user("bob") == 2
        assert engine.flush_stores()
        assert store.inner.get(1).user == "alice"
        assert ids(orders.get_all()) == [1, 99]
        engine.add_instrument(Instrument("ETH-USD", "0.5"))
        engine.submit("ETH-USD", "buy", qty=1, price=2, user="zoe", order_id=2)
        assert not engine.flush_stores(), "the store knows another ETH-USD"
        assert orders.get(2).symbol == "ETH-USD"


def test_reads_come_after_what_the_engine_has_done() -> None:
    store, trades = GatedOrderStore(), GatedTradeStore()
    with CompositeOrderStore(store) as orders, CompositeTradeStore(trades) as recent:
        engine = Engine([BTC], order_store=orders, trade_store=recent)
        for i in range(1, 50):
            engine.submit("BTC-USD", "sell", qty=1, price=100, user="alice", order_id=2 * i)
            assert orders.get(2 * i).is_open
            engine.submit("BTC-USD", "buy", qty=1, price=100, user="bob", order_id=2 * i + 1)
            assert not orders.get(2 * i).is_open
            assert [trade.trade_id for trade in recent.get_recent(1)] == [i]
        engine.close()


def test_matching_does_not_stop_for_a_store(caplog: pytest.LogCaptureFixture) -> None:
    dead, hung = GatedOrderStore("dead"), GatedOrderStore("hung")
    options = {"dead": QUICK, "hung": QUICK}
    with CompositeOrderStore(InMemoryOrderStore(), dead, hung, ring_capacity=256, options=options) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        dead.gate.shut = True
        hung.gate.hang()
        with engine_with(order_store=store, ring_capacity=1024, publish_wait_s=0.5) as engine:
            start = time.monotonic()
            for part in np.array_split(random_rows(np.random.default_rng(3), 40_000, MIXES[0]), 40):
                assert not (engine.run(part).status == 96).any(), "no command is refused for a full ring"
            assert time.monotonic() - start < 20
            assert len(store.get_all()) == len(engine.order_store.get_all()) > 1000
            for layer in store.stats().layers[1:]:
                assert layer.counts["missed"] > 1000
            hung.gate.go_on()


def test_a_store_that_makes_no_room_in_time_loses_the_oldest() -> None:
    slow, well = GatedOrderStore("slow"), GatedOrderStore("well")
    patient = {"slow": LayerOptions(stall_s=60)}
    with CompositeOrderStore(slow, well, ring_capacity=256, options=patient) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        slow.gate.hang("save_batch")
        with Engine([BTC], order_store=store, ring_capacity=1024, publish_wait_s=20) as engine:
            for i in range(1, 2001):
                engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=i)
            assert store.flush(["well"], timeout_s=20)
            assert len(well.inner) == 2000
            assert not store.layers[0].cursor.holds, "nobody waits for it any more"
            slow.gate.go_on()
            assert engine.flush_stores(20).late == ("slow",)
            missed = store.stats().layers[0].counts["missed"]
            assert 1000 < missed == 2000 - len(slow.inner)
            assert slow.inner.get(2000) is not None, "the newest are kept"


def test_a_slow_store_slows_the_engine_down_before_it_misses_anything() -> None:
    slow = GatedOrderStore("slow")
    slow.gate.delay_s = 0.005
    with CompositeOrderStore(slow, ring_capacity=1024) as store:
        with engine_with(order_store=store, ring_capacity=1024, publish_wait_s=30) as engine:
            for part in np.array_split(random_rows(np.random.default_rng(3), 20_000, MIXES[0]), 10):
                assert not (engine.run(part).status == 96).any()
            assert engine.flush_stores(60)
        assert store.stats().layers[0].counts["missed"] == 0


def test_a_store_that_was_closed_is_said_once_and_does_not_stop_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    store = CompositeOrderStore(GatedOrderStore())
    with engine_with(order_store=store) as engine:
        engine.run(random_rows(np.random.default_rng(1), 500, MIXES[0]))
        store.close()
        for _ in range(5):
            engine.run(random_rows(np.random.default_rng(2), 500, MIXES[0]))
            time.sleep(0.005)
        with pytest.raises(StoreClosed):
            engine.flush_stores()
        eventually(lambda: engine._feed.stats().gauges["lag_records"] == 0)
        assert engine._feed.stats().counts["missed"] > 0
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "the engine's orders go nowhere: their store was closed"
    ]


def test_an_engine_that_is_gone_leaves_nothing_behind_and_has_fed_everything() -> None:
    store = GatedOrderStore()
    before = threading.active_count()
    for turn in range(10):
        engine = Engine([BTC], order_store=store)
        for i in range(50):
            engine.submit("BTC-USD", "buy", qty=1, price=100, user="alice", order_id=100 * turn + i)
        gone = weakref.ref(engine)
        del engine
        gc.collect()
        eventually(lambda gone=gone: gone() is None)  # the feed may be at a step
    eventually(lambda: len(store.inner) == 500)
    eventually(lambda: threading.active_count() <= before)


def test_closing_the_engine_feeds_what_is_left_and_leaves_the_stores_open() -> None:
    store = GatedOrderStore()
    orders = CompositeOrderStore(InMemoryOrderStore(), store)
    engine = engine_with(order_store=orders)
    engine.run(random_rows(np.random.default_rng(1), 5_000, MIXES[0]))
    engine.close()
    engine.close()
    assert engine._feed.closed
    assert orders.flush()
    assert store.inner.get_all() == orders.get_all()
    assert store.closed == 0
    orders.close()


def test_two_engines_share_a_store_that_takes_both() -> None:
    store = GatedOrderStore()
    other = Instrument("ETH-USD")
    with Engine([BTC], order_store=store) as one, Engine([other], order_store=store) as two:
        one.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=1)
        two.submit("ETH-USD", "buy", qty=1, price=1, user="bob", order_id=2)
        assert one.flush_stores()
        assert two.flush_stores()
    assert [(order.symbol, order.user) for order in store.inner.get_all()] == [("BTC-USD", "alice"), ("ETH-USD", "bob")]


def test_a_forked_child_feeds_from_its_own_events_on() -> None:
    store = GatedOrderStore()
    engine = Engine([BTC], order_store=CompositeOrderStore(InMemoryOrderStore(), store), ring_capacity=64)
    engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=1)
    assert engine.flush_stores()
    process_id = os.fork()
    if process_id == 0:
        try:
            for i in range(2, 200):
                engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=i)
            right = engine.flush_stores(20) and ids(store.inner.get_all()) == list(range(1, 200))
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    for i in range(200, 400):
        engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=i)
    assert engine.flush_stores(20)
    assert ids(store.inner.get_all()) == [1, *range(200, 400)]
    assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0
    engine.close()
    engine.order_store.close()


def test_a_fork_in_the_middle_of_a_step_leaves_the_childs_ring_free() -> None:
    store = GatedOrderStore()
    layers = {"gated": LayerOptions(stall_s=60)}
    orders = CompositeOrderStore(InMemoryOrderStore(), store, ring_capacity=4, options=layers)
    engine = Engine([BTC], order_store=orders, ring_capacity=64, publish_wait_s=5)
    eventually(lambda: orders.layers[0].greeted)
    store.gate.hang("save_batch")
    for i in range(1, 13):
        engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=i)
    eventually(lambda: orders._ring.head)
    process_id = os.fork()
    if process_id == 0:
        try:
            store.gate._answers.set()
            for i in range(100, 300):
                engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=i)
            right = engine.flush_stores(20) and ids(store.inner.get_all()) == list(range(100, 300))
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    store.gate.go_on()
    assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0
    engine.close()
    engine.order_store.close()


def fork_that_feeds_its_own(engine: Engine, store: GatedOrderStore) -> int:
    """Fork, and have the child end well if its store gets what happened in the child, and nothing else."""
    process_id = os.fork()
    if process_id == 0:
        try:
            engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=2)
            right = engine.flush_stores(20) and ids(store.inner.get_all()) == [2]
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    return process_id


def parent_feeds_the_rest(engine: Engine, store: GatedOrderStore, process_id: int) -> None:
    """See that the parent's store gets what happened before the fork, and that the child ends well."""
    assert engine.flush_stores(20)
    assert ids(store.inner.get_all()) == [1]
    assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0
    engine.close()
    engine.order_store.close()


def test_events_from_before_a_fork_are_the_parents_to_feed() -> None:
    store = GatedOrderStore()
    engine = Engine([BTC], order_store=CompositeOrderStore(InMemoryOrderStore(), store))
    with engine._feed._lock:
        engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=1)
        process_id = fork_that_feeds_its_own(engine, store)
    parent_feeds_the_rest(engine, store, process_id)


def test_what_is_in_hand_at_a_fork_is_the_parents_to_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GatedOrderStore()
    orders = CompositeOrderStore(InMemoryOrderStore(), store)
    engine = Engine([BTC], order_store=orders)
    with engine._feed._lock:
        engine.submit("BTC-USD", "buy", qty=1, price=1, user="alice", order_id=1)
        with monkeypatch.context() as patched:
            patched.setattr(orders._ring, "make_room", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                engine._feed.step()
        process_id = fork_that_feeds_its_own(engine, store)
    parent_feeds_the_rest(engine, store, process_id)


def test_changed_orders_come_once_as_they_are_after_the_events() -> None:
    events = engine_with().run(random_rows(np.random.default_rng(3), 2000, MIXES[0])).events
    one, other = InMemoryOrderStore(), InMemoryOrderStore()
    for part in np.array_split(events, 9):
        changed = one.apply_changes(part)
        other.apply(part)
        touched = set(part["order_id"][part["kind"] != 2].tolist()) | set(part["detail"][part["kind"] == 3].tolist())
        assert len(changed) == len(set(changed["order_id"].tolist()))
        assert set(changed["order_id"].tolist()) == touched
        for row in changed:
            assert row.tobytes() == bytes(other.get(int(row["order_id"])))
    assert one.get_all_array().tobytes() == other.get_all_array().tobytes()
    one.check()


def test_changed_orders_that_are_cut_at_once_are_left_out() -> None:
    store = InMemoryOrderStore(keep_finished=0)
    events = engine_with().run(random_rows(np.random.default_rng(3), 500, MIXES[0])).events
    changed = store.apply_changes(events)
    assert set(changed["order_id"].tolist()) == {order.order_id for order in store.get_all()}
    assert set(changed["status"].tolist()) <= {1, 2}


def test_wrong_events_change_nothing() -> None:
    store = InMemoryOrderStore()
    wrong = np.zeros(3, EVENT_DTYPE)
    with pytest.raises(FieldError, match=r"events\[0\]\.kind"):
        store.apply_changes(wrong)
    with pytest.raises(FieldTypeError):
        store.apply_changes([1])
    assert len(store.apply_changes(wrong[:0])) == 0
    store.close()
    with pytest.raises(StoreClosed):
        store.apply_changes(engine_with().run(random_rows(np.random.default_rng(3), 5, MIXES[0])).events)
