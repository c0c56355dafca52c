"""The trade store: a shell that turns objects and arrays into records, locks, calls the core and turns codes into errors."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from pyengine._core.arguments cimport signed_field, unsigned_field
from pyengine._core.lock cimport pye_lock, pye_try_lock, pye_unlock
from pyengine._core.order_state cimport STORE_CLOSED, STORE_OK, STORE_STALE, STORE_UNKNOWN
from pyengine._core.record_arrays cimport trade_record_in, trade_records_in
from pyengine._core.records cimport Event
from pyengine._core.store_shell cimport rows_of, store_raise, trade_expectation
from pyengine._core.trade cimport trade_from_event
from pyengine._core.trade_ring cimport (
    ring_slot, trade_ring_complete_for, trade_ring_free, trade_ring_get, trade_ring_init, trade_ring_put, trade_ring_put_rows,
    trade_rows_fault, trade_store_apply_rows, trade_store_copy, trade_store_fault, trade_store_put_rows,
)
from pyengine.errors import FieldError, FieldTypeError, InvariantError
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
import numpy as np

cdef enum:
    # Rows that are written with the GIL: they take some microseconds, getting it back from a busy thread milliseconds.
    WITH_GIL = 2048


cdef inline int locked_put(TradeRing* r, const Event* trade) noexcept:
    cdef int code
    if pye_try_lock(&r.lock):
        code = trade_ring_put(r, trade)
        pye_unlock(&r.lock)
        return code
    with nogil:
        pye_lock(&r.lock)
        code = trade_ring_put(r, trade)
        pye_unlock(&r.lock)
    return code


cdef inline int locked_get(TradeRing* r, int64_t trade_id, Event* found) noexcept:
    cdef int code
    if pye_try_lock(&r.lock):
        code = trade_ring_get(r, trade_id, found)
        pye_unlock(&r.lock)
        return code
    with nogil:
        pye_lock(&r.lock)
        code = trade_ring_get(r, trade_id, found)
        pye_unlock(&r.lock)
    return code


@cython.final
cdef class InMemoryTradeStore:
    """
    The newest trades in memory: a ring that keeps the `capacity` trades of highest id.

    Taking in the next trade is O(1). An engine that is given the store keeps it up to date by itself; without an engine,
    whoever saves trades does. One that comes again changes nothing, one that comes late takes its place by its id.

    Parameters
    ----------
    capacity : int
        Trades kept, at least 1.
    names : Names, optional
        Table of instruments. Default: a table of its own, which learns from the trades that are saved.

    Raises
    ------
    FieldTypeError, FieldError
        If a parameter is of the wrong type or out of range.
    MemoryError
        If there is no memory for `capacity` trades of 64 bytes, rounded up to a power of two.

    Notes
    -----
    The ring answers for what it holds. Whether that is all there is, `complete_for` tells, and `oldest_trade_id`, `total`
    and `dropped` say why.

    Thread-safety: every method may be called from any thread and is atomic. A lock of its own guards the records, because
    an engine writes to them without the GIL; who meets it taken releases the GIL and waits. Answers are copied under the
    lock and made into objects after it.

    Examples
    --------
    >>> store = InMemoryTradeStore(capacity=2)
    >>> store.save_batch(Trade(number, 10, 20, 10050, 3, "buy") for number in (1, 2, 3))
    3
    >>> [trade.trade_id for trade in store.get_recent(10)], store.complete_for(10)
    ([3, 2], False)
    """

    def __cinit__(self, capacity=1000, *, names=None):
        cdef uint64_t trades = unsigned_field("capacity", capacity, UINT32_MAX)
        if trades == 0:
            raise FieldError("capacity", capacity, "at least 1")
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        self.names = Names() if names is None else names
        if trade_ring_init(&self.ring, trades) != STORE_OK:
            raise MemoryError(f"no memory for {trades} trades")

    def __dealloc__(self):
        trade_ring_free(&self.ring)

    def save(self, trade):
        """
        Take in a trade. O(1) for the newest; one that comes late costs O(trades between it and the nearer end).

        Returns
        -------
        bool
            Whether it is new here; False means that it is held already, or older than all that a full ring holds.

        Raises
        ------
        FieldTypeError
            If it isn't a Trade.
        FieldError
            If its instrument can't be: unknown to the engine, or another one of the same symbol.
        """
        cdef Event record
        cdef int code
        trade_record_in(trade, self.names, self.lent, &record)
        code = locked_put(&self.ring, &record)
        if code > STORE_STALE:
            store_raise(code)
        return code == STORE_OK

    def save_batch(self, trades):
        """
        Take in many trades, or none if one of them can't be. O(n); out of order O(n + capacity).

        Parameters
        ----------
        trades : array of TRADE_DTYPE, or iterable of Trade
            Instruments in an array are numbers of this store's `names`.

        Returns
        -------
        int
            How many were new here.

        Raises
        ------
        FieldTypeError
            If it is neither; FieldError names the first row that is no trade, and its field.
        MemoryError
            If there isn't enough memory; nothing was stored.
        """
        cdef Py_buffer buffer
        cdef size_t n, at = 0, stored = 0
        cdef int code = STORE_OK
        cdef const char* fault = NULL
        if isinstance(trades, np.ndarray):
            rows = rows_of("trades", trades, TRADE_DTYPE)
        else:
            rows = trade_records_in(trades, self.names, self.lent)
        n = len(rows)
        if n == 0:
            return 0
        PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
        try:
            if n <= WITH_GIL:
                fault = trade_rows_fault(<const Event*>buffer.buf, n, &at)
            if n <= WITH_GIL and fault == NULL and pye_try_lock(&self.ring.lock):
                code = trade_ring_put_rows(&self.ring, <const Event*>buffer.buf, n, &stored)
                pye_unlock(&self.ring.lock)
            elif fault == NULL:
                with nogil:
                    fault = trade_rows_fault(<const Event*>buffer.buf, n, &at)
                    if fault == NULL:
                        code = trade_store_put_rows(&self.ring, <const Event*>buffer.buf, n, &stored)
        finally:
            PyBuffer_Release(&buffer)
        if fault != NULL:
            field = fault.decode()
            raise FieldError(f"trades[{at}].{field}", rows[at][field].item(), trade_expectation(field))
        if code != STORE_OK:
            store_raise(code)
        return stored

    def apply(self, events):
        """
        Take in the trades among an array of events, as an engine does with its own. O(n).

        Parameters
        ----------
        events : array of EVENT_DTYPE
            Instruments are numbers of this store's `names`.

        Raises
        ------
        FieldTypeError
            If it is something else; FieldError names the first row that is no trade although its kind says so.
        """
        cdef Py_buffer buffer
        cdef size_t n, at = 0
        cdef int code
        cdef const char* fault = NULL
        rows = rows_of("events", events, EVENT_DTYPE)
        n = len(rows)
        if n == 0:
            return
        PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
        try:
            with nogil:
                code = trade_store_apply_rows(&self.ring, <const Event*>buffer.buf, n, &at, &fault)
        finally:
            PyBuffer_Release(&buffer)
        if fault != NULL:
            field = fault.decode()
            raise FieldError(f"events[{at}].{field}", rows.view(TRADE_DTYPE)[at][field].item(), trade_expectation(field))
        if code != STORE_OK:
            store_raise(code)

    def get(self, trade_id):
        """Return the Trade of an id, or None if it isn't held. O(1) when ids are dense, else O(log held)."""
        cdef Event record
        cdef int code = locked_get(&self.ring, signed_field("trade_id", trade_id), &record)
        if code == STORE_OK:
            return trade_from_event(&record, self.names.instrument_at(record.instrument))
        if code == STORE_UNKNOWN:
            return None
        store_raise(code)

    def get_recent(self, limit=100):
        """Return up to `limit` trades, newest first, that is by falling trade id. O(answer)."""
        cdef TradeBlock block
        cdef size_t i
        cdef list trades = []
        self.copy_recent(limit, &block)
        try:
            for i in range(block.count):
                trades.append(trade_from_event(&block.rows[i], self.names.instrument_at(block.rows[i].instrument)))
            return trades
        finally:
            free(block.rows)

    def get_recent_array(self, limit=100):
        """Return up to `limit` trades, newest first, as an array of TRADE_DTYPE. O(answer)."""
        cdef TradeBlock block
        cdef Py_buffer buffer
        self.copy_recent(limit, &block)
        try:
            array = np.empty(block.count, TRADE_DTYPE)
            if block.count != 0:
                PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
                memcpy(buffer.buf, block.rows, block.count * sizeof(Event))
                PyBuffer_Release(&buffer)
            return array
        finally:
            free(block.rows)

    def complete_for(self, limit):
        """
        Tell whether `get_recent(limit)` is the whole answer, given that trade ids count from 1 without a gap. O(1).

        It is when that many trades are held and none is missing between them, or when every trade from the first is held. A
        ring that was just made knows of no trade, and is complete for none.
        """
        cdef uint64_t wanted = unsigned_field("limit", limit)
        cdef bint complete = False, closed
        with nogil:
            pye_lock(&self.ring.lock)
            closed = self.ring.closed
            if not closed:
                complete = trade_ring_complete_for(&self.ring, wanted)
            pye_unlock(&self.ring.lock)
        if closed:
            store_raise(STORE_CLOSED)
        return complete

    def clear(self):
        """Forget every trade, and how many there were. O(1)."""
        cdef bint closed
        with nogil:
            pye_lock(&self.ring.lock)
            closed = self.ring.closed
            self.ring.held = self.ring.total = 0
            pye_unlock(&self.ring.lock)
        if closed:
            store_raise(STORE_CLOSED)

    def close(self):
        """Give the memory back; other methods raise StoreClosed from now on, closing again does nothing. O(1)."""
        with nogil:
            pye_lock(&self.ring.lock)
            trade_ring_free(&self.ring)
            pye_unlock(&self.ring.lock)

    def check(self):
        """
        Walk everything and hold it against the invariants. O(held).

        Raises
        ------
        InvariantError
            Names what is broken.
        """
        cdef const char* fault
        with nogil:
            fault = trade_store_fault(&self.ring)
        if fault != NULL:
            raise InvariantError(f"trade store: {fault.decode()}")

    def attach_names(self, names):
        """
        Take over the tables of an engine, which stay the engine's. O(1).

        Raises
        ------
        FieldTypeError
            If they aren't Names.
        FieldError
            If the store holds trades, or belongs to another engine.
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
        if self.ring.closed:
            store_raise(STORE_CLOSED)
        return Flushed((self.name,) if layers is None or self.name in layers else ())

    def stats(self):
        """Return what the store has counted. O(1)."""
        from pyengine.stores.interfaces import StoreStats
        counts = {"written": self.total, "dropped": self.dropped}
        return StoreStats(self.name, counts, {"trades": self.ring.held, "capacity": self.ring.capacity})

    @property
    def name(self):
        """What the store is called in statistics and messages."""
        return "memory"

    @property
    def capacity(self):
        """Number of trades kept."""
        return self.ring.capacity

    @property
    def count(self):
        """Number of trades held."""
        return self.ring.held

    @property
    def total(self):
        """Number of trades ever taken in."""
        return self.ring.total

    @property
    def dropped(self):
        """Number of trades that were taken in and have made room for newer ones."""
        return self.ring.total - self.ring.held

    @property
    def newest_trade_id(self):
        """Highest id held, or None."""
        return self.edge_id(True)

    @property
    def oldest_trade_id(self):
        """Lowest id held, or None: what is older has to be asked for elsewhere."""
        return self.edge_id(False)

    @property
    def closed(self):
        """Whether the store was closed."""
        return self.ring.closed

    def __len__(self):
        return self.ring.held

    def __bool__(self):
        return True

    def __contains__(self, trade_id):
        return self.get(trade_id) is not None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback, /):
        self.close()

    def __repr__(self):
        if self.ring.closed:
            return "<InMemoryTradeStore, closed>"
        return f"<InMemoryTradeStore of {self.count} trades, {self.total} taken in, room for {self.capacity}>"

    cdef int copy_recent(self, object limit, TradeBlock* block) except -1:
        cdef uint64_t wanted = unsigned_field("limit", limit)
        cdef int code
        with nogil:
            code = trade_store_copy(&self.ring, wanted, block)
        if code != STORE_OK:
            free(block.rows)
            store_raise(code)
        return 0

    cdef object edge_id(self, bint newest):
        cdef int64_t found = 0
        with nogil:
            pye_lock(&self.ring.lock)
            if self.ring.held != 0:
                found = ring_slot(&self.ring, 0 if newest else self.ring.held - 1).value
            pye_unlock(&self.ring.lock)
        return None if found == 0 else found
