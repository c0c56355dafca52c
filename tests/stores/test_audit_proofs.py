"""Proofs that a trade is in a log, made by its owner and checked by a stranger."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stores.audited_logs import fill, rotated_log
from stores.trade_files import names, rows

from pyengine.errors import FieldError
from pyengine.store_errors import StoreDamaged, StoreRefused
from pyengine.stores.audit import chain_head, prove_trade
from pyengine.stores.file import FileTradeStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rotated(path: Path) -> Path:
    return rotated_log(path)


def checker() -> Callable[[dict, str], dict]:
    spec = importlib.util.spec_from_file_location("check_trade_proof", ROOT / "examples" / "check_trade_proof.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check


@pytest.mark.parametrize("trade_id", [1, 2, 137, 300])
def test_a_stranger_can_check_a_proof(rotated: Path, tmp_path: Path, trade_id: int) -> None:
    head = chain_head(rotated).link
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps(prove_trade(rotated, trade_id)))
    command = [sys.executable, "-I", "-S", str(ROOT / "examples" / "check_trade_proof.py"), str(proof)]
    done = subprocess.run([*command, head], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.removeprefix("proven: "))["trade_id"] == trade_id
    done = subprocess.run([*command, "0" * 64], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT proven: the checkpoints lead to the head")


def test_no_byte_of_a_proof_that_matters_can_be_changed(path: Path) -> None:
    head = fill(path, 30, 3)
    check = checker()
    text = json.dumps(prove_trade(path, 7))
    expected = check(json.loads(text), head.link)
    accepted = 0
    for at in range(len(text)):
        changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
        try:
            proof = json.loads(changed)
        except ValueError:
            continue
        try:
            found = check(proof, head.link)
        except (ValueError, KeyError, TypeError):
            continue
        assert found == expected
        accepted += 1
    assert accepted < 90  # the head that the proof says of itself, which nobody believes


def test_a_proof_to_an_older_head(path: Path) -> None:
    early = fill(path, 30, 3)
    fill(path, 30, 3, 31)
    proof = prove_trade(path, 7, head=early.link)
    assert checker()(proof, early.link)["trade_id"] == 7
    with pytest.raises(FieldError, match="head must be the link of a checkpoint behind the trade"):
        prove_trade(path, 37, head=early.link)


def test_what_can_not_be_proven(path: Path) -> None:
    fill(path, 10, 1)
    with pytest.raises(FieldError, match="trade_id must be that of a trade"):
        prove_trade(path, 11)
    with FileTradeStore(path, names=names(), chain=False) as store:
        store.save_batch(rows([11]))
    with pytest.raises(StoreRefused, match="must be covered by a checkpoint, isn't yet"):
        prove_trade(path, 11)
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"trade_id":3,', b'"trade_id":4,'))
    with pytest.raises(StoreDamaged, match="must be as its chain says"):
        prove_trade(path, 2)
