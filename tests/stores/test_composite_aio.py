"""Composites on event loops: the same answers, and no layer keeps the loop from others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from stores.composite_setup import BTC, QUICK, ids, order, trade, trade_rows
from stores.gated import GatedOrderStore, GatedTradeStore, eventually

from pyengine import Engine
from pyengine.errors import FieldError
from pyengine.store_errors import StoreFull, StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions


class NativeOrderStore(GatedOrderStore):
    """A gated store with coroutines of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.awaited: list[str] = []
        self.silent = False

    @property
    def aio(self) -> Any:
        return _Native(self)


class _Native:
    def __init__(self, store: NativeOrderStore) -> None:
        self._store = store

    async def get(self, order_id: int) -> Any:
        self._store.awaited.append("get")
        if self._store.silent:
            await asyncio.Event().wait()
        return self._store.inner.get(order_id)


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Measure how long the loop is kept from anything else at most."""
    gaps: list[float] = [0.0]

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - start)

    task = asyncio.create_task(tick())
    try:
        yield gaps
    finally:
        task.cancel()


def run(work: Awaitable[None]) -> None:
    """Run a test on a loop of its own."""

    async def bounded() -> None:
        await asyncio.wait_for(work, 60)

    asyncio.run(bounded())


def test_coroutines_give_the_answers_of_the_methods() -> None:
    async def work() -> None:
        assert await store.aio.save(order(1)) is True
        assert await store.aio.save_batch([order(2), order(3)]) == 2
        assert (await store.aio.save(order(4), wait="all")).durable == ("memory", "base")
        assert (await store.aio.write_batch([order(5)], wait=["base"])).position == 5
        assert await store.aio.update(order(5, version=1))
        assert not await store.aio.update(order(6))
        assert await store.aio.remove(5)
        assert await store.aio.remove_batch([4, 9]) == 1
        assert await store.aio.get(1) == order(1)
        assert await store.aio.get(9) is None
        for found in (
            await store.aio.get_all(),
            await store.aio.get_by_user("alice"),
            await store.aio.get_by_side("buy", "BTC-USD"),
        ):
            assert (ids(found), found.complete) == ([1, 2, 3], True)
        assert await store.aio.flush()
        with pytest.raises(FieldError):
            await store.aio.get_by_side("middle")

    base = GatedOrderStore("base")
    with CompositeOrderStore(InMemoryOrderStore(), base) as store:
        eventually(lambda: store.layers[0].greeted)
        run(work())
        assert ids(base.inner.get_all()) == [1, 2, 3]


def test_trades_too() -> None:
    async def work() -> None:
        assert await store.aio.save(trade(1))
        assert await store.aio.save_batch(trade_rows(2, 50)) == 50
        assert (await store.aio.write_batch(trade_rows(52, 1), wait="all", timeout_s=20)).durable == ("memory", "base")
        assert (await store.aio.save(trade(53), wait="base")).position == 53
        assert ids(await store.aio.get_recent(3)) == [53, 52, 51]
        found = await store.aio.get_recent(20)
        assert (found.layer, ids(found)) == ("base", list(range(53, 33, -1)))

    with CompositeTradeStore(InMemoryTradeStore(10), GatedTradeStore("base")) as store:
        store.names.add_instrument(BTC)
        run(work())


def test_a_store_with_coroutines_is_asked_by_them_and_others_in_a_thread() -> None:
    native, plain = NativeOrderStore("native"), GatedOrderStore("plain")
    native.inner.save(order(1))
    plain.inner.save(order(2))

    async def work() -> None:
        assert await store.aio.get(1) == order(1)
        assert native.awaited == ["get"]

    with CompositeOrderStore(native, plain, options={"native": QUICK, "plain": QUICK}) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        run(work())
        assert ("get", 1) not in plain.gate.calls


def test_a_coroutine_that_hangs_is_given_up_within_the_deadline() -> None:
    native, plain = NativeOrderStore("native"), GatedOrderStore("plain")
    plain.inner.save(order(2))

    async def work() -> None:
        async with ticking() as gaps:
            for _ in range(3):
                start = time.monotonic()
                assert await store.aio.get(2) == order(2)
                assert time.monotonic() - start < 4
            assert not store.layers[0].breaker.closed
            assert await store.aio.get(2) == order(2)
        assert max(gaps) < 3

    with CompositeOrderStore(native, plain, options={"native": QUICK, "plain": QUICK}) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        native.silent = True
        run(work())


def test_the_loop_goes_on_while_layers_hang() -> None:
    base = GatedOrderStore("base")
    base.inner.save(order(1))

    async def work() -> None:
        async with ticking() as gaps:
            results = await asyncio.gather(*(store.aio.get(i) for i in range(5)), store.aio.get_all(), return_exceptions=True)
            assert [type(each) for each in results[:5]] == [StoreUnavailable] * 5
            assert not results[5].complete
            receipt = await store.aio.save(order(7), wait="all", timeout_s=0.1)
            assert receipt.pending == ("base",)
            assert not await store.aio.flush(timeout_s=0.1)
        assert max(gaps) < 3

    with CompositeOrderStore(InMemoryOrderStore(), base, options={"base": LayerOptions(read_deadline_s=0.1)}) as store:
        eventually(lambda: store.layers[0].greeted)
        base.gate.hang()
        run(work())
        base.gate.go_on()


def test_a_full_ring_is_waited_for_beside_the_loop() -> None:
    base = GatedOrderStore("base")

    async def work() -> None:
        async with ticking() as gaps:
            await store.aio.save_batch(map(order, range(1, 5)))
            base.gate.hang()
            await store.aio.save_batch(map(order, range(5, 9)))
            loop = asyncio.get_running_loop()
            loop.call_later(0.2, base.gate.go_on)
            start = time.monotonic()
            for i in range(9, 17):
                assert await store.aio.save(order(i))
            assert time.monotonic() - start > 0.1
        assert max(gaps) < 3

    calm = LayerOptions(stall_s=60, batch=4)
    with CompositeOrderStore(InMemoryOrderStore(), base, ring_capacity=4, full_wait_s=30, options={"base": calm}) as store:
        run(work())
        assert store.flush()
        assert ids(base.inner.get_all()) == list(range(1, 17))


def test_a_composite_that_refuses_does_so_on_a_loop_too() -> None:
    base = GatedOrderStore("base")

    async def fill() -> None:
        for i in range(20):
            await store.aio.save(order(i))

    async def work() -> None:
        with pytest.raises(StoreFull):
            await fill()

    calm = {"base": LayerOptions(stall_s=60, batch=1)}
    with CompositeOrderStore(InMemoryOrderStore(), base, ring_capacity=4, when_full="refuse", options=calm) as store:
        eventually(lambda: store.layers[0].greeted)
        base.gate.hang()
        run(work())
        base.gate.go_on()


def test_a_read_that_is_cancelled_gives_its_probe_back() -> None:
    native = NativeOrderStore("native")

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.aio.get(1), 0.05)

    patient = {"native": LayerOptions(read_deadline_s=30)}
    with CompositeOrderStore(native, options=patient) as store:
        eventually(lambda: store.layers[0].greeted)
        store.layers[0].breaker.trip()
        store.layers[0].breaker._next_probe = 0
        native.silent = True
        run(work())
        assert native.awaited == ["get"]
        assert store.layers[0].breaker.state == "open"
        native.silent = False
        assert store.get(1) is None
        assert store.layers[0].breaker.closed


def test_a_loop_reads_what_an_engine_has_just_done() -> None:
    base = GatedOrderStore("base")

    async def work() -> None:
        for i in range(1, 30):
            engine.submit("BTC-USD", "buy", qty=1, price=100, user="alice", order_id=i)
            assert (await store.aio.get(i)).order_id == i
            assert len(await store.aio.get_by_user("alice")) == i

    with CompositeOrderStore(base) as store, Engine([BTC], order_store=store) as engine:
        run(work())
