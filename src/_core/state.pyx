"""Memory of an engine's state, and the room for its events. See state.pxd."""

from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pyengine._core.idtable cimport idtable_free, idtable_grow, idtable_init
from pyengine._core.ladder cimport MAX_PAGES_PER_LEVEL, Ladder, Level, Page, Slab, ladder_init
from pyengine._core.port cimport pye_alloc, pye_free, pye_grow, pye_now_ns, pye_sleep_ns
from pyengine._core.records cimport OUT_OF_MEMORY, RING_FULL, Event
from pyengine._core.requests cimport requests_bytes, requests_free
from pyengine._core.ring cimport ring_free, ring_new, ring_publish, ring_room

cdef int64_t MAX_TICKS = (<int64_t>1 << 62) - 1

cdef enum:
    SMALLEST = 256                 # entries of a fresh slab
    SPARE_LEVELS = 34              # room for some new levels after each look at the memory
    SPARE_PAGES = 2 + 32 * MAX_PAGES_PER_LEVEL
    MAX_ENTRIES = 0x0FFFFFFE       # leaves 4 bits of a link for flags


cdef State* state_new(uint64_t ring_capacity, uint64_t expected_orders) noexcept nogil:
    """Make an empty engine. NULL without memory."""
    cdef State* s = <State*>pye_alloc(sizeof(State))
    if s == NULL:
        return NULL
    s.next_order_id = s.next_trade_id = 1
    s.requests.latest_ns = INT64_MIN
    s.ring = ring_new(ring_capacity, 1)
    if s.ring == NULL or idtable_init(&s.ids, SMALLEST // 4) != 0 or state_add_user(s) < 0:
        state_free(s)
        return NULL
    s.out.events = s.ring.events
    s.out.mask = s.ring.mask
    s.out.seq = s.out.published = s.out.kept = 1
    if state_reserve(s, max(expected_orders, 64)) != 0:
        state_free(s)
        return NULL
    return s


cdef void state_free(State* s) noexcept nogil:
    if s == NULL:
        return
    pye_free(s.orders, s.order_slab.capacity * sizeof(Order))
    pye_free(s.links, s.order_slab.capacity * sizeof(UserLink))
    pye_free(s.pool.levels, s.pool.level_slab.capacity * sizeof(Level))
    pye_free(s.pool.pages, s.pool.page_slab.capacity * sizeof(Page))
    if s.ids.buckets != NULL:
        idtable_free(&s.ids)
    pye_free(s.books, s.book_capacity * sizeof(Book))
    pye_free(s.pool.ladders, 2 * s.book_capacity * sizeof(Ladder))
    pye_free(s.users, s.user_capacity * sizeof(User))
    requests_free(&s.requests)
    ring_free(s.ring)
    pye_free(s, sizeof(State))


cdef uint64_t state_bytes(const State* s) noexcept nogil:
    """Bytes of address space taken for books, orders and remembered commands, without the ring."""
    return (s.order_slab.capacity * (sizeof(Order) + sizeof(UserLink))
            + s.pool.level_slab.capacity * sizeof(Level) + s.pool.page_slab.capacity * sizeof(Page)
            + (s.ids.mask + 1) * 65 + s.book_capacity * (sizeof(Book) + 2 * sizeof(Ladder)) + s.user_capacity * sizeof(User)
            + requests_bytes(&s.requests))


cdef void* grow_slab(void* entries, Slab* slab, uint64_t need, size_t size) noexcept nogil:
    """Make room for `need` more entries, at least half as much again. NULL without memory, and nothing has changed.

    The caller sets the capacity when all arrays of the slab have grown.
    """
    return pye_grow(entries, slab.capacity * size, grown(slab, need) * size)


cdef uint64_t grown(Slab* slab, uint64_t need) noexcept nogil:
    cdef uint64_t least = slab.live + need + 2
    return max(least, <uint64_t>slab.capacity + slab.capacity // 2, <uint64_t>SMALLEST)


cdef void refresh_budget(State* s) noexcept nogil:
    """Count how many more orders can rest without memory, even if each opens a level far from all others."""
    cdef uint64_t n = s.order_slab.capacity - s.order_slab.live - 2
    n = min(n, <uint64_t>s.pool.level_slab.capacity - s.pool.level_slab.live - 2)
    n = min(n, (<uint64_t>s.pool.page_slab.capacity - s.pool.page_slab.live - 2) // MAX_PAGES_PER_LEVEL)
    s.budget = <uint32_t>min(n, s.ids.limit - s.ids.used - 1)


cdef int state_reserve(State* s, uint64_t orders) noexcept nogil:
    """Take memory so that `orders` more can rest without asking again. 0, or -1 and nothing has changed. Amortised O(1)."""
    cdef void* p
    cdef uint64_t n
    if s.order_slab.live + orders + 2 >= s.order_slab.capacity:
        n = grown(&s.order_slab, orders)
        if n > MAX_ENTRIES:
            return -1
        p = grow_slab(s.orders, &s.order_slab, orders, sizeof(Order))
        if p == NULL:
            return -1
        s.orders = <Order*>p
        p = grow_slab(s.links, &s.order_slab, orders, sizeof(UserLink))
        if p == NULL:
            # The orders' block is larger than its capacity says; give it back its size in the books.
            p = pye_alloc(s.order_slab.capacity * sizeof(Order))
            if p == NULL:
                return -1
            memcpy(p, s.orders, s.order_slab.capacity * sizeof(Order))
            pye_free(s.orders, n * sizeof(Order))
            s.orders = <Order*>p
            return -1
        s.links = <UserLink*>p
        s.order_slab.capacity = <uint32_t>n
    # Levels and pages aren't reserved per order: most orders join levels that exist. They grow one by one.
    if s.pool.level_slab.live + SPARE_LEVELS >= s.pool.level_slab.capacity:
        n = grown(&s.pool.level_slab, SPARE_LEVELS)
        p = grow_slab(s.pool.levels, &s.pool.level_slab, SPARE_LEVELS, sizeof(Level)) if n <= MAX_ENTRIES else NULL
        if p == NULL:
            return -1
        s.pool.levels = <Level*>p
        s.pool.level_slab.capacity = <uint32_t>n
    if s.pool.page_slab.live + SPARE_PAGES >= s.pool.page_slab.capacity:
        n = grown(&s.pool.page_slab, SPARE_PAGES)
        p = grow_slab(s.pool.pages, &s.pool.page_slab, SPARE_PAGES, sizeof(Page)) if n <= MAX_ENTRIES else NULL
        if p == NULL:
            return -1
        s.pool.pages = <Page*>p
        s.pool.page_slab.capacity = <uint32_t>n
    while s.ids.used + orders + 2 >= s.ids.limit:
        if idtable_grow(&s.ids) != 0:
            return -1
    if s.order_slab.used == 0:
        s.order_slab.used = s.pool.level_slab.used = s.pool.page_slab.used = 1
    refresh_budget(s)
    return 0


cdef int state_add_book(State* s, int64_t min_price, int64_t max_price, int64_t min_qty, int64_t max_qty) noexcept nogil:
    """Add a book and return its index; -1 without memory or for limits that no instrument can have. Amortised O(1)."""
    cdef uint32_t n = s.book_capacity
    cdef void* p
    cdef Book* b
    cdef Ladder* ladders
    if not -MAX_TICKS <= min_price <= max_price <= MAX_TICKS or not 1 <= min_qty <= max_qty <= MAX_TICKS:
        return -1
    if s.book_count == n:
        n = n * 2 if n else 4
        p = pye_alloc(2 * n * sizeof(Ladder))
        if p == NULL:
            return -1
        ladders = <Ladder*>p
        p = pye_grow(s.books, s.book_capacity * sizeof(Book), n * sizeof(Book))
        if p == NULL:
            pye_free(ladders, 2 * n * sizeof(Ladder))
            return -1
        s.books = <Book*>p
        if s.book_count != 0:
            memcpy(ladders, s.pool.ladders, 2 * s.book_count * sizeof(Ladder))
        pye_free(s.pool.ladders, 2 * s.book_capacity * sizeof(Ladder))
        s.pool.ladders = ladders
        s.book_capacity = n
    b = &s.books[s.book_count]
    ladder_init(&s.pool.ladders[2 * s.book_count], 2 * s.book_count)
    ladder_init(&s.pool.ladders[2 * s.book_count + 1], 2 * s.book_count + 1)
    b.min_price_ticks = min_price
    b.max_price_ticks = max_price
    b.min_qty_lots = min_qty
    b.max_qty_lots = max_qty
    s.book_count += 1
    return s.book_count - 1


cdef int state_add_user(State* s) noexcept nogil:
    """Add a user and return the index; -1 without memory. Amortised O(1)."""
    cdef uint32_t n = s.user_capacity
    cdef void* p
    if s.user_count == n:
        n = n * 2 if n else 16
        p = pye_grow(s.users, s.user_capacity * sizeof(User), n * sizeof(User))
        if p == NULL:
            return -1
        s.users = <User*>p
        s.user_capacity = n
    memset(&s.users[s.user_count], 0, sizeof(User))
    s.user_count += 1
    return s.user_count - 1


cdef int collector_grow(Collector* c, uint64_t need) noexcept nogil:
    cdef uint64_t capacity = max(c.count + need, c.capacity + c.capacity // 2, <uint64_t>SMALLEST)
    cdef void* p = pye_grow(c.events, c.capacity * sizeof(Event), capacity * sizeof(Event))
    if p == NULL:
        return -1
    c.events = <Event*>p
    c.capacity = capacity
    return 0


cdef void state_keep(State* s, const Event* events, uint64_t n) noexcept nogil:
    """Append events to the run's array, or note that there is no memory for them."""
    cdef Collector* c = &s.collector
    if c.count + n > c.capacity and collector_grow(c, n) != 0:
        c.lost = True
        return
    memcpy(c.events + c.count, events, n * sizeof(Event))
    c.count += n


cdef void collect_span(State* s, const Event* events, uint64_t n) noexcept nogil:
    cdef Collector* c = &s.collector
    if c.order_sink != NULL:
        c.order_sink(c.order_target, events, n)
    if c.trade_sink != NULL:
        c.trade_sink(c.trade_target, events, n)
    if c.keep and not c.linear:
        state_keep(s, events, n)


cdef void state_collect(State* s) noexcept nogil:
    """Hand the finished commands' events to the L1 stores and the run's array. There is room, see state_make_room."""
    cdef uint64_t n = s.out.seq - s.out.pending - s.out.kept, start, to_end
    if n == 0:
        return
    start = (s.out.kept - s.out.origin) & s.out.mask
    to_end = n if s.collector.linear else min(n, s.ring.capacity - start)
    collect_span(s, s.out.events + start, to_end)
    if to_end < n:
        collect_span(s, s.out.events, n - to_end)
    s.out.kept += n


cdef int make_linear_room(State* s, uint64_t need) noexcept nogil:
    cdef Collector* c = &s.collector
    c.count = s.out.seq - s.out.origin
    if collector_grow(c, need) != 0:
        return OUT_OF_MEMORY
    s.out.events = c.events
    s.out.limit = s.out.origin + c.capacity
    return 0


cdef int state_make_room(State* s, uint64_t need) noexcept nogil:
    """Make room for `need` more events, before a command. 0, or RING_FULL or OUT_OF_MEMORY and nothing has changed.

    Publishes and collects what is finished. Waits for required consumers up to `wait_ns`, unless `holds_gil` is set; may sleep,
    so callers that hold the GIL and have required consumers must set that, or release the GIL.
    """
    cdef int64_t deadline = 0
    cdef uint64_t pause_ns = 2000
    state_collect(s)
    if s.collector.linear:
        return make_linear_room(s, need)
    if s.collector.keep and s.collector.count + s.ring.capacity > s.collector.capacity:
        if collector_grow(&s.collector, s.ring.capacity) != 0:
            return OUT_OF_MEMORY
    s.out.published = s.out.seq - s.out.pending
    ring_publish(s.ring, s.out.published)
    if need + s.out.pending > s.ring.capacity:
        return RING_FULL
    while True:
        s.out.limit = ring_room(s.ring, s.out.seq, need)
        if has_room(s, need):
            s.impatient = False
            return 0
        if s.holds_gil:
            return RING_FULL
        if deadline == 0:
            deadline = pye_now_ns() + (0 if s.impatient else s.wait_ns)
        if pye_now_ns() >= deadline:
            s.impatient = True
            return RING_FULL
        pye_sleep_ns(pause_ns)
        pause_ns = min(pause_ns * 2, <uint64_t>200000)
