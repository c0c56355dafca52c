"""Reading from a composite: the first layer that can answer does, within its deadline, and lists say whether they are whole."""

from __future__ import annotations

import time

import pytest
from stores.composite_setup import BTC, QUICK, ids, order, order_rows
from stores.gated import GatedOrderStore, GatedTradeStore, eventually

from pyengine import Instrument
from pyengine.errors import FieldError
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores import InMemoryOrderStore, Order
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.composite.reads import ask

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


def test_a_removal_while_an_order_is_on_its_way_up_counts() -> None:
    store, cache, base = stack(order(1))
    with store:
        late = store._find(1, store._ring.head)
        reply = None
        for layer in (cache, base):
            asked = late.send(reply)
            assert asked.layer.store is layer
            reply = ask(asked)
        assert store.remove(1)
        with pytest.raises(StopIteration):
            late.send(reply)
        assert store._memory.get(1) is None
        assert store.flush()
        eventually(lambda: not store.layers[0].backfills)
        assert cache.inner.get(1) is None


def test_a_removal_that_a_layer_has_yet_to_get_comes_before_what_was_found() -> None:
    store, cache, _ = stack(order(1, version=1))
    with store:
        cache.gate.hang("save_batch")
        store.save(order(50))
        eventually(lambda: cache.gate.waiting)
        assert store.get(1).version == 1
        assert store.remove(1)
        cache.gate.go_on()
        assert store.flush()
        eventually(lambda: not store.layers[0].backfills)
        time.sleep(0.02)
        assert cache.inner.get(1) is None


def test_a_read_falls_through_a_layer_that_hangs_within_its_deadline() -> None:
    store, cache, _ = stack(*map(order, range(1, 20)))
    with store:
        cache.gate.hang()
        for order_id in range(1, 4):
            start = time.monotonic()
            assert store.get(order_id) == order(order_id)
            assert 0.04 < time.monotonic() - start < 4
        assert store.layers[0].breaker.state != "closed"
        start = time.monotonic()
        for order_id in range(4, 20):
            assert store.get(order_id) == order(order_id)
        assert time.monotonic() - start < 4, "nobody asks it any more, but a probe now and then"
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
        cache.gate.hang("save_batch")
        store.save(order(1, version=7))
        eventually(lambda: base.inner.get(1).version == 7)
        start = time.monotonic()
        assert store.get(1).version == 7, "the cache would answer, with what was"
        assert time.monotonic() - start < 4
        assert store.stats().layers[0].counts["skipped"] == 1
        cache.gate.go_on()


def test_only_pending_writes_of_the_same_order_are_waited_for() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(base, options={"base": LayerOptions(read_deadline_s=0.3)}) as store:
        store.save(order(1))
        assert store.flush()
        base.gate.hang("save_batch")
        store.save(order(2))
        assert store.get(1) == order(1)
        with pytest.raises(StoreUnavailable, match="base is behind"):
            store.get(2)
        base.gate.go_on()
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


def test_numbers_in_arrays_are_those_of_the_composite() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(base) as store:
        store.names.add_user("alice")
        store.names.add_instrument(BTC)
        assert store.save_batch(order_rows(1, 3)) == 3
        assert store.get(1) == Order(1, "buy", user="alice", instrument=BTC, price_ticks=10_050, qty_lots=5)
