"""Integers, decimals and times as text and as PostgreSQL's numeric; no float in between.

Writers put text at `out` and return the place after it. They store eight bytes at a time, so the caller keeps `SLACK` bytes
of room behind the most that a number takes.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from pyengine._core.port cimport pye_lowest_bit

cdef enum:
    SLACK = 32
    UINT_BYTES = 20                # most that uint_text writes
    TIME_BYTES = 30                # most that time_text writes: 2025-01-15T10:30:45.123456789Z
    MAX_DIGITS = 620               # of a step of the grid, before the point and after it
    MAX_LIMBS = 72                 # of a step times a 64-bit integer


ctypedef struct Grid:              # a value is steps * mantissa / 10**scale
    uint64_t mantissa              # 0 when it takes more than 64 bits
    uint64_t aligned               # mantissa * 10**(-scale mod 4), for digits of base 10,000; 0 when it takes more than 64 bits
    uint64_t unit                  # 10**scale; 0 when scale > 19
    uint32_t lift                  # 10**(8 - scale); 0 when scale > 8
    uint32_t scale                 # decimals; at most MAX_DIGITS
    uint32_t limb_count
    uint32_t most_bytes            # that grid_text writes; grid_numeric needs less
    const uint32_t* limbs          # the mantissa in base 10**9, lowest first; borrowed from whoever made the grid

ctypedef struct Clock:             # the last second that was spelt: records follow each other in time
    int64_t second                 # since 1970; INT64_MIN at first
    char[24] text                  # 2025-01-15T10:30:45. and four bytes that don't count


cdef inline uint64_t digits8(uint32_t number) noexcept nogil:
    """Split a number below 10**8 into eight digits, the first in the lowest byte."""
    cdef uint64_t pairs = number // 10000 | <uint64_t>(number % 10000) << 32
    cdef uint64_t tens = (pairs * 10486 >> 20) & 0x0000007F0000007FULL
    pairs = tens | (pairs - tens * 100) << 16
    tens = (pairs * 103 >> 10) & 0x000F000F000F000FULL
    return tens | (pairs - tens * 10) << 8


cdef inline char* all_digits(char* out, uint32_t number) noexcept nogil:
    """Write a number below 10**8 with leading zeros, eight bytes."""
    cdef uint64_t text = digits8(number) | 0x3030303030303030ULL
    memcpy(out, &text, 8)
    return out + 8


cdef inline char* few_digits(char* out, uint32_t number) noexcept nogil:
    """Write a number below 10**8 without leading zeros."""
    cdef uint64_t text = digits8(number)
    cdef uint32_t zeros = pye_lowest_bit(text | <uint64_t>1 << 56) >> 3
    text = (text | 0x3030303030303030ULL) >> (zeros * 8)
    memcpy(out, &text, 8)
    return out + 8 - zeros


cdef inline char* uint_text(char* out, uint64_t number) noexcept nogil:
    """Write any number without leading zeros."""
    cdef uint64_t high
    if number < 100000000:
        return few_digits(out, <uint32_t>number)
    high = number // 100000000
    if high < 100000000:
        out = few_digits(out, <uint32_t>high)
    else:
        out = few_digits(out, <uint32_t>(high // 100000000))
        out = all_digits(out, <uint32_t>(high % 100000000))
    return all_digits(out, <uint32_t>(number % 100000000))


cdef inline char* int_text(char* out, int64_t number) noexcept nogil:
    if number >= 0:
        return uint_text(out, <uint64_t>number)
    out[0] = c'-'
    return uint_text(out + 1, <uint64_t>0 - <uint64_t>number)


cdef object grid_from(Grid* grid, object step)
cdef char* grid_text(char* out, const Grid* grid, int64_t steps, bint point) noexcept nogil
cdef char* grid_numeric(char* out, const Grid* grid, int64_t steps) noexcept nogil
cdef char* time_text(char* out, Clock* clock, int64_t ts_ns) noexcept nogil
