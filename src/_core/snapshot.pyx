"""The engine's state as arrays and back. `pyengine.snapshot` turns the arrays into bytes."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pyengine._core.arguments cimport unsigned_field
from pyengine._core.engine cimport EngineCore
from pyengine._core.orders cimport link_user
from pyengine._core.port cimport pye_alloc, pye_free
from pyengine._core.records cimport OUT_OF_MEMORY, STP_DECREMENT, STP_DEFAULT
from pyengine._core.ring cimport ring_publish
from pyengine._core.state cimport State
from pyengine._core.views cimport OrderRecord, view_load, view_orders

import numpy as np

from pyengine.errors import InvariantError, SnapshotError
from pyengine.records import ORDER_STATE_DTYPE


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
    """
    cdef State* s = engine.state
    cdef uint64_t books, users, orders
    cdef unsigned char[::1] records
    cdef uint32_t[::1] counts, owned, places
    cdef uint8_t[::1] modes
    while True:
        engine.enter()
        books, users, orders = s.book_count, s.user_count, s.order_slab.live
        book_orders = np.zeros(books, np.uint32)
        rows = np.zeros(orders, ORDER_STATE_DTYPE)
        user_modes = np.zeros(users, np.uint8)
        user_orders = np.zeros(users, np.uint32)
        entries = np.zeros(orders, np.uint32)
        counts, owned, places, modes = book_orders, user_orders, entries, user_modes
        records = rows.view(np.uint8) if orders else np.zeros(1, np.uint8)
        engine.enter()
        # Taking memory may have run other Python code, and that may have run commands.
        if books == s.book_count and users == s.user_count and orders == s.order_slab.live:
            break
    owners = dump_arrays(s, <OrderRecord*>&records[0], counts, modes, owned, places)
    counters = (s.out.seq, s.next_order_id, s.next_trade_id, s.stp)
    return counters, book_orders, rows, user_modes, user_orders, entries[:owners]


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


def load(EngineCore engine not None, counters, book_orders, orders, user_modes, user_orders, entries):
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
    records = np.require(orders, requirements=["C", "A"]).view(np.uint8) if total else np.zeros(1, np.uint8)
    engine.enter()
    if s.out.seq != 1 or s.order_slab.live != 0:
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
