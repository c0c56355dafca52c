"""Logs in many files: closed by size and by day, packed, and read as one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from stores.trade_files import DAY_NS, START_NS, eventually, ids_written, names, recent, rows, unpacked

from pyengine.store_errors import StoreDamaged
from pyengine.stores import file_packer
from pyengine.stores.file import FileTradeStore
from pyengine.stores.file_ids import IdRanges, is_rising
from pyengine.stores.file_packed import FRAME_BYTES, PackedFile, pack, packed_path


def closed(path: Path) -> list[str]:
    """List the closed files, by what follows the name of the log."""
    names_here = (each.name.removeprefix(f"{path.name}.") for each in path.parent.iterdir())
    return sorted(name for name in names_here if name[:6].isdigit())


@pytest.mark.parametrize("fsync", ["batch", "never"])
@pytest.mark.parametrize("compress", [True, False])
def test_a_file_is_closed_before_it_exceeds_the_size(path: Path, fsync: Any, compress: bool) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=3000, compress=compress, fsync=fsync) as store:
        for begin in range(1, 500, 9):
            store.save_batch(rows(range(begin, begin + 9)))
        store.flush()
        suffix = ".zst" if compress else ""
        eventually(lambda: all(name.endswith(suffix) for name in closed(path)))
        files = closed(path)
        assert files == [f"{n:06}{suffix}" for n in range(1, len(files) + 1)]
        for name in files:
            assert 2800 < len(unpacked(path.with_name(f"trades.log.{name}"))) <= 3000
        assert ids_written(path) == list(range(1, 505))
        counts = store.stats().counts
        assert (counts["closed_files"], counts["errors"]) == (len(files), 0)
        assert recent(store, 1000) == list(range(504, 0, -1))
    with FileTradeStore(path, names=names(), rotate_bytes=3000, compress=compress) as again:
        assert again.save_batch(rows(range(1, 600))) == 95
        again.flush()
        assert recent(again, 1000) == list(range(599, 0, -1))
    assert ids_written(path) == list(range(1, 600))


def test_one_line_may_be_longer_than_the_size(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=1, compress=False) as store:
        store.save_batch(rows(range(1, 6)))
        store.flush()
        assert closed(path) == ["000001", "000002", "000003", "000004"]
        assert store.stats().counts["syncs"] == 5, "each file is synced before it is closed"
        assert recent(store, 9) == [5, 4, 3, 2, 1]


def test_each_day_has_its_file(path: Path) -> None:
    days = rows(range(1, 101))
    days["ts_ns"] = START_NS + np.arange(100) // 30 * DAY_NS
    with FileTradeStore(path, names=names(), rotate_daily=True, compress=False) as store:
        store.save_batch(days[:45])
    with FileTradeStore(path, names=names(), rotate_daily=True, compress=False) as store:
        store.save_batch(days[45:])
        late = rows([101])
        late["ts_ns"] = START_NS
        store.save_batch(late)
        store.flush()
        assert closed(path) == ["000001", "000002", "000003"]
        assert store.stats().counts["errors"] == 0
        assert recent(store, 3) == [101, 100, 99]
    for number, day in ((1, b"2025-01-15"), (2, b"2025-01-16"), (3, b"2025-01-17")):
        text = path.with_name(f"trades.log.{number:06}").read_bytes()
        assert text.count(b'"timestamp":"' + day) == text.count(b"\n") == 30
    assert path.read_bytes().count(b'"timestamp":"2025-01-18') == 10


def test_days_and_sizes_go_together(path: Path) -> None:
    days = rows(range(1, 201))
    days["ts_ns"] = START_NS + np.arange(200) // 50 * DAY_NS
    with FileTradeStore(path, names=names(), rotate_daily=True, rotate_bytes=4000, compress=False) as store:
        for begin in range(0, 200, 3):
            store.save_batch(days[begin : begin + 3])
            store.flush()
    for name in closed(path):
        text = path.with_name(f"trades.log.{name}").read_bytes()
        assert len({line.split(b'"timestamp":"')[1][:10] for line in text.splitlines()}) == 1
        assert len(text) <= 4000
    assert len(closed(path)) == 7
    assert ids_written(path) == list(range(1, 201))


def test_late_trades_are_found_across_files(path: Path) -> None:
    order = [*range(1, 100, 2), *range(100, 150), *range(98, 0, -2), *range(150, 160)]
    with FileTradeStore(path, names=names(), rotate_bytes=1500) as store:
        for n in order:
            store.save_batch(rows([n]))
            store.flush()
        assert len(closed(path)) > 15
        assert recent(store, 30) == list(range(159, 129, -1))
        assert recent(store, 200) == list(range(159, 0, -1))
    with FileTradeStore(path, names=names(), rotate_bytes=1500) as store:
        assert store.save_batch(rows(range(1, 161))) == 1


def test_a_packed_file_is_read_in_parts_and_by_every_tool(tmp_path: Path) -> None:
    text = np.random.default_rng(1).integers(97, 100, 3 * FRAME_BYTES + 12345, np.uint8).tobytes()
    plain = tmp_path / "x"
    plain.write_bytes(text)
    assert pack(plain) is True
    assert not plain.exists()
    assert unpacked(packed_path(plain)) == text
    packed = PackedFile(packed_path(plain))
    assert packed.size == len(text)
    for begin, count in ((0, 10), (FRAME_BYTES - 5, 10), (FRAME_BYTES, FRAME_BYTES), (5, len(text)), (len(text) - 3, 100)):
        assert packed.read(begin, count) == text[begin : begin + count]
    packed.close()
    tool = shutil.which("zstd")
    if tool is not None:
        assert subprocess.run([tool, "-dc", packed_path(plain)], check=True, capture_output=True).stdout == text


def test_packing_that_is_called_off_leaves_everything_as_it_was(tmp_path: Path) -> None:
    plain = tmp_path / "x"
    plain.write_bytes(b"x" * FRAME_BYTES * 2)
    answers = iter([True, False])
    assert pack(plain, lambda: next(answers)) is False
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_was_left_by_a_crash_while_packing_is_put_right(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=2000, compress=False) as store:
        store.save_batch(rows(range(1, 101)))
    first, second = path.with_name("trades.log.000001"), path.with_name("trades.log.000002")
    kept = first.read_bytes()
    pack(first)
    first.write_bytes(kept)
    path.with_name("trades.log.000002.zst.tmp").write_bytes(b"half of it")
    with FileTradeStore(path, names=names(), rotate_bytes=2000) as store:
        assert recent(store, 200) == list(range(100, 0, -1))
        eventually(lambda: all(name.endswith(".zst") for name in closed(path)))
    assert not first.exists()
    assert not second.exists()
    assert ids_written(path) == list(range(1, 101))


def test_files_that_cannot_be_packed_stay_and_are_packed_later(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_packer, "_RETRY_S", 0.02)
    obstacle = path.with_name("trades.log.000001.zst.tmp")
    obstacle.mkdir()
    with FileTradeStore(path, names=names(), rotate_bytes=2000) as store:
        store.save_batch(rows(range(1, 101)))
        store.flush()
        eventually(lambda: store.stats().counts["pack_errors"] > 2)
        assert recent(store, 200) == list(range(100, 0, -1))
        obstacle.rmdir()
        eventually(lambda: all(name.endswith(".zst") for name in closed(path)))
        eventually(lambda: store.stats().counts["packed_files"] == len(closed(path)))
    assert sum("can't be packed" in each.message for each in caplog.records) == 1
    assert ids_written(path) == list(range(1, 101))


def test_damage_in_packed_files_is_reported_with_its_place(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=2000) as store:
        store.save_batch(rows(range(1, 31)))
        store.flush()
        eventually(lambda: closed(path)[-1].endswith(".zst"))
    files = [path.with_name(f"trades.log.{name}") for name in closed(path)]
    whole = files[0].read_bytes()
    for damaged, text in (
        (whole[:50] + bytes([whole[50] ^ 255]) + whole[51:], "byte 0: frame must be whole, is damaged"),
        (whole[:-1], "must end with a table of its frames"),
        (whole[:60] + whole[61:], "by its table of frames, has others"),
        (b"", "must end with a table of its frames"),
        (b"not packed at all", "must end with a table of its frames"),
    ):
        files[0].write_bytes(damaged)
        with FileTradeStore(path, names=names(), rotate_bytes=2000) as store:
            assert recent(store, 2) == [30, 29]
            with pytest.raises(StoreDamaged, match=rf"trades\.log\.000001\.zst.*{text}"):
                store.get_recent(30)
    files[0].write_bytes(zstandard.ZstdCompressor().compress(b"x" * 100))
    with FileTradeStore(path, names=names()) as store, pytest.raises(StoreDamaged, match="seekable form"):
        store.get_recent(30)


def test_without_the_library_the_error_names_the_extra(path: Path) -> None:
    code = f"""
import sys
sys.modules["zstandard"] = None
from pyengine.optional import MissingExtraError
from pyengine.stores import file_packer
from pyengine.stores.file import FileTradeStore
FileTradeStore({str(path)!r}).close()
FileTradeStore({str(path)!r}, rotate_daily=True, compress=False).close()
try:
    FileTradeStore({str(path)!r}, rotate_daily=True)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "zstandard must be installed for this: pip install 'pyengine[zstd]'"


@given(st.lists(st.lists(st.one_of(st.integers(1, 60), st.integers(2**63 - 9, 2**63 - 1)), max_size=12), max_size=12))
@settings(max_examples=300)
def test_ranges_of_ids_are_sets(batches: list[list[int]]) -> None:
    ranges, model = IdRanges(), set[int]()
    everything = np.array([*range(65), *range(2**63 - 12, 2**63)], np.int64)
    for batch in batches:
        ids = np.unique(np.array(batch, np.int64))
        assert ranges.holds(ids).tolist() == [n in model for n in ids.tolist()]
        ranges.add(ids)
        model.update(batch)
        assert ranges.holds(everything).tolist() == [n in model for n in everything.tolist()]
        assert [n in ranges for n in everything.tolist()] == [n in model for n in everything.tolist()]
        assert ranges.highest == max(model, default=0)
        listed = list(ranges)
        assert all(one[1] + 1 < other[0] for one, other in pairwise(listed))
        assert list(IdRanges(listed)) == listed
        for first in range(1, 62, 7):
            assert ranges.covers(first, first + 3) is all(n in model for n in range(first, first + 4))


def test_rising_means_strictly() -> None:
    assert is_rising(np.array([1], np.int64))
    assert is_rising(np.array([1, 2, 9], np.int64))
    assert not is_rising(np.array([1, 1], np.int64))
    assert not is_rising(np.array([2, 1], np.int64))
