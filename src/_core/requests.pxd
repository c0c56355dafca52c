"""The commands with a client order id that an engine remembers, each with what makes its result again.

      ids ──► entries   a ring, oldest first; place = (first + n) modulo limit
              trades    of each entry, a block of its own

An entry is its REQUEST event and what the events behind that one said; `request_take` reads it off them, while the engine runs
and when it is recovered, so both remember the same. Entries leave at the old end only, when a new one comes in: beyond `limit`,
beyond `age_ns`, or as all together hold more than TRADES_EACH * limit trades. Time is that of the remembered commands, and never
goes back, so whatever is too old lies before everything that isn't.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.idtable cimport IdTable, idtable_tag
from pyengine._core.port cimport pye_likely, pye_lowest_bit, pye_match8
from pyengine._core.records cimport Command, Event

cdef enum:
    TRADES_EACH = 4
    MAX_REQUESTS = 1 << 24         # of a limit

cdef enum RequestStage:            # of the newest entry
    REQUEST_CLOSED = 0             # it has all of its events
    REQUEST_FIRST = 1              # one certainly follows
    REQUEST_GOES_ON = 2            # trades and cancellations of its own may follow

cdef enum RequestCame:             # what came of the last command with a client order id
    REQUEST_NOT = 0                # it isn't remembered: malformed, no room, or its id stands for another command
    REQUEST_RAN = 1
    REQUEST_REPEATED = 2

ctypedef struct RequestEntry:      # 128 bytes
    Event request
    uint64_t order_id              # of the result; see Outcome for the next two
    int64_t filled_lots
    int64_t open_lots
    uint64_t last_seq              # of the command's last event
    int64_t time_ns                # highest time stamp of all entries up to this one
    Event* trades                  # owned; trade_count of them
    uint32_t trade_count
    uint32_t trade_capacity
    uint8_t status                 # Status or Reason
    uint8_t cancel_reason
    uint8_t reserved[6]

ctypedef struct RequestWindow:
    uint64_t limit                 # 0: commands may have no client order id
    uint64_t age_ns                # 0: any
    int64_t latest_ns              # highest time stamp of an entry that there was
    RequestEntry* entries          # owned; `limit` of them, NULL before the first
    IdTable ids                    # user and client order id -> place
    uint64_t first                 # place of the oldest
    uint64_t count
    uint64_t trades                # in all entries
    uint64_t mass_left             # events that a mass cancel has yet to get
    uint8_t stage
    uint8_t came
    RequestEntry* answer           # borrowed; of the last command that ran or was repeated
    Event* spare                   # owned; room for the trades of the command that runs now, or NULL
    uint64_t spare_capacity


cdef inline RequestEntry* request_at(const RequestWindow* w, uint64_t n) noexcept nogil:
    """Entry n, counted from the oldest."""
    cdef uint64_t place = w.first + n
    return &w.entries[place if place < w.limit else place - w.limit]


cdef inline uint32_t request_tag(uint32_t user, uint64_t client_id) noexcept nogil:
    return idtable_tag(client_id ^ user * <uint64_t>0x9E3779B97F4A7C15)


cdef inline uint8_t request_action(const Event* request) noexcept nogil:
    return <uint8_t>(request.detail >> 32)


cdef inline bint request_too_old(const RequestWindow* w, const RequestEntry* r, int64_t now_ns) noexcept nogil:
    # Time stamps may be any, so their distance is only sure to fit without a sign.
    return w.age_ns != 0 and now_ns > r.time_ns and <uint64_t>now_ns - <uint64_t>r.time_ns > w.age_ns


cdef inline RequestEntry* request_find(
    const RequestWindow* w, uint32_t user, uint64_t client_id, int64_t ts_ns,
) noexcept nogil:
    """Return the remembered command of a user by its client order id, or NULL. O(1) expected."""
    cdef uint32_t tag = request_tag(user, client_id), hits
    cdef uint64_t b
    cdef RequestEntry* r
    if w.entries == NULL:
        return NULL
    b = tag & w.ids.mask
    while True:
        hits = pye_match8(w.ids.buckets[b].tag, tag)
        while hits != 0:
            r = &w.entries[w.ids.buckets[b].index[pye_lowest_bit(hits)]]
            if pye_likely(r.request.order_id == client_id and <uint32_t>r.request.detail == user):
                return NULL if request_too_old(w, r, max(ts_ns, w.latest_ns)) else r
            hits &= hits - 1
        if pye_likely(w.ids.spill[b] == 0):
            return NULL
        b = (b + 1) & w.ids.mask


cdef void requests_free(RequestWindow* w) noexcept nogil
cdef int requests_open(RequestWindow* w) noexcept nogil
cdef uint64_t requests_bytes(const RequestWindow* w) noexcept nogil
cdef int requests_reserve_trades(RequestWindow* w, uint64_t trades) noexcept nogil
cdef void requests_drop_spare(RequestWindow* w) noexcept nogil
cdef void request_write(Event* request, const Command* c, uint64_t client_id, uint8_t flags) noexcept nogil
cdef bint request_same(const Event* first, const Event* again) noexcept nogil
cdef RequestEntry* request_add(RequestWindow* w, const Event* request) noexcept nogil
cdef bint request_fits(const RequestWindow* w, const Event* e) noexcept nogil
cdef int request_reserve_trade(RequestWindow* w) noexcept nogil
cdef void request_take(RequestWindow* w, const Event* e) noexcept nogil
cdef bint request_close(RequestWindow* w) noexcept nogil
cdef const char* requests_check(const RequestWindow* w) noexcept nogil
