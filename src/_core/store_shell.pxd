"""What the shells of the stores share: rows out of arrays, codes into errors, names into numbers."""

from libc.stdint cimport uint32_t
from pyengine._core.names cimport Names


cdef object rows_of(str field, object array, object dtype)
cdef bint is_aligned(object array) except -1
cdef int store_raise(int code) except -1
cdef uint32_t user_in(Names names, object user, bint lent) except? 0
cdef uint32_t instrument_in(Names names, object instrument, bint lent) except? 0
cdef str trade_expectation(str field)
