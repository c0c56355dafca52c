"""Deployments for the tests of `build_stores`: settings, an order and a trade, and stores as somebody else would write them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pyengine import Instrument, Order, Trade
from pyengine.settings import Settings
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.interfaces import OrderStore, TradeStore

SECRET = "hunter2"
BTC = Instrument("BTC-USD", "0.01", "0.001")


def order(order_id: int = 42, **fields: Any) -> Order:
    return Order(order_id, "buy", **{"instrument": BTC, "price": "100.5", "qty": "0.5", "user": "alice"} | fields)


def trade(trade_id: int = 1) -> Trade:
    return Trade(trade_id, 42, 99, price_ticks=10_050, qty_lots=250, side="buy", instrument=BTC, ts_ns=1)


def types_of(store: Any) -> list[str]:
    """Name the classes of a stack, memory first."""
    if not isinstance(store, (CompositeOrderStore, CompositeTradeStore)):
        return [type(store).__name__]
    memory = [] if store.memory_layer is None else [store.memory_layer]
    return [type(layer).__name__ for layer in (*memory, *(layer.store for layer in store.layers))]


def until(condition: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def single_node(url: str, **fields: Any) -> Settings:
    return Settings(database_enabled=True, database_url=url, **fields)


def distributed(postgres_url: str, redis_url: str, **fields: Any) -> Settings:
    return single_node(postgres_url, redis_enabled=True, redis_url=redis_url, **fields)


class Ledger(OrderStore):
    """A store as somebody else would write one, kept in a dict that outlives it."""

    name = "ledger"
    kept: dict[int, Order] = {}  # noqa: RUF012  outlives the store
    closed = 0

    def __init__(self, settings: Settings) -> None:
        assert settings.order_stores

    def save(self, order: Order) -> bool:
        self.kept[order.order_id] = order
        return True

    def update(self, order: Order) -> bool:
        return order.order_id in self.kept and self.save(order)

    def get(self, order_id: int) -> Order | None:
        return self.kept.get(order_id)

    def remove(self, order_id: int) -> bool:
        return self.kept.pop(order_id, None) is not None

    def get_all(self) -> list[Order]:
        return sorted(self.kept.values(), key=lambda order: order.order_id)

    def get_by_user(self, user: str) -> list[Order]:
        return [order for order in self.get_all() if order.user == user]

    def get_by_side(self, side: Any, symbol: str | None = None) -> list[Order]:
        raise NotImplementedError

    def close(self) -> None:
        type(self).closed += 1


class Tape(TradeStore):
    """A trade store of the same kind."""

    name = "tape"
    kept: list[Trade] = []  # noqa: RUF012  outlives the store
    full = False

    def save(self, trade: Trade) -> bool:
        self.kept.append(trade)
        return True

    def get_recent(self, limit: int = 100) -> list[Trade]:
        return self.kept[: -limit - 1 : -1]

    def close(self) -> None:
        """Nothing was opened."""
