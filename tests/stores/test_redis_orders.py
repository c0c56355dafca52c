"""Orders in Redis: what its keys hold, versions, index sets, and what others put under our keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from stores.redis_rows import AWKWARD, BTC, ETH, NOW_NS, PATIENT, finished, ids, order, order_rows

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.records import Side
from pyengine.stores import Names, Order
from pyengine.stores.interfaces import Flushed, OrderStore
from pyengine.stores.redis import RedisOrderStore


@pytest.fixture
def store(valkey: str) -> Iterator[RedisOrderStore]:
    with RedisOrderStore(valkey, **PATIENT) as store:
        yield store


def numbers(members: set[str]) -> set[int]:
    return set(map(int, members))


def test_it_is_an_order_store(store: RedisOrderStore) -> None:
    assert isinstance(store, OrderStore)
    assert store.name == "redis"
    assert store.complete is False
    assert store.flush() == Flushed(("redis",))
    assert store.flush(["postgres"]) == Flushed()
    store.ping()
    store.connect()
    assert repr(store) == f"<RedisOrderStore at {store.address}>"


def test_keys_and_types_are_those_that_other_programs_expect(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(42, "buy", version=7, entered=6, client_id=5, aux=-1))
    store.save(order(43, "sell", user=None))
    assert sorted(client.keys()) == ["instruments", "order:42", "order:43", "side_orders:1", "side_orders:2", "user_orders:alice"]
    assert client.get("order:42") == (
        '{"order_id":42,"user_id":"alice","symbol":"BTC-USD","order_type":2,"side":1,"price":100.5,"size":3,'
        '"created_at":"2025-01-15T10:30:45.123456789Z","updated_at":"2025-01-15T10:30:45.123456789Z","remaining":3,"status":1,'
        '"tif":0,"client_order_id":5,"version":7,"entered":6,"flags":0,"stp":0,"aux":-1}'
    )
    assert [client.type(key) for key in ("user_orders:alice", "side_orders:1", "instruments")] == ["set", "set", "hash"]
    assert client.smembers("user_orders:alice") == {"42"}
    assert (client.smembers("side_orders:1"), client.smembers("side_orders:2")) == ({"42"}, {"43"})
    assert json.loads(client.hget("instruments", "BTC-USD") or "") == {
        "symbol": "BTC-USD", "tick_size": "0.5", "lot_size": "0.01"
    }  # fmt: skip
    for key in ("order:42", "user_orders:alice", "side_orders:1"):
        assert 86_390 < client.ttl(key) <= 86_400
    assert client.ttl("instruments") == -1


def test_an_order_comes_back_as_it_was(store: RedisOrderStore) -> None:
    given = order(2**64 - 1, "sell", version=2**64 - 1, client_id=2**63, qty="3.25", remaining_lots=1, aux=-(2**63), flags=129)
    assert store.save(given)
    assert store.get(2**64 - 1) == given
    assert store.get(0) is None
    market = Order(0, "buy", instrument=ETH, qty="0.001")
    assert store.save(market)
    assert store.get(0) == market
    assert store.stats().counts == {
        "hits": 2, "misses": 1, "written": 2, "stale": 0, "removed": 0, "pruned": 0, "errors": 0
    }  # fmt: skip


def test_another_process_reads_it_without_knowing_the_instruments(store: RedisOrderStore, valkey: str) -> None:
    store.save_batch([order(1), order(2, instrument=ETH, price="0.01", qty="0.001")])
    with RedisOrderStore(valkey, **PATIENT) as other:
        assert other.get_all() == store.get_all()
        assert other.names.instruments == [BTC, ETH]


def test_an_order_gives_way_to_none_of_a_lower_version(store: RedisOrderStore) -> None:
    versions = [0, 9, 10, 99, 2**53, 2**53 + 1, 2**63, 2**64 - 2, 2**64 - 1]
    for version in versions:
        assert store.save(order(1, version=version))
        assert store.save(order(1, version=version, client_id=version % 7))
    for version in reversed(versions[:-1]):
        assert not store.save(order(1, version=version))
        assert store.get(1).version == 2**64 - 1
    assert store.stats().counts["stale"] == len(versions) - 1


def test_two_nodes_never_put_an_older_order_over_a_newer(store: RedisOrderStore, valkey: str) -> None:
    rows, names = order_rows(1, 1200)
    older, newer = rows.copy(), rows.copy()
    newer["version"] += 10_000
    newer["status"], newer["remaining_lots"] = 3, 0
    with RedisOrderStore(valkey, **PATIENT, names=names) as first, RedisOrderStore(valkey, **PATIENT, names=names) as second:
        assert first.save_batch(newer[600:]) == 600
        assert second.save_batch(older) == 600
        assert first.save_batch(newer[:600]) == 600
        assert second.save_batch(older) == 0
        assert second.get_by_side("buy") == []
        assert len(second.get_all()) == 1200
        assert all(not found.is_open for found in second.get_all())


def test_hundreds_of_users_in_one_batch(valkey: str, client: redis.Redis) -> None:
    rows, names = order_rows(1, 1000, users=400)
    rows["user"][::10] = 0
    with RedisOrderStore(valkey, names=names, **PATIENT) as store:
        assert store.save_batch(rows) == 1000
        for number in (0, 1, 254, 255, 256, 399):
            expected = rows["order_id"][rows["user"] == number + 1].tolist()
            assert ids(store.get_by_user(f"user {number}")) == expected
            assert numbers(client.smembers(f"user_orders:user {number}")) == set(expected)


def test_of_a_batch_with_an_order_twice_the_newer_counts(store: RedisOrderStore) -> None:
    assert store.save_batch([order(1, version=5), order(2), order(1, version=4), order(1, version=5, qty=7)]) == 2
    assert store.get(1).qty == 7


def test_update_changes_only_what_is_there(store: RedisOrderStore) -> None:
    assert not store.update(order(1))
    assert store.get(1) is None
    assert store.get_by_user("alice") == []
    store.save(order(1, version=3))
    assert not store.update(order(1, version=2))
    assert store.update(order(1, version=4, qty=9))
    assert store.get(1).qty == 9


def test_backfill_puts_nothing_over_anything(store: RedisOrderStore) -> None:
    store.save(order(1, version=3))
    assert store.backfill([order(1, version=9), finished(2), order(3)]) == 2
    assert store.get(1).version == 3
    assert ids(store.get_by_user("alice")) == [1, 2, 3]
    assert ids(store.get_by_side("buy")) == [1, 3]


def test_remove(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save_batch([order(number, 1 + number % 2, user=f"user {number % 3}") for number in range(2000)])
    assert store.remove(1000)
    assert not store.remove(1000)
    assert store.get(1000) is None
    assert store.remove_batch(range(500, 5000)) == 1499
    assert store.remove_batch([]) == 0
    assert store.remove_batch([3, 3, 3]) == 1
    left = set(range(500)) - {3}
    assert set(ids(store.get_all())) == left
    assert numbers(client.smembers("side_orders:1")) | numbers(client.smembers("side_orders:2")) == left
    assert set().union(*(numbers(client.smembers(f"user_orders:user {number}")) for number in range(3))) == left


def test_lists_have_the_order_of_the_contract(store: RedisOrderStore) -> None:
    store.save_batch([
        order(5, "sell", price=10, entered=3, created_ns=1),
        order(4, "sell", price=10, entered=3, created_ns=1),
        order(3, "sell", price=10, entered=3, created_ns=0),
        order(2, "sell", price=10, entered=2),
        order(1, "sell", price=9, entered=9),
        order(6, "sell", instrument=ETH, price=1),
        order(10**19, "buy", price=5),
        order(9, "buy", price=6),
        order(8, "buy", price=-1, instrument=Instrument("NEG", 1, 1, min_price=-5), qty=1),
        finished(7, "sell"),
    ])  # fmt: skip
    assert ids(store.get_by_side("sell")) == [1, 2, 3, 4, 5, 6]
    assert ids(store.get_by_side(1)) == [9, 10**19, 8]
    assert ids(store.get_by_side(Side.SELL, "ETH-USD")) == [6]
    assert ids(store.get_by_side(Side.SELL, 1)) == [6]
    assert store.get_by_side(Side.SELL, "none") == store.get_by_side(Side.SELL, 99) == []
    assert ids(store.get_by_user("alice")) == ids(store.get_all()) == [*range(1, 10), 10**19]
    assert ids(store.get_by_user(1)) == ids(store.get_all())
    assert store.get_by_user("nobody") == store.get_by_user(77) == []


def test_index_sets_follow_the_order(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(1, "buy", user="alice"))
    store.save(order(1, "sell", user='b"ob\\', version=1))
    assert client.exists("user_orders:alice", "side_orders:1") == 0
    assert (client.smembers('user_orders:b"ob\\'), client.smembers("side_orders:2")) == ({"1"}, {"1"})
    store.save(finished(1, "sell", user='b"ob\\', version=2))
    assert client.exists("side_orders:1", "side_orders:2") == 0
    assert ids(store.get_by_user('b"ob\\')) == [1]
    store.save(order(1, "sell", user=None, version=3))
    assert client.exists('user_orders:b"ob\\') == 0
    assert client.smembers("side_orders:2") == {"1"}
    store.remove(1)
    assert client.keys() == ["instruments"]


def test_names_with_a_meaning_to_somebody(store: RedisOrderStore) -> None:
    for number, name in enumerate(AWKWARD, 1):
        store.save(order(number, user=name, instrument=Instrument(name[::-1], "0.5", 1)))
    for number, name in enumerate(AWKWARD, 1):
        assert ids(store.get_by_user(name)) == [number]
        assert ids(store.get_by_side("buy", name[::-1])) == [number]
        assert store.get(number).user == name
    assert len(store.get_all()) == len(AWKWARD)
    for number, name in enumerate(AWKWARD, 1):
        store.save(finished(number, "buy", user="next", version=1))
        assert store.get_by_user(name) == []
    assert len(store.get_by_user("next")) == len(AWKWARD)


@pytest.mark.parametrize("name", ["", "a\x00b", "a\nb", "x" * 256, "x" * 10**6, "\ud800"])
def test_names_that_cannot_be(store: RedisOrderStore, name: str) -> None:
    with pytest.raises(FieldError, match="user must be"):
        store.get_by_user(name)


def test_what_is_refused_before_anything_is_sent(store: RedisOrderStore, client: redis.Redis) -> None:
    rows, names = order_rows(1, 3)
    with RedisOrderStore(store.connection, names=names) as sharing:
        rows["user"][2] = 99
        with pytest.raises(FieldError, match=r"orders\[2\].user must be a name that the store knows, was 99"):
            sharing.save_batch(rows)
        rows["user"][2], rows["instrument"][1] = 0, 2
        with pytest.raises(FieldError, match=r"orders\[1\].instrument must be an instrument that the store knows, was 2"):
            sharing.save_batch(rows)
        rows["instrument"][1], rows["side"][0] = 0, 3
        with pytest.raises(FieldError, match=r"orders\[0\].side must be"):
            sharing.save_batch(rows)
    for wrong in (None, 5, "order", [1]):
        with pytest.raises(FieldTypeError):
            store.save_batch(wrong)
    with pytest.raises(FieldTypeError):
        store.save(None)
    with pytest.raises(FieldError, match="user must be"):
        store.save(order(1, user=7))
    with pytest.raises(FieldError, match="instrument must be"):
        store.save(Order(1, 1, price_ticks=5, qty_lots=1, instrument_index=9))
    for wrong_id in (-1, 2**64):
        with pytest.raises(FieldError):
            store.get(wrong_id)
        with pytest.raises(FieldError):
            store.remove_batch([wrong_id])
    with pytest.raises(FieldTypeError):
        store.get("1")
    with pytest.raises(FieldError):
        store.get_by_side("up")
    with pytest.raises(FieldError):
        store.get_by_user(0)
    with pytest.raises(FieldError, match="limit"):
        store.sweep(0)
    assert store.save_batch([]) == 0
    assert client.keys() == []


def test_orders_expire_and_take_their_ids_with_them(valkey: str, client: redis.Redis) -> None:
    with RedisOrderStore(valkey, **PATIENT, ttl_s=0.4) as brief, RedisOrderStore(valkey, **PATIENT) as store:
        brief.save_batch([order(number) for number in range(3)])
        store.save_batch([order(number) for number in range(3, 6)])
        assert ids(store.get_by_user("alice")) == list(range(6))
        time.sleep(0.5)
        assert store.get(1) is None
        assert client.scard("user_orders:alice") == 6
        assert ids(store.get_by_user("alice")) == [3, 4, 5]
        assert numbers(client.smembers("user_orders:alice")) == {3, 4, 5}
        assert client.scard("side_orders:1") == 6
        assert ids(store.get_by_side("buy")) == [3, 4, 5]
        assert numbers(client.smembers("side_orders:1")) == {3, 4, 5}
        assert store.stats().counts["pruned"] == 6


def test_index_sets_expire_with_the_last_order(valkey: str, client: redis.Redis) -> None:
    with RedisOrderStore(valkey, **PATIENT, ttl_s=0.3) as brief:
        brief.save_batch([order(1, "buy"), order(2, "sell", user="bob")])
        time.sleep(0.4)
        assert client.keys() == ["instruments"]
        assert brief.get_all() == brief.get_by_user("alice") == []


def test_sweep_takes_out_dead_ids_a_few_at_a_time(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save_batch([order(number, 1 + number % 2, user=AWKWARD[number % 9]) for number in range(900)])
    dead = list(range(0, 900, 3))
    client.delete(*(f"order:{number}" for number in dead))
    client.set("user_orders:foreign", "no set")
    calls = removed = 0
    while removed < 600:
        removed += store.sweep(100)
        calls += 1
        assert calls < 40
    assert calls > 4
    left = {number for number in range(900) if number % 3}
    assert numbers(client.smembers("side_orders:1")) | numbers(client.smembers("side_orders:2")) == left
    assert set().union(*(numbers(client.smembers(f"user_orders:{name}")) for name in AWKWARD[:9])) == left
    assert sum(store.sweep() for _ in range(3)) == 0
    assert len(store.get_all()) == 600


def test_sweep_leaves_what_came_back(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(1))
    client.sadd("side_orders:1", "77", "junk")
    client.sadd("user_orders:alice", "1", "78")
    assert store.sweep() == 3
    assert ids(store.get_by_side("buy")) == ids(store.get_by_user("alice")) == [1]


def test_ids_that_belong_elsewhere_are_taken_out_of_a_set(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save_batch([order(1), order(2, "sell", user="bob"), finished(3)])
    client.sadd("user_orders:alice", "2", "99", "junk", "01", str(2**70))
    client.sadd("side_orders:1", "2", "3", "99", "-1")
    assert ids(store.get_by_user("alice")) == [1, 3]
    assert ids(store.get_by_side(1)) == [1]
    assert client.smembers("user_orders:alice") == {"1", "3"}
    assert client.smembers("side_orders:1") == {"1"}
    assert store.stats().counts["pruned"] == 9


def test_names_of_an_engine_are_never_added_to(store: RedisOrderStore, valkey: str) -> None:
    store.save(order(1, user="stranger"))
    engines = Names([ETH], ["alice"])
    with RedisOrderStore(valkey, **PATIENT) as other:
        other.attach_names(engines)
        assert other.names is engines
        assert other.get(1) == order(1, user="stranger")
        assert (engines.instruments, engines.users) == ([ETH], [None, "alice"])
        with pytest.raises(FieldError, match="known to the engine"):
            other.save(order(2, user="stranger", instrument=ETH, price=1))
        with pytest.raises(FieldError, match="known to the engine"):
            other.save(order(2))
        assert other.save(order(2, user="alice", instrument=ETH, price=1))
        with pytest.raises(FieldError, match="names must be those of the engine"):
            other.attach_names(Names())
        other.attach_names(engines)
    with pytest.raises(FieldError, match="names must be given before anything was stored"):
        store.attach_names(Names())
    with pytest.raises(FieldTypeError):
        store.attach_names({})


def test_prefixes_keep_stores_apart(valkey: str, client: redis.Redis) -> None:
    prefixes = ["", "a:", "*:", "[a]", "%d", "日本:"]
    stores = [RedisOrderStore(valkey, **PATIENT, prefix=prefix) for prefix in prefixes]
    for number, store in enumerate(stores, 1):
        store.save_batch([order(number), order(100, user="bob", version=number)])
    for number, store in enumerate(stores, 1):
        assert ids(store.get_all()) == [number, 100]
        assert store.get(100).version == number
        assert ids(store.get_by_user("alice")) == [number]
        assert ids(store.get_by_side("buy")) == [number, 100]
        assert store.sweep() == 0
        assert store.remove(100)
        store.close()
    assert client.exists("*:order:3", "日本:user_orders:alice") == 2


def test_is_empty(store: RedisOrderStore, client: redis.Redis) -> None:
    assert store.is_empty()
    client.mset({f"other:{number}": 1 for number in range(3000)})
    assert store.is_empty()
    store.save(order(1))
    assert not store.is_empty()


def test_times_at_both_ends(store: RedisOrderStore) -> None:
    given = [
        order(1, created_ns=-(2**63), updated_ns=2**63 - 1),
        order(2, created_ns=-1),
        order(3, created_ns=NOW_NS // 1000 * 1000),
    ]
    store.save_batch(given)
    assert store.get_all() == given


@pytest.mark.parametrize(
    "wrong", [{"ttl_s": 0}, {"ttl_s": -1.0}, {"ttl_s": float("nan")}, {"ttl_s": "1"}, {"names": []}, {"prefix": 5}]
)
def test_parameters_that_cannot_be(valkey: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        RedisOrderStore(valkey, **wrong)
