"""The trade log when the disk is full, processes are killed or forked, and others want the same file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stores.trade_files import eventually, ids_written, names, rows

from pyengine.store_errors import StoreFull, StoreUnavailable
from pyengine.stores.file import FileTradeStore

TESTS = Path(__file__).resolve().parent.parent

POLICIES = ("always", "batch", "interval", "never")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.log"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a disk can't be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def recent(store: FileTradeStore, limit: int = 100) -> list[int]:
    return [each.trade_id for each in store.get_recent(limit)]


def program(code: str, *arguments: object) -> list[str]:
    """Make the command of a process that runs some code with the modules of these tests."""
    head = """
        import os, resource, signal, sys
        sys.path.insert(0, TESTS)
        from pathlib import Path
        from stores.trade_files import ids_written, names, rows
        from pyengine.stores.file import FileTradeStore
        path = Path(sys.argv[1])
    """
    text = textwrap.dedent(head).replace("TESTS", repr(str(TESTS))) + textwrap.dedent(code)
    return [sys.executable, "-c", text, *map(str, arguments)]


def run(code: str, *arguments: object) -> str:
    """Run some code in a process of its own and return what it printed."""
    done = subprocess.run(program(code, *arguments), check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_child(work: Callable[[], object]) -> None:
    """Fork, and do something in the child, which fails if that raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested here
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  an exit code says no more than that there was one
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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


def test_a_process_that_is_killed_loses_nothing_that_was_flushed(path: Path) -> None:
    code = """
        store = FileTradeStore(path, names=names(), fsync="batch", rotate_bytes=200_000)
        last = int(sys.argv[2])
        print("begins", flush=True)
        while True:
            store.save_batch(rows(range(last + 1, last + 338)))
            last += 337
            if last % 3 == 0:
                assert store.flush()
                print(last, flush=True)
    """
    last = 0
    for delay in (1, 2, 5, 9, 14):
        with subprocess.Popen(program(code, path, last), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(1 + delay)]
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read().splitlines()
        flushed = int(said[-1])
        with FileTradeStore(path, names=names(), rotate_bytes=200_000) as store:
            last = recent(store, 1)[0]
            assert last >= flushed
            assert store.save_batch(rows(range(max(1, last - 500), last + 1))) == 0
            assert recent(store, 10**6) == list(range(last, 0, -1))
    assert ids_written(path) == list(range(1, last + 1))


def test_two_processes_do_not_write_to_one_file(path: Path) -> None:
    code = """
        store = FileTradeStore(path, names=names())
        store.save_batch(rows(range(1, 11)))
        store.flush()
        print("open", flush=True)
        sys.stdin.read()
    """
    link = path.with_name("link.log")
    link.symlink_to(path)
    with subprocess.Popen(program(code, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for each in (path, link):
            with pytest.raises(StoreUnavailable, match=rf"trades\.log must have one writer, is held by pid {process.pid} on "):
                FileTradeStore(each)
        process.kill()
    with FileTradeStore(path, names=names()) as store:
        assert recent(store) == list(range(10, 0, -1))
        with pytest.raises(StoreUnavailable, match=rf"is open in this process already \(pid {os.getpid()}\)"):
            FileTradeStore(link)
        assert store.save_batch(rows([11])) == 1, "the second attempt took nothing from the first"
    with FileTradeStore(path):
        pass


def test_a_forked_child_reads_and_does_not_write(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=5000) as store:
        store.save_batch(rows(range(1, 101)))
        store.flush()

        def child() -> None:
            assert recent(store, 1000) == list(range(100, 0, -1))
            assert store.last_trade_id() == 100
            with pytest.raises(StoreUnavailable, match=f"is held by pid {os.getppid()} on "):
                store.save_batch(rows([101]))
            assert store.flush()
            assert store.stats().counts == {}
            store.close()

        in_child(child)
        assert store.save_batch(rows(range(101, 201))) == 100
        assert recent(store, 1000) == list(range(200, 0, -1))
    assert ids_written(path) == list(range(1, 201))


def test_a_forked_child_writes_once_the_parent_has_closed(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        store.save_batch(rows(range(1, 101)))
        store.flush()
        read_end, write_end = os.pipe()

        def child() -> None:
            os.close(write_end)
            os.read(read_end, 1)
            assert store.save_batch(rows(range(95, 151))) == 50
            store.close()

        closer = threading.Timer(0.2, lambda: (store.close(), os.close(write_end)))
        closer.start()
        in_child(child)
        closer.join()
        os.close(read_end)
    assert ids_written(path) == list(range(1, 151))


def test_a_fork_while_others_save_leaves_no_lock_behind(path: Path) -> None:
    with FileTradeStore(path, names=names(), capacity=100) as store:
        done = threading.Event()

        def save() -> None:
            n = 1
            while not done.is_set():
                store.save_batch(rows(range(n, n + 50)))
                n += 50

        saver = threading.Thread(target=save)
        saver.start()
        eventually(lambda: len(ids_written(path)) > 10)
        for _ in range(10):
            in_child(lambda: recent(store, 10)[9])
        done.set()
        saver.join()
    assert ids_written(path) == list(range(1, len(ids_written(path)) + 1))


def test_a_forked_child_reads_while_files_are_closed(path: Path) -> None:
    with FileTradeStore(path, names=names(), rotate_bytes=2000) as store:
        store.save_batch(rows(range(1, 101)))
        store.flush()
        done = threading.Event()

        def save() -> None:
            n = 101
            while not done.is_set():
                store.save_batch(rows(range(n, n + 5)))
                store.flush()
                n += 5

        def child() -> None:
            for _ in range(100):
                found = recent(store, 40)
                assert found == list(range(found[0], found[0] - 40, -1))

        saver = threading.Thread(target=save)
        saver.start()
        try:
            in_child(child)
        finally:
            done.set()
            saver.join()


def test_the_end_of_a_forked_child_is_quiet(path: Path) -> None:
    command = program(
        """
        store = FileTradeStore(path, names=names())
        store.save_batch(rows(range(1, 101)))
        if os.fork():
            os.wait()
        """,
        path,
    )
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert ids_written(path) == list(range(1, 101))


def test_the_end_of_a_process_writes_what_waits(path: Path) -> None:
    run(
        """
        store = FileTradeStore(path, names=names(), fsync="interval", interval_s=3600)
        store.save_batch(rows(range(1, 20_001)))
        """,
        path,
    )
    assert ids_written(path) == list(range(1, 20_001))


def test_the_end_of_a_process_says_what_it_could_not_write(path: Path) -> None:
    command = program(
        """
        FileTradeStore._close_s = 0.2
        store = FileTradeStore(path, names=names())
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        store.save_batch(rows(range(1, 101)))
        """,
        path,
    )
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "trades.log could not be closed: 100 trades are lost ([Errno 27] File too large)" in done.stderr


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
