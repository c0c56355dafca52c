"""All orders of a store in plain memory: records in a slab, found by id, and threaded on three kinds of lists.

      ids ──► orders[i]  the record            heads[h]: one list per user, one per instrument and side
              links[i]                         ├ first, last, count
              ├ user list   all of a user      └ active: side lists that aren't empty, per side
              └ list        open: its side's, in order of entry · finished: the queue, oldest first · free: the free places

Records and links lie apart, because a read touches nothing but the record, and who joins or leaves a list touches the links of
its neighbours, not their records.

Functions of `order_state` expect the caller to hold `lock`, those of `order_store` take it.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.idtable cimport IdTable, idtable_at, idtable_tag
from pyengine._core.order cimport OrderRecord
from pyengine._core.port cimport pye_likely, pye_lowest_bit, pye_match8
from pyengine._core.records cimport BUY, Event

cdef enum:
    STORE_OK = 0                   # done
    STORE_STALE = 1                # nothing changed: the store has a newer version
    STORE_UNKNOWN = 2              # nothing changed: there is no such order
    STORE_NO_MEMORY = 3            # nothing changed, or for `apply` nothing from the event that failed on
    STORE_CLOSED = 4               # nothing changed: the memory has been given back

cdef enum:
    NO_ENTRY = -1                  # of the table of ids


ctypedef struct OrderLinks:        # 32 bytes
    uint32_t user_prev             # place of an order, 0 at the end of the user's list
    uint32_t user_next
    uint32_t prev                  # place, 0 at the end of the list the status puts it on
    uint32_t next
    uint32_t user_list             # head of the user's list; 0 for an anonymous order
    uint32_t side_list             # head of the side's list; 0 unless open
    uint64_t round                 # number of the last `apply_changes` that touched the order

ctypedef struct ListHead:          # 32 bytes
    uint64_t key                   # see `user_key` and `side_key`
    uint32_t first                 # place
    uint32_t last
    uint32_t count
    uint32_t prev                  # active side lists: head, 0 at the end
    uint32_t next
    uint32_t unused

ctypedef struct OrderStoreState:
    OrderRecord* orders            # owned; status 0: the place is free; [0] is never used, so that 0 means none
    OrderLinks* links              # owned; as many
    uint32_t capacity
    uint32_t high                  # places from here on were never used
    uint32_t first_free            # first free place below high, linked by `next`
    ListHead* heads                # owned; [0] is never used
    uint32_t head_capacity
    uint32_t head_high
    IdTable ids                      # order id -> place
    IdTable head_ids                 # key -> head
    uint32_t[2] active             # first side list that isn't empty: bids, asks
    uint32_t finished_first        # place; oldest finished
    uint32_t finished_last
    uint64_t finished_count
    uint64_t open_count
    uint64_t keep_finished         # the queue is cut to this length after each change
    uint64_t request_id            # client order id of the last REQUEST
    uint64_t request_seq           # its sequence number; the order that it places comes right behind
    uint64_t unmatched             # events for orders that weren't here, or whose sizes disagreed
    uint64_t round                 # number of the `apply_changes` that runs now, or ran last
    uint64_t hits                  # answers to `get`
    uint64_t misses
    uint64_t written               # records put
    uint64_t applied               # events that engines brought
    uint64_t cut                   # finished orders that were forgotten to save memory
    uint64_t cleared               # orders that `clear` forgot
    uint32_t lock
    bint closed
    bint partial                   # it began with open orders, and doesn't know which were finished before


cdef inline uint64_t user_key(uint32_t user) noexcept nogil:
    return user


cdef inline uint64_t side_key(uint64_t instrument, int side) noexcept nogil:
    return <uint64_t>1 << 40 | instrument << 1 | <uint64_t>(side != BUY)


cdef inline uint64_t order_entry(const OrderStoreState* s, uint64_t order_id) noexcept nogil:
    """Return the entry of an order's id in the table, or NO_ENTRY. O(1) expected."""
    cdef uint32_t tag = idtable_tag(order_id), hits
    cdef uint64_t b = tag & s.ids.mask, entry
    while True:
        hits = pye_match8(s.ids.buckets[b].tag, tag)
        while hits != 0:
            entry = b << 3 | pye_lowest_bit(hits)
            if pye_likely(s.orders[idtable_at(&s.ids, entry)].order_id == order_id):
                return entry
            hits &= hits - 1
        if pye_likely(s.ids.spill[b] == 0):
            return <uint64_t>NO_ENTRY
        b = (b + 1) & s.ids.mask


cdef inline uint32_t order_find(const OrderStoreState* s, uint64_t order_id) noexcept nogil:
    """Return the place of an order, or 0. O(1) expected."""
    cdef uint64_t entry = order_entry(s, order_id)
    return 0 if entry == <uint64_t>NO_ENTRY else idtable_at(&s.ids, entry)


cdef inline uint32_t head_find(const OrderStoreState* s, uint64_t key) noexcept nogil:
    """Return the head of a list, or 0. O(1) expected."""
    cdef uint32_t tag = idtable_tag(key), hits, h
    cdef uint64_t b = tag & s.head_ids.mask
    while True:
        hits = pye_match8(s.head_ids.buckets[b].tag, tag)
        while hits != 0:
            h = s.head_ids.buckets[b].index[pye_lowest_bit(hits)]
            if pye_likely(s.heads[h].key == key):
                return h
            hits &= hits - 1
        if pye_likely(s.head_ids.spill[b] == 0):
            return 0
        b = (b + 1) & s.head_ids.mask


cdef int order_state_init(OrderStoreState* s, uint64_t orders, uint64_t keep_finished) noexcept nogil
cdef void order_state_free(OrderStoreState* s) noexcept nogil
cdef int order_state_clear(OrderStoreState* s) noexcept nogil
cdef int order_state_reserve(OrderStoreState* s, uint64_t orders) noexcept nogil
cdef int order_state_get(OrderStoreState* s, uint64_t order_id, OrderRecord* found) noexcept nogil
cdef int order_state_put(OrderStoreState* s, const OrderRecord* record, bint must_exist) noexcept nogil
cdef int order_state_put_rows(OrderStoreState* s, const OrderRecord* rows, size_t n, size_t* stored) noexcept nogil
cdef int order_state_remove(OrderStoreState* s, uint64_t order_id) noexcept nogil
cdef uint64_t order_state_cut(OrderStoreState* s, uint64_t keep, bint by_age, int64_t older_than_ns) noexcept nogil

cdef const char* order_event_fault(const Event* e) noexcept nogil
cdef int apply_events(OrderStoreState* s, const Event* events, size_t n) noexcept nogil
cdef int order_store_reserve(OrderStoreState* s, size_t orders) noexcept nogil
cdef int order_store_apply(OrderStoreState* s, const Event* events, size_t n) noexcept nogil
cdef int order_store_apply_rows(OrderStoreState* s, const Event* events, size_t n, size_t accepted) noexcept nogil
