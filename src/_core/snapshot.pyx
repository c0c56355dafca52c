"""The engine's state as arrays and back. `pyengine.snapshot` turns the arrays into bytes."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy
from pyengine._core.arguments cimport signed_field, unsigned_field
from pyengine._core.engine cimport EngineCore
from pyengine._core.idtable cimport idtable_put
from pyengine._core.orders cimport link_user
from pyengine._core.port cimport pye_alloc, pye_free
from pyengine._core.records cimport (
    BY_EXPIRY, CLIENT_ID_REUSED, DONE_MASS_CANCELLED, FIRST_REFUSAL, OUT_OF_MEMORY, REQUEST, RESTING, STP_DECREMENT, STP_DEFAULT,
    TRADE, Event,
)
from pyengine._core.requests cimport MAX_REQUESTS, RequestEntry, RequestWindow, request_at, request_tag, requests_open
from pyengine._core.ring cimport ring_publish
from pyengine._core.state cimport State
from pyengine._core.store_shell cimport is_aligned
from pyengine._core.views cimport OrderRecord, view_hash, view_load, view_orders

import numpy as np

from pyengine.errors import InvariantError, SnapshotError
from pyengine.records import EVENT_DTYPE, ORDER_STATE_DTYPE

cdef packed struct RequestRecord:  # 112 bytes; a RequestEntry without its trades, which are in an array of their own
    Event request
    uint64_t order_id
    int64_t filled_lots
    int64_t open_lots
    uint64_t last_seq
    int64_t time_ns
    uint32_t trade_count
    uint8_t status
    uint8_t cancel_reason
    uint8_t[2] reserved

REQUEST_STATE_DTYPE = np.dtype(
    [("request", EVENT_DTYPE), ("order_id", "<u8"), ("filled_lots", "<i8"), ("open_lots", "<i8"), ("last_seq", "<u8"),
     ("time_ns", "<i8"), ("trades", "<u4"), ("status", "u1"), ("cancel_reason", "u1"), ("reserved", "(2,)u1")])


def dump(EngineCore engine not None):
    """
    Copy the state of an engine. O(everything).

    Returns
    -------
    counters : tuple of int
        Next sequence number, next order id, next trade id, self-trade mode.
    book_orders : ndarray of uint32, shape (books,)
        Resting orders of each book.
    orders : ndarray of ORDER_STATE_DTYPE, shape (orders,)
        Book by book, bids before asks, in price-time order.
    user_modes : ndarray of uint8, shape (users + 1,)
    user_orders : ndarray of uint32, shape (users + 1,)
        Resting orders of each user; [0] is 0.
    entries : ndarray of uint32
        User by user, in order of entry, the places of the orders in `orders`.
    window : tuple of int
        How many commands with client order ids are remembered, for how long (0: any time), and the highest time stamp of them.
    requests : ndarray of REQUEST_STATE_DTYPE
        The remembered commands, oldest first.
    trades : ndarray of EVENT_DTYPE
        Their trades, in the same order.
    state_hash : int
        Of that state, as `EngineCore.state_hash`.
    """
    cdef State* s = engine.state
    cdef uint64_t books, users, orders, requests, trades, seq, order_id, trade_id, owners, state_hash = 0
    cdef int64_t latest_ns
    cdef uint32_t book
    cdef unsigned char[::1] records, remembered, traded
    cdef uint32_t[::1] counts, owned, places
    cdef uint8_t[::1] modes
    while True:
        engine.enter()
        books, users, orders = s.book_count, s.user_count, s.order_slab.live
        requests, trades = s.requests.count, s.requests.trades
        book_orders = np.zeros(books, np.uint32)
        rows = np.zeros(orders, ORDER_STATE_DTYPE)
        user_modes = np.zeros(users, np.uint8)
        user_orders = np.zeros(users, np.uint32)
        entries = np.zeros(orders, np.uint32)
        counts, owned, places, modes = book_orders, user_orders, entries, user_modes
        records = rows.view(np.uint8) if orders else np.zeros(1, np.uint8)
        request_rows = np.zeros(requests, REQUEST_STATE_DTYPE)
        trade_rows = np.zeros(trades, EVENT_DTYPE)
        remembered = request_rows.view(np.uint8) if requests else np.zeros(1, np.uint8)
        traded = trade_rows.view(np.uint8) if trades else np.zeros(1, np.uint8)
        engine.enter()
        # Taking memory may have run other Python code, and that may have run commands.
        if books == s.book_count and users == s.user_count and orders == s.order_slab.live and (
                requests == s.requests.count and trades == s.requests.trades):
            break
    # Nothing is made in between, for the same reason.
    dump_requests(&s.requests, <RequestRecord*>&remembered[0], <Event*>&traded[0])
    owners = dump_arrays(s, <OrderRecord*>&records[0], counts, modes, owned, places)
    for book in range(<uint32_t>books):
        state_hash = view_hash(s, book, state_hash)
    seq, order_id, trade_id, latest_ns = s.out.seq, s.next_order_id, s.next_trade_id, s.requests.latest_ns
    window = (s.requests.limit, s.requests.age_ns, latest_ns)
    counters = (seq, order_id, trade_id, s.stp)
    return counters, book_orders, rows, user_modes, user_orders, entries[:owners], window, request_rows, trade_rows, state_hash


cdef uint64_t dump_arrays(State* s, OrderRecord* rows, uint32_t[::1] counts, uint8_t[::1] modes, uint32_t[::1] owned,
                          uint32_t[::1] places) except? 0:
    cdef uint64_t bytes_taken = max(s.order_slab.used, 1) * sizeof(uint32_t), done = 0, before, n = 0
    cdef uint32_t* row_of = <uint32_t*>pye_alloc(bytes_taken)
    cdef uint32_t book, user, index
    cdef int side
    if row_of == NULL:
        raise MemoryError
    for book in range(s.book_count):
        before = done
        for side in range(2):
            done = view_orders(s, book, side, rows, done, row_of)
        counts[book] = <uint32_t>(done - before)
    for user in range(s.user_count):
        modes[user] = s.users[user].stp
        owned[user] = s.users[user].count
        index = s.users[user].head
        while index != 0:
            places[n] = row_of[index]
            n += 1
            index = s.links[index].next
    pye_free(row_of, bytes_taken)
    return n


cdef void dump_requests(const RequestWindow* w, RequestRecord* rows, Event* trades):
    cdef uint64_t n
    cdef const RequestEntry* r
    for n in range(w.count):
        r = request_at(w, n)
        rows[n].request = r.request
        rows[n].order_id = r.order_id
        rows[n].filled_lots = r.filled_lots
        rows[n].open_lots = r.open_lots
        rows[n].last_seq = r.last_seq
        rows[n].time_ns = r.time_ns
        rows[n].trade_count = r.trade_count
        rows[n].status = r.status
        rows[n].cancel_reason = r.cancel_reason
        if r.trade_count != 0:
            memcpy(trades, r.trades, r.trade_count * sizeof(Event))
            trades += r.trade_count


def load(EngineCore engine not None, counters, book_orders, orders, user_modes, user_orders, entries, window=None, requests=None,
         trades=None):
    """
    Bring the arrays of `dump` into a fresh engine that has the same instruments and users. O(everything).

    Raises
    ------
    SnapshotError
        The arrays contradict themselves or the engine; the engine must be thrown away then.
    """
    cdef State* s = engine.state
    cdef const uint32_t[::1] counts = np.require(book_orders, np.uint32, ["C", "A"])
    cdef const uint32_t[::1] owned = np.require(user_orders, np.uint32, ["C", "A"])
    cdef const uint32_t[::1] places = np.require(entries, np.uint32, ["C", "A"])
    cdef const uint8_t[::1] modes = np.require(user_modes, np.uint8, ["C"])
    cdef const unsigned char[::1] records
    cdef uint32_t[::1] indexes = np.zeros(max(len(orders), 1), np.uint32)
    cdef uint64_t total = len(orders), done = 0, user, n = 0, _i
    cdef uint32_t book
    cdef int status
    if orders.dtype != ORDER_STATE_DTYPE or not orders.flags.c_contiguous:
        raise SnapshotError("orders must be a contiguous array of ORDER_STATE_DTYPE")
    records = (orders if is_aligned(orders) else orders.copy()).view(np.uint8) if total else np.zeros(1, np.uint8)
    engine.enter()
    if s.out.seq != 1 or s.order_slab.live != 0 or s.requests.entries != NULL:
        raise SnapshotError("a snapshot must be loaded into a fresh engine")
    if counts.shape[0] != s.book_count or modes.shape[0] != s.user_count or owned.shape[0] != s.user_count:
        raise SnapshotError("the snapshot's books and users must be as many as the engine's")
    for book in range(s.book_count):
        if done + counts[book] > total:
            raise SnapshotError(f"book {book} must have as many orders as the snapshot holds")
        status = view_load(s, book, <const OrderRecord*>&records[0] + done, counts[book], &indexes[0] + done)
        if status == OUT_OF_MEMORY:
            raise MemoryError
        if status != 0:
            raise SnapshotError(f"an order of book {book} can't rest: id, price, size, side or user is wrong")
        done += counts[book]
    if done != total:
        raise SnapshotError(f"the books must have {total} orders together, had {done}")
    for user in range(s.user_count):
        if modes[user] > STP_DECREMENT or n + owned[user] > <uint64_t>places.shape[0] or (user == 0 and owned[user] != 0):
            raise SnapshotError(f"user {user} has a wrong mode or number of orders")
        s.users[user].stp = modes[user]
        for _i in range(owned[user]):
            if places[n] >= total or s.orders[indexes[places[n]]].user != user:
                raise SnapshotError(f"entry {n} must name an order of user {user}")
            link_user(s, indexes[places[n]], <uint32_t>user)
            n += 1
    load_counters(s, counters)
    if window is not None:
        load_requests(s, window, requests, trades)
    try:
        engine.check()
    except InvariantError as error:
        raise SnapshotError(f"the snapshot must describe a sound engine: {error}") from error


cdef int load_counters(State* s, counters) except -1:
    cdef uint64_t seq, order_id, trade_id, stp
    seq, order_id, trade_id, stp = [unsigned_field("counter", number) for number in counters]
    if not 1 <= seq <= <uint64_t>1 << 62 or not 1 <= trade_id <= <uint64_t>1 << 62 or not STP_DEFAULT < stp <= STP_DECREMENT:
        raise SnapshotError("the counters must be from 1 to 2**62 and the self-trade mode known")
    s.next_order_id = order_id
    s.next_trade_id = trade_id
    s.stp = <uint8_t>stp
    s.out.seq = s.out.kept = s.out.published = s.out.limit = seq
    s.ring.intent = seq
    ring_publish(s.ring, seq)
    return 0


cdef bint request_loads(const State* s, const RequestRecord* row) noexcept:
    """Could the engine have written this row?"""
    return (row.request.kind == REQUEST and row.request.order_id != 0 and <uint32_t>row.request.detail < s.user_count
            and row.request.seq <= row.last_seq < s.out.seq and row.cancel_reason <= BY_EXPIRY
            and (RESTING <= row.status <= DONE_MASS_CANCELLED or FIRST_REFUSAL <= row.status <= CLIENT_ID_REUSED))


cdef int load_requests(State* s, window, requests, trades) except -1:
    """Bring in the remembered commands; `check` finds what contradicts itself in them."""
    cdef RequestWindow* w = &s.requests
    cdef uint64_t n, count = len(requests), done = 0, total = len(trades)
    cdef unsigned char[::1] remembered, traded
    cdef uint32_t i
    cdef const RequestRecord* row
    cdef RequestEntry* r
    limit, age_ns, latest_ns = window
    w.limit = unsigned_field("client_ids", limit, MAX_REQUESTS)
    w.age_ns = unsigned_field("client_id_age_ns", age_ns, INT64_MAX)
    w.latest_ns = signed_field("latest_ns", latest_ns)
    if requests.dtype != REQUEST_STATE_DTYPE or trades.dtype != EVENT_DTYPE or count > w.limit:
        raise SnapshotError(f"there must be at most {w.limit} remembered commands, were {count}")
    if count == 0:
        return 0
    remembered = np.frombuffer(requests.tobytes(), np.uint8).copy()
    traded = np.frombuffer(trades.tobytes() or b"\0", np.uint8).copy()
    if requests_open(w) != 0:
        raise MemoryError
    for n in range(count):
        row = <const RequestRecord*>&remembered[0] + n
        if not request_loads(s, row) or row.trade_count > total - done:
            raise SnapshotError(f"remembered command {n} must be one that an engine can have run")
        r = &w.entries[n]
        r.request = row.request
        r.order_id = row.order_id
        r.filled_lots = row.filled_lots
        r.open_lots = row.open_lots
        r.last_seq = row.last_seq
        r.time_ns = row.time_ns
        r.status = row.status
        r.cancel_reason = row.cancel_reason
        idtable_put(&w.ids, request_tag(<uint32_t>r.request.detail, r.request.order_id), <uint32_t>n)
        w.count += 1
        if row.trade_count != 0:
            r.trades = <Event*>malloc(row.trade_count * sizeof(Event))
            if r.trades == NULL:
                raise MemoryError
            r.trade_count = r.trade_capacity = row.trade_count
            memcpy(r.trades, <const Event*>&traded[0] + done, r.trade_count * sizeof(Event))
            done += r.trade_count
            w.trades += r.trade_count
            for i in range(r.trade_count):
                if r.trades[i].kind != TRADE:
                    raise SnapshotError(f"remembered command {n} must have trades, has others among them")
    if done != total:
        raise SnapshotError(f"the remembered commands must have {total} trades together, had {done}")
    return 0
