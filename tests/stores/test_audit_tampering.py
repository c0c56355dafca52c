"""The chain beside the trade log, which isn't as it was written: what was tampered with is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard
from stores.audited_logs import bad, fill, good, rotated_log
from stores.trade_files import closed

from pyengine.errors import FieldError
from pyengine.stores.audit import chain_path, verify_log
from pyengine.stores.audit.checkpoint import chain_lines, checkpoint_of, read_checkpoint
from pyengine.stores.file_packed import pack


def line_starts(text: bytes) -> list[int]:
    return [0, *(at + 1 for at, byte in enumerate(text) if byte == 10)][:-1]


def test_each_byte_that_is_flipped_is_found_and_its_line_named(path: Path) -> None:
    fill(path, 12, 3)
    text = path.read_bytes()
    starts = line_starts(text)
    for at in range(len(text)):
        changed = bytearray(text)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        line = int(np.searchsorted(starts, at, side="right"))
        name, found_line, found_at, _ = bad(path)
        assert (name, found_line, found_at) == ("trades.log", line, starts[line - 1]), at
    path.write_bytes(text)
    good(path, 12)


def test_each_byte_of_the_chain_that_is_flipped_is_found(path: Path) -> None:
    head = fill(path, 12, 3)
    chain = chain_path(path)
    text = chain.read_bytes()
    starts = line_starts(text)
    for at in range(len(text)):
        changed = bytearray(text)
        changed[at] ^= 1 << at % 8
        chain.write_bytes(changed)
        line = int(np.searchsorted(starts, at, side="right"))
        if at == len(text) - 1:  # an unfinished last line isn't there yet: one checkpoint less
            assert verify_log(path).uncovered_bytes > 0
            assert bad(path, head.link)[:2] == (chain.name, line)
            continue
        assert bad(path)[:3] == (chain.name, line, starts[line - 1]), at


Change = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        (lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]], 10, "reordered"),
        (lambda lines: [*lines[:9], *lines[10:]], 10, "removed"),
        (lambda lines: [*lines[:9], *lines[20:]], 10, "removed"),
        (lambda lines: [*lines[:9], lines[3], *lines[9:]], 10, "inserted"),
        (lambda lines: [b"\n", *lines], 1, "inserted"),
        (lambda lines: [lines[0][:-1] + b" \n", *lines[1:]], 1, "changed"),
        (lambda lines: [*lines[:29], lines[29].replace(b'"side":', b'"side": ')], 30, "changed"),
        (lambda lines: lines[:29], 30, "cut off"),
        (lambda lines: [*lines[:29], lines[29][:-1]], 30, "cut off"),
        (lambda lines: lines[:2], 3, "cut off"),
        (lambda lines: [*lines[:20], *lines[10:20], *lines[20:]], 21, "inserted"),
        (lambda lines: [lines[0].replace(b"}", b""), *lines[1:]], 1, "changed"),
        (lambda lines: [], 1, "cut off"),
        (lambda lines: lines[1:], 1, "removed"),
        (lambda lines: [line.replace(b"BTC", b"ETH") for line in lines], 1, "changed"),
    ],
)
def test_lines_that_were_tampered_with_are_named(path: Path, change: Change, line: int, why: str) -> None:
    fill(path, 30, 1, chain_bytes=10_000)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
    name, found_line, at, found_why = bad(path)
    assert (name, found_line) == ("trades.log", line)
    assert at == len(b"".join(lines[: line - 1]))
    assert why in found_why


@pytest.fixture
def rotated(path: Path) -> Path:
    return rotated_log(path)


def test_changes_in_closed_files_are_found(rotated: Path) -> None:
    second = closed(rotated)[1]
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"price":', b'"price":1')]))
    assert bad(rotated)[:2] == (second.name, len(lines))
    second.write_bytes(b"".join(lines) + lines[0])
    assert bad(rotated)[:3] == (second.name, len(lines) + 1, len(b"".join(lines)))
    second.write_bytes(b"".join(lines[:-1]))
    assert bad(rotated)[:2] == (second.name, len(lines))
    second.write_bytes(b"".join(lines))
    good(rotated, 300)


def test_files_that_are_missing_renamed_or_swapped_are_found(rotated: Path) -> None:
    files = closed(rotated)
    aside = rotated.parent / "aside"
    for number in range(len(files)):
        files[number].rename(aside)
        assert bad(rotated) == (files[number].name, 1, 0, f"file must be there, from trade {first_id(aside)} on, is missing")
        aside.rename(files[number])
    files[1].rename(aside)
    files[2].rename(files[1])
    aside.rename(files[2])
    assert bad(rotated)[:3] == (files[1].name, 1, 0)
    files[1].rename(aside)
    files[2].rename(files[1])
    aside.rename(files[2])
    good(rotated, 300)
    rotated.rename(aside)
    assert bad(rotated)[0] == "trades.log"
    aside.rename(rotated)
    shutil.copy(files[0], rotated.with_name("trades.log.000000"))
    assert bad(rotated) == ("trades.log.000000", 1, 0, "file must be in the chain, isn't")


def first_id(path: Path) -> int:
    return int(json.loads(path.read_bytes().splitlines()[0])["trade_id"])


def test_packed_files_are_verified_by_what_is_in_them(path: Path) -> None:
    fill(path, 3000, 6, rotate_bytes=150_000, chain_bytes=10_000)
    first = closed(path)[0]
    good(path, 3000)
    packed = bytearray(first.read_bytes())
    for at in range(0, len(packed), 97):
        changed = bytearray(packed)
        changed[at] ^= 4
        first.write_bytes(changed)
        verdict = verify_log(path)
        # Bytes that don't matter for what is in it may be any; there are few.
        assert verdict.ok or first.name.startswith(verdict.finding.path.name)
    first.write_bytes(packed)
    with first.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        lines = reader.read().splitlines(keepends=True)
    plain = first.with_suffix("")
    lines[400] = lines[400].replace(b'"price":', b'"price":1')
    plain.write_bytes(b"".join(lines))
    first.unlink()
    pack(plain)
    assert bad(path) == (first.name, 401, len(b"".join(lines[:400])), "line must be as it was written, was changed")


def test_a_chain_that_was_edited_is_found(path: Path) -> None:
    fill(path, 60, 3)
    chain = chain_path(path)
    lines = chain.read_bytes().splitlines(keepends=True)
    for edited, line in (
        ([*lines[:3], *lines[4:]], 4),
        (lines[1:], 1),
        ([*lines[:3], lines[4], lines[3], *lines[5:]], 4),
        ([*lines[:3], lines[2], *lines[3:]], 4),
        ([lines[0].replace(b'"n":1,', b'"n": 1,'), *lines[1:]], 1),
        ([b"[]\n", *lines[1:]], 1),
        ([b"\xff\n", *lines[1:]], 1),
        ([b'{"n":1e999}\n', *lines[1:]], 1),
    ):
        chain.write_bytes(b"".join(edited))
        assert bad(path)[:2] == (chain.name, line)


def test_a_checkpoint_that_was_made_anew_is_found_by_the_next(path: Path) -> None:
    fill(path, 60, 3)
    text, lines = path.read_bytes(), chain_path(path).read_bytes().splitlines(keepends=True)
    old, before = read_checkpoint(lines[3], ""), read_checkpoint(lines[2], "")
    block = text[old.begin : old.end].replace(b'"side":1', b'"side":2')
    path.write_bytes(text[: old.begin] + block + text[old.end :])
    made = checkpoint_of(block, before, 1, old.begin, found=False)
    chain_path(path).write_bytes(b"".join([*lines[:3], made.line(), *lines[4:]]))
    assert bad(path)[:2] == ("trades.log.chain", 5)
    # The same lines under another checkpoint before: the numbers fit, the links don't.
    path.write_bytes(text)
    alone = checkpoint_of(text[old.begin : old.end], replace(before, found=True), 1, old.begin, found=False)
    chain_path(path).write_bytes(b"".join([*lines[:3], alone.line()]))
    name, line, _, why = bad(path)
    assert (name, line) == ("trades.log.chain", 4)
    assert f"must be number 4 after {before.link}" in why


def test_a_checkpoint_that_leaves_lines_out_is_found(path: Path) -> None:
    fill(path, 60, 3)
    text, lines = path.read_bytes(), chain_path(path).read_bytes().splitlines(keepends=True)
    before, left_out = read_checkpoint(lines[2], ""), read_checkpoint(lines[3], "")
    made = checkpoint_of(text[left_out.end :], before, 1, left_out.end, found=False)
    chain_path(path).write_bytes(b"".join([*lines[:3], made.line()]))
    name, line, _, why = bad(path)
    assert (name, line) == ("trades.log.chain", 4)
    assert f"must begin at byte {left_out.begin}" in why


def test_a_cut_tail_is_found_with_a_known_head_and_only_with_it(path: Path) -> None:
    early = fill(path, 60, 3)
    late = fill(path, 60, 3, 61)
    good(path, 120, early.link)
    good(path, 120, late.link.upper())
    lines = list(chain_lines(chain_path(path)))
    for at, text in lines[early.n : -1]:
        kept = read_checkpoint(text, "")
        chain_path(path).write_bytes(chain_path(path).read_bytes()[: at + len(text)])
        path.write_bytes(path.read_bytes()[: kept.end])
        break
    cut = verify_log(path)
    assert cut.ok
    assert verify_log(path, head=early.link).ok
    name, line, _, why = bad(path, late.link)
    assert (name, line) == ("trades.log.chain", early.n + 2)
    assert "its end was cut off, or it was rewritten" in why


def test_a_rewritten_log_is_found_with_a_known_head(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    head = fill(path, 60, 3)
    other = tmp_path_factory.mktemp("other") / "trades.log"
    fill(other, 60, 3, first=2)
    assert verify_log(other).ok
    assert bad(other, head.link)[0] == "trades.log.chain"


def test_lines_added_after_the_last_checkpoint_are_counted_as_nobodys(path: Path) -> None:
    fill(path, 10, 1)
    with path.open("ab") as file:
        file.write(b"x" * 99 + b"\n")
    verdict = verify_log(path)
    assert (verdict.ok, verdict.uncovered_bytes) == (True, 100)


def test_a_log_that_lost_its_end_says_so_for_ever(path: Path) -> None:
    fill(path, 30, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:25]))
    fill(path, 30, 3, 31)
    name, line, at, _ = bad(path)
    assert (name, line, at) == ("trades.log", 26, len(b"".join(lines[:25])))


def test_a_head_that_cannot_be_is_refused(path: Path) -> None:
    fill(path)
    for head in ("", "xyz", "0" * 63, "g" * 64):
        with pytest.raises(FieldError, match="head must be 64 hexadecimal digits"):
            verify_log(path, head=head)
