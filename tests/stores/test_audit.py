"""The chain beside the trade log: what was tampered with is found and named, what wasn't is vouched for."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard
from stores.trade_files import eventually, names, rows

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged, StoreRefused, StoreUnavailable
from pyengine.stores.audit import ChainHead, Verdict, chain_head, chain_path, prove_trade, verify_log
from pyengine.stores.audit import writer as chain_writer
from pyengine.stores.audit.checkpoint import NO_LINK, chain_lines, checkpoint_of, read_checkpoint
from pyengine.stores.file import FileTradeStore
from pyengine.stores.file_packed import pack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.log"


def fill(path: Path, count: int = 30, batches: int = 3, first: int = 1, **options: object) -> ChainHead:
    """Write trades and return the head."""
    with FileTradeStore(path, names=names(), **{"chain_bytes": 1000, **options}) as store:
        for part in np.array_split(rows(range(first, first + count)), batches):
            store.save_batch(part)
            assert store.flush()
        head = store.head()
        if options.get("rotate_bytes") and options.get("compress", True):
            eventually(lambda: not [each for each in closed(path) if each.suffix != ".zst"])
    assert head is not None
    return head


def closed(path: Path) -> list[Path]:
    return sorted(path.parent.glob("trades.log.0*"))


def bad(path: Path, head: str | None = None) -> tuple[str, int, int, str]:
    """Verify a log that isn't right, and give the name of the file, line, byte and reason."""
    verdict = verify_log(path, head=head)
    assert not verdict
    assert verdict.finding is not None
    return verdict.finding.path.name, verdict.finding.line, verdict.finding.at, verdict.finding.why


def good(path: Path, lines: int, head: str | None = None) -> Verdict:
    """Verify a log that is right, and wholly covered."""
    verdict = verify_log(path, head=head)
    assert verdict.ok, verdict.finding
    assert (verdict.lines, verdict.uncovered_bytes) == (lines, 0)
    return verdict


def line_starts(text: bytes) -> list[int]:
    return [0, *(at + 1 for at, byte in enumerate(text) if byte == 10)][:-1]


# --- what is right


def test_an_untouched_log_is_vouched_for(path: Path) -> None:
    head = fill(path, 500, 20)
    verdict = good(path, 500, head.link)
    assert verdict.head == head == chain_head(path)
    assert verdict.anchored
    assert verdict.files == 1
    assert verdict.checkpoints == head.n > 50
    assert (verdict.bytes, verdict.found_lines) == (path.stat().st_size, 0)
    assert (head.file, head.to, head.last_id) == (1, path.stat().st_size, 500)


def test_the_chain_is_what_the_documentation_says(path: Path) -> None:
    fill(path, 100, 4)
    text, prev, at = path.read_bytes(), NO_LINK, 0
    for number, line in enumerate(chain_path(path).read_bytes().splitlines(), start=1):
        fields = json.loads(line)
        covered = text[fields["from"] : fields["to"]]
        ids = [json.loads(each)["trade_id"] for each in covered.splitlines()]
        assert (fields["n"], fields["file"], fields["from"], fields["prev"]) == (number, 1, at, prev)
        assert fields["sha256"] == hashlib.sha256(covered).hexdigest()
        assert (fields["first_id"], fields["last_id"], fields["lines"]) == (min(ids), max(ids), len(ids))
        assert covered.endswith(b"\n")
        assert fields["to"] - fields["from"] <= 1000
        prev, at = hashlib.sha256(line.partition(b',"link":')[0]).hexdigest(), fields["to"]
        assert fields["link"] == prev
    assert at == len(text)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("fsync", ["always", "batch", "interval", "never"])
def test_the_chain_goes_on_over_rotation_and_restart(path: Path, fsync: str, compress: bool) -> None:
    for first in (1, 401, 801):
        head = fill(path, 400, 8, first, rotate_bytes=9_000, compress=compress, fsync=fsync, interval_s=0.05)
    verdict = good(path, 1200, head.link)
    assert verdict.files == len(closed(path)) + 1 > 15
    assert verdict.found_lines == 0
    assert [each.suffix == ".zst" for each in closed(path)] == [compress] * len(closed(path))


def test_lines_are_covered_without_being_asked_for(path: Path) -> None:
    with FileTradeStore(path, names=names(), chain_interval_s=0.05) as store:
        for begin in (1, 11, 21):
            store.save_batch(rows(range(begin, begin + 10)))
            store.flush()
            eventually(lambda lines=begin + 9: chain_path(path).exists() and verify_log(path).lines == lines)
        assert store.stats().gauges["chain_lag_bytes"] == 0
        assert store.stats().counts["checkpoints"] >= 3


def test_a_log_can_be_verified_while_it_is_written(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=50_000, chain_bytes=5_000) as store:
        for begin in range(1, 6001, 200):
            store.save_batch(rows(range(begin, begin + 200)))
            store.flush()
            if chain_path(path).exists():
                assert verify_log(path).ok
    good(path, 6000)


def test_a_log_of_before_gets_a_chain_and_that_is_said(path: Path) -> None:
    fill_without = {"chain": False, "rotate_bytes": 9_000, "compress": False}
    with FileTradeStore(path, names=names(), **fill_without) as store:
        store.save_batch(rows(range(1, 201)))
        store.flush()
        with pytest.raises(StoreRefused, match="must be written with a chain"):
            store.head()
    assert not chain_path(path).exists()
    assert bad(path) == ("trades.log.chain", 1, 0, "chain must be there, is missing")
    head = fill(path, 100, 2, 201, rotate_bytes=9_000, compress=False)
    assert good(path, 300, head.link).found_lines == 200


def test_a_head_is_on_the_disk_before_it_is_given(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 11)))
        assert store.flush()
        file = store._writer.log.chain._file
        sync, synced = file.sync, []

        def noted() -> None:
            synced.append(file.size)
            sync()

        file.sync = noted
        assert store.head() is not None
        assert synced == [chain_path(path).stat().st_size]


def test_a_closed_file_that_was_taken_away_before_its_turn_is_left_out(path: Path) -> None:
    with FileTradeStore(path, names=names(), chain=False, rotate_bytes=9_000, compress=False) as store:
        store.save_batch(rows(range(1, 301)))
    fill(path, 10, 1, 301, rotate_bytes=9_000, compress=False)
    lines = chain_path(path).read_bytes().splitlines(keepends=True)
    chain_path(path).write_bytes(b"".join(lines[:2]))
    closed(path)[0].unlink()
    fill(path, 10, 1, 311, rotate_bytes=9_000, compress=False)
    covered = [read_checkpoint(line, "") for _, line in chain_lines(chain_path(path))]
    assert [each.n for each in covered if each.file == 1] == [1, 2]
    assert sum(each.lines for each in covered if each.file > 1) == sum(
        each.read_bytes().count(b"\n") for each in [*closed(path), path]
    )
    assert bad(path)[0] == "trades.log.000001"


def test_an_empty_log_has_no_head(path: Path) -> None:
    with FileTradeStore(path) as store:
        assert store.head() is None
    assert chain_head(path) is None
    assert good(path, 0).head is None


def test_what_the_disk_refused_and_got_again_is_covered_once(path: Path) -> None:
    with FileTradeStore(path, names=names(), chain_bytes=1000, chain_interval_s=0.01) as store:
        store.save_batch(rows(range(1, 101)))
        assert store.flush()
        file = store._writer.log._file
        sync = file.sync

        def failing() -> None:
            raise OSError(errno.EIO, "the cable is loose")

        file.sync = failing
        store.save_batch(rows(range(101, 201)))
        assert not store.flush(timeout_s=0.2)
        file.sync = sync
        assert store.flush()
    good(path, 200)


# --- what isn't


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
    fill(path, 300, 6, rotate_bytes=9_000, compress=False)
    assert len(closed(path)) > 4
    return path


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


def test_a_damaged_chain_is_not_written_on(path: Path) -> None:
    fill(path)
    with chain_path(path).open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(StoreDamaged, match=r"trades\.log\.chain, byte \d+: line must be a checkpoint"):
        FileTradeStore(path)
    FileTradeStore(path, chain=False).close()


# --- crashes


def test_a_process_that_is_killed_leaves_a_log_that_is_vouched_for(path: Path) -> None:
    code = """
        import sys
        sys.path.insert(0, TESTS)
        from stores.trade_files import names, rows
        from pyengine.stores.file import FileTradeStore
        store = FileTradeStore(sys.argv[1], names=names(), rotate_bytes=200_000, chain_bytes=4_000, chain_interval_s=0.002)
        begin = store.stats().gauges["last_trade_id"] + 1
        print("open", flush=True)
        while True:
            store.save_batch(rows(range(begin, begin + 50)))
            begin += 50
    """
    text = textwrap.dedent(code).replace("TESTS", repr(str(ROOT / "tests")))
    heads = []
    for round_number in range(8):
        process = subprocess.Popen([sys.executable, "-c", text, str(path)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"open\n"
        time.sleep(0.1 + 0.04 * round_number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        verdict = verify_log(path)
        assert verdict.ok, verdict.finding
        heads += [] if verdict.head is None else [verdict.head.link]
    head = fill(path, 100, 2, 10**9, rotate_bytes=200_000)
    for link in [*heads, head.link]:
        verdict = verify_log(path, head=link)
        assert verdict.ok
        assert verdict.uncovered_bytes == 0
    assert verdict.lines > 2000


def test_an_unfinished_checkpoint_is_put_aside(path: Path) -> None:
    fill(path, 30, 3)
    text = chain_path(path).read_bytes()
    chain_path(path).write_bytes(text[:-50])
    assert verify_log(path).uncovered_bytes > 0
    head = fill(path, 10, 1, 31)
    verdict = good(path, 40, head.link)
    assert verdict.found_lines > 0
    assert chain_path(path).with_name("trades.log.chain.unfinished").exists()


def test_numbers_of_files_that_were_taken_away_are_not_given_again(rotated: Path) -> None:
    numbers = [int(each.name[-6:]) for each in closed(rotated)]
    for each in closed(rotated):
        each.unlink()
    fill(rotated, 100, 2, 301, rotate_bytes=9_000, compress=False)
    assert min(int(each.name[-6:]) for each in closed(rotated)) == max(numbers) + 1


def test_a_chain_that_can_not_be_written_holds_nobody_up(path: Path) -> None:
    with FileTradeStore(path, names=names(), chain_bytes=1000) as store:
        chain = store._writer.log.chain
        append = chain._file.append

        def failing(text: bytes) -> None:
            raise OSError(28, "No space left on device")

        chain._file.append = failing
        store.save_batch(rows(range(1, 101)))
        assert store.flush()
        with pytest.raises(StoreUnavailable, match=r"chain of .* must be written in 0\.1 s, wasn't \(.*No space left"):
            store.head(timeout_s=0.1)
        assert store.stats().counts["chain_errors"] > 0
        chain._file.append = append
        assert store.head() is not None
    good(path, 100)


def test_a_forked_child_leaves_the_chain_alone(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 11)))
        store.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                store.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        store.save_batch(rows(range(11, 21)))
    good(path, 20)


# --- anchors


def test_an_anchor_is_given_every_head_that_is_kept(path: Path) -> None:
    kept: list[ChainHead] = []
    with FileTradeStore(path, names=names(), chain_interval_s=0.01, anchor=kept.append, anchor_s=0.02) as store:
        for begin in range(1, 101, 10):
            store.save_batch(rows(range(begin, begin + 10)))
            store.flush()
            time.sleep(0.02)
        eventually(lambda: len(kept) > 2)
        assert store.stats().counts["anchored"] == len(kept)
    assert kept[-1] == chain_head(path)
    for head in kept:
        good(path, 100, head.link)


def test_an_anchor_out_of_reach_is_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept: list[ChainHead] = []

    def reluctant(head: ChainHead) -> None:
        kept.append(head)
        if len(kept) < 3:
            raise ConnectionError("nobody there")

    with FileTradeStore(path, names=names(), anchor=reluctant, anchor_s=0.02) as store:
        store.save_batch(rows(range(1, 11)))
        eventually(lambda: store.stats().counts["anchored"] == 1)
        assert store.stats().counts["anchor_errors"] == 2
    assert len(set(kept)) == 1
    assert "nobody there" in caplog.text


def test_bad_settings_are_refused(path: Path) -> None:
    for options, message in (
        ({"chain_bytes": 0}, "chain_bytes must be"),
        ({"chain_interval_s": -1}, "chain_interval_s must be"),
        ({"anchor_s": -1}, "anchor_s must be"),
    ):
        with pytest.raises(FieldError, match=message):
            FileTradeStore(path, **options)
    with pytest.raises(FieldTypeError, match="anchor must be a callable"):
        FileTradeStore(path, anchor="redis")
    assert chain_writer.ChainOptions().anchor is None


# --- proofs


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
