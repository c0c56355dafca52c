"""The table of stores that the contract holds for. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stores.contract.dict_stores import DictOrderStore, DictTradeStore

from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Names
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
    """

    name: str
    open: Callable[[Place, Names | None], Any]
    keeps: bool = True
    arrays: bool = True
    complete: bool = True
    needs_names: bool = True

    def __str__(self) -> str:
        return self.name


def _sqlite(kind: type[Any]) -> Callable[[Place, Names | None], Any]:
    return lambda place, names: kind(place.file, names=names, busy_timeout_s=PATIENCE_S)


def _redis(kind: type[Any]) -> Callable[[Place, Names | None], Any]:
    return lambda place, names: kind(place.redis, names=names, read_timeout_s=PATIENCE_S)


ORDER_BACKENDS = [
    Backend("memory", lambda _, names: InMemoryOrderStore(names=names), keeps=False, needs_names=False),
    Backend("dict", lambda *_: DictOrderStore(), keeps=False, arrays=False),
    Backend("sqlite", _sqlite(SQLiteOrderStore)),
    Backend("redis", _redis(RedisOrderStore), complete=False),
]

TRADE_BACKENDS = [
    Backend("memory", lambda _, names: InMemoryTradeStore(10_000, names=names), keeps=False, needs_names=False),
    Backend("dict", lambda *_: DictTradeStore(), keeps=False, arrays=False),
    Backend("sqlite", _sqlite(SQLiteTradeStore)),
    Backend("redis", _redis(RedisTradeStore)),
]
