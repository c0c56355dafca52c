"""`pyengine status`, `verify` and `rebuild` on a whole deployment: real servers, a file, SQLite, and a journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_streams import MIXES, random_rows
from numpy.random import default_rng
from side_by_side import NAMES, new_engine

from pyengine.cli.commands import commands
from pyengine.deployment import Deployment, open_deployment
from pyengine.journal import prune, write_snapshot
from pyengine.settings import Settings

LOG = Path("trades.log")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder, without any variable that somebody may have set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def everywhere(postgres_database: str, valkey: str) -> dict[str, str]:
    """Configure every backend."""
    return {
        "DATABASE_ENABLED": "true",
        "DATABASE_URL": postgres_database,
        "REDIS_ENABLED": "true",
        "REDIS_URL": valkey,
        "SQLITE_PATH": "market.db",
        "JOURNAL_PATH": "journal",
    }


SMALL = {"SQLITE_PATH": "market.db", "JOURNAL_PATH": "journal", "JOURNAL_SEGMENT_SIZE": "64KiB"}


def opened(variables: dict[str, str]) -> Deployment:
    return open_deployment(Settings.load(variables, env_file=None), new_engine().instruments)


def trade(deployment: Deployment, turns: int = 20, seed: int = 5) -> None:
    for name in NAMES:
        deployment.engine.user(name)
    for turn in range(turns):
        deployment.engine.run(random_rows(default_rng(seed + turn), 200, MIXES[0]))


def fill(variables: dict[str, str], turns: int = 20, seed: int = 5) -> int:
    """Run a deployment to its end; return the last event."""
    with opened(variables) as deployment:
        trade(deployment, turns, seed)
        assert deployment.engine.flush_stores(60)
        return deployment.engine.next_seq - 1


def run(variables: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(commands, list(arguments), env=variables)


def verdicts(result: Result) -> dict[str, str]:
    lines = [line for line in result.stdout.splitlines() if ": " in line and not line.startswith(" ")]
    return {line.partition(": ")[0]: line.partition(": ")[2].partition(",")[0] for line in lines}


def test_every_layer_is_what_the_journal_says_and_can_be_made_anew(everywhere: dict[str, str]) -> None:
    last = fill(everywhere)
    status = run(everywhere, "status", "--interval", "0.01")
    assert status.exit_code == 0, status.output
    assert f"events 1 to {last:,}" in status.output
    rows = [line.split()[:3] for line in status.output.splitlines()[2:]]
    stores = [["redis", "orders"], ["redis", "trades"], ["postgres", "orders"], ["postgres", "trades"]]
    stores += [["sqlite", "orders"], ["sqlite", "trades"], ["file", "trades"]]
    assert rows == [[*store, f"{last:,}"] for store in stores]
    verified = run(everywhere, "verify")
    assert verified.exit_code == 0, verified.output
    assert verdicts(verified) == {" ".join(store): "no difference" for store in stores}
    before = LOG.read_bytes()
    for layer in ("redis", "postgres", "sqlite", "file"):
        rebuilt = run(everywhere, "rebuild", layer, "--yes")
        assert rebuilt.exit_code == 0, rebuilt.output
        assert f"has everything up to event {last:,}" in rebuilt.output
    assert run(everywhere, "verify").exit_code == 0
    # To the byte, and what was there before is aside.
    assert LOG.read_bytes() == before
    [aside] = Path().glob("trades.log.before-*")
    assert (aside / "trades.log").read_bytes() == before
    assert last < fill(everywhere, turns=2, seed=99)
    assert run(everywhere, "verify").exit_code == 0


def test_differences_are_listed_by_sequence_number() -> None:
    fill(SMALL)
    with sqlite3.connect("market.db") as file:
        file.execute("DELETE FROM trades WHERE trade_id IN (2, 5, 9)")
        file.execute("UPDATE orders SET flags = 1 - flags WHERE order_id = (SELECT min(order_id) FROM orders)")
    result = run(SMALL, "verify", "sqlite", "--most", "2")
    assert result.exit_code == 1
    assert verdicts(result) == {"sqlite orders": "1 differences", "sqlite trades": "3 differences"}
    assert result.stdout.count("is missing") == 2
    assert "and 1 more" in result.stdout
    assert "trade 2 is missing" in result.stdout
    assert run(SMALL, "rebuild", "sqlite", "--yes").exit_code == 0
    assert run(SMALL, "verify").exit_code == 0


def test_a_log_that_was_cut_is_behind_and_catches_up() -> None:
    last = fill(SMALL)
    lines = LOG.read_bytes().splitlines(keepends=True)
    LOG.write_bytes(b"".join(lines[:-3]))
    for name in ("chain",):
        LOG.with_name(f"{LOG.name}.{name}").unlink()
    status = run(SMALL, "status", "--interval", "0.01")
    assert status.exit_code == 1
    [row] = [line.split() for line in status.output.splitlines() if line.split()[:1] == ["file"]]
    assert int(row[2].replace(",", "")) < last
    # Nothing is wrong up to there.
    assert run(SMALL, "verify", "file").exit_code == 0
    fill(SMALL, turns=0)
    assert LOG.read_bytes() == b"".join(lines)
    assert run(SMALL, "status", "--interval", "0").exit_code == 0


def test_a_layer_is_made_anew_while_the_engine_runs() -> None:
    with opened(SMALL) as deployment:
        trade(deployment)
        assert deployment.engine.flush_stores(60)
        result = run(SMALL, "rebuild", "sqlite", "--yes")
        assert result.exit_code == 0, result.output
        # The log belongs to the engine.
        result = run(SMALL, "rebuild", "file", "--yes")
        assert result.exit_code == 2
        assert "must have one writer" in result.output
        trade(deployment, turns=3, seed=77)
        assert deployment.engine.flush_stores(60)
        verified = run(SMALL, "verify")
        assert verified.exit_code == 0, verified.output


def test_an_engine_brings_back_what_a_wipe_took_between_its_lives() -> None:
    last = fill(SMALL)
    Path("market.db").unlink()
    LOG.rename("elsewhere.log")
    LOG.with_name("trades.log.chain").unlink()
    assert fill(SMALL, turns=0) == last
    verified = run(SMALL, "verify")
    assert verified.exit_code == 0, verified.output
    assert LOG.read_bytes() == Path("elsewhere.log").read_bytes()


def test_a_pruned_journal_makes_nothing_anew() -> None:
    fill(SMALL)
    write_snapshot("journal")
    fill(SMALL, seed=50)
    write_snapshot("journal")
    assert prune("journal")
    trades = LOG.read_bytes()
    for layer in ("sqlite", "file"):
        result = run(SMALL, "rebuild", layer, "--yes")
        assert result.exit_code == 2
        assert "can't be made anew: the journal was pruned up to event" in result.output
    assert LOG.read_bytes() == trades
    assert run(SMALL, "verify").exit_code == 0


def test_pruning_by_hand_leaves_what_a_layer_has_yet_to_get() -> None:
    fill(SMALL)
    with sqlite3.connect("market.db") as file:
        file.execute("UPDATE watermarks SET seq = 7 WHERE store = 'orders'")
    for turn in range(2):
        assert run(SMALL, "journal", "snapshot", "journal").exit_code == 0
        fill({**SMALL, "SQLITE_PATH": "other.db"}, seed=50 + turn)
    result = run(SMALL, "journal", "snapshot", "journal", "--prune")
    assert (result.exit_code, "took away 0 segments" in result.output) == (0, True), result.output
    # Of a journal that isn't that of the settings, nobody is known to need anything.
    result = run({}, "journal", "snapshot", "journal", "--prune")
    assert (result.exit_code, "took away 0 segments" in result.output) == (0, False), result.output


def test_nothing_is_emptied_without_a_yes() -> None:
    fill(SMALL)
    result = CliRunner().invoke(commands, ["rebuild", "sqlite"], env=SMALL, input="n\n")
    assert result.exit_code == 1
    assert run(SMALL, "verify").exit_code == 0


def test_what_cant_be_used_is_said() -> None:
    for arguments in (["status"], ["verify"], ["rebuild", "file", "--yes"]):
        result = run({}, *arguments)
        assert (result.exit_code, "JOURNAL_PATH or --journal must be the folder of a journal" in result.output) == (2, True)
        result = run({}, *arguments, "--journal", "nowhere")
        assert (result.exit_code, "nowhere" in result.output) == (2, True)
    fill(SMALL)
    result = run(SMALL, "rebuild", "redis", "--yes")
    assert (result.exit_code, "LAYER must be one of sqlite, file, was redis" in result.output) == (2, True)
    away = SMALL | {"REDIS_ENABLED": "true", "REDIS_HOST": "localhost", "REDIS_PORT": "1"}
    for arguments, code in ((["status", "--interval", "0"], 1), (["verify"], 2), (["rebuild", "redis", "--yes"], 2)):
        result = run(away, *arguments)
        assert result.exit_code == code
        assert "localhost:1" in result.output
