"""Trade objects, made only for a caller who asks for them; results of the engine and the trade store share the class."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport Py_EQ, Py_NE
from libc.stdint cimport UINT32_MAX, uint32_t
from libc.string cimport memcmp, memcpy
from pyengine._core.arguments cimport code_field, signed_field, unsigned_field
from pyengine._core.records cimport BUY, MAKER_FILLED, SELL, TAKER_FILLED, TRADE, Event
from pyengine.errors import FieldError
from pyengine.records import Side as SideName


@cython.final
@cython.freelist(512)
@cython.no_gc                      # an instrument never refers to a trade, so there is no cycle to find
cdef class Trade:
    """
    One execution between an incoming order (the taker) and a resting one (the maker), at the maker's price.

    Read-only. Two trades are equal when all their fields are; instruments count by what they are, or else by their numbers.

    Parameters
    ----------
    trade_id : int
        Dense from 1 when an engine made the trade.
    taker_id, maker_id : int
        Ids of the two orders.
    price_ticks, qty_lots : int
        In units of the instrument's grid; both at least 1 for a trade of an engine.
    side : Side or int
        The taker's: 1 buy, 2 sell.
    instrument : Instrument, optional
        Gives `symbol`, `price` and `qty`, which are None without it.
    ts_ns, seq : int
        The command's time stamp and the event's sequence number.
    instrument_index : int
        The instrument's number in the records of its engine.

    Raises
    ------
    FieldTypeError, FieldError
        If a value isn't an integer, or doesn't fit its field.

    Notes
    -----
    Thread-safety: immutable, so any thread may read it.
    """

    def __init__(self, trade_id, taker_id, maker_id, price_ticks, qty_lots, side, *, instrument=None, ts_ns=0, seq=0,
                 instrument_index=0):
        self.event.value = signed_field("trade_id", trade_id, 1)
        self.event.order_id = unsigned_field("taker_id", taker_id)
        self.event.detail = unsigned_field("maker_id", maker_id)
        self.event.price_ticks = signed_field("price_ticks", price_ticks)
        self.event.qty_lots = signed_field("qty_lots", qty_lots, 1)
        self.event.side = code_field("side", side, SideName, BUY, SELL)
        self.event.ts_ns = signed_field("ts_ns", ts_ns)
        self.event.seq = unsigned_field("seq", seq)
        self.event.instrument = <uint32_t>unsigned_field("instrument_index", instrument_index, UINT32_MAX)
        self.event.kind = TRADE
        self.instrument = instrument

    @property
    def trade_id(self):
        """Number of the trade."""
        return self.event.value

    @property
    def taker_id(self):
        """Id of the incoming order."""
        return self.event.order_id

    @property
    def maker_id(self):
        """Id of the resting order."""
        return self.event.detail

    @property
    def buy_order_id(self):
        """Id of the order that bought."""
        return trade_buyer(&self.event)

    @property
    def sell_order_id(self):
        """Id of the order that sold."""
        return trade_seller(&self.event)

    @property
    def side(self):
        """The taker's side."""
        return SideName.BUY if self.event.side == BUY else SideName.SELL

    @property
    def price_ticks(self):
        """Price in ticks: the maker's."""
        return self.event.price_ticks

    @property
    def qty_lots(self):
        """Traded size in lots."""
        return self.event.qty_lots

    @property
    def price(self):
        """Price as a Decimal, or None when the instrument isn't known."""
        return None if self.instrument is None else self.instrument.ticks_to_price(self.event.price_ticks)

    @property
    def qty(self):
        """Traded size as a Decimal, or None when the instrument isn't known."""
        return None if self.instrument is None else self.instrument.lots_to_qty(self.event.qty_lots)

    @property
    def symbol(self):
        """The instrument's symbol, or None when the instrument isn't known."""
        return None if self.instrument is None else self.instrument.symbol

    @property
    def instrument_index(self):
        """Number of the instrument in records."""
        return self.event.instrument

    @property
    def ts_ns(self):
        """Time stamp of the command that caused it."""
        return self.event.ts_ns

    @property
    def seq(self):
        """Sequence number of the event."""
        return self.event.seq

    @property
    def maker_filled(self):
        """Whether the trade finished the maker."""
        return self.event.flags & MAKER_FILLED != 0

    @property
    def taker_filled(self):
        """Whether the trade finished the taker."""
        return self.event.flags & TAKER_FILLED != 0

    def __bytes__(self):
        """Return the trade as one record of TRADE_DTYPE."""
        return PyBytes_FromStringAndSize(<char*>&self.event, sizeof(Event))

    def __richcmp__(self, other, int operation):
        cdef Event others
        cdef bint same
        if operation not in (Py_EQ, Py_NE) or not isinstance(other, Trade):
            return NotImplemented
        others = (<Trade>other).event
        if self.instrument is not None:
            others.instrument = self.event.instrument
        same = self.instrument == (<Trade>other).instrument and memcmp(&self.event, &others, sizeof(Event)) == 0
        return same == (operation == Py_EQ)

    def __hash__(self):
        return hash((self.event.value, self.event.seq, self.event.order_id))

    def __repr__(self):
        size = f"{self.event.qty_lots} lots" if self.instrument is None else str(self.qty)
        price = f"{self.event.price_ticks} ticks" if self.instrument is None else str(self.price)
        name = f"instrument {self.event.instrument}" if self.instrument is None else self.symbol
        verb = "bought" if self.event.side == BUY else "sold"
        return f"<Trade {self.trade_id}: {self.taker_id} {verb} {size} of {name} at {price} from {self.maker_id}>"

    def __reduce__(self):
        return trade_from_bytes, (bytes(self), self.instrument)


cdef Trade trade_from_event(const Event* e, object instrument):
    """Copy an event of kind TRADE into an object. O(1); needs the GIL."""
    cdef Trade trade = Trade.__new__(Trade)
    trade.event = e[0]
    trade.instrument = instrument
    return trade


def trade_from_bytes(record, instrument=None):
    """
    Make a trade from one record of TRADE_DTYPE, the opposite of `bytes(trade)`. O(1).

    Raises
    ------
    FieldError
        If there aren't 64 bytes, or their kind isn't TRADE.
    """
    cdef bytes raw = bytes(record)
    cdef Event event
    if len(raw) != sizeof(Event):
        raise FieldError("record", f"{len(raw)} bytes", f"{sizeof(Event)} bytes")
    memcpy(&event, PyBytes_AS_STRING(raw), sizeof(Event))
    if event.kind != TRADE:
        raise FieldError("kind", event.kind, f"{TRADE} (TRADE)")
    if event.side not in (BUY, SELL):
        raise FieldError("side", event.side, f"{BUY} (BUY) or {SELL} (SELL)")
    return trade_from_event(&event, instrument)
