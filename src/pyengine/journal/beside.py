"""Stores in memory that are filled while an engine is made from a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.records import Records, Status

if TYPE_CHECKING:
    from pyengine.engine import Engine


class Beside:
    """What follows the events of a journal beside the engine that is made of them.

    Parameters
    ----------
    orders : InMemoryOrderStore, optional
        An empty one, to be filled with all orders that the journal still tells of. Default: the open ones are kept here.
    trades : InMemoryTradeStore, optional
        An empty one, to be filled with the newest trades.
    """

    def __init__(self, orders: InMemoryOrderStore | None = None, trades: InMemoryTradeStore | None = None) -> None:
        self._given = orders
        self._trades = trades
        self._orders = InMemoryOrderStore(keep_finished=0)

    def begin(self, engine: Engine, open_orders: Records | None) -> None:
        """Begin with the orders that were open in a snapshot, or with event 1."""
        self._orders = InMemoryOrderStore(keep_finished=0) if self._given is None else self._given
        if self._given is not None:
            self._given.attach_names(engine.names)
        if self._trades is not None:
            self._trades.attach_names(engine.names)
        if open_orders is not None:
            self._orders.start_with(open_orders)

    def apply(self, events: Records) -> None:
        """Take in events."""
        self._orders.apply(events)
        if self._trades is not None:
            self._trades.apply(events)

    @property
    def open_count(self) -> int:
        """Number of open orders."""
        return self._orders.open_count

    def open_orders(self) -> Records:
        """Return the open orders, by id."""
        found = self._orders.get_all_array()
        return found[np.isin(found["status"], (Status.RESTING, Status.PARTIALLY_FILLED))]
