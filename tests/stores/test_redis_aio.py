"""The stores in Redis on a loop of the caller's own: the same answers, nobody blocked, nothing left open."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from stores.redis_rows import BTC, finished, ids, order, order_rows, trade, trade_rows
from stores.servers import ValkeyServer

from pyengine.errors import FieldError
from pyengine.store_errors import StoreClosed, StoreDamaged, StoreUnavailable
from pyengine.stores import Names
from pyengine.stores.redis import RedisConnection, RedisOrderStore, RedisTradeStore

Starter = Callable[..., ValkeyServer]


@pytest.fixture
def connection(valkey: str) -> Iterator[RedisConnection]:
    with RedisConnection(valkey, pool_size=4, read_timeout_s=2.0) as connection:
        yield connection


def clients(url: str) -> int:
    """Count who is connected."""
    with redis.Redis.from_url(url) as client:
        return len(client.client_list())


def test_orders(connection: RedisConnection, valkey: str) -> None:
    store = RedisOrderStore(connection)

    async def use() -> None:
        orders = store.aio
        assert await orders.save(order(1, version=2))
        assert not await orders.save(order(1, version=1))
        assert await orders.save_batch([order(2, "sell"), finished(3)]) == 2
        assert await orders.backfill([order(1, version=9), order(4)]) == 1
        assert await orders.update(order(4, version=5))
        assert not await orders.update(order(5))
        assert await orders.get(1) == order(1, version=2)
        assert await orders.get(99) is None
        assert ids(await orders.get_all()) == ids(await orders.get_by_user("alice")) == [1, 2, 3, 4]
        assert ids(await orders.get_by_side("buy", "BTC-USD")) == [1, 4]
        assert await orders.remove(1)
        assert await orders.remove_batch([1, 2, 3]) == 2
        assert await orders.sweep() == 0
        with redis.Redis.from_url(valkey) as client:
            client.delete("order:4")
        assert await orders.sweep() == 2
        await orders.close()

    asyncio.run(use())
    assert store.get_all() == []
    assert store.stats().counts["written"] == 5


def test_trades(connection: RedisConnection) -> None:
    store = RedisTradeStore(connection, names=Names([BTC]))

    async def use() -> None:
        trades = store.aio
        assert await trades.save_batch(trade_rows(1, 2500)) == 2500
        assert not await trades.save(trade(7))
        assert await trades.backfill([trade(2501), trade(2503)]) == 2
        assert ids(await trades.get_recent(3)) == [2503, 2501, 2500]
        assert not await trades.complete_for(2)
        assert sum(await asyncio.gather(*(trades.save(trade(number)) for number in range(2490, 2530)))) == 27
        assert await trades.complete_for(2529)
        await trades.close()

    asyncio.run(use())
    assert store.complete_for(2529)


def test_what_blocking_callers_and_coroutines_write_is_one(connection: RedisConnection) -> None:
    orders, trades = RedisOrderStore(connection), RedisTradeStore(connection)

    async def use() -> None:
        for number in range(1, 30, 3):
            await trades.aio.save(trade(number))
            await asyncio.to_thread(trades.save, trade(number + 1))
            assert await asyncio.to_thread(orders.save, order(number))
            assert await orders.aio.get(number) == order(number)
            trades.save(trade(number + 2))
        await orders.aio.close()

    for _ in range(2):
        # Each loop has connections of its own.
        asyncio.run(use())
    assert trades.complete_for(30)
    assert ids(trades.get_recent()) == list(range(30, 0, -1))


def test_hundreds_at_once_share_the_pool(connection: RedisConnection, valkey: str) -> None:
    store = RedisOrderStore(connection)
    before, most = clients(valkey), 0

    async def use() -> None:
        nonlocal most

        async def one(number: int) -> None:
            nonlocal most
            assert await store.aio.save(order(number))
            assert (await store.aio.get(number)).order_id == number
            if number % 50 == 0:
                most = max(most, clients(valkey) - before)

        await asyncio.gather(*(one(number) for number in range(300)))
        await store.aio.close()

    asyncio.run(use())
    assert most == 4
    assert len(store.get_all()) == 300


def test_the_loop_goes_on_while_redis_is_silent(own_valkey: Starter) -> None:
    server = own_valkey()
    store = RedisOrderStore(server.url, write_timeout_s=0.3)

    async def use() -> int:
        assert await store.aio.save(order(1))
        server.pause()
        ticks = 0
        pending: list[asyncio.Task[Any]] = [asyncio.create_task(call) for call in (store.aio.get(1), store.aio.save(order(2)))]
        while not all(task.done() for task in pending):
            await asyncio.sleep(0.005)
            ticks += 1
        for task in pending:
            with pytest.raises(StoreUnavailable, match=r"failed: no answer in 0\.(05|3) s"):
                task.result()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.aio.get(1)
        assert time.monotonic() - begun < 0.5
        server.resume()
        assert await store.aio.get(1) == order(1)
        await store.aio.close()
        return ticks

    assert asyncio.run(use()) > 20
    store.close()


def test_faults(own_valkey: Starter) -> None:
    server = own_valkey()
    store, trades = RedisOrderStore(server.url, read_timeout_s=2.0), RedisTradeStore(server.url, read_timeout_s=2.0)

    async def use() -> None:
        await store.aio.save(order(1))
        await trades.aio.save(trade(1))
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await store.aio.get(1) == order(1)
        server.command("SCRIPT", "FLUSH")
        assert await store.aio.save(order(1))
        server.set_read_only()
        with pytest.raises(StoreUnavailable, match="failed: READONLY"):
            await store.aio.save(order(1))
        server.set_read_only(False)
        server.command("SET", "order:1", "junk")
        with pytest.raises(StoreDamaged, match="key order:1"):
            await store.aio.get(1)
        with pytest.raises(FieldError):
            await store.aio.get(-1)
        server.stop()
        for call in (store.aio.get(1), store.aio.save(order(1)), trades.aio.get_recent(), trades.aio.save(trade(2))):
            with pytest.raises(StoreUnavailable, match=f"^redis at {server.host}:{server.port}: "):
                await call
        server.start()
        assert await store.aio.get(1) is None
        assert await trades.aio.save(trade(2))
        await store.aio.close()
        await trades.aio.close()

    asyncio.run(use())
    assert store.stats().counts["errors"] == 4
    store.close()
    trades.close()


def test_a_cancelled_call_leaves_no_answer_behind(connection: RedisConnection) -> None:
    rows, names = order_rows(0, 400)
    store = RedisOrderStore(connection, names=names)

    async def use() -> None:
        await store.aio.save_batch(rows)
        for number in range(200):
            task = asyncio.create_task(store.aio.get(number))
            await asyncio.sleep(0)
            if number % 3:
                await asyncio.sleep(0.00005 * (number % 7))
            task.cancel()
            assert (await store.aio.get(399 - number)).order_id == 399 - number
        await store.aio.close()

    asyncio.run(use())


def test_closing(valkey: str) -> None:
    store, before = RedisOrderStore(valkey), clients(valkey)

    async def use() -> None:
        await store.aio.save(order(1))
        assert clients(valkey) == before + 1
        store.close()
        deadline = time.monotonic() + 5
        while clients(valkey) > before:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        with pytest.raises(StoreClosed):
            await store.aio.get(1)
        await store.aio.close()

    asyncio.run(use())
    gc.collect()


def test_nobody_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        store = RedisOrderStore(host="127.0.0.1", port=reserved.getsockname()[1], password="sec-ret")

        async def use() -> None:
            with pytest.raises(StoreUnavailable, match=r"get of order 1 failed: .*") as caught:
                await store.aio.get(1)
            assert "sec-ret" not in str(caught.value)

        asyncio.run(use())
        store.close()
