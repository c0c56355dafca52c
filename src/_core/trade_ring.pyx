"""The newest trades in plain memory, in order of their trade ids; the ring is drawn in the pxd.

Trades of an engine come in order, and each is one copy. What comes out of order or again is put where it belongs, or left
out: answers are by trade id, whoever wrote first.
"""

from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from pyengine._core.lock cimport pye_lock, pye_unlock
from pyengine._core.order_state cimport STORE_CLOSED, STORE_NO_MEMORY, STORE_OK, STORE_STALE, STORE_UNKNOWN
from pyengine._core.port cimport pye_alloc, pye_copied, pye_free, pye_likely
from pyengine._core.radix cimport SortItem, radix_sort
from pyengine._core.records cimport BUY, SELL, TRADE

cdef enum:
    FEW = 16                       # rows out of order that are put one by one rather than merged


cdef const char* trade_record_fault(const Event* e) noexcept nogil:
    """Name the first field of a record that no trade can have, or return NULL. O(1)."""
    if e.kind != TRADE:
        return b"kind"
    if e.side != BUY and e.side != SELL:
        return b"side"
    if e.value < 1:
        return b"trade_id"
    if e.qty_lots < 1:
        return b"qty_lots"
    return NULL


cdef const char* trade_rows_fault(const Event* rows, size_t n, size_t* at) noexcept nogil:
    """Find the first record that is no trade. O(n)."""
    cdef const char* fault
    for at[0] in range(n):
        fault = trade_record_fault(&rows[at[0]])
        if fault != NULL:
            return fault
    return NULL


cdef int trade_ring_init(TradeRing* r, uint64_t capacity) noexcept nogil:
    """Set up an empty ring of at least 1. O(capacity) at most. STORE_NO_MEMORY leaves nothing behind."""
    cdef uint64_t slots = 1
    memset(r, 0, sizeof(TradeRing))
    r.closed = True
    while slots < capacity:
        slots *= 2
    r.slots = <Event*>pye_alloc(slots * sizeof(Event))
    if r.slots == NULL:
        return STORE_NO_MEMORY
    r.mask = slots - 1
    r.capacity = capacity
    r.closed = False
    return STORE_OK


cdef void trade_ring_free(TradeRing* r) noexcept nogil:
    """Give the memory back; nothing but another free is allowed afterwards."""
    pye_free(r.slots, (r.mask + 1) * sizeof(Event))
    r.slots = NULL
    r.held = 0
    r.closed = True


cdef inline void ring_append(TradeRing* r, const Event* trade) noexcept nogil:
    r.slots[r.next & r.mask] = trade[0]
    r.next += 1
    r.total += 1
    r.held += r.held < r.capacity


cdef inline uint64_t count_newer(const TradeRing* r, int64_t trade_id) noexcept nogil:
    """Return how many trades have a higher id: the age of this one, if it is held. O(log held)."""
    cdef uint64_t low = 0, high = r.held, middle
    while low < high:
        middle = (low + high) // 2
        if ring_slot(r, middle).value > trade_id:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint ring_find(const TradeRing* r, int64_t trade_id, uint64_t* age) noexcept nogil:
    """Find a trade by id. O(1) when ids are dense, else O(log held)."""
    cdef int64_t newest
    if r.held == 0:
        return False
    newest = ring_slot(r, 0).value
    if trade_id > newest or trade_id < 1:
        return False
    age[0] = <uint64_t>(newest - trade_id)
    if age[0] < r.held and ring_slot(r, age[0]).value == trade_id:
        return True
    age[0] = count_newer(r, trade_id)
    return age[0] < r.held and ring_slot(r, age[0]).value == trade_id


cdef bint ring_insert(TradeRing* r, const Event* trade) noexcept nogil:
    """Put a trade that isn't the newest in its place, unless it is there or older than all of a full ring.

    O(trades on the nearer side of it); of a full ring, on its older side.
    """
    cdef uint64_t newer = count_newer(r, trade.value), older = r.held - newer, age
    if older != 0 and ring_slot(r, newer).value == trade.value:
        return False
    if older == 0 and r.held == r.capacity:
        return False
    if r.held == r.capacity or older < newer:        # make room by moving the older ones back; the oldest may fall out
        if r.held < r.capacity:
            r.held += 1
        for age in range(r.held - 1, newer, -1):
            ring_slot(r, age)[0] = ring_slot(r, age - 1)[0]
    else:
        r.next += 1
        r.held += 1
        for age in range(newer):
            ring_slot(r, age)[0] = ring_slot(r, age + 1)[0]
    ring_slot(r, newer)[0] = trade[0]
    r.total += 1
    return True


cdef inline bint ring_put(TradeRing* r, const Event* trade) noexcept nogil:
    if pye_likely(r.held == 0 or trade.value > ring_slot(r, 0).value):
        ring_append(r, trade)
        return True
    return ring_insert(r, trade)


cdef int trade_ring_put(TradeRing* r, const Event* trade) noexcept nogil:
    """Take in a trade; STORE_STALE if it is held already or older than all of a full ring. O(1) for the newest."""
    if r.closed:
        return STORE_CLOSED
    return STORE_OK if ring_put(r, trade) else STORE_STALE


cdef int trade_ring_get(const TradeRing* r, int64_t trade_id, Event* found) noexcept nogil:
    """Copy a trade. O(1) when ids are dense, else O(log held)."""
    cdef uint64_t age = 0
    if r.closed:
        return STORE_CLOSED
    if not ring_find(r, trade_id, &age):
        return STORE_UNKNOWN
    found[0] = ring_slot(r, age)[0]
    return STORE_OK


cdef bint trade_ring_complete_for(const TradeRing* r, uint64_t limit) noexcept nogil:
    """Whether the newest `limit` trades that are held are the newest there are, given that ids are dense from 1. O(1)."""
    if limit == 0:
        return True
    if limit <= r.held:
        return ring_slot(r, 0).value - ring_slot(r, limit - 1).value == <int64_t>(limit - 1)
    return r.held != 0 and ring_slot(r, r.held - 1).value == 1 and ring_slot(r, 0).value == <int64_t>r.held


cdef bint rises(const Event* rows, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(1, n):
        if rows[i - 1].value >= rows[i].value:
            return False
    return True


cdef size_t append_rows(TradeRing* r, const Event* rows, size_t n) noexcept nogil:
    """Append rows that rise and are newer than all that is held; only the last `capacity` are copied. O(n) at most."""
    cdef size_t first = n - r.capacity if n > r.capacity else 0, i
    cdef Event row
    r.total += first
    for i in range(first, n):
        row = rows[i]              # a private copy, because another thread may be writing into the caller's array
        pye_copied(&row)
        if trade_record_fault(&row) == NULL:
            ring_put(r, &row)
    return n


cdef int sort_rows(const Event* rows, size_t n, SortItem** order) noexcept nogil:
    """Make a list of row numbers by trade id, to be freed by the caller. O(n)."""
    cdef SortItem* items = <SortItem*>malloc(2 * n * sizeof(SortItem)) if n <= UINT32_MAX else NULL
    cdef size_t i
    if items == NULL:
        return STORE_NO_MEMORY
    for i in range(n):
        items[i].key = <uint64_t>rows[i].value
        items[i].row = <uint32_t>i
    radix_sort(items, items + n, n)
    order[0] = items
    return STORE_OK


cdef int merge_rows(TradeRing* r, const Event* rows, size_t n, size_t* stored) noexcept nogil:
    """Merge rows of any order into the ring: the newest `capacity` of both, each id once, what is held first. O(n + held)."""
    cdef SortItem* order = NULL
    cdef TradeRing merged
    cdef uint64_t age = 0, room = r.capacity
    cdef size_t left = n
    cdef uint64_t key
    cdef Event* slot
    cdef bint sound
    if trade_ring_init(&merged, r.capacity) != STORE_OK:
        return STORE_NO_MEMORY
    if sort_rows(rows, n, &order) != STORE_OK:
        trade_ring_free(&merged)
        return STORE_NO_MEMORY
    while room != 0 and (left != 0 or age < r.held):
        slot = &merged.slots[room - 1]
        if age < r.held and (left == 0 or <uint64_t>ring_slot(r, age).value >= order[left - 1].key):
            slot[0] = ring_slot(r, age)[0]
            key = <uint64_t>slot.value
            age += 1
            sound = True
        else:
            left -= 1
            stored[0] += 1
            key = order[left].key
            slot[0] = rows[order[left].row]
            pye_copied(slot)
            # As above: what was copied is what must be sound, and still have the id that it was sorted by.
            sound = <uint64_t>slot.value == key and trade_record_fault(slot) == NULL
        while left != 0 and order[left - 1].key == key:
            left -= 1                                    # the same trade again
        if sound:
            room -= 1
            merged.held += 1
    merged.next = r.capacity
    merged.total = r.total + stored[0]
    merged.lock = r.lock           # held, and waited for
    free(order)
    trade_ring_free(r)
    r[0] = merged
    return STORE_OK


cdef int trade_ring_put_rows(TradeRing* r, const Event* rows, size_t n, size_t* stored) noexcept nogil:
    """Take in n sound records, all or (without memory) none, and count the new ones. O(n), out of order O(n + held)."""
    cdef int code = STORE_OK
    cdef size_t i
    stored[0] = 0
    if r.closed:
        code = STORE_CLOSED
    elif n != 0 and (r.held == 0 or rows[0].value > ring_slot(r, 0).value) and rises(rows, n):
        stored[0] = append_rows(r, rows, n)
    elif n <= FEW:
        for i in range(n):
            stored[0] += ring_put(r, &rows[i])
    else:
        code = merge_rows(r, rows, n, stored)
    return code


cdef int trade_store_put_rows(TradeRing* r, const Event* rows, size_t n, size_t* stored) noexcept nogil:
    """Do that with the lock, which it takes."""
    cdef int code
    pye_lock(&r.lock)
    code = trade_ring_put_rows(r, rows, n, stored)
    pye_unlock(&r.lock)
    return code


cdef int trade_store_apply(TradeRing* r, const Event* events, size_t n) noexcept nogil:
    """Take in the trades among n events of an engine. O(n); needs no memory, so it fails only when closed."""
    cdef int code = STORE_OK
    cdef size_t i
    pye_lock(&r.lock)
    if r.closed:
        code = STORE_CLOSED
    else:
        for i in range(n):
            if events[i].kind == TRADE:
                ring_put(r, &events[i])
    pye_unlock(&r.lock)
    return code


cdef int trade_store_apply_rows(TradeRing* r, const Event* events, size_t n, size_t* at, const char** fault) noexcept nogil:
    """Take in the trades among events from outside, or none if one isn't sound: then `at` and `fault` say which. O(n)."""
    cdef int code = STORE_OK
    cdef size_t i
    cdef Event row
    for at[0] in range(n):
        fault[0] = trade_record_fault(&events[at[0]]) if events[at[0]].kind == TRADE else NULL
        if fault[0] != NULL:
            return STORE_OK
    pye_lock(&r.lock)
    if r.closed:
        code = STORE_CLOSED
    else:
        for i in range(n):
            if events[i].kind == TRADE:
                row = events[i]    # a private copy, because another thread may be writing into the caller's array
                pye_copied(&row)
                if trade_record_fault(&row) == NULL:
                    ring_put(r, &row)
    pye_unlock(&r.lock)
    return code


cdef int trade_store_copy(TradeRing* r, uint64_t limit, TradeBlock* block) noexcept nogil:
    """Copy the newest trades, newest first. O(answer). The caller frees `block.rows`, whatever is returned."""
    cdef int code = STORE_OK
    cdef uint64_t age
    memset(block, 0, sizeof(TradeBlock))
    pye_lock(&r.lock)
    if r.closed:
        code = STORE_CLOSED
    elif limit != 0 and r.held != 0:
        limit = min(limit, r.held)
        block.rows = <Event*>malloc(limit * sizeof(Event))
        if block.rows == NULL:
            code = STORE_NO_MEMORY
        else:
            block.count = limit
            for age in range(limit):
                block.rows[age] = ring_slot(r, age)[0]
    pye_unlock(&r.lock)
    return code


cdef const char* trade_store_fault(TradeRing* r) noexcept nogil:
    """Walk everything and say what is broken, or return NULL. O(held)."""
    cdef const char* fault = NULL
    cdef uint64_t age, found = 0
    pye_lock(&r.lock)
    if r.closed:
        pass
    elif r.capacity < 1 or r.capacity > r.mask + 1 or r.mask & (r.mask + 1) != 0:
        fault = b"the slots are not a power of two that holds the capacity"
    elif r.held > r.capacity or r.held > r.total:
        fault = b"more trades are held than the capacity, or than were taken in"
    else:
        for age in range(r.held):
            if trade_record_fault(ring_slot(r, age)) != NULL:
                fault = b"a record is no trade"
            elif age != 0 and ring_slot(r, age).value >= ring_slot(r, age - 1).value:
                fault = b"trade ids don't rise"
            elif not ring_find(r, ring_slot(r, age).value, &found) or found != age:
                fault = b"a trade is not found under its id"
            if fault != NULL:
                break
    pye_unlock(&r.lock)
    return fault
