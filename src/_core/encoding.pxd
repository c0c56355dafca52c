"""Arrays of records as bytes: the loop around the kernels that write one kind of row each."""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy
from pyengine._core.decimals cimport SLACK, Clock
from pyengine._core.name_texts cimport InstrumentText, NameText

cdef enum Outcome:                 # why a kernel came back; `at` is the row that it didn't write
    ENCODED
    NO_ROOM
    NEW_INSTRUMENT                 # its number isn't spelt yet, or unknown
    NEW_USER
    FAULTY                         # `fault` names the field


ctypedef struct Encoding:
    const char* rows               # borrowed from the caller's array, one after the other
    size_t count
    size_t at                      # next row
    char* out                      # next place; borrowed from the bytes being written
    char* end                      # of the room
    char* start
    size_t* ends                   # owned by the caller: where each row ends, from `start`; NULL when nobody asks
    const InstrumentText* instruments
    const NameText* users
    uint32_t instrument_count
    uint32_t user_count
    const char* fault
    uint32_t number                # of the instrument or user that isn't spelt yet
    Clock clock

ctypedef int (*Kernel)(Encoding* e) noexcept nogil


cdef inline char* put_bytes(char* out, const char* text, uint16_t n) noexcept nogil:
    memcpy(out, text, n)
    return out + n


cdef inline bint lacks_room(const Encoding* e, size_t most) noexcept nogil:
    """Whether a row of at most so many bytes doesn't fit."""
    return <size_t>(e.end - e.out) < most + SLACK


cdef inline void row_done(Encoding* e, char* out) noexcept nogil:
    e.out = out
    if e.ends != NULL:
        e.ends[e.at] = <size_t>(out - e.start)
    e.at += 1


cdef bytes encode(str field, object rows, object names, Kernel kernel, size_t row_bytes, bytes head, bytes tail, size_t* ends)
cdef list encode_each(str field, object rows, object names, Kernel kernel, size_t row_bytes)
