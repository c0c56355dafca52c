"""The table of functions for C callers; include/pyengine.h describes it. Cython callers cimport the modules themselves."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.engine cimport EngineCore
from pyengine._core.ladder cimport Ladder, ladder_find, ladder_key
from pyengine._core.matching cimport matching_apply
from pyengine._core.records cimport Command, Event
from pyengine._core.ring cimport ring_attach, ring_detach, ring_publish, ring_read, ring_release
from pyengine._core.state cimport State, state_add_book, state_add_user, state_free, state_new
from pyengine._core.views cimport view_hash


ctypedef struct Api:               # pyengine_api in include/pyengine.h
    uint32_t version
    uint32_t command_bytes
    uint32_t event_bytes
    uint32_t unused
    State* (*create)(uint64_t, uint64_t) noexcept nogil
    void (*destroy)(State*) noexcept nogil
    int (*add_book)(State*, int64_t, int64_t, int64_t, int64_t) noexcept nogil
    int (*add_user)(State*) noexcept nogil
    int (*apply)(State*, const Command*) noexcept nogil
    void (*publish)(State*) noexcept nogil
    void (*set_wait)(State*, int64_t) noexcept nogil
    int (*attach)(State*, int) noexcept nogil
    void (*detach)(State*, int) noexcept nogil
    uint64_t (*poll)(State*, int, Event**, uint64_t) noexcept nogil
    void (*release)(State*, int, uint64_t) noexcept nogil
    int (*best)(const State*, uint32_t, int, int64_t*) noexcept nogil
    int64_t (*depth_at)(State*, uint32_t, int, int64_t) noexcept nogil
    uint64_t (*state_hash)(const State*) noexcept nogil

cdef Api table


cdef State* create(uint64_t ring_capacity, uint64_t expected_orders) noexcept nogil:
    cdef State* s
    if not 64 <= ring_capacity <= 1 << 28 or ring_capacity & (ring_capacity - 1) or expected_orders > 1 << 27:
        return NULL
    s = state_new(ring_capacity, expected_orders)
    if s != NULL:
        s.stp = 1
        s.wait_ns = 1000000000
    return s


cdef void publish(State* s) noexcept nogil:
    ring_publish(s.ring, s.out.seq)
    s.out.published = s.out.seq


cdef void set_wait(State* s, int64_t wait_ns) noexcept nogil:
    s.wait_ns = wait_ns


cdef int attach(State* s, int required) noexcept nogil:
    s.out.limit = s.out.seq
    return ring_attach(s.ring, required != 0, s.out.seq)


cdef void detach(State* s, int cursor) noexcept nogil:
    if 0 <= cursor < 64:
        ring_detach(s.ring, cursor)


cdef uint64_t poll(State* s, int cursor, Event** first, uint64_t limit) noexcept nogil:
    return ring_read(s.ring, cursor, s.ring.cursors[cursor].next, first, limit)


cdef void release(State* s, int cursor, uint64_t count) noexcept nogil:
    ring_release(s.ring, cursor, s.ring.cursors[cursor].next + count)


cdef int best(const State* s, uint32_t book, int side, int64_t* price) noexcept nogil:
    cdef const Ladder* l
    if book >= s.book_count or not 1 <= side <= 2:
        return 0
    l = &s.pool.ladders[2 * book + side - 1]
    if l.best_level == 0:
        return 0
    price[0] = s.pool.levels[l.best_level].price_ticks
    return 1


cdef int64_t depth_at(State* s, uint32_t book, int side, int64_t price) noexcept nogil:
    cdef Ladder* l
    cdef uint32_t level
    if book >= s.book_count or not 1 <= side <= 2:
        return 0
    l = &s.pool.ladders[2 * book + side - 1]
    level = ladder_find(&s.pool, l, ladder_key(l, price))
    return s.pool.levels[level].qty_lots if level != 0 else 0


cdef uint64_t state_hash(const State* s) noexcept nogil:
    cdef uint64_t h = 0
    cdef uint32_t book
    for book in range(s.book_count):
        h = view_hash(s, book, h)
    return h


table.version = 1
table.command_bytes = sizeof(Command)
table.event_bytes = sizeof(Event)
table.create = create
table.destroy = state_free
table.add_book = state_add_book
table.add_user = state_add_user
table.apply = matching_apply
table.publish = publish
table.set_wait = set_wait
table.attach = attach
table.detach = detach
table.poll = poll
table.release = release
table.best = best
table.depth_at = depth_at
table.state_hash = state_hash

TABLE = PyCapsule_New(&table, b"pyengine._core.capi.TABLE", NULL)
"""Capsule of the function table; C code takes it by `PyCapsule_Import(PYENGINE_CAPSULE, 0)`."""


def state_capsule(EngineCore engine not None):
    """Return a capsule with the state of an engine, for the functions of the table; the engine must outlive its use."""
    engine.enter()
    return PyCapsule_New(engine.state, b"pyengine.state", NULL)
