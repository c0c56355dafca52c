"""Up to which trade a log is safe: what its files hold, found again at the start, and nothing that waits or isn't synced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.trade_files import eventually, names, rows, trade

from pyengine.store_errors import StoreClosed
from pyengine.stores import file_append
from pyengine.stores.file import FileTradeStore


@pytest.fixture
def unsyncable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Give out a switch that makes every sync fail while it is non-empty."""
    switch: list[bool] = []
    sync = file_append._sync_bytes

    def fail_if_told(fd: int) -> None:
        if switch:
            raise OSError(5, "Input/output error")
        sync(fd)

    monkeypatch.setattr(file_append, "_sync_bytes", fail_if_told)
    yield switch
    switch.clear()


def last_after_restart(path: Path) -> int:
    with FileTradeStore(path, names=names()) as store:
        return store.last_trade_id()


@pytest.mark.parametrize("fsync", ["always", "batch", "interval", "never"])
def test_it_is_the_last_line_once_that_is_safe(path: Path, fsync: str) -> None:
    with FileTradeStore(path, names=names(), fsync=fsync) as store:
        assert store.last_trade_id() == 0
        store.save_batch(rows(range(1, 11)))
        assert store.flush(timeout_s=10)
        assert store.last_trade_id() == 10
        store.save_batch(rows(range(11, 20_001)))
        assert store.flush(timeout_s=10)
        assert store.last_trade_id() == 20_000
    with pytest.raises(StoreClosed):
        store.last_trade_id()
    assert last_after_restart(path) == 20_000


def test_what_the_disk_has_not_confirmed_does_not_count(path: Path, unsyncable: list[bool]) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 6)))
        assert store.flush(timeout_s=10)
        unsyncable.append(True)
        store.save_batch(rows(range(6, 11)))
        eventually(lambda: store.error is not None)
        assert path.read_bytes().count(b"\n") >= 5
        assert store.last_trade_id() == 5
        unsyncable.clear()
        eventually(lambda: store.last_trade_id() == 10)


def test_lines_that_a_killed_process_left_are_synced_before_they_count(
    path: Path, monkeypatch: pytest.MonkeyPatch, unsyncable: list[bool]
) -> None:
    with FileTradeStore(path, names=names(), fsync="never") as store:
        store.save_batch(rows(range(1, 6)))
    synced: list[bytes] = []
    monkeypatch.setattr(file_append, "_sync_bytes", lambda fd: synced.append(os.pread(fd, 1_000_000, 0)))
    with FileTradeStore(path, names=names()) as store:
        assert synced[0] == path.read_bytes()
        assert store.last_trade_id() == 5


def test_an_unfinished_line_does_not_count(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 6)))
    path.write_bytes(path.read_bytes()[:-1])
    assert last_after_restart(path) == 4


def test_a_log_that_was_cut_or_taken_away_says_so_at_the_next_start(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 101)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:40]))
    assert last_after_restart(path) == 40
    path.unlink()
    assert last_after_restart(path) == 0


def test_it_is_found_in_closed_files(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=1000) as store:
        store.save_batch(rows(range(1, 51)))
    with FileTradeStore(path, names=names(), rotate_bytes=1000) as store:
        assert store.last_trade_id() == 50
    path.unlink()
    left = last_after_restart(path)
    assert 0 < left < 50


def test_of_trades_that_came_late_the_highest_counts(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 11)))
        store.save_batch(rows(range(20, 31)))
        assert store.flush(timeout_s=10)
        store.save_batch(rows([15]))
        assert store.flush(timeout_s=10)
        assert store.last_trade_id() == 30
    assert path.read_bytes().splitlines()[-1].startswith(b'{"trade_id":15,')
    assert last_after_restart(path) == 30


def test_late_trades_in_more_than_a_block(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows([5000]))
        assert store.flush(timeout_s=10)
        store.save_batch(rows(range(1, 3001)))
    assert path.stat().st_size > 4 * 65_536
    assert last_after_restart(path) == 5000


def test_a_note_of_late_trades_does_not_stand_for_lines_that_were_lost(path: Path) -> None:
    """The note beside the log may be on the disk when the lines that it tells of are not."""
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 31)))
        assert store.flush(timeout_s=10)
        store.save_batch(rows([40]))
        assert store.flush(timeout_s=10)
        store.save_batch(rows([35]))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:30]))
    with FileTradeStore(path, names=names()) as store:
        assert store.last_trade_id() == 30
        assert store.save(trade(31))
        assert store.flush(timeout_s=10)
        assert store.last_trade_id() == 31
        store.save_batch(rows(range(32, 41)))
    assert last_after_restart(path) == 40
