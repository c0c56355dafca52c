"""From the settings to the stores of a deployment: development, a single node, or several that share Redis and PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pyengine._core.names import Names
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.settings import Settings
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.audit.anchor import HeadKeeper
from pyengine.stores.audit.checkpoint import ChainHead
from pyengine.stores.backends import own_order_store, own_trade_store, postgres_pool, redis_connection
from pyengine.stores.cleanup import OrderCleanup
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.file import FileTradeStore
from pyengine.stores.interfaces import Flushed, OrderStore, StoreStats, TradeStore

if TYPE_CHECKING:
    from pyengine.stores.postgres import PostgresPool
    from pyengine.stores.redis import RedisConnection

S = TypeVar("S", OrderStore, TradeStore)
T = TypeVar("T")
Make = Callable[[], T]

_log = logging.getLogger("pyengine.stores.build")


@dataclass(frozen=True)
class Stores:
    """The stores of a deployment, and what they share.

    Attributes
    ----------
    order_store : OrderStore
    trade_store : TradeStore
    cleanup : OrderCleanup or None
        The thread that forgets finished orders in memory, if ORDER_CLEANUP_ENABLED.
    absent : dict of str to StoreUnavailable
        Backends that couldn't be reached at the start. Their layers go on trying; `stats` says how they are now.
    anchors : tuple of HeadKeeper
        What keeps the head of the trade log's chain in Redis and PostgreSQL.
    """

    order_store: OrderStore
    trade_store: TradeStore
    cleanup: OrderCleanup | None = None
    absent: Mapping[str, StoreUnavailable] = field(default_factory=dict)
    anchors: tuple[HeadKeeper, ...] = ()
    _shared: ExitStack = field(default_factory=ExitStack, repr=False)

    def flush(self, timeout_s: float = 5.0) -> dict[str, Flushed]:
        """Wait until all layers have everything; see `OrderStore.flush`."""
        return {"orders": self.order_store.flush(None, timeout_s), "trades": self.trade_store.flush(None, timeout_s)}

    def stats(self) -> dict[str, StoreStats]:
        """Return what the stores have counted."""
        return {name: store.stats() for name, store in self.counted.items()}

    @property
    def counted(self) -> dict[str, Any]:
        """All that has statistics, by name, as `pyengine.metrics.registry_of` takes it."""
        found: dict[str, Any] = {"orders": self.order_store, "trades": self.trade_store}
        found |= {f"anchor_{anchor.name}": anchor for anchor in self.anchors}
        return found if self.cleanup is None else found | {"cleanup": self.cleanup}

    def close(self) -> None:
        """End the clean-up, write what is on its way, close the stores, then the connections. Closing twice is closing once."""
        self._shared.close()

    def __enter__(self) -> Self:
        """Return the stores themselves."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close them."""
        self.close()


def build_stores(settings: Settings, names: Names | None = None) -> Stores:
    """Make the stores that the settings describe.

    ============== ================================== ========================================
    mode           orders                             trades
    ============== ================================== ========================================
    development    memory                             memory, file
    single node    memory, PostgreSQL                 memory, PostgreSQL, file
    distributed    memory, Redis, PostgreSQL          memory, Redis, PostgreSQL, file
    cache only     memory, Redis                      memory, Redis, file
    ============== ================================== ========================================

    SQLite comes behind these, then stores of one's own. Without ORDER_MEMORY_ENABLED orders have no memory.

    A Redis or PostgreSQL that can't be reached is reported and tried again and again; meanwhile the other layers answer.

    Parameters
    ----------
    settings : Settings
    names : Names, optional
        Tables of instruments and users for arrays of records. An engine that is given the stores brings its own.

    Returns
    -------
    Stores

    Raises
    ------
    SettingsError
        A store of one's own can't be made.
    StoreUnavailable
        The trade log or the SQLite file can't be opened, or DATABASE_REQUIRED is set and there is no database.
    SchemaError
        The tables are of a later release, or DATABASE_MIGRATE is off and they are of an earlier one.
    MissingExtraError
        A driver isn't installed.
    """
    names = Names() if names is None else names
    # Whatever was opened is closed again if something behind it can't be.
    with ExitStack() as opened:
        absent: dict[str, StoreUnavailable] = {}
        redis = _redis(settings, opened, absent) if settings.redis_enabled else None
        postgres = _postgres(settings, opened, absent) if settings.database_enabled else None
        anchors = _anchors(settings, redis, postgres, opened)
        orders, trades = _layers(settings, names, redis, postgres, anchors)
        trade_store = _stack(CompositeTradeStore, trades, settings, names, opened)
        order_store = _stack(CompositeOrderStore, orders, settings, names, opened)
        cleanup = _cleanup(settings, order_store, opened)
        stores = Stores(order_store, trade_store, cleanup, absent, anchors, opened.pop_all())
    _log.info(
        "stores are up: %s", settings.mode, extra={"orders": list(settings.order_layers), "trades": list(settings.trade_layers)}
    )
    return stores


def _redis(settings: Settings, opened: ExitStack, absent: dict[str, StoreUnavailable]) -> RedisConnection:
    connection = opened.enter_context(redis_connection(settings))
    _connect("redis", "Redis", connection.connect, absent)
    return connection


def _postgres(settings: Settings, opened: ExitStack, absent: dict[str, StoreUnavailable]) -> PostgresPool:
    pool = opened.enter_context(postgres_pool(settings))
    _connect("postgres", "PostgreSQL", pool.open, absent)
    if "postgres" in absent and settings.database_required:
        raise absent["postgres"]
    return pool


def _connect(name: str, title: str, connect: Callable[[], None], absent: dict[str, StoreUnavailable]) -> None:
    """Try a backend. One that is away now may come, one with the wrong tables won't get better."""
    try:
        connect()
    except StoreUnavailable as error:
        absent[name] = error
        _log.warning("Failed to connect to %s, going on without it and trying again: %s", title, error)


def _anchors(
    settings: Settings, redis: RedisConnection | None, postgres: PostgresPool | None, opened: ExitStack
) -> tuple[HeadKeeper, ...]:
    """Make what keeps the head of the trade log elsewhere; closed after the log, before the connections."""
    found: list[HeadKeeper] = []
    if settings.trade_log_anchor and settings.trade_log_chain:
        given = (settings.trade_log_path, settings.trade_log_name or None)
        if redis is not None:
            from pyengine.stores.redis import RedisAnchor  # noqa: PLC0415  an extra brings its driver

            found.append(RedisAnchor(redis, *given))
        if postgres is not None:
            from pyengine.stores.postgres import PostgresAnchor  # noqa: PLC0415

            found.append(PostgresAnchor(postgres, *given))
    for anchor in found:
        opened.callback(anchor.close)
    return tuple(found)


def _layers(
    settings: Settings,
    names: Names,
    redis: RedisConnection | None,
    postgres: PostgresPool | None,
    anchors: Sequence[HeadKeeper],
) -> tuple[list[Make[OrderStore]], list[Make[TradeStore]]]:
    """Return what makes the layers of orders and of trades, each in its order."""
    orders: list[Make[OrderStore]] = [partial(InMemoryOrderStore, names=names)] if settings.order_memory_enabled else []
    trades: list[Make[TradeStore]] = [partial(InMemoryTradeStore, settings.trade_history_size, names=names)]
    if redis is not None:
        from pyengine.stores.redis import RedisOrderStore, RedisTradeStore  # noqa: PLC0415  an extra brings its driver

        orders.append(partial(RedisOrderStore, redis, ttl_s=settings.redis_ttl.total_seconds()))
        trades.append(partial(RedisTradeStore, redis, capacity=settings.redis_trades))
    if postgres is not None:
        from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore  # noqa: PLC0415

        orders.append(partial(PostgresOrderStore, pool=postgres))
        trades.append(partial(PostgresTradeStore, pool=postgres))
    if settings.sqlite_path is not None:
        from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore  # noqa: PLC0415  only who uses it waits for it

        orders.append(partial(SQLiteOrderStore, settings.sqlite_path))
        trades.append(partial(SQLiteTradeStore, settings.sqlite_path))
    orders += [partial(own_order_store, settings, spec) for spec in settings.order_stores]
    trades += [partial(own_trade_store, settings, spec) for spec in settings.trade_stores]
    trades.append(partial(file_store, settings, anchors))
    return orders, trades


def _stack(composite: Callable[..., S], makes: Sequence[Make[S]], settings: Settings, names: Names, opened: ExitStack) -> S:
    """Make the layers and what joins them; memory alone needs nothing."""
    with ExitStack() as made:
        layers: list[S] = []
        for make in makes:
            layers.append(make())
            made.callback(layers[-1].close)
        alone = len(layers) == 1 and isinstance(layers[0], InMemoryOrderStore)
        store = layers[0] if alone else composite(*layers, names=names, **_options(settings, layers))
        # It closes its layers itself from here on.
        made.pop_all()
    opened.callback(store.close)
    return store


def file_store(settings: Settings, anchors: Sequence[HeadKeeper] = ()) -> FileTradeStore:
    """Make the store of the trade log that the settings describe."""

    def offer(head: ChainHead) -> None:
        for anchor in anchors:
            anchor(head)

    return FileTradeStore(
        settings.trade_log_path,
        fsync=settings.trade_log_fsync,
        interval_s=settings.trade_log_fsync_interval.total_seconds(),
        rotate_bytes=int(settings.trade_log_rotate_size),
        rotate_daily=settings.trade_log_rotate_daily,
        compress=settings.trade_log_compress,
        chain=settings.trade_log_chain,
        chain_interval_s=settings.trade_log_chain_interval.total_seconds(),
        anchor=offer if anchors else None,
        anchor_s=settings.trade_log_anchor_interval.total_seconds(),
    )


def _options(settings: Settings, layers: Sequence[Any]) -> dict[str, Any]:
    """Say how a composite treats its layers."""
    treatment = LayerOptions(
        failures=settings.store_breaker_failures,
        pause_s=settings.store_breaker_pause.total_seconds(),
        longest_pause_s=settings.store_breaker_longest_pause.total_seconds(),
    )
    names = [getattr(store, "name", type(store).__name__) for store in layers]
    below = [name for name in dict.fromkeys(names) if name != "memory"]
    wait: Any = settings.store_wait
    # Orders have no file to wait for; "all" and "memory" are the composite's own words.
    wait = wait[0] if wait in {("all",), ("memory",)} else tuple(name for name in wait if name in names)
    return {
        "wait": wait,
        "wait_s": settings.store_wait_timeout.total_seconds(),
        "ring_capacity": settings.store_ring_capacity,
        "when_full": settings.store_ring_full,
        "full_wait_s": settings.store_ring_wait.total_seconds(),
        "options": dict.fromkeys(below, treatment),
        # Whoever shares a cache with other nodes can't answer for what they have written.
        "sole_writer": not settings.redis_enabled,
    }


def _cleanup(settings: Settings, order_store: Any, opened: ExitStack) -> OrderCleanup | None:
    if not settings.order_cleanup_enabled or not settings.order_memory_enabled:
        return None
    cleanup = OrderCleanup(
        order_store,
        age_s=settings.order_cleanup_age.total_seconds(),
        interval_s=settings.order_cleanup_interval.total_seconds(),
    )
    return opened.enter_context(cleanup)
