"""Events applied to an order store, and the orders that they changed."""

from pyengine._core.order_query cimport OrderBlock
from pyengine._core.order_state cimport OrderStoreState
from pyengine._core.records cimport Event


cdef int order_store_changes(OrderStoreState* s, const Event* events, size_t n, size_t accepted, OrderBlock* block) noexcept nogil
