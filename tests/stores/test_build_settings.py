"""What further settings make of the stores: sizes, layers, clean-up, and that nothing stays open and no secret is shown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis
from prometheus_client import generate_latest
from stores.deployments import BTC, SECRET, Ledger, Tape, distributed, order, single_node, trade, types_of, until
from stores.servers import PostgresServer, ValkeyServer, run_sql

from pyengine import InMemoryOrderStore
from pyengine.metrics import registry_of
from pyengine.settings import Settings
from pyengine.store_errors import SettingsError, StoreClosed, StoreFull, StoreUnavailable
from pyengine.stores import Names
from pyengine.stores.audit import verify_log
from pyengine.stores.build import build_stores


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the trade log where nobody else does."""
    monkeypatch.chdir(tmp_path)


# --- further settings -------------------------------------------------------------------------------------------------


def test_sizes_and_times_reach_the_stores(postgres_database: str, valkey: str) -> None:
    settings = distributed(
        postgres_database,
        valkey,
        trade_history_size=3,
        redis_trades=5,
        redis_ttl="90s",
        redis_timeout="70ms",
        trade_log_path="audit/trades.log",
        trade_log_rotate_size="1KiB",
        trade_log_chain_interval="10s",
        store_ring_capacity=1024,
    )
    Path("audit").mkdir()
    with build_stores(settings) as stores:
        stores.order_store.save(order())
        for number in range(1, 41):
            stores.trade_store.save(trade(number))
        assert all(stores.flush().values())
        memory, cache, *_ = stores.stats()["trades"].layers
        assert memory.gauges["capacity"] == 3
        assert stores.stats()["orders"].gauges["ring_capacity"] == 1024
        assert stores.order_store.layers[0].read_deadline_s == 0.07  # type: ignore[attr-defined]
        with redis.Redis.from_url(valkey) as client:
            assert client.zcard("trades:recent") == 5
            assert 80 < client.ttl("order:42") <= 90
        assert cache.counts["written"] == 40
    assert len(list(Path("audit").glob("trades.log.0*"))) >= 3
    assert verify_log("audit/trades.log").lines == 40


def test_the_chain_may_be_left_out() -> None:
    with build_stores(Settings.load({"TRADE_LOG_CHAIN": "false"}, env_file=None)) as stores:
        stores.trade_store.save(trade(1))
    assert Path("trades.log").stat().st_size > 0
    assert not Path("trades.log.chain").exists()


@pytest.mark.parametrize("wait", ["postgres", "all", "file,postgres"])
def test_a_write_waits_for_the_layers_that_are_named(postgres_database: str, wait: str) -> None:
    with build_stores(single_node(postgres_database, store_wait=wait)) as stores:
        stores.order_store.save(order())
        assert run_sql(postgres_database, "SELECT order_id FROM orders") == [(42,)]
        stores.trade_store.save(trade())
        assert run_sql(postgres_database, "SELECT trade_id FROM trades") == [(1,)]


@pytest.mark.parametrize(("policy", "wait", "least_s", "most_s"), [("refuse", "30s", 0, 30), ("wait", "200ms", 0.2, 30)])
def test_a_full_ring_refuses_or_waits(
    own_postgres: Callable[..., PostgresServer], policy: str, wait: str, least_s: float, most_s: float
) -> None:
    server = own_postgres()
    settings = single_node(server.url, store_ring_capacity=64, store_ring_full=policy, store_ring_wait=wait)
    with build_stores(settings) as stores:
        stores.order_store.save(order())
        assert stores.flush()["orders"]
        server.pause()
        began = time.monotonic()
        with pytest.raises(StoreFull):
            list(map(stores.order_store.save, map(order, range(1_000))))
        assert least_s <= time.monotonic() - began < most_s
        server.resume()


def test_sqlite_is_one_more_layer() -> None:
    settings = Settings(sqlite_path="x.db")
    with build_stores(settings) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "SQLiteOrderStore"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "SQLiteTradeStore", "FileTradeStore"]
        stores.order_store.save(order())
    with build_stores(settings) as stores:
        assert stores.order_store.get(42) == order()


def test_stores_of_ones_own_are_further_layers() -> None:
    Ledger.kept.clear()
    Tape.kept.clear()
    settings = Settings(
        order_stores="stores.deployments:Ledger", trade_stores="stores.deployments:Tape", store_wait="ledger,tape"
    )
    with build_stores(settings) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "Ledger"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "Tape", "FileTradeStore"]
        stores.order_store.save(order())
        stores.trade_store.save(trade())
        assert [*Ledger.kept] == [42], "the write has waited for it"
        assert [found.trade_id for found in Tape.kept] == [1]
        closed = Ledger.closed
    assert Ledger.closed == closed + 1


def test_a_store_that_cannot_be_made_leaves_nothing_open(postgres_database: str, valkey: str) -> None:
    def connections() -> int:
        [[count]] = run_sql(postgres_database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pyengine'")
        return int(count)

    threads = threading.active_count()
    before = connections()
    closed = Ledger.closed
    settings = distributed(postgres_database, valkey, order_stores="stores.deployments:Ledger,no_such_module:Store")
    with pytest.raises(SettingsError, match="no_such_module"):
        build_stores(settings)
    assert Ledger.closed == closed + 1
    until(lambda: connections() == before, "every connection was closed")
    until(lambda: threading.active_count() <= threads + 1, "every thread but the one for input and output has ended")
    with build_stores(Settings()), pytest.raises(StoreUnavailable, match=r"trades\.log"):
        build_stores(single_node(postgres_database))
    until(lambda: connections() == before, "every connection was closed")


def test_closing_writes_what_is_on_its_way_and_closes_everything(postgres_database: str, valkey: str) -> None:
    stores = build_stores(distributed(postgres_database, valkey, order_cleanup_enabled=True))
    for number in range(2_000):
        stores.order_store.save(order(number))
    stores.close()
    stores.close()
    assert run_sql(postgres_database, "SELECT count(*) FROM orders") == [(2_000,)]
    with pytest.raises(StoreClosed):
        stores.order_store.save(order())
    with pytest.raises(StoreClosed):
        stores.trade_store.save(trade())
    assert stores.cleanup is not None
    assert not stores.cleanup.running


def test_names_of_the_caller_are_used() -> None:
    names = Names([BTC], ["alice"])
    with build_stores(Settings(), names) as stores:
        assert stores.order_store.names is names  # type: ignore[attr-defined]
        assert stores.trade_store.names is names  # type: ignore[attr-defined]


# --- clean-up ---------------------------------------------------------------------------------------------------------


def test_clean_up_empties_memory_and_keeps_what_is_below(postgres_database: str) -> None:
    settings = single_node(postgres_database, order_cleanup_enabled=True, order_cleanup_interval="1s", order_cleanup_age="1s")
    now = time.time_ns()
    with build_stores(settings) as stores:
        stores.order_store.save(order(1, status="filled", created_ns=1, updated_ns=1))
        stores.order_store.save(order(2, created_ns=1, updated_ns=1))
        stores.order_store.save(order(3, status="filled", created_ns=now, updated_ns=now + 10**12))
        memory: InMemoryOrderStore = stores.order_store.memory_layer  # type: ignore[attr-defined]
        until(lambda: memory.get(1) is None, "the finished order left memory")
        assert stores.cleanup is not None
        assert stores.stats()["cleanup"].counts["removed"] == 1
        assert [found.order_id for found in memory.get_all()] == [2, 3]
        assert [found.order_id for found in stores.order_store.get_all()] == [1, 2, 3], "Postgres has it still"
        assert stores.order_store.get(1) is not None


def test_no_clean_up_unless_asked_for() -> None:
    with build_stores(Settings()) as stores:
        assert stores.cleanup is None
    with build_stores(Settings(order_cleanup_enabled=True, order_memory_enabled=False, sqlite_path="x.db")) as stores:
        assert stores.cleanup is None, "without memory there is nothing to clean up"


# --- two nodes, numbers, secrets --------------------------------------------------------------------------------------


def test_two_nodes_share_what_they_know(postgres_database: str, valkey: str) -> None:
    one = build_stores(distributed(postgres_database, valkey, trade_log_path="one.log"))
    two = build_stores(distributed(postgres_database, valkey, trade_log_path="two.log"))
    with closing(one), closing(two):
        one.order_store.save(order(1))
        assert one.flush()["orders"]
        assert two.order_store.get(1) == order(1)
        two.order_store.save(order(2))
        assert two.flush()["orders"]
        assert [found.order_id for found in one.order_store.get_all()] == [1, 2]


def test_metrics_of_all_layers(postgres_database: str, valkey: str) -> None:
    with build_stores(distributed(postgres_database, valkey, order_cleanup_enabled=True)) as stores:
        stores.order_store.save(order())
        stores.trade_store.save(trade())
        stores.flush()
        text = generate_latest(registry_of(stores.counted)).decode()
    assert 'pyengine_store_written_total{layer="postgres",store="orders"} 1.0' in text
    assert 'pyengine_store_written_total{layer="redis",store="trades"} 1.0' in text
    assert 'pyengine_store_lag_seconds{layer="file",store="trades"} 0.0' in text
    assert 'pyengine_store_breaker_state{layer="redis",state="closed",store="orders"} 1.0' in text
    assert 'pyengine_store_runs_total{layer="cleanup",store="cleanup"}' in text


def test_no_secret_is_shown_anywhere(
    own_postgres: Callable[..., PostgresServer], own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    database, cache = own_postgres(password=SECRET), own_valkey(password=SECRET)
    settings = distributed(database.url, cache.url)
    with caplog.at_level(logging.DEBUG), build_stores(settings) as stores:
        stores.order_store.save(order())
        shown = [repr(stores), repr(stores.stats()), generate_latest(registry_of(stores.counted)).decode()]
        shown += [repr(layer.store) for layer in stores.order_store.layers]  # type: ignore[attr-defined]
        database.kill()
        cache.kill()
        stores.order_store.save(order(43))
        stores.flush(1)
        with pytest.raises(StoreUnavailable) as error:
            stores.order_store.get(7)
        shown += [repr(stores.stats()), str(error.value)]
    assert SECRET not in "".join([*shown, caplog.text])
