"""What the order store and the trade store of a SQLite file have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyengine._core.names import Names
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged, WatermarkMoved
from pyengine.stores.interfaces import Flushed, Mark, StoreStats, journal_of
from pyengine.stores.sqlite.file import SQLiteFile, statements
from pyengine.stores.sqlite.instruments import Definitions, price_text, qty_text, same_number

SQL = statements("watermarks.sql")
TEXTS_KEPT = 65_536


def signed(number: int) -> int:
    """Return the signed integer of the same 64 bits: SQLite has no unsigned ones."""
    return number - 2**64 if number >= 2**63 else number


class SQLiteStore:
    """A store in a SQLite file; the file may hold orders and trades.

    A write is on the disk when it returns, at the price of a sync: batches share one.

    Parameters
    ----------
    path : str or Path
        The file; made if missing.
    names : Names, optional
        What the numbers of users and instruments in arrays mean. Default: numbers of its own.
    synchronous, busy_timeout_s
        As of `SQLiteFile`.

    Raises
    ------
    StoreUnavailable, StoreDamaged, SchemaError
        If the file can't be used.
    """

    name = "sqlite"
    _table: str
    _save: str

    def __init__(
        self, path: str | Path, *, names: Names | None = None, synchronous: str = "full", busy_timeout_s: float = 5.0
    ) -> None:
        self._file = SQLiteFile(path, synchronous=synchronous, busy_timeout_s=busy_timeout_s)
        self._counts = dict.fromkeys(("written", "removed", "hits", "misses"), 0)
        self._use(Names() if names is None else names)

    def _use(self, names: Names) -> None:
        self._names = names
        self._definitions = Definitions(self._file, names)
        # Prices and sizes repeat, and writing one out costs more than finding it again.
        self._price = lru_cache(TEXTS_KEPT)(lambda number, ticks: price_text(names.instruments[number], ticks))
        self._qty = lru_cache(TEXTS_KEPT)(lambda number, lots: qty_text(names.instruments[number], lots))

    @property
    def names(self) -> Names:
        """What the numbers of users and instruments in arrays mean."""
        return self._names

    def attach_names(self, names: Names) -> None:
        """Use somebody else's numbers, before any of its own were given."""
        if not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names")
        if names is not self._names and (self._names.instruments or len(self._names.users) > 1):
            raise FieldError("names", names, "given before the store was used")
        self._use(names)

    def watermark(self, journal: str) -> int | None:
        """See `Watermarked.watermark`."""
        identity = journal_of(journal)
        with self._file.read("watermark") as connection:
            return self._mark(connection, identity)

    def forget_watermark(self, journal: str) -> None:
        """See `Watermarked.forget_watermark`."""
        identity = journal_of(journal)
        with self._file.write("forget_watermark") as connection:
            connection.execute(SQL["forget"], (self._table, identity))

    def clear(self) -> None:
        """See `Clearable.clear`. One transaction."""
        with self._file.write("clear") as connection:
            connection.execute(f"DELETE FROM {self._table}")  # noqa: S608  a name of ours
            connection.execute(SQL["forget_all"], (self._table,))

    def _mark(self, connection: sqlite3.Connection, journal: str) -> int | None:
        found = connection.execute(SQL["get"], (self._table, journal)).fetchone()
        return None if found is None else int(found[0])

    def _write(self, values: list[tuple[Any, ...]], mark: Mark | None = None) -> int:
        """Write rows, and move the watermark, in one transaction."""
        try:
            with self._file.write("save") as connection:
                if mark is not None:
                    actual = self._mark(connection, mark.journal)
                    if not mark.follows(actual, f"sqlite {self._file.path}, {self._table}"):
                        return 0
                    connection.execute(SQL["move"], (self._table, mark.journal, mark.to))
                stored = connection.executemany(self._save, values).rowcount if values else 0
                self._counts["written"] += stored
                return stored
        except WatermarkMoved:
            # Whatever has taken the watermark away may have taken the instruments too.
            self._definitions.forget()
            raise

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:  # noqa: ARG002
        """See `OrderStore.flush`."""
        if layers is not None and self.name not in layers:
            return Flushed()
        return Flushed(done=(self.name,)) if self._file.flush() else Flushed(late=(self.name,))

    def stats(self) -> StoreStats:
        """See `OrderStore.stats`."""
        return StoreStats(self.name, dict(self._counts))

    def close(self) -> None:
        """See `OrderStore.close`."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._file.path}>"

    def _is_empty(self, statement: str) -> bool:
        with self._file.read("is_empty") as connection:
            return bool(connection.execute(statement).fetchone()[0])

    def _damaged(self, key: str, number: int, problem: object) -> StoreDamaged:
        return StoreDamaged(f"sqlite {self._file.path}, row of {key} {number}: {problem}")

    def _compare(self, key: str, number: int, **decimals: tuple[str | None, str | None]) -> None:
        """Raise for a decimal of a row, found and expected, that isn't the one of its integers."""
        for column, (found, expected) in decimals.items():
            if found != expected and not same_number(found, expected):
                raise self._damaged(key, number, f"{column} must be {expected} as its integers say, was {found}")
