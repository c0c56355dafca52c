"""Running arrays of commands without the GIL, and the arrays that come back."""

from libc.stdint cimport uint8_t, uint64_t
from pyengine._core.records cimport Command, Event
from pyengine._core.state cimport State

cdef enum:
    FIELDS = 13                    # COMMAND_COLUMNS, in their order
    BLOCK = 512                    # rows gathered from columns at a time


ctypedef struct Table:             # commands as an array of records, or as columns
    uint64_t rows
    const Command* packed          # borrowed; NULL: use the columns
    bint whole                     # column[0] are whole records, stride[0] apart
    const char* column[FIELDS]     # borrowed
    Py_ssize_t stride[FIELDS]      # bytes; 0 is a constant
    const uint64_t* client_ids     # borrowed; one a row, 0 is none; NULL if no row has one
    uint8_t* repeated              # borrowed; set for rows that were run before


cdef class EventBuffer:
    cdef Event* events             # owned; goes back to a pool of warm memory
    cdef uint64_t capacity
    cdef readonly uint64_t count


cdef EventBuffer buffer_of(Event* events, uint64_t capacity, uint64_t count)
cdef Event* take_warm(uint64_t least, uint64_t* capacity) noexcept
cdef void give_warm(Event* events, uint64_t capacity) noexcept
cdef uint64_t run_table(State* s, const Table* t, uint8_t* status, uint64_t rows_done) noexcept nogil
cdef void begin_linear(State* s, Event* events, uint64_t capacity) noexcept nogil
cdef void end_linear(State* s) noexcept nogil
cdef uint64_t count_trades(const Event* events, uint64_t count) noexcept nogil
cdef void copy_trades(const Event* events, uint64_t count, Event* into) noexcept nogil
