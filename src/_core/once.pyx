"""Running a command with a client order id once, however often it comes. See requests.pxd for what is remembered."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from pyengine._core.matching cimport matching_execute, matching_reject
from pyengine._core.records cimport (
    CLIENT_ID_REUSED, FIRST_CAPACITY, FIRST_REFUSAL, FIRST_REJECTION, MASS_CANCEL, NO_BOOK, OUT_OF_MEMORY, UNKNOWN_ORDER,
    Command, Event,
)
from pyengine._core.requests cimport (
    REQUEST_NOT, REQUEST_RAN, REQUEST_REPEATED, RequestEntry, RequestWindow, request_add, request_close, request_find,
    request_same, request_take, request_write, requests_drop_spare, requests_open,
)
from pyengine._core.state cimport State, has_room, next_event, state_make_room


cdef inline Event* event_at(State* s, uint64_t seq) noexcept nogil:
    return &s.out.events[(seq - s.out.origin) & s.out.mask]


cdef void remember(State* s, const Command* c, uint64_t seq) noexcept nogil:
    """Take what was done into the window. Nothing here can fail: there is room for everything already."""
    cdef RequestWindow* w = &s.requests
    cdef Event* request = event_at(s, seq)
    cdef RequestEntry* r
    if c.action == MASS_CANCEL:
        # Where its events end can't be seen from them.
        request.qty_lots = <int64_t>s.last.cancelled
    r = request_add(w, request)
    for seq in range(seq + 1, s.out.seq):
        request_take(w, event_at(s, seq))
    request_close(w)
    w.came = REQUEST_RAN
    w.answer = r


cdef int once_execute(State* s, const Command* c, uint64_t client_id, uint8_t implied) noexcept nogil:
    """Run a command unless it was run before; return its status, or that of the first time. `requests.came` says which.

    A refusal is remembered, and its REJECTED event is emitted here. What isn't remembered has changed nothing: then a REJECTED
    event, if there shall be one, is the caller's to emit. `implied` are RequestFlags. O(1) on top of the command, plus O(levels)
    if it trades.
    """
    cdef RequestWindow* w = &s.requests
    cdef RequestEntry* r
    cdef Event request
    cdef int status
    w.came = REQUEST_NOT
    request_write(&request, c, client_id, implied)
    r = request_find(w, c.user, client_id, c.ts_ns)
    if r != NULL:
        if not request_same(&r.request, &request):
            return CLIENT_ID_REUSED
        w.came = REQUEST_REPEATED
        w.answer = r
        return r.status
    if w.entries == NULL and requests_open(w) != 0:
        return OUT_OF_MEMORY
    if not has_room(s, 1):
        status = state_make_room(s, 1)
        if status != 0:
            return status
    # Written before it is known whether the command runs, but neither published nor collected before it has.
    request.seq = s.out.seq
    next_event(s)[0] = request
    s.out.pending = 1
    status = UNKNOWN_ORDER if implied & NO_BOOK else matching_execute(s, c)
    if FIRST_REFUSAL <= status < FIRST_CAPACITY:
        status = matching_reject(s, c, status)
    s.out.pending = 0
    if status >= FIRST_CAPACITY or FIRST_REJECTION <= status < FIRST_REFUSAL:
        s.out.seq = request.seq
        requests_drop_spare(w)
        return status
    remember(s, c, request.seq)
    return status
