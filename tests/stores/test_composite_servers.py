"""Composites over real servers that are paused, killed and started again while orders and trades come in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores.composite_setup import BTC, ids, order, order_rows, trade_rows
from stores.gated import eventually
from stores.servers import PostgresServer, ValkeyServer

from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore

COUNT = 20_000
OPTIONS = {
    "redis": LayerOptions(read_deadline_s=0.2, pause_s=0.1, longest_pause_s=0.2),
    "postgres": LayerOptions(read_deadline_s=2, pause_s=0.1, longest_pause_s=0.2),
}


@pytest.fixture
def valkey_here(own_valkey: Callable[..., ValkeyServer]) -> ValkeyServer:
    return own_valkey()


@pytest.fixture
def postgres_here(own_postgres: Callable[..., PostgresServer]) -> PostgresServer:
    # What it has said to be committed must be there after a kill.
    return own_postgres(durable=True)


def orders_on(valkey: ValkeyServer, postgres: PostgresServer, **options: Any) -> CompositeOrderStore:
    """Make the orders of the third mode."""
    layers = (
        RedisOrderStore(valkey.url, write_timeout_s=0.5),
        PostgresOrderStore(postgres.url, lazy=True, command_timeout_s=1),
    )
    store = CompositeOrderStore(InMemoryOrderStore(), *layers, **{"options": OPTIONS, **options})
    store.names.add_user("alice")
    store.names.add_instrument(BTC)
    return store


def trades_on(valkey: ValkeyServer, postgres: PostgresServer, path: Path) -> CompositeTradeStore:
    """Make the trades of the third mode."""
    layers = (
        RedisTradeStore(valkey.url, write_timeout_s=0.5),
        PostgresTradeStore(postgres.url, lazy=True, command_timeout_s=1),
        FileTradeStore(path, fsync="never"),
    )
    store = CompositeTradeStore(InMemoryTradeStore(1000), *layers, options=OPTIONS)
    store.names.add_instrument(BTC)
    return store


@contextmanager
def under_load(write: Callable[[int], object], batches: int = 100) -> Iterator[list[float]]:
    """Write in a thread while the test does something to the servers; gives the time that each write took."""
    times: list[float] = []

    def work() -> None:
        for i in range(batches):
            start = time.perf_counter()
            write(i)
            times.append(time.perf_counter() - start)
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield times
    finally:
        thread.join(120)
    assert len(times) == batches


def test_four_layers_hold_the_same(valkey_here: ValkeyServer, postgres_here: PostgresServer, tmp_path: Path) -> None:
    with trades_on(valkey_here, postgres_here, tmp_path / "trades.log") as store:
        for first in range(1, COUNT, 1000):
            assert store.save_batch(trade_rows(first, 1000)) == 1000
        assert store.flush(timeout_s=30).done == ("memory", "redis", "postgres", "file")
        assert store.get_recent(1000).layer == "memory"
        assert store.get_recent(5000).layer == "redis"
        found = store.get_recent(COUNT)
        assert (found.layer, ids(found)) == ("postgres", list(range(COUNT, 0, -1)))
        assert len((tmp_path / "trades.log").read_bytes().splitlines()) == COUNT
        assert postgres_here.execute("SELECT count(*) FROM trades")[0][0] == COUNT


@pytest.mark.parametrize("spoil", ["pause", "kill", "restart"])
@pytest.mark.parametrize("which", ["redis", "postgres"])
def test_an_outage_under_load_loses_nothing(
    spoil: str, which: str, valkey_here: ValkeyServer, postgres_here: PostgresServer
) -> None:
    server = valkey_here if which == "redis" else postgres_here
    with orders_on(valkey_here, postgres_here) as store:
        store.save_batch(order_rows(1, 10))
        assert store.flush(timeout_s=20)
        with under_load(lambda i: store.save_batch(order_rows(11 + 100 * i, 100)), batches=150) as times:
            time.sleep(0.3)
            {"pause": server.pause, "kill": server.kill, "restart": server.stop}[spoil]()
            time.sleep(1)
            assert store.get(5) == store.get_all()[4]
            server.resume() if spoil == "pause" else server.start()
        assert np.percentile(times, 90) < 0.05, "nobody waits for a layer"
        assert store.flush(timeout_s=60).done == ("memory", "redis", "postgres"), store.stats()
        everything = store.get_all()
        assert len(everything) == 15_010
        assert store.layers[1].store.get_all() == everything
        if which == "postgres" or spoil == "pause":
            assert store.layers[0].store.get_all() == everything
        assert store.stats().layers[1 + (which == "postgres")].counts["missed"] == 0


def test_redis_may_be_away_at_the_start(
    own_valkey: Callable[..., ValkeyServer], postgres_here: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    valkey = own_valkey()
    valkey.stop()
    with orders_on(valkey, postgres_here) as store:
        store.save_batch(order_rows(1, 100))
        assert store.flush(["postgres"], timeout_s=20)
        eventually(lambda: "redis is out of reach" in caplog.text)
        assert caplog.text.count("redis is out of reach") == 1
        assert "Redis cache connected successfully" not in caplog.text
        assert len(store.get_all()) == 100
        valkey.start()
        assert store.flush(timeout_s=20)
        assert "Redis cache connected successfully" in caplog.text
        assert len(store.layers[0].store.get_all()) == 100


def test_reads_fall_through_paused_servers_within_their_deadlines(
    valkey_here: ValkeyServer, postgres_here: PostgresServer
) -> None:
    with orders_on(valkey_here, postgres_here) as writer:
        writer.save_batch(order_rows(1, 100))
        assert writer.flush(timeout_s=20)
    with orders_on(valkey_here, postgres_here, sole_writer=False) as store:
        eventually(lambda: all(layer.greeted for layer in store.layers))
        valkey_here.pause()
        start = time.monotonic()
        assert store.get(1) == order(1, qty="0.005")
        assert 0.04 < time.monotonic() - start < 4
        postgres_here.pause()
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get(2)
        assert time.monotonic() - start < 5
        valkey_here.resume()
        postgres_here.resume()
        eventually(lambda: all(layer.breaker.closed for layer in store.layers))
        assert store.get(2) == order(2, qty="0.005")


@pytest.mark.parametrize("wipe", ["FLUSHALL", "restart"])
def test_wiping_redis_changes_no_answer(wipe: str, valkey_here: ValkeyServer, postgres_here: PostgresServer) -> None:
    with orders_on(valkey_here, postgres_here, sole_writer=False) as store:
        store.save_batch(order_rows(1, 300))
        assert store.flush(timeout_s=20)
        store._memory.clear()
        before = (store.get(7), store.get_all(), store.get_by_user("alice"), store.get_by_side("buy"))
        if wipe == "restart":
            valkey_here.stop()
            valkey_here.start()
        else:
            valkey_here.command("FLUSHALL")
        store._memory.clear()
        assert (store.get(7), store.get_all(), store.get_by_user("alice"), store.get_by_side("buy")) == before
        eventually(lambda: store.layers[0].store.get(7) == before[0])


def test_two_nodes_share_redis_and_postgres(valkey_here: ValkeyServer, postgres_here: PostgresServer) -> None:
    with (
        orders_on(valkey_here, postgres_here, sole_writer=False) as one,
        orders_on(valkey_here, postgres_here, sole_writer=False) as two,
    ):
        one.names.add_user("bob")
        for i in range(1, 51):
            one.save(order(i, user="bob", version=i))
            two.save(order(1000 + i, user="carol", version=i))
        assert one.flush(timeout_s=20)
        assert two.flush(timeout_s=20)
        assert one.get_all() == two.get_all()
        assert ids(two.get_by_user("bob")) == list(range(1, 51))
        assert two.get(1).user == "bob"
        assert len(one.get_by_side("buy")) == 100
        two.save(order(3, user="bob", version=900, status="cancelled"))
        assert two.flush(timeout_s=20)
        assert 3 not in ids(one.get_by_side("buy"))
