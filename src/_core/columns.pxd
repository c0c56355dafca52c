"""Commands from Python as memory that the kernels may read without the GIL."""

from pyengine._core.batch cimport FIELDS, Table


cdef class CommandTable:
    cdef Table table               # points into the buffers below
    cdef Py_buffer views[FIELDS]
    cdef int held                  # buffers to release

    cdef int hold_records(self, object commands) except -1
    cdef int hold_columns(self, tuple columns) except -1
