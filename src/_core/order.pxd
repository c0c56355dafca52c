"""One order as a record of 96 bytes, and as a Python object that copies it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from pyengine._core.records cimport PARTIALLY_FILLED


ctypedef struct OrderRecord:       # 96 bytes; ORDER_RECORD_DTYPE describes them to NumPy
    uint64_t order_id
    int64_t price_ticks            # 0 for a market order
    int64_t qty_lots               # size after amendments and self-trade decrements: filled + remaining
    int64_t remaining_lots         # never filled; open while the status says so
    int64_t created_ns             # time stamp of its acceptance
    int64_t updated_ns             # time stamp of its last change
    uint64_t version               # sequence number of the last event that changed it; 0 when nobody counts
    uint64_t client_id             # the caller's own id; 0 is none
    int64_t aux                    # reserved for a stop price
    uint32_t instrument            # number of the instrument
    uint32_t user                  # number of the user; 0 is nobody
    uint8_t side                   # BUY or SELL
    uint8_t order_type             # MARKET, LIMIT, STOP or STOP_LIMIT
    uint8_t tif
    uint8_t status                 # RESTING, PARTIALLY_FILLED, FILLED or DONE_CANCELLED; 0 only in free memory
    uint8_t flags
    uint8_t stp
    uint16_t reserved              # 0
    uint64_t entered               # sequence number of the event that gave it its place in the queue; 0 when nobody counts


cdef inline bint order_is_open(const OrderRecord* r) noexcept nogil:
    return r.status <= PARTIALLY_FILLED


cdef class Order:
    cdef OrderRecord record        # owned copy
    cdef object names              # Names, or None; of an order that no store has seen: (user or None, Instrument or None)

    cdef int set_owners(self, object user, object instrument, object instrument_index) except -1
    cdef int set_progress(self, object remaining_lots, object status) except -1
    cdef int refuse_faults(self) except -1


cdef Order order_from_record(const OrderRecord* record, object names)
cdef const char* order_record_fault(const OrderRecord* r) noexcept nogil
cdef str order_expectation(str field)
