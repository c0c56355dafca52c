"""Reading a book: levels, orders, hash, and the check of every invariant. None of these changes anything."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.state cimport State

ctypedef struct LevelRecord:       # LEVEL_DTYPE, 24 bytes
    int64_t price_ticks
    int64_t qty_lots
    uint32_t orders
    uint32_t unused

ctypedef struct OrderRecord:       # ORDER_STATE_DTYPE, 32 bytes
    uint64_t order_id
    int64_t price_ticks
    int64_t qty_lots
    uint32_t user
    uint8_t side
    uint8_t unused[3]

ctypedef struct Finding:           # what a check found broken
    const char* what               # NULL: nothing
    uint64_t where                 # book * 2 + side, or the index of the entry

cdef uint64_t view_levels(const State* s, uint32_t book, int side, uint64_t limit, LevelRecord* into) noexcept nogil
cdef uint64_t view_orders(const State* s, uint32_t book, int side, OrderRecord* into, uint64_t done,
                          uint32_t* places) noexcept nogil
cdef uint64_t view_hash(const State* s, uint32_t book, uint64_t seed) noexcept nogil
cdef Finding view_check(const State* s) noexcept nogil
cdef int view_load(State* s, uint32_t book, const OrderRecord* orders, uint64_t count, uint32_t* indexes) noexcept nogil
