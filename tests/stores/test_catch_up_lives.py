"""Layers across the lives of an engine with a journal: new ones, restarts, memory out of recovery, forks, failures and ends."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import pytest
from journal_setup import FailingDisk, SlowDisk, rows
from side_by_side import NAMES, new_engine
from stores.following import Deployment, marks_are_dense
from stores.gated import MarkedOrderStore, MarkedTradeStore, eventually

from pyengine import Engine
from pyengine.journal import History, Journal, JournalFailed, prune, recover, write_snapshot
from pyengine.journal.compare import compare_orders, compare_trades
from pyengine.records import Records
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.interfaces import Mark
from pyengine.stores.journal_source import JournalSource
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "journal")
    yield made
    made.stop()


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


def test_stores_hear_of_nothing_that_is_not_on_the_disk(tmp_path: Path) -> None:
    slow = SlowDisk()
    deployment = Deployment(tmp_path, disk=slow)
    deployment.run(3)
    deployment.check()
    slow.free.clear()
    durable, events = deployment.journal.durable_seq, deployment.orders.inner.get_all_array().tobytes()
    deployment.engine.acknowledge_by(None)
    deployment.run(3)
    time.sleep(0.1)
    assert deployment.journal.durable_seq == durable
    assert deployment.orders.inner.get_all_array().tobytes() == events
    assert deployment.engine._feed.stats().counts["events"] == durable
    slow.free.set()
    deployment.check()
    deployment.stop()


@pytest.mark.parametrize("ring", [1, 4, 16])
def test_no_record_comes_before_its_watermark(tmp_path: Path, ring: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = []
    for kind, key in ((MarkedOrderStore, "version"), (MarkedTradeStore, "seq")):

        def save(store: Any, rows: Records, mark: Mark, key: str = key, saved: Any = kind.save_marked) -> int:
            ahead.extend(rows[key][rows[key] > mark.to].tolist())
            return saved(store, rows, mark)

        monkeypatch.setattr(kind, "save_marked", save)
    deployment = Deployment(tmp_path, ring=ring)
    assert deployment.engine._feed._most == max(1, ring // 2), "so much has room, and layers take it out of the ring"
    deployment.run(8)
    deployment.check()
    deployment.stop()
    assert not ahead, "nobody would see it if the store was set back, and they are lost"


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


@pytest.mark.parametrize("kind", ["orders", "trades"])
def test_an_interrupted_close_leaves_no_gap(deployment: Deployment, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = {"orders": deployment.order_store, "trades": deployment.trade_store}[kind]._ring
    make_room = ring.make_room

    def interrupted(*_: object) -> Never:
        monkeypatch.setattr(ring, "make_room", make_room)
        raise KeyboardInterrupt

    deployment.run(5)
    deployment.check()
    monkeypatch.setattr(deployment.engine._feed, "_most", 50)
    with deployment.engine._feed._lock:
        deployment.run(10)
        monkeypatch.setattr(ring, "make_room", interrupted)
        with pytest.raises(KeyboardInterrupt):
            deployment.engine.close()
    # As it is closed once more at exit.
    deployment.engine.close()
    assert deployment.order_store.flush(timeout_s=10)
    assert deployment.trade_store.flush(timeout_s=10)
    orders, trades = deployment.expected()
    assert deployment.orders.inner.get_all_array().tobytes() == orders
    assert deployment.trades.inner.get_recent_array(1 << 20).tobytes() == trades
    assert deployment.engine._feed.stats().counts["missed"] == 0


def test_nothing_comes_behind_events_that_were_lost_on_the_way(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = deployment.engine._feed

    class Tracker:
        def apply_changes(self, _: object) -> Never:
            monkeypatch.setattr(feed, "_tracker", tracker)
            raise MemoryError

    tracker = feed._tracker
    deployment.run(5)
    deployment.check()
    monkeypatch.setattr(deployment.engine._feed, "_most", 50)
    with feed._lock:
        deployment.run(10)
        monkeypatch.setattr(feed, "_tracker", Tracker())
        with pytest.raises(MemoryError):
            deployment.engine.close()
    deployment.stop()
    deployment.start()
    deployment.check()


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


EXITS = """
import sys
sys.path[:0] = [{tests!r}]
from journal_setup import rows
from side_by_side import NAMES, new_engine
from pyengine.journal import Journal
from pyengine.records import Records
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
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


def test_a_journal_that_cant_be_read_for_now_is_said_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.run(3)
    deployment.check()
    deployment.orders.gate.shut = True
    deployment.run(20)
    calls = []

    def records(*_: object, **__: object) -> Never:
        calls.append(1)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(JournalSource, "records", records)
    eventually(lambda: deployment.order_store.layers[0].is_behind)
    deployment.orders.gate.shut = False
    eventually(lambda: len(calls) > 1)
    deployment.order_store.close(0.5)
    assert len(calls) < 20
    assert sum("can't catch up" in each.message for each in caplog.records) == 1
