"""The table of stores that the contract holds for. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from stores.contract.dict_stores import DictOrderStore, DictTradeStore

from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Names
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

PATIENCE_S = 10.0
"""Long enough for a busy machine: the contract isn't about speed."""


class Place:
    """Where one test keeps its stores: an empty folder, database and Redis, each made when it is first asked for."""

    def __init__(self, folder: Callable[[], Path], redis: Callable[[], str], postgres: Callable[[], str]) -> None:
        self._make = (folder, redis, postgres)

    @cached_property
    def file(self) -> Path:
        """Path for a SQLite file."""
        return self._make[0]() / "stores.db"

    @cached_property
    def log(self) -> Path:
        """Path for a trade log."""
        return self._make[0]() / "trades.log"

    @cached_property
    def redis(self) -> str:
        """URL of an empty Redis."""
        return self._make[1]()

    @cached_property
    def postgres(self) -> str:
        """URL of an empty database."""
        return self._make[2]()


@dataclass(frozen=True)
class Backend:
    """One row of the table.

    Attributes
    ----------
    name : str
    open : callable
        Makes a store in a place, with names or None.
    keeps : bool
        Whether a store opened later in the same place finds what was saved.
    arrays : bool
        Whether it takes arrays of records: it has `names`.
    complete : bool
        Whether it vouches for its lists.
    needs_names : bool
        Whether it refuses numbers that stand for no name: whoever stores the names does.
    forgets : bool
        Whether its memory drops finished orders: of one that it dropped it would take an older version for a new order, which no
        engine sends.
    keeps_seq : bool
        Whether a trade keeps the number of its event.
    tells : bool
        Whether a write says what became of it. A composite doesn't where only layers below memory could know: its writes
        return when they are accepted.
    """

    name: str
    open: Callable[[Place, Names | None], Any]
    keeps: bool = True
    arrays: bool = True
    complete: bool = True
    needs_names: bool = True
    forgets: bool = False
    keeps_seq: bool = True
    tells: bool = True

    def __str__(self) -> str:
        return self.name


Factory = Callable[[Place, Names | None], Any]


def _sqlite(kind: type[Any]) -> Factory:
    return lambda place, names: kind(place.file, names=names, synchronous="normal", busy_timeout_s=PATIENCE_S)


def _redis(kind: type[Any]) -> Factory:
    return lambda place, names: kind(place.redis, names=names, read_timeout_s=PATIENCE_S)


def _postgres(kind: type[Any]) -> Factory:
    return lambda place, names: kind(place.postgres, names=names, command_timeout_s=PATIENCE_S)


def _dict(kind: type[Any]) -> Factory:
    return lambda *_: kind()


def _together(kind: type[Any], *layers: Factory) -> Factory:
    """Make a composite; it closes its layers itself."""
    patient = {name: LayerOptions(read_deadline_s=PATIENCE_S) for name in ("redis", "postgres", "sqlite", "file")}

    def open_all(place: Place, names: Names | None) -> Any:
        stores = [layer(place, names) for layer in layers]
        options = {name: patient[name] for store in stores if (name := getattr(store, "name", None)) in patient}
        return kind(*stores, names=names, options=options)

    return open_all


def _trades_in_file(place: Place, names: Names | None) -> FileTradeStore:
    return FileTradeStore(place.log, names=names)


def _memory_orders(_: Place, names: Names | None) -> InMemoryOrderStore:
    return InMemoryOrderStore(names=names)


def _memory_trades(_: Place, names: Names | None) -> InMemoryTradeStore:
    return InMemoryTradeStore(10_000, names=names)


def _short_memory(_: Place, names: Names | None) -> InMemoryTradeStore:
    return InMemoryTradeStore(8, names=names)


def _forgetful_memory(_: Place, names: Names | None) -> InMemoryOrderStore:
    return InMemoryOrderStore(names=names, keep_finished=1)


_orders_in_sqlite, _trades_in_sqlite = _sqlite(SQLiteOrderStore), _sqlite(SQLiteTradeStore)
_orders_in_redis, _trades_in_redis = _redis(RedisOrderStore), _redis(RedisTradeStore)
_orders_in_postgres, _trades_in_postgres = _postgres(PostgresOrderStore), _postgres(PostgresTradeStore)
_orders_in_dict, _trades_in_dict = _dict(DictOrderStore), _dict(DictTradeStore)
_orders_in = partial(_together, CompositeOrderStore)
_trades_in = partial(_together, CompositeTradeStore)

_MEMORY_ALONE: dict[str, Any] = {"keeps": False, "needs_names": False}
"""What holds for memory, and for a composite of it and a store that keeps nothing."""

ORDER_BACKENDS = [
    Backend("memory", _memory_orders, **_MEMORY_ALONE),
    Backend("dict", _orders_in_dict, keeps=False, arrays=False),
    Backend("sqlite", _orders_in_sqlite),
    Backend("redis", _orders_in_redis, complete=False),
    Backend("postgres", _orders_in_postgres),
    Backend("memory+dict", _orders_in(_memory_orders, _orders_in_dict), **_MEMORY_ALONE),
    Backend("memory+sqlite", _orders_in(_memory_orders, _orders_in_sqlite)),
    Backend("short memory+postgres", _orders_in(_forgetful_memory, _orders_in_postgres), forgets=True, tells=False),
    Backend("redis+postgres", _orders_in(_orders_in_redis, _orders_in_postgres), tells=False),
    Backend("memory+redis+postgres", _orders_in(_memory_orders, _orders_in_redis, _orders_in_postgres)),
    Backend(
        "all four",
        _orders_in(_forgetful_memory, _orders_in_redis, _orders_in_postgres, _orders_in_sqlite),
        forgets=True,
        tells=False,
    ),
]

TRADE_BACKENDS = [
    Backend("memory", _memory_trades, **_MEMORY_ALONE),
    Backend("dict", _trades_in_dict, keeps=False, arrays=False),
    Backend("sqlite", _trades_in_sqlite),
    Backend("redis", _trades_in_redis),
    Backend("postgres", _trades_in_postgres),
    Backend("file", _trades_in_file, keeps_seq=False),
    Backend("memory+dict", _trades_in(_memory_trades, _trades_in_dict), **_MEMORY_ALONE),
    Backend("memory+file", _trades_in(_memory_trades, _trades_in_file), keeps_seq=False),
    Backend("short memory+sqlite", _trades_in(_short_memory, _trades_in_sqlite), tells=False),
    Backend("redis+postgres", _trades_in(_trades_in_redis, _trades_in_postgres), tells=False),
    Backend("memory+redis+postgres", _trades_in(_memory_trades, _trades_in_redis, _trades_in_postgres)),
    Backend(
        "all four",
        _trades_in(_short_memory, _trades_in_redis, _trades_in_postgres, _trades_in_file),
        tells=False,
    ),
]
