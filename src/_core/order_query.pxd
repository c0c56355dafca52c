"""Answers of many orders: copied out under the lock, sorted without it; and the check of all invariants."""

from libc.stdint cimport int64_t, uint32_t
from pyengine._core.order cimport OrderRecord
from pyengine._core.order_state cimport OrderStoreState
from pyengine._core.records cimport Event


ctypedef struct OrderBlock:        # copies of records, to make objects or arrays of
    OrderRecord* rows              # owned, by malloc; NULL when there are none
    size_t count


cdef int order_copy_all(OrderStoreState* s, OrderBlock* block) noexcept nogil
cdef int order_copy_user(OrderStoreState* s, uint32_t user, OrderBlock* block) noexcept nogil
cdef int order_copy_side(OrderStoreState* s, int side, int64_t instrument, OrderBlock* block) noexcept nogil
cdef const char* order_rows_fault(const OrderRecord* rows, size_t n, size_t* at) noexcept nogil
cdef const char* order_events_fault(const Event* events, size_t n, size_t* at, size_t* accepted) noexcept nogil
cdef const char* order_store_fault(OrderStoreState* s) noexcept nogil
