"""The engine as Python sees it: shells that convert, lock, call the kernels and map the status. See engine.pxd."""

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident, PyThread_release_lock,
    NOWAIT_LOCK, WAIT_LOCK,
)
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pyengine._core.arguments cimport signed_field, unsigned_field
from pyengine._core.batch cimport BLOCK, begin_linear, buffer_of, end_linear, give_warm, run_table, take_warm
from pyengine._core.columns cimport CommandTable
from pyengine._core.matching cimport matching_execute, matching_reject
from pyengine._core.order_state cimport STORE_OK, OrderStoreState, order_store_apply, order_store_reserve
from pyengine._core.names cimport Names
from pyengine._core.order_store cimport InMemoryOrderStore
from pyengine._core.once cimport once_execute
from pyengine._core.once_calls cimport once_amend, once_call, once_instrument
from pyengine._core.records cimport (
    AMEND, BOOK_IMPLIED, CANCEL, EVERY_INSTRUMENT, FIRST_REFUSAL, FIRST_REJECTION, MASS_CANCEL, NO_BOOK, OUT_OF_MEMORY,
    PRICE_KEPT, QTY_KEPT, RING_FULL, STP_DECREMENT, STP_DEFAULT, UNKNOWN_ORDER, Command, Event,
)
from pyengine._core.requests cimport MAX_REQUESTS
from pyengine._core.result cimport OrderView, Result, result_keep_trades
from pyengine._core.ring cimport ring_publish
from pyengine._core.state cimport (
    NO_ENTRY, Sink, State, find_entry, order_of,
    state_add_book, state_add_user, state_bytes, state_collect, state_free, state_new,
    state_reserve,
)
from pyengine._core.store_shell cimport store_raise
from pyengine._core.trade_ring cimport trade_store_apply
from pyengine._core.trade_store cimport InMemoryTradeStore
from pyengine._core.views cimport Finding, view_check, view_hash

import numpy as np

from pyengine.errors import EngineBusy, EngineClosed, FieldError, FieldTypeError, InvariantError, UnknownInstrument
from pyengine.instrument import Instrument
from pyengine.rejections import rejection_error
from pyengine.store_errors import StoreClosed

cdef enum:
    MAX_BOOKS = 1 << 24
    MAX_USERS = 1 << 28
    MAX_ORDERS = 1 << 27


cdef class EngineCore:
    """
    The compiled half of `pyengine.Engine`: books, users, single calls in integers, runs of arrays.

    Notes
    -----
    Thread-safety: any thread may call. Single calls hold the GIL and are atomic. `run`, and a call that has to wait for a
    consumer, release it and hold the engine's lock meanwhile; other calls then wait for that lock.
    """

    def __cinit__(self, *args, ring_capacity=65536, capacity=0, self_trade=1, publish_wait_s=1.0, order_store=None,
                  trade_store=None, client_ids=65536, client_id_age_ns=None, **kwargs):
        cdef uint64_t ring = unsigned_field("ring_capacity", ring_capacity, 1 << 28)
        cdef uint64_t orders = unsigned_field("capacity", capacity, MAX_ORDERS)
        cdef uint8_t stp = <uint8_t>unsigned_field("self_trade", self_trade, STP_DECREMENT)
        if ring < 64 or ring & (ring - 1):
            raise FieldError("ring_capacity", ring_capacity, "a power of two from 64 to 2**28")
        if stp == STP_DEFAULT:
            raise FieldError("self_trade", self_trade, "a mode, as the engine is what DEFAULT refers to")
        if isinstance(publish_wait_s, bool) or not isinstance(publish_wait_s, (int, float)):
            raise FieldTypeError("publish_wait_s", publish_wait_s, "a number of seconds")
        if not 0 <= publish_wait_s <= 3600:
            raise FieldError("publish_wait_s", publish_wait_s, "from 0 to 3600 seconds")
        self.lock = PyThread_allocate_lock()
        self.state = state_new(ring, orders)
        if self.lock == NULL or self.state == NULL:
            raise MemoryError
        self.state.stp = stp
        self.state.wait_ns = <int64_t>(publish_wait_s * 1e9)
        self.state.holds_gil = True
        self.limit_requests(client_ids, client_id_age_ns)
        self.all_books = []
        self.names = Names()
        self.attach_stores(order_store, trade_store)

    def __dealloc__(self):
        state_free(self.state)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int limit_requests(self, object client_ids, object client_id_age_ns) except -1:
        """Set how many commands with client order ids are remembered, and how long."""
        cdef uint64_t limit = unsigned_field("client_ids", client_ids, MAX_REQUESTS)
        cdef uint64_t age_ns = 0
        if client_id_age_ns is not None:
            age_ns = unsigned_field("client_id_age_ns", client_id_age_ns, INT64_MAX)
            if age_ns == 0:
                raise FieldError("client_id_age_ns", client_id_age_ns, f"None or an int from 1 to {INT64_MAX}")
        self.state.requests.limit = limit
        self.state.requests.age_ns = age_ns
        return 0

    @property
    def client_ids(self):
        """How many commands with client order ids are remembered at most."""
        return self.state.requests.limit

    @property
    def client_id_age_ns(self):
        """How long they are remembered; None: by number only."""
        return self.state.requests.age_ns or None

    @property
    def remembered_commands(self):
        """Number of commands that are remembered by their client order ids. O(1)."""
        return self.state.requests.count

    cdef int attach_stores(self, object order_store, object trade_store) except -1:
        """Let L1 follow the events on the engine's own thread: the store itself, or the `memory_layer` of one with layers."""
        self.order_store = order_store
        self.trade_store = trade_store
        orders = order_store if isinstance(order_store, InMemoryOrderStore) else getattr(order_store, "memory_layer", None)
        trades = trade_store if isinstance(trade_store, InMemoryTradeStore) else getattr(trade_store, "memory_layer", None)
        if isinstance(orders, InMemoryOrderStore):
            orders.attach_names(self.names)
            self.order_memory = orders
            self.state.collector.order_sink = <Sink>order_store_apply
            self.state.collector.order_target = &self.order_memory.state
        if isinstance(trades, InMemoryTradeStore):
            trades.attach_names(self.names)
            self.trade_memory = trades
            self.state.collector.trade_sink = <Sink>trade_store_apply
            self.state.collector.trade_target = &self.trade_memory.ring
        return 0

    cdef int stores_ready(self, uint64_t orders) except -1:
        """See that the stores can take what a command may bring, before it changes anything."""
        cdef int code
        if self.order_memory is not None:
            code = order_store_reserve(&self.order_memory.state, orders)
            if code != STORE_OK:
                store_raise(code)
        if self.trade_memory is not None and self.trade_memory.ring.closed:
            raise StoreClosed("the engine's trade store is closed")
        return 0

    # --- locking ------------------------------------------------------------------------------------------------------

    cdef int enter(self) except -1:
        """Wait until no call runs without the GIL. From here to its return, a caller that keeps the GIL is alone."""
        while self.busy:
            if self.owner == PyThread_get_thread_ident():
                raise EngineBusy("the engine can't be called from within its own call")
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
            # Released only now, with the GIL: the next run has to queue, or it would starve whoever waits here.
            PyThread_release_lock(self.lock)
        if self.closed:
            raise EngineClosed("the engine is closed")
        return 0

    cdef int begin_unlocked(self) except -1:
        """Become the one call that may run without the GIL."""
        self.enter()
        if self.refusal is not None:
            # The same each time: it must not collect the frames of all whom it was raised for.
            raise self.refusal.with_traceback(None)
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
            if self.closed:
                PyThread_release_lock(self.lock)
                raise EngineClosed("the engine is closed")
        self.busy = True
        self.owner = PyThread_get_thread_ident()
        self.state.holds_gil = False
        return 0

    cdef void end_unlocked(self):
        self.state.holds_gil = True
        self.busy = False
        PyThread_release_lock(self.lock)

    def close(self):
        """Refuse all later calls. Consumers can still read what is in the ring. Closing twice is closing once."""
        if not self.closed:
            self.enter()
            self.closed = True

    # --- what a journal needs -------------------------------------------------------------------------------------------

    def follow_by(self, order_store, trade_store):
        """Let stores in memory that hold what has happened follow from here on; see `attach_stores`."""
        self.enter()
        self.attach_stores(order_store, trade_store)

    def acknowledge_by(self, acknowledge):
        """
        Have each call that runs commands wait, before it returns, for what makes them durable.

        Parameters
        ----------
        acknowledge : callable or None
            Called with the sequence number of the last event; what it raises, the call raises. None: calls don't wait.
        """
        self.enter()
        self.acknowledge = acknowledge

    def refuse_commands(self, refusal):
        """Have every later command raise this exception; reading goes on."""
        self.refusal = refusal

    cdef int acknowledged(self) except -1:
        """Wait until the events so far are durable, if that was asked for."""
        self.acknowledge(self.state.out.seq - 1)
        return 0

    @property
    def self_trade(self):
        """What DEFAULT refers to for users without a mode of their own."""
        return self.state.stp

    @property
    def user_mode_changes(self):
        """How often the self-trade mode of a user was set."""
        return self.mode_changes

    def user_modes(self):
        """Return the self-trade mode of each user as an array of uint8; [0] is nobody's. O(users)."""
        cdef uint32_t user
        cdef uint8_t[::1] modes
        answer = np.zeros(self.state.user_count, np.uint8)
        modes = answer
        for user in range(<uint32_t>modes.shape[0]):
            modes[user] = self.state.users[user].stp
        return answer

    # --- instruments and users ----------------------------------------------------------------------------------------

    def add_instrument(self, instrument):
        """
        Open a book for an instrument.

        Returns
        -------
        Book
            The handle for fast calls; `book.index` is the instrument's number in records, counted from 0.

        Raises
        ------
        FieldError
            The symbol has a book already, or there are 2**24 books.
        FieldTypeError
            It isn't an Instrument.
        """
        cdef int index
        # Not a cimport: books cimport engines.
        from pyengine._core.book import make_book
        if not isinstance(instrument, Instrument):
            raise FieldTypeError("instrument", instrument, "an Instrument")
        self.enter()
        if self.names.instrument_index(instrument.symbol) is not None:
            raise FieldError("symbol", instrument.symbol, "new to this engine")
        if len(self.all_books) >= MAX_BOOKS:
            raise FieldError("instruments", len(self.all_books), f"at most {MAX_BOOKS}")
        index = state_add_book(self.state, instrument.min_price_ticks, instrument.max_price_ticks,
                               instrument.min_qty_lots, instrument.max_qty_lots)
        if index < 0:
            raise MemoryError
        self.all_books.append(make_book(self, instrument, index))
        self.names.add_instrument(instrument)
        return self.all_books[index]

    def book(self, symbol):
        """
        Return the book of a symbol, or of an index. O(1).

        Raises
        ------
        UnknownInstrument
            There is no such book.
        """
        try:
            if isinstance(symbol, str):
                return self.all_books[self.names.instrument_indexes[symbol]]
            return self.all_books[unsigned_field("symbol", symbol, UINT32_MAX)]
        except (KeyError, IndexError):
            raise UnknownInstrument(f"symbol must be one of the engine's {len(self.all_books)}, was {symbol!r:.80}") from None

    @property
    def books(self):
        """All books, by index."""
        return tuple(self.all_books)

    @property
    def instruments(self):
        """All instruments, by index."""
        return tuple(self.names.instruments)

    def user(self, name, self_trade=None):
        """
        Intern a user: the same name always gives the same number, from 1 on. O(1).

        Parameters
        ----------
        name : str
            1 to 255 printable characters.
        self_trade : SelfTrade, optional
            What happens when orders of this user meet; DEFAULT goes back to the engine's mode.

        Raises
        ------
        FieldError
            The name is empty or too long, or the mode unknown.
        """
        cdef uint8_t stp = 0
        cdef int number
        if type(name) is not str:
            raise FieldTypeError("user", name, "a str")
        if self_trade is not None:
            stp = <uint8_t>unsigned_field("self_trade", self_trade, STP_DECREMENT)
        self.enter()
        known = self.names.user_index(name)
        if known is None:
            if len(self.names.users) >= MAX_USERS:
                raise FieldError("users", len(self.names.users), f"at most {MAX_USERS}")
            known = self.names.add_user(name)
            number = state_add_user(self.state)
            if number != known:
                raise MemoryError
        if self_trade is not None:
            self.state.users[<int>known].stp = stp
            self.mode_changes += 1
        return known

    def user_name(self, number):
        """Return the name of an interned user; None for 0. O(1)."""
        cdef uint64_t i = unsigned_field("user", number, self.state.user_count - 1)
        return self.names.users[i]

    @property
    def user_count(self):
        """Number of interned users."""
        return self.state.user_count - 1

    # --- single calls -------------------------------------------------------------------------------------------------

    cdef Result call(self, const Command* c, object instrument):
        """Run one command. Raises for a malformed one, which changes nothing; refusals come back in the result."""
        cdef State* s = self.state
        cdef int status
        if self.busy or self.closed:
            self.enter()
        if self.refusal is not None:
            # The same each time: it must not collect the frames of all whom it was raised for.
            raise self.refusal.with_traceback(None)
        if s.collector.order_sink != NULL or s.collector.trade_sink != NULL:
            self.stores_ready(1)
        s.impatient = False
        s.out.kept = s.out.seq
        # It sleeps only for a required consumer that is behind; until then the GIL stays, as getting it back takes milliseconds.
        status = matching_execute(s, c)
        if status == RING_FULL:
            if s.ring.required == 0:
                return self.call_linear(c, instrument, 0)
            self.begin_unlocked()
            with nogil:
                status = matching_execute(s, c)
            self.end_unlocked()
        if status >= FIRST_REJECTION:
            if not FIRST_REFUSAL <= status < RING_FULL:
                raise rejection_error(status, c.price_ticks, c.qty_lots, c.side, c.tif, c.flags, c.stp, c.user, instrument)
            return self.refuse(c, status, instrument)
        return self.finish(c, status, instrument)

    cdef Result finish(self, const Command* c, int status, object instrument):
        """Let the events go and make the result, which may fail: they stay in place until the next command."""
        cdef State* s = self.state
        if s.collector.order_sink != NULL or s.collector.trade_sink != NULL:
            state_collect(s)
        ring_publish(s.ring, s.out.seq)
        s.out.published = s.out.seq
        if self.acknowledge is None:
            return self.result(c, status, instrument)
        result = self.result(c, status, instrument)
        self.acknowledged()
        return result

    cdef Result result(self, const Command* c, int status, object instrument):
        cdef State* s = self.state
        cdef Result r = Result.__new__(Result)
        cdef uint64_t start, count
        r.code = status
        r.instrument = instrument
        if status >= FIRST_REJECTION:
            r.order_id = c.order_id
            return r
        r.order_id = s.last.order_id
        r.cancel_reason = s.last.reason
        r.filled_lots = s.last.filled_lots
        if c.action == CANCEL or c.action == MASS_CANCEL:
            r.cancelled_lots = s.last.open_lots
            return r
        r.remaining_lots = s.last.open_lots
        r.cancelled_lots = c.qty_lots - s.last.filled_lots - s.last.open_lots
        if s.last.filled_lots != 0:
            start = (s.last.first_seq - s.out.origin) & s.out.mask
            count = s.out.seq - s.last.first_seq
            if s.collector.linear or start + count <= s.ring.capacity:
                result_keep_trades(r, s.out.events + start, count)
            else:
                self.keep_wrapped(r, start, count)
        return r

    cdef int keep_wrapped(self, Result r, uint64_t start, uint64_t count) except -1:
        """Keep trades that run over the end of the ring."""
        cdef State* s = self.state
        cdef uint64_t capacity, i
        cdef Event* straight = take_warm(count, &capacity)
        if straight == NULL:
            raise MemoryError
        for i in range(count):
            straight[i] = s.ring.events[(start + i) & s.ring.mask]
        try:
            result_keep_trades(r, straight, count)
        finally:
            give_warm(straight, capacity)
        return 0

    cdef Result call_linear(self, const Command* c, object instrument, uint64_t client_id):
        """Run a command that makes more events than the ring holds, while nobody has to read them all."""
        cdef State* s = self.state
        cdef uint64_t capacity
        cdef Event* events = take_warm(256, &capacity)
        cdef int status
        cdef Result r
        if events == NULL:
            raise MemoryError
        begin_linear(s, events, capacity)
        status = matching_execute(s, c) if client_id == 0 else once_execute(s, c, client_id, 0)
        try:
            if status >= FIRST_REJECTION:
                raise MemoryError
            r = self.result(c, status, instrument)
        finally:
            end_linear(s)
            give_warm(s.collector.events, s.collector.capacity)
        return r

    cdef bint find_command(self, Command* c, uint8_t action, object order_id, object user, object ts_ns) except -1:
        """Fill in a command about a resting order, with the book that it is in; False if there is no such order."""
        cdef uint64_t entry
        memset(c, 0, sizeof(Command))
        c.action = action
        c.order_id = unsigned_field("order_id", order_id)
        c.user = self.user_number(user)
        c.ts_ns = signed_field("ts_ns", ts_ns)
        self.enter()
        entry = find_entry(self.state, c.order_id)
        if entry == NO_ENTRY:
            return False
        c.instrument = self.state.pool.levels[self.state.orders[order_of(self.state, entry)].level].side >> 1
        return True

    cdef Result refuse(self, const Command* c, int reason, object instrument):
        """Emit the event of a refused command and return its result."""
        cdef State* s = self.state
        s.out.kept = s.out.seq
        s.impatient = False
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)
        if matching_reject(s, c, reason) == RING_FULL:
            self.begin_unlocked()
            with nogil:
                matching_reject(s, c, reason)
            self.end_unlocked()
        return self.finish(c, reason, instrument)

    def cancel(self, order_id, user=0, ts_ns=0, client_order_id=None):
        """
        Cancel a resting order, whichever book it is in. O(1).

        Parameters
        ----------
        order_id : int
        user : int or str
            Who asks; 0 for anybody, otherwise it must be the owner.
        ts_ns : int
            Time stamp for the events.
        client_order_id : int, optional
            So that the command runs once, however often it comes; see `Engine.submit`.

        Returns
        -------
        Result
            Status CANCELLED, or the reason of a refusal: UNKNOWN_ORDER or NOT_OWNER.
        """
        cdef Command c
        cdef bint known = self.find_command(&c, CANCEL, order_id, user, ts_ns)
        if client_order_id is not None:
            return once_call(self, &c, client_order_id, BOOK_IMPLIED if known else BOOK_IMPLIED | NO_BOOK,
                             self.names.instruments[c.instrument] if known else None)
        if not known:
            return self.refuse(&c, UNKNOWN_ORDER, None)
        return self.call(&c, self.names.instruments[c.instrument])

    def refuse_amend(self, order_id, user=0, ts_ns=0):
        """Refuse to amend an order that isn't there; there is no instrument to check price and size against."""
        cdef Command c
        self.find_command(&c, AMEND, order_id, user, ts_ns)
        return self.refuse(&c, UNKNOWN_ORDER, None)

    cdef uint32_t user_number(self, object user) except? 0xFFFFFFFF:
        """Number of a user given by number or by name; a new name is interned."""
        if user is None:
            return 0
        if type(user) is str:
            return self.user(user)
        return <uint32_t>unsigned_field("user", user, self.state.user_count - 1)

    def amend_lots(self, order_id, price_ticks, qty_lots, user=0, flags=0, ts_ns=0, stp=0, client_order_id=None):
        """Amend a resting order, whichever book it is in, in integers. See `Book.amend`. O(1) if it doesn't trade.

        With a client order id, a price or a size of None is left as it is.
        """
        cdef Command c
        cdef bint known = self.find_command(&c, AMEND, order_id, user, ts_ns)
        cdef uint8_t kept = 0
        if price_ticks is None and client_order_id is not None:
            kept = PRICE_KEPT
        else:
            c.price_ticks = signed_field("price_ticks", price_ticks)
        if qty_lots is None and client_order_id is not None:
            kept |= QTY_KEPT
        else:
            c.qty_lots = signed_field("qty_lots", qty_lots)
        c.flags = <uint8_t>unsigned_field("flags", flags, 255)
        c.stp = <uint8_t>unsigned_field("stp", stp, 255)
        if client_order_id is not None:
            return once_amend(self, &c, kept, client_order_id)
        if not known:
            return self.refuse(&c, UNKNOWN_ORDER, None)
        return self.call(&c, self.names.instruments[c.instrument])

    def amended_instrument(self, order_id, user, client_order_id, ts_ns=0):
        """Return what price and size of an amend with a client order id count: an instrument, or None if none is known. O(1)."""
        return once_instrument(self, unsigned_field("order_id", order_id), self.user_number(user), client_order_id,
                               signed_field("ts_ns", ts_ns))

    def mass_cancel_lots(self, index=EVERY_INSTRUMENT, side=0, user=0, ts_ns=0, client_order_id=None):
        """Cancel all orders of a book, a side, a user, or any mix of these. O(orders of the user, or of the books)."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.action = MASS_CANCEL
        c.instrument = <uint32_t>unsigned_field("index", index, UINT32_MAX)
        c.side = <uint8_t>unsigned_field("side", side, 255)
        c.user = self.user_number(user)
        c.ts_ns = signed_field("ts_ns", ts_ns)
        instrument = self.names.instruments[c.instrument] if c.instrument < len(self.all_books) else None
        if client_order_id is not None:
            return once_call(self, &c, client_order_id, 0, instrument)
        return self.call(&c, instrument)

    # --- arrays -------------------------------------------------------------------------------------------------------

    def run_arrays(self, commands, bint events=True, client_ids=None):
        """
        Run an array of commands without the GIL.

        Returns
        -------
        (EventBuffer or None, ndarray of uint8, ndarray of bool or None)
            Events, statuses, and which commands were run before, if there are client order ids.
        """
        cdef CommandTable table
        cdef State* s = self.state
        cdef uint64_t rows, done = 0, capacity = 0
        cdef Event* block = NULL
        cdef uint8_t* status
        cdef bint alone
        cdef OrderStoreState* order_state = NULL if self.order_memory is None else &self.order_memory.state
        cdef uint8_t[::1] statuses
        self.enter()
        table = CommandTable(commands)
        rows = table.table.rows
        repeated = None if client_ids is None else table.hold_client_ids(client_ids, s.requests.limit)
        answer = np.zeros(rows, np.uint8)
        statuses = answer
        status = &statuses[0] if rows else NULL
        self.stores_ready(BLOCK)
        if events:
            block = take_warm(rows + rows // 4 + (0 if repeated is None else rows) + 256, &capacity)
            if block == NULL:
                raise MemoryError
        try:
            self.begin_unlocked()
        except BaseException:
            give_warm(block, capacity)
            raise
        alone = s.ring.attached == 0
        with nogil:
            s.impatient = False
            s.out.kept = s.out.seq
            s.collector.keep = events
            s.collector.lost = False
            s.collector.count = 0
            if events and alone:
                begin_linear(s, block, capacity)
            elif events:
                s.collector.events = block
                s.collector.capacity = capacity
                s.out.limit = s.out.seq
            while done < rows:
                if order_state != NULL and order_store_reserve(order_state, BLOCK) != 0:
                    memset(status + done, OUT_OF_MEMORY, rows - done)
                    break
                done = run_table(s, &table.table, status, done)
            if s.collector.linear:
                end_linear(s)
            s.collector.keep = False
        self.end_unlocked()
        if not events:
            if self.acknowledge is not None:
                self.acknowledged()
            return None, answer, repeated
        if s.collector.lost:
            give_warm(s.collector.events, s.collector.capacity)
            raise MemoryError("the commands were run, but there was no memory for all of their events")
        buffer = buffer_of(s.collector.events, s.collector.capacity, s.collector.count)
        if self.acknowledge is not None:
            self.acknowledged()
        return buffer, answer, repeated

    # --- state --------------------------------------------------------------------------------------------------------

    def order(self, order_id):
        """Return a resting order as it is now, or None. O(1)."""
        cdef uint64_t entry, wanted = unsigned_field("order_id", order_id)
        cdef OrderView view
        cdef uint32_t index, side
        self.enter()
        entry = find_entry(self.state, wanted)
        if entry == NO_ENTRY:
            return None
        index = order_of(self.state, entry)
        side = self.state.pool.levels[self.state.orders[index].level].side
        view = OrderView.__new__(OrderView)
        view.order_id = wanted
        view.qty_lots = self.state.orders[index].qty_lots
        view.price_ticks = self.state.pool.levels[self.state.orders[index].level].price_ticks
        view.user = self.state.orders[index].user
        view.side_code = (side & 1) + 1
        view.instrument = self.names.instruments[side >> 1]
        return view

    def state_hash(self):
        """Hash of all resting orders, queue order included, as an unsigned 64-bit int. O(orders)."""
        cdef uint64_t h = 0
        cdef uint32_t book
        self.enter()
        for book in range(self.state.book_count):
            h = view_hash(self.state, book, h)
        return h

    def check(self):
        """
        Verify every invariant of the engine's structures. O(everything).

        Raises
        ------
        InvariantError
            Something is broken; the text names what and where.
        """
        cdef Finding finding
        self.enter()
        finding = view_check(self.state)
        if finding.what != NULL:
            raise InvariantError(f"{finding.what.decode()} (at {finding.where})")

    def reserve(self, orders):
        """Take memory for so many more resting orders now, so that growing doesn't cost time later."""
        cdef uint64_t n = unsigned_field("orders", orders, MAX_ORDERS)
        self.enter()
        if state_reserve(self.state, n) != 0:
            raise MemoryError

    @property
    def resting_orders(self):
        """Number of resting orders in all books. O(1)."""
        return self.state.order_slab.live

    @property
    def next_seq(self):
        """Sequence number that the next event gets."""
        return self.state.out.seq

    @property
    def next_trade_id(self):
        """Id that the next trade gets."""
        return self.state.next_trade_id

    @property
    def ring_capacity(self):
        """Events that the ring holds."""
        return self.state.ring.capacity

    @property
    def memory_bytes(self):
        """Address space taken for books, orders and ids, in bytes; what was never touched isn't resident."""
        return state_bytes(self.state)
