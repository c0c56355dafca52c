"""Commands from Python as memory that the kernels may read without the GIL: an array of records, or thirteen columns."""

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t, uintptr_t
from pyengine._core.batch cimport FIELDS
from pyengine._core.records cimport Command

import numpy as np

from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import COMMAND_COLUMNS, COMMAND_DTYPE

cdef tuple field_names = COMMAND_COLUMNS
cdef tuple field_types = tuple([COMMAND_DTYPE[name] for name in COMMAND_COLUMNS])


cdef class CommandTable:
    """Holds the buffers of an array of COMMAND_DTYPE, or of one array for each of its fields, while they are read."""

    def __init__(self, commands):
        columns = getattr(commands, "columns", None)
        if isinstance(commands, np.ndarray):
            self.hold_records(commands)
        elif isinstance(columns, tuple):
            self.hold_columns(columns)
        else:
            raise FieldTypeError("commands", commands, "an array of COMMAND_DTYPE or Commands made of columns")

    def __dealloc__(self):
        cdef int i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])

    cdef int hold_records(self, object commands) except -1:
        cdef Py_buffer* view
        if commands.dtype != COMMAND_DTYPE:
            raise FieldTypeError("commands", commands.dtype, "an array of COMMAND_DTYPE")
        if commands.ndim != 1:
            raise FieldError("commands", commands.shape, "one-dimensional")
        PyObject_GetBuffer(commands, &self.views[0], PyBUF_STRIDED_RO)
        self.held = 1
        view = &self.views[0]
        self.table.rows = commands.shape[0]
        if view.strides[0] == sizeof(Command) and <uintptr_t>view.buf % 8 == 0:
            self.table.packed = <const Command*>view.buf
            return 0
        self.table.column[0] = <const char*>view.buf
        self.table.stride[0] = view.strides[0]
        self.table.whole = True
        return 0

    cdef int hold_columns(self, tuple columns) except -1:
        cdef int f
        if len(columns) != FIELDS:
            raise FieldError("columns", len(columns), f"{FIELDS} arrays")
        for f in range(FIELDS):
            column = columns[f]
            if not isinstance(column, np.ndarray) or column.dtype != field_types[f]:
                raise FieldTypeError(field_names[f], getattr(column, "dtype", column), f"an array of {field_types[f]}")
            if column.ndim != 1 or column.shape[0] != columns[0].shape[0]:
                raise FieldError(field_names[f], column.shape, f"of shape {columns[0].shape}")
            PyObject_GetBuffer(column, &self.views[f], PyBUF_STRIDED_RO)
            self.held = f + 1
            self.table.column[f] = <const char*>self.views[f].buf
            self.table.stride[f] = self.views[f].strides[0]
        self.table.rows = columns[0].shape[0]
        return 0

    cdef object hold_client_ids(self, object client_ids, uint64_t limit):
        """Give each row a client order id; return the array of bool that will say which commands were run before."""
        cdef const uint64_t[::1] ids
        cdef uint8_t[::1] repeated
        if not isinstance(client_ids, np.ndarray) or client_ids.dtype != np.uint64:
            raise FieldTypeError("client_ids", getattr(client_ids, "dtype", client_ids), "an array of uint64")
        if client_ids.ndim != 1 or <uint64_t>client_ids.shape[0] != self.table.rows:
            raise FieldError("client_ids", client_ids.shape, f"of shape ({self.table.rows},)")
        if limit == 0:
            raise FieldError("client_ids", client_ids, "None, as the engine was made with client_ids=0")
        self.client_ids = np.require(client_ids, np.uint64, ["C", "A"])
        self.repeated = np.zeros(self.table.rows, np.bool_)
        if self.table.rows != 0:
            ids = self.client_ids
            repeated = self.repeated.view(np.uint8)
            self.table.client_ids = &ids[0]
            self.table.repeated = &repeated[0]
        return self.repeated
