"""All orders of a store in plain memory; what the lists are is drawn in the pxd.

Room for a change is made before the change (`order_state_reserve`), so nothing after that can fail half way.
"""

from libc.stdint cimport INT64_MAX, UINT32_MAX, uint8_t
from libc.string cimport memcpy, memset
from pyengine._core.idtable cimport Bucket, idtable_delete, idtable_free, idtable_grow, idtable_init, idtable_put, idtable_tag
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order cimport order_is_open, order_record_fault
from pyengine._core.port cimport (
    pye_alloc, pye_copied, pye_free, pye_grow, pye_likely, pye_lowest_bit, pye_match8, pye_prefetch_write, pye_unlikely,
)
from pyengine._core.records cimport (
    ACCEPTED, CANCELLED, DONE_CANCELLED, FILLED, GTD, KEPT_PLACE, LIMIT, MARKET, PARTIALLY_FILLED, REJECTED, REPLACED, REQUEST,
    RESTING, SELL, STOP, STOP_LIMIT, STP_DECREMENT, TRADE,
)

cdef enum:
    FIRST_PLACES = 64
    FIRST_HEADS = 16
    COPIED = 128                   # events of a caller's array in private memory at a time
    AHEAD = 16                     # events; the bucket of a later order's id is fetched while earlier ones are applied
    NEAR = 8                       # events; what the bucket leads to is fetched


# Memory

cdef inline uint64_t power_of_two(uint64_t least, uint64_t start) noexcept nogil:
    while start < least:
        start *= 2
    return start


cdef int order_state_init(OrderStoreState* s, uint64_t orders, uint64_t keep_finished) noexcept nogil:
    """Set up an empty state with room for `orders`. O(1). STORE_NO_MEMORY leaves nothing behind."""
    cdef uint64_t places = power_of_two(orders + 1, FIRST_PLACES)
    cdef uint64_t buckets = power_of_two(orders // 6 + 1, FIRST_PLACES // 4)
    memset(s, 0, sizeof(OrderStoreState))
    if places > UINT32_MAX:
        return STORE_NO_MEMORY
    s.keep_finished = keep_finished
    s.capacity = <uint32_t>places
    s.head_capacity = FIRST_HEADS
    s.high = s.head_high = 1
    s.orders = <OrderRecord*>pye_alloc(places * sizeof(OrderRecord))
    s.links = <OrderLinks*>pye_alloc(places * sizeof(OrderLinks))
    s.heads = <ListHead*>pye_alloc(FIRST_HEADS * sizeof(ListHead))
    if (s.orders == NULL or s.links == NULL or s.heads == NULL or idtable_init(&s.ids, buckets) != 0
            or idtable_init(&s.head_ids, FIRST_HEADS // 4) != 0):
        order_state_free(s)
        return STORE_NO_MEMORY
    return STORE_OK


cdef void order_state_free(OrderStoreState* s) noexcept nogil:
    """Give all memory back; nothing but another free is allowed afterwards."""
    pye_free(s.orders, s.capacity * sizeof(OrderRecord))
    pye_free(s.links, s.capacity * sizeof(OrderLinks))
    pye_free(s.heads, s.head_capacity * sizeof(ListHead))
    idtable_free(&s.ids)
    idtable_free(&s.head_ids)
    s.orders = NULL
    s.links = NULL
    s.heads = NULL
    s.closed = True


cdef int order_state_clear(OrderStoreState* s) noexcept nogil:
    """Forget every order and take only the first memory anew. O(1). Without memory nothing changes."""
    cdef OrderStoreState fresh
    if s.closed:
        return STORE_CLOSED
    if order_state_init(&fresh, 0, s.keep_finished) != STORE_OK:
        return STORE_NO_MEMORY
    fresh.lock = s.lock            # held, and waited for
    fresh.hits = s.hits
    fresh.misses = s.misses
    fresh.written = s.written
    fresh.applied = s.applied
    fresh.cut = s.cut
    fresh.partial = s.partial
    fresh.cleared = s.cleared + s.open_count + s.finished_count
    order_state_free(s)
    s[0] = fresh
    return STORE_OK


cdef int grow_places(OrderStoreState* s, uint32_t capacity) noexcept nogil:
    """Make room for more records and links: of both or, without memory, of neither."""
    cdef OrderLinks* links = <OrderLinks*>pye_alloc(capacity * sizeof(OrderLinks))
    cdef void* orders
    if links == NULL:
        return STORE_NO_MEMORY
    orders = pye_grow(s.orders, s.capacity * sizeof(OrderRecord), capacity * sizeof(OrderRecord))
    if orders == NULL:
        pye_free(links, capacity * sizeof(OrderLinks))
        return STORE_NO_MEMORY
    memcpy(links, s.links, s.high * sizeof(OrderLinks))
    pye_free(s.links, s.capacity * sizeof(OrderLinks))
    s.orders = <OrderRecord*>orders
    s.links = links
    s.capacity = capacity
    return STORE_OK


cdef int order_state_reserve(OrderStoreState* s, uint64_t orders) noexcept nogil:
    """Make room for `orders` new orders, each of a new user on a new instrument. Amortised O(1) an order."""
    cdef uint64_t need = s.open_count + s.finished_count + orders + 1, capacity
    cdef uint64_t need_heads = s.head_high + 2 * orders
    cdef void* block
    if need > UINT32_MAX or need_heads > UINT32_MAX:
        return STORE_NO_MEMORY
    if need > s.capacity:
        capacity = min(power_of_two(need, s.capacity), <uint64_t>UINT32_MAX)
        if grow_places(s, <uint32_t>capacity) != STORE_OK:
            return STORE_NO_MEMORY
    if need_heads > s.head_capacity:
        capacity = min(power_of_two(need_heads, s.head_capacity), <uint64_t>UINT32_MAX)
        block = pye_grow(s.heads, s.head_capacity * sizeof(ListHead), capacity * sizeof(ListHead))
        if block == NULL:
            return STORE_NO_MEMORY
        s.heads = <ListHead*>block
        s.head_capacity = <uint32_t>capacity
    while s.ids.used + orders > s.ids.limit:
        if idtable_grow(&s.ids) != 0:
            return STORE_NO_MEMORY
    while s.head_ids.used + 2 * orders > s.head_ids.limit:
        if idtable_grow(&s.head_ids) != 0:
            return STORE_NO_MEMORY
    return STORE_OK


cdef inline int make_room(OrderStoreState* s) noexcept nogil:
    """Reserve one order, at the cost of four comparisons while there is room."""
    if pye_likely(s.open_count + s.finished_count + 2 <= s.capacity and s.ids.used < s.ids.limit
                  and s.head_high + 2 <= s.head_capacity and s.head_ids.used + 2 <= s.head_ids.limit):
        return STORE_OK
    return order_state_reserve(s, 1)


# Lists

cdef inline uint32_t head_make(OrderStoreState* s, uint64_t key) noexcept nogil:
    """Return the head of a list, a new one if there is none. Needs reserved room. O(1) expected."""
    cdef uint32_t h = head_find(s, key)
    if pye_likely(h != 0):
        return h
    h = s.head_high
    s.head_high += 1
    s.heads[h].key = key
    idtable_put(&s.head_ids, idtable_tag(key), h)
    return h


cdef inline void user_link(OrderStoreState* s, uint32_t i) noexcept nogil:
    cdef OrderLinks* links = &s.links[i]
    cdef ListHead* head
    links.user_list = 0
    if s.orders[i].user == 0:
        return
    links.user_list = head_make(s, user_key(s.orders[i].user))
    head = &s.heads[links.user_list]
    links.user_prev = head.last
    links.user_next = 0
    s.links[head.last].user_next = i     # of the unused place 0, when the list was empty
    if head.last == 0:
        head.first = i
    head.last = i
    head.count += 1


cdef inline void user_unlink(OrderStoreState* s, uint32_t i) noexcept nogil:
    cdef OrderLinks* links = &s.links[i]
    cdef ListHead* head = &s.heads[links.user_list]
    if links.user_list == 0:
        return
    if links.user_prev != 0:
        s.links[links.user_prev].user_next = links.user_next
    else:
        head.first = links.user_next
    if links.user_next != 0:
        s.links[links.user_next].user_prev = links.user_prev
    else:
        head.last = links.user_prev
    head.count -= 1
    links.user_list = 0


cdef inline void activate(OrderStoreState* s, uint32_t h) noexcept nogil:
    cdef uint32_t* first = &s.active[s.heads[h].key & 1]
    s.heads[h].prev = 0
    s.heads[h].next = first[0]
    if first[0] != 0:
        s.heads[first[0]].prev = h
    first[0] = h


cdef inline void deactivate(OrderStoreState* s, uint32_t h) noexcept nogil:
    cdef ListHead* head = &s.heads[h]
    if head.prev != 0:
        s.heads[head.prev].next = head.next
    else:
        s.active[head.key & 1] = head.next
    if head.next != 0:
        s.heads[head.next].prev = head.prev


cdef inline void chain_push(OrderStoreState* s, uint32_t* first, uint32_t* last, uint32_t i) noexcept nogil:
    """Put an order at the end of a list that runs through `prev` and `next`."""
    s.links[i].prev = last[0]
    s.links[i].next = 0
    if last[0] != 0:
        s.links[last[0]].next = i
    else:
        first[0] = i
    last[0] = i


cdef inline void chain_pull(OrderStoreState* s, uint32_t* first, uint32_t* last, uint32_t i) noexcept nogil:
    cdef OrderLinks* links = &s.links[i]
    if links.prev != 0:
        s.links[links.prev].next = links.next
    else:
        first[0] = links.next
    if links.next != 0:
        s.links[links.next].prev = links.prev
    else:
        last[0] = links.prev


cdef inline void status_link(OrderStoreState* s, uint32_t i) noexcept nogil:
    """Put an order at the end of its side's list if it is open, else of the finished queue."""
    cdef OrderLinks* links = &s.links[i]
    cdef ListHead* head
    if order_is_open(&s.orders[i]):
        links.side_list = head_make(s, side_key(s.orders[i].instrument, s.orders[i].side))
        head = &s.heads[links.side_list]
        if head.count == 0:
            activate(s, links.side_list)
        chain_push(s, &head.first, &head.last, i)
        head.count += 1
        s.open_count += 1
    else:
        links.side_list = 0
        chain_push(s, &s.finished_first, &s.finished_last, i)
        s.finished_count += 1


cdef inline void status_unlink(OrderStoreState* s, uint32_t i) noexcept nogil:
    cdef OrderLinks* links = &s.links[i]
    cdef ListHead* head
    if links.side_list != 0:
        head = &s.heads[links.side_list]
        chain_pull(s, &head.first, &head.last, i)
        head.count -= 1
        if head.count == 0:
            deactivate(s, links.side_list)
        links.side_list = 0
        s.open_count -= 1
    else:
        chain_pull(s, &s.finished_first, &s.finished_last, i)
        s.finished_count -= 1


# Places

cdef inline uint32_t place_take(OrderStoreState* s) noexcept nogil:
    """Take a free place. Needs reserved room. O(1)."""
    cdef uint32_t i = s.first_free
    if i != 0:
        s.first_free = s.links[i].next
    else:
        i = s.high
        s.high += 1
    return i


cdef inline void place_link(OrderStoreState* s, uint32_t i) noexcept nogil:
    """Have the order that was put into a place be found. Its id must be new. O(1) expected."""
    idtable_put(&s.ids, idtable_tag(s.orders[i].order_id), i)
    user_link(s, i)
    status_link(s, i)


cdef inline void order_replace(OrderStoreState* s, uint32_t i, const OrderRecord* record) noexcept nogil:
    """Overwrite an order. Needs reserved room. O(1)."""
    cdef OrderRecord* old = &s.orders[i]
    cdef bint new_user = old.user != record.user
    cdef bint stays = order_is_open(old) == order_is_open(record)
    if stays and order_is_open(old):
        stays = old.instrument == record.instrument and old.side == record.side
    if new_user:
        user_unlink(s, i)
    if not stays:
        status_unlink(s, i)
    old[0] = record[0]
    if new_user:
        user_link(s, i)
    if not stays:
        status_link(s, i)


cdef void order_remove(OrderStoreState* s, uint32_t i) noexcept nogil:
    """Forget an order. O(1) expected."""
    idtable_delete(&s.ids, order_entry(s, s.orders[i].order_id))
    user_unlink(s, i)
    status_unlink(s, i)
    s.orders[i].status = 0
    s.links[i].next = s.first_free
    s.first_free = i


cdef inline void cut_queue(OrderStoreState* s) noexcept nogil:
    cdef uint32_t i
    while pye_unlikely(s.finished_count > s.keep_finished):
        order_remove(s, s.finished_first)
        s.cut += 1
        # The next two to go haven't been looked at for long. The first of them was fetched by the cut before.
        i = s.finished_first
        pye_prefetch_write(&s.ids.buckets[idtable_tag(s.orders[i].order_id) & s.ids.mask])
        i = s.links[i].next
        pye_prefetch_write(&s.orders[i])
        pye_prefetch_write(&s.links[i])


# What the store offers

cdef int order_state_get(OrderStoreState* s, uint64_t order_id, OrderRecord* found) noexcept nogil:
    """Copy an order. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = order_find(s, order_id)
    if i == 0:
        s.misses += 1
        return STORE_UNKNOWN
    s.hits += 1
    found[0] = s.orders[i]
    return STORE_OK


cdef int order_state_put(OrderStoreState* s, const OrderRecord* record, bint must_exist) noexcept nogil:
    """Add an order or overwrite it by an equal or higher version. The record must be sound. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = order_find(s, record.order_id)
    if i == 0 and must_exist:
        return STORE_UNKNOWN
    if i != 0 and record.version < s.orders[i].version:
        return STORE_STALE
    if make_room(s) != STORE_OK:
        return STORE_NO_MEMORY
    if i == 0:
        i = place_take(s)
        s.orders[i] = record[0]
        place_link(s, i)
    else:
        order_replace(s, i, record)
    s.written += 1
    cut_queue(s)
    return STORE_OK


cdef int order_state_put_rows(OrderStoreState* s, const OrderRecord* rows, size_t n, size_t* stored) noexcept nogil:
    """Put n sound records, all or (without memory) none, and count those that weren't stale. O(n) expected."""
    cdef OrderRecord row
    cdef size_t i
    stored[0] = 0
    if s.closed:
        return STORE_CLOSED
    if order_state_reserve(s, n) != STORE_OK:
        return STORE_NO_MEMORY
    for i in range(n):
        row = rows[i]              # a private copy, because another thread may be writing into the caller's array
        pye_copied(&row)
        if order_record_fault(&row) == NULL and order_state_put(s, &row, False) == STORE_OK:
            stored[0] += 1
    return STORE_OK


cdef int order_state_remove(OrderStoreState* s, uint64_t order_id) noexcept nogil:
    """Forget an order, open or finished. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = order_find(s, order_id)
    if i == 0:
        return STORE_UNKNOWN
    order_remove(s, i)
    return STORE_OK


cdef uint64_t order_state_cut(OrderStoreState* s, uint64_t keep, bint by_age, int64_t older_than_ns) noexcept nogil:
    """Forget the oldest finished orders, down to `keep`, or while they are old enough; return how many. O(that)."""
    cdef uint64_t before = s.finished_count
    while s.finished_count > keep and (not by_age or s.orders[s.finished_first].updated_ns < older_than_ns):
        order_remove(s, s.finished_first)
    s.cut += before - s.finished_count
    return before - s.finished_count


# Events

cdef const char* order_event_fault(const Event* e) noexcept nogil:
    """Name the first field of an event that no engine would write, or return NULL."""
    cdef int64_t largest = (<int64_t>1 << 62) - 1
    if not ACCEPTED <= e.kind <= REQUEST:
        return b"kind"
    if e.kind == REJECTED or e.kind == REQUEST:
        return NULL
    if not (0 if e.kind == CANCELLED else 1) <= e.qty_lots <= largest:
        return b"qty_lots"
    if e.kind == ACCEPTED and (e.side != BUY and e.side != SELL):
        return b"side"
    if e.kind == ACCEPTED and ((e.detail >> 32 & 0xFF) not in (MARKET, LIMIT, STOP, STOP_LIMIT)
                               or (e.detail >> 40 & 0xFF) > GTD or e.detail >> 56 > STP_DECREMENT):
        return b"detail"
    if e.kind != TRADE and not 0 <= e.value <= largest:
        return b"value"
    return NULL


cdef inline void make_accepted(const OrderStoreState* s, OrderRecord* record, const Event* e) noexcept nogil:
    """Write the record of a new order, where it is to be: copying one that was just made would wait for its stores."""
    record.order_id = e.order_id
    record.price_ticks = e.price_ticks
    record.qty_lots = record.remaining_lots = e.qty_lots
    record.created_ns = record.updated_ns = e.ts_ns
    record.version = record.entered = e.seq
    record.client_id = s.request_id if e.seq == s.request_seq + 1 else 0
    record.aux = 0
    record.instrument = e.instrument
    record.user = <uint32_t>e.detail
    record.side = e.side
    record.order_type = <uint8_t>(e.detail >> 32)
    record.tif = <uint8_t>(e.detail >> 40)
    record.status = RESTING
    record.flags = <uint8_t>(e.detail >> 48)
    record.stp = <uint8_t>(e.detail >> 56)
    record.reserved = 0


cdef inline int apply_accepted(OrderStoreState* s, const Event* e) noexcept nogil:
    cdef uint32_t i = order_find(s, e.order_id)
    cdef OrderRecord record
    if pye_unlikely(i != 0 and e.seq <= s.orders[i].version):
        return STORE_OK
    if make_room(s) != STORE_OK:
        return STORE_NO_MEMORY
    if pye_likely(i == 0):
        i = place_take(s)
        make_accepted(s, &s.orders[i], e)
        place_link(s, i)
    else:
        s.unmatched += order_is_open(&s.orders[i])
        make_accepted(s, &record, e)
        order_replace(s, i, &record)
    return STORE_OK


cdef inline uint32_t open_order(OrderStoreState* s, uint64_t order_id, const Event* e) noexcept nogil:
    """Return the open order that an event changes, stamped with it; 0 if there is nothing to change."""
    cdef uint32_t i = order_find(s, order_id)
    cdef OrderRecord* order = &s.orders[i]
    if i != 0 and e.seq <= order.version:
        return 0
    if i == 0 or not order_is_open(order):
        s.unmatched += 1
        return 0
    order.version = e.seq
    order.updated_ns = e.ts_ns
    return i


cdef inline void finish(OrderStoreState* s, uint32_t i, uint8_t status) noexcept nogil:
    status_unlink(s, i)
    s.orders[i].status = status
    status_link(s, i)
    cut_queue(s)


cdef inline void apply_fill(OrderStoreState* s, const Event* e, uint64_t order_id) noexcept nogil:
    cdef uint32_t i = open_order(s, order_id, e)
    cdef OrderRecord* order = &s.orders[i]
    if i == 0:
        return
    s.unmatched += e.qty_lots > order.remaining_lots
    order.remaining_lots -= min(e.qty_lots, order.remaining_lots)
    if order.remaining_lots == 0:
        finish(s, i, FILLED)
    else:
        order.status = PARTIALLY_FILLED


cdef inline void apply_cancelled(OrderStoreState* s, const Event* e) noexcept nogil:
    cdef uint32_t i = open_order(s, e.order_id, e)
    cdef OrderRecord* order = &s.orders[i]
    if i == 0:
        return
    s.unmatched += e.qty_lots != order.remaining_lots - e.value
    if e.value <= 0:
        finish(s, i, DONE_CANCELLED)
    elif e.value < order.remaining_lots:             # self-trade prevention took some lots off; they count as never entered
        order.qty_lots -= order.remaining_lots - e.value
        order.remaining_lots = e.value


cdef inline void apply_replaced(OrderStoreState* s, const Event* e) noexcept nogil:
    cdef uint32_t i = open_order(s, e.order_id, e)
    cdef OrderRecord* order = &s.orders[i]
    if i == 0:
        return
    s.unmatched += e.value != order.remaining_lots
    order.qty_lots = e.qty_lots + min(order.qty_lots - order.remaining_lots, INT64_MAX - e.qty_lots)
    order.remaining_lots = e.qty_lots
    order.price_ticks = e.price_ticks
    if not e.flags & KEPT_PLACE:
        order.entered = e.seq      # answers go by it, wherever the order stands in its list


cdef inline int apply_event(OrderStoreState* s, const Event* e) noexcept nogil:
    if e.kind == ACCEPTED:
        return apply_accepted(s, e)
    if e.kind == TRADE:
        apply_fill(s, e, e.order_id)
        apply_fill(s, e, e.detail)
    elif e.kind == CANCELLED:
        apply_cancelled(s, e)
    elif e.kind == REPLACED:
        apply_replaced(s, e)
    elif e.kind == REQUEST:
        s.request_id = e.order_id
        s.request_seq = e.seq
    return STORE_OK


cdef inline void fetch_bucket(const OrderStoreState* s, uint64_t order_id) noexcept nogil:
    pye_prefetch_write(&s.ids.buckets[idtable_tag(order_id) & s.ids.mask])


cdef inline void fetch_order(const OrderStoreState* s, uint64_t order_id) noexcept nogil:
    """Fetch the order that an id most likely stands for, if any: without branches, which nothing could predict."""
    cdef uint32_t tag = idtable_tag(order_id), i
    cdef const Bucket* bucket = &s.ids.buckets[tag & s.ids.mask]
    i = bucket.index[pye_lowest_bit(pye_match8(bucket.tag, tag) | 0x80)]
    pye_prefetch_write(&s.orders[i])
    pye_prefetch_write(&s.orders[i].version)
    pye_prefetch_write(&s.links[i])


cdef inline void fetch_ahead(const OrderStoreState* s, const Event* events, size_t n) noexcept nogil:
    """Fetch what events after the first will ask for, of `n`."""
    if NEAR < n:
        fetch_order(s, events[NEAR].order_id)
        if events[NEAR].kind == TRADE:
            fetch_order(s, events[NEAR].detail)
    if AHEAD < n:
        fetch_bucket(s, events[AHEAD].order_id)
        if events[AHEAD].kind == TRADE:
            fetch_bucket(s, events[AHEAD].detail)


cdef int apply_events(OrderStoreState* s, const Event* events, size_t n) noexcept nogil:
    cdef int code = STORE_OK
    cdef size_t i
    s.applied += n
    for i in range(n):
        fetch_ahead(s, &events[i], n - i)
        code = apply_event(s, &events[i])
        if pye_unlikely(code != STORE_OK):
            break
    return code


cdef int order_store_apply(OrderStoreState* s, const Event* events, size_t n) noexcept nogil:
    """Apply n events in their order; one with a sequence number up to an order's version changes nothing. O(n) expected.

    Takes the lock. Can't fail after `order_store_reserve` for as many orders as there are ACCEPTED events; without that it
    can return STORE_NO_MEMORY, and the same events may be applied again.
    """
    cdef int code = STORE_CLOSED
    pye_lock(&s.lock)
    if not s.closed:
        code = apply_events(s, events, n)
    pye_unlock(&s.lock)
    return code


cdef int order_store_apply_rows(OrderStoreState* s, const Event* events, size_t n, size_t accepted) noexcept nogil:
    """Apply events of a caller whose array another thread may be writing into: private copies of some at a time. O(n).

    Takes the lock, and room for `accepted` orders first. Events that are no longer sound are left out.
    """
    cdef Event[COPIED] private
    cdef size_t done = 0, taken, i
    cdef int code = STORE_CLOSED
    pye_lock(&s.lock)
    if not s.closed:
        code = order_state_reserve(s, accepted)
    while code == STORE_OK and done < n:
        taken = 0
        for i in range(done, min(done + COPIED, n)):
            private[taken] = events[i]
            pye_copied(&private[taken])
            taken += order_event_fault(&private[taken]) == NULL
        code = apply_events(s, private, taken)
        done += COPIED
    pye_unlock(&s.lock)
    return code


cdef int order_store_reserve(OrderStoreState* s, size_t orders) noexcept nogil:
    """Make room for `orders` ACCEPTED events. Takes the lock. Amortised O(1) an order."""
    cdef int code = STORE_CLOSED
    pye_lock(&s.lock)
    if not s.closed:
        code = order_state_reserve(s, orders)
    pye_unlock(&s.lock)
    return code
