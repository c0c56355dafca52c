"""The trade log when the disk is full, refuses what it is asked for, or isn't ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_runs import mounted
from stores.file_programs import run
from stores.trade_files import eventually, ids_written, names, recent, rows

from pyengine.store_errors import StoreFull, StoreUnavailable
from pyengine.stores.file import FileTradeStore

POLICIES = ("always", "batch", "interval", "never")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of four megabytes."""
    with mounted(tmp_path / "disk", "4m") as folder:
        yield folder


@pytest.mark.parametrize("fsync", POLICIES)
def test_a_file_that_may_not_grow_loses_nothing(path: Path, fsync: str) -> None:
    said = run(
        """
        store = FileTradeStore(path, names=names(), fsync=sys.argv[2], interval_s=0.01, wait_s=0.05, capacity=3000)
        store.save_batch(rows(range(1, 101)))
        assert store.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        for begin in range(101, 2001, 100):
            assert store.save_batch(rows(range(begin, begin + 100))) == 100
        assert not store.flush(timeout_s=0.3)
        assert store.flush(timeout_s=0.1).late == ("file",)
        print("error:", store.error)
        stats = store.stats()
        assert stats.counts["errors"] > 1 and stats.gauges["failing"] and stats.gauges["lag_s"] > 0.3, stats
        assert stats.gauges["lag_records"] >= stats.gauges["queue_length"] > 1500, stats
        assert [each.trade_id for each in store.get_recent(3000)] == list(range(2000, 0, -1))
        assert store.save_batch(rows(range(1, 2001))) == 0
        assert path.stat().st_size <= 50_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert store.flush()
        assert store.error is None and not store.stats().gauges["failing"]
        assert [each.trade_id for each in store.get_recent(3000)] == list(range(2000, 0, -1))
        store.close()
        """,
        path,
        fsync,
    )
    assert said.startswith("error: [Errno 27] File too large")
    assert ids_written(path) == list(range(1, 2001))


def fill(folder: Path) -> Path:
    """Leave no space on a disk, but in a file that may be removed."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while os.statvfs(folder).f_bavail:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_is_reported_and_forgotten_when_there_is_space(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "trades.log"
    with FileTradeStore(path, names=names(), capacity=10_000, wait_s=0.1) as store:
        store.save_batch(rows(range(1, 1001)))
        assert store.flush()
        ballast = fill(small_disk)
        accepted = 11_000
        for begin in range(1001, accepted, 100):
            store.save_batch(rows(range(begin, begin + 100)))
        with pytest.raises(StoreFull, match=r"was full for 0\.1 s with 10000 of 10000 \(.* No space left on device"):
            store.save_batch(rows([accepted + 1]))
        assert isinstance(store.error, OSError)
        assert store.error.errno == errno.ENOSPC
        assert not store.flush(timeout_s=0.1)
        assert recent(store, 20_000) == list(range(accepted, 0, -1))
        ballast.unlink()
        assert store.flush()
        assert store.error is None
        assert ids_written(path) == list(range(1, accepted + 1))
    logged = [each.message for each in caplog.records]
    assert sum("can't be written" in each for each in logged) == 1, "an outage is logged once"
    assert sum("is written again" in each for each in logged) == 1


def test_a_full_disk_keeps_close_from_lying(small_disk: Path) -> None:
    path = small_disk / "trades.log"
    store = FileTradeStore(path, names=names())
    store._close_s = 0.2
    ballast = fill(small_disk)
    store.save_batch(rows(range(1, 5001)))
    with pytest.raises(StoreUnavailable, match=r"close .*trades\.log: 5000 trades can't be written \(.*No space left"):
        store.close()
    assert not store.closed
    assert store.save_batch(rows([5001])) == 1
    assert recent(store, 1) == [5001]
    ballast.unlink()
    store.close()
    assert ids_written(path) == list(range(1, 5002))


def test_what_the_disk_refuses_to_sync_is_written_again(path: Path) -> None:
    with FileTradeStore(path, names=names(), fsync="batch", wait_s=0.05) as store:
        store.save_batch(rows(range(1, 11)))
        assert store.flush()
        file = store._writer.log._file
        safe = file.size
        cuts: list[int] = []
        sync, cut_to = file.sync, file.cut_to

        def failing() -> None:
            raise OSError(errno.EIO, "the cable is loose")

        def cut(size: int) -> None:
            cuts.append(size)
            cut_to(size)

        file.sync, file.cut_to = failing, cut
        store.save_batch(rows(range(11, 21)))
        assert not store.flush(timeout_s=0.2)
        store.save_batch(rows(range(21, 31)))
        assert recent(store) == list(range(30, 0, -1))
        eventually(lambda: cuts)
        assert store.error.errno == errno.EIO
        file.sync = sync
        assert store.flush()
        assert set(cuts) == {safe}
        assert ids_written(path) == list(range(1, 31))


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    said = run(
        """
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            FileTradeStore(path)
        except Exception as error:
            print(type(error).__name__, error)
        """,
        Path("/proc/1/trades.log"),
    )
    assert said.startswith("StoreUnavailable file store: open /proc/1/trades.log: ")


def test_the_writer_outlives_every_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FileTradeStore(path, names=names()) as store:
        log: Any = store._writer.log
        write, fails = log.write_some, iter([MemoryError("none"), ValueError("a bug"), None])

        def failing(array: Any) -> int:
            error = next(fails)
            if error is not None:
                raise error
            return write(array)

        log.write_some = failing
        store.save_batch(rows(range(1, 11)))
        assert store.flush()
        log.write_some = write
        assert (store.stats().counts["errors"], store.error) == (2, None)
    assert ids_written(path) == list(range(1, 11))
    assert "can't be written, 10 trades wait for it: none" in caplog.text
