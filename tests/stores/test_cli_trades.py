"""`pyengine trades` and `pyengine audit`: what a log holds is printed, verified and proven."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from stores.trade_files import START_NS, names, rows, written

from pyengine.cli.commands import commands
from pyengine.stores.audit import chain_head
from pyengine.stores.file import FileTradeStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trades.log"
    array = rows(range(1, 101))
    array["instrument"] = array["trade_id"] % 2
    array["ts_ns"] = START_NS + array["trade_id"] * 1_000_000_000
    with FileTradeStore(path, names=names(), rotate_bytes=5_000, compress=False) as store:
        store.save_batch(array)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(each) for each in arguments])


def ids(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["trade_id"] for line in result.stdout.splitlines()]


# --- trades


def test_json_is_that_of_the_log(path: Path) -> None:
    result = run("trades", path, "--format", "json")
    assert result.exit_code == 0, result.output
    found = [json.loads(line, parse_float=Decimal) for line in result.stdout.splitlines()]
    for one, other in zip(found, written(path), strict=True):
        assert one.pop("timestamp")[:23] == other.pop("timestamp")[:23]
        assert one == other


def test_csv_and_table_have_a_heading_and_exact_numbers(path: Path) -> None:
    result = run("trades", path, "--format", "csv", "--symbol", "BTC-USD")
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [int(row["trade_id"]) for row in found] == list(range(2, 101, 2))
    assert found[0]["price"] == "100.02"
    assert found[0]["timestamp"] == "2025-01-15T10:30:47.123000000Z"
    lines = run("trades", path).stdout.splitlines()
    assert lines[0].split() == ["trade_id", "buy_order_id", "sell_order_id", "price", "quantity", "timestamp", "symbol", "side"]
    assert len(lines) == 101
    assert lines[2].split()[3:5] == ["100.02", "0.003"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--after-id", 97], [98, 99, 100]),
        (["--last", 3], [98, 99, 100]),
        (["--last", 2, "--symbol", "ETH-USD"], [97, 99]),
        (["--last", 0], []),
        (["--to", "2025-01-15T10:30:48.123Z"], [1, 2]),
        (["--from", "2025-01-15T10:32:24.122999999Z"], [99, 100]),
        (["--from", "2025-01-15T12:32:24.123000001+02:00"], [100]),
        (["--from", "2025-01-15", "--to", "2025-01-15 10:30:47"], [1]),
        (["--from", "2025-01-16"], []),
        (["--unordered", "--from", "2025-01-15T10:32:25Z"], [100]),
    ],
)
def test_trades_are_selected(path: Path, options: list[object], expected: list[int]) -> None:
    assert ids(run("trades", path, "--format", "json", *options)) == expected


def test_damaged_lines_are_fatal_or_skipped(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}\n")
    result = run("trades", path, "--format", "json", "--last", 1)
    assert result.exit_code == 2
    assert "symbol must be there" in result.stderr
    result = run("trades", path, "--format", "json", "--last", 1, "--skip-damaged")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["trade_id"] == 100
    assert "trades.log, line " in result.stderr


def test_what_can_not_be_asked_for(path: Path) -> None:
    assert run("trades", path, "--from", "yesterday").exit_code == 2
    assert "--last must be used without" in run("trades", path, "--last", 1, "--after-id", 1).output
    result = run("trades", path.parent / "none.log")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_following_prints_what_comes(path: Path) -> None:
    command = [sys.executable, "-m", "pyengine.cli", "trades", str(path), "--last", "1", "--follow", "--format", "json"]
    # Somebody may have started us with interrupts ignored, which children inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert json.loads(process.stdout.readline())["trade_id"] == 100
            with FileTradeStore(path, names=names(), rotate_bytes=5_000, compress=False) as store:
                store.save_batch(rows(range(101, 201)))
                assert [json.loads(process.stdout.readline())["trade_id"] for _ in range(100)] == list(range(101, 201))
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


# --- audit


def test_an_untouched_log_is_ok(path: Path) -> None:
    head = chain_head(path).link
    result = run("audit", "verify", path)
    assert result.exit_code == 0
    assert result.stdout.startswith("ok: 100 lines in ")
    assert f"head: {head}" in result.stdout
    assert "without --head" in result.stdout
    result = run("audit", "verify", path, "--head", head)
    assert result.exit_code == 0
    assert "without --head" not in result.stdout
    assert run("audit", "head", path).stdout == f"{head}\n"
    assert json.loads(run("audit", "head", path, "--json").stdout)["link"] == head
    found = json.loads(run("audit", "verify", path, "--json").stdout)
    assert (found["ok"], found["lines"], found["head"]["link"]) == (True, 100, head)


def test_the_first_bad_line_is_named(path: Path) -> None:
    second = path.with_name("trades.log.000002")
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join([*lines[:4], lines[4].replace(b'"side":', b'"side" :'), *lines[5:]]))
    result = run("audit", "verify", path)
    assert result.exit_code == 1
    assert f"BAD: {second}, line 5, byte {len(b''.join(lines[:4]))}: line must be as it was written" in result.stdout
    found = json.loads(run("audit", "verify", path, "--json").stdout)
    assert (found["ok"], found["finding"]["line"], found["finding"]["path"]) == (False, 5, str(second))


def test_a_cut_tail_is_found_with_the_head(path: Path) -> None:
    head = chain_head(path).link
    chain = path.with_name("trades.log.chain")
    lines = chain.read_bytes().splitlines(keepends=True)
    chain.write_bytes(b"".join(lines[:-1]))
    path.write_bytes(b"")
    assert run("audit", "verify", path).exit_code == 0
    result = run("audit", "verify", path, "--head", head)
    assert result.exit_code == 1
    assert "its end was cut off, or it was rewritten" in result.stdout


def test_a_proof_is_exported_and_checked(path: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    proof.write_text(run("audit", "prove", path, 42).stdout)
    head = run("audit", "head", path).stdout.strip()
    command = [sys.executable, "-I", "-S", str(ROOT / "examples" / "check_trade_proof.py"), str(proof), head]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('proven: {"trade_id": 42,')


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Make a key and the public part of it."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_signed_head_is_trusted_and_no_other(path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    head, signature = run("audit", "head", path, "--sign", private).stdout.split()
    assert head == chain_head(path).link
    assert json.loads(run("audit", "head", path, "--sign", private, "--json").stdout)["signature"] == signature
    options = ["--head", head, "--key", public, "--signature"]
    assert run("audit", "verify", path, *options, signature).exit_code == 0
    wrong = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    result = run("audit", "verify", path, *options, wrong)
    assert result.exit_code == 1
    assert "the head must be signed by" in result.stdout
    other = run("audit", "verify", path, "--head", "0" * 64, "--key", public, "--signature", signature)
    assert (other.exit_code, other.stdout[:27]) == (1, "BAD: the head must be signe")
    for arguments, why in (
        ([*options, "xyz"], "signature must be 128 hexadecimal digits"),
        (["--head", head, "--key", private, "--signature", signature], "public_key must be a PEM file"),
        (["--head", head, "--key", path.parent / "none", "--signature", signature], "No such file"),
        (["--signature", signature], "must be used together"),
    ):
        result = run("audit", "verify", path, *arguments)
        assert result.exit_code == 2
        assert why in result.stderr
    assert "private_key must be a PEM file" in run("audit", "head", path, "--sign", public).stderr


def test_what_can_not_be_audited(path: Path) -> None:
    result = run("audit", "prove", path, 101)
    assert result.exit_code == 2
    assert "trade_id must be that of a trade" in result.stderr
    result = run("audit", "verify", path, "--head", "beef")
    assert result.exit_code == 2
    assert "64 hexadecimal digits" in result.stderr
    result = run("audit", "head", path.parent / "none.log")
    assert result.exit_code == 2
    assert "must have a chain beside it, has none" in result.stderr
