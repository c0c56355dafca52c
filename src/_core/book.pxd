"""One instrument's book as Python sees it."""

from libc.stdint cimport uint32_t, uint64_t
from pyengine._core.engine cimport EngineCore
from pyengine._core.records cimport Command
from pyengine._core.result cimport Result


cdef class Book:
    cdef readonly EngineCore engine
    cdef readonly object instrument
    cdef readonly uint32_t index

    cdef Result place(self, Command* c, object side, object qty_lots, object order_id, object user, object tif, object flags,
                      object ts_ns, object stp, object client_order_id)
    cdef object touch(self, int side)
    cdef object side_depth(self, int side, uint64_t limit)
