"""All state of one engine, as plain structs. `matching` is the only module that changes books and orders.

Owned memory: each pointer marked `owned` is freed by `state_free` and by nothing else. Links between entries are 32-bit
slab indexes, 0 is none. One thread writes at a time; the shell in `engine.pyx` sees to it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.idtable cimport IdTable, idtable_at, idtable_tag
from pyengine._core.ladder cimport Ladder, LevelPool, Slab
from pyengine._core.port cimport pye_likely, pye_lowest_bit, pye_match8
from pyengine._core.records cimport Event
from pyengine._core.requests cimport RequestWindow
from pyengine._core.ring cimport Ring

ctypedef struct Order:             # 32 bytes, two a cache line
    uint64_t id
    int64_t qty_lots               # open, above 0
    uint32_t prev                  # older order of the level
    uint32_t next                  # newer order of the level; next free order while free
    uint32_t level                 # top 4 bits are kept free for order flags (iceberg, expiry)
    uint32_t user

ctypedef struct UserLink:          # same index as the order; used only if the order has a user
    uint32_t prev                  # entered before
    uint32_t next

ctypedef struct User:
    uint32_t head                  # oldest resting order
    uint32_t tail
    uint32_t count
    uint8_t stp                    # STP_DEFAULT: the engine's

ctypedef struct Book:
    int64_t min_price_ticks
    int64_t max_price_ticks
    int64_t min_qty_lots
    int64_t max_qty_lots

ctypedef struct Output:            # where events go: the ring, or the linear array of a run that nobody else reads
    Event* events                  # borrowed
    uint64_t origin                # sequence number of events[0]
    uint64_t mask
    uint64_t seq                   # the next event's number
    uint64_t limit                 # may write below it without asking
    uint64_t published
    uint64_t kept                  # events from here on are still wanted by the call that runs now
    uint64_t pending               # events below `seq` of a command that may yet come to nothing: 1 for a REQUEST, or 0

ctypedef int (*Sink)(void* target, const Event* events, size_t n) noexcept nogil

ctypedef struct Collector:         # takes events out of the output, in order, on the engine's own thread
    Sink order_sink                # L1 order store, or NULL
    void* order_target             # borrowed
    Sink trade_sink                # L1 trade ring, or NULL
    void* trade_target             # borrowed
    Event* events                  # borrowed from the run's buffer, or NULL
    uint64_t count
    uint64_t capacity
    bint linear                    # the output writes straight into `events`
    bint keep                      # this call wants its events in `events`
    bint lost                      # there was no memory to keep some

ctypedef struct Outcome:           # of the last command
    uint64_t order_id
    uint64_t first_seq
    int64_t filled_lots
    int64_t open_lots              # resting now; for cancels, what was taken off
    uint64_t trades
    uint64_t cancelled             # orders taken off by a mass cancel
    uint8_t reason                 # of a cancelled remainder

ctypedef struct State:
    Output out
    Order* orders                  # owned
    UserLink* links                # owned
    Slab order_slab
    LevelPool pool                 # owns its arrays
    IdTable ids                    # owns its buckets
    uint32_t budget                # orders that may still come to rest before memory has to be looked at
    Book* books                    # owned
    uint32_t book_count
    uint32_t book_capacity
    User* users                    # owned; [0] is nobody
    uint32_t user_count            # including nobody
    uint32_t user_capacity
    uint64_t next_order_id
    uint64_t next_trade_id
    uint8_t stp                    # default of the engine
    int64_t wait_ns                # how long the producer waits for required consumers
    bint impatient                 # a wait of this call has timed out; don't wait again
    bint holds_gil                 # the caller keeps the GIL: don't wait at all
    Ring* ring                     # owned
    Collector collector
    Outcome last
    RequestWindow requests         # owns its memory

cdef extern from *:
    """
    #define PYE_NO_ENTRY UINT64_MAX
    """
    const uint64_t NO_ENTRY "PYE_NO_ENTRY"


cdef State* state_new(uint64_t ring_capacity, uint64_t expected_orders) noexcept nogil
cdef void state_free(State* s) noexcept nogil
cdef int state_add_book(State* s, int64_t min_price, int64_t max_price, int64_t min_qty, int64_t max_qty) noexcept nogil
cdef int state_add_user(State* s) noexcept nogil
cdef int state_reserve(State* s, uint64_t orders) noexcept nogil
cdef int state_make_room(State* s, uint64_t need) noexcept nogil
cdef void state_collect(State* s) noexcept nogil
cdef void state_keep(State* s, const Event* events, uint64_t n) noexcept nogil
cdef uint64_t state_bytes(const State* s) noexcept nogil


cdef inline uint64_t find_entry(const State* s, uint64_t order_id) noexcept nogil:
    """Entry of a resting order's id in the table, or NO_ENTRY. O(1) expected."""
    cdef uint32_t tag = idtable_tag(order_id), hits, place
    cdef uint64_t b = tag & s.ids.mask
    while True:
        hits = pye_match8(s.ids.buckets[b].tag, tag)
        while hits != 0:
            place = pye_lowest_bit(hits)
            if pye_likely(s.orders[s.ids.buckets[b].index[place]].id == order_id):
                return b << 3 | place
            hits &= hits - 1
        if pye_likely(s.ids.spill[b] == 0):
            return NO_ENTRY
        b = (b + 1) & s.ids.mask


cdef inline uint32_t order_of(const State* s, uint64_t entry) noexcept nogil:
    """Slab index of the order whose id is in an entry."""
    return idtable_at(&s.ids, entry)


cdef inline bint has_room(const State* s, uint64_t need) noexcept nogil:
    return s.out.seq + need <= s.out.limit


cdef inline Event* next_event(State* s) noexcept nogil:
    """The record to fill in next; there is room, see state_make_room."""
    cdef Event* e = &s.out.events[(s.out.seq - s.out.origin) & s.out.mask]
    e.seq = s.out.seq
    s.out.seq += 1
    return e
