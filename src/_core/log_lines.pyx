"""Lines of the trade log read back into records, and marks by which a changed line is found.

Only the form that `json_lines` writes is read here, to the letter. Every other line is left to the reader in Python, which knows
all of JSON and says what is wrong.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset
from pyengine._core.decimals cimport Grid
from pyengine._core.name_texts cimport InstrumentText, NameTexts, texts_of
from pyengine._core.names cimport Names
from pyengine._core.port cimport pye_unsigned_mul_overflows
from pyengine._core.records cimport BUY, SELL, TRADE, Event
from pyengine.errors import FieldTypeError
from pyengine.records import TRADE_DTYPE
import numpy as np

cdef enum:
    SLOTS = 256                    # of the table of symbols
    SECOND_BYTES = 20              # 2025-01-15T10:30:45.
    FIRST_YEAR = 1678              # all of it fits nanoseconds since 1970, as all of LAST_YEAR does
    LAST_YEAR = 2261

cdef enum Outcome:
    ALL_READ
    NEW_SYMBOL                     # of the line at `row`, at `symbol`


ctypedef struct Reading:
    const char* at                 # the next line; borrowed from the caller's text
    const char* end
    size_t row
    size_t count
    Event* rows                    # borrowed from the array to be returned; kind 0 for a line that isn't of the form
    int64_t* ends                  # the same: where each line ends, after its line feed
    const char* start
    const InstrumentText* instruments
    int64_t[SLOTS] numbers         # of the instrument that was last seen there, or -1
    const char* symbol
    uint16_t symbol_bytes
    int64_t unknown_slot           # that of a symbol that nobody knows, until the next line
    int64_t second                 # since 1970, of `second_text`
    char[24] second_text


cdef inline const char* text_after(const char* at, const char* end, const char* text, size_t n) noexcept nogil:
    """Step over a literal; NULL if something else is there, or at is NULL."""
    if at == NULL or <size_t>(end - at) < n or memcmp(at, text, n) != 0:
        return NULL
    return at + n


cdef inline const char* whole(const char* at, const char* end, uint64_t* number) noexcept nogil:
    """Read a number without leading zeros; NULL if there is none or it needs more than 64 bits."""
    cdef const char* first = at
    cdef uint64_t value = 0
    cdef uint64_t digit
    if at == NULL:
        return NULL
    while at < end and c'0' <= at[0] <= c'9':
        digit = <uint64_t>(at[0] - c'0')
        if at - first >= 18 and value > (UINT64_MAX - digit) // 10:
            return NULL
        value = value * 10 + digit
        at += 1
    if at == first or (first[0] == c'0' and at - first > 1):
        return NULL
    number[0] = value
    return at


cdef inline const char* decimal(const char* at, const char* end, uint64_t* digits, int* scale, bint* negative) noexcept nogil:
    """Read a decimal number as all its digits and how many of them are behind the point, without zeros at the end."""
    cdef const char* first
    cdef uint64_t digit, value
    cdef int zeros = 0
    if at == NULL or at >= end:
        return NULL
    negative[0] = at[0] == c'-'
    if negative[0]:
        at += 1
    at = whole(at, end, &value)
    if at == NULL:
        return NULL
    scale[0] = 0
    if at < end and at[0] == c'.':
        at += 1
        first = at
        while at < end and c'0' <= at[0] <= c'9':
            if at[0] == c'0':
                zeros += 1
            else:
                while zeros > 0:
                    if value > UINT64_MAX // 10:
                        return NULL
                    value *= 10
                    zeros -= 1
                    scale[0] += 1
                digit = <uint64_t>(at[0] - c'0')
                if value > (UINT64_MAX - digit) // 10:
                    return NULL
                value = value * 10 + digit
                scale[0] += 1
            at += 1
        if at == first:
            return NULL
    digits[0] = value
    return at


cdef inline bint steps_of(const Grid* grid, uint64_t digits, int scale, bint negative, int64_t* steps) noexcept nogil:
    """Count the steps of a grid in a decimal number; False if that isn't exact, or for who knows larger numbers to decide."""
    cdef uint64_t value, lift = 1
    cdef int more
    if grid.mantissa == 0 or grid.unit == 0 or scale > <int>grid.scale:
        return False
    more = <int>grid.scale - scale
    while more > 0:
        lift *= 10                 # at most the unit, which fits
        more -= 1
    if pye_unsigned_mul_overflows(digits, lift, &value):
        return False
    if value % grid.mantissa != 0:
        return False
    value //= grid.mantissa
    if value > <uint64_t>INT64_MAX:
        return False
    steps[0] = -<int64_t>value if negative else <int64_t>value
    return True


cdef inline int two(const char* at) noexcept nogil:
    """Read two digits; a large negative number if they aren't."""
    if not (c'0' <= at[0] <= c'9' and c'0' <= at[1] <= c'9'):
        return -100000
    return (at[0] - c'0') * 10 + (at[1] - c'0')


cdef bint read_second(Reading* r, const char* at) noexcept nogil:
    """Read date and time of day, and keep them: lines follow each other in time."""
    cdef int year = two(at) * 100 + two(at + 2), month = two(at + 5), day = two(at + 8)
    cdef int hour = two(at + 11), minute = two(at + 14), second = two(at + 17), longest
    cdef int64_t era, of_era, of_year, days, y
    if at[4] != c'-' or at[7] != c'-' or at[10] != c'T' or at[13] != c':' or at[16] != c':' or at[19] != c'.':
        return False
    if not FIRST_YEAR <= year <= LAST_YEAR or not 1 <= month <= 12:
        return False
    longest = 28 + (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)) if month == 2 else 30 + ((month + (month > 7)) & 1)
    if not 1 <= day <= longest or not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second < 60:
        return False
    y = year - (month <= 2)        # a year that ends with February, so that a leap day is its last
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    r.second = ((days * 24 + hour) * 60 + minute) * 60 + second
    memcpy(r.second_text, at, SECOND_BYTES)
    return True


cdef inline const char* time_of(Reading* r, const char* at, const char* end, int64_t* ts_ns) noexcept nogil:
    """Read a time with 3, 6 or 9 decimals, in UTC."""
    cdef const char* first
    cdef int64_t fraction = 0
    if at == NULL or end - at < SECOND_BYTES + 4:
        return NULL
    if memcmp(at, r.second_text, SECOND_BYTES) != 0 and not read_second(r, at):
        return NULL
    at += SECOND_BYTES
    first = at
    while at < end and at - first < 9 and c'0' <= at[0] <= c'9':
        fraction = fraction * 10 + (at[0] - c'0')
        at += 1
    if at - first == 3:
        fraction *= 1000000
    elif at - first == 6:
        fraction *= 1000
    elif at - first != 9:
        return NULL
    ts_ns[0] = r.second * 1000000000 + fraction
    return text_after(at, end, b'Z', 1)


cdef inline uint32_t slot_of(const char* symbol, uint16_t n) noexcept nogil:
    cdef uint32_t mixed = n
    cdef uint16_t i
    for i in range(n):
        mixed = (mixed ^ <uint8_t>symbol[i]) * <uint32_t>16777619
    return (mixed ^ mixed >> 8 ^ mixed >> 16) % SLOTS


cdef inline const char* symbol_end(const char* at, const char* end) noexcept nogil:
    """Find the quote that ends a text; NULL if there is none, or something that has to be decoded differently."""
    while at < end:
        if at[0] == c'"':
            return at
        if at[0] == c'\\':
            at += 1
            if at >= end or (at[0] != c'"' and at[0] != c'\\'):
                return NULL
        elif <uint8_t>at[0] < 32:
            return NULL
        at += 1
    return NULL


cdef int read_line(Reading* r, const char* at, const char* end, Event* e) noexcept nogil:
    """Read one line into a zeroed record, whose kind stays 0 if it isn't of the form."""
    cdef uint64_t trade_id = 0, buyer = 0, seller = 0, price = 0, qty = 0, side = 0
    cdef int price_scale = 0, qty_scale = 0
    cdef bint price_negative = False, qty_negative = False
    cdef const char* symbol
    cdef const InstrumentText* instrument
    cdef size_t n
    cdef uint32_t slot
    at = whole(text_after(at, end, b'{"trade_id":', 12), end, &trade_id)
    at = whole(text_after(at, end, b',"buy_order_id":', 16), end, &buyer)
    at = whole(text_after(at, end, b',"sell_order_id":', 17), end, &seller)
    at = decimal(text_after(at, end, b',"price":', 9), end, &price, &price_scale, &price_negative)
    at = decimal(text_after(at, end, b',"quantity":', 12), end, &qty, &qty_scale, &qty_negative)
    at = time_of(r, text_after(at, end, b',"timestamp":"', 14), end, &e.ts_ns)
    symbol = text_after(at, end, b'","symbol":"', 12)
    if symbol == NULL:
        return ALL_READ
    at = symbol_end(symbol, end)
    if at == NULL:
        return ALL_READ
    n = <size_t>(at - symbol)
    if n == 0 or n > 2048:
        return ALL_READ
    at = whole(text_after(at, end, b'","side":', 9), end, &side)
    if at == NULL or end - at != 1 or at[0] != c'}':
        return ALL_READ
    if trade_id == 0 or trade_id > <uint64_t>INT64_MAX or side < BUY or side > SELL:
        return ALL_READ
    slot = slot_of(symbol, <uint16_t>n)
    if r.numbers[slot] < 0 or r.instruments[r.numbers[slot]].symbol.json_bytes != n or memcmp(
            r.instruments[r.numbers[slot]].symbol.json, symbol, n) != 0:
        if r.unknown_slot == <int64_t>slot:
            return ALL_READ
        r.symbol = symbol
        r.symbol_bytes = <uint16_t>n
        return NEW_SYMBOL
    instrument = &r.instruments[r.numbers[slot]]
    if (not steps_of(&instrument.price, price, price_scale, price_negative, &e.price_ticks)
            or not steps_of(&instrument.qty, qty, qty_scale, qty_negative, &e.qty_lots) or e.qty_lots < 1):
        return ALL_READ
    e.value = <int64_t>trade_id
    e.order_id = buyer if side == BUY else seller
    e.detail = seller if side == BUY else buyer
    e.instrument = <uint32_t>r.numbers[slot]
    e.side = <uint8_t>side
    e.kind = TRADE
    return ALL_READ


cdef int read_lines(Reading* r) noexcept nogil:
    """Read line by line, until the end or a symbol that has to be looked up first."""
    cdef const char* feed
    cdef Event* e
    while r.row < r.count:
        feed = <const char*>memchr(r.at, c'\n', <size_t>(r.end - r.at))
        if feed == NULL:           # somebody writes into the buffer meanwhile
            r.count = r.row
            break
        e = &r.rows[r.row]
        memset(e, 0, sizeof(Event))
        if read_line(r, r.at, feed, e) == NEW_SYMBOL:
            return NEW_SYMBOL
        r.unknown_slot = -1
        r.at = feed + 1
        r.ends[r.row] = r.at - r.start
        r.row += 1
    return ALL_READ


cdef size_t count_feeds(const char* at, const char* end) noexcept nogil:
    cdef size_t lines = 0
    at = <const char*>memchr(at, c'\n', <size_t>(end - at))
    while at != NULL:
        lines += 1
        at = <const char*>memchr(at + 1, c'\n', <size_t>(end - at - 1))
    return lines


def trade_rows(text, names, number_of):
    """
    Read lines of the log, in the form of `trade_lines`, into records. O(bytes).

    The GIL is released meanwhile, but for symbols that weren't among the last ones.

    Parameters
    ----------
    text : bytes
        Whole lines, each with its line feed; what follows the last one isn't looked at.
    names : Names
        Whose numbers the instruments get.
    number_of : callable
        Given a symbol as it stands between the quotes of a JSON string, in bytes, returns the number of its instrument in
        `names`, or None for one that can't be used.

    Returns
    -------
    rows : array of TRADE_DTYPE
        One a line; of a line that `trade_lines` can't have written, or whose instrument can't be used, kind is 0. Their `seq` is
        0 and they don't say who was filled: lines don't either.
    ends : array of int64
        Where each line ends, after its line feed.

    Raises
    ------
    FieldTypeError
        If `names` aren't Names.
    """
    cdef Py_buffer buffer, room, end_room
    cdef Reading r
    cdef NameTexts texts
    cdef int outcome
    cdef uint32_t slot
    if not isinstance(names, Names):
        raise FieldTypeError("names", names, "Names")
    texts = texts_of(<Names>names)
    memset(&r, 0, sizeof(Reading))
    memset(r.numbers, 0xFF, sizeof(r.numbers))
    r.unknown_slot = -1
    PyObject_GetBuffer(text, &buffer, PyBUF_SIMPLE)
    try:
        r.start = r.at = <const char*>buffer.buf
        r.end = r.at + buffer.len
        with nogil:
            r.count = count_feeds(r.at, r.end)
        rows = np.empty(r.count, TRADE_DTYPE)
        ends = np.empty(r.count, np.int64)
        if r.count == 0:
            return rows, ends
        PyObject_GetBuffer(rows, &room, PyBUF_WRITABLE)
        PyObject_GetBuffer(ends, &end_room, PyBUF_WRITABLE)
        try:
            r.rows = <Event*>room.buf
            r.ends = <int64_t*>end_room.buf
            while True:
                r.instruments = texts.instruments
                with nogil:
                    outcome = read_lines(&r)
                if outcome == ALL_READ:
                    break
                slot = slot_of(r.symbol, r.symbol_bytes)
                number = number_of(PyBytes_FromStringAndSize(r.symbol, r.symbol_bytes))
                if number is None or not texts.spell_instrument(<Names>names, <uint32_t>number):
                    r.unknown_slot = <int64_t>slot
                    r.numbers[slot] = -1
                elif is_spelt_so(&texts.instruments[<uint32_t>number], &r):
                    r.numbers[slot] = <int64_t>number
                else:              # another spelling of the same symbol: decoded where all of JSON is known
                    r.unknown_slot = <int64_t>slot
                    r.numbers[slot] = -1
        finally:
            PyBuffer_Release(&room)
            PyBuffer_Release(&end_room)
        return rows[:r.count], ends[:r.count]
    finally:
        PyBuffer_Release(&buffer)


cdef bint is_spelt_so(const InstrumentText* instrument, const Reading* r) noexcept nogil:
    return instrument.symbol.json_bytes == r.symbol_bytes and memcmp(instrument.symbol.json, r.symbol, r.symbol_bytes) == 0


cdef inline uint32_t mark_of(const char* at, const char* end) noexcept nogil:
    """Mix the bytes of a line, which may be of any length, in two lanes of eight; one that a byte changes ends differently."""
    cdef uint64_t one = <uint64_t>(end - at) * <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t other = 0
    cdef uint64_t[2] words
    while end - at >= 16:
        memcpy(words, at, 16)
        one = (one ^ words[0]) * <uint64_t>0xFF51AFD7ED558CCD
        other = (other ^ words[1]) * <uint64_t>0xC4CEB9FE1A85EC53
        one ^= one >> 32
        other ^= other >> 32
        at += 16
    memset(words, 0, 16)
    memcpy(words, at, <size_t>(end - at))
    one = (one ^ words[0]) * <uint64_t>0xFF51AFD7ED558CCD
    other = (other ^ words[1]) * <uint64_t>0xC4CEB9FE1A85EC53
    one = (one ^ one >> 29) * <uint64_t>0x9E3779B97F4A7C15 + (other ^ other >> 31)
    one = (one ^ one >> 32) * <uint64_t>0xFF51AFD7ED558CCD
    return <uint32_t>(one >> 32)


def line_marks(text):
    """
    Return a mark of 32 bits for each line: another one, but for one case in four thousand million, when the line changes.

    They only serve to find a line that was changed by accident or by somebody who doesn't hide which; what can't be forged is the
    SHA-256 over all of them. O(bytes).

    Parameters
    ----------
    text : bytes
        Whole lines, each with its line feed; what follows the last one isn't looked at.

    Returns
    -------
    marks : array of uint32
    lowest, highest : int
        Of the trade ids that the lines begin with, in the form of `trade_lines`; 0 if none does.
    """
    cdef Py_buffer buffer, room
    cdef const char* at
    cdef const char* end
    cdef const char* feed
    cdef size_t lines, i
    cdef int64_t lowest = 0, highest = 0, trade_id
    PyObject_GetBuffer(text, &buffer, PyBUF_SIMPLE)
    try:
        at = <const char*>buffer.buf
        end = at + buffer.len
        with nogil:
            lines = count_feeds(at, end)
        marks = np.zeros(lines, np.dtype("<u4"))
        if lines == 0:
            return marks, 0, 0
        PyObject_GetBuffer(marks, &room, PyBUF_WRITABLE)
        with nogil:
            for i in range(lines):
                feed = <const char*>memchr(at, c'\n', <size_t>(end - at))
                if feed == NULL:   # somebody writes into the buffer meanwhile
                    break
                (<uint32_t*>room.buf)[i] = mark_of(at, feed)
                trade_id = id_of(at, feed)
                if trade_id != 0 and (lowest == 0 or trade_id < lowest):
                    lowest = trade_id
                if trade_id > highest:
                    highest = trade_id
                at = feed + 1
        PyBuffer_Release(&room)
        return marks, lowest, highest
    finally:
        PyBuffer_Release(&buffer)


cdef inline int64_t id_of(const char* at, const char* end) noexcept nogil:
    """Read the trade id that a line begins with; 0 if it isn't one."""
    cdef uint64_t number = 0
    at = whole(text_after(at, end, b'{"trade_id":', 12), end, &number)
    return <int64_t>number if at != NULL and at < end and at[0] == c',' and number <= <uint64_t>INT64_MAX else 0
