"""Records out of objects and arrays, checked, and back: what every store does with what it is given, and its answers."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from pyengine._core.names cimport Names
from pyengine._core.order cimport Order, OrderRecord, order_expectation, order_from_record
from pyengine._core.order_query cimport OrderBlock, order_rows_fault
from pyengine._core.order_state cimport STORE_OK
from pyengine._core.records cimport Event
from pyengine._core.store_shell cimport instrument_in, rows_of, store_raise, trade_expectation, user_in
from pyengine._core.trade cimport Trade
from pyengine._core.trade_ring cimport trade_rows_fault
from pyengine.errors import FieldError, FieldTypeError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE
import numpy as np


cdef int order_record_in(object order, Names names, bint lent, OrderRecord* record) except -1:
    """Copy an order's record, with its user and instrument numbered as in `names`; lent names are never added to."""
    cdef object user = None, instrument = None, known
    if type(order) is not Order:
        raise FieldTypeError("order", order, "an Order")
    record[0] = (<Order>order).record
    known = (<Order>order).names
    if known is None or known is names:
        return 0
    if type(known) is tuple:
        user = (<tuple>known)[0]
        instrument = (<tuple>known)[1]
    else:
        user = (<Names>known).user_at(record.user)
        instrument = (<Names>known).instrument_at(record.instrument)
    if user is not None:
        record.user = user_in(names, user, lent)
    if instrument is not None:
        record.instrument = instrument_in(names, instrument, lent)
    return 0


cdef int trade_record_in(object trade, Names names, bint lent, Event* record) except -1:
    """Copy a trade's record, with its instrument numbered as in `names`; lent names are never added to."""
    cdef object instrument
    if type(trade) is not Trade:
        raise FieldTypeError("trade", trade, "a Trade")
    record[0] = (<Trade>trade).event
    instrument = (<Trade>trade).instrument
    if instrument is not None and names.instrument_at(record.instrument) is not instrument:
        record.instrument = instrument_in(names, instrument, lent)
    return 0


cdef list listed(str field, object objects, str expectation):
    try:
        return list(objects)
    except TypeError:
        if hasattr(objects, "__iter__"):
            raise
        raise FieldTypeError(field, objects, expectation) from None


cdef object order_records_in(object orders, Names names, bint lent):
    """Make an array of the records of Order objects."""
    cdef Py_buffer buffer
    cdef size_t i = 0
    cdef list objects = listed("orders", orders, "an array of ORDER_RECORD_DTYPE or an iterable of Order")
    rows = np.empty(len(objects), ORDER_RECORD_DTYPE)
    if not objects:
        return rows
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        for order in objects:
            order_record_in(order, names, lent, &(<OrderRecord*>buffer.buf)[i])
            i += 1
    finally:
        PyBuffer_Release(&buffer)
    return rows


cdef object trade_records_in(object trades, Names names, bint lent):
    """Make an array of the records of Trade objects."""
    cdef Py_buffer buffer
    cdef size_t i = 0
    cdef list objects = listed("trades", trades, "an array of TRADE_DTYPE or an iterable of Trade")
    rows = np.empty(len(objects), TRADE_DTYPE)
    if not objects:
        return rows
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        for trade in objects:
            trade_record_in(trade, names, lent, &(<Event*>buffer.buf)[i])
            i += 1
    finally:
        PyBuffer_Release(&buffer)
    return rows


cdef list order_block_objects(OrderBlock* block, int code, Names names):
    """Make objects of an answer and free it."""
    cdef size_t i
    cdef list orders = []
    try:
        if code != STORE_OK:
            store_raise(code)
        for i in range(block.count):
            orders.append(order_from_record(&block.rows[i], names))
        return orders
    finally:
        free(block.rows)


cdef object order_block_array(OrderBlock* block, int code):
    """Make an array of an answer and free it."""
    cdef Py_buffer buffer
    try:
        if code != STORE_OK:
            store_raise(code)
        array = np.empty(block.count, ORDER_RECORD_DTYPE)
        if block.count != 0:
            PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
            memcpy(buffer.buf, block.rows, block.count * sizeof(OrderRecord))
            PyBuffer_Release(&buffer)
        return array
    finally:
        free(block.rows)


cdef const char* order_number_fault(const OrderRecord* rows, size_t n, Names names, size_t* at):
    """Find the first order whose user or instrument nobody has a name for. O(n)."""
    cdef uint32_t users = <uint32_t>len(names.users), instruments = <uint32_t>len(names.instruments)
    for at[0] in range(n):
        if rows[at[0]].user >= users:
            return b"user"
        if rows[at[0]].instrument >= instruments:
            return b"instrument"
    return NULL


cdef const char* trade_number_fault(const Event* rows, size_t n, Names names, size_t* at):
    """Find the first trade whose instrument nobody has a name for. O(n)."""
    cdef uint32_t instruments = <uint32_t>len(names.instruments)
    for at[0] in range(n):
        if rows[at[0]].instrument >= instruments:
            return b"instrument"
    return NULL


cdef int refuse_nameless(str field, uint32_t number, size_t known) except -1:
    """Raise for the number of a single record that nobody has a name for."""
    if number >= known:
        raise FieldError(field, number, number_expectation(field))
    return 0


def order_bytes(order, Names names not None, *, bint lent=False, bint named=False):
    """Return an order as one record in the numbers of `names`, 96 bytes; otherwise as `order_array`. O(1)."""
    cdef OrderRecord record
    order_record_in(order, names, lent, &record)
    if named:
        refuse_nameless("user", record.user, len(names.users))
        refuse_nameless("instrument", record.instrument, len(names.instruments))
    return PyBytes_FromStringAndSize(<char*>&record, sizeof(OrderRecord))


def trade_bytes(trade, Names names not None, *, bint lent=False, bint named=False):
    """Return a trade as one record in the numbers of `names`, 64 bytes; otherwise as `trade_array`. O(1)."""
    cdef Event record
    trade_record_in(trade, names, lent, &record)
    if named:
        refuse_nameless("instrument", record.instrument, len(names.instruments))
    return PyBytes_FromStringAndSize(<char*>&record, sizeof(Event))


cdef str number_expectation(str field):
    return "a name that the store knows" if field == "user" else "an instrument that the store knows"


def order_array(orders, Names names not None, *, bint lent=False, bint named=False):
    """
    Return orders as an array of ORDER_RECORD_DTYPE, in the numbers of `names`. O(n).

    Parameters
    ----------
    orders : array of ORDER_RECORD_DTYPE, or iterable of Order
        An array is checked and comes back as it is; its users and instruments must be numbers of `names` already.
    names : Names
    lent : bool
        Whether a user or an instrument that `names` doesn't know is refused rather than added.
    named : bool
        Whether numbers that nobody has a name for are refused.

    Raises
    ------
    FieldTypeError
        If it is neither; FieldError names the first row that is no order, and its field.
    """
    cdef Py_buffer buffer
    cdef size_t n, at = 0
    cdef const char* fault = NULL
    cdef const char* nameless = NULL
    if isinstance(orders, np.ndarray):
        rows = rows_of("orders", orders, ORDER_RECORD_DTYPE)
    else:
        rows = order_records_in(orders, names, lent)
    n = len(rows)
    if n == 0:
        return rows
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        # With the GIL: this takes microseconds, getting it back from a busy thread would take milliseconds.
        fault = order_rows_fault(<const OrderRecord*>buffer.buf, n, &at)
        if fault == NULL and named:
            nameless = order_number_fault(<const OrderRecord*>buffer.buf, n, names, &at)
    finally:
        PyBuffer_Release(&buffer)
    if fault != NULL:
        field = fault.decode()
        raise FieldError(f"orders[{at}].{field}", rows[at][field].item(), order_expectation(field))
    if nameless != NULL:
        field = nameless.decode()
        raise FieldError(f"orders[{at}].{field}", rows[at][field].item(), number_expectation(field))
    return rows


def trade_array(trades, Names names not None, *, bint lent=False, bint named=False):
    """Return trades as an array of TRADE_DTYPE, in the numbers of `names`; otherwise as `order_array`. O(n)."""
    cdef Py_buffer buffer
    cdef size_t n, at = 0
    cdef const char* fault = NULL
    cdef const char* nameless = NULL
    if isinstance(trades, np.ndarray):
        rows = rows_of("trades", trades, TRADE_DTYPE)
    else:
        rows = trade_records_in(trades, names, lent)
    n = len(rows)
    if n == 0:
        return rows
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        fault = trade_rows_fault(<const Event*>buffer.buf, n, &at)
        if fault == NULL and named:
            nameless = trade_number_fault(<const Event*>buffer.buf, n, names, &at)
    finally:
        PyBuffer_Release(&buffer)
    if fault != NULL:
        field = fault.decode()
        raise FieldError(f"trades[{at}].{field}", rows[at][field].item(), trade_expectation(field))
    if nameless != NULL:
        field = nameless.decode()
        raise FieldError(f"trades[{at}].{field}", rows[at][field].item(), number_expectation(field))
    return rows
