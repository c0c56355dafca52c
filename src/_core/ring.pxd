"""The event ring: one producer, any number of consumers with a cursor each.

    sequence   1 ……… cursor of B ……… cursor of A ……… head ……… out.seq
               free to overwrite │ B has yet to read │          │ written, not yet published
    slot       seq & mask; capacity is a power of two

The producer writes records in place and publishes them by moving `head` (store-release). A consumer reads `head` (load-
acquire), reads the records, and moves its own cursor (store-release). Each counter has a cache line of its own. The
producer keeps the furthest sequence number that it may write to (`intent`) and looks at the cursors only when it gets
there; optional consumers copy, and then learn from `intent` which of the records may have been overwritten meanwhile.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.port cimport pye_load_acquire, pye_store_release
from pyengine._core.records cimport Event

cdef enum:
    MAX_CONSUMERS = 64
    PUBLISH_EVERY = 256            # events; a smaller batch makes the consumer take the head's cache line away more often

ctypedef struct Cursor:            # 128 bytes: neighbours are prefetched in pairs
    uint64_t next                  # first sequence number not yet released; written by the consumer only
    uint32_t attached
    uint32_t required              # the producer waits for it
    uint8_t apart[112]

ctypedef struct Ring:
    Event* events                  # owned; capacity of them
    uint64_t capacity
    uint64_t mask
    uint32_t attached              # cursors in use
    uint32_t required              # of these, required
    uint8_t apart[96]
    uint64_t head                  # first sequence number not yet published; written by the producer only
    uint8_t apart2[120]
    uint64_t intent                # the producer writes only below it; announced before it does
    uint8_t apart3[120]
    Cursor cursors[MAX_CONSUMERS]


cdef Ring* ring_new(uint64_t capacity, uint64_t first_seq) noexcept nogil
cdef void ring_free(Ring* r) noexcept nogil
cdef int ring_attach(Ring* r, bint required, uint64_t start) noexcept nogil
cdef void ring_detach(Ring* r, int cursor) noexcept nogil
cdef uint64_t ring_room(Ring* r, uint64_t seq, uint64_t need) noexcept nogil
cdef uint64_t ring_read(Ring* r, int cursor, uint64_t at, Event** first, uint64_t limit) noexcept nogil
cdef uint64_t ring_copy(Ring* r, uint64_t* at, Event* into, uint64_t limit, uint64_t* missed) noexcept nogil


cdef inline void ring_publish(Ring* r, uint64_t seq) noexcept nogil:
    pye_store_release(&r.head, seq)


cdef inline void ring_release(Ring* r, int cursor, uint64_t seq) noexcept nogil:
    pye_store_release(&r.cursors[cursor].next, seq)
