"""The stores of a deployment: which there are, and that nothing but the configuration makes the difference."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import generate_latest
from stores.servers import PostgresServer, ValkeyServer, run_sql

from pyengine import Engine, InMemoryOrderStore, Instrument, Order, Trade
from pyengine.metrics import registry_of
from pyengine.settings import Settings
from pyengine.store_errors import SchemaError, SettingsError, StoreClosed, StoreFull, StoreUnavailable
from pyengine.stores import Names
from pyengine.stores.build import build_stores
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.interfaces import OrderStore, TradeStore

SECRET = "hunter2"
BTC = Instrument("BTC-USD", "0.01", "0.001")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the trade log where nobody else does."""
    monkeypatch.chdir(tmp_path)


def order(order_id: int = 42, **fields: Any) -> Order:
    return Order(order_id, "buy", **{"instrument": BTC, "price": "100.5", "qty": "0.5", "user": "alice"} | fields)


def trade(trade_id: int = 1) -> Trade:
    return Trade(trade_id, 42, 99, price_ticks=10_050, qty_lots=250, side="buy", instrument=BTC, ts_ns=1)


def types_of(store: Any) -> list[str]:
    """Name the classes of a stack, memory first."""
    if not isinstance(store, (CompositeOrderStore, CompositeTradeStore)):
        return [type(store).__name__]
    memory = [] if store.memory_layer is None else [store.memory_layer]
    return [type(layer).__name__ for layer in (*memory, *(layer.store for layer in store.layers))]


def until(condition: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def single_node(url: str, **fields: Any) -> Settings:
    return Settings(database_enabled=True, database_url=url, **fields)


def distributed(postgres_url: str, redis_url: str, **fields: Any) -> Settings:
    return single_node(postgres_url, redis_enabled=True, redis_url=redis_url, **fields)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- the modes --------------------------------------------------------------------------------------------------------


def test_development() -> None:
    with build_stores(Settings()) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore"]
        assert isinstance(stores.trade_store, CompositeTradeStore)
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "FileTradeStore"]
        stores.order_store.save(order())
        stores.trade_store.save(trade())
        assert all(stores.flush().values())
    assert Path("trades.log").read_text().count("\n") == 1
    with build_stores(Settings()) as stores:
        assert stores.order_store.get(42) is None, "orders are lost on restart"
        assert [found.trade_id for found in stores.trade_store.get_recent(10)] == [1]


def test_single_node(postgres_database: str) -> None:
    with build_stores(single_node(postgres_database)) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "PostgresOrderStore"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "PostgresTradeStore", "FileTradeStore"]
        stores.order_store.save(order())
        stores.trade_store.save(trade())
    assert run_sql(postgres_database, "SELECT order_id, user_id FROM orders") == [(42, "alice")]
    assert run_sql(postgres_database, "SELECT trade_id, symbol FROM trades") == [(1, "BTC-USD")]
    assert '"trade_id":1,' in Path("trades.log").read_text()
    with build_stores(single_node(postgres_database)) as stores:
        assert stores.order_store.get(42) == order(), "data persist across restarts"
        assert stores.trade_store.get_recent(10) == [trade()]


def test_distributed(postgres_database: str, valkey: str) -> None:
    with build_stores(distributed(postgres_database, valkey)) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "RedisOrderStore", "PostgresOrderStore"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "RedisTradeStore", "PostgresTradeStore", "FileTradeStore"]
        stores.order_store.save(order())
        stores.trade_store.save(trade())
    with redis.Redis.from_url(valkey) as client:
        assert client.exists("order:42", "user_orders:alice", "side_orders:1", "trades:recent") == 4
        assert 86_000 < client.ttl("order:42") <= 86_400, "orders stay for a day"
    assert run_sql(postgres_database, "SELECT order_id FROM orders") == [(42,)]
    assert run_sql(postgres_database, "SELECT trade_id FROM trades") == [(1,)]
    assert '"trade_id":1,' in Path("trades.log").read_text()


def test_redis_without_a_database(valkey: str) -> None:
    with build_stores(Settings(redis_enabled=True, redis_url=valkey)) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "RedisOrderStore"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "RedisTradeStore", "FileTradeStore"]


def test_without_memory_redis_and_postgres_answer(postgres_database: str, valkey: str) -> None:
    """What the documentation says against high memory usage."""
    with build_stores(distributed(postgres_database, valkey, order_memory_enabled=False)) as stores:
        assert types_of(stores.order_store) == ["RedisOrderStore", "PostgresOrderStore"]
        assert stores.order_store.save(order())
        assert stores.order_store.get(42) == order()
        assert stores.order_store.get(43) is None
        assert stores.order_store.remove(42)
        assert stores.order_store.get(42) is None


@pytest.mark.parametrize("mode", ["development", "single node", "distributed"])
def test_the_same_code_in_every_mode(mode: str, request: pytest.FixtureRequest) -> None:
    settings = Settings()
    if mode != "development":
        settings = single_node(request.getfixturevalue("postgres_database"))
    if mode == "distributed":
        settings = distributed(request.getfixturevalue("postgres_database"), request.getfixturevalue("valkey"))
    assert settings.mode == mode
    with build_stores(settings) as stores:
        engine = Engine([BTC], order_store=stores.order_store, trade_store=stores.trade_store)
        resting = engine.submit("BTC-USD", "sell", qty="1", price="100.5", user="bob", ts_ns=1)
        taken = engine.submit("BTC-USD", "buy", qty="0.4", price="101", user="alice", ts_ns=2)
        engine.submit("BTC-USD", "buy", qty="3", price="99", user="alice", ts_ns=3)
        assert engine.flush_stores()
        assert all(stores.flush().values())
        maker = stores.order_store.get(resting.order_id)
        assert maker is not None
        assert (maker.user, maker.remaining, maker.status.name) == ("bob", Decimal("0.6"), "PARTIALLY_FILLED")
        assert taken.order_id in [found.order_id for found in stores.order_store.get_by_user("alice")]
        assert [found.price for found in stores.order_store.get_by_side("buy")] == [99]
        assert len(stores.order_store.get_all()) == 3
        [found] = stores.trade_store.get_recent(10)
        assert (found.price, found.qty, found.maker_id) == (Decimal("100.5"), Decimal("0.4"), resting.order_id)
        engine.close()
        for layer in getattr(stores.order_store, "layers", ()):
            assert [each.order_id for each in layer.store.get_all()] == [each.order_id for each in stores.order_store.get_all()]
        for layer in stores.trade_store.layers:  # type: ignore[attr-defined]
            assert [each.trade_id for each in layer.store.get_recent(10)] == [1], layer.name


# --- the migration guide ----------------------------------------------------------------------------------------------


def test_from_memory_to_postgres(postgres_database: str) -> None:
    """DATABASE_ENABLED=true and a restart: tables are made, orders from before are gone, new ones stay."""
    environment = {"DATABASE_URL": postgres_database}
    with build_stores(Settings.load(environment, None)) as stores:
        stores.order_store.save(order(1))
    environment["DATABASE_ENABLED"] = "true"
    with build_stores(Settings.load(environment, None)) as stores:
        assert stores.order_store.get(1) is None
        stores.order_store.save(order(2))
    with build_stores(Settings.load(environment, None)) as stores:
        assert [found.order_id for found in stores.order_store.get_all()] == [2]


def test_redis_joins_an_existing_deployment(postgres_database: str, valkey: str, caplog: pytest.LogCaptureFixture) -> None:
    """REDIS_ENABLED=true, a restart, and the line in the log that says so; what was there is found."""
    environment = {"DATABASE_ENABLED": "true", "DATABASE_URL": postgres_database, "REDIS_URL": valkey}
    with build_stores(Settings.load(environment, None)) as stores:
        stores.order_store.save(order())
    with (
        caplog.at_level(logging.INFO, "pyengine"),
        build_stores(Settings.load(environment | {"REDIS_ENABLED": "true"}, None)) as stores,
    ):
        assert stores.absent == {}
        assert stores.order_store.get(42) == order()
        assert stores.flush()
        with redis.Redis.from_url(valkey) as client:
            until(lambda: client.exists("order:42") == 1, "what Postgres had was put into Redis")
    assert [record.getMessage() for record in caplog.records].count("Redis cache connected successfully") == 1


# --- backends out of reach --------------------------------------------------------------------------------------------


def test_without_redis_at_the_start_postgres_goes_on(
    postgres_database: str, own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_valkey(password=SECRET)
    server.stop()
    settings = distributed(postgres_database, server.url, store_breaker_pause="100ms", store_breaker_longest_pause="200ms")
    with caplog.at_level(logging.INFO, "pyengine"), build_stores(settings) as stores:
        assert list(stores.absent) == ["redis"]
        [warning] = [
            record for record in caplog.records if record.name == "pyengine.stores.build" and record.levelname == "WARNING"
        ]
        assert warning.getMessage().startswith("Failed to connect to Redis, going on without it and trying again: redis at ")
        assert stores.order_store.save(order())
        assert stores.trade_store.save(trade())
        assert stores.order_store.flush(["postgres"]).done == ("postgres",)
        assert stores.trade_store.flush(["postgres", "file"])
        assert "Redis cache connected successfully" not in caplog.text
        server.start()
        until(lambda: "Redis cache connected successfully" in caplog.text, "Redis was found again")
        until(lambda: bool(stores.order_store.flush(["redis"], 1)), "Redis got the orders")
        until(lambda: bool(stores.trade_store.flush(["redis"], 1)), "Redis got the trades")
        assert server.command("EXISTS", "order:42", "trades:recent") == 2
    assert SECRET not in caplog.text


def test_without_postgres_at_the_start_the_rest_goes_on(
    own_postgres: Callable[..., PostgresServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_postgres(password=SECRET)
    server.stop()
    settings = single_node(server.url, store_breaker_pause="100ms", store_breaker_longest_pause="200ms")
    with caplog.at_level(logging.INFO, "pyengine"), build_stores(settings) as stores:
        assert list(stores.absent) == ["postgres"]
        assert "Failed to connect to PostgreSQL, going on without it and trying again" in caplog.text
        stores.order_store.save(order())
        assert stores.order_store.get(42) == order()
        with pytest.raises(StoreUnavailable):
            stores.order_store.get(43)
        server.start()
        until(lambda: bool(stores.order_store.flush(["postgres"], 1)), "Postgres got the order, in tables made just now")
        assert stores.order_store.get(43) is None
    assert server.execute("SELECT order_id FROM orders") == [(42,)]
    assert SECRET not in caplog.text


def test_a_required_database_has_to_be_there() -> None:
    settings = Settings(database_enabled=True, database_required=True, database_port=free_port(), database_password=SECRET)
    with pytest.raises(StoreUnavailable) as error:
        build_stores(settings)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("version", [0, 999])
def test_tables_of_another_release_are_refused(postgres_database: str, version: int) -> None:
    """Of a later one always; of an earlier one, here of none at all, where migrations are made by hand."""
    if version:
        build_stores(single_node(postgres_database)).close()
        run_sql(postgres_database, f"INSERT INTO schema_migrations (version, name) VALUES ({version}, 'later')")
    with pytest.raises(SchemaError, match="schema version must be"):
        build_stores(single_node(postgres_database, database_migrate=version != 0))


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


class Ledger(OrderStore):
    """A store as somebody else would write one, kept in a dict that outlives it."""

    name = "ledger"
    kept: dict[int, Order] = {}  # noqa: RUF012  outlives the store
    closed = 0

    def __init__(self, settings: Settings) -> None:
        assert settings.order_stores

    def save(self, order: Order) -> bool:
        self.kept[order.order_id] = order
        return True

    def update(self, order: Order) -> bool:
        return order.order_id in self.kept and self.save(order)

    def get(self, order_id: int) -> Order | None:
        return self.kept.get(order_id)

    def remove(self, order_id: int) -> bool:
        return self.kept.pop(order_id, None) is not None

    def get_all(self) -> list[Order]:
        return sorted(self.kept.values(), key=lambda order: order.order_id)

    def get_by_user(self, user: str) -> list[Order]:
        return [order for order in self.get_all() if order.user == user]

    def get_by_side(self, side: Any, symbol: str | None = None) -> list[Order]:
        raise NotImplementedError

    def close(self) -> None:
        type(self).closed += 1


class Tape(TradeStore):
    """A trade store of the same kind."""

    name = "tape"
    kept: list[Trade] = []  # noqa: RUF012  outlives the store
    full = False

    def save(self, trade: Trade) -> bool:
        self.kept.append(trade)
        return True

    def get_recent(self, limit: int = 100) -> list[Trade]:
        return self.kept[: -limit - 1 : -1]

    def close(self) -> None:
        """Nothing was opened."""


def test_stores_of_ones_own_are_further_layers() -> None:
    Ledger.kept.clear()
    Tape.kept.clear()
    settings = Settings(order_stores="stores.test_build:Ledger", trade_stores="stores.test_build:Tape", store_wait="ledger,tape")
    with build_stores(settings) as stores:
        assert types_of(stores.order_store) == ["InMemoryOrderStore", "Ledger"]
        assert types_of(stores.trade_store) == ["InMemoryTradeStore", "Tape", "FileTradeStore"]
        stores.order_store.save(order())
        stores.trade_store.save(trade())
        ledger: Any = stores.order_store.layers[0].store  # type: ignore[attr-defined]
        assert [*ledger.kept] == [42], "the write has waited for it"
        closed = type(ledger).closed
    assert type(ledger).closed == closed + 1


def test_a_store_that_cannot_be_made_leaves_nothing_open(postgres_database: str, valkey: str) -> None:
    def connections() -> int:
        [[count]] = run_sql(postgres_database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pyengine'")
        return int(count)

    threads = threading.active_count()
    before = connections()
    ledger = import_module("stores.test_build").Ledger
    closed = ledger.closed
    settings = distributed(postgres_database, valkey, order_stores="stores.test_build:Ledger,no_such_module:Store")
    with pytest.raises(SettingsError, match="no_such_module"):
        build_stores(settings)
    assert ledger.closed == closed + 1
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
