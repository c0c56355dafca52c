"""The stores to be measured: each layer alone, and the composites of the three modes, under the names of the report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.flows import WrongResultError
from bench.servers import Places
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Names
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

FLUSH_S: Final = 120.0
READ_TIMEOUT_S: Final = 5.0
"""Reads of a single layer are timed however long they take."""

FOUR_LAYERS: Final = ("memory", "redis", "postgres", "file")


@dataclass(frozen=True)
class Stack:
    """A store under its name in the report, and the stores that it consists of."""

    name: str
    store: Any
    parts: dict[str, Any] = field(default_factory=dict)

    def settle(self) -> None:
        """Wait until every layer has everything."""
        if not self.store.flush(timeout_s=FLUSH_S):
            message = f"{self.name} must have everything within {FLUSH_S:g} s, was late: {self.store.stats()}"
            raise WrongResultError(message)

    def leaves(self) -> dict[str, Any]:
        """Give the stores that hold something themselves."""
        return self.parts or {self.name: self.store}


class Maker:
    """Makes stores on places of their own, each with tables of names of its own, and closes them at the end."""

    def __init__(self, places: Places, names: Callable[[], Names], kept: ExitStack) -> None:
        self.places = places
        self.make_names = names
        self.names = names()
        """Tables as every store has them."""
        self._kept = kept
        self._places: dict[int, str | Path] = {}

    def kept(self, store: Any, place: str | Path = "") -> Any:
        """Have a store closed at the end, and remember where it keeps what it is given."""
        self._kept.callback(store.close)
        self._places[id(store)] = place
        return store

    def place_of(self, store: Any) -> Any:
        """Give the URL or the path of a store."""
        return self._places[id(store)]

    def order_layer(self, kind: str, *, socket: bool = False, **options: Any) -> Any:
        """Make an order store; the options are its own."""
        if kind == "memory":
            return self.kept(InMemoryOrderStore(names=self.make_names(), **options))
        if kind == "redis":
            url = self.places.redis_url(socket=socket)
            return self.kept(RedisOrderStore(url, names=self.make_names(), read_timeout_s=READ_TIMEOUT_S, **options), url)
        if kind == "postgres":
            url = self.places.database_url(socket=socket)
            return self.kept(PostgresOrderStore(url, names=self.make_names(), **options), url)
        path = self.places.path("orders.db")
        return self.kept(SQLiteOrderStore(path, names=self.make_names(), **options), path)

    def trade_layer(self, kind: str, **options: Any) -> Any:
        """Make a trade store; the options are its own."""
        if kind == "memory":
            return self.kept(InMemoryTradeStore(names=self.make_names(), **options))
        if kind == "redis":
            url = self.places.redis_url()
            return self.kept(RedisTradeStore(url, names=self.make_names(), read_timeout_s=READ_TIMEOUT_S, **options), url)
        if kind == "postgres":
            url = self.places.database_url()
            return self.kept(PostgresTradeStore(url, names=self.make_names(), **options), url)
        if kind == "file":
            path = self.places.path("trades.log")
            return self.kept(FileTradeStore(path, names=self.make_names(), **options), path)
        path = self.places.path("trades.db")
        return self.kept(SQLiteTradeStore(path, names=self.make_names(), **options), path)

    def order_stack(self, name: str, *kinds: str, of_memory: dict[str, Any] | None = None, **options: Any) -> Stack:
        """Make an order store of one or several layers; the options are the composite's."""
        parts = {kind: self.order_layer(kind, **((of_memory or {}) if kind == "memory" else {})) for kind in kinds}
        return self._stack(name, parts, CompositeOrderStore, options)

    def trade_stack(self, name: str, *kinds: str, **options: Any) -> Stack:
        """Make a trade store of one or several layers; the options are the composite's."""
        return self._stack(name, {kind: self.trade_layer(kind) for kind in kinds}, CompositeTradeStore, options)

    def _stack(self, name: str, parts: dict[str, Any], composite: Callable[..., Any], options: dict[str, Any]) -> Stack:
        if len(parts) == 1:
            return Stack(name, *parts.values())
        return Stack(name, self.kept(composite(*parts.values(), **options)), parts)
