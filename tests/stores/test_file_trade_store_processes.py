"""The trade log when processes are killed or forked or end, and when others want the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from children import in_child
from stores.file_programs import program, run
from stores.trade_files import eventually, ids_written, names, recent, rows

from pyengine.store_errors import StoreUnavailable
from pyengine.stores.file import FileTradeStore


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
