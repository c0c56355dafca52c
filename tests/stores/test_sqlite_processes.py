"""SQLite files under several threads and processes, forks, kills, full disks and other writers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.contract.samples import order

from pyengine.store_errors import StoreUnavailable
from pyengine.stores.sqlite import SQLiteOrderStore

# Forking beside threads is what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stores.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteOrderStore]:
    with SQLiteOrderStore(path) as store:
        yield store


def test_a_writer_that_does_not_end_is_waited_for_and_reported(path: Path) -> None:
    with SQLiteOrderStore(path, busy_timeout_s=0.2) as store:
        store.save(order())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="save failed: database is locked"):
            store.save(order(2))
        assert 0.2 <= time.monotonic() - started < 10
        assert store.get(1) == order()
        other.execute("ROLLBACK")
        other.close()
        assert store.save(order(2))


def test_a_file_that_may_not_be_written_is_unavailable(path: Path) -> None:
    SQLiteOrderStore(path).close()
    path.chmod(0o444)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(path.parent)
            if os.geteuid() == 0:
                # The file's rights don't bind root.
                Path().chmod(0o755)
                os.setuid(65_534)
            SQLiteOrderStore(path.name)
        except BaseException as error:  # noqa: BLE001
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    shown = os.read(reader, 1000).decode()
    os.close(reader)
    assert shown == "StoreUnavailable: sqlite stores.db: open failed: unable to open database file"


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root")
def test_a_full_disk_takes_no_half_of_a_batch_and_recovers(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=True)
    try:
        with SQLiteOrderStore(tmp_path / "stores.db") as store:
            store.save(order())
            with pytest.raises(StoreUnavailable, match="save failed: database or disk is full"):
                store.save_batch([order(n, version=1) for n in range(50_000)])
            assert store.get_all() == [order()]
            assert store.save(order(2))
            with pytest.raises(StoreUnavailable):
                store.save_batch([order(n, version=1) for n in range(50_000)])
            assert store.save_batch([order(n, version=1) for n in range(100)]) == 100
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_threads_share_a_store(store: SQLiteOrderStore) -> None:
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for n in range(20):
                store.save_batch([order(thread * 1000 + n, user=f"user {thread}")])
                assert len(store.get_by_user(f"user {thread}")) == n + 1
                assert store.get(thread * 1000 + n) is not None
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.get_all()) == 400
    assert store.stats().counts["written"] == 400


def test_a_forked_child_and_its_parent_go_on(path: Path, store: SQLiteOrderStore) -> None:
    store.save(order())
    stop = threading.Event()

    def write() -> None:
        number = 1000
        while not stop.is_set():
            store.save(order(number))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    for child in range(5):
        process = os.fork()
        if process == 0:
            try:
                good = store.get(1) == order() and store.save(order(child + 2, user="child"))
                os._exit(0 if good else 1)
            except BaseException:  # noqa: BLE001
                os._exit(2)
        assert os.waitpid(process, 0)[1] == 0
        assert store.get(child + 2) == order(child + 2, user="child")
    stop.set()
    writer.join()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_no_open_file_is_carried_through_a_fork(path: Path, store: SQLiteOrderStore) -> None:
    store.save(order())
    assert store.get(1) == order()
    process = os.fork()
    if process == 0:
        links = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        os._exit(sum(str(link).startswith(str(path)) for link in links))
    assert os.waitpid(process, 0)[1] == 0


def _open_and_save(path: Path, number: int) -> None:
    with SQLiteOrderStore(path) as store:
        assert store.save(order(number))


def test_processes_that_make_the_file_at_once_agree(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_open_and_save, args=(path, n)) for n in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
    with SQLiteOrderStore(path) as store:
        assert len(store.get_all()) == 8


def test_what_was_committed_survives_a_kill(path: Path) -> None:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        store = SQLiteOrderStore(path)
        for number in range(100_000):
            store.save_batch([order(number * 10 + n) for n in range(10)])
            os.write(writer, number.to_bytes(8))
        os._exit(1)
    os.close(writer)
    for _ in range(20):
        last = int.from_bytes(os.read(reader, 8))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    while rest := os.read(reader, 8):
        last = int.from_bytes(rest)
    os.close(reader)
    with SQLiteOrderStore(path) as store:
        found = [saved.order_id for saved in store.get_all()]
        assert found == list(range(len(found)))
        assert len(found) % 10 == 0
        assert len(found) >= (last + 1) * 10
