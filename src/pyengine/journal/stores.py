"""An engine out of a journal, with stores that know its past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.engine import Engine
from pyengine.journal.beside import Beside
from pyengine.journal.recovery import recover, recover_beside


def recover_with_stores(path: Path, order_store: Any, trade_store: Any, **options: Any) -> Engine:
    """Make the engine that a journal tells of, and give it stores whose memory knows what the journal still tells."""
    if order_store is None and trade_store is None:
        return recover(path, **options).engine
    orders = getattr(order_store, "memory_layer", order_store)
    trades = getattr(trade_store, "memory_layer", trade_store)
    beside = Beside(
        orders if isinstance(orders, InMemoryOrderStore) else None,
        trades if isinstance(trades, InMemoryTradeStore) else None,
    )
    engine = recover_beside(path, beside, **options).engine
    engine.take_stores(order_store, trade_store, beside.open_orders())
    return engine
