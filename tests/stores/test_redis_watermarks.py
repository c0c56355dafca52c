"""Watermarks in Redis: a hash beside the keys, moved by the last of the calls in which a batch comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from stores.redis_rows import order, trade

from pyengine.store_errors import StoreUnavailable, WatermarkMoved
from pyengine.stores.interfaces import Mark
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore, order_saves
from pyengine.stores.redis.exchange import Script
from pyengine.stores.redis.trade_steps import TradeSteps
from pyengine.stores.redis.watermarks import Links

JOURNAL = "00ff" * 8
MANY = 4 * order_saves.ADDED_ROWS + 1
Stores = tuple[RedisOrderStore, RedisTradeStore]


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey) as client:
        yield client


@pytest.fixture
def stores(valkey: str) -> Iterator[Stores]:
    with RedisOrderStore(valkey) as orders, RedisTradeStore(valkey) as trades:
        yield orders, trades


def mark(after: int | None, to: int) -> Mark:
    return Mark(JOURNAL, after, to)


def orders_of(*numbers: int) -> list[Any]:
    return [order(number, version=number) for number in numbers]


def held(orders: RedisOrderStore) -> list[int]:
    return [found.order_id for found in orders.get_all()]


def test_the_keys(client: redis.Redis, valkey: str, stores: Stores) -> None:
    orders, trades = stores
    orders.save_batch(orders_of(1))
    trades.save_batch([trade(1)])
    assert not client.exists("watermarks:orders", "watermarks:trades")
    orders.save_marked(orders_of(*range(1, MANY)), mark(None, 7))
    trades.save_marked([trade(number) for number in range(2, 3000)], mark(None, 2**63 - 1))
    assert client.hgetall("watermarks:orders") == {JOURNAL.encode(): b"7"}
    assert client.hgetall("watermarks:trades") == {JOURNAL.encode(): b"9223372036854775807"}
    assert client.ttl("watermarks:orders") == client.ttl("watermarks:trades") == -1, "must not expire before the data"
    with RedisOrderStore(valkey, prefix="mine:") as other:
        assert other.watermark(JOURNAL) is None
        other.save_marked([], mark(None, 1))
        assert client.hgetall("mine:watermarks:orders") == {JOURNAL.encode(): b"1"}
        assert orders.watermark(JOURNAL) == 7


@pytest.mark.parametrize("which", [0, 1])
def test_an_evicted_hash_looks_like_a_wipe(client: redis.Redis, stores: Stores, which: int) -> None:
    store, make = stores[which], (order, trade)[which]
    store.save_marked([make(1)], mark(None, 1))
    client.delete(f"watermarks:{('orders', 'trades')[which]}")
    with pytest.raises(WatermarkMoved) as raised:
        store.save_marked([make(2)], mark(1, 2))
    assert raised.value.actual is None
    store.save_marked([make(1), make(2)], mark(None, 2))
    assert store.watermark(JOURNAL) == 2


@pytest.mark.parametrize("value", [b"", b"junk", b"-1", b"1.5", b"01", b" 1"])
def test_a_value_that_is_no_number_is_none(client: redis.Redis, stores: Stores, value: bytes) -> None:
    for store, key, record in zip(stores, ("watermarks:orders", "watermarks:trades"), (order(1), trade(1)), strict=True):
        client.hset(key, JOURNAL, value)
        assert store.watermark(JOURNAL) is None
        with pytest.raises(WatermarkMoved) as raised:
            store.save_marked([record], mark(1, 2))
        assert raised.value.actual is None
        store.save_marked([record], mark(None, 2))
        assert store.watermark(JOURNAL) == 2


def test_another_type_under_the_key_gives_way(client: redis.Redis, stores: Stores) -> None:
    for store, key, record in zip(stores, ("watermarks:orders", "watermarks:trades"), (order(1), trade(1)), strict=True):
        for records in ([record], []):
            client.delete(key)
            client.set(key, "a text")
            assert store.watermark(JOURNAL) is None
            store.forget_watermark(JOURNAL)
            store.save_marked(records, mark(None, 2))
            assert store.watermark(JOURNAL) == 2


def test_late_trades_move_it_too(client: redis.Redis, stores: Stores) -> None:
    _, trades = stores
    trades.save_batch([trade(10), trade(20)])
    assert trades.save_marked([trade(5), trade(15)], mark(None, 1)) == 2
    assert trades.save_marked([trade(5), trade(15)], mark(1, 2)) == 0, "there already"
    assert trades.watermark(JOURNAL) == 2
    with pytest.raises(WatermarkMoved):
        trades.save_marked([trade(16)], mark(1, 3))
    assert [found.trade_id for found in trades.get_recent()] == [20, 15, 10, 5]


def test_trades_that_are_too_old_for_a_full_set_move_it_all_the_same(valkey: str) -> None:
    with RedisTradeStore(valkey, capacity=3) as trades:
        trades.save_batch([trade(number) for number in range(10, 20)])
        assert trades.save_marked([trade(1), trade(2)], mark(None, 2)) == 0
        assert trades.watermark(JOURNAL) == 2
        assert [found.trade_id for found in trades.get_recent()] == [19, 18, 17]


@pytest.mark.parametrize("wiped", ["SCRIPT FLUSH", "DEL instruments"])
def test_what_else_a_server_may_forget(client: redis.Redis, stores: Stores, wiped: str) -> None:
    orders, trades = stores
    for turn in range(1, 5):
        first = turn * 2000
        orders.save_marked(orders_of(*range(first, first + MANY)), mark(turn - 1 or None, turn))
        trades.save_marked([trade(number) for number in range(turn * 3000, turn * 3000 + 2500)], mark(turn - 1 or None, turn))
        client.execute_command(*wiped.split())
    assert len(held(orders)) == 4 * MANY
    assert orders.watermark(JOURNAL) == trades.watermark(JOURNAL) == 4
    assert trades.complete_for(2500)


@pytest.fixture(params=["new", "any"])
def between(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Give out a function that has something done once, before a call of a batch is made, counted from 0.

    Orders go the way of those that are new, or of those that may be there already.
    """
    if request.param == "any":
        monkeypatch.setattr(order_saves, "_FEWEST_NEW", 1_000_000)

    def arrange(number: int, happening: Callable[[], Any]) -> None:
        made = iter(range(1_000_000))
        original = Links.of

        def of(*arguments: Any) -> Any:
            if next(made) == number:
                time.sleep(0.1)  # the server has done what was sent before
                happening()
            return original(*arguments)

        monkeypatch.setattr(Links, "of", of)

    return arrange


def test_a_wipe_between_the_first_calls_loses_nothing(client: redis.Redis, stores: Stores, between: Any) -> None:
    """Without a watermark before, one that is gone looks as it should; what the first calls brought is gone too."""
    orders, trades = stores
    trades.save(trade(1))

    def wipe() -> None:
        client.flushdb()
        # Somebody else brings the instruments back before the next call.
        trades.save_batch([trade(1)])

    between(2, wipe)
    orders.save_marked(orders_of(*range(1, MANY)), mark(None, 9))
    assert held(orders) == [*range(1, MANY)]
    assert orders.watermark(JOURNAL) == 9


def test_a_wipe_between_later_calls_is_noticed(client: redis.Redis, stores: Stores, between: Any) -> None:
    orders, _ = stores
    orders.save_marked([], mark(None, 1))
    between(2, client.flushdb)
    with pytest.raises(WatermarkMoved) as raised:
        orders.save_marked(orders_of(*range(1, MANY)), mark(1, 9))
    assert raised.value.actual is None


def test_instruments_that_vanish_for_some_calls_lose_nothing(client: redis.Redis, stores: Stores, between: Any) -> None:
    orders, _ = stores
    orders.save_marked(orders_of(1), mark(None, 1))
    kept = client.hgetall("instruments")
    client.delete("instruments")
    between(2, lambda: client.hset("instruments", mapping=kept))
    orders.save_marked(orders_of(*range(1, MANY)), mark(1, 9))
    assert held(orders) == [*range(1, MANY)]
    assert orders.watermark(JOURNAL) == 9


def test_a_call_that_fails_keeps_the_last_one_from_moving_it(client: redis.Redis, stores: Stores, between: Any) -> None:
    orders, _ = stores
    orders.save_marked(orders_of(1), mark(None, 1))
    client.config_set("maxmemory", 1)
    try:
        between(2, lambda: client.config_set("maxmemory", 0))
        with pytest.raises(StoreUnavailable, match="OOM"):
            orders.save_marked(orders_of(*range(2, MANY)), mark(1, 9))
    finally:
        client.config_set("maxmemory", 0)
    assert orders.watermark(JOURNAL) == 1
    assert orders.save_marked(orders_of(*range(2, MANY)), mark(1, 9)) == MANY - 2
    assert orders.watermark(JOURNAL) == 9
    assert held(orders) == [*range(1, MANY)]


def test_trades_that_were_not_added_do_not_move_it(client: redis.Redis, stores: Stores) -> None:
    """A command between the two scripts may fail by itself."""
    _, trades = stores
    trades.save(trade(1))
    steps: TradeSteps = trades._steps
    script = Script("add_trades", "watermark")
    newest = client.zrange("trades:recent", -1, -1)[0]
    link = [b"the last one", *Links(mark(None, 5), 1).of(0)]
    for arguments in ([b"begin", newest, *link], [b"end", b"10000", *link]):
        assert client.eval(script.source, 4, *steps.keys, *arguments) == 0
    assert trades.watermark(JOURNAL) is None
    assert client.zcard("trades:recent") == 1


def test_two_writers_of_many_calls(valkey: str, stores: Stores) -> None:
    """Neither moves the watermark over what only half of the other's calls have brought."""
    failures: list[BaseException] = []
    last, step = 20, MANY

    def write(store: RedisOrderStore) -> None:
        try:
            at: int | None = None
            while at != last:
                turn = at or 0
                try:
                    store.save_marked(orders_of(*range(turn * step, turn * step + step)), mark(at, turn + 1))
                    at = turn + 1
                except WatermarkMoved as error:
                    at = error.actual
                except StoreUnavailable as error:
                    assert "all the time" in str(error)  # noqa: PT017  reported below
        except BaseException as error:  # noqa: BLE001  told to the test below
            failures.append(error)

    with RedisOrderStore(valkey) as other:
        threads = [threading.Thread(target=write, args=(store,)) for store in (stores[0], other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert held(stores[0]) == [*range(last * step)]
    assert stores[0].watermark(JOURNAL) == last


def test_what_is_written_while_a_store_is_cleared_is_not_taken_for_safe(stores: Stores, valkey: str) -> None:
    orders, _ = stores

    def interrupted() -> Iterator[Any]:
        """Clear, and write when the watermark is gone, but not the orders."""
        clearing = orders._clear()
        replies = yield next(clearing)
        with RedisOrderStore(valkey) as other:
            other.save_marked(orders_of(*range(1, MANY)), mark(None, 7))
        with suppress(StopIteration):
            while True:
                replies = yield clearing.send(replies)

    orders.save_marked(orders_of(1, 2, 3), mark(None, 3))
    orders.run(interrupted())
    assert orders.watermark(JOURNAL) is None or held(orders) == list(range(1, MANY))
