"""A SQLite file as the stores use it: one connection, transactions, schema, and errors that say what to do."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from weakref import WeakSet

from pyengine.errors import FieldError
from pyengine.store_errors import SchemaError, StoreClosed, StoreDamaged, StoreError, StoreRefused, StoreUnavailable

PACKAGE = resources.files("pyengine.stores.sqlite")
SYNCHRONOUS = ("full", "normal")
OLDEST_SQLITE = (3, 37)

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
_REFUSED = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}


def statements(name: str) -> dict[str, str]:
    """Read a file of SQL statements, each under a line `-- name: ...`."""
    parts = re.split(r"^-- name: (\w+)\n", PACKAGE.joinpath(name).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def migrations() -> list[str]:
    """Read the steps from an empty file to today's schema; step n leads to version n."""
    files = sorted(PACKAGE.joinpath("migrations").iterdir(), key=lambda file: file.name)
    return [file.read_text() for file in files if file.name.endswith(".sql")]


class Lane:
    """A connection and the lock of whoever uses it. Readers have one and writers another, as in WAL mode neither waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None

    def disconnect(self) -> None:
        """Close the connection, if any; the next call opens a new one. Needs the lock."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class SQLiteFile:
    """A file in WAL mode; its connections are opened when needed and never carried through a fork.

    Parameters
    ----------
    path : str or Path
    synchronous : {"full", "normal"}
        "full": a commit is on the disk when it returns. "normal": the last commits may be lost in a power cut, none of them
        by halves, until `flush`.
    busy_timeout_s : float
        How long to wait for another process that writes to the file.

    Notes
    -----
    Thread-safety: one reader and one writer at a time, the others wait.
    """

    def __init__(self, path: str | Path, *, synchronous: str = "full", busy_timeout_s: float = 5.0) -> None:
        if synchronous not in SYNCHRONOUS:
            raise FieldError("synchronous", synchronous, "one of full, normal")
        if str(path) in {"", ":memory:"}:
            raise FieldError("path", path, "a file; what needs none is InMemoryOrderStore and InMemoryTradeStore")
        self.path = Path(path)
        self.synchronous = synchronous
        self._busy_timeout_s = busy_timeout_s
        self._closed = False
        self._reader, self._writer = self.lanes = Lane(), Lane()
        with _forking:
            _files.add(self)
        with self.read("open"):
            pass

    @contextmanager
    def read(self, operation: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection for queries."""
        with self._typed_errors(operation), self._use(self._reader) as connection:
            yield connection

    @contextmanager
    def write(self, operation: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction, which is undone if anything raises."""
        with self._typed_errors(operation), self._use(self._writer) as connection, _transaction(connection):
            yield connection

    def flush(self) -> bool:
        """Sync what was committed and return whether all of it is safe; a reader of another process can be in the way."""
        with self.read("flush") as connection:
            if self.synchronous == "full":
                return True
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            return not busy

    def close(self) -> None:
        """Close for good."""
        self._closed = True
        for lane in self.lanes:
            with lane.lock:
                lane.disconnect()

    @contextmanager
    def _use(self, lane: Lane) -> Iterator[sqlite3.Connection]:
        """Lend the connection of a lane, opened and with today's schema."""
        with _forking:
            """A fork that waits for the lanes goes first, or a busy thread would keep it waiting for ever."""
        with lane.lock:
            if self._closed:
                raise StoreClosed(f"sqlite {self.path}: the store was closed")
            if lane.connection is None:
                connection = sqlite3.connect(
                    self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
                )
                try:
                    self._prepare(connection)
                except BaseException:
                    connection.close()
                    raise
                lane.connection = connection
            yield lane.connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise SchemaError(f"sqlite must be at least 3.37, was {sqlite3.sqlite_version}: use a newer Python")
        self._refuse_foreign(connection)
        self._use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        if self._version(connection) < len(migrations()):
            self._migrate(connection)

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to the write-ahead log; SQLite doesn't wait by itself when two processes do so at once."""
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Take the missing steps in one transaction; whoever comes second finds them taken."""
        with _transaction(connection):
            steps = migrations()
            for step in steps[self._version(connection) :]:
                for statement in step.split(";\n"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(steps)}")

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        """Leave files alone that aren't ours, or are of a later release."""
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        # Read after the tables: whoever makes them meanwhile sets it in the same transaction.
        version, newest = self._version(connection), len(migrations())
        if version > newest:
            raise SchemaError(
                f"sqlite {self.path}: schema version must be at most {newest}, was {version}: use the release that wrote it"
            )
        if tables and not (version and {"orders", "trades", "instruments"} <= tables):
            raise SchemaError(
                f"sqlite {self.path}: the file must be a store or empty, was another program's: choose another path"
            )

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _typed_errors(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            kind: type[StoreError] = StoreUnavailable
            if code in _DAMAGED:
                kind = StoreDamaged
            elif code in _REFUSED:
                kind = StoreRefused
            raise kind(f"sqlite {self.path}: {operation} failed: {error}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has ended the transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_files: WeakSet[SQLiteFile] = WeakSet()
_held: list[Lane] = []
_forking = threading.Lock()


def _before_fork() -> None:
    """Close every connection, as SQLite's locks don't survive a fork; parent and child open their own when they need one."""
    _forking.acquire()
    for lane in [lane for file in _files for lane in file.lanes]:
        lane.lock.acquire()
        _held.append(lane)
        lane.disconnect()


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
