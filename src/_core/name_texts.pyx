"""The names behind the numbers of records, spelt beforehand for the encoders.

Each `Names` has one table of them, which grows as encoders meet new numbers. Tables grow under the GIL while kernels read them
without it: what is spelt never changes, and a table that has no more room is kept until the last reader must be gone.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from pyengine._core.decimals cimport grid_from


cdef int spell(NameText* text, str name, list parts) except -1:
    """Spell a name, and add the memory that this points into to `parts`."""
    cdef bytes raw = name.encode()
    cdef bytes json = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')    # printable: there are no control characters
    text.raw = PyBytes_AS_STRING(raw)
    text.raw_bytes = <uint16_t>PyBytes_GET_SIZE(raw)
    text.json = PyBytes_AS_STRING(json)
    text.json_bytes = <uint16_t>PyBytes_GET_SIZE(json)
    parts += (raw, json)
    return 0


cdef class NameTexts:
    """
    Symbols, grids and users' names of one `Names`, by number. Only encoders use it.

    Notes
    -----
    Thread-safety: methods need the GIL and may lose it while they spell, so each looks at the count again before it adds.
    """

    def __cinit__(self):
        self.kept = []

    def __dealloc__(self):
        cdef int i
        for i in range(self.outgrown_count):
            free(self.outgrown[i])
        free(self.instruments)
        free(self.users)

    cdef bint spell_instrument(self, Names names, uint32_t number) except -1:
        """Spell all instruments up to a number; False if the names don't know it. O(new instruments)."""
        cdef uint32_t next_number
        if number >= <size_t>len(names.instruments):
            return False
        while self.instrument_count <= number:
            next_number = self.instrument_count
            self.add_instrument(names.instruments[next_number], next_number)
        return True

    cdef bint spell_user(self, Names names, uint32_t number) except -1:
        """Spell all users up to a number; False if the names don't know it. O(new users)."""
        cdef uint32_t next_number
        if number >= <size_t>len(names.users) and number != 0:
            return False
        while self.user_count <= number:
            next_number = self.user_count
            self.add_user("" if next_number == 0 else names.users[next_number], next_number)
        return True

    cdef int add_instrument(self, object instrument, uint32_t number) except -1:
        cdef InstrumentText text
        cdef list parts = []
        spell(&text.symbol, instrument.symbol, parts)
        parts.append(grid_from(&text.price, instrument.tick_size))
        parts.append(grid_from(&text.qty, instrument.lot_size))
        if number != self.instrument_count:    # another thread was faster
            return 0
        if number == self.instrument_room:
            self.instruments = <InstrumentText*>self.grown(
                self.instruments, sizeof(InstrumentText), number, &self.instrument_room)
        self.kept += parts
        self.instruments[number] = text
        self.instrument_count += 1
        return 0

    cdef int add_user(self, object name, uint32_t number) except -1:
        cdef NameText text
        cdef list parts = []
        spell(&text, name, parts)
        if number != self.user_count:
            return 0
        if number == self.user_room:
            self.users = <NameText*>self.grown(self.users, sizeof(NameText), number, &self.user_room)
        self.kept += parts
        self.users[number] = text
        self.user_count += 1
        return 0

    cdef void* grown(self, void* table, size_t row_bytes, uint32_t count, uint32_t* room) except NULL:
        """Copy a full table to one with twice the room; the old one stays where it is."""
        cdef size_t rows = max(<size_t>16, <size_t>room[0] * 2)
        cdef void* larger = calloc(rows, row_bytes)
        if larger == NULL:
            raise MemoryError(f"no memory for a table of {rows} names")
        if table != NULL:
            memcpy(larger, table, count * row_bytes)
            self.outgrown[self.outgrown_count] = table
            self.outgrown_count += 1
        room[0] = <uint32_t>min(rows, <size_t>0xFFFFFFFF)
        return larger


cdef NameTexts texts_of(Names names):
    """Return the table of a `Names`, made at the first call. O(1)."""
    if names.texts is None:
        names.texts = NameTexts()
    return <NameTexts>names.texts
