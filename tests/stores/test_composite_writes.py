"""Writing to a composite: every layer gets everything, in order, once, and the caller is told what became of it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores.composite_setup import BTC, QUICK, ids, order, order_rows, trade, trade_rows
from stores.gated import GatedOrderStore, GatedTradeStore, OwnOrderStore, eventually

from pyengine import Engine, Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import Records
from pyengine.store_errors import StoreClosed, StoreFull, StoreRefused
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Names, Order
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.composite.cursor import Batch
from pyengine.stores.composite.ring import REMOVE, SAVE
from pyengine.stores.composite.writer import settle
from pyengine.stores.interfaces import OrderStore, TradeStore


def test_a_write_is_in_memory_at_once_and_in_each_layer_after_a_flush() -> None:
    one, two = GatedOrderStore("one"), GatedOrderStore("two")
    with CompositeOrderStore(InMemoryOrderStore(), one, two) as store:
        one.gate.hang()
        assert store.save(order(1)) is True
        assert store.get(1) == order(1)
        eventually(lambda: two.inner.get(1) == order(1))
        assert not store.flush(timeout_s=0.05)
        one.gate.go_on()
        assert store.flush().done == ("memory", "one", "two")
        assert one.inner.get(1) == order(1)
    assert (one.closed, two.closed) == (1, 1)


def test_composites_are_stores() -> None:
    orders, trades = CompositeOrderStore(InMemoryOrderStore()), CompositeTradeStore(InMemoryTradeStore())
    assert isinstance(orders, OrderStore)
    assert isinstance(trades, TradeStore)
    nested = CompositeOrderStore(InMemoryOrderStore(), CompositeOrderStore(InMemoryOrderStore(), own=False))
    nested.save(order(1))
    assert nested.flush().done == ("memory", "composite")


def test_stores_that_are_not_the_composites_own_stay_open() -> None:
    memory, below = InMemoryOrderStore(), GatedOrderStore()
    CompositeOrderStore(memory, below, own=False).close()
    assert (memory.closed, below.closed) == (False, 0)


def test_a_store_of_somebody_else_without_numbers_gets_objects() -> None:
    own = OwnOrderStore()
    with CompositeOrderStore(InMemoryOrderStore(), own) as store:
        store.save_batch([order(2), order(1), order(3)])
        store.remove(3)
        assert store.flush()
        assert own.get_all() == [order(1), order(2)]


class OwnMemory(OwnOrderStore):
    """A store of somebody's own that is in memory, with numbers of its own."""

    in_memory = True
    name = "own"

    def __init__(self) -> None:
        super().__init__()
        self.names = Names([Instrument("ETH-USD")], ["zoe"])


def test_memory_may_be_somebody_elses_and_an_engine_may_use_it() -> None:
    memory, below = OwnMemory(), GatedOrderStore()
    with CompositeOrderStore(memory, below) as store:
        assert store.save(order(1))
        assert memory.get_all() == [order(1)]
    memory = OwnMemory()
    with CompositeOrderStore(memory, below) as store, Engine([BTC], order_store=store) as engine:
        engine.submit("BTC-USD", "buy", qty=2, price="100.5", user="alice", order_id=7)
        assert engine.flush_stores().done == ("own", "gated")
        assert [(each.symbol, each.user) for each in memory.get_all()] == [("BTC-USD", "alice")]


def test_layers_have_numbers_of_their_own() -> None:
    below = GatedOrderStore()
    for name in ("zoe", "yan"):
        below.names.add_user(name)
    below.names.add_instrument(Instrument("ETH-USD"))
    with CompositeOrderStore(InMemoryOrderStore(), below) as store:
        store.save(order(1))
        store.save(order(2, user="yan", instrument=Instrument("ETH-USD"), price=5))
        assert store.flush()
        assert below.inner.get_all() == store.get_all()
        assert below.inner.get(1).user_index == 3
        assert store.names.users == [None, "alice", "yan"], "what layers read changes no number here"


def test_an_instrument_that_a_layer_knows_otherwise_is_refused_there_and_nothing_else() -> None:
    below = GatedOrderStore()
    below.names.add_instrument(Instrument("BTC-USD", "0.5"))
    with CompositeOrderStore(InMemoryOrderStore(), below) as store:
        eth = Instrument("ETH-USD")
        store.save_batch([order(1), order(2, instrument=eth, price=5), order(3)])
        receipt = store.save(order(4), wait="all")
        assert (bool(receipt), receipt.durable, list(receipt.refused)) == (True, ("memory",), ["gated"])
        assert "known as BTC-USD" in str(receipt.refused["gated"])
        assert ids(below.inner.get_all()) == [2]
        assert store.flush().late == ("gated",)
        assert store.stats().layers[1].counts["refused"] == 3


def test_receipts_say_how_far_a_write_got() -> None:
    one, two = GatedOrderStore("one"), GatedOrderStore("two")
    with CompositeOrderStore(InMemoryOrderStore(), one, two, wait_s=0.2) as store:
        first = store.save(order(1), wait="all")
        assert (first.stored, first.first, first.position) == (1, 1, 1)
        assert first.durable == ("memory", "one", "two")
        two.gate.hang()
        second = store.write_batch([order(2), order(3)], wait=["one"])
        assert (second.first, second.position, second.durable, second.pending) == (2, 3, ("memory", "one"), ("two",))
        third = store.save(order(4), wait="two", timeout_s=0.05)
        assert third
        assert "two" in third.pending
        two.gate.go_on()
        assert store.flush()
        assert store.save(order(5), wait="memory").durable[0] == "memory"


def test_a_stale_write_is_not_accepted() -> None:
    below = GatedOrderStore()
    with CompositeOrderStore(InMemoryOrderStore(), below) as store:
        assert store.save(order(1, version=5))
        assert store.save(order(1, version=4)) is False
        assert not store.save(order(1, version=4), wait="all")
        assert store.save_batch([order(1, version=3), order(2)]) == 1
        assert store.flush()
        assert below.inner.get(1).version == 5


def test_the_composite_may_wait_by_itself() -> None:
    below = GatedOrderStore()
    below.gate.delay_s = 0.05
    with CompositeOrderStore(InMemoryOrderStore(), below, wait="all") as store:
        assert store.save(order(1)) is True
        assert below.inner.get(1) == order(1)
        assert store.save_batch([order(2)]) == 1
        assert ids(below.inner.get_all()) == [1, 2]


def test_a_wait_for_nobody_is_an_error() -> None:
    with (
        CompositeOrderStore(InMemoryOrderStore(), GatedOrderStore("one")) as store,
        pytest.raises(FieldError, match=r"wait must be 'memory', 'all', or names of layers: memory, one, was \['two'\]"),
    ):
        store.save(order(1), wait=["two"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when_full": "drop"}, "when_full must be 'wait' or 'refuse'"),
        ({"ring_capacity": 1000}, "ring_capacity must be a power of two"),
        ({"options": {"reddis": LayerOptions()}}, "options must be by the names of layers: gated, memory"),
        ({"names": Names()}, "names must be those of the InMemoryOrderStore"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        CompositeOrderStore(InMemoryOrderStore(), GatedOrderStore(), **options)


def test_what_is_no_store_is_refused_at_once() -> None:
    with pytest.raises(FieldTypeError, match=r"stores\[1\] must be an OrderStore"):
        CompositeOrderStore(InMemoryOrderStore(), InMemoryTradeStore())
    with pytest.raises(FieldError, match="at least one"):
        CompositeTradeStore()


@pytest.mark.parametrize("with_memory", [True, False])
def test_a_record_that_cannot_be_changes_nothing_anywhere(with_memory: bool) -> None:
    below = GatedOrderStore()
    with CompositeOrderStore(*([InMemoryOrderStore()] if with_memory else []), below) as store:
        store.save(order(1))
        wrong = order_rows(5, 3)
        wrong["status"][2] = 9
        with pytest.raises(FieldError, match=r"orders\[2\]\.status"):
            store.save_batch(wrong)
        nobody = order_rows(5, 3)
        nobody["user"][1] = 7
        with pytest.raises(FieldError, match=r"orders\[1\]\.user must be a name that the store knows, was 7"):
            store.save_batch(nobody)
        with pytest.raises(FieldTypeError):
            store.save("order")
        with pytest.raises(FieldError):
            store.remove(-1)
        assert store.flush()
        assert ids(store.get_all()) == ids(below.inner.get_all()) == [1]


def test_refused_records_are_found_one_by_one_and_the_others_stored() -> None:
    below = GatedOrderStore()
    below.gate.refused = {3, 500, 501, 1000}
    with CompositeOrderStore(InMemoryOrderStore(), below) as store:
        store.names.add_user("alice")
        store.names.add_instrument(BTC)
        receipt = store.write_batch(order_rows(1, 1000), wait="all")
        assert isinstance(receipt.refused["gated"], StoreRefused)
        assert sorted(below.gate.refused.union(ids(below.inner.get_all()))) == list(range(1, 1001))
        layer = store.stats().layers[1]
        assert (layer.counts["refused"], layer.counts["written"]) == (4, 996)
        assert sorted(store.layers[0].refused) == [3, 500, 501, 1000], "by position"
        assert store.flush().late == ("gated",)
        assert len(below.gate.calls) < 100


def test_writes_larger_than_the_ring_go_in_pieces() -> None:
    below = GatedTradeStore()
    with CompositeTradeStore(InMemoryTradeStore(5000), below, ring_capacity=64) as store:
        store.names.add_instrument(BTC)
        assert store.save_batch(trade_rows(1, 1000)) == 1000
        assert store.flush()
        assert ids(below.inner.get_recent(2000)) == list(range(1000, 0, -1))


def test_a_full_ring_is_refused_at_once_or_waited_for() -> None:
    below = GatedOrderStore("slow")
    below.gate.hang()
    memory = InMemoryOrderStore()
    calm = {"slow": LayerOptions(stall_s=60, batch=1)}
    with CompositeOrderStore(memory, below, ring_capacity=4, when_full="refuse", options=calm) as store:
        store.save_batch(map(order, range(1, 5)))
        eventually(lambda: below.gate.waiting)
        with pytest.raises(StoreFull, match="the ring must have room for 4 records within 0 s, was full: slow must catch up"):
            store.save_batch(map(order, range(5, 9)))
        assert ids(memory.get_all()) == [1, 2, 3, 4], "refused means nothing was stored"
        assert store.stats().counts["full"] == 1
        below.gate.go_on()
        assert store.flush()
        assert store.save_batch(map(order, range(5, 9))) == 4
        assert store.flush()
        assert len(below.inner) == 8


def test_a_write_waits_for_a_slow_layer() -> None:
    below = GatedOrderStore("slow")
    below.gate.delay_s = 0.05
    with CompositeOrderStore(InMemoryOrderStore(), below, ring_capacity=4, full_wait_s=20, options={"slow": QUICK}) as store:
        start = time.monotonic()
        for i in range(1, 31):
            store.save(order(i))
        assert time.monotonic() - start > 0.2
        assert store.flush()
        assert ids(below.inner.get_all()) == list(range(1, 31))
        assert store.stats().layers[1].counts["missed"] == 0


def test_a_piece_that_finds_no_room_says_how_many_were_taken() -> None:
    below = GatedTradeStore("slow")
    below.gate.hang()
    calm = {"slow": LayerOptions(stall_s=60, batch=1)}
    with CompositeTradeStore(InMemoryTradeStore(), below, ring_capacity=8, when_full="refuse", options=calm) as store:
        with pytest.raises(StoreFull, match="after rows 0 to 7 were taken; writing all again is safe"):
            store.save_batch(map(trade, range(1, 21)))
        assert len(store.get_recent(20)) == 8
        below.gate.go_on()


def test_removals_and_saves_keep_their_order() -> None:
    below = GatedOrderStore()
    with CompositeOrderStore(InMemoryOrderStore(), below) as store:
        below.gate.hang()
        store.save(order(1, version=9))
        store.save(order(2))
        assert store.remove(1)
        store.save(order(1, version=3))
        assert store.remove(2)
        assert not store.remove(2)
        store.save(order(3))
        below.gate.go_on()
        assert store.flush()
        assert below.inner.get_all() == store.get_all() == [order(1, version=3), order(3)]


OPERATIONS = st.lists(st.tuples(st.sampled_from("ssssr"), st.integers(1, 5), st.integers(0, 4)), max_size=60)


@settings(max_examples=200)
@given(OPERATIONS, st.integers(1, 9))
def test_a_settled_batch_comes_to_the_same_as_one_by_one(operations: list[tuple[str, int, int]], first: int) -> None:
    expected, found = InMemoryOrderStore(), InMemoryOrderStore()
    for store in (expected, found):
        store.save(Order(3, "buy", qty_lots=1, version=2))
    rows = np.concatenate([order_rows(9, 0), *(order_rows(order_id, 1, version) for _, order_id, version in operations)])
    rows["client_id"] = np.arange(len(rows))
    for i, (operation, order_id, _) in enumerate(operations):
        if operation == "r":
            expected.remove(order_id)
        else:
            expected.save_batch(rows[i : i + 1])
    ops = np.array([REMOVE if operation == "r" else SAVE for operation, _, _ in operations], np.uint8)
    removed, saved, positions = settle(Batch(first, rows, ops))
    found.remove_batch(removed["order_id"])
    found.save_batch(saved)
    assert found.get_all_array().tolist() == expected.get_all_array().tolist()
    assert len(set(saved["order_id"].tolist())) == len(saved)
    assert rows[positions - first].tolist() == saved.tolist()


def test_layers_get_what_memory_has_whoever_wrote_at_the_same_time() -> None:
    below = [GatedOrderStore(f"layer {i}") for i in range(2)]
    with CompositeOrderStore(InMemoryOrderStore(), *below, ring_capacity=256, full_wait_s=60) as store:

        def write(number: int) -> None:
            rng = np.random.default_rng(number)
            for turn in range(150):
                order_id = int(rng.integers(1, 20))
                if rng.random() < 0.2:
                    store.remove(order_id)
                else:
                    # Nobody counts versions, so the last one counts, and memory and layers must agree which that was.
                    store.save(order(order_id, client_id=number * 1000 + turn))

        threads = [threading.Thread(target=write, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.flush(timeout_s=30)
        assert below[0].inner.get_all() == below[1].inner.get_all() == store.get_all()


def test_after_close_everything_says_so() -> None:
    store = CompositeOrderStore(InMemoryOrderStore(), GatedOrderStore())
    store.save(order(1))
    store.close()
    store.close()
    calls = (store.get_all, lambda: store.save(order(2)), lambda: store.get(7), store.flush, lambda: store.remove(1))
    for call in calls:
        with pytest.raises(StoreClosed):
            call()


def test_a_store_that_has_to_put_itself_in_order_is_asked_to_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyengine.stores.composite.writer._IDLE_S", 0.02)
    swept: list[int] = []

    class Sweeping(OwnOrderStore):
        def sweep(self) -> None:
            swept.append(1)
            raise OSError("away")

    with CompositeOrderStore(InMemoryOrderStore(), Sweeping()) as store:
        eventually(lambda: len(swept) >= 2)
        store.save(order(1))
        assert store.flush()


def test_an_order_on_its_way_out_is_not_found_further_down() -> None:
    base = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(), base, sole_writer=False) as store, ThreadPoolExecutor(2) as threads:
        store.save(order(1))
        assert store.flush()
        out_of_memory, go_on = threading.Event(), threading.Event()
        remove = store._remove_from_memory

        def slowly(rows: Records) -> int:
            found = remove(rows)
            out_of_memory.set()
            go_on.wait(5)
            return found

        store._remove_from_memory = slowly
        first = threads.submit(store.remove, 1)
        assert out_of_memory.wait(5)
        second = threads.submit(store.remove, 1)
        time.sleep(0.1)
        go_on.set()
        assert (first.result(), second.result()) == (True, False)
