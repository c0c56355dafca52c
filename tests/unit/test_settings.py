"""The configuration: the variables, where they come from, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyengine.errors import PyengineError
from pyengine.setting_values import hide_passwords, parse_duration, show_duration
from pyengine.settings import Settings
from pyengine.store_errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-$&%"  # what must never be seen


def load(**variables: str) -> Settings:
    return Settings.load(variables, env_file=None)


def refused(**variables: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(**variables)
    return str(error.value)


def test_the_defaults_are_those_of_the_documentation() -> None:
    shown = {name.upper(): load().shown(name) for name in Settings.model_fields}
    expected = {
        "DATABASE_ENABLED": "false",
        "DATABASE_HOST": "localhost",
        "DATABASE_PORT": "5432",
        "DATABASE_NAME": "matching_engine",
        "DATABASE_USER": "postgres",
        "DATABASE_PASSWORD": "",
        "DATABASE_MAX_CONNECTIONS": "20",
        "DATABASE_MAX_IDLE_CONNECTIONS": "5",
        "DATABASE_CONN_MAX_LIFETIME": "5m",
        "DATABASE_SSL_MODE": "disable",
        "DATABASE_COMMAND_TIMEOUT": "5s",
        "REDIS_ENABLED": "false",
        "REDIS_HOST": "localhost",
        "REDIS_PORT": "6379",
        "REDIS_PASSWORD": "",
        "REDIS_DB": "0",
        "REDIS_POOL_SIZE": "10",
        "REDIS_MIN_IDLE_CONNS": "2",
        "REDIS_TTL": "24h",
        "REDIS_TRADES": "10000",
        "REDIS_TIMEOUT": "50ms",
        "TRADE_HISTORY_SIZE": "1000",
        "TRADE_LOG_PATH": "trades.log",
    }
    assert {name: shown[name] for name in expected} == expected


def test_every_variable_is_read(tmp_path: Path) -> None:
    """What is shown of any value can be read again, from the environment as from a file."""
    given_ = Settings(
        database_enabled=True,
        database_conn_max_lifetime=timedelta(seconds=90),
        redis_timeout="1.5ms",
        trade_log_rotate_size="3MiB",
        order_stores=("one", "two"),
        store_wait="ALL",
        sqlite_path="x.db",
        redis_db=3,
        order_memory_enabled=False,
        redis_enabled=True,
    )
    text = "".join(f"{name.upper()}={given_.shown(name)}\n" for name in Settings.model_fields)
    (tmp_path / "x.env").write_text(text)
    from_file = Settings.load({}, tmp_path / "x.env")
    variables = dict(line.split("=", 1) for line in text.splitlines())
    for again in (from_file, Settings.load(variables, None)):
        assert again.model_dump() == given_.model_dump()
    assert from_file.redis_timeout == timedelta(microseconds=1500)
    assert from_file.trade_log_rotate_size == 3 * 1024**2


def test_the_environment_counts_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("DATABASE_HOST=filed\nDATABASE_NAME=filed\nDATABASE_USER=filed\nOTHER_PROGRAM=1\n")
    monkeypatch.setenv("DATABASE_HOST", "exported")
    monkeypatch.setenv("DATABASE_USER", "")
    settings = Settings.load()
    assert (settings.database_host, settings.database_name) == ("exported", "filed")
    assert settings.database_user == "filed", "an empty variable counts as none"
    origins = {name: settings.origins[name] for name in ("database_host", "database_name", "database_user")}
    assert origins == {"database_host": "environment", "database_name": ".env", "database_user": ".env"}
    assert "database_port" not in settings.origins


def test_by_keyword_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_HOST", "exported")
    settings = Settings(redis_enabled=True)
    assert settings.database_host == "localhost"
    assert dict(settings.origins) == {"redis_enabled": "argument"}
    with pytest.raises(SettingsError, match="DATABASE_HOTS must be a setting, perhaps DATABASE_HOST"):
        Settings(database_hots="x")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DATABASE_SSL_MODE=disable  # or require, verify-full", "disable"),
        ("DATABASE_SSL_MODE=  # left as it is", "disable"),
        ("DATABASE_SSL_MODE = 'require' # quoted", "require"),
        ('export DATABASE_SSL_MODE="Verify-Full"', "verify-full"),
        ("database_ssl_mode=prefer\r", "prefer"),
    ],
)
def test_lines_of_the_file_mean_what_people_mean(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / "env").write_text(f"\n# a comment\n{line}\n")
    assert Settings.load({}, tmp_path / "env").database_ssl_mode == value


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("REDIS_PASSWORD=  # Leave empty if no auth", ""),
        ("REDIS_PASSWORD=", ""),
        ("REDIS_PASSWORD=#x", "#x"),
        ("REDIS_PASSWORD=${HOME}", "${HOME}"),
        ("REDIS_PASSWORD='  a b '", "  a b "),
        ("REDIS_PASSWORD=a=b", "a=b"),
    ],
)
def test_a_password_in_the_file_is_taken_as_it_stands(tmp_path: Path, line: str, password: str) -> None:
    (tmp_path / "env").write_text(line)
    assert Settings.load({}, tmp_path / "env").redis_password.get_secret_value() == password


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("90s", 90), ("500ms", 0.5), ("1.5h", 5400), (".5s", 0.5), ("0", 0), ("1h0m0.001s", 3600.001)],
)
def test_durations(text: str, seconds: float) -> None:
    assert load(DATABASE_CONN_MAX_LIFETIME=text).database_conn_max_lifetime == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "5 m", "m", "5d", "-5m", "5m!", "1e3s", "5M", "\u0665m", "inf", "9" * 60 + "h", "1s" * 40])
def test_no_durations(text: str) -> None:
    assert f"DATABASE_CONN_MAX_LIFETIME must be a duration such as 5m or 1h30m, or 0 for no limit, was {text!r:.50}"[
        :100
    ] in refused(DATABASE_CONN_MAX_LIFETIME=text)


@given(st.timedeltas(timedelta(0), timedelta(days=3_650)))
def test_any_duration_reads_as_it_was_written(value: timedelta) -> None:
    assert parse_duration(show_duration(value)) == value


BAD = [
    ("DATABASE_ENABLED", "maybe", "true or false"),
    ("DATABASE_HOST", '"localhost"', "the name or address of a host, or the folder of a Unix socket"),
    ("DATABASE_PORT", "70000", "a port from 1 to 65535"),
    ("DATABASE_PORT", "tcp://10.0.0.1:5432", "a port from 1 to 65535"),
    ("DATABASE_NAME", "x" * 64, "a name of 1 to 63 characters"),
    ("DATABASE_MAX_CONNECTIONS", "0", "a whole number from 1 to 10000"),
    ("DATABASE_MAX_CONNECTIONS", "unlimited", "a whole number from 1 to 10000"),
    ("DATABASE_SSL_MODE", "on", "disable, allow, prefer, require, verify-ca or verify-full"),
    ("DATABASE_COMMAND_TIMEOUT", "0", "a duration from 1ms to 1h, such as 5s or 500ms"),
    ("REDIS_DB", "-1", "a whole number from 0 to 10000"),
    ("REDIS_TTL", "0s", "a duration from 1s on, such as 24h or 1h30m"),
    ("REDIS_TRADES", "1.5", "a whole number from 1 to 100000000"),
    ("TRADE_HISTORY_SIZE", "1k", "a whole number from 1 to 100000000"),
    ("TRADE_LOG_FSYNC", "sometimes", "always, batch, interval or never"),
    ("TRADE_LOG_ROTATE_SIZE", "-1", "a size such as 100MB or 1GiB, or 0 for none"),
    ("STORE_RING_CAPACITY", "1000", "a power of two from 64 to 16777216"),
    ("STORE_RING_FULL", "drop", "wait or refuse"),
    ("LOG_LEVEL", "loud", "debug, info, warning or error"),
]


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_a_bad_value_is_named_with_what_was_expected(name: str, value: str, expected: str) -> None:
    assert refused(**{name: value}) == f"1 setting can't be used:\n  {name} must be {expected}, was {value!r} (environment)"


def test_all_errors_come_together(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"DATABASE_PORT=x\nDATABASE_PASSWORD {SECRET}\nREDIS_PORT=1\n\nDATABASE_PORT\n")
    with pytest.raises(SettingsError) as error:
        Settings.load({"REDIS_POOL_SIZE": "3", "REDIS_MIN_IDLE_CONNS": "4", "LOG_FORMAT": "xml"}, tmp_path / "env")
    assert str(error.value).splitlines() == [
        "5 settings can't be used:",
        f"  {tmp_path / 'env'} line 2 must be NAME=value",
        f"  {tmp_path / 'env'} line 5 must be NAME=value",
        f"  DATABASE_PORT must be a port from 1 to 65535, was 'x' ({tmp_path / 'env'})",
        "  REDIS_MIN_IDLE_CONNS must be at most REDIS_POOL_SIZE, which is 3, was '4' (environment)",
        "  LOG_FORMAT must be console or json, was 'xml' (environment)",
    ]
    assert isinstance(error.value, PyengineError)
    assert isinstance(error.value, ValueError)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"DATABASE_NAME=caf\xe9\n")
    for path, text in (
        ("none", "must be a file, was not there"),
        ("latin", "must be UTF-8, was not at byte 17"),
        ("", "Is a dir"),
    ):
        with pytest.raises(SettingsError, match=text):
            Settings.load({}, tmp_path / path)


def test_spare_connections_fit_into_the_pool() -> None:
    assert load(DATABASE_MAX_CONNECTIONS="3").database_max_idle_connections == 3, "a default gives way"
    assert load(DATABASE_MAX_CONNECTIONS="50", DATABASE_MAX_IDLE_CONNECTIONS="20").database_max_idle_connections == 20
    assert "at most DATABASE_MAX_CONNECTIONS, which is 3, was '4'" in refused(
        DATABASE_MAX_CONNECTIONS="3", DATABASE_MAX_IDLE_CONNECTIONS="4"
    )


def test_without_memory_orders_need_another_store() -> None:
    assert "ORDER_MEMORY_ENABLED must be true unless orders are kept by" in refused(ORDER_MEMORY_ENABLED="false")
    for name in ("DATABASE_ENABLED", "REDIS_ENABLED", "SQLITE_PATH", "ORDER_STORES"):
        assert not load(ORDER_MEMORY_ENABLED="false", **{name: "true"}).order_memory_enabled


@pytest.mark.parametrize(
    ("switches", "mode", "orders", "trades"),
    [
        ("", "development", "memory", "memory file"),
        ("DATABASE_ENABLED", "single node", "memory postgres", "memory postgres file"),
        ("DATABASE_ENABLED REDIS_ENABLED", "distributed", "memory redis postgres", "memory redis postgres file"),
        ("REDIS_ENABLED", "shared cache only", "memory redis", "memory redis file"),
    ],
)
def test_modes_and_their_layers(switches: str, mode: str, orders: str, trades: str) -> None:
    settings = load(**dict.fromkeys(switches.split(), "true"))
    assert settings.mode == mode
    assert settings.order_layers == tuple(orders.split())
    assert settings.trade_layers == tuple(trades.split())


def test_own_stores_and_a_file_come_behind_and_memory_can_go() -> None:
    settings = load(
        SQLITE_PATH="x.db",
        ORDER_STORES="a.b:C",
        TRADE_STORES="d",
        ORDER_MEMORY_ENABLED="false",
        DATABASE_ENABLED="1",
        REDIS_ENABLED="1",
    )
    assert settings.order_layers == ("redis", "postgres", "sqlite", "a.b:C")
    assert settings.trade_layers == ("memory", "redis", "postgres", "sqlite", "d", "file")


def test_writes_can_only_wait_for_layers_that_are_there() -> None:
    assert load(STORE_WAIT="File").store_wait == ("file",)
    assert load(STORE_WAIT="postgres, file", DATABASE_ENABLED="true").store_wait == ("postgres", "file")
    assert load(STORE_WAIT="mine", ORDER_STORES="a.b:C").store_wait == ("mine",)
    assert "STORE_WAIT must be names of layers that are there, from all, file, memory, redis, was 'postgres'" in refused(
        STORE_WAIT="postgres", REDIS_ENABLED="true"
    )
    assert "STORE_WAIT must be memory, all, or names of layers" in refused(STORE_WAIT=",")


def test_a_slip_of_the_pen_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pyengine"):
        settings = load(DATABASE_PASWORD=SECRET, REDIS_PORT_6379_TCP="tcp://10.0.0.1", PATH="/bin", REDIS_SERVICE_HOST="x")
    assert dict(settings.unknown) == {"DATABASE_PASWORD": "DATABASE_PASSWORD"}
    assert [record.getMessage() for record in caplog.records] == ["DATABASE_PASWORD isn't a setting; is DATABASE_PASSWORD meant?"]


def test_settings_are_frozen_and_copied() -> None:
    settings = load(DATABASE_PASSWORD=SECRET, REDIS_TTL="1h")
    with pytest.raises(ValueError, match="frozen"):
        settings.redis_ttl = timedelta(0)  # type: ignore[misc]
    for again in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert again == settings
        assert again.origins == settings.origins


def test_no_secret_is_shown() -> None:
    password = "p%2Fss"
    settings = load(
        DATABASE_PASSWORD=SECRET,
        REDIS_PASSWORD=SECRET,
        DATABASE_URL=f"postgresql://me:{password}@db:5432/x?sslmode=require&sslpassword={password}",
        REDIS_URL=f"rediss://:{password}@cache:6379/1",
    )
    seen = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump()), f"{settings!r:s}"]
    seen += [settings.shown(name) for name in Settings.model_fields]
    for text in seen:
        assert SECRET not in text
        assert password not in text
    assert settings.shown("database_password") == "***"
    assert settings.shown("database_url") == "postgresql://me:***@db:5432/x?sslmode=require&sslpassword=***"
    assert settings.shown("redis_url") == "rediss://:***@cache:6379/1"
    assert settings.database_password.get_secret_value() == SECRET
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == f"rediss://:{password}@cache:6379/1"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DATABASE_URL", "postgres://me:se/cret@h/x", "postgres://***"),
        ("DATABASE_URL", "postgres://me:se?cret@h/x", "postgres://***"),
        ("DATABASE_URL", "postgres://me:se#cret@h/x", "postgres://***"),
        ("DATABASE_URL", "postgres://me:secret[@h/x", "postgres://me:***@h/x"),
        ("DATABASE_URL", "me:secret@h/x", "***"),
        ("DATABASE_URL", "mysql://me:secret@h/x", "mysql://me:***@h/x"),
        ("REDIS_URL", "http://:secret@h", "http://:***@h"),
        ("REDIS_URL", "redis://", "redis://"),
        ("DATABASE_HOST", "postgres://me:secret@h/x", "postgres://***@h/x"),
        ("DATABASE_PASSWORD", "secret" * 200, "***"),
    ],
)
def test_a_refused_value_shows_no_secret(name: str, value: str, shown: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(**{name: value})
    assert f"{name} must be " in str(error.value)
    assert str(error.value).endswith(f"was {shown!r} (environment)")
    # Those who log a whole chain of errors see none either.
    assert error.value.__context__ is None
    assert error.value.__cause__ is None


@given(st.text(max_size=30), st.text(alphabet="abc/?#@:%", max_size=12))
def test_hiding_never_leaks_whatever_the_url(start: str, rest: str) -> None:
    """Between the colon behind the user and the last @ nothing is ever shown."""
    assert "SECRET" not in hide_passwords(f"{start}://u:SECRET{rest}@h")
    assert "SECRET" not in hide_passwords(f"postgres://u:{rest}SECRET@h/{rest}")


def test_without_the_library_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['pydantic_settings'] = None; import pyengine.settings"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError: pydantic-settings must be installed for this: pip install 'pyengine[settings]'" in ended.stderr


def test_the_example_file_has_every_variable_at_its_default() -> None:
    example = ROOT / ".env.example"
    settings = Settings.load({}, example)
    assert settings.model_dump() == Settings().model_dump()
    lines = [line for line in example.read_text().splitlines() if line and not line.startswith("#")]
    assert sorted(line.partition("=")[0] for line in lines) == sorted(name.upper() for name in Settings.model_fields)
    for line in lines:
        name, _, value = line.partition("=")
        assert settings.shown(name.lower()) == value
