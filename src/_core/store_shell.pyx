"""What the shells of the stores share: rows out of arrays, codes into errors, names into numbers."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from pyengine._core.order_state cimport STORE_CLOSED, STORE_NO_MEMORY
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed, StoreError
import numpy as np


cdef object rows_of(str field, object array, object dtype):
    """Return an array of records whose rows lie one after the other, where processors like them: itself if so, else a copy."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise FieldTypeError(field, array, f"an array of records with the fields {', '.join(dtype.names)}")
    if array.ndim != 1:
        raise FieldError(field, f"of {array.ndim} dimensions", "of one dimension")
    array = np.ascontiguousarray(array)
    return array if is_aligned(array) else array.copy()


cdef bint is_aligned(object array) except -1:
    """Whether its rows begin where numbers of eight bytes may. NumPy can't tell: it knows no alignment of packed records."""
    cdef Py_buffer buffer
    cdef bint found
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    found = <size_t>buffer.buf % sizeof(uint64_t) == 0
    PyBuffer_Release(&buffer)
    return found


cdef int store_raise(int code) except -1:
    """Raise the error of a status code that is no answer."""
    if code == STORE_CLOSED:
        raise StoreClosed("the store must be open, was closed")
    if code == STORE_NO_MEMORY:
        raise MemoryError("the store could not get the memory for this call, which changed nothing")
    raise StoreError(f"status code must be known, was {code}")


cdef uint32_t user_in(Names names, object user, bint lent) except? 0:
    """Number a user in the names of a store; names that an engine lends are never added to."""
    cdef int64_t number = names.user_number(user, not lent)
    if number < 0:
        raise FieldError("user", user, "known to the engine that the store belongs to")
    return <uint32_t>number


cdef uint32_t instrument_in(Names names, object instrument, bint lent) except? 0:
    """Number an instrument in the names of a store; names that an engine lends are never added to."""
    cdef int64_t number = names.instrument_number(instrument, not lent)
    if number < 0:
        raise FieldError("instrument", instrument, "known to the engine that the store belongs to")
    return <uint32_t>number


cdef str trade_expectation(str field):
    """Say what a field would have had to be, for `trade_record_fault`."""
    return {
        "kind": "3 (TRADE)",
        "side": "1 (BUY) or 2 (SELL)",
        "trade_id": "at least 1",
        "qty_lots": "at least 1",
    }[field]
