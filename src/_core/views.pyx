"""Reading a book: levels, orders, hash, and the check of every invariant; and loading one from a snapshot."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.idtable cimport idtable_tag
from pyengine._core.ladder cimport (
    CACHED_PAGES, NO_KEY, Ladder, Level, Page, Slab, cache_slot, ladder_find_from, ladder_key, ladder_next, ladder_open,
)
from pyengine._core.orders cimport append_to_level, new_order
from pyengine._core.port cimport pye_add_overflows, pye_mul_overflows, pye_prefetch_read, pye_prefetch_write
from pyengine._core.records cimport OUT_OF_MEMORY
from pyengine._core.requests cimport requests_check
from pyengine._core.state cimport NO_ENTRY, Order, State, User, find_entry, order_of, state_reserve

cdef enum:
    LOOK_AHEAD = 16                # orders of a snapshot that are on their way into the cache


cdef uint64_t view_levels(const State* s, uint32_t book, int side, uint64_t limit, LevelRecord* into) noexcept nogil:
    """Write up to `limit` levels from the best on; returns how many. O(levels)."""
    cdef const Ladder* l = &s.pool.ladders[2 * book + side]
    cdef uint32_t level = l.best_level
    cdef const Level* v
    cdef uint64_t n = 0
    while level != 0 and n < limit:
        v = &s.pool.levels[level]
        into[n].price_ticks = v.price_ticks
        into[n].qty_lots = v.qty_lots
        into[n].orders = v.count
        into[n].unused = 0
        n += 1
        level = ladder_next(&s.pool, l, ladder_key(l, v.price_ticks))
    return n


cdef uint64_t view_orders(const State* s, uint32_t book, int side, OrderRecord* into, uint64_t done,
                          uint32_t* places) noexcept nogil:
    """Write all orders of a side in price-time order behind the first `done` rows; returns the rows there are now. O(orders).

    `places`, unless NULL, gets at each order's slab index its row.
    """
    cdef const Ladder* l = &s.pool.ladders[2 * book + side]
    cdef uint32_t level = l.best_level, index
    cdef const Level* v
    cdef const Order* o
    while level != 0:
        v = &s.pool.levels[level]
        index = v.head
        while index != 0:
            o = &s.orders[index]
            into[done].order_id = o.id
            into[done].price_ticks = v.price_ticks
            into[done].qty_lots = o.qty_lots
            into[done].user = o.user
            into[done].side = side + 1
            into[done].unused[0] = into[done].unused[1] = into[done].unused[2] = 0
            if places != NULL:
                places[index] = <uint32_t>done
            done += 1
            index = o.next
        level = ladder_next(&s.pool, l, ladder_key(l, v.price_ticks))
    return done


cdef inline uint64_t mixed(uint64_t h, uint64_t x) noexcept nogil:
    """Fold one word into the hash; each step is a bijection of the state, so no order of words is lost."""
    h = (h ^ x) * <uint64_t>0x9E3779B97F4A7C15
    h ^= h >> 29
    h *= <uint64_t>0xBF58476D1CE4E5B9
    return h ^ h >> 32


cdef uint64_t view_hash(const State* s, uint32_t book, uint64_t seed) noexcept nogil:
    """Hash of a book's resting orders: price, queue order, id, open quantity and user. O(orders)."""
    cdef uint64_t h = mixed(seed, book)
    cdef uint32_t level, index
    cdef int side
    cdef const Ladder* l
    cdef const Order* o
    for side in range(2):
        l = &s.pool.ladders[2 * book + side]
        h = mixed(h, l.orders)
        level = l.best_level
        while level != 0:
            h = mixed(h, <uint64_t>s.pool.levels[level].price_ticks)
            h = mixed(h, s.pool.levels[level].count)
            index = s.pool.levels[level].head
            while index != 0:
                o = &s.orders[index]
                h = mixed(h, o.id)
                h = mixed(h, <uint64_t>o.qty_lots)
                h = mixed(h, o.user)
                index = o.next
            level = ladder_next(&s.pool, l, ladder_key(l, s.pool.levels[level].price_ticks))
    return h


# --- check ----------------------------------------------------------------------------------------------------------------


ctypedef struct Tally:             # what a walk over all books has met
    uint64_t orders
    uint64_t levels
    uint64_t pages
    uint64_t owned                 # orders that have a user


cdef inline Finding found(const char* what, uint64_t where) noexcept nogil:
    cdef Finding f
    f.what = what
    f.where = where
    return f


cdef Finding check_level(const State* s, const Ladder* l, uint32_t level, Tally* tally) noexcept nogil:
    cdef const Level* v = &s.pool.levels[level]
    cdef const Order* o
    cdef uint32_t index = v.head, previous = 0
    cdef uint64_t count = 0, entry
    cdef int64_t sum = 0
    if v.side != l.side:
        return found(b"a level belongs to another side", level)
    while index != 0:
        o = &s.orders[index]
        count += 1
        if count > s.order_slab.live:
            return found(b"a level's queue runs in a circle", level)
        if o.level != level or o.prev != previous:
            return found(b"an order's links don't lead back", index)
        if o.qty_lots <= 0:
            return found(b"an order rests without quantity", index)
        if o.user >= s.user_count:
            return found(b"an order has an unknown user", index)
        entry = find_entry(s, o.id)
        if entry == NO_ENTRY or order_of(s, entry) != index:
            return found(b"an order isn't found by its id", index)
        if pye_add_overflows(sum, o.qty_lots, &sum):
            return found(b"a level's quantity overflows", level)
        tally.owned += o.user != 0
        previous = index
        index = o.next
    if count == 0 or v.tail != previous:
        return found(b"a level is empty or has a wrong tail", level)
    if count != v.count or sum != v.qty_lots:
        return found(b"a level's totals differ from its orders", level)
    tally.orders += count
    return found(NULL, 0)


cdef Finding check_page(const State* s, const Ladder* l, uint32_t page, Tally* tally) noexcept nogil:
    """Check a page and, level by level of the trie, all below it. The depth is at most 11."""
    cdef const Page* p = &s.pool.pages[page]
    cdef const Page* child
    cdef int slot
    cdef Finding f
    tally.pages += 1
    if tally.pages > s.pool.page_slab.live or p.side != l.side:
        return found(b"a page is met twice or on the wrong side", page)
    if p.height == 0 and p.bits == 0 and s.pool.cache[cache_slot(l.side, p.prefix)] != page:
        return found(b"an empty page isn't in the cache", page)
    if p.height > 0 and (p.present == 0 or p.bits & ~p.present != 0):
        return found(b"a page's children aren't present", page)
    for slot in range(64):
        if not (p.bits if p.height == 0 else p.present) >> slot & 1:
            continue
        if p.height == 0:
            tally.levels += 1
            if ladder_key(l, s.pool.levels[p.child[slot]].price_ticks) != (p.prefix << 6 | slot):
                return found(b"a level stands at a wrong price", p.child[slot])
            continue
        child = &s.pool.pages[p.child[slot]]
        if child.parent != page or child.height + 1 != p.height or child.prefix != (p.prefix << 6 | slot):
            return found(b"a page doesn't fit under its parent", p.child[slot])
        if (child.bits != 0) != (p.bits >> slot & 1):
            return found(b"a page is empty in one place only", p.child[slot])
        f = check_page(s, l, p.child[slot], tally)
        if f.what != NULL:
            return f
    return found(NULL, 0)


cdef Finding check_side(const State* s, const Ladder* l, Tally* tally) noexcept nogil:
    cdef uint64_t orders = tally.orders, levels = tally.levels, walked = 0, key = 0, previous = 0
    cdef uint32_t level = l.best_level
    cdef Finding f
    if (l.root == 0 or s.pool.pages[l.root].bits == 0) != (level == 0) or (level == 0) != (l.best_key == <uint64_t>NO_KEY):
        return found(b"a side is empty in one place only", l.side)
    if l.root != 0:
        if s.pool.pages[l.root].parent != 0:
            return found(b"a root has a parent", l.side)
        f = check_page(s, l, l.root, tally)
        if f.what != NULL:
            return f
    while level != 0:
        key = ladder_key(l, s.pool.levels[level].price_ticks)
        if walked == 0 and key != l.best_key:
            return found(b"the best price isn't the best level's", l.side)
        if walked != 0 and key <= previous:
            return found(b"levels are out of order", l.side)
        f = check_level(s, l, level, tally)
        if f.what != NULL:
            return f
        walked += 1
        previous = key
        level = ladder_next(&s.pool, l, key)
    if walked != tally.levels - levels or walked != l.levels:
        return found(b"a side's number of levels differs from its levels", l.side)
    if tally.orders - orders != l.orders:
        return found(b"a side's number of orders differs from its orders", l.side)
    return found(NULL, 0)


cdef Finding check_users(const State* s, const Tally* tally) noexcept nogil:
    cdef uint64_t total = 0, count
    cdef uint32_t user, index, previous
    cdef const User* u
    for user in range(1, s.user_count):
        u = &s.users[user]
        index = u.head
        previous = 0
        count = 0
        while index != 0:
            count += 1
            if count > s.order_slab.live or s.orders[index].user != user or s.links[index].prev != previous:
                return found(b"a user's list of orders is broken", user)
            previous = index
            index = s.links[index].next
        if u.tail != previous or u.count != count:
            return found(b"a user's list has a wrong end or count", user)
        total += count
    return found(b"an order is missing from its user's list", 0) if total != tally.owned else found(NULL, 0)


cdef bint slab_adds_up(const Slab* slab, uint64_t live, uint64_t freed) noexcept nogil:
    return slab.live == live and live + freed + 1 == slab.used and slab.used <= slab.capacity


cdef Finding check_slabs(const State* s, const Tally* tally) noexcept nogil:
    cdef uint64_t freed = 0
    cdef const Page* page
    cdef uint32_t index = s.order_slab.free
    while index != 0 and freed <= s.order_slab.capacity:
        freed += 1
        index = s.orders[index].next
    if not slab_adds_up(&s.order_slab, tally.orders, freed):
        return found(b"orders are lost or counted twice", tally.orders)
    freed = 0
    index = s.pool.level_slab.free
    while index != 0 and freed <= s.pool.level_slab.capacity:
        freed += 1
        index = s.pool.levels[index].tail
    if not slab_adds_up(&s.pool.level_slab, tally.levels, freed):
        return found(b"levels are lost or counted twice", tally.levels)
    freed = 0
    index = s.pool.page_slab.free
    while index != 0 and freed <= s.pool.page_slab.capacity:
        freed += 1
        index = s.pool.pages[index].parent
    if not slab_adds_up(&s.pool.page_slab, tally.pages, freed):
        return found(b"pages are lost or counted twice", tally.pages)
    for index in range(CACHED_PAGES):
        page = &s.pool.pages[s.pool.cache[index]]
        if s.pool.cache[index] != 0 and (page.height != 0 or cache_slot(page.side, page.prefix) != index):
            return found(b"a cached page is stale", index)
    if s.ids.used != tally.orders:
        return found(b"the table of ids has more or fewer ids than there are orders", s.ids.used)
    return found(NULL, 0)


cdef Finding view_check(const State* s) noexcept nogil:
    """Walk everything and compare it with the invariants written at the structs. O(everything)."""
    cdef Tally tally
    cdef Finding f
    cdef uint32_t book
    cdef const Ladder* bids
    cdef const Ladder* asks
    tally.orders = tally.levels = tally.pages = tally.owned = 0
    for book in range(s.book_count):
        bids = &s.pool.ladders[2 * book]
        asks = &s.pool.ladders[2 * book + 1]
        f = check_side(s, bids, &tally)
        if f.what == NULL:
            f = check_side(s, asks, &tally)
        if f.what != NULL:
            return f
        if bids.best_level != 0 and asks.best_level != 0 and \
                s.pool.levels[bids.best_level].price_ticks >= s.pool.levels[asks.best_level].price_ticks:
            return found(b"a book is crossed", 2 * book)
    f = check_users(s, &tally)
    if f.what == NULL:
        f = check_slabs(s, &tally)
    return f if f.what != NULL else found(requests_check(&s.requests), 0)


# --- loading --------------------------------------------------------------------------------------------------------------


cdef int view_load(State* s, uint32_t book, const OrderRecord* orders, uint64_t count, uint32_t* indexes) noexcept nogil:
    """Append resting orders to a book as they are, without matching; `indexes` gets their slab indexes. O(count).

    Users' lists are left to the caller, who knows their order: see `link_user`. 0, -1 if a row can't rest (nothing of that
    row is changed), or OUT_OF_MEMORY.
    """
    cdef Ladder* l
    cdef uint64_t i, key, bucket
    cdef uint32_t level, page
    cdef int64_t total
    if state_reserve(s, count) != 0:
        return OUT_OF_MEMORY
    for i in range(count):
        if i + LOOK_AHEAD < count:
            # Ids come in the order of the queues, so each is somewhere else in the table.
            bucket = idtable_tag(orders[i + LOOK_AHEAD].order_id) & s.ids.mask
            pye_prefetch_write(&s.ids.buckets[bucket])
            pye_prefetch_read(&s.ids.spill[bucket])
        if orders[i].side not in (1, 2) or orders[i].user >= s.user_count or not loadable(s, book, &orders[i]):
            return -1
        if s.budget == 0 and state_reserve(s, 1) != 0:
            return OUT_OF_MEMORY
        l = &s.pool.ladders[2 * book + orders[i].side - 1]
        key = ladder_key(l, orders[i].price_ticks)
        level = ladder_find_from(&s.pool, l, key, &page)
        if level != 0 and pye_add_overflows(s.pool.levels[level].qty_lots, orders[i].qty_lots, &total):
            return -1
        if level == 0:
            level = ladder_open(&s.pool, l, key, page)
        indexes[i] = new_order(s, orders[i].order_id, orders[i].qty_lots, 0)
        s.orders[indexes[i]].user = orders[i].user
        append_to_level(s, l, level, indexes[i])
    return 0


cdef bint loadable(const State* s, uint32_t book, const OrderRecord* o) noexcept nogil:
    cdef const Ladder* opposite = &s.pool.ladders[2 * book + 2 - o.side]
    cdef int64_t notional
    if o.qty_lots <= 0 or pye_mul_overflows(o.price_ticks, o.qty_lots, &notional):
        return False
    if o.price_ticks < s.books[book].min_price_ticks or o.price_ticks > s.books[book].max_price_ticks:
        return False
    return find_entry(s, o.order_id) == <uint64_t>NO_ENTRY and opposite.best_key > ladder_key(opposite, o.price_ticks)
