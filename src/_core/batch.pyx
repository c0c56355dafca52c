"""Running arrays of commands without the GIL, and the arrays that come back. See batch.pxd."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pyengine._core.idtable cimport idtable_tag
from pyengine._core.ladder cimport Ladder, ladder_find, ladder_key
from pyengine._core.matching cimport matching_execute, matching_reject
from pyengine._core.once cimport once_execute
from pyengine._core.port cimport (
    PYE_REUSES_BLOCKS, pye_alloc, pye_copied, pye_free, pye_lowest_bit, pye_match8, pye_prefetch_read, pye_prefetch_write,
    pye_unlikely,
)
from pyengine._core.records cimport AMEND, CANCEL, FIRST_REJECTION, LIMIT, OUT_OF_MEMORY, RING_FULL, TRADE, Command, Event
from pyengine._core.requests cimport REQUEST_NOT, REQUEST_REPEATED
from pyengine._core.ring cimport PUBLISH_EVERY, ring_publish, ring_room
from pyengine._core.state cimport Collector, Order, State, state_collect, state_keep

cdef enum:
    WARM_BLOCKS = 4
    WARM_BYTES = 1 << 28           # larger blocks go back to the system
    DEEP_ORDERS = 8000             # more resting orders than the second-level cache holds: look ahead
    AHEAD_BUCKET = 24                # commands between the touch of an id's bucket and its use
    AHEAD_ORDER = 16
    AHEAD_NEIGHBOURS = 8
    TRAIL = 32                     # power of two above AHEAD_ORDER

# Fresh memory costs a page fault and the kernel's zeroing of each page, as much as the matching itself; blocks that were
# used before cost neither. The GIL guards this list.
cdef Event* warm_events[WARM_BLOCKS]
cdef uint64_t warm_capacity[WARM_BLOCKS]


cdef Event* take_warm(uint64_t least, uint64_t* capacity) noexcept:
    """A block of at least `least` events, used before if there is one. NULL without memory."""
    cdef int i, best = -1
    cdef Event* events
    for i in range(WARM_BLOCKS):
        if warm_events[i] != NULL and warm_capacity[i] >= least and (best < 0 or warm_capacity[i] < warm_capacity[best]):
            best = i
    if best >= 0:
        events = warm_events[best]
        capacity[0] = warm_capacity[best]
        warm_events[best] = NULL
        return events
    capacity[0] = least
    return <Event*>pye_alloc(least * sizeof(Event))


cdef void give_warm(Event* events, uint64_t capacity) noexcept:
    """Keep a block for later, in place of a smaller one if there are enough."""
    cdef int i, worst = 0
    if events == NULL:
        return
    if PYE_REUSES_BLOCKS and capacity * sizeof(Event) <= WARM_BYTES:
        for i in range(WARM_BLOCKS):
            if warm_events[i] == NULL:
                worst = i
                break
            if warm_capacity[i] < warm_capacity[worst]:
                worst = i
        if warm_events[worst] == NULL or warm_capacity[worst] < capacity:
            pye_free(warm_events[worst], warm_capacity[worst] * sizeof(Event))
            warm_events[worst] = events
            warm_capacity[worst] = capacity
            return
    pye_free(events, capacity * sizeof(Event))


cdef class EventBuffer:
    """Memory of an array of events. Read-only for Python; arrays made of it keep it alive."""

    def __dealloc__(self):
        give_warm(self.events, self.capacity)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>self.events, self.count * sizeof(Event), 1, flags)

    def trades(self):
        """Copy the trades into a buffer of their own. O(events)."""
        cdef uint64_t n, capacity
        cdef Event* events
        with nogil:
            n = count_trades(self.events, self.count)
        events = take_warm(max(n, 1), &capacity)
        if events == NULL:
            raise MemoryError
        with nogil:
            copy_trades(self.events, self.count, events)
        return buffer_of(events, capacity, n)


cdef EventBuffer buffer_of(Event* events, uint64_t capacity, uint64_t count):
    """Wrap a block from `take_warm`; the buffer owns it from now on."""
    cdef EventBuffer buffer = EventBuffer.__new__(EventBuffer)
    buffer.events = events
    buffer.capacity = capacity
    buffer.count = count
    return buffer


cdef uint64_t count_trades(const Event* events, uint64_t count) noexcept nogil:
    cdef uint64_t n = 0, i
    for i in range(count):
        n += events[i].kind == TRADE
    return n


cdef void copy_trades(const Event* events, uint64_t count, Event* into) noexcept nogil:
    cdef uint64_t i
    for i in range(count):
        if events[i].kind == TRADE:
            into[0] = events[i]
            into += 1


cdef void begin_linear(State* s, Event* events, uint64_t capacity) noexcept nogil:
    """Let commands write straight into an array instead of the ring. Only while nobody reads the ring as it fills."""
    s.collector.linear = True
    s.collector.events = events
    s.collector.capacity = capacity
    s.out.events = events
    s.out.origin = s.out.kept = s.out.seq
    s.out.mask = <uint64_t>-1
    s.out.limit = s.out.seq + capacity


cdef void end_linear(State* s) noexcept nogil:
    """Go back to the ring, which gets the newest of the events for consumers that are attached."""
    cdef uint64_t n, first, i
    state_collect(s)
    s.collector.count = s.out.seq - s.out.origin
    n = min(s.collector.count, s.ring.capacity)
    if s.ring.attached != 0 and n > 0:
        ring_room(s.ring, s.out.seq - n, n)
        first = s.collector.count - n
        for i in range(n):
            s.ring.events[(s.out.origin + first + i) & s.ring.mask] = s.collector.events[first + i]
    s.collector.linear = False
    s.out.events = s.ring.events
    s.out.origin = 0
    s.out.mask = s.ring.mask
    s.out.limit = s.out.seq
    s.out.published = s.out.seq
    ring_publish(s.ring, s.out.seq)


cdef inline void gather_field(char* into, const char* source, Py_ssize_t stride, uint64_t n, int width) noexcept nogil:
    """Copy one column's values into every 64th byte. The widths are constants at each call, so the copies become moves."""
    cdef uint64_t _i
    for _i in range(n):
        memcpy(into, source, width)
        into += sizeof(Command)
        source += stride


cdef void gather(const Table* t, uint64_t first, uint64_t n, Command* into) noexcept nogil:
    """Bring rows of columns into records, a block at a time, so that they are still in the cache when they run."""
    cdef const char* at[FIELDS]
    cdef int f
    if t.whole:
        gather_field(<char*>into, t.column[0] + <Py_ssize_t>first * t.stride[0], t.stride[0], n, sizeof(Command))
        return
    memset(into, 0, n * sizeof(Command))
    for f in range(FIELDS):
        at[f] = t.column[f] + <Py_ssize_t>first * t.stride[f]
    gather_field(<char*>&into.action, at[0], t.stride[0], n, 1)
    gather_field(<char*>&into.tif, at[1], t.stride[1], n, 1)
    gather_field(<char*>&into.flags, at[2], t.stride[2], n, 1)
    gather_field(<char*>&into.stp, at[3], t.stride[3], n, 1)
    gather_field(<char*>&into.instrument, at[4], t.stride[4], n, 4)
    gather_field(<char*>&into.order_id, at[5], t.stride[5], n, 8)
    gather_field(<char*>&into.price_ticks, at[6], t.stride[6], n, 8)
    gather_field(<char*>&into.qty_lots, at[7], t.stride[7], n, 8)
    gather_field(<char*>&into.ts_ns, at[8], t.stride[8], n, 8)
    gather_field(<char*>&into.user, at[9], t.stride[9], n, 4)
    gather_field(<char*>&into.side, at[10], t.stride[10], n, 1)
    gather_field(<char*>&into.aux1, at[11], t.stride[11], n, 8)
    gather_field(<char*>&into.aux2, at[12], t.stride[12], n, 8)


cdef inline void touch_bucket(const State* s, const Command* c) noexcept nogil:
    """Touch the id's bucket; of a new id also the count that says whether the search may stop there."""
    cdef uint64_t b = idtable_tag(c.order_id) & s.ids.mask
    pye_prefetch_write(&s.ids.buckets[b])
    if c.action == LIMIT:
        pye_prefetch_read(&s.ids.spill[b])


cdef inline void touch_tail(State* s, const Command* c) noexcept nogil:
    """Touch the order that a new one would queue behind."""
    cdef uint32_t level
    cdef Ladder* l
    if c.instrument < s.book_count and 1 <= c.side <= 2:
        l = &s.pool.ladders[2 * c.instrument + c.side - 1]
        level = ladder_find(&s.pool, l, ladder_key(l, c.price_ticks))
        pye_prefetch_write(&s.orders[s.pool.levels[level].tail])


cdef inline uint32_t touch_order(State* s, const Command* c) noexcept nogil:
    """Touch the order that a cancel or an amend names; its index, or 0. A wrong guess only costs the touch."""
    cdef uint32_t tag = idtable_tag(c.order_id), hits, index
    cdef uint64_t b = tag & s.ids.mask
    if c.action == LIMIT:
        touch_tail(s, c)
    if c.action != CANCEL and c.action != AMEND:
        return 0
    hits = pye_match8(s.ids.buckets[b].tag, tag)
    if hits == 0:
        return 0
    index = s.ids.buckets[b].index[pye_lowest_bit(hits)]
    pye_prefetch_write(&s.orders[index])
    return index


cdef inline void touch_neighbours(const State* s, uint32_t index) noexcept nogil:
    cdef const Order* o = &s.orders[index]
    if index == 0:
        return
    # The order may be gone meanwhile; its old links still point into the slab.
    pye_prefetch_write(&s.orders[o.prev])
    pye_prefetch_write(&s.orders[o.next])
    pye_prefetch_write(&s.pool.levels[o.level])
    if o.user != 0:
        pye_prefetch_write(&s.links[index])


cdef int run_oversized(State* s, const Command* c, uint64_t client_id) noexcept nogil:
    """Run a command that makes more events than the ring holds, while nobody has to read them all. Client id 0 is none."""
    cdef Event* events = <Event*>pye_alloc(BLOCK * sizeof(Event))
    cdef Collector collector
    cdef Collector whole
    cdef int status
    if events == NULL:
        return OUT_OF_MEMORY
    state_collect(s)
    collector = s.collector
    begin_linear(s, events, BLOCK)
    status = matching_execute(s, c) if client_id == 0 else once_execute(s, c, client_id, 0)
    end_linear(s)
    whole = s.collector
    s.collector = collector
    if collector.keep:
        state_keep(s, whole.events, whole.count)
    pye_free(whole.events, whole.capacity * sizeof(Event))
    return status


cdef inline uint8_t run_one(State* s, const Command* c) noexcept nogil:
    cdef int status = matching_execute(s, c)
    if pye_unlikely(status == RING_FULL) and s.ring.required == 0:
        status = run_oversized(s, c, 0)
    if pye_unlikely(status >= FIRST_REJECTION):
        status = matching_reject(s, c, status)
    return <uint8_t>status


cdef void run_deep(State* s, const Command* c, uint64_t n, uint64_t visible, uint8_t* status) noexcept nogil:
    """Run n commands and touch the memory that later ones will need; `visible` commands may be looked at."""
    cdef Command own
    cdef uint32_t trail[TRAIL]
    cdef uint64_t i, warm = min(<uint64_t>AHEAD_BUCKET, visible)
    for i in range(TRAIL):
        trail[i] = 0
    for i in range(warm):
        touch_bucket(s, &c[i])
    for i in range(min(<uint64_t>AHEAD_ORDER, visible)):
        trail[i & (TRAIL - 1)] = touch_order(s, &c[i])
    for i in range(n):
        if i + AHEAD_BUCKET < visible:
            touch_bucket(s, &c[i + AHEAD_BUCKET])
        if i + AHEAD_ORDER < visible:
            trail[(i + AHEAD_ORDER) & (TRAIL - 1)] = touch_order(s, &c[i + AHEAD_ORDER])
        touch_neighbours(s, trail[(i + AHEAD_NEIGHBOURS) & (TRAIL - 1)])
        own = c[i]
        status[i] = run_one(s, &own)


cdef void run_rows(State* s, const Command* c, uint64_t n, uint64_t visible, uint8_t* status) noexcept nogil:
    """Run n commands. Each is copied first: another thread may write to the caller's array between check and use."""
    cdef Command own
    cdef uint64_t i
    if s.order_slab.live > DEEP_ORDERS:
        run_deep(s, c, n, visible, status)
        return
    for i in range(n):
        own = c[i]
        status[i] = run_one(s, &own)


cdef inline uint8_t run_one_once(State* s, const Command* c, uint64_t client_id, uint8_t* repeated) noexcept nogil:
    cdef int status = once_execute(s, c, client_id, 0)
    if pye_unlikely(status == RING_FULL) and s.ring.required == 0:
        status = run_oversized(s, c, client_id)
    repeated[0] = s.requests.came == REQUEST_REPEATED
    if s.requests.came == REQUEST_NOT and status >= FIRST_REJECTION:
        status = matching_reject(s, c, status)
    return <uint8_t>status


cdef void run_once_rows(
    State* s, const Command* c, const uint64_t* client_ids, uint64_t n, uint8_t* status, uint8_t* repeated,
) noexcept nogil:
    """Run n commands that may have client order ids, copied as in `run_rows`."""
    cdef Command own
    cdef uint64_t i, client_id
    for i in range(n):
        own = c[i]
        client_id = client_ids[i]
        pye_copied(&client_id)
        status[i] = run_one(s, &own) if client_id == 0 else run_one_once(s, &own, client_id, &repeated[i])


cdef inline void run_block(
    State* s, const Table* t, const Command* c, uint64_t first, uint64_t n, uint64_t visible, uint8_t* status,
) noexcept nogil:
    if pye_unlikely(t.client_ids != NULL):
        run_once_rows(s, c, t.client_ids + first, n, status + first, t.repeated + first)
    else:
        run_rows(s, c, n, visible, status + first)


cdef uint64_t run_table(State* s, const Table* t, uint8_t* status, uint64_t rows_done) noexcept nogil:
    """Run the rows from `rows_done` on, up to a block; returns how many are done now. One status a row."""
    cdef Command block[BLOCK]
    # While others read along, a block is small enough that they aren't kept waiting and never meet the producer's line.
    cdef uint64_t n = min(t.rows - rows_done, <uint64_t>BLOCK if s.collector.linear else <uint64_t>PUBLISH_EVERY)
    if t.packed != NULL:
        run_block(s, t, t.packed + rows_done, rows_done, n, t.rows - rows_done, status)
    else:
        gather(t, rows_done, n, block)
        run_block(s, t, block, rows_done, n, n, status)
    if not s.collector.linear:
        ring_publish(s.ring, s.out.seq)
        s.out.published = s.out.seq
    state_collect(s)
    return rows_done + n
