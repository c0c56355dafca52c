"""Layers behind an engine with a journal: whatever happens to them, in the end they have what the journal has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.following import Deployment, marks_are_dense
from stores.gated import GatedOrderStore, GatedTradeStore, MarkedOrderStore, NumberedTradeStore, eventually

from pyengine.journal import History, prune, write_snapshot
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.composite.sequence import Sequence
from pyengine.stores.interfaces import Mark

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "journal")
    yield made
    made.stop()


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
    assert layer.place.watermark == 0
    assert layer.mark_to(0) is None
    assert layer.mark_to(None) is None
    assert layer.mark_to(1) == Mark(deployment.journal.identity, 0, 1)


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


@pytest.mark.parametrize("wrong", ["17", 2.5, -1, True])
def test_a_watermark_that_is_no_event_stops_the_layer(deployment: Deployment, wrong: object) -> None:
    deployment.run(5)
    deployment.check()
    deployment.stop()
    deployment.orders.marks[deployment.journal.identity] = wrong
    deployment.start()
    eventually(lambda: deployment.order_store.layers[0].stopped is not None)
    assert f"must be the number of an event, or None, was {wrong!r}" in str(deployment.order_store.layers[0].stopped)
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


def test_a_cache_that_doesnt_know_how_far_it_is_keeps_nothing_that_may_have_changed(deployment: Deployment) -> None:
    deployment.stop()
    deployment.orders = MarkedOrderStore("redis", is_cache=True)
    deployment.start()
    deployment.run(30)
    assert deployment.order_store.flush(timeout_s=10)
    deployment.orders.gate.shut = True
    deployment.run(60)
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1)
    deployment.stop()
    # As if they had been written before there were watermarks.
    deployment.orders.marks.clear()
    deployment.orders.gate.shut = False
    deployment.start()
    deployment.run(5)
    assert deployment.order_store.flush(timeout_s=10)
    found = {each.order_id: each for each in deployment.orders.inner.get_all()}
    memory = deployment.order_store._memory
    assert len(memory.get_by_side("buy")) > 0
    assert all(memory.get(order_id) == order for order_id, order in found.items())


@pytest.mark.parametrize("turns", [0, 20])
def test_a_store_that_knows_its_last_trade_needs_none_in_the_journal(tmp_path: Path, turns: int) -> None:
    deployment = Deployment(tmp_path, trades=NumberedTradeStore(), segment_bytes=4096)
    deployment.run(turns)
    book = deployment.engine.instruments[0]
    for _ in range(400):
        made = deployment.engine.submit(book.symbol, "buy", qty=book.lot_size, price=book.tick_size, user=1)
        deployment.engine.cancel(made.order_id)
    deployment.check()
    write_snapshot(deployment.path)
    prune(deployment.path, keep_snapshots=1)
    history = History(deployment.path)
    [(left, _)] = history.trades(history.trades_from)
    assert len(left) == 0
    trades = deployment.trades.inner
    before = trades.get_recent_array(1 << 20)[::-1].copy()
    deployment.stop()
    deployment.start()
    deployment.run(5)
    assert deployment.engine.flush_stores(5)
    assert deployment.trade_store.layers[0].stopped is None
    assert [each.trade_id for each in trades.get_recent(1 << 20)][::-1] == list(range(1, deployment.engine.next_trade_id))
    # Of the last one before that nothing shows that it isn't missing.
    deployment.stop()
    if turns:
        assert history.seq_of_trade(int(before["trade_id"][-1]) + 1000) is None
        trades.clear()
        trades.save_batch(before[:-1])
        deployment.start()
        eventually(lambda: deployment.trade_store.layers[0].stopped is not None)
        assert "pruned" in str(deployment.trade_store.layers[0].stopped)


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
