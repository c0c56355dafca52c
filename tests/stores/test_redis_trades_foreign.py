"""Redis wiped, or with what others put under the key of trades: reported with its place or healed, never believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from stores.redis_rows import KEY, PATIENT, ids, stored_ids, trade

from pyengine.store_errors import StoreDamaged
from pyengine.stores.redis import RedisTradeStore


@pytest.fixture
def store(valkey: str) -> Iterator[RedisTradeStore]:
    with RedisTradeStore(valkey, **PATIENT) as store:
        yield store


def test_a_wipe_at_any_moment(store: RedisTradeStore, client: redis.Redis, valkey: str) -> None:
    for number in range(1, 30, 3):
        assert store.save_batch([trade(number), trade(number + 1), trade(number + 2)]) == 3
        client.flushdb()
        assert store.get_recent() == []
        assert not store.complete_for(1)
        assert store.save(trade(number))
        client.delete("instruments")
    assert store.save(trade(50))
    with RedisTradeStore(valkey, **PATIENT) as other:
        assert other.get_recent(1) == [trade(50)]
    assert ids(store.get_recent()) == [50, 28]


def test_another_type_under_the_key_gives_way_to_what_is_saved(store: RedisTradeStore, client: redis.Redis, valkey: str) -> None:
    store.save(trade(5))
    for number, writer in ((6, store), (7, RedisTradeStore(valkey, **PATIENT)), (1, store)):
        client.delete(KEY, "instruments")
        client.set(KEY, "no sorted set")
        client.set("instruments", "no hash")
        for read in (store.get_recent, lambda: store.complete_for(1), store.is_empty):
            with pytest.raises(StoreDamaged, match=f"redis at {store.address}, key {KEY}: must be a sorted set"):
                read()
        assert writer.save(trade(number))
        assert store.get_recent() == [trade(number)]
        if writer is not store:
            writer.close()


@pytest.mark.parametrize(
    "member", ["", "junk", "[1]", '{"trade_id":"5"}', '{"trade_id":-1}', b"\xff\x00", '{"trade_id":9', f'{{"trade_id":{2**64}}}']
)
@pytest.mark.parametrize("score", [0.5, 1.9e18, "inf"])
def test_a_foreign_member_is_reported_and_goes_with_the_next_late_trade(
    store: RedisTradeStore, client: redis.Redis, member: Any, score: Any
) -> None:
    store.save(trade(1))
    client.zadd(KEY, {member: score})
    assert not store.complete_for(2)
    store.save_batch([trade(number) for number in (1, 2, 3, 5)])
    client.zadd(KEY, {member: score})
    with pytest.raises(StoreDamaged, match=f"redis at {store.address}, key {KEY}, index -"):
        store.get_recent()
    assert not store.complete_for(5)
    assert store.save(trade(4))
    assert store.save(trade(6))
    if score == 0.5:
        # It is below all of ours and goes when the set is full, or when somebody looks that far.
        assert store.save_batch([trade(1), trade(7)]) == 1
    else:
        assert store.save(trade(7))
    assert ids(store.get_recent()) == [7, 6, 5, 4, 3, 2, 1]


def test_members_edited_by_hand(store: RedisTradeStore, client: redis.Redis) -> None:
    store.save_batch([trade(1), trade(2)])
    newest = client.zrange(KEY, -1, -1)[0]
    for old, new, said in (
        ('"price":100.5', '"price":100.7', "price must be a multiple of 0.5"),
        ('"side":1', '"side":3', "side must be"),
        ('"quantity":3', '"quantity":0', "qty_lots must be"),
        ("2025-01-15", "2025-13-15", "timestamp must be an RFC 3339 time"),
        ('"symbol":"BTC-USD",', "", "symbol must be there"),
    ):
        client.zrem(KEY, newest)
        client.zadd(KEY, {newest.replace(old, new): 2e18})
        with pytest.raises(StoreDamaged, match=f"key {KEY}, index -1: {said}"):
            store.get_recent()
        client.zremrangebyrank(KEY, -1, -1)
    client.zadd(KEY, {json.dumps(json.loads(newest)): 2e18})
    assert store.get_recent() == [trade(2), trade(1)]
    assert store.save_batch([trade(2), trade(3)]) == 1
    client.zadd(KEY, {newest.replace('"seq":6', '"seq":7'): 2.1e18})
    with pytest.raises(StoreDamaged, match="trade 2 must be the same everywhere"):
        store.get_recent()


@pytest.mark.parametrize("score", ["inf", "-inf", 1e300, -1e300, 0.5])
def test_scores_edited_by_hand(store: RedisTradeStore, client: redis.Redis, valkey: str, score: Any) -> None:
    store.save_batch([trade(1), trade(2), trade(3)])
    client.zadd(KEY, {client.zrange(KEY, -1, -1)[0]: score})
    with RedisTradeStore(valkey, **PATIENT) as other:
        assert other.save(trade(4))
        assert other.save_batch([trade(number) for number in range(1, 6)]) == 1
    assert stored_ids(client) == [1, 2, 3, 4, 5]
    assert store.save(trade(6))
    assert stored_ids(client) == [1, 2, 3, 4, 5, 6]
