"""`pyengine check`: each backend tried out, what to do about a failure, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from stores.servers import ValkeyServer

from pyengine.cli.commands import commands
from pyengine.settings import Settings
from pyengine.store_errors import StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder, without any variable that somebody may have set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def run(*arguments: object, **variables: str) -> Result:
    return CliRunner().invoke(commands, ["check", *map(str, arguments)], env=variables)


def answers() -> InMemoryOrderStore:
    """Make a store as somebody else would."""
    return InMemoryOrderStore()


def is_away(settings: Settings) -> InMemoryTradeStore:
    """Fail to, when asked with the settings."""
    assert settings.trade_stores
    raise StoreUnavailable("their server is away")


def heads(result: Result) -> list[list[str]]:
    """Return the first words of each backend's line."""
    return [line.split()[:2] for line in result.stdout.splitlines() if not line.startswith((" ", "note"))]


def test_development_needs_nothing() -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert heads(result) == [["ok", "file"]]


def test_all_is_well(postgres_database: str, valkey: str) -> None:
    result = run(
        DATABASE_ENABLED="true", DATABASE_URL=postgres_database, REDIS_ENABLED="true", REDIS_URL=valkey, SQLITE_PATH="x.db"
    )
    assert result.exit_code == 0, result.output
    assert heads(result) == [["ok", "redis"], ["ok", "postgres"], ["ok", "sqlite"], ["ok", "file"]]
    for line in result.stdout.splitlines()[:2]:
        assert "reachable" in line
        assert "ms an answer" in line
    assert "schema version 0 of" in result.stdout


def test_a_failure_exits_with_1_and_says_what_to_do(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(password=SECRET)
    result = run(
        REDIS_ENABLED="true",
        REDIS_PORT=str(server.port),
        REDIS_PASSWORD="wrong-but-secret",
        DATABASE_ENABLED="true",
        DATABASE_PORT="1",
        DATABASE_PASSWORD=SECRET,
    )
    assert result.exit_code == 1
    assert heads(result) == [["FAILED", "redis"], ["FAILED", "postgres"], ["ok", "file"]]
    words = " ".join(result.stdout.split())
    assert "Failed to connect to Redis" in words
    assert "1. Check REDIS_PASSWORD" in words
    assert "Failed to connect to PostgreSQL" in words
    assert "1. Is PostgreSQL running? pg_isready -h localhost -p 1 2. Check DATABASE_HOST and DATABASE_PORT in .env" in words
    assert "psql -h localhost -p 1 -U postgres -d matching_engine" in words
    assert SECRET not in result.output
    assert "secret" not in result.output


def test_json() -> None:
    result = run("--json", REDIS_ENABLED="true", REDIS_PORT="1")
    assert result.exit_code == 1
    redis, file = json.loads(result.stdout)
    assert (redis["backend"], redis["ok"], redis["address"]) == ("redis", False, "localhost:1")
    assert redis["problem"].startswith("Failed to connect to Redis")
    assert redis["advice"]
    assert (file["backend"], file["ok"]) == ("file", True)


def test_a_configuration_that_cannot_be_used_exits_with_2() -> None:
    result = run(REDIS_PORT="x")
    assert result.exit_code == 2
    assert "REDIS_PORT must be a port from 1 to 65535, was 'x' (environment)" in result.stderr


def test_stores_of_ones_own() -> None:
    here = "stores.test_cli_check"
    result = run(ORDER_STORES=f"{here}:answers", TRADE_STORES=f"{here}:is_away, nowhere:Store")
    assert result.exit_code == 1
    assert heads(result) == [
        ["ok", f"{here}:answers"],
        ["FAILED", f"{here}:is_away"],
        ["FAILED", "nowhere:Store"],
        ["ok", "file"],
    ]
    assert "made: InMemoryOrderStore, answers" in result.stdout
    assert "StoreUnavailable: their server is away" in result.stdout
    assert "store 'nowhere:Store' can't be imported" in result.stdout
    assert "1. Check TRADE_STORES in .env" in result.stdout


def test_without_a_driver_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = sys.modules['hiredis'] = None; sys.argv[1:] = ['check']\n"
        "import pyengine.cli; pyengine.cli.main()"
    )
    environment = {**os.environ, "DATABASE_ENABLED": "true", "REDIS_ENABLED": "true"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1, ended.stderr
    assert "asyncpg must be installed for this: pip install 'pyengine[postgres]'" in ended.stdout
    assert "hiredis must be installed for this: pip install 'pyengine[redis]'" in ended.stdout


def test_the_other_commands_need_none_of_this() -> None:
    blocked = ["pydantic", "pydantic_settings", "asyncpg", "redis", "hiredis", "prometheus_client", "structlog"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); sys.argv[1:] = ['--help']\n"
        "import pyengine.cli; pyengine.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for command in ("check", "config", "migrate", "replay"):
        assert command in ended.stdout
