"""Order id to slab index: open addressing with linear probing, 8 bytes a slot, no tombstones.

A slot keeps 32 bits of the id's hash and the index; the id itself is compared in the slab, where the caller needs
that cache line anyway. Ids that differ only in their last three bits share a cache line of slots, so dense ids walk
the table in order; groups of eight are scattered by a mixing hash, so sparse ones don't cluster. Home slots follow
from the tags alone: growing and deleting never touch the slab.

        slots   | tag index | tag index | 0 0 | tag index | …      capacity: power of two, at most 3/4 used
                  └ hash32    └ 0 = empty
"""

from libc.stdint cimport uint32_t, uint64_t
from pyengine._core.port cimport pye_alloc, pye_free


ctypedef struct Slot:
    uint32_t tag                   # hash32 of the id
    uint32_t index                 # into the caller's slab; 0 means that the slot is empty

ctypedef struct IdMap:
    Slot* slots                    # owned; mask + 1 of them
    uint64_t mask
    uint64_t used
    uint64_t limit                 # grow before used reaches it


cdef inline uint32_t idmap_hash(uint64_t key) noexcept nogil:
    cdef uint64_t x = key >> 3
    x ^= x >> 32
    x *= <uint64_t>0x9E3779B97F4A7C15
    x ^= x >> 32
    return (<uint32_t>x << 3) | <uint32_t>(key & 7)


cdef inline int idmap_init(IdMap* m, uint64_t capacity) noexcept nogil:
    """Make room for `capacity` slots, a power of two of at least 8. 0, or -1 without memory."""
    m.slots = <Slot*>pye_alloc(capacity * sizeof(Slot))
    if m.slots == NULL:
        return -1
    m.mask = capacity - 1
    m.used = 0
    m.limit = capacity // 4 * 3
    return 0


cdef inline void idmap_free(IdMap* m) noexcept nogil:
    pye_free(m.slots, (m.mask + 1) * sizeof(Slot))
    m.slots = NULL


cdef inline void idmap_put(IdMap* m, uint32_t tag, uint32_t index) noexcept nogil:
    """Add an entry. The id must be absent and `used` below `limit`. O(1) expected."""
    cdef uint64_t i = tag & m.mask
    while m.slots[i].index != 0:
        i = (i + 1) & m.mask
    m.slots[i].tag = tag
    m.slots[i].index = index
    m.used += 1


cdef inline int idmap_grow(IdMap* m) noexcept nogil:
    """Double the table. O(used). 0, or -1 without memory and unchanged."""
    cdef IdMap bigger
    cdef uint64_t i
    if idmap_init(&bigger, (m.mask + 1) * 2) != 0:
        return -1
    for i in range(m.mask + 1):
        if m.slots[i].index != 0:
            idmap_put(&bigger, m.slots[i].tag, m.slots[i].index)
    idmap_free(m)
    m[0] = bigger
    return 0


cdef inline void idmap_delete_slot(IdMap* m, uint64_t hole) noexcept nogil:
    """Empty a slot and move later entries of its run back, so that no search meets a gap. O(1) expected."""
    cdef uint64_t i = hole, home
    while True:
        i = (i + 1) & m.mask
        if m.slots[i].index == 0:
            break
        home = m.slots[i].tag & m.mask
        if ((i - home) & m.mask) >= ((i - hole) & m.mask):
            m.slots[hole] = m.slots[i]
            hole = i
    m.slots[hole].index = 0
    m.used -= 1
