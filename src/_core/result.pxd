"""What a single call returns."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.records cimport Event


cdef class Result:
    cdef readonly uint64_t order_id
    cdef readonly int64_t filled_lots
    cdef readonly int64_t remaining_lots
    cdef readonly int64_t cancelled_lots
    cdef readonly object instrument   # owned reference, or None
    cdef uint64_t trade_total
    cdef int code                  # Status, or Reason from 32 on
    cdef uint8_t cancel_reason
    cdef readonly bint repeated
    cdef object kept               # None without trades; else bytes of their events, or the tuple made of these


cdef class OrderView:
    cdef readonly uint64_t order_id
    cdef readonly int64_t price_ticks
    cdef readonly int64_t qty_lots
    cdef readonly uint32_t user
    cdef readonly object instrument
    cdef uint8_t side_code


cdef int result_keep_trades(Result r, const Event* events, uint64_t count) except -1
