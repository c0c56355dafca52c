"""Integers, decimals and times as text and as PostgreSQL's numeric; no float in between.

Nearly every grid has steps of at most 64 bits and values that fit into 64 bits too; what doesn't takes a slower way through
digits of base 10**9 that has no limit below MAX_DIGITS.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int16_t, uint16_t
from libc.string cimport memcpy, memset
from pyengine._core.port cimport pye_highest_bit, pye_mul_limb, pye_put16, pye_put32, pye_unsigned_mul_overflows
from pyengine.errors import FieldError

cdef enum:
    TEXT_BYTES = MAX_LIMBS * 9 + 16
    MOST_GROUPS = TEXT_BYTES // 4
    NUMERIC_NEGATIVE = 0x4000


cdef object grid_from(Grid* grid, object step):
    """
    Prepare a grid for its step, a positive Decimal. O(digits).

    Returns
    -------
    bytes
        The memory that `grid.limbs` points into; the caller keeps it as long as the grid.

    Raises
    ------
    FieldError
        If the step has more than MAX_DIGITS digits or decimals.
    """
    _, digits, exponent = step.as_tuple()
    if len(digits) > MAX_DIGITS or not -MAX_DIGITS <= exponent <= MAX_DIGITS - len(digits):
        raise FieldError("step", step, f"a number of at most {MAX_DIGITS} digits and decimals")
    mantissa = int("".join(map(str, digits)))
    while mantissa % 10 == 0 and exponent < 0:
        mantissa //= 10
        exponent += 1
    if exponent > 0:
        mantissa *= 10**exponent
        exponent = 0
    scale = -exponent
    aligned = mantissa * 10 ** (-scale % 4)
    limbs = []
    rest = mantissa
    while rest:
        rest, limb = divmod(rest, 10**9)
        limbs.append(limb.to_bytes(4, "little"))
    memory = b"".join(limbs)
    grid.mantissa = mantissa if mantissa < 2**64 else 0
    grid.aligned = aligned if aligned < 2**64 else 0
    grid.unit = 10**scale if scale <= 19 else 0
    grid.lift = 10 ** (8 - scale) if scale <= 8 else 0
    grid.scale = scale
    grid.limb_count = len(limbs)
    grid.most_bytes = len(limbs) * 9 + UINT_BYTES + scale + 16
    grid.limbs = <const uint32_t*>PyBytes_AS_STRING(memory)
    return memory


cdef inline char* fraction_text(char* out, uint64_t fraction, const Grid* grid) noexcept nogil:
    """Write the digits after the point, without zeros at the end; the fraction isn't 0."""
    cdef uint64_t text
    cdef char[48] padded
    if grid.lift != 0:
        text = digits8(<uint32_t>fraction * grid.lift)
        out[0] = c'.'
        fraction = text | 0x3030303030303030ULL
        memcpy(out + 1, &fraction, 8)
        return out + 2 + (pye_highest_bit(text) >> 3)
    all_digits(padded, <uint32_t>(fraction // 10000000000000000ULL))
    all_digits(padded + 8, <uint32_t>(fraction // 100000000 % 100000000))
    all_digits(padded + 16, <uint32_t>(fraction % 100000000))
    out[0] = c'.'
    memcpy(out + 1, padded + 24 - grid.scale, 24)
    out += grid.scale
    while out[0] == c'0':
        out -= 1
    return out + 1


cdef uint32_t long_digits(char* text, const Grid* grid, uint64_t steps) noexcept nogil:
    """Write all digits of steps * mantissa, without leading zeros, into TEXT_BYTES; returns how many."""
    cdef uint32_t[MAX_LIMBS] limbs
    cdef uint64_t carry = 0
    cdef uint32_t i, n = grid.limb_count
    cdef char* out = text
    for i in range(n):
        limbs[i] = pye_mul_limb(grid.limbs[i], steps, &carry)
    while carry != 0:
        limbs[n] = <uint32_t>(carry % 1000000000)
        carry //= 1000000000
        n += 1
    while n > 1 and limbs[n - 1] == 0:
        n -= 1
    out = uint_text(out, limbs[n - 1])
    for i in range(2, n + 1):
        out[0] = <char>(c'0' + limbs[n - i] // 100000000)
        out = all_digits(out + 1, limbs[n - i] % 100000000)
    return <uint32_t>(out - text)


cdef char* long_text(char* out, const Grid* grid, uint64_t steps, bint point) noexcept nogil:
    """Write a value of any size."""
    cdef char[TEXT_BYTES] text
    cdef uint32_t n = long_digits(text, grid, steps), zeros = 0, whole = 0
    if n > grid.scale:
        whole = n - grid.scale
        memcpy(out, text, whole)
        out += whole
    else:
        zeros = grid.scale - n
        out[0] = c'0'
        out += 1
    while n > whole and text[n - 1] == c'0':
        n -= 1
    if n == whole:
        if point:
            memcpy(out, b".0", 2)
            out += 2
        return out
    out[0] = c'.'
    memset(out + 1, c'0', zeros)
    out += 1 + zeros
    memcpy(out, text + whole, n - whole)
    return out + (n - whole)


cdef char* grid_text(char* out, const Grid* grid, int64_t steps, bint point) noexcept nogil:
    """Write a value as a decimal number, with zeros at the end only where `point` asks for one decimal at least."""
    cdef uint64_t size = <uint64_t>steps, value = 0, whole
    if steps < 0:
        size = <uint64_t>0 - size
        out[0] = c'-'
        out += 1
    if grid.mantissa == 0 or grid.unit == 0 or pye_unsigned_mul_overflows(size, grid.mantissa, &value):
        return long_text(out, grid, size, point)
    whole = value // grid.unit if grid.scale != 0 else value
    out = uint_text(out, whole)
    value -= whole * grid.unit
    if value != 0:
        return fraction_text(out, value, grid)
    if point:
        memcpy(out, b".0", 2)
        out += 2
    return out


cdef char* numeric(char* out, const uint16_t* groups, uint32_t n, int32_t weight, uint32_t scale, bint negative) noexcept nogil:
    """Write a numeric with its length before it; `groups` are digits of base 10,000, the highest first, which isn't 0."""
    cdef uint32_t i
    while n != 0 and groups[n - 1] == 0:
        n -= 1
    out = pye_put32(out, 8 + 2 * n)
    out = pye_put16(out, <uint16_t>n)
    out = pye_put16(out, <uint16_t><int16_t>(weight if n != 0 else 0))
    out = pye_put16(out, NUMERIC_NEGATIVE if negative else 0)
    out = pye_put16(out, <uint16_t>scale)
    for i in range(n):
        out = pye_put16(out, groups[i])
    return out


cdef char* long_numeric(char* out, const Grid* grid, uint64_t steps, bint negative) noexcept nogil:
    """Write a value of any size as a numeric."""
    cdef char[TEXT_BYTES] text
    cdef uint16_t[MOST_GROUPS] groups
    cdef uint32_t after = (grid.scale + 3) // 4, n, i, lead
    n = long_digits(text, grid, steps)
    memset(text + n, c'0', 4)
    n += after * 4 - grid.scale
    lead = (4 - n % 4) % 4             # zeros that the first group lacks
    memset(groups, 0, MOST_GROUPS * sizeof(uint16_t))
    for i in range(n):
        groups[(i + lead) // 4] = <uint16_t>(groups[(i + lead) // 4] * 10 + (text[i] - c'0'))
    n = (n + lead) // 4
    return numeric(out, groups, n, <int32_t>n - <int32_t>after - 1, grid.scale, negative)


cdef char* grid_numeric(char* out, const Grid* grid, int64_t steps) noexcept nogil:
    """Write a value in the binary form of PostgreSQL's numeric, with its length before it and the grid's decimals."""
    cdef uint64_t size = <uint64_t>steps, value = 0
    cdef uint16_t[5] groups
    cdef uint32_t first = 5
    if steps < 0:
        size = <uint64_t>0 - size
    if grid.aligned == 0 or pye_unsigned_mul_overflows(size, grid.aligned, &value):
        return long_numeric(out, grid, size, steps < 0)
    while value != 0:
        first -= 1
        groups[first] = <uint16_t>(value % 10000)
        value //= 10000
    return numeric(out, groups + first, 5 - first, 4 - <int32_t>first - <int32_t>((grid.scale + 3) // 4), grid.scale, steps < 0)


cdef void spell_second(Clock* clock, int64_t second) noexcept nogil:
    """Write date and time of day; the calendar is the Gregorian one, also before it came into use."""
    cdef int64_t day = second // 86400 - (second % 86400 < 0)    # C division rounds to zero
    cdef uint32_t left = <uint32_t>(second - day * 86400)
    cdef uint64_t since = <uint64_t>(day + 719468)               # days from 0000-03-01, so that a leap day ends its year
    cdef uint64_t era = since // 146097
    cdef uint64_t of_era = since - era * 146097
    cdef uint64_t year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    cdef uint64_t of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef uint64_t month = (5 * of_year + 2) // 153
    cdef uint64_t of_month = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year + era * 400 + (month <= 2)
    clock.second = second
    all_digits(clock.text, <uint32_t>(year * 10000))
    two_digits(clock.text + 4, c'-', <uint32_t>month)
    two_digits(clock.text + 7, c'-', <uint32_t>of_month)
    two_digits(clock.text + 10, c'T', left // 3600)
    two_digits(clock.text + 13, c':', left // 60 % 60)
    two_digits(clock.text + 16, c':', left % 60)
    clock.text[19] = c'.'


cdef inline void two_digits(char* out, char before, uint32_t number) noexcept nogil:
    out[0] = before
    out[1] = <char>(c'0' + number // 10)
    out[2] = <char>(c'0' + number % 10)


cdef char* time_text(char* out, Clock* clock, int64_t ts_ns) noexcept nogil:
    """Write nanoseconds since 1970 in the form of RFC 3339, in UTC, with as few of 3, 6 or 9 decimals as are exact."""
    cdef int64_t second = ts_ns // 1000000000, rest = ts_ns % 1000000000
    cdef uint32_t ns
    if rest < 0:                       # C division rounds to zero
        rest += 1000000000
        second -= 1
    ns = <uint32_t>rest
    if clock.second != second:
        spell_second(clock, second)
    memcpy(out, clock.text, 20)
    all_digits(out + 20, ns // 10)
    out[28] = <char>(c'0' + ns % 10)
    out += 29 if ns % 1000 != 0 else 26 if ns % 1000000 != 0 else 23
    out[0] = c'Z'
    return out + 1
