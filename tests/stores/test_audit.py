"""The chain beside the trade log: what was tampered with is found and named, what wasn't is vouched for."""

from __future__ import annotations

import errno
import hashlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from children import in_child
from stores.audited_logs import bad, fill, good, rotated_log
from stores.trade_files import closed, eventually, names, rows

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged, StoreRefused, StoreUnavailable
from pyengine.stores.audit import ChainHead, chain_head, chain_path, verify_log
from pyengine.stores.audit import writer as chain_writer
from pyengine.stores.audit.checkpoint import NO_LINK, chain_lines, read_checkpoint
from pyengine.stores.file import FileTradeStore

ROOT = Path(__file__).resolve().parents[2]


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


# --- damage and crashes


def test_a_damaged_chain_is_not_written_on(path: Path) -> None:
    fill(path)
    with chain_path(path).open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(StoreDamaged, match=r"trades\.log\.chain, byte \d+: line must be a checkpoint"):
        FileTradeStore(path)
    FileTradeStore(path, chain=False).close()


def test_a_process_that_is_killed_leaves_a_log_that_is_vouched_for(path: Path) -> None:
    code = """
        import sys
        sys.path.insert(0, TESTS)
        from stores.trade_files import closed, names, rows
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


def test_numbers_of_files_that_were_taken_away_are_not_given_again(path: Path) -> None:
    rotated = rotated_log(path)
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
        in_child(store.close)
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
