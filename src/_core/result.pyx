"""What a single call returns: a small object whose trades are made only if somebody looks at them."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from pyengine._core.records cimport FIRST_REJECTION, TRADE, Event
from pyengine._core.trade cimport trade_from_event

from pyengine.records import Reason, Side, Status

cdef dict status_names = {int(status): status for status in Status}
cdef dict reason_names = {int(reason): reason for reason in Reason}
cdef tuple side_names = (None, Side.BUY, Side.SELL)


@cython.final
@cython.freelist(256)
@cython.no_gc                      # an instrument and a tuple of trades never refer back
cdef class Result:
    """
    Outcome of one command.

    Attributes
    ----------
    order_id : int
        Id of the order, also when the engine picked it.
    filled_lots, remaining_lots, cancelled_lots : int
        Lots that this command traded, left resting, and took off without a trade.
    instrument : Instrument or None
        What the lots and ticks count; None for a mass cancel over all books.
    repeated : bool
        Whether the command was run before, by its client order id; this is its first result then.

    Notes
    -----
    Thread-safety: immutable, so any thread may read it. It stays valid whatever the engine does later.
    """

    @property
    def status(self):
        """A Status, or the Reason of a rejection."""
        return reason_names[self.code] if self.code >= FIRST_REJECTION else status_names[self.code]

    @property
    def reason(self):
        """Why the order or its remainder was cancelled, or the command refused; Reason.NONE otherwise."""
        return reason_names[self.code if self.code >= FIRST_REJECTION else self.cancel_reason]

    @property
    def ok(self):
        """Whether the command was carried out, and not refused."""
        return self.code < FIRST_REJECTION

    @property
    def trades(self):
        """The command's trades in order, as a tuple of Trade. O(trades) the first time."""
        cdef uint64_t i
        cdef const Event* events
        kept = self.kept  # a reference of this call's own: making objects may collect garbage, and that may come back here
        if kept is None:
            return ()
        if type(kept) is bytes:
            events = <const Event*>PyBytes_AS_STRING(kept)
            self.kept = tuple([trade_from_event(&events[i], self.instrument) for i in range(self.trade_total)])
        return self.kept

    @property
    def trade_count(self):
        """Number of trades, without making them."""
        return self.trade_total

    @property
    def filled(self):
        """Traded size as a Decimal."""
        return None if self.instrument is None else self.instrument.lots_to_qty(self.filled_lots)

    @property
    def remaining(self):
        """Resting size as a Decimal."""
        return None if self.instrument is None else self.instrument.lots_to_qty(self.remaining_lots)

    @property
    def cancelled(self):
        """Size taken off as a Decimal."""
        return None if self.instrument is None else self.instrument.lots_to_qty(self.cancelled_lots)

    def __repr__(self):
        reason = "" if self.reason == 0 else f" ({self.reason.name})"
        return (f"<Result order {self.order_id} {self.status.name}{reason}: filled {self.filled_lots}, "
                f"remaining {self.remaining_lots}, cancelled {self.cancelled_lots} lots in {self.trade_total} trades>")


cdef int result_keep_trades(Result r, const Event* events, uint64_t count) except -1:
    """Copy the trades among a command's events: the ring may overwrite them before anybody looks. O(events)."""
    cdef uint64_t i, n = 0
    cdef Event* into
    for i in range(count):
        n += events[i].kind == TRADE
    # Bytes rather than a block of our own, as a class that has to free something pays for it in each of its objects.
    r.kept = PyBytes_FromStringAndSize(NULL, n * sizeof(Event))
    r.trade_total = n
    into = <Event*>PyBytes_AS_STRING(r.kept)
    for i in range(count):
        if events[i].kind == TRADE:
            into[0] = events[i]
            into += 1
    return 0


@cython.final
cdef class OrderView:
    """
    A resting order at the moment of the call.

    Attributes
    ----------
    order_id : int
    price_ticks, qty_lots : int
        Limit price, and the lots still open.
    user : int
        Interned user, 0 for nobody.
    instrument : Instrument
    """

    @property
    def side(self):
        """Side of the order."""
        return side_names[self.side_code]

    @property
    def price(self):
        """Limit price as a Decimal."""
        return self.instrument.ticks_to_price(self.price_ticks)

    @property
    def qty(self):
        """Open size as a Decimal."""
        return self.instrument.lots_to_qty(self.qty_lots)

    def __repr__(self):
        return f"<OrderView {self.order_id}: {self.side.name} {self.qty} {self.instrument.symbol} at {self.price}>"
