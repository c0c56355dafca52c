"""Stores that keep watermarks, and what the world does to them: wipes, and restores of an older state."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis
from stores.contract.backends import ORDER_BACKENDS, TRADE_BACKENDS, Backend, Place
from stores.contract.dict_stores import DictOrderStore, DictTradeStore
from stores.contract.samples import BTC, ETH, order, trade
from stores.servers import run_sql

from pyengine.stores import Names
from pyengine.stores.interfaces import Mark

TABLES = ("orders", "trades", "instruments", "watermarks")


class _Marks:
    """What a store in one process needs to keep watermarks: whatever it saves happens at once or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[str, int] = {}

    def watermark(self, journal: str) -> int | None:
        return self.marks.get(journal)

    def save_marked(self, records: Iterable[Any], mark: Mark) -> int:
        if not mark.follows(self.marks.get(mark.journal), "dict"):
            return 0
        stored: int = self.save_batch(records)  # type: ignore[attr-defined]
        self.marks[mark.journal] = mark.to
        return stored

    def forget_watermark(self, journal: str) -> None:
        self.marks.pop(journal, None)


class MarkedDictOrderStore(_Marks, DictOrderStore):
    """Orders in a dict, with watermarks."""


class MarkedDictTradeStore(_Marks, DictTradeStore):
    """Trades in a dict, with watermarks."""


@dataclass(frozen=True)
class MarkedBackend:
    """One row of the table: a backend that keeps watermarks, for orders or for trades.

    Attributes
    ----------
    backend : Backend
    table : str
        "orders" or "trades".
    """

    backend: Backend
    table: str

    def __str__(self) -> str:
        return f"{self.backend}-{self.table}"

    def record(self, number: int) -> Any:
        """Make a record of an id; those of odd ids are of another instrument."""
        instrument = ETH if number % 2 else BTC
        if self.table == "trades":
            return trade(number, instrument=instrument, seq=number)
        return order(number, instrument=instrument, user=f"user {number % 7}", version=number)


def _marked(table: str, rows: list[Backend], mine: Callable[..., Any]) -> list[MarkedBackend]:
    kept = [row for row in rows if row.name in {"sqlite", "redis", "postgres"}]
    return [MarkedBackend(row, table) for row in (*kept, Backend("dict", mine, keeps=False, arrays=False))]


MARKED_BACKENDS = [
    *_marked("orders", ORDER_BACKENDS, lambda *_: MarkedDictOrderStore()),
    *_marked("trades", TRADE_BACKENDS, lambda *_: MarkedDictTradeStore()),
]

SHARED_BACKENDS = [row for row in MARKED_BACKENDS if row.backend.keeps]
"""Those of which several stores may be in one place."""


class World:
    """A place with marked stores, and what may happen to it.

    Parameters
    ----------
    marked : MarkedBackend
    place : Place
    """

    def __init__(self, marked: MarkedBackend, place: Place) -> None:
        self.marked = marked
        self._place = place
        self._stores: list[Any] = []

    def open(self, names: Names | None = None) -> Any:
        """Open a store; it is closed at the end."""
        self._stores.append(self.marked.backend.open(self._place, names))
        return self._stores[-1]

    def open_other(self) -> Any:
        """Open a store of the other kind in the same place."""
        table = {"orders": "trades", "trades": "orders"}[self.marked.table]
        other = next(row for row in MARKED_BACKENDS if row.table == table and row.backend.name == self.marked.backend.name)
        self._stores.append(other.backend.open(self._place, None))
        return self._stores[-1]

    def close(self) -> None:
        """Close all stores."""
        for store in self._stores:
            store.close()

    def records(self, *numbers: int) -> list[Any]:
        """Make records of these ids."""
        return [self.marked.record(number) for number in numbers]

    def held(self, store: Any) -> list[int]:
        """List the ids of all records of a store, the lowest first; each record is as it was made."""
        found = store.get_all() if self.marked.table == "orders" else store.get_recent(1_000_000)[::-1]
        key = "order_id" if self.marked.table == "orders" else "trade_id"
        ids = [getattr(record, key) for record in found]
        for record, number in zip(found, ids, strict=True):
            made = self.marked.record(number)
            assert (record.symbol, record.qty, record.price) == (made.symbol, made.qty, made.price)
        return ids

    def wipe(self, store: Any) -> None:
        """Empty the place behind the back of a store."""
        getattr(self, f"_wipe_{self.marked.backend}")(store)

    def keep(self, store: Any) -> Callable[[], None]:
        """Take a copy of everything, and return a function that brings it back behind the back of a store."""
        back: Callable[[], None] = getattr(self, f"_keep_{self.marked.backend}")(store)
        return back

    def _wipe_dict(self, store: Any) -> None:
        (store._orders if self.marked.table == "orders" else store._trades).clear()
        store.marks.clear()

    def _keep_dict(self, store: Any) -> Callable[[], None]:
        held = store._orders if self.marked.table == "orders" else store._trades
        copies = dict(held), dict(store.marks)

        def back() -> None:
            for now, copy in zip((held, store.marks), copies, strict=True):
                now.clear()
                now.update(copy)

        return back

    def _wipe_redis(self, _: Any) -> None:
        with redis.Redis.from_url(self._place.redis) as client:
            client.flushdb()

    def _keep_redis(self, _: Any) -> Callable[[], None]:
        with redis.Redis.from_url(self._place.redis) as client:
            dumps = [(key, max(0, client.pttl(key)), client.dump(key)) for key in client.scan_iter()]

        def back() -> None:
            with redis.Redis.from_url(self._place.redis) as client, client.pipeline() as pipeline:
                pipeline.flushdb()
                for key, ttl_ms, dump in dumps:
                    pipeline.restore(key, ttl_ms, dump)
                pipeline.execute()

        return back

    def _wipe_postgres(self, _: Any) -> None:
        run_sql(self._place.postgres, f"TRUNCATE {self.marked.table}; DELETE FROM instruments")

    def _keep_postgres(self, _: Any) -> Callable[[], None]:
        url = self._place.postgres
        run_sql(url, "; ".join(f"DROP TABLE IF EXISTS copy_{t}; CREATE TABLE copy_{t} AS TABLE {t}" for t in TABLES))

        def back() -> None:
            run_sql(url, "; ".join(f"DELETE FROM {t}; INSERT INTO {t} TABLE copy_{t}; DROP TABLE copy_{t}" for t in TABLES))

        return back

    def _wipe_sqlite(self, _: Any) -> None:
        with sqlite3.connect(self._place.file) as connection:
            for table in TABLES:
                connection.execute(f"DELETE FROM {table}")
        connection.close()

    def _keep_sqlite(self, _: Any) -> Callable[[], None]:
        copy = sqlite3.connect(":memory:")
        with sqlite3.connect(self._place.file) as connection:
            connection.backup(copy)
        connection.close()

        def back() -> None:
            with sqlite3.connect(self._place.file) as connection:
                copy.backup(connection)
            connection.close()
            copy.close()

        return back
