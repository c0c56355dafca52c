"""The stores of a deployment: which there are, and that nothing but the configuration makes the difference."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from stores.deployments import BTC, SECRET, distributed, order, single_node, trade, types_of, until
from stores.servers import PostgresServer, ValkeyServer, run_sql

from pyengine import Engine
from pyengine.settings import Settings
from pyengine.store_errors import SchemaError, StoreUnavailable
from pyengine.stores.build import build_stores
from pyengine.stores.composite import CompositeTradeStore


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the trade log where nobody else does."""
    monkeypatch.chdir(tmp_path)


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
