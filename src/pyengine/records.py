"""The fixed-size records of the engine, described to NumPy, and the names of their codes.

Every record is 64 bytes, little-endian, without overlapping fields. The same bytes are C structs in `_core/records.pxd`,
so an array of them crosses into the core and back without a conversion.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]


class Side(IntEnum):
    """Side of an order; for a trade, the taker's."""

    BUY = 1
    SELL = 2


class Action(IntEnum):
    """What a command asks for. MARKET, LIMIT, STOP and STOP_LIMIT double as the order type."""

    MARKET = 1
    LIMIT = 2
    CANCEL = 3
    STOP = 4
    STOP_LIMIT = 5
    AMEND = 6
    MASS_CANCEL = 7


class TimeInForce(IntEnum):
    """How long an order may wait: until cancelled, not at all, or all at once or not at all."""

    GTC = 0
    IOC = 1
    FOK = 2


class Flag(IntFlag):
    """Attributes of a new order.

    POST_ONLY refuses an order that would trade; with SLIDE it is priced one tick off the touch instead. With ASSIGN_ID the
    engine picks the order id.
    """

    NONE = 0
    POST_ONLY = 1
    SLIDE = 2
    ASSIGN_ID = 128


class SelfTrade(IntEnum):
    """What happens when an order meets another one of the same user."""

    DEFAULT = 0
    OFF = 1
    CANCEL_TAKER = 2
    CANCEL_MAKER = 3
    CANCEL_BOTH = 4
    DECREMENT = 5


class Kind(IntEnum):
    """Kind of an event."""

    ACCEPTED = 1
    REJECTED = 2
    TRADE = 3
    CANCELLED = 4
    REPLACED = 5
    REQUEST = 6


class EventFlag(IntFlag):
    """Flags of an event: of a TRADE who is filled, of a REPLACED that the order kept its place in the queue."""

    NONE = 0
    MAKER_FILLED = 1
    TAKER_FILLED = 2
    KEPT_PLACE = 1


class RequestFlag(IntFlag):
    """Flags of a REQUEST: what its command didn't say itself.

    With PRICE_KEPT and QTY_KEPT an amend leaves what the order has. With BOOK_IMPLIED the order's id stood for its book; with
    NO_BOOK there was no such order.
    """

    NONE = 0
    PRICE_KEPT = 1
    QTY_KEPT = 2
    BOOK_IMPLIED = 4
    NO_BOOK = 8


class Status(IntEnum):
    """How a command ended. Values of 32 and above in a status array are a `Reason`: the command was rejected."""

    RESTING = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    REPLACED = 5
    MASS_CANCELLED = 6


class Reason(IntEnum):
    """Why an order was cancelled (below 32), a command malformed (32 on), refused (64 on) or out of room (96 on)."""

    NONE = 0
    USER = 1
    IOC = 2
    FOK = 3
    SELF_TRADE = 4
    MASS = 5
    NO_LIQUIDITY = 6
    EXPIRED = 7
    INVALID_ACTION = 32
    INVALID_INSTRUMENT = 33
    INVALID_SIDE = 34
    INVALID_TIF = 35
    INVALID_FLAGS = 36
    INVALID_STP = 37
    INVALID_PRICE = 38
    INVALID_QTY = 39
    PRICE_OUT_OF_RANGE = 40
    QTY_OUT_OF_RANGE = 41
    NOTIONAL_OVERFLOW = 42
    INVALID_USER = 43
    INVALID_RESERVED = 44
    DUPLICATE_ORDER_ID = 64
    UNKNOWN_ORDER = 65
    NOT_OWNER = 66
    WRONG_INSTRUMENT = 67
    POST_ONLY_WOULD_TRADE = 68
    LEVEL_FULL = 69
    HALTED = 70
    CLIENT_ID_REUSED = 71
    RING_FULL = 96
    OUT_OF_MEMORY = 97


EVERY_INSTRUMENT = 0xFFFFFFFF
"""The `instrument` of a MASS_CANCEL over all books."""

FIRST_REJECTION = 32
"""Statuses from here on are a `Reason`."""


def _dtype(*fields: tuple[str, str, int], size: int = 64) -> np.dtype[np.void]:
    """Describe a record by name, format and offset of each field; bytes between fields are reserved and 0."""
    spec: Any = {
        "names": [name for name, _, _ in fields],
        "formats": [form for _, form, _ in fields],
        "offsets": [offset for _, _, offset in fields],
        "itemsize": size,
    }
    dtype: np.dtype[np.void] = np.dtype(spec)
    return dtype


COMMAND_DTYPE = _dtype(
    ("action", "u1", 0),
    ("tif", "u1", 1),
    ("flags", "u1", 2),
    ("stp", "u1", 3),
    ("instrument", "<u4", 4),
    ("order_id", "<u8", 8),
    ("price_ticks", "<i8", 16),
    ("qty_lots", "<i8", 24),
    ("ts_ns", "<i8", 32),
    ("user", "<u4", 40),
    ("side", "u1", 44),
    ("reserved", "(3,)u1", 45),
    ("aux1", "<i8", 48),
    ("aux2", "<i8", 56),
)
"""What `Engine.run` takes. `aux1` and `aux2` (stop price; display quantity or expiry) and `reserved` must be 0 for now."""

COMMAND_COLUMNS = tuple(name for name in COMMAND_DTYPE.names or () if name != "reserved")
"""The fields of COMMAND_DTYPE that a table of commands may have as columns."""

_TAIL = (("instrument", "<u4", 56), ("kind", "u1", 60), ("side", "u1", 61), ("reason", "u1", 62), ("flags", "u1", 63))

EVENT_DTYPE = _dtype(
    ("seq", "<u8", 0),
    ("ts_ns", "<i8", 8),
    ("order_id", "<u8", 16),
    ("detail", "<u8", 24),
    ("price_ticks", "<i8", 32),
    ("qty_lots", "<i8", 40),
    ("value", "<i8", 48),
    *_TAIL,
)
"""Any event. `detail` and `value` depend on the kind: see `TRADE_DTYPE` and `ORDER_EVENT_DTYPE`."""

TRADE_DTYPE = _dtype(
    ("seq", "<u8", 0),
    ("ts_ns", "<i8", 8),
    ("taker_id", "<u8", 16),
    ("maker_id", "<u8", 24),
    ("price_ticks", "<i8", 32),
    ("qty_lots", "<i8", 40),
    ("trade_id", "<i8", 48),
    *_TAIL,
)
"""A TRADE event under its own names; the price is the maker's, the side the taker's."""

ORDER_EVENT_DTYPE = _dtype(
    ("seq", "<u8", 0),
    ("ts_ns", "<i8", 8),
    ("order_id", "<u8", 16),
    ("user", "<u4", 24),
    ("order_type", "u1", 28),
    ("tif", "u1", 29),
    ("order_flags", "u1", 30),
    ("stp", "u1", 31),
    ("price_ticks", "<i8", 32),
    ("qty_lots", "<i8", 40),
    ("value", "<i8", 48),
    *_TAIL,
)
"""An event of any kind but TRADE and REQUEST. `value`: lots still open (CANCELLED), lots open before (REPLACED), else 0."""

REQUEST_EVENT_DTYPE = _dtype(
    ("seq", "<u8", 0),
    ("ts_ns", "<i8", 8),
    ("client_order_id", "<u8", 16),
    ("user", "<u4", 24),
    ("action", "u1", 28),
    ("tif", "u1", 29),
    ("order_flags", "u1", 30),
    ("stp", "u1", 31),
    ("price_ticks", "<i8", 32),
    ("qty_lots", "<i8", 40),
    ("order_id", "<u8", 48),
    *_TAIL,
)
"""A REQUEST event: a command with a client order id, right before the events that it caused.

`order_id` is 0 if the engine assigns it. `qty_lots` of a MASS_CANCEL is the number of orders that it took off. What the action
ignores is 0; `flags` is a `RequestFlag`.
"""

LEVEL_DTYPE = _dtype(("price_ticks", "<i8", 0), ("qty_lots", "<i8", 8), ("orders", "<u4", 16), size=24)
"""One price level of `Book.depth`."""

ORDER_STATE_DTYPE = _dtype(
    ("order_id", "<u8", 0),
    ("price_ticks", "<i8", 8),
    ("qty_lots", "<i8", 16),
    ("user", "<u4", 24),
    ("side", "u1", 28),
    size=32,
)
"""One resting order of `Book.orders`; `qty_lots` is what is still open."""


def make_commands(count: int) -> Records:
    """Make an array of `count` zeroed commands to fill in.

    Parameters
    ----------
    count : int
        Number of rows.

    Returns
    -------
    ndarray of COMMAND_DTYPE, shape (count,)
    """
    return np.zeros(count, COMMAND_DTYPE)


def order_events(events: Records) -> Records:
    """Select the events that are neither trades nor requests and name their fields by ORDER_EVENT_DTYPE. O(n), one copy."""
    kind = events["kind"]
    chosen: Records = events[(kind != Kind.TRADE) & (kind != Kind.REQUEST)]
    return chosen.view(ORDER_EVENT_DTYPE)


def trade_events(events: Records) -> Records:
    """Select the trades and name their fields by TRADE_DTYPE. O(n), one copy."""
    chosen: Records = events[events["kind"] == Kind.TRADE]
    return chosen.view(TRADE_DTYPE)


def request_events(events: Records) -> Records:
    """Select the commands with client order ids and name their fields by REQUEST_EVENT_DTYPE. O(n), one copy."""
    chosen: Records = events[events["kind"] == Kind.REQUEST]
    return chosen.view(REQUEST_EVENT_DTYPE)
