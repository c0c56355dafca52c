"""Recent trades in Redis: order and identity beyond what a score can tell, and gaps."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_model import TradeModel
from stores.redis_rows import AWKWARD, BTC, ETH, KEY, NOW_NS, PATIENT, ids, stored_ids, trade, trade_rows

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.store_errors import StoreClosed, StoreUnavailable
from pyengine.stores import Names, Trade
from pyengine.stores.interfaces import Flushed, TradeStore
from pyengine.stores.redis import RedisTradeStore


@pytest.fixture
def store(valkey: str) -> Iterator[RedisTradeStore]:
    with RedisTradeStore(valkey, **PATIENT) as store:
        yield store


def scores(client: redis.Redis) -> list[float]:
    return [score for _, score in client.zrange(KEY, 0, -1, withscores=True)]


def test_it_is_a_trade_store(store: RedisTradeStore) -> None:
    assert isinstance(store, TradeStore)
    assert (store.name, store.capacity) == ("redis", 10_000)
    assert store.flush() == Flushed(("redis",))
    assert repr(store) == f"<RedisTradeStore at {store.address}>"


def test_the_key_is_what_other_programs_expect(store: RedisTradeStore, client: redis.Redis) -> None:
    assert store.save(trade(1, side="sell"))
    assert sorted(client.keys()) == ["instruments", KEY]
    assert (client.type(KEY), client.ttl(KEY)) == ("zset", -1)
    ((member, score),) = client.zrange(KEY, 0, -1, withscores=True)
    assert member == (
        '{"trade_id":1,"buy_order_id":21,"sell_order_id":11,"price":100.5,"quantity":3,"timestamp":"2025-01-15T10:30:45.123457789Z",'
        '"symbol":"BTC-USD","side":2,"seq":3}'
    )
    assert score == float(NOW_NS + 1000)


def test_trades_come_back_as_they_were(store: RedisTradeStore, valkey: str) -> None:
    given = [trade(number, side=1 + number % 2, instrument=(BTC, ETH)[number % 2]) for number in range(1, 200)]
    given.append(Trade(2**63 - 1, 2**64 - 1, 2**63, -(2**63), 2**63 - 1, 1, instrument=BTC, ts_ns=2**63 - 1, seq=2**64 - 1))
    assert store.save_batch(given) == 200
    assert store.get_recent(10**9) == given[::-1]
    assert store.get_recent(2**64 - 1) == given[::-1]
    assert store.get_recent() == given[:99:-1]
    assert store.get_recent(0) == []
    with RedisTradeStore(valkey, **PATIENT) as other:
        assert other.get_recent(3) == given[:-4:-1]
    assert store.stats().counts == {"hits": 3, "misses": 1, "written": 200, "known": 0, "errors": 0}


@pytest.mark.parametrize("step_ns", [0, 1, 255, 256, 257, -1, -(10**9)])
def test_order_survives_equal_near_and_falling_times(store: RedisTradeStore, client: redis.Redis, step_ns: int) -> None:
    with RedisTradeStore(store.connection, names=Names([BTC])) as sharing:
        for first in (1, 2501, 2502, 3000):
            count = {1: 2500, 2501: 1, 2502: 498, 3000: 1000}[first]
            assert sharing.save_batch(trade_rows(first, count, step_ns=step_ns)) == count
    assert stored_ids(client) == list(range(1, 4000))
    assert len(set(scores(client))) == 3999
    assert ids(store.get_recent(500)) == list(range(3999, 3499, -1))
    assert store.complete_for(3999)
    assert {found.ts_ns - NOW_NS for found in store.get_recent(2)} == {3999 * step_ns, 3998 * step_ns}


@pytest.mark.parametrize("ts_ns", [0, 5, -(2**63), 2**63 - 1, 2**52, 2**53 + 1])
def test_times_far_from_now(store: RedisTradeStore, client: redis.Redis, ts_ns: int) -> None:
    for number in range(1, 6):
        assert store.save(trade(number, ts_ns=ts_ns))
    assert stored_ids(client) == [1, 2, 3, 4, 5]
    assert [found.ts_ns for found in store.get_recent()] == [ts_ns] * 5


def test_only_the_newest_are_kept(valkey: str, client: redis.Redis) -> None:
    with RedisTradeStore(valkey, **PATIENT, capacity=10, names=Names([BTC])) as store:
        assert store.save_batch(trade_rows(1, 8)) == 8
        assert store.save_batch(trade_rows(9, 7)) == 7
        assert stored_ids(client) == list(range(6, 16))
        assert store.save_batch(trade_rows(16, 2500)) == 2500
        assert stored_ids(client) == list(range(2506, 2516))
        assert not store.save_batch(trade_rows(2, 20))
        assert stored_ids(client) == list(range(2506, 2516))


def test_a_trade_of_an_id_that_is_there_changes_nothing(store: RedisTradeStore, client: redis.Redis) -> None:
    assert store.save_batch([trade(1), trade(2), trade(3)]) == 3
    before = client.zrange(KEY, 0, -1, withscores=True)
    assert not store.save(trade(3))
    assert not store.save(trade(2, seq=77))
    assert store.save_batch([trade(1, ts_ns=5), trade(2), trade(3, side=2)]) == 0
    assert client.zrange(KEY, 0, -1, withscores=True) == before
    assert store.save_batch([trade(2), trade(4), trade(5), trade(4, seq=9)]) == 2
    assert store.get_recent() == [trade(number) for number in (5, 4, 3, 2, 1)]
    assert store.stats().counts["known"] == 6


def test_trades_that_come_late_take_their_places(store: RedisTradeStore, client: redis.Redis) -> None:
    order = list(range(1, 301))
    random.Random(5).shuffle(order)
    for number in order:
        assert store.save(trade(number, ts_ns=NOW_NS + number // 7))
    assert stored_ids(client) == list(range(1, 301))
    assert store.complete_for(300)
    assert ids(store.get_recent(3)) == [300, 299, 298]
    rising = scores(client)
    assert all(a < b for a, b in pairwise(rising))


def test_trades_that_come_late_to_a_full_set(valkey: str, client: redis.Redis) -> None:
    with RedisTradeStore(valkey, **PATIENT, capacity=5) as store:
        store.save_batch([trade(number) for number in (10, 20, 30, 40, 50)])
        assert not store.save(trade(9))
        assert store.save(trade(15))
        assert stored_ids(client) == [15, 20, 30, 40, 50]
        assert store.save_batch([trade(12), trade(25), trade(45), trade(60)]) == 2
        assert stored_ids(client) == [30, 40, 45, 50, 60]
        assert store.save_batch([trade(number) for number in range(1, 100)]) == 5
        assert stored_ids(client) == [95, 96, 97, 98, 99]


def test_backfill_below_what_is_there(store: RedisTradeStore, client: redis.Redis) -> None:
    store.save(trade(5000))
    with RedisTradeStore(store.connection, names=Names([BTC])) as sharing:
        assert sharing.backfill(trade_rows(1, 4998)) == 4998
        assert not sharing.complete_for(2)
        assert sharing.backfill(trade_rows(4990, 10)) == 1
        assert sharing.complete_for(5000)
    assert stored_ids(client) == list(range(1, 5001))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 600)), max_size=12), max_size=12))
def test_any_sequence_of_batches_is_as_in_memory(valkey: str, batches: list[list[tuple[int, int]]]) -> None:
    model = TradeModel(8)
    with RedisTradeStore(valkey, **PATIENT, capacity=8) as store, redis.Redis.from_url(valkey) as client:
        client.delete(KEY)
        for batch in batches:
            trades = [trade(number, ts_ns=NOW_NS + offset) for number, offset in batch]
            for number in sorted({number for number, _ in batch}):
                model.save(number, 300)
            store.save_batch(trades)
            assert ids(store.get_recent(8)) == model.recent(8)
            for limit in (0, 1, 3, 8, 9):
                assert store.complete_for(limit) == model.complete_for(limit)


def test_two_nodes_take_turns(store: RedisTradeStore, valkey: str, client: redis.Redis) -> None:
    with (
        RedisTradeStore(valkey, **PATIENT, names=Names([BTC])) as first,
        RedisTradeStore(valkey, **PATIENT, names=Names([BTC])) as second,
    ):
        for start in range(1, 2000, 100):
            assert first.save_batch(trade_rows(start, 60)) == 60
            assert second.save_batch(trade_rows(start, 100)) == 40
    assert stored_ids(client) == list(range(1, 2001))


def test_a_node_knows_what_another_has_written(valkey: str, client: redis.Redis) -> None:
    with RedisTradeStore(valkey, **PATIENT) as first, RedisTradeStore(valkey, **PATIENT) as second:
        first.save_batch([trade(number) for number in range(1, 11)])
        second.save_batch([trade(number, ts_ns=NOW_NS * 2) for number in range(11, 21)])
        assert not first.save(trade(15, seq=999))
        second.save(trade(30))
        assert first.save_batch([trade(31, ts_ns=5), trade(32, ts_ns=5)]) == 2
        assert stored_ids(client) == [*range(1, 21), 30, 31, 32]
        assert first.get_recent(9)[-3:] == [trade(number, ts_ns=NOW_NS * 2) for number in (17, 16, 15)]


@pytest.mark.parametrize("late", [3, 7, 12])
@pytest.mark.parametrize("other", [5, 7, 9, 40])
def test_a_late_trade_meets_another_writer(valkey: str, client: redis.Redis, late: int, other: int) -> None:
    """Let somebody else write after the store has looked what is there, and before it writes."""
    with RedisTradeStore(valkey, **PATIENT, capacity=8) as store, RedisTradeStore(valkey, **PATIENT, capacity=8) as rival:
        store.save_batch([trade(number) for number in (2, 4, 6, 8, 10, 11, 13, 14)])
        steps = store._steps.save([trade(late, seq=77)])
        exchanges, new = 0, None
        exchange = next(steps)
        while new is None:
            exchanges += 1
            if exchanges == 2:
                assert rival.save(trade(other))
            try:
                exchange = steps.send(store.connection._carry_out(exchange))
            except StopIteration as stop:
                new = stop.value
        expected = sorted({2, 4, 6, 8, 10, 11, 13, 14, late, other})[-8:]
        assert stored_ids(client) == expected
        assert new == (late in expected and late != other)
        assert [found.seq for found in store.get_recent() if found.trade_id == late] == ([77] if new else [late * 3])[
            : late in expected
        ]


def test_two_nodes_at_once(valkey: str, client: redis.Redis) -> None:
    new = []

    def write() -> None:
        with RedisTradeStore(valkey, **PATIENT, names=Names([BTC])) as node:
            new.extend(node.save_batch(trade_rows(start, 50)) for start in range(1, 1001, 50))

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new) == 1000
    assert stored_ids(client) == list(range(1, 1001))


def test_completeness_comes_from_dense_ids_only(store: RedisTradeStore, client: redis.Redis) -> None:
    assert store.complete_for(0)
    assert not store.complete_for(1)
    assert store.is_empty()
    store.save_batch([trade(number) for number in (5, 6, 8, 9, 10)])
    assert [store.complete_for(limit) for limit in (0, 1, 3, 4, 5, 6)] == [True, True, True, False, False, False]
    store.save(trade(7))
    assert [store.complete_for(limit) for limit in (6, 7)] == [True, False]
    store.save_batch([trade(number) for number in range(1, 5)])
    assert store.complete_for(10**6)
    client.zremrangebyrank(KEY, 3, 3)
    assert not store.complete_for(8)
    assert store.complete_for(6)
    assert not store.is_empty()


def test_a_transaction_that_cannot_begin_loses_nothing(valkey: str, client: redis.Redis) -> None:
    client.acl_setuser("trader", enabled=True, nopass=True, keys=["*"], categories=["+@all"])
    try:
        with RedisTradeStore(valkey, **PATIENT, username="trader", password="any") as store:
            store.save_batch([trade(1), trade(2)])
            client.execute_command("ACL", "SETUSER", "trader", "-zrange")
            with pytest.raises(StoreUnavailable, match="save of trade 3 failed: NOPERM"):
                store.save(trade(3))
            assert stored_ids(client) == [1, 2]
            assert sorted(client.keys()) == ["instruments", KEY]
            client.execute_command("ACL", "SETUSER", "trader", "+zrange")
            assert store.save(trade(3))
    finally:
        client.acl_deluser("trader")


def test_symbols_with_a_meaning_to_somebody(store: RedisTradeStore, valkey: str) -> None:
    given = [trade(number, instrument=Instrument(name, "0.5", "0.01")) for number, name in enumerate(AWKWARD, 1)]
    store.save_batch(given)
    assert store.get_recent() == given[::-1]
    with RedisTradeStore(valkey, **PATIENT) as other:
        assert other.get_recent() == given[::-1]


def test_what_is_refused_before_anything_is_sent(store: RedisTradeStore, client: redis.Redis) -> None:
    rows = trade_rows(1, 3)
    rows["instrument"][1] = 5
    with pytest.raises(FieldError, match=r"trades\[0\].instrument must be"):
        store.save_batch(rows)
    with RedisTradeStore(store.connection, names=Names([BTC])) as sharing:
        with pytest.raises(FieldError, match=r"trades\[1\].instrument must be"):
            sharing.save_batch(rows)
        rows["instrument"], rows["kind"][2] = 0, 1
        with pytest.raises(FieldError, match=r"trades\[2\].kind must be"):
            sharing.save_batch(rows)
    for wrong in (None, 5, [1], np.zeros(3)):
        with pytest.raises(FieldTypeError):
            store.save_batch(wrong)
    for limit in (-1, 2**64):
        with pytest.raises(FieldError):
            store.get_recent(limit)
        with pytest.raises(FieldError):
            store.complete_for(limit)
    with pytest.raises(FieldError):
        RedisTradeStore(store.connection, capacity=0)
    lent = RedisTradeStore(store.connection)
    lent.attach_names(Names([ETH]))
    with pytest.raises(FieldError, match="known to the engine"):
        lent.save(trade(1))
    assert store.save_batch([]) == store.save_batch(trade_rows(1, 0)) == 0
    assert client.keys() == []


def test_closed(store: RedisTradeStore) -> None:
    store.save(trade(1))
    store.close()
    store.close()
    for call in (store.get_recent, lambda: store.save(trade(2)), lambda: store.complete_for(1), store.is_empty, store.flush):
        with pytest.raises(StoreClosed):
            call()
