"""Hold a store's lock over a fork, so that the child doesn't find it taken by a thread that it hasn't got."""

from libc.stdint cimport uint32_t
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order_store cimport InMemoryOrderStore
from pyengine._core.trade_store cimport InMemoryTradeStore
from pyengine.errors import FieldTypeError


cdef uint32_t* lock_of(object store) except NULL:
    if isinstance(store, InMemoryOrderStore):
        return &(<InMemoryOrderStore>store).state.lock
    if isinstance(store, InMemoryTradeStore):
        return &(<InMemoryTradeStore>store).ring.lock
    raise FieldTypeError("store", store, "an InMemoryOrderStore or an InMemoryTradeStore")


def hold(store):
    """Take the lock; nobody else reads or writes the store until `release`."""
    cdef uint32_t* lock = lock_of(store)
    with nogil:
        pye_lock(lock)


def release(store):
    """Give the lock back, in the parent and in the child."""
    pye_unlock(lock_of(store))
