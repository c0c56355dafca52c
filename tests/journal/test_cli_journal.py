"""`pyengine journal` tells whether a journal is whole, what is in it, and the state at a point."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from journal_setup import rows, small_journal

from pyengine import Engine, Instrument
from pyengine.cli.commands import commands
from pyengine.journal import Journal, recover


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["journal", *map(str, arguments)], catch_exceptions=False)


def test_verify_says_what_is_there(tmp_path: Path) -> None:
    small_journal(tmp_path)
    found = recover(tmp_path)
    shown = run("verify", tmp_path)
    assert shown.exit_code == 0
    assert f"whole: {found.events:,} events up to {found.last_seq:,} in {found.segments:,} segments" in shown.output
    assert f"state hash {found.engine.state_hash():016x}" in shown.output
    assert "killed" not in shown.output


def test_verify_tells_a_torn_tail_from_damage(tmp_path: Path) -> None:
    small_journal(tmp_path)
    first, *_, last = sorted(tmp_path.glob("*.journal"))
    with last.open("ab") as file:
        file.write(b"FRAMx")
    shown = run("verify", tmp_path)
    assert shown.exit_code == 0
    assert "5 bytes of a commit that a crash cut short" in shown.output
    with first.open("r+b") as file:
        file.seek(300)
        file.write(b"\xff")
    shown = run("verify", tmp_path)
    assert shown.exit_code == 1
    assert f"damaged: {first.name}, byte " in shown.output
    assert run("show", tmp_path).exit_code == 1
    assert run("recover", tmp_path).exit_code == 1
    assert run("verify", tmp_path / "nowhere").exit_code == 2


def test_verify_reads_a_journal_that_is_being_written(tmp_path: Path) -> None:
    engine = small_journal(tmp_path, close=False)
    assert "is being written, or its writer was killed" in run("verify", tmp_path).output
    engine.close()


def test_show_lists_segments(tmp_path: Path) -> None:
    small_journal(tmp_path)
    found = recover(tmp_path)
    shown = run("show", tmp_path)
    lines = shown.output.splitlines()
    assert shown.exit_code == 0
    assert lines[0].startswith("journal ")
    assert len(lines) == 2 + found.segments
    assert lines[2].split()[:2] == ["1", "1"]
    assert lines[2].split()[-1] == "sealed"
    assert lines[-1].split()[2] == f"{found.last_seq:,}"
    assert lines[-1].split()[-1] == "closed"


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Write a journal of three orders, a second apart."""
    path = tmp_path / "j"
    with Engine([Instrument("BTC-USD", "0.01", "0.001")], journal=Journal(path)) as engine:
        for second, side, price in ((1, "buy", "99.5"), (2, "sell", "100.25"), (3, "buy", "100.25")):
            engine.submit("BTC-USD", side, qty="0.5", price=price, ts_ns=second * 10**9)
    return path


@pytest.mark.parametrize(
    ("options", "last", "sides"),
    [
        ([], 4, ["0.500 @ 99.50"]),
        (["--until", 3], 2, ["0.500 @ 99.50", "0.500 @ 100.25"]),
        (["--time", 2 * 10**9], 2, ["0.500 @ 99.50", "0.500 @ 100.25"]),
        (["--time", "1970-01-01T00:00:01.5"], 1, ["0.500 @ 99.50"]),
        (["--time", "1970-01-01T01:00:02+01:00"], 2, ["0.500 @ 99.50", "0.500 @ 100.25"]),
    ],
)
def test_recover_prints_the_state_at_a_point(market: Path, options: list[object], last: int, sides: list[str]) -> None:
    shown = run("recover", market, *options)
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == f"last event {last}, {len(sides)} resting orders"
    assert lines[2].split()[:2] == ["BTC-USD", str(len(sides))]
    assert [text for text in ("0.500 @ 99.50", "0.500 @ 100.25") if text in lines[2]] == sides


def test_recover_writes_a_snapshot(market: Path, tmp_path: Path) -> None:
    assert run("recover", market, "--snapshot", tmp_path / "snapshot").exit_code == 0
    restored = Engine.restore((tmp_path / "snapshot").read_bytes())
    assert restored.snapshot() == recover(market).engine.snapshot()


def test_snapshot_writes_one_and_takes_away_what_it_covers(tmp_path: Path) -> None:
    engine = small_journal(tmp_path / "j", close=False)
    before = len(list((tmp_path / "j").glob("*.journal")))
    shown = run("snapshot", tmp_path / "j", "--prune")
    assert shown.exit_code == 0
    assert "took away 0 segments" in shown.output
    engine.run(rows(20, seed=99))
    shown = run("snapshot", tmp_path / "j", "--prune", "--archive", tmp_path / "archive")
    assert f"took away {before - 1} segments" in shown.output
    assert len(list((tmp_path / "archive").iterdir())) == before - 1
    assert recover(tmp_path / "j").engine.snapshot() == engine.snapshot()
    engine.close()
    assert run("snapshot", tmp_path / "j", "--archive", tmp_path / "archive").exit_code == 2
    assert run("snapshot", tmp_path / "nowhere").exit_code == 2


def test_a_time_that_is_none_is_refused(market: Path) -> None:
    shown = run("recover", market, "--time", "soon")
    assert shown.exit_code == 2
    assert "--time must be nanoseconds or a time of ISO 8601, was 'soon'" in shown.output
