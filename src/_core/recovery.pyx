"""Events back into books. See recovery.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pyengine._core.engine cimport EngineCore
from pyengine._core.ladder cimport Ladder, ladder_find_from, ladder_key, ladder_open
from pyengine._core.orders cimport append_to_level, free_order, new_order, take_from_level
from pyengine._core.port cimport pye_add_overflows
from pyengine._core.records cimport (
    ACCEPTED, ASSIGN_ID, BUY, CANCELLED, GTC, KEPT_PLACE, LIMIT, REJECTED, REPLACED, REQUEST, SELL, TRADE, Event,
)
from pyengine._core.requests cimport (
    REQUEST_CLOSED, REQUEST_FIRST, RequestWindow, request_add, request_close, request_find, request_fits, request_reserve_trade,
    request_take, requests_open,
)
from pyengine._core.ring cimport ring_publish
from pyengine._core.state cimport NO_ENTRY, Order, State, find_entry, order_of, state_reserve

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from pyengine._core.store_shell cimport rows_of
from pyengine.errors import RecoveryError
from pyengine.records import EVENT_DTYPE


cdef inline bint has_place(const State* s, const Event* e) noexcept nogil:
    return e.instrument < s.book_count and BUY <= e.side <= SELL


cdef int recovery_settle(State* s, OnItsWay* w) noexcept nogil:
    """Put the order on its way to rest, or forget it. O(1)."""
    cdef int64_t qty = w.qty_lots, total
    cdef uint64_t key
    cdef uint32_t page, level, index = w.index
    cdef Ladder* own
    w.qty_lots = 0
    w.index = 0
    if qty == 0:
        if index != 0:
            free_order(s, index, find_entry(s, w.id))
        return RECOVERY_OK
    if not w.rests or (index == 0 and find_entry(s, w.id) != NO_ENTRY):
        return RECOVERY_WRONG
    if s.budget == 0 and state_reserve(s, 1) != 0:
        return RECOVERY_NO_MEMORY
    own = &s.pool.ladders[2 * w.instrument + w.side]
    key = ladder_key(own, w.price_ticks)
    level = ladder_find_from(&s.pool, own, key, &page)
    if level == 0:
        level = ladder_open(&s.pool, own, key, page)
    elif pye_add_overflows(s.pool.levels[level].qty_lots, qty, &total):
        return RECOVERY_WRONG
    if index == 0:
        index = new_order(s, w.id, qty, w.user)
    s.orders[index].qty_lots = qty
    append_to_level(s, own, level, index)
    return RECOVERY_OK


cdef inline int reduce(State* s, uint64_t order_id, int64_t qty, uint32_t instrument) noexcept nogil:
    """Take lots off a resting order, all or some. O(1)."""
    cdef uint64_t entry = find_entry(s, order_id)
    cdef uint32_t index
    cdef Order* o
    if entry == NO_ENTRY:
        return RECOVERY_UNKNOWN
    index = order_of(s, entry)
    o = &s.orders[index]
    if s.pool.levels[o.level].side >> 1 != instrument or qty < 1 or qty > o.qty_lots:
        return RECOVERY_WRONG
    if qty < o.qty_lots:
        o.qty_lots -= qty
        s.pool.levels[o.level].qty_lots -= qty
        return RECOVERY_OK
    take_from_level(s, &s.pool.ladders[s.pool.levels[o.level].side], index)
    free_order(s, index, entry)
    return RECOVERY_OK


cdef inline void start(OnItsWay* w, const Event* e, uint32_t index) noexcept nogil:
    w.id = e.order_id
    w.qty_lots = e.qty_lots
    w.price_ticks = e.price_ticks
    w.instrument = e.instrument
    w.user = <uint32_t>e.detail
    w.index = index
    w.side = e.side - BUY
    w.rests = <uint8_t>(e.detail >> 32) == LIMIT and <uint8_t>(e.detail >> 40) == GTC


cdef inline int apply_accepted(State* s, OnItsWay* w, const Event* e) noexcept nogil:
    cdef int code = recovery_settle(s, w)
    if code != RECOVERY_OK:
        return code
    if not has_place(s, e) or <uint32_t>e.detail >= s.user_count:
        return RECOVERY_UNKNOWN
    if e.qty_lots < 1 or find_entry(s, e.order_id) != NO_ENTRY:
        return RECOVERY_WRONG
    start(w, e, 0)
    if e.detail >> 48 & ASSIGN_ID:
        s.next_order_id = e.order_id + 1
    return RECOVERY_OK


cdef inline int apply_trade(State* s, OnItsWay* w, const Event* e) noexcept nogil:
    cdef int code
    if e.order_id != w.id or e.qty_lots < 1 or e.qty_lots > w.qty_lots or <uint64_t>e.value != s.next_trade_id:
        return RECOVERY_WRONG
    code = reduce(s, e.detail, e.qty_lots, e.instrument)
    if code == RECOVERY_OK:
        w.qty_lots -= e.qty_lots
        s.next_trade_id += 1
    return code


cdef inline int apply_cancelled(State* s, OnItsWay* w, const Event* e) noexcept nogil:
    if w.qty_lots != 0 and e.order_id == w.id:
        if e.qty_lots < 1 or w.qty_lots - e.qty_lots != e.value:
            return RECOVERY_WRONG
        w.qty_lots = e.value
        return RECOVERY_OK
    return reduce(s, e.order_id, e.qty_lots, e.instrument)


cdef inline int apply_replaced(State* s, OnItsWay* w, const Event* e) noexcept nogil:
    cdef uint64_t entry
    cdef uint32_t index
    cdef Order* o
    cdef int code = recovery_settle(s, w)
    if code != RECOVERY_OK:
        return code
    entry = find_entry(s, e.order_id)
    if entry == NO_ENTRY:
        return RECOVERY_UNKNOWN
    index = order_of(s, entry)
    o = &s.orders[index]
    if o.qty_lots != e.value or e.qty_lots < 1 or s.pool.levels[o.level].side != 2 * e.instrument + e.side - BUY:
        return RECOVERY_WRONG
    if e.flags & KEPT_PLACE:
        return reduce(s, e.order_id, e.value - e.qty_lots, e.instrument) if e.qty_lots != e.value else RECOVERY_OK
    take_from_level(s, &s.pool.ladders[s.pool.levels[o.level].side], index)
    start(w, e, index)
    w.user = o.user
    w.rests = True
    return RECOVERY_OK


cdef inline int apply_request(State* s, const Event* e) noexcept nogil:
    cdef RequestWindow* w = &s.requests
    cdef uint32_t user = <uint32_t>e.detail
    if user >= s.user_count:
        return RECOVERY_UNKNOWN
    if w.limit == 0:
        return RECOVERY_OK
    if e.order_id == 0 or w.stage == REQUEST_FIRST or request_find(w, user, e.order_id, e.ts_ns) != NULL:
        return RECOVERY_REQUEST
    if w.entries == NULL and requests_open(w) != 0:
        return RECOVERY_NO_MEMORY
    request_close(w)
    request_add(w, e)
    return RECOVERY_OK


cdef inline int ready_for_request(RequestWindow* w, const Event* e) noexcept nogil:
    """See to it that nothing can go wrong when the command that is being remembered takes the event."""
    if not request_fits(w, e):
        return RECOVERY_REQUEST
    return RECOVERY_NO_MEMORY if e.kind == TRADE and request_reserve_trade(w) != 0 else RECOVERY_OK


cdef int recovery_apply(State* s, OnItsWay* w, const Event* events, uint64_t n, uint64_t* done) noexcept nogil:
    """Apply events until one can't be; `done` is how many were. O(n). What can't be applied has changed nothing."""
    cdef const Event* e
    cdef int code = RECOVERY_OK
    while done[0] < n:
        e = &events[done[0]]
        if e.seq != s.out.seq:
            return RECOVERY_GAP
        if s.requests.stage != REQUEST_CLOSED and e.kind != REQUEST:
            code = ready_for_request(&s.requests, e)
            if code != RECOVERY_OK:
                return code
        if e.kind == ACCEPTED:
            code = apply_accepted(s, w, e)
        elif e.kind == TRADE:
            code = apply_trade(s, w, e)
        elif e.kind == CANCELLED:
            code = apply_cancelled(s, w, e)
        elif e.kind == REPLACED:
            code = apply_replaced(s, w, e)
        elif e.kind == REQUEST:
            code = apply_request(s, e)
        elif e.kind != REJECTED:
            code = RECOVERY_WRONG
        if code != RECOVERY_OK:
            return code
        if s.requests.stage != REQUEST_CLOSED and e.kind != REQUEST:
            request_take(&s.requests, e)
        s.out.seq += 1
        done[0] += 1
    return RECOVERY_OK


cdef tuple COMPLAINTS = (
    "",
    "have the next sequence number",
    "name an order, a book and a user that are there",
    "agree with the orders that are there",
    "",
    "agree with the command that it is part of",
)


@cython.final
cdef class Recovery:
    """
    Applies events to an engine that nobody uses yet.

    Parameters
    ----------
    engine : Engine
        Fresh or from a snapshot, with the instruments and users that the events are about.

    Notes
    -----
    Thread-safety: one thread at a time. Until `finish`, the engine has an order on its way that isn't in its book.
    """

    cdef EngineCore engine
    cdef OnItsWay way

    def __cinit__(self, EngineCore engine not None):
        self.engine = engine
        memset(&self.way, 0, sizeof(OnItsWay))

    def apply(self, events):
        """
        Apply an array of events, which begin with the engine's next sequence number. O(n).

        Raises
        ------
        FieldTypeError
            It isn't an array of EVENT_DTYPE.
        RecoveryError
            An event contradicts the state; the ones before it were applied, and `seq` of the error names it.
        MemoryError
            There isn't enough memory; applying may go on with the engine's `next_seq`.
        """
        cdef Py_buffer buffer
        cdef uint64_t n, done = 0
        cdef int code
        cdef State* s = self.engine.state
        rows = rows_of("events", events, EVENT_DTYPE)
        n = len(rows)
        if n == 0:
            return
        self.engine.enter()
        PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
        try:
            with nogil:
                code = recovery_apply(s, &self.way, <const Event*>buffer.buf, n, &done)
                self.publish(s)
        finally:
            PyBuffer_Release(&buffer)
        if code == RECOVERY_NO_MEMORY:
            raise MemoryError
        if code != RECOVERY_OK:
            raise RecoveryError(int(rows[done]["seq"]), COMPLAINTS[code])

    def finish(self):
        """Settle the last order; the engine may be used from now on."""
        cdef int code = recovery_settle(self.engine.state, &self.way)
        if code == RECOVERY_OK and not request_close(&self.engine.state.requests):
            code = RECOVERY_REQUEST
        if code == RECOVERY_NO_MEMORY:
            raise MemoryError
        if code != RECOVERY_OK:
            raise RecoveryError(self.engine.state.out.seq - 1, COMPLAINTS[code])

    cdef void publish(self, State* s) noexcept nogil:
        """Let the ring begin behind what was applied."""
        s.out.kept = s.out.published = s.out.limit = s.out.seq
        s.ring.intent = s.out.seq
        ring_publish(s.ring, s.out.seq)
