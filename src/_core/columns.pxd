"""Commands from Python as memory that the kernels may read without the GIL."""

from libc.stdint cimport uint64_t
from pyengine._core.batch cimport FIELDS, Table


cdef class CommandTable:
    cdef Table table               # points into the buffers below
    cdef Py_buffer views[FIELDS]
    cdef int held                  # buffers to release
    cdef object client_ids         # array that the table points into, or None
    cdef object repeated           # as well

    cdef int hold_records(self, object commands) except -1
    cdef int hold_columns(self, tuple columns) except -1
    cdef object hold_client_ids(self, object client_ids, uint64_t limit)
