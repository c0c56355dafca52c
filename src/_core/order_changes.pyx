"""Events applied to an order store, and the orders that they changed."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order cimport OrderRecord
from pyengine._core.order_state cimport (
    STORE_CLOSED, STORE_NO_MEMORY, STORE_OK, apply_events, order_event_fault, order_find, order_state_reserve,
)
from pyengine._core.port cimport pye_copied
from pyengine._core.records cimport REJECTED, REQUEST, TRADE

cdef enum:
    COPIED = 128                   # events of a caller's array in private memory at a time


cdef inline void touch(OrderStoreState* s, uint64_t order_id, uint32_t* touched, size_t* count) noexcept nogil:
    """Note an order's place, once in each round."""
    cdef uint32_t i = order_find(s, order_id)
    if i != 0 and s.links[i].round != s.round:
        s.links[i].round = s.round
        touched[count[0]] = i
        count[0] += 1


cdef int apply_and_touch(OrderStoreState* s, const Event* events, size_t n, uint32_t* touched, size_t* count) noexcept nogil:
    """Apply events of an array that another thread may be writing into, and note the places of their orders. O(n)."""
    cdef Event[COPIED] private
    cdef size_t done = 0, taken, i
    cdef int code = STORE_OK
    s.round += 1
    while code == STORE_OK and done < n:
        taken = 0
        for i in range(done, min(done + COPIED, n)):
            private[taken] = events[i]
            pye_copied(&private[taken])
            taken += order_event_fault(&private[taken]) == NULL
        code = apply_events(s, private, taken)
        for i in range(taken):
            if private[i].kind == REJECTED or private[i].kind == REQUEST:
                continue
            touch(s, private[i].order_id, touched, count)
            if private[i].kind == TRADE:
                touch(s, private[i].detail, touched, count)
        done += COPIED
    return code


cdef int order_store_changes(
    OrderStoreState* s, const Event* events, size_t n, size_t accepted, OrderBlock* block,
) noexcept nogil:
    """Apply events, and copy each order that they are about once, as it is after the last of them. O(n) expected.

    Orders that aren't held any more are left out. Takes the lock, and all memory before the first change: without it, nothing
    is applied. The caller frees `block.rows`, whatever is returned.
    """
    cdef uint32_t* touched = <uint32_t*>malloc(2 * n * sizeof(uint32_t))
    cdef size_t count = 0, i
    cdef int code = STORE_CLOSED
    block.count = 0
    block.rows = <OrderRecord*>malloc(2 * n * sizeof(OrderRecord))
    if touched == NULL or block.rows == NULL:
        free(touched)
        return STORE_NO_MEMORY
    pye_lock(&s.lock)
    if not s.closed:
        code = order_state_reserve(s, accepted)
    if code == STORE_OK:
        code = apply_and_touch(s, events, n, touched, &count)
    if code == STORE_OK:
        for i in range(count):
            if s.orders[touched[i]].status != 0:
                block.rows[block.count] = s.orders[touched[i]]
                block.count += 1
    pye_unlock(&s.lock)
    free(touched)
    return code
