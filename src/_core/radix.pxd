"""A stable sort of 64-bit keys in time proportional to their number."""

from libc.stdint cimport uint32_t, uint64_t


ctypedef struct SortItem:
    uint64_t key
    uint32_t row                   # what the caller wants to find in the place of the key


cdef void radix_sort(SortItem* items, SortItem* scratch, size_t n) noexcept nogil
