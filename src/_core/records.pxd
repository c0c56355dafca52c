"""The records that cross every border, as C structs; `pyengine.records` describes the same bytes to NumPy."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef enum Side:
    BUY = 1
    SELL = 2

cdef enum Action:                  # 1, 2, 4 and 5 are the order types of the tables, 3 has been cancel there
    MARKET = 1
    LIMIT = 2
    CANCEL = 3
    STOP = 4                       # reserved
    STOP_LIMIT = 5                 # reserved
    AMEND = 6
    MASS_CANCEL = 7

cdef enum TimeInForce:
    GTC = 0
    IOC = 1
    FOK = 2
    DAY = 3                        # reserved
    GTD = 4                        # reserved

cdef enum Flag:
    POST_ONLY = 1
    SLIDE = 2
    ASSIGN_ID = 128

cdef enum SelfTrade:
    STP_DEFAULT = 0
    STP_OFF = 1
    STP_CANCEL_TAKER = 2
    STP_CANCEL_MAKER = 3
    STP_CANCEL_BOTH = 4
    STP_DECREMENT = 5

cdef enum Kind:
    ACCEPTED = 1
    REJECTED = 2
    TRADE = 3
    CANCELLED = 4
    REPLACED = 5
    REQUEST = 6

cdef enum EventFlag:
    MAKER_FILLED = 1               # TRADE
    TAKER_FILLED = 2               # TRADE
    KEPT_PLACE = 1                 # REPLACED

cdef enum RequestFlag:             # REQUEST: what the command didn't say itself
    PRICE_KEPT = 1                 # AMEND: the price is the one that the order had
    QTY_KEPT = 2                   # AMEND: the size is the one that the order had
    BOOK_IMPLIED = 4               # CANCEL, AMEND: the book is the one that the order was in
    NO_BOOK = 8                    # there was no such order, so the book isn't known

cdef enum Status:                  # one per command; 32 and above: rejected, and the value is the Reason
    RESTING = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    DONE_CANCELLED = 4
    DONE_REPLACED = 5
    DONE_MASS_CANCELLED = 6

cdef enum Reason:
    NONE = 0
    BY_USER = 1
    BY_IOC = 2
    BY_FOK = 3
    BY_SELF_TRADE = 4
    BY_MASS = 5
    BY_NO_LIQUIDITY = 6
    BY_EXPIRY = 7                  # reserved
    FIRST_REJECTION = 32
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
    FIRST_REFUSAL = 64
    DUPLICATE_ORDER_ID = 64
    UNKNOWN_ORDER = 65
    NOT_OWNER = 66
    WRONG_INSTRUMENT = 67
    POST_ONLY_WOULD_TRADE = 68
    LEVEL_FULL = 69
    HALTED = 70                    # reserved
    CLIENT_ID_REUSED = 71
    FIRST_CAPACITY = 96
    RING_FULL = 96
    OUT_OF_MEMORY = 97

cdef enum:
    EVERY_INSTRUMENT = 0xFFFFFFFF  # MASS_CANCEL over all books


ctypedef struct Command:           # 64 bytes, one cache line; the first four in the order of an event's detail
    uint8_t action
    uint8_t tif
    uint8_t flags
    uint8_t stp
    uint32_t instrument            # index of the book
    uint64_t order_id              # any value, unless ASSIGN_ID
    int64_t price_ticks            # 0 for MARKET
    int64_t qty_lots               # AMEND: the new open quantity
    int64_t ts_ns                  # copied to the events, never interpreted
    uint32_t user                  # interned; 0 is anonymous
    uint8_t side                   # 0 only for CANCEL, AMEND and MASS_CANCEL
    uint8_t reserved[3]            # 0
    int64_t aux1                   # 0; room for a stop price
    int64_t aux2                   # 0; room for a display quantity or an expiry

ctypedef struct Event:             # 64 bytes, one cache line
    uint64_t seq                   # dense, from 1
    int64_t ts_ns
    uint64_t order_id              # TRADE: the taker; REQUEST: the client order id
    uint64_t detail                # TRADE: the maker's id; otherwise user and attributes, see event_detail
    int64_t price_ticks            # TRADE: the maker's price
    int64_t qty_lots               # TRADE: traded; CANCELLED: taken off; REPLACED: new and open; REQUEST of a MASS_CANCEL: orders
    int64_t value                  # TRADE: trade id, from 1; CANCELLED: lots still open; REPLACED: open before; REQUEST: order id
    uint32_t instrument
    uint8_t kind
    uint8_t side                   # TRADE: the taker's
    uint8_t reason
    uint8_t flags


cdef inline uint64_t event_detail(uint32_t user, uint8_t order_type, uint8_t tif, uint8_t flags, uint8_t stp) noexcept nogil:
    return user | <uint64_t>order_type << 32 | <uint64_t>tif << 40 | <uint64_t>flags << 48 | <uint64_t>stp << 56


cdef inline uint64_t command_detail(const Command* c, uint32_t user) noexcept nogil:
    """The same of a command, whose first four bytes are the attributes in this order."""
    return user | <uint64_t>(<const uint32_t*>c)[0] << 32
