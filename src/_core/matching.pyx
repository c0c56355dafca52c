"""The matching kernels. See matching.pxd for what they promise, ladder.pxd and state.pxd for what they work on."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.ladder cimport (
    NO_KEY, Ladder, Level, ladder_close, ladder_find, ladder_find_from, ladder_key, ladder_next, ladder_open,
)
from pyengine._core.orders cimport append_to_level, free_order, new_order, take_from_level
from pyengine._core.port cimport pye_add_overflows, pye_likely, pye_mul_overflows, pye_unlikely
from pyengine._core.records cimport (
    ACCEPTED, AMEND, ASSIGN_ID, BUY, BY_FOK, BY_IOC, BY_MASS, BY_NO_LIQUIDITY, BY_SELF_TRADE, BY_USER, CANCEL, CANCELLED,
    DONE_CANCELLED, DONE_MASS_CANCELLED, DONE_REPLACED, DUPLICATE_ORDER_ID, EVERY_INSTRUMENT, FILLED, FIRST_CAPACITY,
    FIRST_REJECTION, FOK, GTC, INVALID_ACTION, INVALID_FLAGS, INVALID_INSTRUMENT, INVALID_PRICE, INVALID_QTY,
    INVALID_RESERVED, INVALID_SIDE, INVALID_STP, INVALID_TIF, INVALID_USER, KEPT_PLACE, LEVEL_FULL, LIMIT, MAKER_FILLED,
    MARKET, MASS_CANCEL, NONE, NOT_OWNER, NOTIONAL_OVERFLOW, OUT_OF_MEMORY, PARTIALLY_FILLED, POST_ONLY,
    POST_ONLY_WOULD_TRADE, PRICE_OUT_OF_RANGE, QTY_OUT_OF_RANGE, REJECTED, REPLACED, RESTING, SELL, SLIDE,
    STP_CANCEL_MAKER, STP_CANCEL_TAKER, STP_DECREMENT, STP_DEFAULT, STP_OFF, TAKER_FILLED, TRADE, UNKNOWN_ORDER,
    WRONG_INSTRUMENT, Command, Event, command_detail, event_detail,
)
from pyengine._core.requests cimport requests_reserve_trades
from pyengine._core.ring cimport PUBLISH_EVERY, ring_publish
from pyengine._core.state cimport (
    NO_ENTRY, Book, Order, State, find_entry, has_room, next_event, order_of, state_make_room, state_reserve,
)

ctypedef struct Taker:             # an order on its way through the opposite side
    uint64_t id
    uint64_t detail                # as in its ACCEPTED or REPLACED event
    int64_t qty_lots               # what it still wants
    int64_t filled_lots
    uint64_t limit_key             # worst key of the opposite side that it trades at
    int64_t price_ticks
    int64_t ts_ns
    uint32_t instrument
    uint32_t user
    uint8_t side                   # 1 or 2
    uint8_t stp                    # resolved; STP_OFF if it has no user
    bint stopped                   # by self-trade prevention


# --- events -----------------------------------------------------------------------------------------------------------


cdef inline void emit_order(
    State* s, uint8_t kind, uint64_t order_id, uint64_t detail, int64_t ts_ns, int64_t price_ticks, int64_t qty_lots,
    int64_t value, uint32_t instrument, uint8_t side, uint8_t reason, uint8_t flags,
) noexcept nogil:
    cdef Event* e = next_event(s)
    e.ts_ns = ts_ns
    e.order_id = order_id
    e.detail = detail
    e.price_ticks = price_ticks
    e.qty_lots = qty_lots
    e.value = value
    # The last five fields in one store.
    (<uint64_t*>&e.instrument)[0] = instrument | <uint64_t>kind << 32 | <uint64_t>side << 40 | <uint64_t>reason << 48 | \
        <uint64_t>flags << 56


cdef inline void emit_trade(
    State* s, const Taker* t, uint64_t maker_id, int64_t price, int64_t qty, uint8_t flags,
) noexcept nogil:
    emit_order(s, TRADE, t.id, maker_id, t.ts_ns, price, qty, <int64_t>s.next_trade_id, t.instrument, t.side, 0, flags)
    s.next_trade_id += 1


cdef inline void emit_cancelled(
    State* s, const Order* o, const Level* level, int64_t ts_ns, int64_t qty, int64_t left, uint8_t reason,
) noexcept nogil:
    emit_order(s, CANCELLED, o.id, event_detail(o.user, LIMIT, 0, 0, 0), ts_ns, level.price_ticks, qty, left,
               level.side >> 1, (level.side & 1) + 1, reason, 0)


cdef inline void emit_taker_cancelled(State* s, const Taker* t, int64_t qty, int64_t left, uint8_t reason) noexcept nogil:
    emit_order(s, CANCELLED, t.id, t.detail, t.ts_ns, t.price_ticks, qty, left, t.instrument, t.side, reason, 0)


# --- taking ---------------------------------------------------------------------------------------------------------------


cdef inline void rest(State* s, Ladder* own, uint32_t index, int64_t price_ticks) noexcept nogil:
    cdef uint64_t key = ladder_key(own, price_ticks)
    cdef uint32_t page, level = ladder_find_from(&s.pool, own, key, &page)
    if level == 0:
        level = ladder_open(&s.pool, own, key, page)
    append_to_level(s, own, level, index)


cdef inline void drop_maker(State* s, Ladder* opposite, uint32_t index) noexcept nogil:
    cdef uint64_t entry = find_entry(s, s.orders[index].id)
    take_from_level(s, opposite, index)
    free_order(s, index, entry)


cdef void prevent_self_trade(State* s, Ladder* opposite, Taker* t, uint32_t index) noexcept nogil:
    """The taker has met a maker of its own user at the head of the best level."""
    cdef Order* o = &s.orders[index]
    cdef Level* v = &s.pool.levels[o.level]
    cdef int64_t both = min(t.qty_lots, o.qty_lots)
    if t.stp == STP_DECREMENT:
        emit_cancelled(s, o, v, t.ts_ns, both, o.qty_lots - both, BY_SELF_TRADE)
        t.qty_lots -= both
        emit_taker_cancelled(s, t, both, t.qty_lots, BY_SELF_TRADE)
        if both == o.qty_lots:
            drop_maker(s, opposite, index)
        else:
            o.qty_lots -= both
            v.qty_lots -= both
        t.stopped = t.qty_lots == 0
        return
    if t.stp != STP_CANCEL_TAKER:
        emit_cancelled(s, o, v, t.ts_ns, o.qty_lots, 0, BY_SELF_TRADE)
        drop_maker(s, opposite, index)
    if t.stp != STP_CANCEL_MAKER:
        emit_taker_cancelled(s, t, t.qty_lots, 0, BY_SELF_TRADE)
        t.qty_lots = 0
        t.stopped = True


cdef void match(State* s, Ladder* opposite, Taker* t) noexcept nogil:
    """Trade with the opposite side, best level first and oldest order first, as far as limit and quantity reach."""
    cdef Level* v
    cdef Order* o
    cdef uint32_t index, level, following
    cdef int64_t fill, price
    cdef uint64_t entry
    while t.qty_lots > 0 and opposite.best_key <= t.limit_key and opposite.best_level != 0:
        level = opposite.best_level
        v = &s.pool.levels[level]
        index = v.head
        o = &s.orders[index]
        if t.stp != STP_OFF and o.user == t.user:
            prevent_self_trade(s, opposite, t, index)
            continue
        price = v.price_ticks
        if o.qty_lots > t.qty_lots:
            fill = t.qty_lots
            emit_trade(s, t, o.id, price, fill, TAKER_FILLED)
            o.qty_lots -= fill
            v.qty_lots -= fill
            t.filled_lots += fill
            t.qty_lots = 0
            return
        fill = o.qty_lots
        t.qty_lots -= fill
        t.filled_lots += fill
        emit_trade(s, t, o.id, price, fill, MAKER_FILLED | (TAKER_FILLED if t.qty_lots == 0 else 0))
        entry = find_entry(s, o.id)
        following = o.next
        free_order(s, index, entry)
        opposite.orders -= 1
        if following == 0:
            ladder_close(&s.pool, opposite, level)
        else:
            v.head = following
            v.count -= 1
            v.qty_lots -= fill
            s.orders[following].prev = 0


cdef bint can_fill(State* s, const Ladder* opposite, const Taker* t) noexcept nogil:
    """Would `match` fill the taker whole? O(levels), or O(orders) when self-trade prevention has to be looked at."""
    cdef uint64_t key = opposite.best_key
    cdef uint32_t level = opposite.best_level, index
    cdef int64_t wanted = t.qty_lots
    cdef bint careful = t.stp != STP_OFF and s.users[t.user].count != 0
    while level != 0 and key <= t.limit_key:
        if not careful:
            wanted -= min(wanted, s.pool.levels[level].qty_lots)
        else:
            index = s.pool.levels[level].head
            while index != 0 and wanted > 0:
                if s.orders[index].user != t.user:
                    wanted -= min(wanted, s.orders[index].qty_lots)
                elif t.stp != STP_CANCEL_MAKER:
                    return False
                index = s.orders[index].next
        if wanted == 0:
            return True
        level = ladder_next(&s.pool, opposite, key)
        key = ladder_key(opposite, s.pool.levels[level].price_ticks)
    return False


cdef inline uint8_t resolved_stp(const State* s, uint32_t user, uint8_t stp) noexcept nogil:
    if user == 0:
        return STP_OFF
    if stp == STP_DEFAULT:
        stp = s.users[user].stp
    return stp if stp != STP_DEFAULT else s.stp


cdef uint64_t events_of_match(State* s, const Ladder* opposite, const Taker* t) noexcept nogil:
    """Number of events that `match` would emit. O(levels), or O(orders) when self-trade prevention has to be looked at."""
    cdef uint64_t key = opposite.best_key, events = 0
    cdef uint32_t level = opposite.best_level, index
    cdef int64_t wanted = t.qty_lots
    cdef const Level* v
    cdef const Order* o
    cdef bint careful = t.stp != STP_OFF and s.users[t.user].count != 0
    while level != 0 and key <= t.limit_key and wanted > 0:
        v = &s.pool.levels[level]
        if not careful and v.qty_lots <= wanted:
            events += v.count
            wanted -= v.qty_lots
        else:
            index = v.head
            while index != 0 and wanted > 0:
                o = &s.orders[index]
                events += 1
                if t.stp == STP_OFF or o.user != t.user:
                    wanted -= min(wanted, o.qty_lots)
                elif t.stp != STP_CANCEL_MAKER:
                    events += 1
                    wanted -= min(wanted, o.qty_lots) if t.stp == STP_DECREMENT else wanted
                index = o.next
        level = ladder_next(&s.pool, opposite, key)
        key = ladder_key(opposite, s.pool.levels[level].price_ticks)
    return events


# --- commands -------------------------------------------------------------------------------------------------------------


cdef inline int check_size(const Book* b, int64_t price_ticks, int64_t qty_lots) noexcept nogil:
    cdef int64_t notional
    if pye_unlikely(price_ticks < b.min_price_ticks or price_ticks > b.max_price_ticks):
        return INVALID_PRICE if price_ticks <= 0 and b.min_price_ticks > 0 else PRICE_OUT_OF_RANGE
    if pye_unlikely(qty_lots < b.min_qty_lots or qty_lots > b.max_qty_lots):
        return INVALID_QTY if qty_lots <= 0 else QTY_OUT_OF_RANGE
    if pye_unlikely(pye_mul_overflows(price_ticks, qty_lots, &notional)):
        return NOTIONAL_OVERFLOW
    return 0


cdef inline int check_fields(const State* s, const Command* c, uint8_t allowed_flags) noexcept nogil:
    """Reason against the fields that every command has, in the order of the documentation; 0 if there is none."""
    if pye_unlikely(c.tif > FOK):
        return INVALID_TIF
    if pye_unlikely(c.flags & ~allowed_flags):
        return INVALID_FLAGS
    if pye_unlikely(c.flags & (POST_ONLY | SLIDE)) and (c.tif != GTC or not c.flags & POST_ONLY):
        return INVALID_FLAGS
    if pye_unlikely(c.stp > STP_DECREMENT):
        return INVALID_STP
    if pye_unlikely((c.reserved[0] | c.reserved[1] | c.reserved[2]) != 0 or (c.aux1 | c.aux2) != 0):
        return INVALID_RESERVED
    if pye_unlikely(c.user >= s.user_count):
        return INVALID_USER
    return 0


cdef inline bint is_plain(const State* s, const Command* c, uint32_t action) noexcept nogil:
    """Are flags, stp and the reserved fields all 0, and tif and user known? Three loads for nine fields."""
    return ((<const uint32_t*>c)[0] & <uint32_t>0xFFFF00FF == action and c.tif <= FOK
            and (<const uint64_t*>&c.user)[0] >> 40 == 0 and (c.aux1 | c.aux2) == 0 and c.user < s.user_count)


cdef inline int check_new(const State* s, const Command* c) noexcept nogil:
    """Reason against a new order for itself, whatever the book holds; 0 if there is none."""
    cdef const Book* b
    cdef int reason
    if pye_unlikely(c.instrument >= s.book_count):
        return INVALID_INSTRUMENT
    if pye_unlikely(<uint8_t>(c.side - BUY) > 1):
        return INVALID_SIDE
    b = &s.books[c.instrument]
    if pye_likely(is_plain(s, c, LIMIT)):
        return check_size(b, c.price_ticks, c.qty_lots)
    reason = check_fields(s, c, POST_ONLY | SLIDE | ASSIGN_ID if c.action == LIMIT else ASSIGN_ID)
    if pye_unlikely(reason != 0):
        return reason
    if c.action == LIMIT:
        return check_size(b, c.price_ticks, c.qty_lots)
    if c.price_ticks != 0:
        return INVALID_PRICE
    if c.qty_lots < b.min_qty_lots or c.qty_lots > b.max_qty_lots:
        return INVALID_QTY if c.qty_lots <= 0 else QTY_OUT_OF_RANGE
    return 0


cdef inline int check_old(const State* s, const Command* c, uint8_t allowed_flags) noexcept nogil:
    """Reason against a command about resting orders for itself; 0 if there is none."""
    if pye_unlikely(c.instrument >= s.book_count):
        return INVALID_INSTRUMENT
    if pye_unlikely(c.side > SELL):
        return INVALID_SIDE
    return 0 if pye_likely(is_plain(s, c, CANCEL)) else check_fields(s, c, allowed_flags)


cdef inline int ensure(State* s, const Ladder* opposite, const Taker* t, bint crosses) noexcept nogil:
    """See to room for the command's events and memory for one resting order, before anything changes."""
    cdef uint64_t need = 2
    cdef int reason
    if crosses:
        need = 2 * opposite.orders + 2
        if pye_unlikely(not has_room(s, need) or s.out.pending != 0):
            need = events_of_match(s, opposite, t) + 2
            if s.out.pending != 0 and requests_reserve_trades(&s.requests, need - 2) != 0:
                return OUT_OF_MEMORY
    if pye_unlikely(not has_room(s, need)):
        reason = state_make_room(s, need)
        if reason != 0:
            return reason
    if pye_unlikely(s.budget == 0) and state_reserve(s, 1) != 0:
        return OUT_OF_MEMORY
    return 0


cdef inline int finish_taker(State* s, const Taker* t, uint8_t reason) noexcept nogil:
    """Status of an order that doesn't rest; cancels what is left of it for a reason."""
    s.last.filled_lots = t.filled_lots
    s.last.open_lots = 0
    if t.stopped:
        s.last.reason = BY_SELF_TRADE
        return DONE_CANCELLED
    if t.qty_lots == 0:
        return FILLED
    emit_taker_cancelled(s, t, t.qty_lots, 0, reason)
    s.last.reason = reason
    return DONE_CANCELLED


cdef inline void begin(State* s, uint64_t order_id) noexcept nogil:
    s.last.order_id = order_id
    s.last.first_seq = s.out.seq
    s.last.filled_lots = s.last.open_lots = 0
    s.last.reason = NONE


cdef uint64_t free_order_id(const State* s) noexcept nogil:
    cdef uint64_t order_id = s.next_order_id
    while find_entry(s, order_id) != NO_ENTRY:
        order_id += 1
    return order_id


cdef inline int slide(const Book* b, const Ladder* opposite, const Command* c, int64_t* price) noexcept nogil:
    """Price one tick off the opposite touch; POST_ONLY_WOULD_TRADE if the instrument has no such price."""
    cdef int64_t touch = <int64_t>(opposite.best_key ^ opposite.flip)
    price[0] = touch - 1 if c.side == BUY else touch + 1
    return POST_ONLY_WOULD_TRADE if check_size(b, price[0], c.qty_lots) != 0 else 0


cdef inline int rest_new(State* s, const Command* c, Ladder* own, uint64_t order_id, int64_t price_ticks) noexcept nogil:
    """A limit order that meets nothing: by far the most frequent command, so it does only what it must."""
    cdef uint64_t key = ladder_key(own, price_ticks)
    cdef uint32_t page, level = ladder_find_from(&s.pool, own, key, &page)
    cdef int64_t total
    cdef int reason
    if level != 0 and pye_unlikely(pye_add_overflows(s.pool.levels[level].qty_lots, c.qty_lots, &total)):
        return LEVEL_FULL
    if pye_unlikely(not has_room(s, 1)):
        reason = state_make_room(s, 1)
        if reason != 0:
            return reason
    if pye_unlikely(s.budget == 0) and state_reserve(s, 1) != 0:
        return OUT_OF_MEMORY
    begin(s, order_id)
    emit_order(s, ACCEPTED, order_id, command_detail(c, c.user), c.ts_ns, price_ticks, c.qty_lots, 0, c.instrument, c.side, 0, 0)
    if level == 0:
        level = ladder_open(&s.pool, own, key, page)
    append_to_level(s, own, level, new_order(s, order_id, c.qty_lots, c.user))
    s.last.open_lots = c.qty_lots
    return RESTING


cdef int take(State* s, const Command* c, Ladder* own, Ladder* opposite, uint64_t order_id) noexcept nogil:
    """An order that may trade, or may not rest."""
    cdef Taker t
    cdef bint may_rest = c.tif == GTC and c.action == LIMIT, crosses
    cdef int reason
    t.id = order_id
    t.detail = command_detail(c, c.user)
    t.qty_lots = c.qty_lots
    t.filled_lots = 0
    t.limit_key = ladder_key(opposite, c.price_ticks) if c.action == LIMIT else NO_KEY - 1
    t.price_ticks = c.price_ticks
    t.ts_ns = c.ts_ns
    t.instrument = c.instrument
    t.user = c.user
    t.side = c.side
    t.stp = resolved_stp(s, c.user, c.stp)
    t.stopped = False
    crosses = opposite.best_key <= t.limit_key
    reason = ensure(s, opposite, &t, crosses)
    if pye_unlikely(reason != 0):
        return reason
    begin(s, t.id)
    emit_order(s, ACCEPTED, t.id, t.detail, c.ts_ns, t.price_ticks, c.qty_lots, 0, c.instrument, c.side, 0, 0)
    if c.tif == FOK and not can_fill(s, opposite, &t):
        return finish_taker(s, &t, BY_FOK)
    if crosses:
        match(s, opposite, &t)
    if t.qty_lots == 0 or not may_rest:
        return finish_taker(s, &t, BY_IOC if c.action == LIMIT else BY_NO_LIQUIDITY)
    rest(s, own, new_order(s, t.id, t.qty_lots, c.user), c.price_ticks)
    s.last.filled_lots = t.filled_lots
    s.last.open_lots = t.qty_lots
    return PARTIALLY_FILLED if t.filled_lots != 0 else RESTING


cdef int submit(State* s, const Command* c) noexcept nogil:
    cdef Ladder* own
    cdef Ladder* opposite
    cdef uint64_t order_id = c.order_id
    cdef int64_t price_ticks = c.price_ticks
    cdef int status = check_new(s, c)
    cdef uint32_t which
    cdef bint crosses
    if pye_unlikely(status != 0):
        return status
    which = 2 * c.instrument + c.side - 1
    own = &s.pool.ladders[which]
    opposite = &s.pool.ladders[which ^ 1]
    if c.flags & ASSIGN_ID:
        order_id = free_order_id(s)
    elif pye_unlikely(find_entry(s, order_id) != NO_ENTRY):
        return DUPLICATE_ORDER_ID
    crosses = opposite.best_key <= ladder_key(opposite, price_ticks)
    if pye_unlikely(c.flags & POST_ONLY and crosses):
        if not c.flags & SLIDE or slide(&s.books[c.instrument], opposite, c, &price_ticks) != 0:
            return POST_ONLY_WOULD_TRADE
        crosses = False
    if pye_likely(c.action == LIMIT and c.tif == GTC and not crosses):
        status = rest_new(s, c, own, order_id, price_ticks)
    else:
        status = take(s, c, own, opposite, order_id)
    if c.flags & ASSIGN_ID and status < FIRST_REJECTION:
        s.next_order_id = order_id + 1
    return status


cdef inline int find_owned(State* s, const Command* c, uint64_t* entry) noexcept nogil:
    """Find the resting order that a cancel or an amend names, and see that it may be touched."""
    cdef const Order* o
    entry[0] = find_entry(s, c.order_id)
    if pye_unlikely(entry[0] == NO_ENTRY):
        return UNKNOWN_ORDER
    o = &s.orders[order_of(s, entry[0])]
    if pye_unlikely(s.pool.levels[o.level].side >> 1 != c.instrument):
        return WRONG_INSTRUMENT
    if pye_unlikely(c.user != 0 and c.user != o.user):
        return NOT_OWNER
    return 0


cdef int cancel(State* s, const Command* c) noexcept nogil:
    cdef uint64_t entry
    cdef uint32_t index
    cdef Order* o
    cdef const Level* v
    cdef int reason = check_old(s, c, 0)
    if pye_unlikely(reason != 0):
        return reason
    reason = find_owned(s, c, &entry)
    if pye_unlikely(reason != 0):
        return reason
    if pye_unlikely(not has_room(s, 1)):
        reason = state_make_room(s, 1)
        if reason != 0:
            return reason
    begin(s, c.order_id)
    index = order_of(s, entry)
    o = &s.orders[index]
    v = &s.pool.levels[o.level]
    emit_cancelled(s, o, v, c.ts_ns, o.qty_lots, 0, BY_USER)
    s.last.open_lots = o.qty_lots
    s.last.reason = BY_USER
    take_from_level(s, &s.pool.ladders[v.side], index)
    free_order(s, index, entry)
    return DONE_CANCELLED


cdef int amend(State* s, const Command* c) noexcept nogil:
    cdef Taker t
    cdef uint64_t entry
    cdef uint32_t index, level
    cdef Order* o
    cdef Level* v
    cdef Ladder* own
    cdef Ladder* opposite
    cdef bint crosses
    cdef int64_t total, others
    cdef int reason = check_old(s, c, POST_ONLY)
    if reason == 0:
        reason = check_size(&s.books[c.instrument], c.price_ticks, c.qty_lots)
    if reason == 0:
        reason = find_owned(s, c, &entry)
    if reason != 0:
        return reason
    index = order_of(s, entry)
    o = &s.orders[index]
    v = &s.pool.levels[o.level]
    own = &s.pool.ladders[v.side]
    opposite = &s.pool.ladders[v.side ^ 1]
    t.id = c.order_id
    t.detail = event_detail(o.user, LIMIT, GTC, c.flags, c.stp)
    t.ts_ns = c.ts_ns
    t.instrument = c.instrument
    t.user = o.user
    t.side = (v.side & 1) + 1
    t.price_ticks = c.price_ticks
    t.limit_key = ladder_key(opposite, c.price_ticks)
    t.filled_lots = 0
    t.stopped = False
    t.qty_lots = c.qty_lots
    t.stp = resolved_stp(s, o.user, c.stp)
    crosses = opposite.best_key <= t.limit_key
    if crosses and c.flags & POST_ONLY:
        return POST_ONLY_WOULD_TRADE
    level = ladder_find(&s.pool, own, ladder_key(own, c.price_ticks)) if not crosses else 0
    if level != 0:
        others = s.pool.levels[level].qty_lots - (o.qty_lots if level == o.level else 0)
        if pye_add_overflows(others, c.qty_lots, &total):
            return LEVEL_FULL
    reason = ensure(s, opposite, &t, crosses)
    if pye_unlikely(reason != 0):
        return reason
    o = &s.orders[index]
    v = &s.pool.levels[o.level]

    begin(s, c.order_id)
    if c.price_ticks == v.price_ticks and c.qty_lots <= o.qty_lots:
        emit_order(s, REPLACED, t.id, t.detail, c.ts_ns, c.price_ticks, c.qty_lots,
                   o.qty_lots, c.instrument, t.side, 0, KEPT_PLACE)
        v.qty_lots -= o.qty_lots - c.qty_lots
        o.qty_lots = c.qty_lots
        s.last.open_lots = c.qty_lots
        return DONE_REPLACED
    emit_order(s, REPLACED, t.id, t.detail, c.ts_ns, c.price_ticks, c.qty_lots,
               o.qty_lots, c.instrument, t.side, 0, 0)
    take_from_level(s, own, index)
    if crosses:
        match(s, opposite, &t)
        if t.qty_lots == 0:
            # Matching may have changed the table of ids, so the entry is looked up again.
            free_order(s, index, find_entry(s, t.id))
            return finish_taker(s, &t, NONE)
    o.qty_lots = t.qty_lots
    rest(s, own, index, c.price_ticks)
    s.last.filled_lots = t.filled_lots
    s.last.open_lots = t.qty_lots
    return PARTIALLY_FILLED if t.filled_lots != 0 else DONE_REPLACED


# --- mass cancel ----------------------------------------------------------------------------------------------------------


cdef inline bint in_scope(const State* s, uint32_t index, const Command* c) noexcept nogil:
    cdef uint32_t side = s.pool.levels[s.orders[index].level].side
    return (c.instrument == <uint32_t>EVERY_INSTRUMENT or side >> 1 == c.instrument) and (c.side == 0 or (side & 1) + 1 == c.side)


cdef void mass_cancel_order(State* s, uint32_t index, int64_t ts_ns) noexcept nogil:
    cdef Order* o = &s.orders[index]
    cdef const Level* v = &s.pool.levels[o.level]
    emit_cancelled(s, o, v, ts_ns, o.qty_lots, 0, BY_MASS)
    s.last.cancelled += 1
    # The sum of many huge orders may not fit; it stays at the largest number then.
    if pye_add_overflows(s.last.open_lots, o.qty_lots, &s.last.open_lots):
        s.last.open_lots = INT64_MAX
    drop_maker(s, &s.pool.ladders[v.side], index)


cdef uint64_t mass_cancel_need(const State* s, const Command* c) noexcept nogil:
    """Upper bound of the events of a mass cancel."""
    if c.user != 0:
        return s.users[c.user].count
    if c.instrument >= s.book_count:
        return s.order_slab.live
    return s.pool.ladders[2 * c.instrument].orders + s.pool.ladders[2 * c.instrument + 1].orders


cdef void mass_cancel_book(State* s, uint32_t book, const Command* c) noexcept nogil:
    cdef Ladder* l
    cdef int side
    for side in range(2):
        if c.side == 0 or c.side == side + 1:
            l = &s.pool.ladders[2 * book + side]
            while l.best_level != 0:
                mass_cancel_order(s, s.pool.levels[l.best_level].head, c.ts_ns)


cdef int mass_cancel(State* s, const Command* c) noexcept nogil:
    cdef uint32_t index, following, book
    cdef uint64_t need
    cdef int reason
    if c.instrument >= s.book_count and c.instrument != <uint32_t>EVERY_INSTRUMENT:
        return INVALID_INSTRUMENT
    if c.side > SELL:
        return INVALID_SIDE
    reason = check_fields(s, c, 0)
    if reason != 0:
        return reason
    need = mass_cancel_need(s, c)
    if not has_room(s, need):
        reason = state_make_room(s, need)
        if reason != 0:
            return reason
    begin(s, c.order_id)
    s.last.cancelled = 0
    s.last.reason = BY_MASS
    if c.user != 0:
        index = s.users[c.user].head
        while index != 0:
            following = s.links[index].next
            if in_scope(s, index, c):
                mass_cancel_order(s, index, c.ts_ns)
            index = following
    elif c.instrument != <uint32_t>EVERY_INSTRUMENT:
        mass_cancel_book(s, c.instrument, c)
    else:
        for book in range(s.book_count):
            mass_cancel_book(s, book, c)
    return DONE_MASS_CANCELLED


# --- entry points ---------------------------------------------------------------------------------------------------------


cdef inline int execute(State* s, const Command* c) noexcept nogil:
    if c.action == LIMIT or c.action == MARKET:
        return submit(s, c)
    if c.action == CANCEL:
        return cancel(s, c)
    if c.action == AMEND:
        return amend(s, c)
    if c.action == MASS_CANCEL:
        return mass_cancel(s, c)
    return INVALID_ACTION


cdef int matching_execute(State* s, const Command* c) noexcept nogil:
    return execute(s, c)


cdef int matching_reject(State* s, const Command* c, int reason) noexcept nogil:
    """Emit the REJECTED event of a command; returns the reason, or why there is no room for the event."""
    cdef int full
    if reason >= FIRST_CAPACITY:
        return reason
    if not has_room(s, 1):
        full = state_make_room(s, 1)
        if full != 0:
            return full
    begin(s, c.order_id)
    emit_order(s, REJECTED, c.order_id, command_detail(c, c.user), c.ts_ns, c.price_ticks, c.qty_lots,
               0, c.instrument, c.side, <uint8_t>reason, c.action)
    return reason


cdef int matching_apply(State* s, const Command* c) noexcept nogil:
    cdef int status = execute(s, c)
    if pye_unlikely(status >= FIRST_REJECTION):
        return matching_reject(s, c, status)
    if s.out.seq - s.out.published >= PUBLISH_EVERY and not s.collector.linear:
        ring_publish(s.ring, s.out.seq)
        s.out.published = s.out.seq
    return status
