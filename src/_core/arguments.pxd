"""Integers from Python, checked against their field before they become C values."""

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int64_t, uint8_t, uint64_t


cdef extern from "pyengine_int.h":
    bint pye_plain_int(object value, int64_t* number) noexcept    # a small enough int, which is nearly every one


cdef int64_t signed_slowly(str field, object value, int64_t lowest, int64_t highest) except? -1
cdef uint64_t unsigned_slowly(str field, object value, uint64_t highest) except? 1
cdef uint8_t code_field(str field, object value, object enum, int lowest, int highest) except? 255


cdef inline int64_t signed_field(str field, object value, int64_t lowest=INT64_MIN, int64_t highest=INT64_MAX) except? -1:
    """Convert an integer from `lowest` to `highest`."""
    cdef int64_t number
    if pye_plain_int(value, &number) and lowest <= number <= highest:
        return number
    return signed_slowly(field, value, lowest, highest)


cdef inline uint64_t unsigned_field(str field, object value, uint64_t highest=UINT64_MAX) except? 1:
    """Convert an integer from 0 to `highest`."""
    cdef int64_t number
    if pye_plain_int(value, &number) and number >= 0 and <uint64_t>number <= highest:
        return <uint64_t>number
    return unsigned_slowly(field, value, highest)
