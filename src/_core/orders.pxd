"""Orders in their three places: the queue of a level, the list of a user, and the table of ids.

    Level.head ─► Order ⇄ Order ⇄ Order ◄─ Level.tail      oldest first
    User.head  ─► link  ⇄ link  ◄─ User.tail               in order of entry, over all books
    IdTable[id] ─► index

All O(1). The caller keeps the order of calls: an order leaves its level before it is freed.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.idtable cimport idtable_delete, idtable_put, idtable_tag
from pyengine._core.ladder cimport Ladder, Level, ladder_close
from pyengine._core.state cimport Order, State, User, UserLink


cdef inline void link_user(State* s, uint32_t index, uint32_t user) noexcept nogil:
    cdef User* u = &s.users[user]
    s.links[index].prev = u.tail
    s.links[index].next = 0
    if u.tail != 0:
        s.links[u.tail].next = index
    else:
        u.head = index
    u.tail = index
    u.count += 1


cdef inline void unlink_user(State* s, uint32_t index, uint32_t user) noexcept nogil:
    cdef User* u = &s.users[user]
    cdef UserLink link = s.links[index]
    if link.prev != 0:
        s.links[link.prev].next = link.next
    else:
        u.head = link.next
    if link.next != 0:
        s.links[link.next].prev = link.prev
    else:
        u.tail = link.prev
    u.count -= 1


cdef inline void append_to_level(State* s, Ladder* l, uint32_t level, uint32_t index) noexcept nogil:
    cdef Level* v = &s.pool.levels[level]
    cdef Order* o = &s.orders[index]
    # Which of the two it is can't be foreseen, so it is chosen without a jump; so below.
    cdef uint32_t* before = &s.orders[v.tail].next if v.tail != 0 else &v.head
    before[0] = index
    o.level = level
    o.prev = v.tail
    o.next = 0
    v.tail = index
    v.count += 1
    v.qty_lots += o.qty_lots
    l.orders += 1


cdef inline void take_from_level(State* s, Ladder* l, uint32_t index) noexcept nogil:
    """Unlink an order from its level, and close the level if it was the last. The order's links are stale then."""
    cdef Order* o = &s.orders[index]
    cdef Level* v = &s.pool.levels[o.level]
    cdef uint32_t* before
    cdef uint32_t* after
    l.orders -= 1
    if v.count == 1:
        ladder_close(&s.pool, l, o.level)
        return
    v.count -= 1
    v.qty_lots -= o.qty_lots
    before = &s.orders[o.prev].next if o.prev != 0 else &v.head
    after = &s.orders[o.next].prev if o.next != 0 else &v.tail
    before[0] = o.next
    after[0] = o.prev


cdef inline void free_order(State* s, uint32_t index, uint64_t entry) noexcept nogil:
    """Forget an order that is in no level any more."""
    cdef Order* o = &s.orders[index]
    if o.user != 0:
        unlink_user(s, index, o.user)
    idtable_delete(&s.ids, entry)
    o.next = s.order_slab.free
    s.order_slab.free = index
    s.order_slab.live -= 1


cdef inline uint32_t new_order(State* s, uint64_t order_id, int64_t qty_lots, uint32_t user) noexcept nogil:
    """Take an order from the slab and make its id known; there is budget."""
    cdef uint32_t index = s.order_slab.free
    cdef Order* o
    if index != 0:
        s.order_slab.free = s.orders[index].next
    else:
        index = s.order_slab.used
        s.order_slab.used += 1
    s.order_slab.live += 1
    s.budget -= 1
    o = &s.orders[index]
    o.id = order_id
    o.qty_lots = qty_lots
    o.user = user
    idtable_put(&s.ids, idtable_tag(order_id), index)
    if user != 0:
        link_user(s, index, user)
    return index
