"""One trade as a Python object: a copy of its 64-byte event and a reference to the instrument that scales it."""

from libc.stdint cimport uint64_t
from pyengine._core.records cimport BUY, Event


cdef class Trade:
    cdef Event event               # owned copy; event.kind == TRADE
    cdef readonly object instrument  # owned reference: pyengine.Instrument, or None when it isn't known


cdef inline uint64_t trade_buyer(const Event* e) noexcept nogil:
    return e.order_id if e.side == BUY else e.detail


cdef inline uint64_t trade_seller(const Event* e) noexcept nogil:
    return e.detail if e.side == BUY else e.order_id


cdef Trade trade_from_event(const Event* e, object instrument)
