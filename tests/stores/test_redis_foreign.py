"""Redis wiped, or with what others put under the keys of orders: reported with its place or healed, never believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from stores.redis_rows import BTC, PATIENT, finished, order

from pyengine.errors import FieldError
from pyengine.store_errors import StoreDamaged
from pyengine.stores import Names
from pyengine.stores.redis import RedisOrderStore


@pytest.fixture
def store(valkey: str) -> Iterator[RedisOrderStore]:
    with RedisOrderStore(valkey, **PATIENT) as store:
        yield store


def test_a_wipe_at_any_moment(store: RedisOrderStore, client: redis.Redis, valkey: str) -> None:
    for version in range(5):
        store.save(order(1, version=version))
        client.flushdb()
        assert store.get(1) is None
        assert store.get_all() == store.get_by_user("alice") == store.get_by_side("buy") == []
        assert not store.remove(1)
    store.save(order(1))
    with RedisOrderStore(valkey, **PATIENT) as other:
        assert other.get(1).instrument == BTC
    client.delete("instruments")
    store.save(order(2))
    with RedisOrderStore(valkey, **PATIENT) as other:
        assert other.get_by_user("alice") == [order(1), order(2)]


def test_another_type_under_a_key_gives_way_to_what_is_saved(store: RedisOrderStore, client: redis.Redis) -> None:
    def spoil() -> None:
        client.flushdb()
        for key in ("order:1", "user_orders:alice", "side_orders:1", "side_orders:2", "instruments"):
            client.rpush(key, "a list")

    spoil()
    with pytest.raises(StoreDamaged, match="key order:1: must be of the type"):
        store.get(1)
    with pytest.raises(StoreDamaged, match="key user_orders:alice: must be of the type"):
        store.get_by_user("alice")
    with pytest.raises(StoreDamaged, match="key side_orders:2: must be of the type"):
        store.get_by_side("sell")
    assert store.sweep() == 0
    assert store.save(order(1))
    assert store.get_all() == store.get_by_user("alice") == store.get_by_side("buy") == [order(1)]
    store.save(finished(1, version=1))
    assert client.type("side_orders:2") == "none"
    spoil()
    assert store.save(order(2))
    assert client.type("instruments") == "hash"
    spoil()
    assert not store.update(order(1))
    assert not store.remove(1)
    assert client.type("order:1") == "none"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "value must be a JSON object"),
        ("\xff", "value must be a JSON object"),
        ('{"order_id":1}', "symbol must be there"),
        (b"\x80\x04\x95", "value must be a JSON object"),
        ('{"order_id":2,', "value must be a JSON object"),
    ],
)
def test_a_foreign_value_is_reported_with_its_key(store: RedisOrderStore, client: redis.Redis, value: Any, said: str) -> None:
    store.save(order(1))
    client.set("order:1", value)
    for read in (lambda: store.get(1), store.get_all, lambda: store.get_by_user("alice"), lambda: store.get_by_side(1)):
        with pytest.raises(StoreDamaged, match=f"redis at {store.address}, key order:1: {said}"):
            read()
    assert store.stats().counts["errors"] == 4
    assert store.save(order(1))
    assert store.get(1) == order(1)


def test_values_edited_by_hand(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(1, version=5))
    good = client.get("order:1") or ""
    for old, new, said in (
        ('"order_id":1,', '"order_id":2,', "order_id must be 1, was 2"),
        ('"price":100.5', '"price":100.3', "price must be a multiple of 0.5"),
        ('"price":100.5', '"price":1e2', ""),
        ('"size":3', '"size":"3"', "size must be a number"),
        ('"side":1', '"side":9', "side must be"),
        ('"status":1', '"status":2', "status must be"),
        ('"user_id":"alice"', '"user_id":"a\\u0000"', "user must be"),
    ):
        client.set("order:1", good.replace(old, new))
        if said:
            with pytest.raises(StoreDamaged, match=said):
                store.get(1)
    client.set("order:1", json.dumps(json.loads(good) | {"version": 9}))
    assert store.get(1).version == 9
    assert not store.save(order(1, version=8))
    assert store.save(order(1, version=10))


def test_definitions_edited_by_hand(store: RedisOrderStore, client: redis.Redis, valkey: str) -> None:
    store.save(order(1))
    good = client.hget("instruments", "BTC-USD") or ""
    place = f"redis at {store.address}, key instruments"
    for value, said in (
        ("junk", f"{place}, field BTC-USD: value must be a JSON object"),
        (good.replace("BTC", "ETH"), f"{place}, field BTC-USD: symbol must be BTC-USD, was ETH-USD"),
        (good.replace('"0.5"', '"0"'), f"{place}, field BTC-USD: tick_size must be above 0"),
        (good.replace('"0.5"', '"0.25"'), f"{place}, field BTC-USD: instrument must be Instrument"),
    ):
        client.hset("instruments", "BTC-USD", value)
        with RedisOrderStore(valkey, **PATIENT, names=Names([BTC])) as other, pytest.raises(StoreDamaged, match=said):
            other.get(1)
    with (
        RedisOrderStore(valkey, **PATIENT, names=Names([BTC])) as other,
        pytest.raises(FieldError, match="equal to the one in redis at"),
    ):
        other.save(order(2))
    client.hset("instruments", "BTC-USD", "junk")
    with RedisOrderStore(valkey, **PATIENT, names=Names([BTC])) as other:
        assert other.save(order(2))
    assert client.hget("instruments", "BTC-USD") == good
    client.delete("instruments")
    client.rpush("instruments", "a list")
    with RedisOrderStore(valkey, **PATIENT) as other, pytest.raises(StoreDamaged, match=f"{place}: must be a hash"):
        other.get(1)


def test_a_symbol_that_nobody_defined_is_not_guessed(store: RedisOrderStore, client: redis.Redis, valkey: str) -> None:
    store.save(order(1))
    client.delete("instruments")
    with RedisOrderStore(valkey, **PATIENT) as other:
        with pytest.raises(
            StoreDamaged, match="key instruments, field BTC-USD: must be the definition of an instrument, was missing"
        ):
            other.get(1)
        assert other.names.instruments == []
        store.save(order(2))
        assert other.get(1) == order(1)
    client.delete("instruments")
    with RedisOrderStore(valkey, **PATIENT, names=Names([BTC])) as other:
        assert other.get(1) == order(1)
