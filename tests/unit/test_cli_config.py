"""`pyengine config`: the configuration in effect, where each value came from, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyengine.cli.commands import commands
from pyengine.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder, without any variable that somebody may have set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def run(*arguments: object, **variables: str) -> Result:
    return CliRunner().invoke(commands, ["config", *map(str, arguments)], env=variables)


def rows(result: Result) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}


def test_every_variable_with_its_value_and_where_it_came_from() -> None:
    Path(".env").write_text("DATABASE_ENABLED=true\nDATABASE_HOST=filed\n")
    found = rows(run(DATABASE_HOST="exported", REDIS_ENABLED="1"))
    assert found["DATABASE_ENABLED"] == ["true", ".env"]
    assert found["DATABASE_HOST"] == ["exported", "environment"]
    assert found["DATABASE_CONN_MAX_LIFETIME"] == ["5m", "default"]
    assert found["mode"] == ["distributed"]
    assert found["orders"] == ["memory", "→", "redis", "→", "postgres"]
    assert found["trades"] == ["memory", "→", "redis", "→", "postgres", "→", "file"]
    assert {name.upper() for name in Settings.model_fields} <= set(found)


def test_only_what_was_changed() -> None:
    found = rows(run("--changed", REDIS_TTL="1h30m"))
    assert found["REDIS_TTL"] == ["1h30m", "environment"]
    assert "REDIS_HOST" not in found


def test_json() -> None:
    result = run("--json", DATABASE_URL="postgres://u:hunter2@h/x")
    found = json.loads(result.stdout)
    assert found["mode"] == "development"
    assert found["settings"]["DATABASE_URL"] == {"value": "postgres://u:***@h/x", "from": "environment"}
    assert found["settings"]["REDIS_DB"] == {"value": "0", "from": "default"}
    assert set(found["settings"]) == {name.upper() for name in Settings.model_fields}


def test_no_secret_is_printed() -> None:
    secrets = {"DATABASE_PASSWORD": "hunter2", "REDIS_PASSWORD": "hunter2", "REDIS_URL": "redis://:hunter2@h"}
    for arguments in ((), ("--json",), ("--changed",)):
        result = run(*arguments, **secrets)
        assert "hunter2" not in result.output
        assert "***" in result.output
    result = run(**secrets | {"DATABASE_URL": "postgres://u:hun/ter2@h/x", "REDIS_PORT": "x"})
    assert result.exit_code == 2
    assert "ter2" not in result.output


def test_what_is_probably_a_mistake_is_noted() -> None:
    url = "postgres://u@h/x"
    output = run(DATABASE_URL=url, DATABASE_HOST="y", DATABASE_PASWORD="x", REDIS_HOST="z").stdout
    assert "DATABASE_URL counts before DATABASE_HOST" in output
    assert "DATABASE_PASWORD isn't a setting; is DATABASE_PASSWORD meant?" in output
    assert "DATABASE_ENABLED is false, so the other DATABASE_… variables have no effect" in output
    assert "REDIS_ENABLED is false, so the other REDIS_… variables have no effect" in output
    assert "note" not in run(DATABASE_URL=url, DATABASE_ENABLED="true", REDIS_ENABLED="true", REDIS_HOST="z").stdout


def test_errors_come_together_and_exit_with_2() -> None:
    result = run(DATABASE_PORT="[red]x[/]", REDIS_PORT="0")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: 2 settings can't be used:",
        "  DATABASE_PORT must be a port from 1 to 65535, was '[red]x[/]' (environment)",
        "  REDIS_PORT must be a port from 1 to 65535, was '0' (environment)",
    ]


def test_another_file_must_be_there() -> None:
    Path("production.env").write_text("LOG_LEVEL=error\n")
    assert rows(run("--env-file", "production.env"))["LOG_LEVEL"] == ["error", "production.env"]
    result = run("--env-file", "prod.env")
    assert result.exit_code == 2
    assert "prod.env must be a file, was not there" in result.stderr


def test_without_the_library_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pydantic_settings'] = None; sys.argv[1:] = ['config']; import pyengine.cli; pyengine.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ended.returncode == 2
    assert ended.stderr == "error: pydantic-settings must be installed for this: pip install 'pyengine[settings]'\n"
