"""What is said about a PostgreSQL as it is configured, and what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stores.servers import PostgresServer

from pyengine.health.postgres import check_postgres
from pyengine.settings import Settings
from pyengine.stores.backends import postgres_pool

SECRET = "hunter2"


@pytest.fixture(scope="module")
def guarded(servers_wanted: None) -> Iterator[PostgresServer]:
    """Run a server that asks for a password."""
    with PostgresServer(password=SECRET, options=("max_connections=30",)) as server:
        yield server


@pytest.fixture
def settings(guarded: PostgresServer) -> Callable[..., Settings]:
    """Give out what makes settings for that server, with a database of the test's own."""
    guarded.execute("DROP DATABASE IF EXISTS matching_engine")
    guarded.execute("CREATE DATABASE matching_engine")

    def make(**fields: Any) -> Settings:
        return Settings(**{"database_host": guarded.host, "database_port": guarded.port, "database_password": SECRET} | fields)

    return make


def brought_up_to_date(settings: Settings) -> None:
    with postgres_pool(settings) as pool:
        pool.migrate()


def test_all_is_well(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    brought_up_to_date(settings())
    finding = check_postgres(settings())
    assert finding.ok, finding.problem
    assert finding.address == f"{guarded.host}:{guarded.port}/matching_engine"
    assert finding.facts[0] == "reachable"
    assert finding.facts[1].startswith("PostgreSQL ")
    assert finding.facts[2] == "user postgres"
    version, newest = (int(word) for word in finding.facts[3].removeprefix("schema version ").split(" of "))
    assert version == newest > 0
    assert finding.latency_s is not None
    assert 0 < finding.latency_s < 1
    assert finding.advice == ()
    assert SECRET not in repr(finding)


def test_every_way_there(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    """URL, URL that the other variables complete, folder of the Unix socket."""
    brought_up_to_date(settings())
    place = f"{guarded.host}:{guarded.port}"
    for ways in (
        Settings(database_url=guarded.url_of("matching_engine")),
        Settings(database_url=f"postgres://{place}", database_password=SECRET),
        Settings(
            database_url=f"postgres://postgres@{place}/matching_engine", database_password=SECRET, database_ssl_mode="disable"
        ),
        Settings(database_url="postgresql:///matching_engine", database_port=guarded.port, database_password=SECRET),
        settings(database_host=str(guarded.folder), database_password=""),
    ):
        finding = check_postgres(ways)
        assert finding.ok, finding.problem
        assert finding.address.endswith("/matching_engine")
        assert SECRET not in repr(finding)


def test_tables_that_are_not_there_yet(settings: Callable[..., Settings]) -> None:
    finding = check_postgres(settings())
    assert finding.ok
    assert finding.facts[3].startswith("schema version 0 of ")
    assert finding.advice == ("The next start brings the tables up to date; `pyengine migrate` does it now",)
    finding = check_postgres(settings(database_migrate=False))
    assert finding.problem == "The tables are of an earlier release of pyengine"
    assert finding.advice[0] == "pyengine migrate"


def test_tables_of_a_later_release(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    brought_up_to_date(settings())
    guarded.execute("INSERT INTO schema_migrations (version, name) VALUES (999, 'later')", database="matching_engine")
    finding = check_postgres(settings())
    assert finding.problem == "The tables are of a later release of pyengine"
    assert finding.advice == ("Upgrade pyengine, or use another database",)


@pytest.mark.parametrize(
    "fields", [{"database_password": "wrong-but-secret"}, {"database_user": "nobody"}, {"database_password": ""}]
)
def test_wrong_credentials(settings: Callable[..., Settings], fields: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    finding = check_postgres(settings(**fields))
    assert finding.problem.startswith("Failed to connect to PostgreSQL")
    assert finding.advice[0] == "Check DATABASE_USER and DATABASE_PASSWORD in .env"
    assert finding.advice[1].startswith("Can you connect manually? psql -h 127.0.0.1 -p ")
    assert SECRET not in repr(finding)
    assert "secret" not in repr(finding)


def test_no_such_database(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    finding = check_postgres(settings(database_name="not; there"))
    assert finding.problem.startswith("Failed to connect to PostgreSQL")
    assert finding.advice[0] == f"Create the database: createdb -h 127.0.0.1 -p {guarded.port} -U postgres 'not; there'"


def test_nobody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    finding = check_postgres(Settings(database_host="127.0.0.1", database_port=port))
    assert finding.problem.startswith("Failed to connect to PostgreSQL")
    assert finding.advice == (
        f"Is PostgreSQL running? pg_isready -h 127.0.0.1 -p {port}",
        "Check DATABASE_HOST and DATABASE_PORT in .env",
        f"Can you connect manually? psql -h 127.0.0.1 -p {port} -U postgres -d matching_engine",
        "Check firewall rules",
        "Look at what it says itself: sudo journalctl -u postgresql",
    )


def test_no_such_host() -> None:
    finding = check_postgres(Settings(database_host="no-such-host.invalid"))
    assert finding.advice[0] == "Check DATABASE_HOST and DATABASE_PORT in .env: no host of this name is known"
    finding = check_postgres(Settings(database_url=f"postgres://me:{SECRET}@no-such-host.invalid/x"))
    assert finding.advice[0] == "Check DATABASE_URL in .env: no host of this name is known"
    assert SECRET not in repr(finding)


def test_a_host_that_does_not_answer(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres()
    server.pause()
    finding = check_postgres(Settings(database_host=server.host, database_port=server.port, database_command_timeout="200ms"))
    server.resume()
    assert finding.advice[0] == "Check firewall rules"


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_encryption_where_there_is_none(settings: Callable[..., Settings], mode: str) -> None:
    finding = check_postgres(settings(database_ssl_mode=mode))
    assert finding.advice[0] == "Check DATABASE_SSL_MODE and DATABASE_SSL_ROOT_CERT in .env"


def test_a_server_that_only_reads(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres(read_only=True)
    finding = check_postgres(Settings(database_host=server.host, database_port=server.port, database_name="postgres"))
    assert finding.problem == "The server is read-only"
    assert finding.advice == ("This is a standby, or default_transaction_read_only is on; use the primary",)


def test_a_user_without_rights(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    guarded.execute("DROP ROLE IF EXISTS reader; ")
    guarded.execute(f"CREATE ROLE reader LOGIN PASSWORD '{SECRET}'")
    finding = check_postgres(settings(database_user="reader"))
    assert finding.problem == "The user must be allowed to create tables, was not"
    brought_up_to_date(settings())
    guarded.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database="matching_engine")
    guarded.execute(
        "GRANT ALL ON trades, instruments, watermarks TO reader; GRANT INSERT ON audit_heads TO reader",
        database="matching_engine",
    )
    finding = check_postgres(settings(database_user="reader"))
    assert finding.problem == "User reader must have DELETE on orders, INSERT on orders, UPDATE on orders"
    guarded.execute("DROP OWNED BY reader", database="matching_engine")
    guarded.execute("DROP ROLE reader")


def test_a_server_that_is_full(guarded: PostgresServer, settings: Callable[..., Settings]) -> None:
    guarded.execute("ALTER DATABASE matching_engine CONNECTION LIMIT 0")
    guarded.execute("DROP ROLE IF EXISTS guest")
    guarded.execute(f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
    finding = check_postgres(settings(database_user="guest"))
    assert finding.advice[0] == "Lower DATABASE_MAX_CONNECTIONS in .env, of every node"
    guarded.execute("DROP ROLE guest")


def test_a_pool_larger_than_the_server(settings: Callable[..., Settings]) -> None:
    finding = check_postgres(settings(database_max_connections=50))
    assert finding.ok
    assert "DATABASE_MAX_CONNECTIONS is 50, but the server takes only 27 of all" in finding.advice
