"""The cold half of the ladder: pages that come and go, and the walk from level to level. See ladder.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from pyengine._core.port cimport pye_lowest_bit


cdef void ladder_init(Ladder* l, uint32_t side) noexcept nogil:
    memset(l, 0, sizeof(Ladder))
    l.best_key = NO_KEY
    l.flip = FLIP_ASKS if side & 1 else FLIP_BIDS
    l.side = side


cdef inline uint32_t take_page(LevelPool* pool, uint32_t side, uint64_t prefix, uint32_t height, uint32_t parent) noexcept nogil:
    cdef uint32_t page = pool.page_slab.free
    if page != 0:
        pool.page_slab.free = pool.pages[page].parent
    else:
        page = pool.page_slab.used
        pool.page_slab.used += 1
    pool.page_slab.live += 1
    pool.pages[page].bits = pool.pages[page].present = 0
    pool.pages[page].prefix = prefix
    pool.pages[page].height = height
    pool.pages[page].side = side
    pool.pages[page].parent = parent
    return page


cdef inline void give_page(LevelPool* pool, uint32_t page) noexcept nogil:
    pool.pages[page].prefix = NO_KEY
    pool.pages[page].parent = pool.page_slab.free
    pool.page_slab.free = page
    pool.page_slab.live -= 1


cdef void drop_page(LevelPool* pool, Ladder* l, uint32_t page) noexcept nogil:
    """Free a leaf page without levels, what has no page below it then, and a root with one page below it. O(height)."""
    cdef uint32_t parent
    cdef uint64_t slot
    while pool.pages[page].present == 0:
        parent = pool.pages[page].parent
        slot = pool.pages[page].prefix & 63
        give_page(pool, page)
        if parent == 0:
            l.root = 0
            return
        page = parent
        pool.pages[page].present &= ~(<uint64_t>1 << slot)
    page = l.root
    while pool.pages[page].height > 0 and pool.pages[page].present & (pool.pages[page].present - 1) == 0:
        l.root = pool.pages[page].child[pye_lowest_bit(pool.pages[page].present)]
        pool.pages[l.root].parent = 0
        give_page(pool, page)
        page = l.root


cdef inline void remember(LevelPool* pool, Ladder* l, uint64_t number, uint32_t page) noexcept nogil:
    """Put a leaf page into the cache; the one that had the place goes if it has no levels."""
    cdef uint32_t* place = &pool.cache[cache_slot(l.side, number)]
    cdef uint32_t old = place[0]
    place[0] = page
    if old != 0 and pool.pages[old].bits == 0:
        drop_page(pool, &pool.ladders[pool.pages[old].side], old)


cdef uint32_t ladder_walk(LevelPool* pool, Ladder* l, uint64_t number) noexcept nogil:
    """Find a leaf page from the root down and cache it; 0 if there is none. O(height), at most 11."""
    cdef uint32_t page = l.root, height, slot
    if page == 0:
        return 0
    height = pool.pages[page].height
    if number >> (6 * height) != pool.pages[page].prefix:
        return 0
    while height > 0:
        height -= 1
        slot = (number >> (6 * height)) & 63
        if not pool.pages[page].present >> slot & 1:
            return 0
        page = pool.pages[page].child[slot]
    remember(pool, l, number, page)
    return page


cdef uint32_t ladder_make_page(LevelPool* pool, Ladder* l, uint64_t number) noexcept nogil:
    """Add a leaf page that is missing, and the pages above it. The caller has made sure of MAX_PAGES_PER_LEVEL pages."""
    cdef uint32_t page = l.root, height, slot, child
    if page == 0:
        page = take_page(pool, l.side, number, 0, 0)
        l.root = page
        remember(pool, l, number, page)
        return page
    while number >> (6 * pool.pages[page].height) != pool.pages[page].prefix:
        child = page
        page = take_page(pool, l.side, pool.pages[child].prefix >> 6, pool.pages[child].height + 1, 0)
        slot = pool.pages[child].prefix & 63
        pool.pages[page].present = <uint64_t>1 << slot
        pool.pages[page].bits = <uint64_t>(pool.pages[child].bits != 0) << slot
        pool.pages[page].child[slot] = child
        pool.pages[child].parent = page
        l.root = page
    height = pool.pages[page].height
    while height > 0:
        height -= 1
        slot = (number >> (6 * height)) & 63
        if not pool.pages[page].present >> slot & 1:
            child = take_page(pool, l.side, number >> (6 * height), height, page)
            pool.pages[page].present |= <uint64_t>1 << slot
            pool.pages[page].child[slot] = child
        page = pool.pages[page].child[slot]
    remember(pool, l, number, page)
    return page


cdef void ladder_wake(LevelPool* pool, uint32_t page) noexcept nogil:
    """Put a page that gets its first level into the bitmaps above it. O(height), mostly 1."""
    cdef uint64_t slot, before
    while pool.pages[page].parent != 0:
        slot = pool.pages[page].prefix & 63
        page = pool.pages[page].parent
        before = pool.pages[page].bits
        pool.pages[page].bits = before | <uint64_t>1 << slot
        if before != 0:
            return


cdef void ladder_prune(LevelPool* pool, Ladder* l, uint32_t page) noexcept nogil:
    """Take an empty leaf page out of the bitmaps above it, and settle the best level. O(height), mostly 1.

    The page is in the cache, because the caller had it from there, and stays until another page wants the place.
    """
    cdef uint32_t slot
    cdef bint was_best = l.best_key >> 6 == pool.pages[page].prefix
    while pool.pages[page].bits == 0:
        slot = pool.pages[page].prefix & 63
        page = pool.pages[page].parent
        if page == 0:
            l.best_key = NO_KEY
            l.best_level = 0
            return
        pool.pages[page].bits &= ~(<uint64_t>1 << slot)
    if was_best:
        # What was removed was the lowest, so the next lowest is the leftmost of the nearest ancestor that has any.
        while pool.pages[page].height > 0:
            page = pool.pages[page].child[pye_lowest_bit(pool.pages[page].bits)]
        slot = pye_lowest_bit(pool.pages[page].bits)
        l.best_key = pool.pages[page].prefix << 6 | slot
        l.best_level = pool.pages[page].child[slot]


cdef uint32_t ladder_next(const LevelPool* pool, const Ladder* l, uint64_t key) noexcept nogil:
    """The level after a key that has one, in order from best to worst, or 0. O(height)."""
    cdef uint32_t page = l.root, slot = 0
    cdef uint64_t number = key >> 6, above
    # Down to the leaf of the key; it exists.
    while pool.pages[page].height > 0:
        page = pool.pages[page].child[(number >> (6 * (pool.pages[page].height - 1))) & 63]
    slot = key & 63
    while True:
        above = pool.pages[page].bits & ~(((<uint64_t>1 << slot) << 1) - 1) if slot < 63 else 0
        if above != 0:
            break
        slot = pool.pages[page].prefix & 63
        page = pool.pages[page].parent
        if page == 0:
            return 0
    slot = pye_lowest_bit(above)
    while pool.pages[page].height > 0:
        page = pool.pages[page].child[slot]
        slot = pye_lowest_bit(pool.pages[page].bits)
    return pool.pages[page].child[slot]
