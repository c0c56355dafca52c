"""The names behind the numbers of records, spelt beforehand for the encoders."""

from libc.stdint cimport uint16_t, uint32_t
from pyengine._core.decimals cimport Grid
from pyengine._core.names cimport Names


ctypedef struct NameText:
    const char* json               # between the quotes of a JSON string; UTF-8, like raw; both borrowed from NameTexts.kept
    const char* raw
    uint16_t json_bytes            # names have at most 255 characters
    uint16_t raw_bytes

ctypedef struct InstrumentText:
    NameText symbol
    Grid price
    Grid qty


cdef class NameTexts:
    cdef InstrumentText* instruments   # owned; by number
    cdef NameText* users               # owned; by number; number 0 is the empty text
    cdef uint32_t instrument_count     # spelt so far; what is below never changes
    cdef uint32_t user_count
    cdef uint32_t instrument_room
    cdef uint32_t user_room
    cdef list kept                     # bytes that the texts and grids point into
    cdef void* outgrown[64]            # owned: tables that had no more room, which kernels may still be reading
    cdef int outgrown_count

    cdef bint spell_instrument(self, Names names, uint32_t number) except -1
    cdef bint spell_user(self, Names names, uint32_t number) except -1
    cdef int add_instrument(self, object instrument, uint32_t number) except -1
    cdef int add_user(self, object name, uint32_t number) except -1
    cdef void* grown(self, void* table, size_t row_bytes, uint32_t count, uint32_t* room) except NULL


cdef NameTexts texts_of(Names names)
