"""Order id to slab index: a hash table in buckets of one cache line, 8 entries each.

An entry keeps 32 bits of the id's hash and the index; the id itself is compared in the slab, where the caller needs that
cache line anyway. A search looks at a whole bucket at once. An entry that finds its bucket full goes to the next one, and
`spill` counts for each bucket how many have passed by, so a search knows where it may stop and nothing ever has to move:
adding and deleting touch one bucket nearly always. Four neighbouring ids share a bucket, so dense ids walk the table in
order; groups are scattered by a mixing hash, so ids with a pattern don't gather.

    bucket  | tag × 8 | index × 8 |      64 bytes; tag 0 is an empty entry
    spill   | u8 |                       255 stays 255 until the table grows
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pyengine._core.port cimport pye_alloc, pye_free, pye_lowest_bit, pye_match8, pye_unlikely


ctypedef struct Bucket:
    uint32_t tag[8]
    uint32_t index[8]

ctypedef struct IdTable:
    Bucket* buckets                # owned; mask + 1 of them, a power of two
    uint8_t* spill                 # owned
    uint64_t mask
    uint64_t used
    uint64_t limit                 # grow before `used` reaches it: five of eight entries


cdef inline uint32_t idtable_tag(uint64_t order_id) noexcept nogil:
    """Hash of an id; never 0. The low bits choose the bucket."""
    cdef uint64_t x = order_id >> 2
    x ^= x >> 32
    x *= <uint64_t>0x9E3779B97F4A7C15
    # The group's hash chooses the bucket; the two bits below the marker tell its four ids apart.
    return <uint32_t>(x >> 35) | <uint32_t>(order_id & 3) << 29 | <uint32_t>0x80000000


cdef inline int idtable_init(IdTable* t, uint64_t buckets) noexcept nogil:
    """Make a table of a power of two of buckets. 0, or -1 without memory."""
    t.buckets = <Bucket*>pye_alloc(buckets * sizeof(Bucket))
    t.spill = <uint8_t*>pye_alloc(buckets)
    t.mask = buckets - 1
    t.used = 0
    t.limit = buckets * 5
    if t.buckets == NULL or t.spill == NULL:
        idtable_free(t)
        return -1
    return 0


cdef inline void idtable_free(IdTable* t) noexcept nogil:
    pye_free(t.buckets, (t.mask + 1) * sizeof(Bucket))
    pye_free(t.spill, t.mask + 1)
    t.buckets = NULL
    t.spill = NULL


cdef inline uint32_t idtable_at(const IdTable* t, uint64_t entry) noexcept nogil:
    """Index kept in an entry; entries are numbered bucket * 8 + place."""
    return t.buckets[entry >> 3].index[entry & 7]


cdef inline void idtable_put(IdTable* t, uint32_t tag, uint32_t index) noexcept nogil:
    """Add an entry. The id must be absent and `used` below `limit`. O(1) expected."""
    cdef uint64_t b = tag & t.mask
    cdef uint32_t empty = pye_match8(t.buckets[b].tag, 0), place
    while pye_unlikely(empty == 0):
        if t.spill[b] != 255:
            t.spill[b] += 1
        b = (b + 1) & t.mask
        empty = pye_match8(t.buckets[b].tag, 0)
    place = pye_lowest_bit(empty)
    t.buckets[b].tag[place] = tag
    t.buckets[b].index[place] = index
    t.used += 1


cdef inline void idtable_delete(IdTable* t, uint64_t entry) noexcept nogil:
    """Empty an entry. O(1) expected."""
    cdef uint64_t b = t.buckets[entry >> 3].tag[entry & 7] & t.mask
    t.buckets[entry >> 3].tag[entry & 7] = 0
    t.used -= 1
    while pye_unlikely(b != entry >> 3):
        if t.spill[b] != 255:
            t.spill[b] -= 1
        b = (b + 1) & t.mask


cdef inline int idtable_grow(IdTable* t) noexcept nogil:
    """Double the table. O(used). 0, or -1 without memory and unchanged."""
    cdef IdTable bigger
    cdef uint64_t b
    cdef int place
    if idtable_init(&bigger, (t.mask + 1) * 2) != 0:
        return -1
    for b in range(t.mask + 1):
        for place in range(8):
            if t.buckets[b].tag[place] != 0:
                idtable_put(&bigger, t.buckets[b].tag[place], t.buckets[b].index[place])
    idtable_free(t)
    t[0] = bigger
    return 0
