"""What is said about the trade log and a SQLite file as they are configured."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyengine.health.files import check_sqlite, check_trade_log
from pyengine.settings import Settings
from pyengine.stores.sqlite import SQLiteOrderStore

NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, if root, whom nothing stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_log_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "trades.log"
    finding = check_trade_log(Settings(trade_log_path=path))
    assert finding.ok
    assert finding.address == str(path)
    assert finding.facts[0] == "not there yet"
    assert not path.exists(), "nothing is made"
    path.write_text("{}\n")
    assert check_trade_log(Settings(trade_log_path=path)).facts[0] == "there, 3 bytes"


def test_a_log_that_cannot(tmp_path: Path) -> None:
    finding = check_trade_log(Settings(trade_log_path=tmp_path / "no" / "trades.log"))
    assert finding.problem == f"{tmp_path / 'no'} must be a folder, was not there"
    assert finding.advice == (f"mkdir -p {tmp_path / 'no'}", "Check TRADE_LOG_PATH in .env")
    finding = check_trade_log(Settings(trade_log_path=tmp_path))
    assert finding.problem == f"{tmp_path} must be a file, was a folder"


def test_files_of_somebody_else() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with unprivileged():
            look_at_them(Path(folder))


def look_at_them(folder: Path) -> None:
    place = folder / "mine"
    place.mkdir(mode=0o755)
    path = place / "trades.log"
    path.touch(mode=0o444)
    finding = check_trade_log(Settings(trade_log_path=path))
    assert finding.problem == f"{path} must be writable, was not"
    path.unlink()
    place.chmod(0o555)
    assert check_trade_log(Settings(trade_log_path=path)).problem == f"{path} must be writable, was not"
    place.chmod(0)
    assert "must be within reach, was not: Permission denied" in check_trade_log(Settings(trade_log_path=path)).problem
    place.chmod(0o755)


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    settings = Settings(sqlite_path=path)
    assert check_sqlite(settings).ok
    assert not path.exists(), "nothing is made"
    SQLiteOrderStore(path).close()
    finding = check_sqlite(settings)
    assert finding.ok
    assert "schema version 2 of 2" in finding.facts
    assert finding.latency_s is not None


def test_sqlite_files_that_cannot_be_used(tmp_path: Path) -> None:
    later, other, broken = tmp_path / "later.db", tmp_path / "other.db", tmp_path / "broken.db"
    SQLiteOrderStore(later).close()
    connection = sqlite3.connect(later)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    broken.write_bytes(b"no SQLite file at all, whatever its name says" * 100)
    finding = check_sqlite(Settings(sqlite_path=later))
    assert finding.problem == f"{later} was written by a later version of pyengine"
    assert finding.advice == ("Upgrade pyengine, or set SQLITE_PATH to another file",)
    assert "another program's file" in check_sqlite(Settings(sqlite_path=other)).problem
    assert "must be a SQLite file that can be read" in check_sqlite(Settings(sqlite_path=broken)).problem
    assert "must be a folder" in check_sqlite(Settings(sqlite_path=tmp_path / "no" / "x.db")).problem
