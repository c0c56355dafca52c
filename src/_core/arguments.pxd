"""Integers from Python, checked against their field before they become C values."""

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef int64_t signed_field(str field, object value, int64_t lowest=*, int64_t highest=*) except? -1
cdef uint64_t unsigned_field(str field, object value, uint64_t highest=*) except? 1
cdef uint8_t code_field(str field, object value, object enum, int lowest, int highest) except? 255
