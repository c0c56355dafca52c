"""A stable sort of 64-bit keys in time proportional to their number.

Least significant byte first, one counting pass a byte. Bytes in which all keys agree are skipped, so ids and prices, which
differ in their low bytes, take two or three passes, and keys that are in order already take none.
"""

from libc.string cimport memcpy, memset
from pyengine._core.port cimport pye_likely

cdef enum:
    FEW = 24                       # below this, insertion beats counting
    BYTES = 8


cdef inline void insertion_sort(SortItem* items, size_t n) noexcept nogil:
    cdef size_t i, j
    cdef SortItem item
    for i in range(1, n):
        item = items[i]
        j = i
        while j > 0 and items[j - 1].key > item.key:
            items[j] = items[j - 1]
            j -= 1
        items[j] = item


cdef inline bint in_order(const SortItem* items, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(1, n):
        if items[i - 1].key > items[i].key:
            return False
    return True


cdef inline void scatter(const SortItem* source, SortItem* target, size_t n, size_t* starts, int shift) noexcept nogil:
    """Copy to `target` by one byte of the key; `starts` holds counts and becomes the running positions."""
    cdef size_t i, position = 0, count
    cdef int digit
    for digit in range(256):
        count = starts[digit]
        starts[digit] = position
        position += count
    for i in range(n):
        digit = <int>(source[i].key >> shift & 0xFF)
        target[starts[digit]] = source[i]
        starts[digit] += 1


cdef void radix_sort(SortItem* items, SortItem* scratch, size_t n) noexcept nogil:
    """Sort `items` by key, equal keys in their old order. O(n); `scratch` has room for n and is overwritten."""
    cdef size_t[BYTES][256] counts
    cdef SortItem* source = items
    cdef SortItem* target = scratch
    cdef SortItem* swap
    cdef size_t i
    cdef int byte
    cdef uint64_t key
    if pye_likely(in_order(items, n)):
        return
    if n < FEW:
        insertion_sort(items, n)
        return
    memset(counts, 0, sizeof(counts))
    for i in range(n):
        key = items[i].key
        for byte in range(BYTES):
            counts[byte][key >> byte * 8 & 0xFF] += 1
    for byte in range(BYTES):
        if counts[byte][items[0].key >> byte * 8 & 0xFF] == n:
            continue
        scatter(source, target, n, counts[byte], byte * 8)
        swap = source
        source = target
        target = swap
    if source != items:
        memcpy(items, source, n * sizeof(SortItem))
