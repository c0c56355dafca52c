"""Records as JSON: lines of the trade log, values of the cache."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memchr, memcmp
from pyengine._core.decimals cimport TIME_BYTES, UINT_BYTES, Clock, grid_text, int_text, time_text, uint_text
from pyengine._core.encoding cimport (
    ENCODED, FAULTY, NEW_INSTRUMENT, NEW_USER, NO_ROOM, Encoding, encode, encode_each, lacks_room, put_bytes, row_done,
)
from pyengine._core.name_texts cimport InstrumentText, NameText
from pyengine._core.order cimport OrderRecord, order_record_fault
from pyengine._core.port cimport pye_put_text
from pyengine._core.records cimport MARKET, Event
from pyengine._core.store_shell cimport rows_of
from pyengine._core.trade cimport trade_buyer, trade_seller
from pyengine._core.trade_ring cimport trade_record_fault
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE
import numpy as np

cdef enum:
    TRADE_BYTES = 160 + 4 * UINT_BYTES + TIME_BYTES          # most of a row without price, quantity and symbol
    ORDER_BYTES = 360 + 5 * UINT_BYTES + 2 * TIME_BYTES      # the same, and without the user's name
    USUAL_TRADE_BYTES = 200        # guesses, so that large arrays seldom need more room
    USUAL_ORDER_BYTES = 420


cdef inline char* trade_text(char* out, const Event* e, const InstrumentText* instrument, Clock* clock) noexcept nogil:
    """Write a trade up to its side, without the closing brace."""
    out = uint_text(pye_put_text(out, b'{"trade_id":'), <uint64_t>e.value)
    out = uint_text(pye_put_text(out, b',"buy_order_id":'), trade_buyer(e))
    out = uint_text(pye_put_text(out, b',"sell_order_id":'), trade_seller(e))
    out = grid_text(pye_put_text(out, b',"price":'), &instrument.price, e.price_ticks, True)
    out = grid_text(pye_put_text(out, b',"quantity":'), &instrument.qty, e.qty_lots, False)
    out = time_text(pye_put_text(out, b',"timestamp":"'), clock, e.ts_ns)
    out = put_bytes(pye_put_text(out, b'","symbol":"'), instrument.symbol.json, instrument.symbol.json_bytes)
    return uint_text(pye_put_text(out, b'","side":'), e.side)


cdef inline int write_trades(Encoding* e, bint lines) noexcept nogil:
    """Write trades as lines of the log, or as values with the sequence number and no line end."""
    cdef Event trade
    cdef const InstrumentText* instrument
    cdef char* out
    while e.at < e.count:
        trade = (<const Event*>e.rows)[e.at]
        e.fault = trade_record_fault(&trade)
        if e.fault != NULL:
            return FAULTY
        e.number = trade.instrument
        if trade.instrument >= e.instrument_count:
            return NEW_INSTRUMENT
        instrument = &e.instruments[trade.instrument]
        if lacks_room(e, TRADE_BYTES + instrument.price.most_bytes + instrument.qty.most_bytes + instrument.symbol.json_bytes):
            return NO_ROOM
        out = trade_text(e.out, &trade, instrument, &e.clock)
        if lines:
            out = pye_put_text(out, b"}\n")
        else:
            out = pye_put_text(uint_text(pye_put_text(out, b',"seq":'), trade.seq), b"}")
        row_done(e, out)
    return ENCODED


cdef int write_trade_lines(Encoding* e) noexcept nogil:
    return write_trades(e, True)


cdef int write_trade_values(Encoding* e) noexcept nogil:
    return write_trades(e, False)


cdef inline char* order_text(
    char* out, const OrderRecord* r, const InstrumentText* instrument, const NameText* user, Clock* clock,
) noexcept nogil:
    out = uint_text(pye_put_text(out, b'{"order_id":'), r.order_id)
    out = put_bytes(pye_put_text(out, b',"user_id":"'), user.json, user.json_bytes)
    out = put_bytes(pye_put_text(out, b'","symbol":"'), instrument.symbol.json, instrument.symbol.json_bytes)
    out = uint_text(pye_put_text(out, b'","order_type":'), r.order_type)
    out = pye_put_text(uint_text(pye_put_text(out, b',"side":'), r.side), b',"price":')
    if r.order_type == MARKET:
        out = pye_put_text(out, b"null")
    else:
        out = grid_text(out, &instrument.price, r.price_ticks, True)
    out = grid_text(pye_put_text(out, b',"size":'), &instrument.qty, r.qty_lots, False)
    out = time_text(pye_put_text(out, b',"created_at":"'), clock, r.created_ns)
    out = time_text(pye_put_text(out, b'","updated_at":"'), clock, r.updated_ns)
    out = grid_text(pye_put_text(out, b'","remaining":'), &instrument.qty, r.remaining_lots, False)
    out = uint_text(pye_put_text(out, b',"status":'), r.status)
    out = uint_text(pye_put_text(out, b',"tif":'), r.tif)
    out = uint_text(pye_put_text(out, b',"client_order_id":'), r.client_id)
    out = uint_text(pye_put_text(out, b',"version":'), r.version)
    out = uint_text(pye_put_text(out, b',"entered":'), r.entered)
    out = uint_text(pye_put_text(out, b',"flags":'), r.flags)
    out = uint_text(pye_put_text(out, b',"stp":'), r.stp)
    return pye_put_text(int_text(pye_put_text(out, b',"aux":'), r.aux), b"}")


cdef int write_order_values(Encoding* e) noexcept nogil:
    cdef OrderRecord order
    cdef const InstrumentText* instrument
    cdef const NameText* user
    while e.at < e.count:
        order = (<const OrderRecord*>e.rows)[e.at]
        e.fault = order_record_fault(&order)
        if e.fault != NULL:
            return FAULTY
        e.number = order.instrument
        if order.instrument >= e.instrument_count:
            return NEW_INSTRUMENT
        e.number = order.user
        if order.user >= e.user_count:
            return NEW_USER
        instrument = &e.instruments[order.instrument]
        user = &e.users[order.user]
        if lacks_room(e, ORDER_BYTES + instrument.price.most_bytes + 2 * instrument.qty.most_bytes + instrument.symbol.json_bytes
                      + user.json_bytes):
            return NO_ROOM
        row_done(e, order_text(e.out, &order, instrument, user, &e.clock))
    return ENCODED


def trade_lines(trades, names):
    """
    Write trades as lines of JSON, each with a line feed at its end. O(n).

    Numbers are exact decimals without an exponent, times RFC 3339 in UTC. The GIL is released meanwhile.

    Parameters
    ----------
    trades : array of TRADE_DTYPE
    names : Names
        Whose numbers the instruments are.

    Returns
    -------
    bytes

    Raises
    ------
    FieldTypeError
        If it is no array of trades.
    FieldError
        If a row is no trade, or its instrument has no Instrument in `names`; names the row and the field.
    """
    return encode("trades", rows_of("trades", trades, TRADE_DTYPE), names, write_trade_lines, USUAL_TRADE_BYTES, b"", b"", NULL)


def trade_values(trades, names):
    """Write each trade as a JSON object of its own, with its `seq`; arguments and errors as of `trade_lines`. O(n)."""
    return encode_each("trades", rows_of("trades", trades, TRADE_DTYPE), names, write_trade_values, USUAL_TRADE_BYTES)


def order_values(orders, names):
    """
    Write each order as a JSON object; the price of a market order is null, and nobody's user_id is empty. O(n).

    Parameters
    ----------
    orders : array of ORDER_RECORD_DTYPE
    names : Names
        Whose numbers the instruments and users are.

    Returns
    -------
    list of bytes

    Raises
    ------
    FieldTypeError
        If it is no array of orders.
    FieldError
        If a row is no order, its instrument has no Instrument in `names`, or its user is neither 0 nor has a name.
    """
    return encode_each("orders", rows_of("orders", orders, ORDER_RECORD_DTYPE), names, write_order_values, USUAL_ORDER_BYTES)


cdef inline int64_t line_id(const char* line, const char* end) noexcept nogil:
    """Read the trade id that a line begins with; 0 for a line that isn't in the form written here."""
    cdef uint64_t number = 0
    cdef int digit
    if end - line < 14 or memcmp(line, b'{"trade_id":', 12) != 0 or end[-1] != c'}':
        return 0
    line += 12
    if line[0] == c'0':
        return 0
    while line < end and c'0' <= line[0] <= c'9':
        digit = line[0] - c'0'
        if number > <uint64_t>(INT64_MAX - digit) // 10:
            return 0
        number = number * 10 + <uint64_t>digit
        line += 1
    return <int64_t>number if line[0] == c',' else 0


cdef inline const char* next_feed(const char* at, const char* end) noexcept nogil:
    return <const char*>memchr(at, c'\n', <size_t>(end - at))


def line_trade_ids(text):
    """
    Return the trade id that each line begins with; 0 for a line that `trade_lines` can't have written. O(bytes).

    Parameters
    ----------
    text : bytes
        Whole lines, each with its line feed; what follows the last one isn't looked at.

    Returns
    -------
    array of int64
    """
    cdef Py_buffer buffer, room
    cdef const char* at
    cdef const char* end
    cdef const char* feed
    cdef size_t lines = 0, i
    PyObject_GetBuffer(text, &buffer, PyBUF_SIMPLE)
    try:
        at = <const char*>buffer.buf
        end = at + buffer.len
        with nogil:
            feed = next_feed(at, end)
            while feed != NULL:
                lines += 1
                feed = next_feed(feed + 1, end)
        ids = np.zeros(lines, np.int64)
        if lines == 0:
            return ids
        PyObject_GetBuffer(ids, &room, PyBUF_SIMPLE)
        with nogil:
            for i in range(lines):
                feed = next_feed(at, end)
                if feed == NULL:               # somebody writes into the buffer meanwhile
                    break
                (<int64_t*>room.buf)[i] = line_id(at, feed)
                at = feed + 1
        PyBuffer_Release(&room)
        return ids
    finally:
        PyBuffer_Release(&buffer)
