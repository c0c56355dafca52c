"""One instrument's book as Python sees it: fast calls in integers, and views as arrays."""

cimport cython
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pyengine._core.arguments cimport signed_field, unsigned_field
from pyengine._core.engine cimport EngineCore
from pyengine._core.once_calls cimport once_call
from pyengine._core.records cimport AMEND, ASSIGN_ID, CANCEL, LIMIT, MARKET, Command
from pyengine._core.result cimport Result
from pyengine._core.state cimport State
from pyengine._core.views cimport LevelRecord, OrderRecord, view_hash, view_levels, view_orders

import numpy as np

from pyengine.records import LEVEL_DTYPE, ORDER_STATE_DTYPE


def make_book(EngineCore engine not None, instrument, uint32_t index):
    """Make the handle of a book that the engine has just opened; engines call it, nobody else needs to."""
    cdef Book book = Book.__new__(Book)
    if index >= engine.state.book_count:
        raise IndexError(index)
    book.engine = engine
    book.instrument = instrument
    book.index = index
    return book


@cython.final
cdef class Book:
    """
    One instrument's book: the handle for fast calls, in integers and by position.

    Side is 1 (buy) or 2 (sell), prices are in ticks, sizes in lots, users by number. All calls return a `Result`, raise
    FieldError for values that can't be an order, and report refusals (unknown order, duplicate id, ...) in the result.

    Notes
    -----
    Thread-safety: as the engine's.
    """

    def submit(self, side, price_ticks, qty_lots, order_id=None, user=0, tif=0, flags=0, ts_ns=0, stp=0,
               client_order_id=None):
        """
        Place a limit order. O(1), plus O(1) for each trade.

        Parameters
        ----------
        side : int
            1 buy, 2 sell.
        price_ticks, qty_lots : int
        order_id : int, optional
            Any unsigned 64-bit value that isn't resting now; the engine picks one otherwise.
        user : int
            Interned user, 0 for nobody.
        tif, flags, stp : int
            TimeInForce, Flag, SelfTrade.
        ts_ns : int
            Time stamp for the events.
        client_order_id : int, optional
            So that the command runs once, however often it comes; see `Engine.submit`.

        Returns
        -------
        Result
        """
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.action = LIMIT
        c.price_ticks = signed_field("price_ticks", price_ticks)
        return self.place(&c, side, qty_lots, order_id, user, tif, flags, ts_ns, stp, client_order_id)

    def submit_market(self, side, qty_lots, order_id=None, user=0, ts_ns=0, stp=0, tif=0, client_order_id=None):
        """Place a market order; what finds no counterpart is cancelled. See `submit`."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.action = MARKET
        return self.place(&c, side, qty_lots, order_id, user, tif, 0, ts_ns, stp, client_order_id)

    cdef Result place(self, Command* c, object side, object qty_lots, object order_id, object user, object tif, object flags,
                      object ts_ns, object stp, object client_order_id):
        c.instrument = self.index
        c.side = <uint8_t>unsigned_field("side", side, 255)
        c.qty_lots = signed_field("qty_lots", qty_lots)
        if user is not 0:
            c.user = <uint32_t>unsigned_field("user", user, UINT32_MAX)
        if tif is not 0:
            c.tif = <uint8_t>unsigned_field("tif", tif, 255)
        if flags is not 0:
            c.flags = <uint8_t>unsigned_field("flags", flags, 255)
        if order_id is None:
            c.flags |= ASSIGN_ID
        else:
            c.order_id = unsigned_field("order_id", order_id)
        if ts_ns is not 0:
            c.ts_ns = signed_field("ts_ns", ts_ns)
        if stp is not 0:
            c.stp = <uint8_t>unsigned_field("stp", stp, 255)
        if client_order_id is not None:
            return once_call(self.engine, c, client_order_id, 0, self.instrument)
        return self.engine.call(c, self.instrument)

    def cancel(self, order_id, user=0, ts_ns=0, client_order_id=None):
        """Cancel a resting order of this book. O(1). Refusals: UNKNOWN_ORDER, WRONG_INSTRUMENT, NOT_OWNER."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.action = CANCEL
        c.instrument = self.index
        c.order_id = unsigned_field("order_id", order_id)
        if user is not 0:
            c.user = <uint32_t>unsigned_field("user", user, UINT32_MAX)
        if ts_ns is not 0:
            c.ts_ns = signed_field("ts_ns", ts_ns)
        if client_order_id is not None:
            return once_call(self.engine, &c, client_order_id, 0, self.instrument)
        return self.engine.call(&c, self.instrument)

    def amend(self, order_id, price_ticks, qty_lots, user=0, flags=0, ts_ns=0, stp=0, client_order_id=None):
        """
        Give a resting order a new price and a new open size.

        The same price and at most the open size keep its place in the queue; anything else loses it, and a price into the
        opposite side trades. O(1), plus O(1) for each trade.

        Parameters
        ----------
        order_id, price_ticks, qty_lots : int
            `qty_lots` is what shall be open afterwards, whatever was filled before.
        user, flags, ts_ns, stp, client_order_id : int
            As for `submit`; of the flags only POST_ONLY.
        """
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.action = AMEND
        c.instrument = self.index
        c.order_id = unsigned_field("order_id", order_id)
        c.price_ticks = signed_field("price_ticks", price_ticks)
        c.qty_lots = signed_field("qty_lots", qty_lots)
        c.user = <uint32_t>unsigned_field("user", user, UINT32_MAX)
        c.flags = <uint8_t>unsigned_field("flags", flags, 255)
        c.ts_ns = signed_field("ts_ns", ts_ns)
        c.stp = <uint8_t>unsigned_field("stp", stp, 255)
        if client_order_id is not None:
            return once_call(self.engine, &c, client_order_id, 0, self.instrument)
        return self.engine.call(&c, self.instrument)

    def mass_cancel(self, side=0, user=0, ts_ns=0, client_order_id=None):
        """Cancel this book's orders, of one side or both, of one user or all. See `EngineCore.mass_cancel_lots`."""
        return self.engine.mass_cancel_lots(self.index, side, user, ts_ns, client_order_id)

    def best_bid(self):
        """Return (price_ticks, qty_lots, orders) of the highest bid, or None. O(1)."""
        return self.touch(0)

    def best_ask(self):
        """Return (price_ticks, qty_lots, orders) of the lowest ask, or None. O(1)."""
        return self.touch(1)

    cdef object touch(self, int side):
        cdef State* s = self.engine.state
        cdef uint32_t level
        self.engine.enter()
        level = s.pool.ladders[2 * self.index + side].best_level
        if level == 0:
            return None
        return s.pool.levels[level].price_ticks, s.pool.levels[level].qty_lots, s.pool.levels[level].count

    def depth(self, levels=None):
        """
        Return the best levels of both sides.

        Parameters
        ----------
        levels : int, optional
            At most so many of each side; all by default.

        Returns
        -------
        (bids, asks) : arrays of LEVEL_DTYPE, best first. O(levels)
        """
        cdef uint64_t limit = UINT32_MAX if levels is None else unsigned_field("levels", levels, UINT32_MAX)
        return self.side_depth(0, limit), self.side_depth(1, limit)

    cdef object side_depth(self, int side, uint64_t limit):
        """Levels of one side. Taking memory may run other Python code, which may change the book, hence the loop."""
        cdef State* s = self.engine.state
        cdef uint64_t room = 0, n
        cdef unsigned char[::1] view
        while True:
            answer = np.empty(room, LEVEL_DTYPE)
            view = answer.view(np.uint8) if room else None
            self.engine.enter()
            n = min(limit, <uint64_t>s.pool.ladders[2 * self.index + side].levels)
            if n <= room:
                if n:
                    view_levels(s, self.index, side, n, <LevelRecord*>&view[0])
                return answer[:n]
            room = n

    def orders(self, side=0):
        """
        Return the resting orders in price-time order, bids before asks.

        Parameters
        ----------
        side : int
            1 bids only, 2 asks only, 0 both.

        Returns
        -------
        array of ORDER_STATE_DTYPE. O(orders)
        """
        cdef uint64_t wanted = unsigned_field("side", side, 2), room = 0, n, done
        cdef State* s = self.engine.state
        cdef unsigned char[::1] view
        cdef int i
        while True:
            # As in side_depth: the book may change while memory is taken.
            answer = np.empty(room, ORDER_STATE_DTYPE)
            view = answer.view(np.uint8) if room else None
            self.engine.enter()
            n = done = 0
            for i in range(2):
                if wanted == 0 or wanted == <uint64_t>i + 1:
                    n += s.pool.ladders[2 * self.index + i].orders
            if n <= room:
                break
            room = n
        for i in range(2):
            if n and (wanted == 0 or wanted == <uint64_t>i + 1):
                done = view_orders(s, self.index, i, <OrderRecord*>&view[0], done, NULL)
        return answer[:n]

    def state_hash(self):
        """Hash of this book's resting orders, queue order included, as an unsigned 64-bit int. O(orders)."""
        self.engine.enter()
        return view_hash(self.engine.state, self.index, 0)

    def __repr__(self):
        return f"<Book {self.index}: {self.instrument.symbol}>"
