"""Orders as the stores keep them: who wants what, how much of it was filled, and how it ended."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport Py_EQ, Py_NE
from libc.stdint cimport UINT32_MAX
from libc.string cimport memcmp, memcpy
from pyengine._core.arguments cimport code_field, signed_field, unsigned_field
from pyengine._core.names cimport Names
from pyengine._core.records cimport (
    BUY, DONE_CANCELLED, FILLED, GTD, LIMIT, MARKET, RESTING, SELL, STOP, STOP_LIMIT, STP_DECREMENT,
)
from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import Action, Flag, SelfTrade, Status, TimeInForce
from pyengine.records import Side as SideName
import numpy as np

cdef tuple side_members = (None, SideName.BUY, SideName.SELL)
cdef tuple status_members = (None, Status.RESTING, Status.PARTIALLY_FILLED, Status.FILLED, Status.CANCELLED)
cdef dict type_members = {int(a): a for a in (Action.MARKET, Action.LIMIT, Action.STOP, Action.STOP_LIMIT)}
cdef dict tif_members = {int(t): t for t in TimeInForce}

ORDER_RECORD_BYTES: int = sizeof(OrderRecord)


cdef const char* order_record_fault(const OrderRecord* r) noexcept nogil:
    """Name the first field of a record that no order can have, or return NULL. O(1)."""
    cdef int64_t filled = r.qty_lots - r.remaining_lots
    if r.side != BUY and r.side != SELL:
        return b"side"
    if not RESTING <= r.status <= DONE_CANCELLED:
        return b"status"
    if r.qty_lots < 1:
        return b"qty_lots"
    if not 0 <= r.remaining_lots <= r.qty_lots or (r.remaining_lots == 0) != (r.status == FILLED):
        return b"remaining_lots"
    if r.status == RESTING and filled != 0 or r.status == PARTIALLY_FILLED and filled == 0:
        return b"status"
    if r.order_type not in (MARKET, LIMIT, STOP, STOP_LIMIT):
        return b"order_type"
    if r.tif > GTD:
        return b"tif"
    if r.stp > STP_DECREMENT:
        return b"stp"
    if r.reserved != 0:
        return b"reserved"
    return NULL


@cython.final
@cython.freelist(512)
@cython.no_gc                      # names and instruments never refer to an order, so there is no cycle to find
cdef class Order:
    """
    What is known of one order at one moment. Read-only; `replace` makes a changed copy.

    Give the size as `qty` (with an instrument) or `qty_lots`, and a limit as `price` or `price_ticks`; an order without
    either is a market order. Two orders are equal when all their fields, users and instruments are.

    Parameters
    ----------
    order_id : int
        Any 64-bit value.
    side : Side, int or str
        1 or "buy", 2 or "sell".
    user : str or int, optional
        Name or number; None is anonymous.
    instrument : Instrument, optional
        Without it, numbers are in ticks and lots, and `symbol`, `price` and `qty` are None.
    price, qty : str, int, float or Decimal, optional
    price_ticks, qty_lots : int, optional
    remaining_lots : int, optional
        What was never filled. Default: all of it, or nothing when the status is FILLED.
    order_type : Action, int or str, optional
        Default: limit with a price, else market.
    tif : TimeInForce, int or str
    status : Status, int or str, optional
        Default: what follows from the sizes.
    created_ns, updated_ns : int
        Default of `updated_ns`: `created_ns`.
    version : int
        Sequence number of the last event that changed it; a store never replaces a record by one with a lower version.
    client_id : int
        The caller's own id; 0 is none.
    flags, stp, aux, entered, instrument_index : int
        As in ORDER_RECORD_DTYPE; `instrument_index` is for orders without `instrument`.

    Raises
    ------
    FieldTypeError, FieldError
        If a value is of the wrong type, out of range, or contradicts another one.

    Notes
    -----
    Thread-safety: immutable, so any thread may read it.
    """

    def __init__(self, order_id, side, *, user=None, instrument=None, price=None, qty=None, price_ticks=None, qty_lots=None,
                 remaining_lots=None, order_type=None, tif=0, status=None, created_ns=0, updated_ns=None, version=0,
                 client_id=0, flags=0, stp=0, aux=0, entered=0, instrument_index=0):
        cdef OrderRecord* r = &self.record
        r.order_id = unsigned_field("order_id", order_id)
        r.side = code_field("side", side, SideName, BUY, SELL)
        self.set_owners(user, instrument, instrument_index)
        r.price_ticks = signed_field("price_ticks", one_of("price", price, price_ticks, instrument, "price_to_ticks", 0))
        r.qty_lots = signed_field("qty_lots", one_of("qty", qty, qty_lots, instrument, "qty_to_lots", None), 1)
        if order_type is None:
            r.order_type = MARKET if price is None and price_ticks is None else LIMIT
        else:
            r.order_type = code_field("order_type", order_type, Action, MARKET, STOP_LIMIT)
        self.set_progress(remaining_lots, status)
        r.tif = code_field("tif", tif, TimeInForce, 0, GTD)
        r.created_ns = signed_field("created_ns", created_ns)
        r.updated_ns = r.created_ns if updated_ns is None else signed_field("updated_ns", updated_ns)
        r.version = unsigned_field("version", version)
        r.client_id = unsigned_field("client_id", client_id)
        r.flags = <uint8_t>unsigned_field("flags", flags, 255)
        r.stp = code_field("stp", stp, SelfTrade, 0, STP_DECREMENT)
        r.aux = signed_field("aux", aux)
        r.entered = unsigned_field("entered", entered)
        self.refuse_faults()

    cdef int set_owners(self, object user, object instrument, object instrument_index) except -1:
        """Keep names aside until a store gives them numbers."""
        cdef object name = None
        if isinstance(user, str):
            name = user
            if not 1 <= len(name) <= 255 or not name.isprintable():
                raise FieldError("user", name, "1 to 255 printable characters")
        elif user is not None:
            try:
                self.record.user = <uint32_t>unsigned_field("user", user, UINT32_MAX)
            except FieldTypeError:
                raise FieldTypeError("user", user, "a str, an int or None") from None
        if instrument is not None and not isinstance(instrument, Instrument):
            raise FieldTypeError("instrument", instrument, "an Instrument or None")
        self.record.instrument = <uint32_t>unsigned_field("instrument_index", instrument_index, UINT32_MAX)
        if name is not None or instrument is not None:
            self.names = (name, instrument)
        return 0

    cdef int set_progress(self, object remaining_lots, object status) except -1:
        """Fill in how much is left and the status, each from the other where it isn't given."""
        cdef OrderRecord* r = &self.record
        if status is not None:
            r.status = code_field("status", status, Status, RESTING, DONE_CANCELLED)
        if remaining_lots is not None:
            r.remaining_lots = signed_field("remaining_lots", remaining_lots, 0, r.qty_lots)
        else:
            r.remaining_lots = 0 if r.status == FILLED else r.qty_lots
        if status is None:
            if r.remaining_lots == 0:
                r.status = FILLED
            else:
                r.status = RESTING if r.remaining_lots == r.qty_lots else PARTIALLY_FILLED
        return 0

    cdef int refuse_faults(self) except -1:
        """Raise for fields that contradict each other."""
        cdef const char* field = order_record_fault(&self.record)
        if field == NULL:
            return 0
        name = field.decode()
        raise FieldError(name, np.frombuffer(bytes(self), ORDER_RECORD_DTYPE)[0][name].item(), order_expectation(name))

    def replace(self, **changes):
        """
        Return a copy with some fields changed, named as in the constructor. O(1).

        The status follows from the sizes where neither it nor the old status CANCELLED says otherwise.

        Raises
        ------
        FieldTypeError, FieldError
            As the constructor does.
        """
        cdef OrderRecord* r = &self.record
        fields = {
            "order_id": r.order_id, "side": r.side, "user": self.user, "instrument": self.instrument,
            "price_ticks": r.price_ticks, "qty_lots": r.qty_lots, "remaining_lots": r.remaining_lots,
            "order_type": r.order_type, "tif": r.tif, "created_ns": r.created_ns, "updated_ns": r.updated_ns,
            "version": r.version, "client_id": r.client_id, "flags": r.flags, "stp": r.stp, "aux": r.aux,
            "entered": r.entered, "instrument_index": r.instrument,
        }
        if r.status == DONE_CANCELLED:
            fields["status"] = DONE_CANCELLED
        if "price" in changes:
            del fields["price_ticks"]
        if "qty" in changes:
            del fields["qty_lots"]
        if changes.get("status") in (FILLED, "filled"):
            fields["remaining_lots"] = 0
        fields.update(changes)
        return Order(**fields)

    @property
    def order_id(self):
        """Id of the order."""
        return self.record.order_id

    @property
    def user(self):
        """Name of the user, or the number where no name is known; None for an anonymous order."""
        cdef object name = None
        if isinstance(self.names, Names):
            name = (<Names>self.names).user_at(self.record.user)
        elif self.names is not None:
            name = (<tuple>self.names)[0]
        if name is None and self.record.user != 0:
            return self.record.user
        return name

    @property
    def user_index(self):
        """Number of the user in records; 0 for an anonymous order, and before a store numbered the name."""
        return self.record.user

    @property
    def instrument(self):
        """The Instrument, or None when it isn't known."""
        if isinstance(self.names, Names):
            return (<Names>self.names).instrument_at(self.record.instrument)
        return None if self.names is None else (<tuple>self.names)[1]

    @property
    def instrument_index(self):
        """Number of the instrument in records."""
        return self.record.instrument

    @property
    def symbol(self):
        """The instrument's symbol, or None when the instrument isn't known."""
        instrument = self.instrument
        return None if instrument is None else instrument.symbol

    @property
    def side(self):
        """Side of the order."""
        return side_members[self.record.side]

    @property
    def order_type(self):
        """Type of the order: Action.MARKET, LIMIT, STOP or STOP_LIMIT."""
        return type_members[self.record.order_type]

    @property
    def tif(self):
        """Time in force; a plain int for a reserved one."""
        return tif_members.get(self.record.tif, self.record.tif)

    @property
    def status(self):
        """Status.RESTING, PARTIALLY_FILLED, FILLED or CANCELLED."""
        return status_members[self.record.status]

    @property
    def is_open(self):
        """Whether it can still trade."""
        return order_is_open(&self.record)

    @property
    def price_ticks(self):
        """Limit in ticks; 0 for a market order."""
        return self.record.price_ticks

    @property
    def qty_lots(self):
        """Size in lots, after amendments: filled and remaining."""
        return self.record.qty_lots

    @property
    def remaining_lots(self):
        """Lots never filled: open while `is_open`, given up afterwards."""
        return self.record.remaining_lots

    @property
    def filled_lots(self):
        """Lots filled."""
        return self.record.qty_lots - self.record.remaining_lots

    @property
    def price(self):
        """Limit as a Decimal; None for a market order, or when the instrument isn't known."""
        instrument = self.instrument
        if instrument is None or self.record.order_type == MARKET:
            return None
        return instrument.ticks_to_price(self.record.price_ticks)

    @property
    def qty(self):
        """Size as a Decimal, or None when the instrument isn't known."""
        return lots_as_decimal(self.instrument, self.record.qty_lots)

    @property
    def remaining(self):
        """What was never filled, as a Decimal, or None when the instrument isn't known."""
        return lots_as_decimal(self.instrument, self.record.remaining_lots)

    @property
    def filled(self):
        """What was filled, as a Decimal, or None when the instrument isn't known."""
        return lots_as_decimal(self.instrument, self.record.qty_lots - self.record.remaining_lots)

    @property
    def created_ns(self):
        """Time stamp of its acceptance."""
        return self.record.created_ns

    @property
    def updated_ns(self):
        """Time stamp of its last change."""
        return self.record.updated_ns

    @property
    def version(self):
        """Sequence number of the last event that changed it; 0 when nobody counts."""
        return self.record.version

    @property
    def entered(self):
        """Sequence number of the event that gave it its place in the queue; 0 when nobody counts."""
        return self.record.entered

    @property
    def client_id(self):
        """The caller's own id; 0 is none."""
        return self.record.client_id

    @property
    def flags(self):
        """Attributes it was entered with."""
        return Flag(self.record.flags)

    @property
    def stp(self):
        """Self-trade prevention it was entered with."""
        return SelfTrade(self.record.stp)

    @property
    def aux(self):
        """Reserved."""
        return self.record.aux

    def __bytes__(self):
        """Return the order as one record of ORDER_RECORD_DTYPE."""
        return PyBytes_FromStringAndSize(<char*>&self.record, sizeof(OrderRecord))

    def __richcmp__(self, other, int operation):
        cdef OrderRecord mine, others
        cdef bint same
        if operation not in (Py_EQ, Py_NE) or not isinstance(other, Order):
            return NotImplemented
        mine = self.record
        others = (<Order>other).record
        same = self.user == other.user and self.instrument == other.instrument
        if self.instrument is not None:
            others.instrument = mine.instrument
        others.user = mine.user
        same = same and memcmp(&mine, &others, sizeof(OrderRecord)) == 0
        return same == (operation == Py_EQ)

    def __hash__(self):
        return hash((self.record.order_id, self.record.version, self.record.remaining_lots))

    def __repr__(self):
        instrument = self.instrument
        size = f"{self.filled_lots}/{self.qty_lots} lots" if instrument is None else f"{self.filled}/{self.qty}"
        name = f"instrument {self.record.instrument}" if instrument is None else instrument.symbol
        if self.record.order_type == MARKET:
            price = "the market"
        else:
            price = f"{self.record.price_ticks} ticks" if instrument is None else str(self.price)
        user = "" if self.user is None else f" for {self.user!r}"
        return f"<Order {self.order_id}: {self.side.name.lower()} {size} of {name} at {price}{user}, {self.status.name.lower()}>"

    def __reduce__(self):
        return order_from_bytes, (bytes(self), self.user, self.instrument)


cdef object lots_as_decimal(object instrument, int64_t lots):
    return None if instrument is None else instrument.lots_to_qty(lots)


cdef object one_of(str field, object value, object steps, object instrument, str convert, object default):
    """Choose between a decimal and its form in steps of the grid; the default when neither is given."""
    unit = "price_ticks" if field == "price" else "qty_lots"
    if value is not None and steps is not None:
        raise FieldError(field, value, f"absent when {unit} is given")
    if value is not None:
        if instrument is None:
            raise FieldError(field, value, f"given as {unit}, or with an instrument")
        return getattr(instrument, convert)(value)
    if steps is None:
        if default is None:
            raise FieldError(field, None, f"given, or {unit}")
        return default
    return steps


cdef str order_expectation(str field):
    """Say what a field would have had to be, for `order_record_fault`."""
    if field == "status":
        return "1 (RESTING, nothing filled), 2 (PARTIALLY_FILLED, some filled), 3 (FILLED) or 4 (CANCELLED)"
    return {
        "side": "1 (BUY) or 2 (SELL)",
        "qty_lots": "at least 1",
        "remaining_lots": "from 0 to qty_lots, and 0 exactly when FILLED",
        "order_type": "1 (MARKET), 2 (LIMIT), 4 (STOP) or 5 (STOP_LIMIT)",
        "tif": "from 0 to 4",
        "stp": "from 0 to 5",
        "reserved": "0",
    }[field]


cdef Order order_from_record(const OrderRecord* record, object names):
    """Copy a record into an object. O(1); needs the GIL."""
    cdef Order order = Order.__new__(Order)
    order.record = record[0]
    order.names = names
    return order


def order_from_bytes(record, user=None, instrument=None):
    """
    Make an order from one record of ORDER_RECORD_DTYPE, the opposite of `bytes(order)`. O(1).

    Raises
    ------
    FieldTypeError, FieldError
        If there aren't 96 bytes, or they are no order.
    """
    cdef bytes raw = bytes(record)
    cdef Order order = Order.__new__(Order)
    if len(raw) != sizeof(OrderRecord):
        raise FieldError("record", f"{len(raw)} bytes", f"{sizeof(OrderRecord)} bytes")
    memcpy(&order.record, PyBytes_AS_STRING(raw), sizeof(OrderRecord))
    order.refuse_faults()
    if isinstance(user, str) or instrument is not None:
        order.set_owners(user if isinstance(user, str) else None, instrument, order.record.instrument)
    return order
