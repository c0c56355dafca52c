"""All orders of a store in plain memory; what the lists are is drawn in the pxd.

Room for a change is made before the change (`order_state_reserve`), so nothing after that can fail half way.
"""

from libc.stdint cimport INT64_MAX, UINT32_MAX, uint8_t
from libc.string cimport memset
from pyengine._core.idtable cimport idtable_delete, idtable_free, idtable_grow, idtable_init, idtable_put, idtable_tag
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order cimport order_is_open, order_record_fault
from pyengine._core.port cimport pye_alloc, pye_free, pye_grow, pye_likely, pye_prefetch_write, pye_unlikely
from pyengine._core.records cimport (
    ACCEPTED, CANCELLED, DONE_CANCELLED, FILLED, GTD, KEPT_PLACE, LIMIT, MARKET, PARTIALLY_FILLED, REJECTED, REPLACED, RESTING,
    SELL, STOP, STOP_LIMIT, STP_DECREMENT, TRADE,
)

cdef enum:
    FIRST_NODES = 64
    FIRST_HEADS = 16
    COPIED = 128                   # events of a caller's array in private memory at a time
    AHEAD = 8                      # events; the map's slot of a later order is fetched while earlier ones are applied


# Memory

cdef inline uint64_t power_of_two(uint64_t least, uint64_t start) noexcept nogil:
    while start < least:
        start *= 2
    return start


cdef int order_state_init(OrderStoreState* s, uint64_t orders, uint64_t keep_finished) noexcept nogil:
    """Set up an empty state with room for `orders`. O(1). STORE_NO_MEMORY leaves nothing behind."""
    cdef uint64_t nodes = power_of_two(orders + 1, FIRST_NODES)
    cdef uint64_t buckets = power_of_two(orders // 6 + 1, FIRST_NODES // 4)
    memset(s, 0, sizeof(OrderStoreState))
    if nodes > UINT32_MAX:
        return STORE_NO_MEMORY
    s.keep_finished = keep_finished
    s.node_capacity = <uint32_t>nodes
    s.head_capacity = FIRST_HEADS
    s.node_high = s.head_high = 1
    s.nodes = <OrderNode*>pye_alloc(nodes * sizeof(OrderNode))
    s.heads = <ListHead*>pye_alloc(FIRST_HEADS * sizeof(ListHead))
    if (s.nodes == NULL or s.heads == NULL or idtable_init(&s.ids, buckets) != 0
            or idtable_init(&s.head_ids, FIRST_HEADS // 4) != 0):
        order_state_free(s)
        return STORE_NO_MEMORY
    return STORE_OK


cdef void order_state_free(OrderStoreState* s) noexcept nogil:
    """Give all memory back; nothing but another free is allowed afterwards."""
    pye_free(s.nodes, s.node_capacity * sizeof(OrderNode))
    pye_free(s.heads, s.head_capacity * sizeof(ListHead))
    idtable_free(&s.ids)
    idtable_free(&s.head_ids)
    s.nodes = NULL
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
    fresh.cleared = s.cleared + s.open_count + s.finished_count
    order_state_free(s)
    s[0] = fresh
    return STORE_OK


cdef int order_state_reserve(OrderStoreState* s, uint64_t orders) noexcept nogil:
    """Make room for `orders` new orders, each of a new user on a new instrument. Amortised O(1) an order."""
    cdef uint64_t need = s.open_count + s.finished_count + orders + 1, capacity
    cdef uint64_t need_heads = s.head_high + 2 * orders
    cdef void* block
    if need > UINT32_MAX or need_heads > UINT32_MAX:
        return STORE_NO_MEMORY
    if need > s.node_capacity:
        capacity = min(power_of_two(need, s.node_capacity), <uint64_t>UINT32_MAX)
        block = pye_grow(s.nodes, s.node_capacity * sizeof(OrderNode), capacity * sizeof(OrderNode))
        if block == NULL:
            return STORE_NO_MEMORY
        s.nodes = <OrderNode*>block
        s.node_capacity = <uint32_t>capacity
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
    if pye_likely(s.open_count + s.finished_count + 2 <= s.node_capacity and s.ids.used < s.ids.limit
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
    cdef OrderNode* node = &s.nodes[i]
    cdef ListHead* head
    node.user_list = 0
    if node.order.user == 0:
        return
    node.user_list = head_make(s, user_key(node.order.user))
    head = &s.heads[node.user_list]
    node.user_prev = head.last
    node.user_next = 0
    s.nodes[head.last].user_next = i     # of the unused node 0, when the list was empty
    if head.last == 0:
        head.first = i
    head.last = i
    head.count += 1


cdef inline void user_unlink(OrderStoreState* s, uint32_t i) noexcept nogil:
    cdef OrderNode* node = &s.nodes[i]
    cdef ListHead* head = &s.heads[node.user_list]
    if node.user_list == 0:
        return
    if node.user_prev != 0:
        s.nodes[node.user_prev].user_next = node.user_next
    else:
        head.first = node.user_next
    if node.user_next != 0:
        s.nodes[node.user_next].user_prev = node.user_prev
    else:
        head.last = node.user_prev
    head.count -= 1
    node.user_list = 0


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
    """Put a node at the end of a list that runs through `prev` and `next`."""
    s.nodes[i].prev = last[0]
    s.nodes[i].next = 0
    if last[0] != 0:
        s.nodes[last[0]].next = i
    else:
        first[0] = i
    last[0] = i


cdef inline void chain_pull(OrderStoreState* s, uint32_t* first, uint32_t* last, uint32_t i) noexcept nogil:
    cdef OrderNode* node = &s.nodes[i]
    if node.prev != 0:
        s.nodes[node.prev].next = node.next
    else:
        first[0] = node.next
    if node.next != 0:
        s.nodes[node.next].prev = node.prev
    else:
        last[0] = node.prev


cdef inline void status_link(OrderStoreState* s, uint32_t i) noexcept nogil:
    """Put a node at the end of its side's list if it is open, else of the finished queue."""
    cdef OrderNode* node = &s.nodes[i]
    cdef ListHead* head
    if order_is_open(&node.order):
        node.side_list = head_make(s, side_key(node.order.instrument, node.order.side))
        head = &s.heads[node.side_list]
        if head.count == 0:
            activate(s, node.side_list)
        chain_push(s, &head.first, &head.last, i)
        head.count += 1
        s.open_count += 1
    else:
        node.side_list = 0
        chain_push(s, &s.finished_first, &s.finished_last, i)
        s.finished_count += 1


cdef inline void status_unlink(OrderStoreState* s, uint32_t i) noexcept nogil:
    cdef OrderNode* node = &s.nodes[i]
    cdef ListHead* head
    if node.side_list != 0:
        head = &s.heads[node.side_list]
        chain_pull(s, &head.first, &head.last, i)
        head.count -= 1
        if head.count == 0:
            deactivate(s, node.side_list)
        node.side_list = 0
        s.open_count -= 1
    else:
        chain_pull(s, &s.finished_first, &s.finished_last, i)
        s.finished_count -= 1


# Nodes

cdef inline void node_insert(OrderStoreState* s, const OrderRecord* record) noexcept nogil:
    """Add an order whose id is new. Needs reserved room. O(1)."""
    cdef uint32_t i = s.node_free
    if i != 0:
        s.node_free = s.nodes[i].next
    else:
        i = s.node_high
        s.node_high += 1
    s.nodes[i].order = record[0]
    idtable_put(&s.ids, idtable_tag(record.order_id), i)
    user_link(s, i)
    status_link(s, i)


cdef inline void node_replace(OrderStoreState* s, uint32_t i, const OrderRecord* record) noexcept nogil:
    """Overwrite an order. Needs reserved room. O(1)."""
    cdef OrderRecord* old = &s.nodes[i].order
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


cdef void node_remove(OrderStoreState* s, uint32_t i) noexcept nogil:
    """Forget an order. O(1) expected."""
    idtable_delete(&s.ids, node_entry(s, s.nodes[i].order.order_id))
    user_unlink(s, i)
    status_unlink(s, i)
    s.nodes[i].order.status = 0
    s.nodes[i].next = s.node_free
    s.node_free = i


cdef inline void cut_queue(OrderStoreState* s) noexcept nogil:
    while pye_unlikely(s.finished_count > s.keep_finished):
        node_remove(s, s.finished_first)
        s.cut += 1


# What the store offers

cdef int order_state_get(OrderStoreState* s, uint64_t order_id, OrderRecord* found) noexcept nogil:
    """Copy an order. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = node_find(s, order_id)
    if i == 0:
        s.misses += 1
        return STORE_UNKNOWN
    s.hits += 1
    found[0] = s.nodes[i].order
    return STORE_OK


cdef int order_state_put(OrderStoreState* s, const OrderRecord* record, bint must_exist) noexcept nogil:
    """Add an order or overwrite it by an equal or higher version. The record must be sound. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = node_find(s, record.order_id)
    if i == 0 and must_exist:
        return STORE_UNKNOWN
    if i != 0 and record.version < s.nodes[i].order.version:
        return STORE_STALE
    if make_room(s) != STORE_OK:
        return STORE_NO_MEMORY
    if i == 0:
        node_insert(s, record)
    else:
        node_replace(s, i, record)
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
        if order_record_fault(&row) == NULL and order_state_put(s, &row, False) == STORE_OK:
            stored[0] += 1
    return STORE_OK


cdef int order_state_remove(OrderStoreState* s, uint64_t order_id) noexcept nogil:
    """Forget an order, open or finished. O(1) expected."""
    cdef uint32_t i
    if s.closed:
        return STORE_CLOSED
    i = node_find(s, order_id)
    if i == 0:
        return STORE_UNKNOWN
    node_remove(s, i)
    return STORE_OK


cdef uint64_t order_state_cut(OrderStoreState* s, uint64_t keep, bint by_age, int64_t older_than_ns) noexcept nogil:
    """Forget the oldest finished orders, down to `keep`, or while they are old enough; return how many. O(that)."""
    cdef uint64_t before = s.finished_count
    while s.finished_count > keep and (not by_age or s.nodes[s.finished_first].order.updated_ns < older_than_ns):
        node_remove(s, s.finished_first)
    s.cut += before - s.finished_count
    return before - s.finished_count


# Events

cdef const char* order_event_fault(const Event* e) noexcept nogil:
    """Name the first field of an event that no engine would write, or return NULL."""
    cdef int64_t largest = (<int64_t>1 << 62) - 1
    if not ACCEPTED <= e.kind <= REPLACED:
        return b"kind"
    if e.kind == REJECTED:
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


cdef int apply_accepted(OrderStoreState* s, const Event* e) noexcept nogil:
    cdef uint32_t i = node_find(s, e.order_id)
    cdef OrderRecord record
    if i != 0 and e.seq <= s.nodes[i].order.version:
        return STORE_OK
    if make_room(s) != STORE_OK:
        return STORE_NO_MEMORY
    memset(&record, 0, sizeof(OrderRecord))
    record.order_id = e.order_id
    record.price_ticks = e.price_ticks
    record.qty_lots = record.remaining_lots = e.qty_lots
    record.created_ns = record.updated_ns = e.ts_ns
    record.version = record.entered = e.seq
    record.instrument = e.instrument
    record.user = <uint32_t>e.detail
    record.side = e.side
    record.order_type = <uint8_t>(e.detail >> 32)
    record.tif = <uint8_t>(e.detail >> 40)
    record.status = RESTING
    record.flags = <uint8_t>(e.detail >> 48)
    record.stp = <uint8_t>(e.detail >> 56)
    if i == 0:
        node_insert(s, &record)
    else:
        s.unmatched += order_is_open(&s.nodes[i].order)
        node_replace(s, i, &record)
    return STORE_OK


cdef inline uint32_t open_order(OrderStoreState* s, uint64_t order_id, const Event* e) noexcept nogil:
    """Return the open order that an event changes, stamped with it; 0 if there is nothing to change."""
    cdef uint32_t i = node_find(s, order_id)
    cdef OrderRecord* order = &s.nodes[i].order
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
    s.nodes[i].order.status = status
    status_link(s, i)
    cut_queue(s)


cdef inline void apply_fill(OrderStoreState* s, const Event* e, uint64_t order_id) noexcept nogil:
    cdef uint32_t i = open_order(s, order_id, e)
    cdef OrderRecord* order = &s.nodes[i].order
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
    cdef OrderRecord* order = &s.nodes[i].order
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
    cdef OrderRecord* order = &s.nodes[i].order
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
    return STORE_OK


cdef int apply_events(OrderStoreState* s, const Event* events, size_t n) noexcept nogil:
    cdef int code = STORE_OK
    cdef size_t i
    s.applied += n
    for i in range(n):
        if i + AHEAD < n:
            pye_prefetch_write(&s.ids.buckets[idtable_tag(events[i + AHEAD].order_id) & s.ids.mask])
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
