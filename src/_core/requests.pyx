"""Remembering commands by their client order ids. See requests.pxd."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from pyengine._core.idtable cimport idtable_at, idtable_delete, idtable_free, idtable_init, idtable_put
from pyengine._core.port cimport pye_add_overflows, pye_alloc, pye_free, pye_lowest_bit, pye_match8
from pyengine._core.records cimport (
    ACCEPTED, AMEND, ASSIGN_ID, BOOK_IMPLIED, BY_MASS, BY_USER, CANCEL, CANCELLED, DONE_CANCELLED, DONE_MASS_CANCELLED,
    DONE_REPLACED, FILLED, KEPT_PLACE, LIMIT, MARKET, MASS_CANCEL, NO_BOOK, PARTIALLY_FILLED, PRICE_KEPT, QTY_KEPT, REJECTED,
    REPLACED, REQUEST, RESTING, TRADE, command_detail,
)


cdef int requests_open(RequestWindow* w) noexcept nogil:
    """Take the memory for all entries, which isn't resident before it is used. 0, or -1 without and nothing has changed."""
    cdef uint64_t buckets = 16
    while buckets * 5 <= w.limit + 1:
        buckets *= 2
    w.entries = <RequestEntry*>pye_alloc(w.limit * sizeof(RequestEntry))
    if w.entries != NULL and idtable_init(&w.ids, buckets) != 0:
        pye_free(w.entries, w.limit * sizeof(RequestEntry))
        w.entries = NULL
    return 0 if w.entries != NULL else -1


cdef void requests_free(RequestWindow* w) noexcept nogil:
    cdef uint64_t n
    requests_drop_spare(w)
    if w.entries == NULL:
        return
    for n in range(w.count):
        free(request_at(w, n).trades)
    pye_free(w.entries, w.limit * sizeof(RequestEntry))
    idtable_free(&w.ids)
    w.entries = NULL
    w.count = w.trades = 0


cdef uint64_t requests_bytes(const RequestWindow* w) noexcept nogil:
    """Bytes of address space taken."""
    return w.limit * sizeof(RequestEntry) + (w.ids.mask + 1) * 65 + w.trades * sizeof(Event) if w.entries != NULL else 0


cdef int requests_reserve_trades(RequestWindow* w, uint64_t trades) noexcept nogil:
    """Take memory for the trades of the command that runs now. 0, or -1 without."""
    requests_drop_spare(w)
    if trades != 0:
        if trades > <uint32_t>-1:
            return -1
        w.spare = <Event*>malloc(trades * sizeof(Event))
        if w.spare == NULL:
            return -1
        w.spare_capacity = trades
    return 0


cdef void requests_drop_spare(RequestWindow* w) noexcept nogil:
    free(w.spare)
    w.spare = NULL
    w.spare_capacity = 0


# --- contents -------------------------------------------------------------------------------------------------------------


cdef void request_write(Event* request, const Command* c, uint64_t client_id, uint8_t flags) noexcept nogil:
    """Write a command as the event that goes before its own; what its action ignores is 0. `seq` is left to the caller."""
    memset(request, 0, sizeof(Event))
    request.ts_ns = c.ts_ns
    request.order_id = client_id
    request.detail = command_detail(c, c.user)
    request.value = 0 if c.flags & ASSIGN_ID else <int64_t>c.order_id
    request.instrument = c.instrument
    request.kind = REQUEST
    request.flags = flags
    if c.action == LIMIT or c.action == MARKET or c.action == MASS_CANCEL:
        request.side = c.side
    if c.action != CANCEL and c.action != MASS_CANCEL:
        request.price_ticks = c.price_ticks
        request.qty_lots = c.qty_lots


cdef bint request_same(const Event* first, const Event* again) noexcept nogil:
    """Does a command ask for the same as the first one of its id? Time stamps don't count: a retry comes later.

    What the second doesn't say itself the first must have left out as well, apart from the book, which the order's id implies.
    """
    cdef bint same = first.detail == again.detail and first.value == again.value and first.side == again.side
    if not (again.flags & BOOK_IMPLIED or first.flags & NO_BOOK):
        same &= first.instrument == again.instrument
    if again.flags & PRICE_KEPT:
        same &= first.flags & PRICE_KEPT != 0
    else:
        same &= first.price_ticks == again.price_ticks
    if again.flags & QTY_KEPT:
        same &= first.flags & QTY_KEPT != 0
    elif request_action(again) != MASS_CANCEL:
        same &= first.qty_lots == again.qty_lots
    return same


# --- coming and going -----------------------------------------------------------------------------------------------------


cdef void forget_oldest(RequestWindow* w) noexcept nogil:
    """O(1) expected."""
    cdef RequestEntry* r = request_at(w, 0)
    cdef uint32_t tag = request_tag(<uint32_t>r.request.detail, r.request.order_id), hits
    cdef uint64_t b = tag & w.ids.mask, entry
    while True:
        hits = pye_match8(w.ids.buckets[b].tag, tag)
        while hits != 0:
            entry = b << 3 | pye_lowest_bit(hits)
            if idtable_at(&w.ids, entry) == w.first:
                idtable_delete(&w.ids, entry)
                w.trades -= r.trade_count
                free(r.trades)
                r.trades = NULL
                w.first = w.first + 1 if w.first + 1 < w.limit else 0
                w.count -= 1
                return
            hits &= hits - 1
        b = (b + 1) & w.ids.mask


cdef RequestEntry* request_add(RequestWindow* w, const Event* request) noexcept nogil:
    """Remember a command that isn't there, and forget what is too old or too much by now. Amortised O(1).

    Its own events are still to come; the window is open. The spare room becomes the entry's.
    """
    cdef RequestEntry* r
    w.latest_ns = max(w.latest_ns, request.ts_ns)
    while w.count != 0 and (w.count == w.limit or request_too_old(w, request_at(w, 0), w.latest_ns)):
        forget_oldest(w)
    r = request_at(w, w.count)
    memset(r, 0, sizeof(RequestEntry))
    r.request = request[0]
    r.last_seq = request.seq
    r.time_ns = w.latest_ns
    r.trades = w.spare
    r.trade_capacity = <uint32_t>w.spare_capacity
    w.spare = NULL
    w.spare_capacity = 0
    idtable_put(&w.ids, request_tag(<uint32_t>request.detail, request.order_id), <uint32_t>(r - w.entries))
    w.count += 1
    w.stage = REQUEST_FIRST
    if request_action(request) == MASS_CANCEL:
        r.order_id = <uint64_t>request.value
        r.status = DONE_MASS_CANCELLED
        r.cancel_reason = BY_MASS
        w.mass_left = <uint64_t>request.qty_lots
        if w.mass_left == 0:
            w.stage = REQUEST_CLOSED
    return r


# --- what came of it ------------------------------------------------------------------------------------------------------


cdef bint request_fits(const RequestWindow* w, const Event* e) noexcept nogil:
    """May the event come next, as far as the newest command is concerned?"""
    cdef uint8_t action
    if w.stage != REQUEST_FIRST:
        return True
    action = request_action(&request_at(w, w.count - 1).request)
    if e.kind == REJECTED:
        return action != MASS_CANCEL
    if action == LIMIT or action == MARKET:
        return e.kind == ACCEPTED
    if action == AMEND:
        return e.kind == REPLACED
    return e.kind == CANCELLED and e.reason == (BY_USER if action == CANCEL else BY_MASS)


cdef int request_reserve_trade(RequestWindow* w) noexcept nogil:
    """See to room for one more trade of the newest command. 0, or -1 without memory. Amortised O(1)."""
    cdef RequestEntry* r = request_at(w, w.count - 1)
    cdef uint32_t capacity
    cdef void* p
    if r.trade_count < r.trade_capacity:
        return 0
    capacity = max(2 * r.trade_capacity, <uint32_t>1)
    p = realloc(r.trades, capacity * sizeof(Event))
    if p == NULL:
        return -1
    r.trades = <Event*>p
    r.trade_capacity = capacity
    return 0


cdef inline void keep_trade(RequestWindow* w, RequestEntry* r, const Event* e) noexcept nogil:
    r.filled_lots += e.qty_lots
    r.open_lots -= e.qty_lots
    r.status = PARTIALLY_FILLED if r.open_lots != 0 else FILLED
    r.trades[r.trade_count] = e[0]
    r.trade_count += 1
    w.trades += 1
    while w.trades > TRADES_EACH * w.limit and w.count > 1:
        forget_oldest(w)


cdef inline void take_first(RequestWindow* w, RequestEntry* r, const Event* e) noexcept nogil:
    """The event that says what became of the command; it fits."""
    w.stage = REQUEST_CLOSED
    if e.kind == CANCELLED and e.reason == BY_MASS:
        # As `mass_cancel_order` counts them.
        if pye_add_overflows(r.open_lots, e.qty_lots, &r.open_lots):
            r.open_lots = INT64_MAX
        w.mass_left -= 1
        if w.mass_left != 0:
            w.stage = REQUEST_FIRST
        return
    r.order_id = e.order_id
    if e.kind == REJECTED:
        r.status = e.reason
        return
    r.open_lots = e.qty_lots
    if e.kind == CANCELLED:
        r.status = DONE_CANCELLED
        r.cancel_reason = BY_USER
        return
    r.status = RESTING if e.kind == ACCEPTED else DONE_REPLACED
    if e.kind == ACCEPTED or not e.flags & KEPT_PLACE:
        w.stage = REQUEST_GOES_ON


cdef void request_take(RequestWindow* w, const Event* e) noexcept nogil:
    """Read off an event, in its turn, what it says about the newest command, if anything. O(1).

    The event fits, and if it is a trade there is room for it.
    """
    cdef RequestEntry* r
    if w.stage == REQUEST_CLOSED:
        return
    r = request_at(w, w.count - 1)
    if w.stage == REQUEST_FIRST:
        take_first(w, r, e)
    elif e.kind == TRADE:
        keep_trade(w, r, e)
    elif e.kind == CANCELLED and e.reason != BY_USER and e.reason != BY_MASS:
        if e.order_id == r.order_id:
            r.open_lots = e.value
            if e.value == 0:
                r.status = DONE_CANCELLED
                r.cancel_reason = e.reason
    else:
        w.stage = REQUEST_CLOSED
        return
    r.last_seq = e.seq


cdef bint request_close(RequestWindow* w) noexcept nogil:
    """Let nothing more come for the newest command; False if something has to."""
    cdef RequestEntry* r
    cdef bint complete = w.stage != REQUEST_FIRST
    w.stage = REQUEST_CLOSED
    if w.count != 0:
        r = request_at(w, w.count - 1)
        if r.trade_count == 0 and r.trades != NULL:
            # It might have traded.
            free(r.trades)
            r.trades = NULL
            r.trade_capacity = 0
    return complete


# --- checking -------------------------------------------------------------------------------------------------------------


cdef const char* requests_check(const RequestWindow* w) noexcept nogil:
    """Walk everything; what is broken, or NULL. O(entries)."""
    cdef uint64_t n, trades = 0
    cdef const RequestEntry* r
    cdef int64_t before = 0
    if w.entries == NULL:
        if w.count != 0 or w.trades != 0:
            return b"commands are counted before there was room for any"
        return NULL
    if w.count > w.limit or w.first >= w.limit or w.ids.used != w.count:
        return b"the remembered commands and their ids differ in number"
    for n in range(w.count):
        r = request_at(w, n)
        trades += r.trade_count
        if r.request.kind != REQUEST or r.request.order_id == 0 or r.last_seq < r.request.seq:
            return b"a remembered command isn't one"
        if request_find(w, <uint32_t>r.request.detail, r.request.order_id, r.time_ns) != r and not (
                request_too_old(w, r, w.latest_ns)):
            return b"a remembered command isn't found by its id"
        if (n != 0 and r.time_ns < before) or r.time_ns > w.latest_ns or r.time_ns < r.request.ts_ns:
            return b"the remembered commands aren't in the order of their times"
        if r.trade_count > r.trade_capacity:
            return b"a remembered command has more trades than room"
        before = r.time_ns
    if trades != w.trades or (w.trades > TRADES_EACH * w.limit and w.count > 1):
        return b"the trades of remembered commands are miscounted"
    return NULL
