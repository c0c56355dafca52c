"""Layers behind an engine with a journal: whatever happens to them, in the end they have what the journal has."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from journal_setup import FailingDisk, rows
from side_by_side import NAMES, new_engine
from stores.composite_setup import QUICK
from stores.gated import (
    GatedOrderStore,
    GatedTradeStore,
    MarkedOrderStore,
    MarkedTradeStore,
    NumberedTradeStore,
    eventually,
)

from pyengine import Engine, SelfTrade
from pyengine.journal import History, Journal, JournalFailed, prune, recover, write_snapshot
from pyengine.journal.compare import compare_orders, compare_trades
from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.composite.sequence import Sequence
from pyengine.stores.interfaces import Mark
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
EACH = 40
RING = 256


class Deployment:
    """An engine with a journal and two layers below memory, or one, and what goes on meanwhile."""

    def __init__(self, path: Path, *, ring: int = RING, orders: Any = None, trades: Any = None, **journal: Any) -> None:
        self.path, self.ring, self.journal_options = path, ring, {"segment_bytes": 1 << 16, **journal}
        self.orders = MarkedOrderStore() if orders is None else orders
        self.trades = MarkedTradeStore() if trades is None else trades
        self.turn = 0
        self.start()

    def start(self) -> None:
        """Make the engine of what the journal has, with stores that are new but for the layers below."""
        options = dict.fromkeys({self.orders.name, self.trades.name}, QUICK)
        self.order_store = CompositeOrderStore(
            InMemoryOrderStore(), self.orders, ring_capacity=self.ring, options={self.orders.name: QUICK}, own=False
        )
        self.trade_store = CompositeTradeStore(
            InMemoryTradeStore(100), self.trades, ring_capacity=self.ring, options={self.trades.name: options[self.trades.name]},
            own=False,
        )  # fmt: skip
        self.journal = Journal(self.path, **self.journal_options)
        self.engine = self.journal.resume(
            order_store=self.order_store,
            trade_store=self.trade_store,
            instruments=new_engine().instruments,
            self_trade=SelfTrade.CANCEL_TAKER,
            ring_capacity=1 << 14,
        )
        for name in NAMES:
            self.engine.user(name)

    def run(self, turns: int = 1, each: int = EACH) -> None:
        for _ in range(turns):
            self.engine.run(rows(each, seed=self.turn))
            self.turn += 1

    def stop(self, timeout_s: float = 5.0) -> None:
        self.engine.close()
        self.order_store.close(timeout_s)
        self.trade_store.close(timeout_s)

    def expected(self) -> tuple[bytes, bytes]:
        """Read all out of the journal, however it came there."""
        orders, trades = InMemoryOrderStore(), InMemoryTradeStore(1 << 20)
        history, until = History(self.path), self.journal.durable_seq
        for part, _ in history.orders(0, until):
            orders.save_batch(part)
        for part, _ in history.trades(0, until):
            trades.save_batch(part)
        return orders.get_all_array().tobytes(), trades.get_recent_array(1 << 20).tobytes()

    def check(self) -> None:
        """See that both layers have what the journal has."""
        flushed = self.engine.flush_stores(20)
        assert flushed, flushed
        orders, trades = self.expected()
        assert self.orders.inner.get_all_array().tobytes() == orders
        assert self.trades.inner.get_recent_array(1 << 20).tobytes() == trades
        for store in (self.order_store, self.trade_store):
            [layer] = store.layers
            assert layer.is_whole
            assert layer.missed_count == 0
            assert layer.stats().gauges["stopped"] == 0

    @contextmanager
    def busy(self, pause_s: float = 0.002) -> Iterator[Callable[[], int]]:
        """Keep the engine busy; yields what counts the commands that were run."""
        over, failed = threading.Event(), []
        begun = self.turn

        def work() -> None:
            try:
                while not over.is_set():
                    self.run()
                    time.sleep(pause_s)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield lambda: self.turn - begun
        finally:
            over.set()
            thread.join()
        assert not failed


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "journal")
    yield made
    made.stop()


def marks_are_dense(store: Any, journal: str) -> None:
    """See that each mark went on where the one before had ended."""
    assert [mark.after for mark in store.moved[1:]] == [mark.to for mark in store.moved[:-1]]
    assert all(mark.journal == journal for mark in store.moved)


def test_watermarks_move_with_what_happens(deployment: Deployment) -> None:
    deployment.run(30)
    deployment.check()
    journal = deployment.journal
    for store in (deployment.orders, deployment.trades):
        assert store.moved[0].after is None
        marks_are_dense(store, journal.identity)
    eventually(lambda: deployment.engine.lowest_watermark == journal.durable_seq)
    assert deployment.orders.marks == deployment.trades.marks == {journal.identity: journal.durable_seq}
    assert deployment.order_store.stats().layers[1].gauges["watermark"] == journal.durable_seq


def test_a_batch_that_covers_no_event_moves_no_watermark(deployment: Deployment) -> None:
    [layer] = deployment.order_store.layers
    eventually(lambda: not layer.is_behind)
    assert layer.place.watermark is None
    assert layer.mark_to(0) is None
    assert layer.mark_to(None) is None
    assert layer.mark_to(1) == Mark(deployment.journal.identity, None, 1)


def test_a_watermark_moves_without_records_too(deployment: Deployment) -> None:
    for price in range(1, 4):
        deployment.engine.books[0].submit(1, price, 1)
    eventually(lambda: deployment.engine.lowest_watermark == 3)
    assert deployment.trades.marks[deployment.journal.identity] == 3
    assert len(deployment.trades.inner) == 0


@pytest.mark.parametrize("turns", [3, 60], ids=["shorter than the ring", "longer than the ring"])
def test_an_outage(deployment: Deployment, turns: int) -> None:
    deployment.run(5)
    deployment.check()
    for store in (deployment.orders, deployment.trades):
        store.gate.shut = True
    deployment.run(turns)
    if turns > 3:
        eventually(lambda: deployment.order_store.layers[0].is_behind)
        assert not deployment.engine.flush_stores(0.05)
    with deployment.busy() as done:
        for store in (deployment.orders, deployment.trades):
            store.gate.shut = False
        eventually(lambda: done() > 20)
    deployment.check()
    for store in (deployment.orders, deployment.trades):
        marks_are_dense(store, deployment.journal.identity)


def test_a_slow_layer_is_overrun_again_and_again(deployment: Deployment) -> None:
    deployment.orders.gate.delay_s = deployment.trades.gate.delay_s = 0.03
    with deployment.busy(0) as done:
        eventually(lambda: done() > 150, 30)
    deployment.orders.gate.delay_s = deployment.trades.gate.delay_s = 0.0
    deployment.check()


@pytest.mark.parametrize("back", ["nothing", "an older copy"])
def test_a_layer_that_was_wiped_or_set_back(deployment: Deployment, back: str) -> None:
    deployment.run(10)
    deployment.check()
    copies = {store: store.backup() if back != "nothing" else None for store in (deployment.orders, deployment.trades)}
    with deployment.busy() as done:
        for _ in range(3):
            reached = done()
            eventually(lambda reached=reached: done() > reached + 15)
            for store, copy in copies.items():
                store.restore(copy)
    deployment.run(2)
    deployment.check()


def test_a_restart_goes_on_where_the_stores_are(deployment: Deployment) -> None:
    deployment.run(10)
    deployment.stop()
    moved = len(deployment.orders.moved)
    deployment.start()
    deployment.check()
    deployment.run(5)
    deployment.check()
    assert deployment.orders.moved[moved].after is not None
    marks_are_dense(deployment.orders, deployment.journal.identity)
    # A layer that was away when all was written, and new ones.
    deployment.orders.gate.shut = deployment.trades.gate.shut = True
    deployment.run(20)
    deployment.stop(0.2)
    deployment.orders.gate.shut = False
    deployment.trades = MarkedTradeStore("new")
    deployment.start()
    deployment.run(5)
    deployment.check()
    deployment.orders.restore()
    deployment.stop()
    deployment.start()
    deployment.check()


def test_memory_is_filled_by_recovery(deployment: Deployment) -> None:
    deployment.run(30)
    deployment.engine.flush_stores()
    before = [
        deployment.order_store._memory.get_all_array().tobytes(),
        deployment.trade_store._memory.get_recent_array(100).tobytes(),
    ]
    sides = [deployment.order_store._memory.get_by_side_array(side).tobytes() for side in ("buy", "sell")]
    deployment.stop()
    deployment.start()
    memory, trades = deployment.order_store._memory, deployment.trade_store._memory
    assert [memory.get_all_array().tobytes(), trades.get_recent_array(100).tobytes()] == before
    assert [memory.get_by_side_array(side).tobytes() for side in ("buy", "sell")] == sides
    assert memory.complete
    assert memory.unmatched_events == 0
    assert deployment.order_store.get_all().layer == "memory"
    assert deployment.order_store.get(10**15) is None
    assert deployment.trade_store.get_recent(50).layer == "memory"
    deployment.run(10)
    deployment.check()
    assert deployment.order_store._memory.get_all() == deployment.orders.inner.get_all()
    assert memory.unmatched_events == 0


def test_memory_after_pruning_says_what_it_lacks(deployment: Deployment) -> None:
    deployment.run(60)
    deployment.check()
    write_snapshot(deployment.path)
    deployment.run(10)
    deployment.check()
    write_snapshot(deployment.path)
    eventually(lambda: deployment.engine.lowest_watermark == deployment.journal.durable_seq)
    lowest = deployment.engine.lowest_watermark
    prune(deployment.path, keep=[lambda: lowest + 1])
    everything = deployment.orders.inner.get_all()
    deployment.stop()
    deployment.start()
    memory = deployment.order_store._memory
    assert memory.open_count == deployment.engine.resting_orders
    assert memory.complete_for_open
    if History(deployment.path).first_seq > 1:
        assert not memory.complete
    assert deployment.order_store.get_by_side("buy").layer == "memory"
    eventually(lambda: deployment.order_store.layers[0].is_whole)
    gone = next(each for each in everything if memory.get(each.order_id) is None)
    found = deployment.order_store.get_all()
    assert (found.layer, found.complete) == ("marked", True)
    assert list(found) == everything
    assert deployment.order_store.get(gone.order_id) == gone
    deployment.engine.flush_stores()
    recent = deployment.trade_store.get_recent(5000)
    assert recent.complete
    assert len(recent) == recent[0].trade_id
    deployment.run(5)
    deployment.orders.inner.check()
    assert deployment.engine.flush_stores(10)
    assert deployment.order_store._memory.unmatched_events == 0


def test_orders_of_who_has_to_catch_up_are_not_definitely_unknown(deployment: Deployment) -> None:
    deployment.run(60)
    deployment.check()
    order = next(each for each in deployment.orders.inner.get_all() if not each.is_open)
    deployment.order_store.remove_finished(keep=0)
    deployment.orders.gate.hang("save_marked")
    deployment.orders.restore()
    deployment.run(1)
    eventually(lambda: deployment.orders.gate.waiting)
    deployment.order_store.layers[0].place.lose()
    with pytest.raises(StoreUnavailable, match="has yet to catch up"):
        deployment.order_store.get(order.order_id)
    assert not deployment.order_store.get_all().complete
    deployment.orders.gate.go_on()
    deployment.check()
    assert deployment.order_store.get(order.order_id) == order


def test_a_store_with_records_of_something_else_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    orders = MarkedOrderStore()
    other = Deployment(tmp_path / "other", orders=orders)
    other.run(3)
    other.stop()
    before = orders.inner.get_all()
    orders.marks.clear()
    deployment = Deployment(tmp_path / "journal", orders=orders)
    deployment.run(5)
    flushed = deployment.engine.flush_stores(5)
    assert flushed.late == ("marked",) or "marked" in flushed.late
    assert orders.inner.get_all() == before
    [layer] = deployment.order_store.layers
    assert "pyengine rebuild marked" in str(layer.stopped)
    assert caplog.text.count("marked is stopped") == 1
    assert deployment.order_store.stats().layers[1].gauges["stopped"] == 1
    # The other layer goes on, and so does matching; once the store is empty it is filled.
    assert deployment.trade_store.flush(timeout_s=5)
    orders.inner.clear()
    layer.place.look_again_at = 0
    eventually(lambda: layer.stopped is None)
    deployment.check()
    deployment.stop()


def test_a_store_ahead_of_the_journal_is_left_alone(deployment: Deployment, tmp_path: Path) -> None:
    deployment.run(5)
    deployment.check()
    deployment.stop()
    deployment.orders.marks[deployment.journal.identity] += 1000
    deployment.start()
    eventually(lambda: deployment.order_store.layers[0].stopped is not None)
    assert "must not be ahead of journal" in str(deployment.order_store.layers[0].stopped)
    assert deployment.trade_store.flush(timeout_s=5)


def test_a_store_behind_what_was_pruned_is_left_alone(deployment: Deployment) -> None:
    deployment.run(60)
    deployment.check()
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1)
    assert History(deployment.path).first_seq > 1
    deployment.stop()
    deployment.orders.restore()
    deployment.start()
    eventually(lambda: deployment.order_store.layers[0].stopped is not None)
    assert "goes back to" in str(deployment.order_store.layers[0].stopped)


def test_a_cache_begins_with_what_is_left(deployment: Deployment) -> None:
    deployment.run(60)
    deployment.check()
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1)
    assert History(deployment.path).first_seq > 1
    deployment.stop()
    deployment.orders = MarkedOrderStore("redis", is_cache=True)
    deployment.start()
    deployment.run(5)
    assert deployment.order_store.flush(timeout_s=10)
    found = {each.order_id: each for each in deployment.orders.inner.get_all()}
    memory = deployment.order_store._memory
    assert all(found[each.order_id] == each for each in [*memory.get_by_side("buy"), *memory.get_by_side("sell")])
    assert all(memory.get(order_id) in (None, order) for order_id, order in found.items())


def test_a_cache_that_was_away_for_longer_than_the_journal_remembers_is_emptied(deployment: Deployment) -> None:
    deployment.stop()
    deployment.orders = MarkedOrderStore("redis", is_cache=True)
    deployment.start()
    deployment.run(30)
    assert deployment.order_store.flush(timeout_s=10)
    deployment.orders.gate.shut = True
    deployment.run(60)
    # It keeps no segments from going.
    eventually(lambda: deployment.journal.needed_seq() > deployment.journal.durable_seq - 5)
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1, keep=[deployment.journal.needed_seq])
    assert History(deployment.path).first_seq > deployment.orders.marks[deployment.journal.identity]
    deployment.orders.gate.shut = False
    deployment.run(5)
    assert deployment.order_store.flush(timeout_s=10)
    found = {each.order_id: each for each in deployment.orders.inner.get_all()}
    memory = deployment.order_store._memory
    assert all(found[each.order_id] == each for each in [*memory.get_by_side("buy"), *memory.get_by_side("sell")])
    assert all(memory.get(order_id) in (None, order) for order_id, order in found.items())


def test_a_store_that_knows_its_last_trade(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, trades=NumberedTradeStore())
    deployment.run(20)
    deployment.check()
    deployment.stop()
    deployment.trades.gate.shut = True
    deployment.start()
    deployment.run(40)
    deployment.trades.gate.shut = False
    deployment.check()
    eventually(lambda: deployment.engine.lowest_watermark == deployment.journal.durable_seq)
    # As if the end had been lost in a crash.
    deployment.stop()
    kept = deployment.trades.inner.get_recent_array(1 << 20)[::-1][:50]
    deployment.trades.inner.clear()
    deployment.trades.inner.save_batch(kept)
    deployment.start()
    deployment.check()
    # The trades of somebody else.
    deployment.stop()
    kept["maker_id"] += 1
    deployment.trades.inner.clear()
    deployment.trades.inner.save_batch(kept)
    deployment.start()
    eventually(lambda: deployment.trade_store.layers[0].stopped is not None)
    assert "must end with a trade of journal" in str(deployment.trade_store.layers[0].stopped)
    deployment.stop()


def test_a_store_without_a_watermark_misses_nothing_while_the_process_runs(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, orders=GatedOrderStore(), trades=GatedTradeStore())
    deployment.run(5)
    deployment.check()
    deployment.orders.gate.shut = deployment.trades.gate.shut = True
    deployment.run(60)
    deployment.orders.gate.shut = deployment.trades.gate.shut = False
    deployment.check()
    deployment.stop()


def test_stores_hear_of_nothing_that_is_not_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowDisk(FailingDisk):
        may_sync = threading.Event()

        def sync(self, fd: int) -> None:
            self.may_sync.wait(10)
            super().sync(fd)

    SlowDisk.may_sync.set()
    deployment = Deployment(tmp_path, disk=SlowDisk())
    deployment.run(3)
    deployment.check()
    SlowDisk.may_sync.clear()
    durable, events = deployment.journal.durable_seq, deployment.orders.inner.get_all_array().tobytes()
    deployment.engine.acknowledge_by(None)
    deployment.run(3)
    time.sleep(0.1)
    assert deployment.journal.durable_seq == durable
    assert deployment.orders.inner.get_all_array().tobytes() == events
    assert deployment.engine._feed.stats().counts["events"] == durable
    SlowDisk.may_sync.set()
    deployment.check()
    deployment.stop()


def test_a_journal_that_fails_ends_the_feed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = FailingDisk()
    deployment = Deployment(tmp_path, disk=disk)
    deployment.run(3)
    deployment.check()
    before = deployment.orders.inner.get_all_array().tobytes()
    disk._fails_at, disk._how = len(disk.calls) + 1, lambda: OSError(5, "broken")
    with pytest.raises(JournalFailed):
        deployment.run(1)
    begun = time.monotonic()
    deployment.order_store.remove_finished(keep=0)
    assert len(deployment.order_store.get_all()) > 0
    assert time.monotonic() - begun < 2, "nobody waits for what will never come"
    with pytest.raises(JournalFailed):
        deployment.engine.close()
    deployment.order_store.close()
    deployment.trade_store.close()
    assert deployment.orders.inner.get_all_array().tobytes() == before
    assert "its journal doesn't have them" in caplog.text
    deployment.journal_options.pop("disk")
    deployment.start()
    deployment.run(3)
    deployment.check()
    deployment.stop()


def test_what_the_journal_does_not_have_is_missed_as_before(deployment: Deployment) -> None:
    deployment.run(3)
    deployment.check()
    deployment.orders.gate.shut = True
    deployment.run(1)
    eventually(lambda: not deployment.order_store.layers[0].breaker.closed)
    order = deployment.order_store._memory.get_all()[0]
    for _ in range(5):
        deployment.order_store.save(order)
    deployment.run(60)
    [layer] = deployment.order_store.layers
    eventually(lambda: layer.is_behind)
    deployment.orders.gate.shut = False
    eventually(lambda: not layer.is_behind)
    eventually(lambda: layer.has_reached(deployment.order_store._ring.head))
    assert layer.missed_count == 5
    assert not layer.is_whole
    assert deployment.orders.inner.get_all_array().tobytes() == deployment.expected()[0]


def test_a_refused_record_does_not_stop_the_watermark(deployment: Deployment) -> None:
    deployment.orders.gate.refused = {7}
    for order_id in range(1, 20):
        deployment.engine.books[0].submit(1, order_id, 1, order_id)
    eventually(lambda: deployment.engine.lowest_watermark == 19)
    assert {each.order_id for each in deployment.orders.inner.get_all()} == set(range(1, 20)) - {7}
    assert deployment.order_store.stats().layers[1].counts["refused"] == 1
    assert not deployment.order_store.layers[0].is_whole


def test_stats_tell_of_catching_up(deployment: Deployment) -> None:
    deployment.run(2)
    deployment.check()
    deployment.orders.gate.shut = True
    deployment.run(80)
    eventually(lambda: deployment.order_store.layers[0].is_behind)
    gauges = deployment.order_store.stats().layers[1].gauges
    assert gauges["lag_events"] == deployment.journal.durable_seq - gauges["watermark"] > 1000
    assert gauges["lag_s"] > 0
    deployment.orders.gate.delay_s = 0.05
    deployment.orders.gate.shut = False
    eventually(
        lambda: (
            deployment.order_store.stats().layers[1].gauges.get("catch_up_records_per_s", 0) > 0
            or not deployment.order_store.layers[0].is_behind
        )
    )
    deployment.orders.gate.delay_s = 0.0
    deployment.check()
    assert "catch_up_left_s" not in deployment.order_store.stats().layers[1].gauges


def test_stores_of_a_restored_engine_begin_behind_the_snapshot() -> None:
    engine = Engine(new_engine().instruments, order_store=InMemoryOrderStore())
    for name in NAMES:
        engine.user(name)
    engine.run(rows(300, seed=5))
    data = engine.snapshot()
    orders, trades = MarkedOrderStore(), MarkedTradeStore()
    order_store, trade_store = (
        CompositeOrderStore(InMemoryOrderStore(), orders),
        CompositeTradeStore(InMemoryTradeStore(), trades),
    )
    restored = Engine.restore(data, order_store=order_store, trade_store=trade_store)
    memory, known = order_store._memory, engine.order_store
    for side in ("buy", "sell"):
        want, found = known.get_by_side(side), memory.get_by_side(side)
        assert [(o.order_id, o.price_ticks, o.remaining_lots, o.user) for o in found] == [
            (o.order_id, o.price_ticks, o.remaining_lots, o.user) for o in want
        ]
    assert not memory.complete
    later = [engine.run(rows(200, seed=6)).events, restored.run(rows(200, seed=6)).events]
    assert later[0].tobytes() == later[1].tobytes()
    assert restored.flush_stores(10)
    changed = {o.order_id: o for o in orders.inner.get_all()}
    assert changed
    for order_id, order in changed.items():
        assert (order.remaining_lots, order.status) == (known.get(order_id).remaining_lots, known.get(order_id).status)
    assert memory.unmatched_events == restored._feed.stats().counts["unmatched_events"] == 0
    assert memory.open_count == restored.resting_orders
    restored.close()
    order_store.close()
    trade_store.close()


def test_a_forked_child_does_not_follow_the_parents_journal(deployment: Deployment) -> None:
    deployment.run(3)
    deployment.check()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=lambda: there.send([layer.place is None for layer in deployment.order_store.layers]))
    process.start()
    assert here.recv() == [True]
    process.join()
    deployment.run(3)
    deployment.check()


def test_an_engine_that_begins_a_journal_has_stores_alike(tmp_path: Path) -> None:
    orders, trades = MarkedOrderStore(), MarkedTradeStore()
    journal = Journal(tmp_path)
    with Engine(new_engine().instruments, journal=journal, order_store=orders, trade_store=trades) as engine:
        for name in NAMES:
            engine.user(name)
        engine.run(rows(200))
        assert engine.flush_stores(10)
        last = engine.next_seq - 1
        eventually(lambda: engine.lowest_watermark == last)
        assert journal.needed_seq() == last + 1
        assert orders.marks == trades.marks == {journal.identity: last}


def test_the_journal_keeps_what_a_layer_has_yet_to_get(deployment: Deployment) -> None:
    deployment.run(20)
    deployment.check()
    deployment.orders.gate.shut = True
    eventually(lambda: deployment.engine.lowest_watermark == deployment.journal.durable_seq)
    seq = deployment.journal.durable_seq
    deployment.run(60)
    eventually(lambda: deployment.order_store.layers[0].is_behind)
    assert deployment.journal.needed_seq() <= seq + 1
    assert deployment.journal.needed_seq() == deployment.orders.marks[deployment.journal.identity] + 1
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1, keep=[deployment.journal.needed_seq])
    deployment.orders.gate.shut = False
    deployment.check()


EXITS = """
import sys
sys.path[:0] = [{tests!r}]
from journal_setup import rows
from side_by_side import NAMES, new_engine
from pyengine.journal import Journal
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.composite.sequence import Sequence
from pyengine.stores.interfaces import Mark
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore
from pyengine.stores.interfaces import Mark
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

path, turn = sys.argv[1], int(sys.argv[2])
orders = CompositeOrderStore(InMemoryOrderStore(), SQLiteOrderStore(path + ".db"), ring_capacity=256)
trades = CompositeTradeStore(InMemoryTradeStore(), SQLiteTradeStore(path + ".db"), ring_capacity=256)
engine = Journal(path).resume(order_store=orders, trade_store=trades, instruments=new_engine().instruments, durability="memory")
for name in NAMES:
    engine.user(name)
for seed in range(turn, turn + 20):
    engine.run(rows(100, seed=seed))
"""


def test_a_process_that_ends_without_closing_brings_layers_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for turn in (0, 20):
        script = EXITS.format(tests=str(Path(__file__).resolve().parents[1]))
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), str(turn)], check=False, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        history, names = History(path), recover(path).engine.names
        store = SQLiteOrderStore(f"{path}.db")
        assert store.watermark(history.identity) == history.last_seq
        assert compare_orders(history, names, store).differences == ()
        trades = SQLiteTradeStore(f"{path}.db")
        assert trades.watermark(history.identity) == history.last_seq
        assert compare_trades(history, names, trades).differences == ()
        store.close()
        trades.close()


def test_positions_and_events_go_together() -> None:
    marks = Sequence()
    assert (marks.covered(5), marks.end_of_batch(0, 10), marks.join(5, 0)) == (None, None, None)
    for position, seq in ((0, 10), (0, 12), (4, 15), (4, 20), (9, 21)):
        marks.note(position, seq, 0)
    assert [marks.covered(position) for position in (0, 3, 4, 8, 9, 99)] == [12, 12, 20, 20, 21, 21]
    # Behind event 11 comes what is behind position 0; behind 17, nothing came before position 5.
    assert [marks.join(seq, 0) for seq in (9, 10, 11, 14, 15, 17, 20, 21, 99)] == [None, 0, 0, 0, 4, 4, 4, 9, 9]
    assert (marks.join(17, 4), marks.join(17, 5)) == (4, None)
    assert [marks.end_of_batch(taken, 5) for taken in (0, 3, 4, 8, 9)] == [4, 4, 9, 9, None]
    assert marks.end_of_batch(4, 2) == 9, "the next one, as none is nearer"
    marks.note_foreign(2, 3)
    marks.note_foreign(4, 4)
    marks.note_foreign(8, 8)
    assert marks.foreign(3, 9) == [(3, 4), (8, 8)]
    assert marks.foreign(4, 2) == marks.foreign(3, 2) == []
    for position in range(10, 20_000):
        marks.note(position, 100 + position, position - 64)
    assert len(marks._positions) < 3000
    assert marks.join(100 + 19_990, 19_990) == 19_990
