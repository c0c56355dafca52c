"""The trade store as an object; its C entry points are in `trade_ring.pxd`."""

from pyengine._core.names cimport Names
from pyengine._core.trade_ring cimport TradeBlock, TradeRing


cdef class InMemoryTradeStore:
    cdef TradeRing ring            # owned; every access holds ring.lock
    cdef readonly Names names      # owned reference: its own, or lent by an engine
    cdef bint lent

    cdef int copy_recent(self, object limit, TradeBlock* block) except -1
    cdef object edge_id(self, bint newest)
