"""The newest trades in plain memory: a ring of records in order of their trade ids.

        slots   | 7 | 8 | 9 | · | · | 4 | 5 | 6 |      held = 6, capacity = 6, room for a power of two
                              └ next        └ oldest = next - held

Invariants: ids rise strictly from oldest to next - 1; held <= capacity <= mask + 1.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.records cimport Event


ctypedef struct TradeRing:
    Event* slots                   # owned; mask + 1 of them
    uint64_t mask
    uint64_t capacity              # trades kept; not more than mask + 1
    uint64_t next                  # position after the newest; a slot is a position & mask
    uint64_t held
    uint64_t total                 # trades ever taken in
    uint32_t lock
    bint closed

ctypedef struct TradeBlock:        # copies of records, to make objects or arrays of
    Event* rows                    # owned, by malloc; NULL when there are none
    size_t count


cdef inline Event* ring_slot(const TradeRing* r, uint64_t age) noexcept nogil:
    """Return the slot of a trade by its age: 0 is the newest. The age must be below `held`."""
    return &r.slots[(r.next - 1 - age) & r.mask]


# These expect the caller to hold the lock.
cdef int trade_ring_init(TradeRing* r, uint64_t capacity) noexcept nogil
cdef void trade_ring_free(TradeRing* r) noexcept nogil
cdef int trade_ring_put(TradeRing* r, const Event* trade) noexcept nogil
cdef int trade_ring_put_rows(TradeRing* r, const Event* rows, size_t n, size_t* stored) noexcept nogil
cdef int trade_ring_get(const TradeRing* r, int64_t trade_id, Event* found) noexcept nogil
cdef bint trade_ring_complete_for(const TradeRing* r, uint64_t limit) noexcept nogil

# These take it.
cdef int trade_store_apply(TradeRing* r, const Event* events, size_t n) noexcept nogil
cdef int trade_store_apply_rows(TradeRing* r, const Event* events, size_t n, size_t* at, const char** fault) noexcept nogil
cdef int trade_store_put_rows(TradeRing* r, const Event* rows, size_t n, size_t* stored) noexcept nogil
cdef int trade_store_copy(TradeRing* r, uint64_t limit, TradeBlock* block) noexcept nogil
cdef const char* trade_store_fault(TradeRing* r) noexcept nogil

cdef const char* trade_record_fault(const Event* e) noexcept nogil
cdef const char* trade_rows_fault(const Event* rows, size_t n, size_t* at) noexcept nogil
