"""The event ring's set-up, and its consumers' side. See ring.pxd."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove, memset
from pyengine._core.port cimport pye_alloc, pye_fence_acquire, pye_fence_full, pye_free, pye_load_acquire


cdef Ring* ring_new(uint64_t capacity, uint64_t first_seq) noexcept nogil:
    """Make a ring of a power-of-two capacity. NULL without memory."""
    cdef Ring* r = <Ring*>pye_alloc(sizeof(Ring))
    if r == NULL:
        return NULL
    r.events = <Event*>pye_alloc(capacity * sizeof(Event))
    if r.events == NULL:
        pye_free(r, sizeof(Ring))
        return NULL
    # All of the ring will be written, so its pages are fetched now and not by the first commands.
    memset(r.events, 0, capacity * sizeof(Event))
    r.capacity = capacity
    r.mask = capacity - 1
    r.head = first_seq
    return r


cdef void ring_free(Ring* r) noexcept nogil:
    if r != NULL:
        pye_free(r.events, r.capacity * sizeof(Event))
        pye_free(r, sizeof(Ring))


cdef int ring_attach(Ring* r, bint required, uint64_t start) noexcept nogil:
    """Give out a cursor that starts at `start`; -1 when all are taken. Only the producer's side may call this."""
    cdef int i
    for i in range(MAX_CONSUMERS):
        if not r.cursors[i].attached:
            r.cursors[i].next = start
            r.cursors[i].required = required
            r.cursors[i].attached = 1
            r.attached += 1
            r.required += required
            return i
    return -1


cdef void ring_detach(Ring* r, int cursor) noexcept nogil:
    """Take a cursor back. Only the producer's side may call this."""
    if r.cursors[cursor].attached:
        r.cursors[cursor].attached = 0
        r.attached -= 1
        r.required -= r.cursors[cursor].required


cdef uint64_t ring_room(Ring* r, uint64_t seq, uint64_t need) noexcept nogil:
    """Announce and return the sequence number below which the producer may write. O(consumers).

    It is at least `seq + need` unless a required consumer is in the way.
    """
    cdef uint64_t slowest = seq, at, end
    cdef int i
    if r.required != 0:
        for i in range(MAX_CONSUMERS):
            if r.cursors[i].attached and r.cursors[i].required:
                at = pye_load_acquire(&r.cursors[i].next)
                if at < slowest:
                    slowest = at
    end = seq + max(need, r.capacity // 8)
    if r.required != 0 and end > slowest + r.capacity:
        end = slowest + r.capacity
    if end > r.intent:
        pye_store_release(&r.intent, end)
        pye_fence_full()
    return end


cdef inline uint64_t ring_oldest(Ring* r) noexcept nogil:
    """Oldest sequence number that the producer can't be overwriting now."""
    cdef uint64_t intent = pye_load_acquire(&r.intent)
    return intent - r.capacity if intent > r.capacity else 0


cdef uint64_t ring_read(Ring* r, int cursor, uint64_t at, Event** first, uint64_t limit) noexcept nogil:
    """Point at what is published from `at` on, up to `limit` records and the ring's end. 0 if there is nothing.

    For required cursors: the records stay as they are until the cursor is released beyond them. O(1), no copy.
    """
    cdef uint64_t n = pye_load_acquire(&r.head) - at
    cdef uint64_t to_end = r.capacity - (at & r.mask)
    if n > to_end:
        n = to_end
    if n > limit:
        n = limit
    first[0] = &r.events[at & r.mask]
    return n


cdef uint64_t ring_copy(Ring* r, uint64_t* at, Event* into, uint64_t limit, uint64_t* missed) noexcept nogil:
    """Copy what is published from `at` on; moves `at` past it. What was overwritten before is counted in `missed`.

    For optional cursors: the producer may overwrite a record while it is copied, but it has announced before how far it
    will write, so the part of the copy that it may have reached is dropped and counted. O(records).
    """
    cdef uint64_t head = pye_load_acquire(&r.head), n, to_end, oldest, gone
    oldest = ring_oldest(r)
    gone = oldest - at[0] if oldest > at[0] else 0
    at[0] += gone
    missed[0] += gone
    if head <= at[0]:
        return 0
    n = min(head - at[0], limit)
    to_end = r.capacity - (at[0] & r.mask)
    if n <= to_end:
        memcpy(into, &r.events[at[0] & r.mask], n * sizeof(Event))
    else:
        memcpy(into, &r.events[at[0] & r.mask], to_end * sizeof(Event))
        memcpy(into + to_end, r.events, (n - to_end) * sizeof(Event))
    pye_fence_acquire()
    oldest = ring_oldest(r)
    gone = min(oldest - at[0], n) if oldest > at[0] else 0
    if gone > 0:
        missed[0] += gone
        memmove(into, into + gone, (n - gone) * sizeof(Event))
    at[0] += n
    return n - gone
