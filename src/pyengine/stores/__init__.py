"""The stores that keep orders and trades in memory, and what they hold."""

from pyengine._core.names import Names
from pyengine._core.order import Order, order_from_bytes
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.store_errors import StoreClosed, StoreError

__all__ = [
    "ORDER_RECORD_DTYPE",
    "InMemoryOrderStore",
    "InMemoryTradeStore",
    "Names",
    "Order",
    "StoreClosed",
    "StoreError",
    "Trade",
    "order_from_bytes",
    "trade_from_bytes",
]
