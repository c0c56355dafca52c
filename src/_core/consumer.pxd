"""Consumers of the event ring, as Python sees them."""

from libc.stdint cimport int64_t, uint64_t
from pyengine._core.engine cimport EngineCore
from pyengine._core.records cimport Event


cdef class Batch:
    cdef Consumer consumer         # owned reference: keeps the ring alive
    cdef const Event* events       # borrowed from the ring
    cdef uint64_t start            # sequence number of the first one
    cdef uint64_t count


cdef class Consumer:
    cdef readonly EngineCore engine
    cdef readonly str name
    cdef readonly bint required
    cdef readonly bint closed
    cdef int cursor                # -1: given back
    cdef uint64_t at               # next sequence number to read
    cdef list held                 # starts of batches that are still alive, oldest first
    cdef list gaps                 # [first, last] of what was missed
    cdef uint64_t missed_total

    cdef int settle(self) except -1
    cdef object take(self, uint64_t limit)
    cdef object view_ring(self, uint64_t limit)
    cdef object copy_ring(self, uint64_t limit)
    cdef object wait(self, uint64_t limit, int64_t deadline)
    cdef int note_gap(self, uint64_t first, uint64_t last) except -1
