"""Records as a stream of PostgreSQL's binary COPY."""

from libc.stdint cimport int64_t, uint16_t, uint64_t
from pyengine._core.decimals cimport grid_numeric
from pyengine._core.encoding cimport (
    ENCODED, FAULTY, NEW_INSTRUMENT, NEW_USER, NO_ROOM, Encoding, encode, lacks_room, put_bytes, row_done,
)
from pyengine._core.name_texts cimport InstrumentText, NameText
from pyengine._core.order cimport OrderRecord, order_record_fault
from pyengine._core.port cimport pye_put16, pye_put32, pye_put64
from pyengine._core.records cimport MARKET, Event
from pyengine._core.store_shell cimport rows_of
from pyengine._core.trade cimport trade_buyer, trade_seller
from pyengine._core.trade_ring cimport trade_record_fault
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE

cdef enum:
    TRADE_FIELDS = 10
    ORDER_FIELDS = 20
    TRADE_BYTES = 2 + TRADE_FIELDS * 12                      # most of a row without numerics and text
    ORDER_BYTES = 2 + ORDER_FIELDS * 12
    USUAL_TRADE_BYTES = 130        # guesses, so that large arrays seldom need more room
    USUAL_ORDER_BYTES = 260

cdef int64_t EPOCH_US = 946684800000000                      # 2000-01-01 in microseconds since 1970
cdef bytes HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)         # no flags, no extension
cdef bytes TAIL = b"\xff\xff"

TRADE_COLUMNS = (
    "trade_id", "buy_order_id", "sell_order_id", "price", "quantity", "timestamp", "symbol", "taker_side", "seq",
    "timestamp_ns",
)

ORDER_COLUMNS = (
    "order_id", "user_id", "symbol", "order_type", "side", "price", "size", "created_at", "updated_at", "remaining", "status",
    "tif", "client_order_id", "version", "entered", "flags", "stp", "aux", "created_ns", "updated_ns",
)


cdef inline char* put_int8(char* out, uint64_t value) noexcept nogil:
    return pye_put64(pye_put32(out, 8), value)


cdef inline char* put_int4(char* out, uint16_t value) noexcept nogil:
    return pye_put32(pye_put32(out, 4), value)


cdef inline char* put_int2(char* out, uint16_t value) noexcept nogil:
    return pye_put16(pye_put32(out, 2), value)


cdef inline char* put_text(char* out, const NameText* text) noexcept nogil:
    return put_bytes(pye_put32(out, text.raw_bytes), text.raw, text.raw_bytes)


cdef inline char* put_time(char* out, int64_t ts_ns) noexcept nogil:
    """Write a timestamptz: microseconds since 2000, rounded down."""
    return put_int8(out, <uint64_t>(ts_ns // 1000 - (ts_ns % 1000 < 0) - EPOCH_US))


cdef inline char* put_trade(char* out, const Event* e, const InstrumentText* instrument) noexcept nogil:
    out = pye_put16(out, TRADE_FIELDS)
    out = put_int8(out, <uint64_t>e.value)
    out = put_int8(out, trade_buyer(e))
    out = put_int8(out, trade_seller(e))
    out = grid_numeric(out, &instrument.price, e.price_ticks)
    out = grid_numeric(out, &instrument.qty, e.qty_lots)
    out = put_time(out, e.ts_ns)
    out = put_text(out, &instrument.symbol)
    out = put_int2(out, e.side)
    out = put_int8(out, e.seq)
    return put_int8(out, <uint64_t>e.ts_ns)


cdef int write_trades(Encoding* e) noexcept nogil:
    cdef Event trade
    cdef const InstrumentText* instrument
    while e.at < e.count:
        trade = (<const Event*>e.rows)[e.at]
        e.fault = trade_record_fault(&trade)
        if e.fault != NULL:
            return FAULTY
        e.number = trade.instrument
        if trade.instrument >= e.instrument_count:
            return NEW_INSTRUMENT
        instrument = &e.instruments[trade.instrument]
        if lacks_room(e, TRADE_BYTES + instrument.price.most_bytes + instrument.qty.most_bytes + instrument.symbol.raw_bytes):
            return NO_ROOM
        row_done(e, put_trade(e.out, &trade, instrument))
    return ENCODED


cdef inline char* put_order(
    char* out, const OrderRecord* r, const InstrumentText* instrument, const NameText* user,
) noexcept nogil:
    out = pye_put16(out, ORDER_FIELDS)
    out = put_int8(out, r.order_id)
    out = put_text(out, user)
    out = put_text(out, &instrument.symbol)
    out = put_int4(out, r.order_type)
    out = put_int4(out, r.side)
    if r.order_type == MARKET:
        out = pye_put32(out, 0xFFFFFFFF)                     # NULL
    else:
        out = grid_numeric(out, &instrument.price, r.price_ticks)
    out = grid_numeric(out, &instrument.qty, r.qty_lots)
    out = put_time(out, r.created_ns)
    out = put_time(out, r.updated_ns)
    out = grid_numeric(out, &instrument.qty, r.remaining_lots)
    out = put_int2(out, r.status)
    out = put_int2(out, r.tif)
    out = put_int8(out, r.client_id)
    out = put_int8(out, r.version)
    out = put_int8(out, r.entered)
    out = put_int2(out, r.flags)
    out = put_int2(out, r.stp)
    out = put_int8(out, <uint64_t>r.aux)
    out = put_int8(out, <uint64_t>r.created_ns)
    return put_int8(out, <uint64_t>r.updated_ns)


cdef int write_orders(Encoding* e) noexcept nogil:
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
        if lacks_room(e, ORDER_BYTES + instrument.price.most_bytes + 2 * instrument.qty.most_bytes + instrument.symbol.raw_bytes
                      + user.raw_bytes):
            return NO_ROOM
        row_done(e, put_order(e.out, &order, instrument, user))
    return ENCODED


def trade_rows(trades, names):
    """
    Write trades as a whole binary COPY stream with the columns TRADE_COLUMNS. O(n).

    Types are bigint, numeric for price and quantity, timestamptz (rounded down to microseconds), text and smallint (side).
    Unsigned 64-bit ids are bigints of the same bits. The GIL is released meanwhile.

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
    return encode("trades", rows_of("trades", trades, TRADE_DTYPE), names, write_trades, USUAL_TRADE_BYTES, HEAD, TAIL, NULL)


def order_rows(orders, names):
    """
    Write orders as a whole binary COPY stream with the columns ORDER_COLUMNS. O(n).

    `order_type` and `side` are integer, `status`, `tif`, `flags` and `stp` smallint, the others as in `trade_rows`; the price
    of a market order is NULL, nobody's `user_id` is empty.

    Parameters
    ----------
    orders : array of ORDER_RECORD_DTYPE
    names : Names
        Whose numbers the instruments and users are.

    Returns
    -------
    bytes

    Raises
    ------
    FieldTypeError
        If it is no array of orders.
    FieldError
        If a row is no order, its instrument has no Instrument in `names`, or its user is neither 0 nor has a name.
    """
    return encode("orders", rows_of("orders", orders, ORDER_RECORD_DTYPE), names, write_orders, USUAL_ORDER_BYTES, HEAD, TAIL,
                  NULL)
