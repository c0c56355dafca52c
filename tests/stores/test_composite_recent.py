"""Recent trades of a composite: from the first layer that has enough of them, with no gap."""

from __future__ import annotations

import pytest
from stores.composite_setup import BTC, QUICK, ids, trade, trade_rows
from stores.gated import GatedTradeStore, eventually

from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryTradeStore
from pyengine.stores.composite import CompositeTradeStore

QUICK_LAYERS = {"cache": QUICK, "base": QUICK}


def trade_stack(memory: int = 10, cache: int = 100) -> tuple[CompositeTradeStore, GatedTradeStore, GatedTradeStore]:
    """Make a short memory over a longer one over a store that keeps everything."""
    middle, base = GatedTradeStore("cache", capacity=cache), GatedTradeStore("base")
    store = CompositeTradeStore(InMemoryTradeStore(memory), middle, base, options=QUICK_LAYERS)
    store.names.add_instrument(BTC)
    eventually(lambda: all(layer.greeted for layer in store.layers))
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
