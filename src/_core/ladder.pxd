"""Price levels of one side of a book, in order, for any price domain.

A ladder is a 64-way trie over keys. A key is the price mapped to an unsigned number that is smallest at the best price
(bids are mirrored), so both sides run the same code: best is lowest. A leaf page covers 64 neighbouring ticks; inner
pages exist only above pages in use, so memory follows the levels, not the span between them. A direct-mapped cache of the
whole pool makes finding a page one compare; the trie itself is walked only for pages that are new or out of the cache, and
its bitmaps find the next best level when the best one empties.

A thin book opens and empties a page with nearly every order. So a leaf page that empties leaves the bitmaps above it but
keeps its place under its parent and in the cache, until its prices are used again or another page wants its cache slot.

    key    …|------|------|------|  6 bits a height
    root  [bits, child×64] ─► page [bits, child×64] ─► leaf page [bits, child×64] ─► Level

All pages and levels of an engine live in one pool; index 0 means none. Operations are O(1) for pages in the cache and
at most O(11) pages otherwise.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.port cimport pye_likely, pye_lowest_bit, pye_unlikely

cdef enum:
    CACHED_PAGES = 4096            # power of two; also bounds the empty pages that are kept
    MAX_PAGES_PER_LEVEL = 24       # a new level adds at most 11 heights below the root and 10 above


ctypedef struct Slab:
    uint32_t capacity              # entries that fit, index 0 unused
    uint32_t used                  # entries ever taken, including index 0
    uint32_t free                  # first of the freed ones, linked by the entry itself; 0 none
    uint32_t live

ctypedef struct Level:             # 32 bytes
    int64_t price_ticks
    int64_t qty_lots               # sum of the open lots of its orders
    uint32_t head                  # oldest order
    uint32_t tail                  # newest order; next free level while free
    uint32_t count
    uint32_t side                  # 2 * book + (0 bids, 1 asks)

ctypedef struct Page:              # 320 bytes, the first cache line is the head
    uint64_t bits                  # children that lead to a level; 0 in an empty page that is kept
    uint64_t present               # children that are pages, above the leaves; covers bits
    uint64_t prefix                # key >> 6 * (height + 1)
    uint32_t parent                # 0 at the root; next free page while free
    uint32_t height                # 0: children are levels
    uint32_t side                  # as in Level
    uint32_t apart[7]
    uint32_t child[64]             # valid where bits or present is set

ctypedef struct Ladder:            # 64 bytes, one cache line
    uint64_t best_key              # NO_KEY when empty
    uint64_t flip                  # key = price ^ flip
    uint32_t best_level            # 0 when empty
    uint32_t root
    uint32_t side                  # as in Level
    uint32_t levels
    uint64_t orders
    uint64_t apart[3]

ctypedef struct LevelPool:
    Level* levels                  # owned
    Page* pages                    # owned
    Slab level_slab
    Slab page_slab
    Ladder* ladders                # owned; by side as in Level
    uint32_t cache[CACHED_PAGES]   # leaf pages by cache_slot, or 0; every empty page is in it

cdef extern from *:
    """
    #define PYE_NO_KEY UINT64_MAX
    #define PYE_FLIP_ASKS 0x8000000000000000ULL
    #define PYE_FLIP_BIDS 0x7FFFFFFFFFFFFFFFULL
    """
    const uint64_t NO_KEY "PYE_NO_KEY"
    const uint64_t FLIP_ASKS "PYE_FLIP_ASKS"
    const uint64_t FLIP_BIDS "PYE_FLIP_BIDS"


cdef uint32_t ladder_walk(LevelPool* pool, Ladder* l, uint64_t number) noexcept nogil
cdef uint32_t ladder_make_page(LevelPool* pool, Ladder* l, uint64_t number) noexcept nogil
cdef void ladder_prune(LevelPool* pool, Ladder* l, uint32_t page) noexcept nogil
cdef void ladder_wake(LevelPool* pool, uint32_t page) noexcept nogil
cdef void ladder_init(Ladder* l, uint32_t side) noexcept nogil
cdef uint32_t ladder_next(const LevelPool* pool, const Ladder* l, uint64_t key) noexcept nogil


cdef inline uint64_t ladder_key(const Ladder* l, int64_t price_ticks) noexcept nogil:
    return <uint64_t>price_ticks ^ l.flip


cdef inline uint32_t cache_slot(uint32_t side, uint64_t number) noexcept nogil:
    """Neighbouring pages of a side lie side by side; different sides are scattered."""
    return (<uint32_t>number + side * <uint32_t>0x9E3779B1) & (CACHED_PAGES - 1)


cdef inline uint32_t ladder_page(LevelPool* pool, Ladder* l, uint64_t number) noexcept nogil:
    """Leaf page of 64 keys from number * 64 on, or 0."""
    cdef uint32_t page = pool.cache[cache_slot(l.side, number)]
    if page != 0 and pool.pages[page].prefix == number and pool.pages[page].side == l.side:
        return page
    return ladder_walk(pool, l, number)


cdef inline uint32_t ladder_find_from(LevelPool* pool, Ladder* l, uint64_t key, uint32_t* page) noexcept nogil:
    """Level at a key, or 0; then `page` is the leaf page that it belongs on, or 0, for `ladder_open`."""
    if key == l.best_key:
        return l.best_level
    page[0] = ladder_page(pool, l, key >> 6)
    if page[0] == 0 or not pool.pages[page[0]].bits >> (key & 63) & 1:
        return 0
    return pool.pages[page[0]].child[key & 63]


cdef inline uint32_t ladder_find(LevelPool* pool, Ladder* l, uint64_t key) noexcept nogil:
    """Level at a key, or 0."""
    cdef uint32_t page
    return ladder_find_from(pool, l, key, &page)


cdef inline void wake_page(LevelPool* pool, uint32_t page) noexcept nogil:
    """Put a leaf page that gets its first level into the bitmaps above it; more than one height is the cold half."""
    cdef uint32_t parent = pool.pages[page].parent
    cdef uint64_t before
    if pye_unlikely(parent == 0):
        return
    before = pool.pages[parent].bits
    pool.pages[parent].bits = before | <uint64_t>1 << (pool.pages[page].prefix & 63)
    if pye_unlikely(before == 0):
        ladder_wake(pool, parent)


cdef inline void prune_page(LevelPool* pool, Ladder* l, uint32_t page, bint was_best) noexcept nogil:
    """Take a leaf page without levels out of the bitmaps above it, and settle the best level."""
    cdef uint32_t parent = pool.pages[page].parent, slot
    cdef uint64_t left = 0
    if pye_likely(parent != 0):
        left = pool.pages[parent].bits & ~(<uint64_t>1 << (pool.pages[page].prefix & 63))
    if pye_unlikely(left == 0):
        ladder_prune(pool, l, page)
        return
    pool.pages[parent].bits = left
    if was_best:
        page = pool.pages[parent].child[pye_lowest_bit(left)]
        slot = pye_lowest_bit(pool.pages[page].bits)
        l.best_key = pool.pages[page].prefix << 6 | slot
        l.best_level = pool.pages[page].child[slot]


cdef inline uint32_t ladder_open(LevelPool* pool, Ladder* l, uint64_t key, uint32_t page) noexcept nogil:
    """Add an empty level at a key that has none; `page` is from `ladder_find_from`.

    The pool must have a level and MAX_PAGES_PER_LEVEL pages left.
    """
    cdef uint32_t level = pool.level_slab.free
    cdef Level* v
    if pye_unlikely(page == 0):
        page = ladder_make_page(pool, l, key >> 6)
    if pool.pages[page].bits == 0:
        wake_page(pool, page)
    if level != 0:
        pool.level_slab.free = pool.levels[level].tail
    else:
        level = pool.level_slab.used
        pool.level_slab.used += 1
    pool.level_slab.live += 1
    pool.pages[page].bits |= <uint64_t>1 << (key & 63)
    pool.pages[page].child[key & 63] = level
    v = &pool.levels[level]
    v.price_ticks = <int64_t>(key ^ l.flip)
    v.qty_lots = 0
    v.head = v.tail = v.count = 0
    v.side = l.side
    l.levels += 1
    if key < l.best_key:
        l.best_key = key
        l.best_level = level
    return level


cdef inline void ladder_close(LevelPool* pool, Ladder* l, uint32_t level) noexcept nogil:
    """Take away a level; if it was the best, the next one becomes the best."""
    cdef uint64_t key = ladder_key(l, pool.levels[level].price_ticks)
    cdef uint32_t page = ladder_page(pool, l, key >> 6), slot
    cdef bint was_best = key == l.best_key
    pool.levels[level].tail = pool.level_slab.free
    pool.level_slab.free = level
    pool.level_slab.live -= 1
    l.levels -= 1
    pool.pages[page].bits &= ~(<uint64_t>1 << (key & 63))
    if pool.pages[page].bits == 0:
        prune_page(pool, l, page, was_best)
        return
    if was_best:
        slot = pye_lowest_bit(pool.pages[page].bits)
        l.best_key = (key & ~<uint64_t>63) | slot
        l.best_level = pool.pages[page].child[slot]
