"""pyengine: a price-time priority matching engine for Python with a compiled core."""

from pyengine._core.book import Book
from pyengine._core.consumer import Consumer
from pyengine._core.order import Order
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.result import OrderView, Result
from pyengine._core.trade import Trade
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.commands import Commands, commands_from
from pyengine.engine import Engine, Run
from pyengine.errors import (
    EngineBusy,
    EngineClosed,
    FieldError,
    FieldTypeError,
    InvariantError,
    PyengineError,
    RingFullError,
    SnapshotError,
    UnknownInstrument,
)
from pyengine.instrument import Instrument
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import (
    COMMAND_DTYPE,
    EVENT_DTYPE,
    EVERY_INSTRUMENT,
    FIRST_REJECTION,
    LEVEL_DTYPE,
    ORDER_EVENT_DTYPE,
    ORDER_STATE_DTYPE,
    REQUEST_EVENT_DTYPE,
    TRADE_DTYPE,
    Action,
    EventFlag,
    Flag,
    Kind,
    Reason,
    RequestFlag,
    SelfTrade,
    Side,
    Status,
    TimeInForce,
    make_commands,
    order_events,
    request_events,
    trade_events,
)
from pyengine.stores.log_reader import TradeLogReader

__version__ = "0.1.0"

__all__ = [
    "COMMAND_DTYPE",
    "EVENT_DTYPE",
    "EVERY_INSTRUMENT",
    "FIRST_REJECTION",
    "LEVEL_DTYPE",
    "ORDER_EVENT_DTYPE",
    "ORDER_RECORD_DTYPE",
    "ORDER_STATE_DTYPE",
    "REQUEST_EVENT_DTYPE",
    "TRADE_DTYPE",
    "Action",
    "Book",
    "Commands",
    "Consumer",
    "Engine",
    "EngineBusy",
    "EngineClosed",
    "EventFlag",
    "FieldError",
    "FieldTypeError",
    "Flag",
    "InMemoryOrderStore",
    "InMemoryTradeStore",
    "Instrument",
    "InvariantError",
    "Kind",
    "Order",
    "OrderView",
    "PyengineError",
    "Reason",
    "RequestFlag",
    "Result",
    "RingFullError",
    "Run",
    "SelfTrade",
    "Side",
    "SnapshotError",
    "Status",
    "TimeInForce",
    "Trade",
    "TradeLogReader",
    "UnknownInstrument",
    "commands_from",
    "make_commands",
    "order_events",
    "request_events",
    "trade_events",
]
