"""The order store: a shell that turns objects and arrays into records, locks, calls the core and turns codes into errors."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, UINT64_MAX, int64_t, uint32_t, uint64_t
from pyengine._core.arguments cimport code_field, signed_field, unsigned_field
from pyengine._core.lock cimport pye_lock, pye_try_lock, pye_unlock
from pyengine._core.order cimport Order, order_expectation
from pyengine._core.order_changes cimport order_store_changes
from pyengine._core.order_query cimport (
    order_copy_all, order_copy_side, order_copy_user, order_events_fault, order_rows_fault, order_store_fault,
)
from pyengine._core.order_state cimport (
    STORE_CLOSED, STORE_OK, STORE_STALE, STORE_UNKNOWN, order_state_clear, order_state_cut, order_state_free, order_state_get,
    order_state_init, order_state_put, order_state_put_rows, order_state_remove, order_store_apply_rows,
)
from pyengine._core.record_arrays cimport order_block_array, order_block_objects, order_record_in, order_records_in
from pyengine._core.records cimport BUY, SELL, Event
from pyengine._core.store_shell cimport rows_of, store_raise
from pyengine.errors import FieldError, FieldTypeError, InvariantError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import EVENT_DTYPE
from pyengine.records import Side as SideName
import numpy as np

cdef enum:
    EVERY = -1                     # of the instruments
    # Rows that are written with the GIL: they take some microseconds, getting it back from a busy thread milliseconds.
    WITH_GIL = 2048


cdef inline int locked_get(OrderStoreState* s, uint64_t order_id, OrderRecord* found) noexcept:
    cdef int code
    if pye_try_lock(&s.lock):
        code = order_state_get(s, order_id, found)
        pye_unlock(&s.lock)
        return code
    with nogil:
        pye_lock(&s.lock)
        code = order_state_get(s, order_id, found)
        pye_unlock(&s.lock)
    return code


cdef inline int locked_put(OrderStoreState* s, const OrderRecord* record, bint must_exist) noexcept:
    cdef int code
    if pye_try_lock(&s.lock):
        code = order_state_put(s, record, must_exist)
        pye_unlock(&s.lock)
        return code
    with nogil:
        pye_lock(&s.lock)
        code = order_state_put(s, record, must_exist)
        pye_unlock(&s.lock)
    return code


cdef inline int locked_remove(OrderStoreState* s, uint64_t order_id) noexcept:
    cdef int code
    if pye_try_lock(&s.lock):
        code = order_state_remove(s, order_id)
        pye_unlock(&s.lock)
        return code
    with nogil:
        pye_lock(&s.lock)
        code = order_state_remove(s, order_id)
        pye_unlock(&s.lock)
    return code


@cython.final
cdef class InMemoryOrderStore:
    """
    Orders in memory, open and finished, found by id, user or side.

    Saving, getting, updating and removing one order is O(1), an answer of many is O(answer). An engine that is given the
    store keeps it up to date by itself; without an engine, whoever saves orders does.

    Parameters
    ----------
    capacity : int
        Orders to make room for beforehand. The store grows by doubling.
    names : Names, optional
        Tables of users and instruments. Default: tables of its own, which learn from the orders that are saved.
    keep_finished : int, optional
        How many finished orders are kept; the oldest go first. Default: all, until `remove_finished`.

    Raises
    ------
    FieldTypeError, FieldError
        If a parameter is of the wrong type or out of range.
    MemoryError
        If there is no memory for `capacity`.

    Notes
    -----
    Order of answers: by id (`get_all`, `get_by_user`), or by priority (`get_by_side`).

    Versions: a record is replaced by one of the same or a higher version only, so writing anything again is safe.

    Memory: 128 bytes an order and 11 to 22 for its entry in the table of ids, and 48 for each user and each side of an
    instrument ever seen, until `clear`.

    Thread-safety: every method may be called from any thread and is atomic. A lock of its own guards the records, because
    an engine writes to them without the GIL; who meets it taken releases the GIL and waits. Answers of many orders are
    copied under the lock, and sorted and made into objects after it.

    Examples
    --------
    >>> store = InMemoryOrderStore()
    >>> store.save(Order(42, "buy", user="alice", price_ticks=10050, qty_lots=3))
    True
    >>> store.get(42).remaining_lots
    3
    >>> [order.order_id for order in store.get_by_user("alice")]
    [42]
    """

    def __cinit__(self, capacity=0, *, names=None, keep_finished=None):
        cdef uint64_t orders = unsigned_field("capacity", capacity, UINT32_MAX)
        cdef uint64_t keep = UINT64_MAX
        if keep_finished is not None:
            keep = unsigned_field("keep_finished", keep_finished)
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        self.names = Names() if names is None else names
        if order_state_init(&self.state, orders, keep) != STORE_OK:
            raise MemoryError(f"no memory for {orders} orders")

    def __dealloc__(self):
        order_state_free(&self.state)

    def save(self, order):
        """
        Add an order, or replace the one of its id unless that has a higher version. O(1).

        Returns
        -------
        bool
            Whether it was stored; False means that the store knows a newer version.

        Raises
        ------
        FieldTypeError
            If it isn't an Order.
        FieldError
            If its user or instrument can't be: unknown to the engine, or another instrument of the same symbol.
        """
        cdef OrderRecord record
        cdef int code
        if type(order) is Order and (<Order>order).names is self.names:
            code = locked_put(&self.state, &(<Order>order).record, False)
        else:
            order_record_in(order, self.names, self.lent, &record)
            code = locked_put(&self.state, &record, False)
        if code > STORE_STALE:
            store_raise(code)
        return code == STORE_OK

    def update(self, order):
        """
        Replace the order of the same id unless that has a higher version. O(1).

        Returns
        -------
        bool
            Whether it was stored; False means that there is no order of this id, or that the store knows a newer version.

        Raises
        ------
        FieldTypeError, FieldError
            As `save` does.
        """
        cdef OrderRecord record
        cdef int code
        order_record_in(order, self.names, self.lent, &record)
        code = locked_put(&self.state, &record, True)
        if code > STORE_UNKNOWN:
            store_raise(code)
        return code == STORE_OK

    def get(self, order_id):
        """Return an Order as it is now, or None if there is none of this id. O(1)."""
        # Copied once, straight into the object.
        cdef Order order = Order.__new__(Order)
        cdef int code = locked_get(&self.state, unsigned_field("order_id", order_id), &order.record)
        if code == STORE_OK:
            order.names = self.names
            return order
        if code == STORE_UNKNOWN:
            return None
        store_raise(code)

    def remove(self, order_id):
        """Forget an order, open or finished, and return whether there was one. O(1)."""
        cdef int code = locked_remove(&self.state, unsigned_field("order_id", order_id))
        if code > STORE_UNKNOWN:
            store_raise(code)
        return code == STORE_OK

    def remove_batch(self, order_ids):
        """Forget many orders and return how many there were. The ids are an array of integers or an iterable. O(n)."""
        cdef const uint64_t[::1] ids
        cdef const uint64_t* first = NULL
        cdef size_t i, n, removed = 0
        cdef int code = STORE_OK
        if not (isinstance(order_ids, np.ndarray) and order_ids.dtype == np.uint64):
            order_ids = np.array([unsigned_field("order_ids", each) for each in order_ids], np.uint64)
        ids = np.ascontiguousarray(order_ids)
        n = <size_t>ids.shape[0]
        if n != 0:
            first = &ids[0]
        with nogil:
            pye_lock(&self.state.lock)
            for i in range(n):
                code = order_state_remove(&self.state, first[i])
                removed += code == STORE_OK
            if self.state.closed:
                code = STORE_CLOSED
            pye_unlock(&self.state.lock)
        if code > STORE_UNKNOWN:
            store_raise(code)
        return removed

    def save_batch(self, orders):
        """
        Save many orders, or none if one of them can't be. O(n).

        Parameters
        ----------
        orders : array of ORDER_RECORD_DTYPE, or iterable of Order
            Users and instruments in an array are numbers of this store's `names`.

        Returns
        -------
        int
            How many were stored; the others were older than what the store has.

        Raises
        ------
        FieldTypeError
            If it is neither; FieldError names the first row that is no order, and its field.
        MemoryError
            If there isn't enough memory; nothing was stored.
        """
        cdef Py_buffer buffer
        cdef size_t n, at = 0, stored = 0
        cdef int code = STORE_OK
        cdef const char* fault
        if isinstance(orders, np.ndarray):
            rows = rows_of("orders", orders, ORDER_RECORD_DTYPE)
        else:
            rows = order_records_in(orders, self.names, self.lent)
        n = len(rows)
        if n == 0:
            return 0
        PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
        try:
            if n <= WITH_GIL and pye_try_lock(&self.state.lock):
                fault = order_rows_fault(<const OrderRecord*>buffer.buf, n, &at)
                if fault == NULL:
                    code = order_state_put_rows(&self.state, <const OrderRecord*>buffer.buf, n, &stored)
                pye_unlock(&self.state.lock)
            else:
                with nogil:
                    fault = order_rows_fault(<const OrderRecord*>buffer.buf, n, &at)
                    if fault == NULL:
                        pye_lock(&self.state.lock)
                        code = order_state_put_rows(&self.state, <const OrderRecord*>buffer.buf, n, &stored)
                        pye_unlock(&self.state.lock)
        finally:
            PyBuffer_Release(&buffer)
        if fault != NULL:
            field = fault.decode()
            raise FieldError(f"orders[{at}].{field}", rows[at][field].item(), order_expectation(field))
        if code != STORE_OK:
            store_raise(code)
        return stored

    def start_with(self, orders):
        """
        Save the orders that are open in a state whose finished ones aren't known: `complete` is False from now on. O(n).

        As `save_batch`; raises what it does.
        """
        stored = self.save_batch(orders)
        self.state.partial = True
        return stored

    def apply(self, events):
        """
        Bring the store up to date with an array of events, as an engine does with its own. O(n).

        An event whose sequence number isn't above the version of its order changes nothing, so applying events again is safe.

        Parameters
        ----------
        events : array of EVENT_DTYPE
            In order of their sequence numbers; users and instruments are numbers of this store's `names`.

        Raises
        ------
        FieldTypeError
            If it is something else; FieldError names the first row that is no event, and its field.
        MemoryError
            If there isn't enough memory; nothing was applied.
        """
        cdef int code = self.apply_to(events, NULL)
        if code != STORE_OK:
            store_raise(code)

    def apply_changes(self, events):
        """
        Do what `apply` does, and return the orders that the events are about, each once, as they are afterwards. O(n).

        Returns
        -------
        array of ORDER_RECORD_DTYPE
            In order of first mention. An order that isn't held any more, because `keep_finished` is small, is left out.

        Raises
        ------
        FieldTypeError, FieldError, MemoryError
            As `apply` does.
        """
        cdef OrderBlock block
        cdef int code
        block.rows = NULL
        block.count = 0
        code = self.apply_to(events, &block)
        return order_block_array(&block, code)

    def get_all(self):
        """Return every order, by id. O(most orders ever held)."""
        cdef OrderBlock block
        cdef int code
        with nogil:
            code = order_copy_all(&self.state, &block)
        return order_block_objects(&block, code, self.names)

    def get_all_array(self):
        """Return every order, by id, as an array of ORDER_RECORD_DTYPE. O(most orders ever held)."""
        cdef OrderBlock block
        cdef int code
        with nogil:
            code = order_copy_all(&self.state, &block)
        return order_block_array(&block, code)

    def get_by_user(self, user):
        """Return the orders of a user, open and finished, by id. The user is a name or a number. O(answer)."""
        cdef OrderBlock block
        cdef int code = self.copy_user(user, &block)
        return order_block_objects(&block, code, self.names)

    def get_by_user_array(self, user):
        """Return the orders of a user, by id, as an array of ORDER_RECORD_DTYPE. O(answer)."""
        cdef OrderBlock block
        cdef int code = self.copy_user(user, &block)
        return order_block_array(&block, code)

    def get_by_side(self, side, symbol=None):
        """
        Return the open orders of a side in price-time order. O(answer).

        Bids go from high to low, asks from low to high; of the same price, who entered first comes first: by `entered`, then
        by `created_ns`, then by id. Without a symbol, the instruments follow each other by their numbers.

        Parameters
        ----------
        side : Side, int or str
            1 or "buy", 2 or "sell".
        symbol : str or int, optional
            Symbol or number of an instrument; an unknown one has no orders.
        """
        cdef OrderBlock block
        cdef int code = self.copy_side(side, symbol, &block)
        return order_block_objects(&block, code, self.names)

    def get_by_side_array(self, side, symbol=None):
        """Return the open orders of a side in price-time order, as an array of ORDER_RECORD_DTYPE. O(answer)."""
        cdef OrderBlock block
        cdef int code = self.copy_side(side, symbol, &block)
        return order_block_array(&block, code)

    def remove_finished(self, *, keep=None, older_than_ns=None):
        """
        Forget finished orders, those that finished first before the others. O(number removed).

        By age, it stops at the first that isn't old enough: one that was saved out of order of time may stay until those that
        were saved before it are old enough too.

        Parameters
        ----------
        keep : int, optional
            How many are to be left.
        older_than_ns : int, optional
            Those last changed before this time go. Exactly one of the two is given.

        Returns
        -------
        int
            How many were removed.
        """
        cdef bint by_age = older_than_ns is not None
        cdef uint64_t left = 0, removed = 0
        cdef int64_t before = 0
        cdef int code = STORE_CLOSED
        if (keep is None) != by_age:
            raise FieldError("keep", keep, "given, or older_than_ns, but not both")
        if by_age:
            before = signed_field("older_than_ns", older_than_ns)
        else:
            left = unsigned_field("keep", keep)
        with nogil:
            pye_lock(&self.state.lock)
            if not self.state.closed:
                removed = order_state_cut(&self.state, left, by_age, before)
                code = STORE_OK
            pye_unlock(&self.state.lock)
        if code != STORE_OK:
            store_raise(code)
        return removed

    def clear(self):
        """Forget every order. O(1)."""
        cdef int code
        with nogil:
            pye_lock(&self.state.lock)
            code = order_state_clear(&self.state)
            pye_unlock(&self.state.lock)
        if code != STORE_OK:
            store_raise(code)

    def close(self):
        """Give the memory back; other methods raise StoreClosed from now on, closing again does nothing. O(1)."""
        with nogil:
            pye_lock(&self.state.lock)
            order_state_free(&self.state)
            pye_unlock(&self.state.lock)

    def check(self):
        """
        Walk everything and hold it against the invariants. O(n).

        Raises
        ------
        InvariantError
            Names what is broken.
        """
        cdef const char* fault
        with nogil:
            fault = order_store_fault(&self.state)
        if fault != NULL:
            raise InvariantError(f"order store: {fault.decode()}")

    def attach_names(self, names):
        """
        Take over the tables of an engine, which stay the engine's. O(1).

        Raises
        ------
        FieldTypeError
            If they aren't Names.
        FieldError
            If the store holds orders, or belongs to another engine.
        """
        if not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names")
        if self.names is not names:
            if self.lent:
                raise FieldError("names", names, "those of the engine that the store belongs to")
            if len(self) != 0:
                raise FieldError("names", names, "given to an empty store, or when it is made")
        self.names = names
        self.lent = True

    def flush(self, layers=None, timeout_s=5.0):
        """Return at once: what was saved is as safe as memory makes it."""
        from pyengine.stores.interfaces import Flushed
        if self.state.closed:
            store_raise(STORE_CLOSED)
        return Flushed((self.name,) if layers is None or self.name in layers else ())

    def stats(self):
        """Return what the store has counted. O(1)."""
        from pyengine.stores.interfaces import StoreStats
        counts = {
            "hits": self.state.hits, "misses": self.state.misses, "written": self.state.written, "events": self.state.applied,
            "unmatched_events": self.state.unmatched, "cut": self.state.cut,
        }
        return StoreStats(self.name, counts, {"open": self.open_count, "finished": self.finished_count})

    @property
    def name(self):
        """What the store is called in statistics and messages."""
        return "memory"

    @property
    def complete(self):
        """Whether the store holds all it was ever given and not told to remove: nothing was cut, cleared or unknown at first."""
        return self.state.cut == 0 and self.state.cleared == 0 and not self.state.partial

    @property
    def complete_for_open(self):
        """Whether the store holds all open orders it was ever given and not told to remove: nothing was cleared."""
        return self.state.cleared == 0

    @property
    def count(self):
        """Number of orders, open and finished."""
        return self.state.open_count + self.state.finished_count

    @property
    def open_count(self):
        """Number of open orders."""
        return self.state.open_count

    @property
    def finished_count(self):
        """Number of finished orders."""
        return self.state.finished_count

    @property
    def unmatched_events(self):
        """Number of applied events whose order wasn't here or open, or whose sizes weren't the order's. 0 beside an engine."""
        return self.state.unmatched

    @property
    def closed(self):
        """Whether the store was closed."""
        return self.state.closed

    def __len__(self):
        return self.state.open_count + self.state.finished_count

    def __bool__(self):
        return True

    def __contains__(self, order_id):
        cdef OrderRecord record
        cdef int code = locked_get(&self.state, unsigned_field("order_id", order_id), &record)
        if code > STORE_UNKNOWN:
            store_raise(code)
        return code == STORE_OK

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback, /):
        self.close()

    def __repr__(self):
        if self.state.closed:
            return "<InMemoryOrderStore, closed>"
        return f"<InMemoryOrderStore of {self.open_count} open and {self.finished_count} finished orders>"

    cdef int apply_to(self, object events, OrderBlock* changed) except? -1:
        """Apply events and, unless `changed` is NULL, copy the orders they are about."""
        cdef Py_buffer buffer
        cdef size_t n, at = 0, new = 0
        cdef int code = STORE_OK
        cdef const char* fault
        rows = rows_of("events", events, EVENT_DTYPE)
        n = len(rows)
        if n == 0:
            return STORE_OK
        PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
        try:
            with nogil:
                fault = order_events_fault(<const Event*>buffer.buf, n, &at, &new)
                if fault == NULL and changed == NULL:
                    code = order_store_apply_rows(&self.state, <const Event*>buffer.buf, n, new)
                elif fault == NULL:
                    code = order_store_changes(&self.state, <const Event*>buffer.buf, n, new, changed)
        finally:
            PyBuffer_Release(&buffer)
        if fault != NULL:
            field = fault.decode()
            raise FieldError(f"events[{at}].{field}", rows[at][field].item(), "as an engine writes it")
        return code

    cdef int copy_user(self, object user, OrderBlock* block) except? -1:
        cdef int64_t number = self.names.user_number(user, False)
        cdef int code
        if number == 0:
            raise FieldError("user", user, "a name, or a number from 1; anonymous orders belong to nobody")
        with nogil:
            code = order_copy_user(&self.state, <uint32_t>number if number > 0 else 0, block)
        return code

    cdef int copy_side(self, object side, object symbol, OrderBlock* block) except? -1:
        cdef int code, which = code_field("side", side, SideName, BUY, SELL)
        cdef int64_t number = EVERY
        if isinstance(symbol, str):
            found = self.names.instrument_index(symbol)
            number = <int64_t>UINT32_MAX + 1 if found is None else found     # one that no record can have
        elif symbol is not None:
            number = <int64_t>unsigned_field("symbol", symbol, UINT32_MAX)
        with nogil:
            code = order_copy_side(&self.state, which, number, block)
        return code
