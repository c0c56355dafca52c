"""Index sets of orders in Redis, when orders are saved again and sets are lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from stores.redis_rows import PATIENT, finished, order

from pyengine.stores.redis import RedisOrderStore


@pytest.fixture
def store(valkey: str) -> Iterator[RedisOrderStore]:
    with RedisOrderStore(valkey, **PATIENT) as store:
        yield store


def test_an_order_that_opens_again_is_in_its_sets_again(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(1, "sell"))
    store.save(finished(1, "sell", version=1))
    assert client.exists("side_orders:2") == 0
    store.save(order(1, "sell", version=2))
    assert client.smembers("side_orders:2") == client.smembers("user_orders:alice") == {"1"}


def test_sets_live_as_long_as_orders_that_are_saved_again(store: RedisOrderStore, client: redis.Redis) -> None:
    store.save(order(1))
    for key in ("order:1", "user_orders:alice", "side_orders:1"):
        client.expire(key, 100)
    store.save(order(1, version=1))
    assert min(client.ttl(key) for key in ("order:1", "user_orders:alice", "side_orders:1")) > 86_000


def test_sets_that_are_lost_get_back_what_is_saved_again(store: RedisOrderStore, client: redis.Redis) -> None:
    before = [order(1), order(2, user="bob"), order(3, user=None), order(4, "sell")]
    store.save_batch(before)
    client.delete("user_orders:alice", "side_orders:2")
    client.set("side_orders:1", "no set")
    store.save_batch([order(1, version=1), order(2, user="bob", version=1), order(3, user=None, version=1)])
    assert (client.smembers("side_orders:1"), client.smembers("user_orders:alice")) == ({"1", "2", "3"}, {"1"})
    assert client.exists("side_orders:2") == 0
    store.save(order(4, "sell", version=1))
    assert client.smembers("side_orders:2") == {"4"}
    assert client.smembers("user_orders:bob") == {"2"}
    # Of the same version it may be the second try of a save that failed.
    assert client.smembers("user_orders:alice") == {"1"}
    store.save(order(4, "sell", version=1))
    assert client.smembers("user_orders:alice") == {"1", "4"}
    assert client.ttl("side_orders:2") > 86_000
