"""Single calls with a client order id. See once_calls.pxd.

This module and `engine` cimport each other: each exports its functions before it asks for the other's.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.arguments cimport unsigned_field
from pyengine._core.engine cimport EngineCore
from pyengine._core.once cimport once_execute
from pyengine._core.records cimport (
    AMEND, BOOK_IMPLIED, CANCEL, FIRST_REFUSAL, FIRST_REJECTION, MASS_CANCEL, NO_BOOK, PRICE_KEPT, QTY_KEPT, RING_FULL, Command,
)
from pyengine._core.requests cimport REQUEST_NOT, REQUEST_REPEATED, RequestEntry, request_action, request_find
from pyengine._core.result cimport Result, result_keep_trades
from pyengine._core.state cimport NO_ENTRY, Order, State, find_entry, order_of

from pyengine.errors import FieldError
from pyengine.rejections import rejection_error


cdef uint64_t checked_id(EngineCore engine, object client_order_id) except? 0:
    cdef uint64_t client_id = unsigned_field("client_order_id", client_order_id)
    if client_id == 0:
        raise FieldError("client_order_id", client_order_id, f"an int from 1 to {UINT64_MAX}")
    if engine.state.requests.limit == 0:
        raise FieldError("client_order_id", client_order_id, "None, as the engine was made with client_ids=0")
    return client_id


cdef object instrument_of(EngineCore engine, const RequestEntry* r):
    """What the lots and ticks of a remembered command count; None if that isn't known, or is all of them."""
    cdef uint32_t index = r.request.instrument
    return None if r.request.flags & NO_BOOK or index >= engine.state.book_count else engine.names.instruments[index]


cdef Result repeated_result(EngineCore engine, const RequestEntry* r):
    """Make the first result again."""
    cdef Result result = Result.__new__(Result)
    cdef uint8_t action = request_action(&r.request)
    result.repeated = True
    result.code = r.status
    result.instrument = instrument_of(engine, r)
    result.order_id = r.order_id
    if r.status >= FIRST_REJECTION:
        return result
    result.cancel_reason = r.cancel_reason
    result.filled_lots = r.filled_lots
    if action == CANCEL or action == MASS_CANCEL:
        result.cancelled_lots = r.open_lots
        return result
    result.remaining_lots = r.open_lots
    result.cancelled_lots = r.request.qty_lots - r.filled_lots - r.open_lots
    if r.trade_count != 0:
        result_keep_trades(result, r.trades, r.trade_count)
    return result


cdef Result once_call(EngineCore engine, const Command* c, object client_order_id, uint8_t implied, object instrument):
    """As `EngineCore.call`, unless the command was run before: then return its first result, when that is durable."""
    cdef State* s = engine.state
    cdef uint64_t client_id = checked_id(engine, client_order_id), last_seq
    cdef int status
    cdef Result result
    engine.enter()
    if engine.refusal is not None:
        raise engine.refusal.with_traceback(None)
    engine.stores_ready(1)
    s.impatient = False
    s.out.kept = s.out.seq
    # As in `EngineCore.call`: the GIL stays until a required consumer has to be waited for.
    status = once_execute(s, c, client_id, implied)
    if status == RING_FULL:
        if s.ring.required == 0:
            return engine.call_linear(c, instrument, client_id)
        engine.begin_unlocked()
        with nogil:
            status = once_execute(s, c, client_id, implied)
        engine.end_unlocked()
    if s.requests.came == REQUEST_REPEATED:
        last_seq = s.requests.answer.last_seq
        result = repeated_result(engine, s.requests.answer)
        if engine.acknowledge is not None:
            engine.acknowledge(last_seq)
        return result
    if s.requests.came == REQUEST_NOT:
        if not FIRST_REFUSAL <= status < RING_FULL:
            raise rejection_error(status, c.price_ticks, c.qty_lots, c.side, c.tif, c.flags, c.stp, c.user, instrument)
        return engine.refuse(c, status, instrument)
    return engine.finish(c, status, instrument)


cdef Result once_amend(EngineCore engine, Command* c, uint8_t implied, object client_order_id):
    """Amend the order that `c` names; of price and size, those that `implied` says are kept are filled in. O(1) on top."""
    cdef State* s = engine.state
    cdef uint64_t entry
    cdef const Order* o
    engine.enter()
    entry = find_entry(s, c.order_id)
    if entry == NO_ENTRY:
        return once_call(engine, c, client_order_id, implied | BOOK_IMPLIED | NO_BOOK, None)
    o = &s.orders[order_of(s, entry)]
    c.instrument = s.pool.levels[o.level].side >> 1
    if implied & PRICE_KEPT:
        c.price_ticks = s.pool.levels[o.level].price_ticks
    if implied & QTY_KEPT:
        c.qty_lots = o.qty_lots
    return once_call(engine, c, client_order_id, implied | BOOK_IMPLIED, engine.names.instruments[c.instrument])


cdef object once_instrument(EngineCore engine, uint64_t order_id, uint32_t user, object client_order_id, int64_t ts_ns):
    """What price and size of an amend count: the instrument of the same amend's first time, or else of the order; or None."""
    cdef State* s = engine.state
    cdef uint64_t client_id = checked_id(engine, client_order_id), entry
    cdef const RequestEntry* r
    engine.enter()
    r = request_find(&s.requests, user, client_id, ts_ns)
    if r != NULL and request_action(&r.request) == AMEND and <uint64_t>r.request.value == order_id:
        return instrument_of(engine, r)
    entry = find_entry(s, order_id)
    if entry == NO_ENTRY:
        return None
    return engine.names.instruments[s.pool.levels[s.orders[order_of(s, entry)].level].side >> 1]
