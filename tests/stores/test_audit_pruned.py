"""Files of the log that were deleted on purpose, and heads that are older than what is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from stores.trade_files import names, rows

from pyengine.cli.commands import commands
from pyengine.errors import FieldError
from pyengine.stores.audit import ChainHead, chain_path, verify_log
from pyengine.stores.file import FileTradeStore


def rotated(path: Path) -> tuple[ChainHead, list[Path]]:
    with FileTradeStore(path, names=names(), chain_bytes=1000, rotate_bytes=5000, compress=False) as store:
        for begin in range(1, 301, 20):
            store.save_batch(rows(range(begin, begin + 20)))
            assert store.flush()
        found = store.head()
    assert found is not None
    return found, sorted(path.parent.glob("trades.log.0*"))


def test_files_that_may_be_gone_are_no_fault_and_old_heads_are_found(path: Path) -> None:
    newest, closed = rotated(path)
    links = [json.loads(line)["link"] for line in chain_path(path).read_bytes().splitlines()]
    whole = verify_log(path, head=links)
    assert whole.ok
    for gone in closed[:3]:
        gone.unlink()
    assert not verify_log(path, head=newest.link)
    verdict = verify_log(path, head=links, pruned_before=4)
    assert verdict.ok, verdict.finding
    assert verdict.anchored
    assert (verdict.head, verdict.checkpoints) == (newest, whole.checkpoints)
    assert (verdict.pruned_files, verdict.files) == (3, whole.files - 3)
    assert verdict.pruned_lines + verdict.lines == 300
    result = CliRunner().invoke(commands, ["audit", "verify", str(path), "--pruned-before", "4", "--head", links[0]])
    assert result.exit_code == 0, result.output
    assert f"note: {verdict.pruned_lines} lines in 3 files are gone, as was said" in result.stdout


def test_no_more_may_be_gone_than_was_said(path: Path) -> None:
    newest, closed = rotated(path)
    for number in (1, 2, 4):
        closed[number - 1].unlink()
    verdict = verify_log(path, pruned_before=3)
    assert verdict.finding is not None
    assert verdict.finding.path.name == "trades.log.000004"
    # A file that may be gone but isn't is verified, and so are the checkpoints of those that are gone.
    text = closed[2].read_bytes()
    closed[2].write_bytes(text.replace(b'"quantity":', b'"quantity":1', 1))
    verdict = verify_log(path, pruned_before=5)
    assert verdict.finding is not None
    assert (verdict.finding.path.name, verdict.finding.line) == ("trades.log.000003", 1)
    closed[2].write_bytes(text)
    assert verify_log(path, pruned_before=5, head=newest.link).ok
    chain = chain_path(path).read_bytes()
    chain_path(path).write_bytes(chain.replace(b'"lines":', b'"lines":1', 1))
    assert not verify_log(path, pruned_before=5)
    chain_path(path).write_bytes(chain)
    # The file that is written to is never one of those.
    path.unlink()
    assert not verify_log(path, pruned_before=1000)
    with pytest.raises(FieldError, match="pruned_before must be an int from 0"):
        verify_log(path, pruned_before=-1)


def test_several_heads_must_all_be_there(path: Path) -> None:
    newest, _ = rotated(path)
    assert verify_log(path, head=[newest.link.upper(), newest.link]).anchored
    verdict = verify_log(path, head=[newest.link, "0" * 64])
    assert verdict.finding is not None
    assert f"chain must have the head {'0' * 64}" in verdict.finding.why
    assert not verify_log(path, head=[]).anchored
    with pytest.raises(FieldError, match="head must be 64 hexadecimal digits"):
        verify_log(path, head=[newest.link, "x"])
