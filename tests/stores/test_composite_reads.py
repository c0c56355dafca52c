"""Reading from a composite: the first layer that can answer does, within its deadline, and lists say whether they are whole."""

from __future__ import annotations

import time

import pytest
from stores.composite_setup import BTC, QUICK, ids, order, order_rows, trade, trade_rows
from stores.gated import GatedOrderStore, GatedTradeStore, eventually

from pyengine import Instrument
from pyengine.errors import FieldError
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Order
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions

QUICK_LAYERS = {"cache": QUICK, "base": QUICK}


def stack(*there: Order, **options: object) -> tuple[CompositeOrderStore, GatedOrderStore, GatedOrderStore]:
    """Make memory over a cache over a store that keeps everything and has some orders already."""
    cache, base = GatedOrderStore("cache", is_cache=True), GatedOrderStore("base")
    base.inner.save_batch(there)
    store = CompositeOrderStore(InMemoryOrderStore(), cache, base, **{"options": QUICK_LAYERS, **options})
    connected(store)
    return store, cache, base


def reads(store: GatedOrderStore | GatedTradeStore) -> list[str]:
    """List the reads that came through, but for the first greeting."""
    return [method for method, _ in store.gate.calls if method.startswith(("get", "complete"))]


def connected(store: CompositeOrderStore | CompositeTradeStore) -> None:
    """Wait until all layers were reached once."""
    eventually(lambda: all(layer.greeted for layer in store.layers))


def test_memory_over_empty_stores_answers_for_all_of_them() -> None:
    store, cache, base = stack()
    with store:
        store.save(order(1))
        assert store.get(1) == order(1)
        assert store.get(2) is None
        for found in (store.get_all(), store.get_by_user("alice"), store.get_by_side("buy")):
            assert (ids(found), found.layer, found.complete) == ([1], "memory", True)
        assert reads(cache) == reads(base) == []
        assert store.complete


def test_memory_does_not_answer_for_what_was_there_before() -> None:
    store, _, _ = stack(order(1), order(2, status="cancelled"))
    with store:
        store.save(order(3))
        assert store.get(1) == order(1)
        assert store.get(4) is None
        found = store.get_all()
        assert (ids(found), found.layer, found.complete) == ([1, 2, 3], "base", True)
        assert ids(store.get_by_side("buy")) == [1, 3]


def test_answers_are_put_back_above() -> None:
    store, cache, base = stack(order(1), order(2))
    with store:
        assert store.get(1) == order(1)
        eventually(lambda: cache.inner.get(1) == order(1))
        assert reads(cache) == reads(base) == ["get"]
        assert store.get(1) == order(1)
        assert reads(cache) == ["get"], "memory has it now"
        layers = {layer.name: layer.counts for layer in store.stats().layers}
        assert (layers["cache"]["misses"], layers["base"]["hits"]) == (1, 1)
        eventually(lambda: store.stats().layers[1].counts["backfills"] == 1)


def test_beside_other_writers_only_finished_orders_stay_in_memory() -> None:
    store, cache, base = stack(order(1), order(2, status="cancelled"), sole_writer=False)
    with store:
        assert [store.get(1), store.get(2)] == [order(1), order(2, status="cancelled")]
        eventually(lambda: len(cache.inner) == 2)
        base.inner.save(order(1, version=1))
        cache.inner.save(order(1, version=1))
        assert store.get(1).version == 1
        assert reads(base) == ["get", "get"], "the cache answers now"
        assert store.get(9) is None
        assert store.get_all().layer == "base", "somebody may have written what memory doesn't know"


def test_an_order_found_below_does_not_come_back_after_its_removal() -> None:
    store, cache, base = stack(order(1))
    with store:
        cache.gate.hang()
        base.gate.delay_s = 0.02
        found = store.get(1)
        assert found == order(1)
        assert store.remove(1)
        cache.gate.go_on()
        assert store.flush()
        time.sleep(0.05)
        assert store.get(1) is None
        assert (cache.inner.get(1), base.inner.get(1)) == (None, None)


def test_a_read_falls_through_a_layer_that_hangs_within_its_deadline() -> None:
    store, cache, _ = stack(*map(order, range(1, 20)))
    with store:
        cache.gate.hang()
        for order_id in range(1, 4):
            start = time.monotonic()
            assert store.get(order_id) == order(order_id)
            assert 0.04 < time.monotonic() - start < 1
        assert store.layers[0].breaker.state != "closed"
        start = time.monotonic()
        for order_id in range(4, 20):
            assert store.get(order_id) == order(order_id)
        assert time.monotonic() - start < 0.5, "nobody asks it any more, but a probe now and then"
        assert store.stats().layers[1].counts["skipped"] >= 10
        cache.gate.go_on()
        eventually(lambda: store.layers[0].breaker.closed)


def test_not_found_and_unavailable_are_different_things() -> None:
    store, cache, base = stack(order(1))
    with store:
        base.gate.shut = True
        with pytest.raises(StoreUnavailable, match=r"no layer can answer: .*the gate is shut"):
            store.get(2)
        found = store.get_all()
        assert (found, found.complete) == ([], False)
        with pytest.raises(StoreUnavailable):
            store.update(order(2))
        assert store.remove(2) is False
        store.save(order(2))
        assert store.get(2) == order(2), "what memory has it answers for"
        cache.gate.shut = True
        with pytest.raises(StoreUnavailable):
            store.get(1)


def test_without_memory_an_answer_waits_for_what_was_written_before() -> None:
    cache, base = GatedOrderStore("cache", is_cache=True), GatedOrderStore("base")
    with CompositeOrderStore(cache, base) as store:
        connected(store)
        cache.gate.delay_s = base.gate.delay_s = 0.02
        for i in range(1, 11):
            store.save(order(i))
            assert store.get(i) == order(i)
            assert ids(store.get_all()) == list(range(1, i + 1))
        assert store.get_all().layer == "base"
        store.remove(3)
        assert store.get(3) is None
        assert 3 not in ids(store.get_by_user("alice"))


def test_a_read_passes_over_a_layer_that_is_behind() -> None:
    cache, base = GatedOrderStore("cache", is_cache=True), GatedOrderStore("base")
    with CompositeOrderStore(cache, base, options=QUICK_LAYERS) as store:
        connected(store)
        store.save(order(1))
        assert store.flush()
        cache.gate.hang()
        store.save(order(1, version=7))
        eventually(lambda: base.inner.get(1).version == 7)
        start = time.monotonic()
        assert store.get(1).version == 7
        assert time.monotonic() - start < 1
        cache.gate.go_on()


def test_only_pending_writes_of_the_same_order_are_waited_for() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(base, options={"base": LayerOptions(linger_s=0.5)}) as store:
        store.save(order(1))
        assert store.flush()
        store.save(order(2))
        start = time.monotonic()
        assert store.get(1) == order(1)
        assert time.monotonic() - start < 0.4
        assert store.get(2) == order(2)


def test_a_layer_that_missed_something_answers_only_when_nobody_else_can() -> None:
    cache, base = GatedOrderStore("cache"), GatedOrderStore("base")
    with CompositeOrderStore(cache, base, ring_capacity=4, options=QUICK_LAYERS) as store:
        store.save_batch([order(1), order(7)])
        assert store.flush()
        cache.gate.shut = True
        for i in (2, 3, 4, 5, 6, 1, 7, 8, 9, 10, 11):
            store.save(order(i, version=1))
            eventually(lambda: not store.layers[0].cursor.holds or store._ring.head < 4)
        assert store.flush(["base"])
        cache.gate.shut = False
        eventually(lambda: store.layers[0].breaker.closed and store.layers[0].cursor.done == store._ring.head)
        assert cache.inner.get(1).version == 0
        assert store.get(1).version == 1, "the next layer knows better"
        base.gate.shut = True
        assert store.get(7) == order(7), "better than nothing"
        with pytest.raises(StoreUnavailable):
            store.get(6)
        found = store.get_all()
        assert (found.layer, found.complete) == ("cache", False)
        base.gate.shut = False
        eventually(lambda: store.layers[1].breaker.closed)
        found = store.get_all()
        assert (ids(found), found.layer, found.complete) == (list(range(1, 12)), "base", True)
        assert not store.flush()


def test_a_cache_forgets_what_it_missed_something_of() -> None:
    cache, base = GatedOrderStore("cache", is_cache=True), GatedOrderStore("base")
    with CompositeOrderStore(cache, base, ring_capacity=4, options=QUICK_LAYERS) as store:
        store.save_batch([order(1), order(2)])
        assert store.flush()
        cache.gate.shut = True
        for i in range(3, 10):
            store.save(order(i))
        store.save(order(1, version=1))
        for i in range(10, 20):
            store.save(order(i))
            time.sleep(0.01)
        assert store.flush(["base"])
        cache.gate.shut = False
        eventually(lambda: store.layers[0].is_whole and store.layers[0].cursor.done == store._ring.head)
        assert cache.inner.get(1) is None, "rather nothing than something old"
        assert cache.inner.get(2) == order(2)
        before = len(reads(base))
        assert store.get(2) == order(2)
        assert len(reads(base)) == before
        assert store.get(1).version == 1
        eventually(lambda: cache.inner.get(1) is not None)
        assert cache.inner.get(1).version == 1
        missed = store.stats().layers[0]
        assert missed.counts["missed"] == sum(last - first + 1 for first, last in missed.missed) > 0


def test_a_damaged_value_in_a_cache_is_told_and_passed_over() -> None:
    store, cache, base = stack(order(1), order(2))
    with store:
        cache.inner.save_batch([order(1), order(2)])
        cache.gate.damaged = {1}
        assert store.get(1) == order(1)
        assert store.stats().layers[1].counts["errors"] == 1
        cache.gate.damaged = base.gate.damaged = {2}
        with pytest.raises(StoreDamaged, match="row 2: price"):
            store.get(2)
        assert store.layers[1].breaker.closed, "it does answer"


def test_a_question_that_cannot_be_is_the_callers_fault() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(base) as store:
        with pytest.raises(FieldError):
            store.get_by_side("middle")
        assert store.stats().layers[0].counts["errors"] == 0


def test_sides_come_in_one_order_whichever_layer_answers() -> None:
    eth = Instrument("ETH-USD")
    base = GatedOrderStore("base")
    base.inner.save_batch([order(1), order(2, instrument=eth, price=7)])
    memory = InMemoryOrderStore()
    memory.names.add_instrument(eth)
    with CompositeOrderStore(memory, base) as store:
        connected(store)
        assert ids(base.get_by_side("buy")) == [1, 2]
        assert ids(store.get_by_side("buy")) == [2, 1], "as this composite numbers instruments"
        assert ids(store.get_by_side("buy", 0)) == [2]


def test_memory_that_cuts_finished_orders_answers_for_open_ones_only() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(keep_finished=1), base) as store:
        connected(store)
        store.save_batch([order(1, status="cancelled"), order(2, status="cancelled"), order(3)])
        assert store.get_by_side("buy").layer == "memory"
        assert (store.get_all().layer, ids(store.get_all())) == ("base", [1, 2, 3])
        assert store.get(1) == order(1, status="cancelled")


def test_orders_may_be_forgotten_in_memory_only() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(), base) as store:
        connected(store)
        store.save_batch([order(1, status="cancelled"), order(2)])
        assert store.remove_finished(keep=0) == 1
        assert store.get(1) == order(1, status="cancelled")
        assert ids(store.get_by_user("alice")) == [1, 2]


def test_memory_can_be_filled_to_answer_for_the_layers() -> None:
    store, _, base = stack(order(1), order(2), order(3))
    with store:
        store.save(order(2, version=4))
        store.save(order(5))
        assert store.load() == 2
        base.gate.shut = True
        assert store.get(9) is None
        found = store.get_all()
        assert (ids(found), found.layer) == ([1, 2, 3, 5], "memory")
        assert store.get(2).version == 4


# --- trades -----------------------------------------------------------------------------------------------------------


def trade_stack(memory: int = 10, cache: int = 100) -> tuple[CompositeTradeStore, GatedTradeStore, GatedTradeStore]:
    """Make a short memory over a longer one over a store that keeps everything."""
    middle, base = GatedTradeStore("cache", capacity=cache), GatedTradeStore("base")
    store = CompositeTradeStore(InMemoryTradeStore(memory), middle, base, options=QUICK_LAYERS)
    store.names.add_instrument(BTC)
    connected(store)
    return store, middle, base


@pytest.mark.parametrize(
    ("limit", "layer"), [(0, "memory"), (10, "memory"), (11, "cache"), (100, "cache"), (101, "base"), (900, "base")]
)
def test_trades_come_from_the_first_layer_that_has_enough(limit: int, layer: str) -> None:
    store, _, _ = trade_stack()
    with store:
        store.save_batch(trade_rows(1, 500))
        found = store.get_recent(limit)
        assert (found.layer, found.complete) == (layer, True)
        assert ids(found) == list(range(500, max(500 - limit, 0), -1))


def test_trades_that_came_from_below_are_kept_above() -> None:
    store, cache, base = trade_stack(memory=50)
    with store:
        base.inner.save_batch(map(trade, range(1, 61)))
        assert store.get_recent(40).layer == "base"
        assert store.get_recent(40).layer == "memory"
        eventually(lambda: len(cache.inner) == 40)


def test_a_gap_is_never_taken_for_the_whole() -> None:
    store, cache, _ = trade_stack()
    with store:
        store.save_batch(trade_rows(1, 50))
        assert store.flush()
        cache.inner.clear()
        cache.inner.save_batch([trade(i) for i in range(20, 51) if i != 33])
        assert store.get_recent(17).layer == "cache"
        assert store.get_recent(18).layer == "base"
        eventually(lambda: len(cache.inner) == 31)
        assert store.get_recent(18).layer == "cache", "the gap was filled"


def test_a_cache_that_went_back_in_time_does_not_answer() -> None:
    store, cache, base = trade_stack()
    with store:
        store.save_batch(trade_rows(1, 50))
        assert store.flush()
        cache.inner.clear()
        cache.inner.save_batch(map(trade, range(1, 41)))
        base.gate.shut = True
        found = store.get_recent(20)
        assert (found.layer, found.complete) == ("cache", False)
        base.gate.shut = False
        eventually(lambda: store.get_recent(20).layer == "base")


def test_an_outage_of_all_layers_leaves_what_memory_has() -> None:
    store, cache, base = trade_stack()
    with store:
        store.save_batch(trade_rows(1, 50))
        assert store.flush()
        cache.gate.shut = base.gate.shut = True
        found = store.get_recent(20)
        assert (ids(found), found.layer, found.complete) == (list(range(50, 40, -1)), "memory", False)
    with CompositeTradeStore(base, options={"base": QUICK}) as alone, pytest.raises(StoreUnavailable):
        alone.get_recent(5)


def test_ids_that_are_not_dense_are_answered_for_by_who_says_so() -> None:
    base = GatedTradeStore("base")
    with CompositeTradeStore(InMemoryTradeStore(10), base) as store:
        store.save_batch([trade(i) for i in (5, 10, 15)])
        assert not store.get_recent(5).complete, "an InMemoryTradeStore below can't know"
    with CompositeTradeStore(InMemoryTradeStore(10)) as alone:
        alone.save_batch([trade(i) for i in (1, 2, 3)])
        assert alone.get_recent(5).complete


def test_numbers_in_arrays_are_those_of_the_composite() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(base) as store:
        store.names.add_user("alice")
        store.names.add_instrument(BTC)
        assert store.save_batch(order_rows(1, 3)) == 3
        assert store.get(1) == Order(1, "buy", user="alice", instrument=BTC, price_ticks=10_050, qty_lots=5)
