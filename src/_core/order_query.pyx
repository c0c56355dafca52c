"""Answers of many orders: copied out under the lock, sorted without it; checks of rows from outside and of all invariants.

The functions that are given a state take its lock. Sorting costs O(n), because keys are sorted by their bytes.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from pyengine._core.idtable cimport idtable_at, idtable_tag
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order cimport order_is_open, order_record_fault
from pyengine._core.order_state cimport (
    STORE_CLOSED, STORE_NO_MEMORY, STORE_OK, ListHead, OrderLinks, head_find, order_event_fault, order_find, side_key, user_key,
)
from pyengine._core.radix cimport SortItem, radix_sort
from pyengine._core.records cimport ACCEPTED, BUY

cdef enum SortKey:
    BY_ID
    BY_TIME
    BY_ENTRY
    BY_PRICE                       # bids from high to low, asks from low to high
    BY_INSTRUMENT


# Rows from outside

cdef const char* order_rows_fault(const OrderRecord* rows, size_t n, size_t* at) noexcept nogil:
    """Find the first record that is no order. O(n)."""
    cdef const char* fault
    for at[0] in range(n):
        fault = order_record_fault(&rows[at[0]])
        if fault != NULL:
            return fault
    return NULL


cdef const char* order_events_fault(const Event* events, size_t n, size_t* at, size_t* accepted) noexcept nogil:
    """Find the first event that no engine would write, and count those that add an order. O(n)."""
    cdef const char* fault
    for at[0] in range(n):
        fault = order_event_fault(&events[at[0]])
        if fault != NULL:
            return fault
        accepted[0] += events[at[0]].kind == ACCEPTED
    return NULL


# Copies

cdef inline int block_take(OrderBlock* block, size_t count) noexcept nogil:
    """Get memory for `count` rows; the block stays empty until they are copied."""
    block.rows = NULL
    block.count = 0
    if count != 0:
        block.rows = <OrderRecord*>malloc(count * sizeof(OrderRecord))
        if block.rows == NULL:
            return STORE_NO_MEMORY
    return STORE_OK


cdef inline void block_add(OrderBlock* block, const OrderRecord* order) noexcept nogil:
    block.rows[block.count] = order[0]
    block.count += 1


cdef int copy_all(const OrderStoreState* s, OrderBlock* block) noexcept nogil:
    cdef uint32_t i
    if block_take(block, s.open_count + s.finished_count) != STORE_OK:
        return STORE_NO_MEMORY
    for i in range(1, s.high):
        if s.orders[i].status != 0:
            block_add(block, &s.orders[i])
    return STORE_OK


cdef int copy_user(const OrderStoreState* s, uint32_t user, OrderBlock* block) noexcept nogil:
    cdef uint32_t h = head_find(s, user_key(user)), i
    if block_take(block, s.heads[h].count) != STORE_OK:
        return STORE_NO_MEMORY
    i = s.heads[h].first
    while i != 0:
        block_add(block, &s.orders[i])
        i = s.links[i].user_next
    return STORE_OK


cdef inline void copy_side_list(const OrderStoreState* s, uint32_t h, OrderBlock* block) noexcept nogil:
    cdef uint32_t i = s.heads[h].first
    while i != 0:
        block_add(block, &s.orders[i])
        i = s.links[i].next


cdef int copy_side(const OrderStoreState* s, int side, int64_t instrument, OrderBlock* block) noexcept nogil:
    cdef uint32_t first = s.active[side != BUY], h
    cdef size_t count = 0
    if instrument >= 0:
        h = head_find(s, side_key(<uint64_t>instrument, side))
        if block_take(block, s.heads[h].count) != STORE_OK:
            return STORE_NO_MEMORY
        copy_side_list(s, h, block)
        return STORE_OK
    h = first
    while h != 0:
        count += s.heads[h].count
        h = s.heads[h].next
    if block_take(block, count) != STORE_OK:
        return STORE_NO_MEMORY
    h = first
    while h != 0:
        copy_side_list(s, h, block)
        h = s.heads[h].next
    return STORE_OK


# Sorting

cdef inline uint64_t sort_key(const OrderRecord* r, SortKey what) noexcept nogil:
    """Turn a field into an unsigned number of the same order."""
    cdef uint64_t price
    if what == BY_ID:
        return r.order_id
    if what == BY_ENTRY:
        return r.entered
    if what == BY_TIME:
        return <uint64_t>r.created_ns ^ <uint64_t>1 << 63
    if what == BY_INSTRUMENT:
        return r.instrument
    price = <uint64_t>r.price_ticks ^ <uint64_t>1 << 63
    return ~price if r.side == BUY else price


cdef inline void sort_round(const OrderBlock* block, SortItem* items, SortItem* scratch, SortKey what) noexcept nogil:
    cdef size_t i
    for i in range(block.count):
        items[i].key = sort_key(&block.rows[items[i].row], what)
    radix_sort(items, scratch, block.count)


cdef int block_sort(OrderBlock* block, bint by_id) noexcept nogil:
    """Sort by id, or by instrument, price, entry, time and id. O(n)."""
    cdef size_t n = block.count, i
    cdef SortItem* items
    cdef OrderRecord* sorted_rows
    if n < 2:
        return STORE_OK
    items = <SortItem*>malloc(2 * n * sizeof(SortItem))
    sorted_rows = <OrderRecord*>malloc(n * sizeof(OrderRecord))
    if items == NULL or sorted_rows == NULL:
        free(items)
        free(sorted_rows)
        return STORE_NO_MEMORY
    for i in range(n):
        items[i].row = <uint32_t>i
    if by_id:
        sort_round(block, items, items + n, BY_ID)
    else:
        sort_round(block, items, items + n, BY_ID)
        sort_round(block, items, items + n, BY_TIME)
        sort_round(block, items, items + n, BY_ENTRY)
        sort_round(block, items, items + n, BY_PRICE)
        sort_round(block, items, items + n, BY_INSTRUMENT)
    for i in range(n):
        sorted_rows[i] = block.rows[items[i].row]
    free(items)
    free(block.rows)
    block.rows = sorted_rows
    return STORE_OK


cdef int order_copy_all(OrderStoreState* s, OrderBlock* block) noexcept nogil:
    """Copy every order, by id. O(most orders ever held). The caller frees `block.rows`, whatever is returned."""
    cdef int code = STORE_CLOSED
    memset(block, 0, sizeof(OrderBlock))
    pye_lock(&s.lock)
    if not s.closed:
        code = copy_all(s, block)
    pye_unlock(&s.lock)
    return block_sort(block, True) if code == STORE_OK else code


cdef int order_copy_user(OrderStoreState* s, uint32_t user, OrderBlock* block) noexcept nogil:
    """Copy the orders of a user, by id. O(answer). The caller frees `block.rows`, whatever is returned."""
    cdef int code = STORE_CLOSED
    memset(block, 0, sizeof(OrderBlock))
    pye_lock(&s.lock)
    if not s.closed:
        code = copy_user(s, user, block)
    pye_unlock(&s.lock)
    return block_sort(block, True) if code == STORE_OK else code


cdef int order_copy_side(OrderStoreState* s, int side, int64_t instrument, OrderBlock* block) noexcept nogil:
    """Copy the open orders of a side of one instrument, or of all (-1), by instrument, price and time. O(answer).

    The caller frees `block.rows`, whatever is returned.
    """
    cdef int code = STORE_CLOSED
    memset(block, 0, sizeof(OrderBlock))
    pye_lock(&s.lock)
    if not s.closed:
        code = copy_side(s, side, instrument, block)
    pye_unlock(&s.lock)
    return block_sort(block, False) if code == STORE_OK else code


# Invariants

cdef const char* map_fault(const OrderStoreState* s, uint64_t live) noexcept nogil:
    """Every order is found under its id, and the table holds nothing else."""
    cdef uint64_t entry, used = 0
    cdef uint32_t i, tag
    for entry in range((s.ids.mask + 1) * 8):
        tag = s.ids.buckets[entry >> 3].tag[entry & 7]
        if tag == 0:
            continue
        used += 1
        i = idtable_at(&s.ids, entry)
        if i == 0 or i >= s.high or s.orders[i].status == 0:
            return b"the table of ids points at a free place"
        if tag != idtable_tag(s.orders[i].order_id):
            return b"a tag in the table of ids is not its order's"
        if order_find(s, s.orders[i].order_id) != i:
            return b"an order is not found under its id"
    if used != s.ids.used or used != live or used > s.ids.limit:
        return b"the size of the table of ids is not the number of orders"
    return NULL


cdef const char* record_faults(const OrderStoreState* s, uint64_t* live, uint64_t* named) noexcept nogil:
    """Every record is sound and on the lists that its fields ask for."""
    cdef uint64_t open_orders = 0
    cdef uint32_t i
    cdef const OrderRecord* order
    cdef const OrderLinks* links
    for i in range(1, s.high):
        order = &s.orders[i]
        links = &s.links[i]
        if order.status == 0:
            continue
        live[0] += 1
        if order_record_fault(order) != NULL:
            return order_record_fault(order)
        if order_is_open(order):
            open_orders += 1
            if links.side_list == 0 or s.heads[links.side_list].key != side_key(order.instrument, order.side):
                return b"an open order is not on its side's list"
        elif links.side_list != 0:
            return b"a finished order is on a side's list"
        if (links.user_list == 0) != (order.user == 0):
            return b"an order is on no user's list, or an anonymous one is"
        if links.user_list != 0:
            named[0] += 1
            if s.heads[links.user_list].key != user_key(order.user):
                return b"an order is on another user's list"
    if open_orders != s.open_count or live[0] != open_orders + s.finished_count:
        return b"the counts of open and finished orders are wrong"
    return NULL


cdef const char* list_fault(const OrderStoreState* s, uint32_t h, bint by_user) noexcept nogil:
    """A list is linked both ways, ends where its head says, and holds what it counts."""
    cdef const ListHead* head = &s.heads[h]
    cdef uint32_t i = head.first, before = 0, count = 0
    while i != 0 and count <= head.count:
        count += 1
        if (s.links[i].user_list if by_user else s.links[i].side_list) != h:
            return b"an order is on a list that is not its own"
        if (s.links[i].user_prev if by_user else s.links[i].prev) != before:
            return b"a list is not linked backwards"
        before = i
        i = s.links[i].user_next if by_user else s.links[i].next
    if count != head.count or before != head.last:
        return b"a list's count or end is wrong"
    return NULL


cdef const char* head_faults(const OrderStoreState* s, uint64_t named) noexcept nogil:
    """All lists are sound, found under their keys, and the active ones are those that aren't empty."""
    cdef uint64_t on_users = 0, on_sides = 0
    cdef uint64_t[2] full
    cdef uint32_t h, before
    cdef int side
    cdef const char* fault
    full[0] = full[1] = 0
    for h in range(1, s.head_high):
        if head_find(s, s.heads[h].key) != h:
            return b"a list is not found under its key"
        fault = list_fault(s, h, s.heads[h].key >> 40 == 0)
        if fault != NULL:
            return fault
        if s.heads[h].key >> 40 == 0:
            on_users += s.heads[h].count
        else:
            on_sides += s.heads[h].count
            full[s.heads[h].key & 1] += s.heads[h].count != 0
    if on_users != named or on_sides != s.open_count or s.head_ids.used != s.head_high - 1:
        return b"the lists don't hold every order once"
    for side in range(2):
        before = 0
        h = s.active[side]
        while h != 0:
            if s.heads[h].count == 0 or s.heads[h].prev != before or s.heads[h].key & 1 != <uint64_t>side or full[side] == 0:
                return b"the chain of active lists is wrong"
            full[side] -= 1
            before = h
            h = s.heads[h].next
        if full[side] != 0:
            return b"a list that isn't empty is not active"
    return NULL


cdef const char* queue_fault(const OrderStoreState* s, uint64_t live) noexcept nogil:
    """The finished queue holds the finished orders, the free list the places that hold none."""
    cdef uint32_t i = s.finished_first, before = 0
    cdef uint64_t count = 0
    while i != 0 and count <= s.finished_count:
        count += 1
        if s.orders[i].status == 0 or order_is_open(&s.orders[i]) or s.links[i].prev != before:
            return b"the finished queue is not linked, or holds an order that isn't finished"
        before = i
        i = s.links[i].next
    if count != s.finished_count or before != s.finished_last or count > s.keep_finished:
        return b"the finished queue's count or end is wrong"
    count = live
    i = s.first_free
    while i != 0 and count < s.high:
        count += 1
        if s.orders[i].status != 0:
            return b"the free list holds an order"
        i = s.links[i].next
    if count != s.high - 1:
        return b"the free list's length is wrong"
    return NULL


cdef const char* order_store_fault(OrderStoreState* s) noexcept nogil:
    """Walk everything and say what is broken, or return NULL. O(orders + lists)."""
    cdef uint64_t live = 0, named = 0
    cdef const char* fault = NULL
    pye_lock(&s.lock)
    if not s.closed:
        fault = record_faults(s, &live, &named)
        if fault == NULL:
            fault = map_fault(s, live)
        if fault == NULL:
            fault = head_faults(s, named)
        if fault == NULL:
            fault = queue_fault(s, live)
    pye_unlock(&s.lock)
    return fault
