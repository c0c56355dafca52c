"""`pyengine replay`: what it prints, what it writes, and how it exits."""

from __future__ import annotations

import lzma
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pyengine import samples
from pyengine.cli.commands import commands as pyengine_commands
from pyengine.records import TRADE_DTYPE, Records
from pyengine.replay import replay, write_commands, write_trades
from pyengine.replay.compression import read_all

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(pyengine_commands, ["replay", *map(str, arguments)])


@pytest.fixture
def day(tmp_path: Path, commands: Records) -> Path:
    write_commands(tmp_path / "day.parquet", commands)
    return tmp_path / "day.parquet"


@pytest.fixture
def different(tmp_path: Path) -> Path:
    """The sample, with one trade that never was."""
    folder = tmp_path / "different"
    folder.mkdir()
    for file in samples.path().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    trades = folder / "trades_expected.csv.xz"
    trades.write_bytes(lzma.compress(read_all(trades).replace(b"66900,23267,619085", b"66900,23267,619086")))
    return folder


def test_the_sample_is_verified_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "out" / "coinbase.png"
    result = run("--sample", "--verify", "--picture", picture)
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "501 of 501 trades identical" in words
    assert "66,833 of 66,833 orders identical (27,695 levels, queue order included)" in words
    assert "commands/s" in words
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 20_000


def test_a_difference_exits_with_1_and_is_named(different: Path) -> None:
    result = run(different, "--verify")
    assert result.exit_code == 1
    assert "recorded trades: row 1: price_ticks must be 619086, was 619085" in " ".join(result.stderr.split())
    assert run(different).exit_code == 0


@pytest.mark.parametrize("arguments", [(), ("no/such/file",), ("--form", "x", "y"), ("--jobs", "0", "x"), ("--what",)])
def test_bad_input_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_damaged_file_exits_with_2_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"damaged")
    result = run(tmp_path / "x.parquet")
    assert result.exit_code == 2
    assert "content must be a whole Parquet file" in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_nothing_to_verify_against_exits_with_2(day: Path) -> None:
    result = run(day, "--verify")
    assert result.exit_code == 2
    assert "expected results must be there" in " ".join(result.stderr.split())


def test_expected_trades_are_compared(day: Path, tmp_path: Path) -> None:
    trades = replay(day).trades
    write_trades(tmp_path / "trades.csv", trades)
    assert run(day, "--expected", tmp_path / "trades.csv").exit_code == 0
    write_trades(tmp_path / "fewer.csv", trades[:-1])
    assert run(day, "--expected", tmp_path / "fewer.csv").exit_code == 1


def test_results_are_all_trades(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "trades.parquet"
    assert run(day, "--results", out).exit_code == 0
    trades = replay(day).trades
    table = pq.read_table(out)
    assert table.num_rows == len(trades)
    assert table["price_ticks"].to_pylist() == trades["price_ticks"].tolist()
    assert set(table.column_names) <= set(TRADE_DTYPE.names or ())


def test_several_recordings_run_in_processes(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "trades.parquet"
    result = run(samples.path(), day, "--jobs", 2, "--results", out)
    assert result.exit_code == 0, result.output
    sources = pq.read_table(out)["source"].to_pylist()
    assert sources.count(0) == 501
    assert sources.count(1) == len(replay(day).trades)


def test_several_recordings_are_verified(different: Path) -> None:
    result = run(samples.path(), different, "--jobs", 2, "--verify")
    assert result.exit_code == 1
    assert "price_ticks must be 619086" in " ".join(result.stderr.split())


@pytest.mark.parametrize("option", ["--picture", "--expected"])
def test_what_is_for_one_recording_is_refused_with_two(day: Path, option: str) -> None:
    result = run(day, day, option, "x")
    assert result.exit_code == 2
    assert f"{option} must be used with one recording, was used with 2" in " ".join(result.stderr.split())


def test_quiet_prints_nothing(day: Path) -> None:
    result = run(day, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_process_exits_as_it_should(different: Path) -> None:
    def code(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "pyengine.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert code("replay", "--sample", "--verify", "--quiet") == (0, "")
    assert code("replay", different, "--verify", "--quiet")[0] == 1
    assert code("replay", different / "nothing")[0] == 2
    version = code("--version")
    assert version[0] == 0
    assert version[1].startswith("pyengine, version ")


def brought_by(name: str, *extras: str) -> set[str]:
    """Name all distributions that installing one installs, itself included."""
    found, left = set(), [Requirement(f"{name}[{','.join(extras)}]")]
    while left:
        wanted = left.pop()
        key = f"{canonicalize_name(wanted.name)} {sorted(wanted.extras)}"
        if key in found:
            continue
        found.add(key)
        for line in metadata.requires(wanted.name) or ():
            needed = Requirement(line)
            if any(needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in (wanted.extras or {""})):
                left.append(needed)
    return {key.split()[0] for key in found}


def test_the_extra_cli_brings_all_that_the_command_line_needs() -> None:
    there = brought_by("pyengine", "cli")
    absent = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not there.intersection(canonicalize_name(owner) for owner in owners) and module.isidentifier()
    ]
    assert "pyarrow" in absent
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}, None)); from pyengine.cli import main; main()"
    for arguments in (["replay", "--sample", "--verify", "--quiet"], ["config"], ["check"], ["migrate", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named() -> None:
    hide = "import sys; sys.modules['click'] = None; from pyengine.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "pyengine: click must be installed for this: pip install 'pyengine[cli]'\n"
