"""`pyengine migrate`: the tables are brought up to date by hand, or what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from stores.servers import run_sql

from pyengine.cli.commands import commands
from pyengine.settings import Settings
from pyengine.stores.postgres.statements import migrations


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder, without any variable that somebody may have set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def run(*arguments: object, **variables: str) -> Result:
    return CliRunner().invoke(commands, ["migrate", *map(str, arguments)], env=variables)


def version(url: str) -> int:
    [[found]] = run_sql(url, "SELECT max(version) FROM schema_migrations")
    return int(found)


def test_all_steps_are_taken_once(postgres_database: str) -> None:
    result = run(DATABASE_URL=postgres_database)
    assert result.exit_code == 0, result.output
    newest = len(migrations())
    assert result.stdout.count("applied ") == newest
    assert f"schema version {newest}, {newest} steps applied" in result.stdout
    assert version(postgres_database) == newest
    again = run(DATABASE_URL=postgres_database)
    assert again.exit_code == 0
    assert f"schema version {newest}, 0 steps applied" in again.stdout


def test_a_dry_run_says_what_is_missing_and_changes_nothing(postgres_database: str) -> None:
    result = run("--dry-run", DATABASE_URL=postgres_database)
    assert result.exit_code == 3
    assert "missing 0001_orders_and_trades" in result.stdout
    assert f"schema version 0 of {len(migrations())}, {len(migrations())} steps missing" in result.stdout
    assert run_sql(postgres_database, "SELECT to_regclass('orders') IS NULL") == [(True,)]
    assert "CREATE TABLE" not in result.stdout
    assert "CREATE TABLE IF NOT EXISTS orders" in run("--dry-run", "--sql", DATABASE_URL=postgres_database).stdout
    run(DATABASE_URL=postgres_database)
    result = run("--dry-run", DATABASE_URL=postgres_database)
    assert result.exit_code == 0
    assert "0 steps missing" in result.stdout


def test_only_what_is_missing_is_taken(postgres_database: str) -> None:
    run(DATABASE_URL=postgres_database)
    run_sql(postgres_database, f"DELETE FROM schema_migrations WHERE version = {len(migrations())}")
    result = run("--dry-run", DATABASE_URL=postgres_database)
    assert result.exit_code == 3
    assert result.stdout.count("missing 0") == 1


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_later_release_has_been_here(postgres_database: str, arguments: tuple[str, ...]) -> None:
    run(DATABASE_URL=postgres_database)
    run_sql(postgres_database, "INSERT INTO schema_migrations (version, name) VALUES (999, 'later')")
    result = run(*arguments, DATABASE_URL=postgres_database)
    assert result.exit_code == 1
    assert "a later release has been here" in result.stderr


def test_a_database_out_of_reach_exits_with_1() -> None:
    result = run(DATABASE_PORT="1", DATABASE_PASSWORD="hunter2")
    assert result.exit_code == 1
    assert "postgres localhost:1/matching_engine" in result.stderr
    assert "`pyengine check` says what to do about it" in result.stderr
    assert "hunter2" not in result.output


def test_what_cannot_be_asked_for_exits_with_2(postgres_database: str) -> None:
    assert run("--sql", DATABASE_URL=postgres_database).exit_code == 2
    assert run(DATABASE_PORT="x").exit_code == 2
