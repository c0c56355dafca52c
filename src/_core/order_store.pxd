"""The order store as an object; its C entry points are in `order_state.pxd`."""

from pyengine._core.names cimport Names
from pyengine._core.order cimport OrderRecord
from pyengine._core.order_query cimport OrderBlock
from pyengine._core.order_state cimport OrderStoreState


cdef class InMemoryOrderStore:
    cdef OrderStoreState state     # owned; every access holds state.lock
    cdef readonly Names names      # owned reference: its own, or lent by an engine
    cdef bint lent

    cdef int apply_to(self, object events, OrderBlock* changed) except? -1
    cdef int copy_user(self, object user, OrderBlock* block) except? -1
    cdef int copy_side(self, object side, object symbol, OrderBlock* block) except? -1
