"""The layers below memory one by one, as the settings describe them: for who looks at them, or makes them anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine._core.names import Names
from pyengine._core.trade import Trade
from pyengine.settings import Settings
from pyengine.store_errors import StoreError
from pyengine.stores.backends import own_order_store, own_trade_store, postgres_pool, redis_connection
from pyengine.stores.log_reader import TradeLogReader

if TYPE_CHECKING:
    from pyengine.journal import History


@dataclass(frozen=True, slots=True)
class OpenLayer:
    """A layer, by itself.

    Attributes
    ----------
    name : str
    orders, trades : store or None
        None where it keeps nothing of the kind, or can't be used.
    cache : bool
        Whether it may drop what it was given.
    newest_trades : int or None
        How many trades it keeps, if not all.
    error : StoreError or None
        Why it can't be used.
    """

    name: str
    orders: Any = None
    trades: Any = None
    cache: bool = False
    newest_trades: int | None = None
    error: StoreError | None = None


class LoggedTrades:
    """The trade log as a layer that is only read, while somebody else may be writing to it.

    Parameters
    ----------
    path : Path
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        self.path = path

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """See `TradeStore.get_recent`."""
        return TradeLogReader(self.path).last(limit)[::-1] if self.path.exists() else []

    def last_trade_id(self) -> int:
        """Return the id of the newest trade; 0 if there is none."""
        return max((trade.trade_id for trade in self.get_recent(1)), default=0)


@contextmanager
def open_layers(settings: Settings, names: Names) -> Iterator[list[OpenLayer]]:
    """Open every layer below memory, in their order; one that can't be used says why.

    Parameters
    ----------
    settings : Settings
    names : Names
        What the numbers of instruments and users in arrays stand for.
    """
    with ExitStack() as opened:
        yield list(_layers(settings, names, opened))


def watermark_of(history: History, store: Any) -> int | None:
    """Return the last event of a journal up to which a store has everything; None if it doesn't say.

    Raises
    ------
    StoreError
        It can't be asked.
    JournalError
        The journal can't be read.
    """
    if hasattr(store, "watermark"):
        seq: int | None = store.watermark(history.identity)
        return seq
    if not hasattr(store, "last_trade_id"):
        return None
    end = history.last_seq
    following = history.seq_of_trade(store.last_trade_id() + 1, end)
    # Whatever comes before the next trade has brought the store nothing.
    return end if following is None else following - 1


def needed_seq(history: History, layers: list[OpenLayer]) -> int | None:
    """Return the lowest event of a journal that a layer has yet to get; None if no layer follows it.

    Caches need none. Raises as `watermark_of`, and what keeps a layer from being used.
    """
    needed = []
    for layer in layers:
        if layer.error is not None and not layer.cache:
            raise layer.error
        for store in (layer.orders, layer.trades):
            seq = None if store is None or layer.cache else watermark_of(history, store)
            if seq is not None:
                needed.append(seq + 1)
    return min(needed, default=None)


def _layers(settings: Settings, names: Names, opened: ExitStack) -> Iterator[OpenLayer]:
    if settings.redis_enabled:
        yield _tried("redis", lambda: _redis(settings, opened), names, cache=True)
    if settings.database_enabled:
        yield _tried("postgres", lambda: _postgres(settings, opened), names)
    if settings.sqlite_path is not None:
        yield _tried("sqlite", lambda: _sqlite(settings, opened), names)
    for spec in dict.fromkeys((*settings.order_stores, *settings.trade_stores)):
        yield _tried(spec, lambda spec=spec: _own(settings, spec, opened), names)
    yield OpenLayer("file", trades=LoggedTrades(settings.trade_log_path))


def _tried(name: str, make: Any, names: Names, *, cache: bool = False) -> OpenLayer:
    try:
        layer: OpenLayer = make()
    except StoreError as error:
        return OpenLayer(name, cache=cache, error=error)
    for store in (layer.orders, layer.trades):
        if hasattr(store, "attach_names"):
            store.attach_names(names)
    return layer


def _redis(settings: Settings, opened: ExitStack) -> OpenLayer:
    from pyengine.stores.redis import RedisOrderStore, RedisTradeStore  # noqa: PLC0415  an extra brings its driver

    connection = opened.enter_context(redis_connection(settings))
    connection.connect()
    orders = RedisOrderStore(connection, ttl_s=settings.redis_ttl.total_seconds())
    trades = RedisTradeStore(connection, capacity=settings.redis_trades)
    return OpenLayer("redis", orders, trades, cache=True, newest_trades=settings.redis_trades)


def _postgres(settings: Settings, opened: ExitStack) -> OpenLayer:
    from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore  # noqa: PLC0415  an extra brings its driver

    pool = opened.enter_context(postgres_pool(settings))
    pool.open()
    return OpenLayer("postgres", PostgresOrderStore(pool=pool), PostgresTradeStore(pool=pool))


def _sqlite(settings: Settings, opened: ExitStack) -> OpenLayer:
    from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore  # noqa: PLC0415  only who uses it waits for it

    assert settings.sqlite_path is not None
    orders = opened.enter_context(SQLiteOrderStore(settings.sqlite_path))
    return OpenLayer("sqlite", orders, opened.enter_context(SQLiteTradeStore(settings.sqlite_path)))


def _own(settings: Settings, spec: str, opened: ExitStack) -> OpenLayer:
    made: list[Any] = []
    for specs, make in ((settings.order_stores, own_order_store), (settings.trade_stores, own_trade_store)):
        made.append(make(settings, spec) if spec in specs else None)
        if made[-1] is not None:
            opened.callback(made[-1].close)
    complete = all(getattr(store, "complete", True) for store in made if store is not None)
    name = next(str(getattr(store, "name", spec)) for store in made if store is not None)
    return OpenLayer(name, made[0], made[1], cache=not complete)


__all__ = ["LoggedTrades", "OpenLayer", "needed_seq", "open_layers", "watermark_of"]
