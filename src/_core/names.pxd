"""Names of users and instruments and the numbers that stand for them in records."""

from libc.stdint cimport int64_t, uint32_t


cdef class Names:
    cdef readonly list instruments  # Instrument by number
    cdef readonly list users        # str by number; number 0 is nobody, and None
    cdef dict instrument_indexes    # number by symbol
    cdef dict user_indexes          # number by name
    cdef object last_instrument     # the one asked for last, because most calls ask for it again
    cdef int64_t last_number
    cdef object texts               # NameTexts of the encoders, or None until one was asked

    cdef object instrument_at(self, uint32_t index)
    cdef object user_at(self, uint32_t index)
    cdef int64_t user_number(self, object user, bint add) except? -2
    cdef int64_t instrument_number(self, object instrument, bint add) except? -2
