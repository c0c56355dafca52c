"""Integers from Python, checked against their field before they become C values.

The functions take anything with `__index__` but bool, and raise FieldTypeError or FieldError, which name the field, the
value and what was expected. O(1); they need the GIL.
"""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t, uint8_t, uint64_t
from pyengine.errors import FieldError, FieldTypeError

cdef object whole_number(str field, object value):
    """Return the value as an int, or refuse it."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise FieldTypeError(field, value, "an int")
    try:
        return PyNumber_Index(value)
    except TypeError:
        raise FieldTypeError(field, value, "an int") from None


cdef int64_t signed_slowly(str field, object value, int64_t lowest, int64_t highest) except? -1:
    """Convert any integer from `lowest` to `highest`."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(whole_number(field, value), &overflow)
    if overflow != 0 or not lowest <= number <= highest:
        raise FieldError(field, value, f"an int from {lowest} to {highest}")
    return number


cdef uint64_t unsigned_slowly(str field, object value, uint64_t highest) except? 1:
    """Convert any integer from 0 to `highest`."""
    cdef int overflow = 0
    cdef object whole = whole_number(field, value)
    cdef int64_t number = PyLong_AsLongLongAndOverflow(whole, &overflow)
    if overflow == 0 and 0 <= number and <uint64_t>number <= highest:
        return <uint64_t>number
    if overflow > 0 and whole <= highest:
        return <uint64_t>whole
    raise FieldError(field, value, f"an int from 0 to {highest}")


cdef uint8_t code_field(str field, object value, object enum, int lowest, int highest) except? 255:
    """Convert a member, its number, or its name in any case."""
    if isinstance(value, str):
        member = enum.__members__.get(value.upper())
        if member is None:
            raise FieldError(field, value, f"one of {', '.join(name.lower() for name in enum.__members__)}")
        value = member
    return <uint8_t>signed_field(field, value, lowest, highest)
