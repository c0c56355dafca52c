from decimal import Decimal
from typing import SupportsIndex, TypedDict, Unpack, final

from pyengine.instrument import Instrument, Number
from pyengine.records import Action, Flag, SelfTrade, Side, Status, TimeInForce

ORDER_RECORD_BYTES: int

class _Changes(TypedDict, total=False):
    order_id: SupportsIndex
    side: SupportsIndex | str
    user: str | SupportsIndex | None
    instrument: Instrument | None
    price: Number | None
    qty: Number | None
    price_ticks: SupportsIndex | None
    qty_lots: SupportsIndex | None
    remaining_lots: SupportsIndex | None
    order_type: SupportsIndex | str | None
    tif: SupportsIndex | str
    status: SupportsIndex | str | None
    created_ns: SupportsIndex
    updated_ns: SupportsIndex | None
    version: SupportsIndex
    client_id: SupportsIndex
    flags: SupportsIndex
    stp: SupportsIndex | str
    aux: SupportsIndex
    entered: SupportsIndex
    instrument_index: SupportsIndex

@final
class Order:
    def __init__(
        self,
        order_id: SupportsIndex,
        side: SupportsIndex | str,
        *,
        user: str | SupportsIndex | None = None,
        instrument: Instrument | None = None,
        price: Number | None = None,
        qty: Number | None = None,
        price_ticks: SupportsIndex | None = None,
        qty_lots: SupportsIndex | None = None,
        remaining_lots: SupportsIndex | None = None,
        order_type: SupportsIndex | str | None = None,
        tif: SupportsIndex | str = 0,
        status: SupportsIndex | str | None = None,
        created_ns: SupportsIndex = 0,
        updated_ns: SupportsIndex | None = None,
        version: SupportsIndex = 0,
        client_id: SupportsIndex = 0,
        flags: SupportsIndex = 0,
        stp: SupportsIndex | str = 0,
        aux: SupportsIndex = 0,
        entered: SupportsIndex = 0,
        instrument_index: SupportsIndex = 0,
    ) -> None: ...
    def replace(self, **changes: Unpack[_Changes]) -> Order: ...
    @property
    def order_id(self) -> int: ...
    @property
    def user(self) -> str | int | None: ...
    @property
    def user_index(self) -> int: ...
    @property
    def instrument(self) -> Instrument | None: ...
    @property
    def instrument_index(self) -> int: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def side(self) -> Side: ...
    @property
    def order_type(self) -> Action: ...
    @property
    def tif(self) -> TimeInForce | int: ...
    @property
    def status(self) -> Status: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def price_ticks(self) -> int: ...
    @property
    def qty_lots(self) -> int: ...
    @property
    def remaining_lots(self) -> int: ...
    @property
    def filled_lots(self) -> int: ...
    @property
    def price(self) -> Decimal | None: ...
    @property
    def qty(self) -> Decimal | None: ...
    @property
    def remaining(self) -> Decimal | None: ...
    @property
    def filled(self) -> Decimal | None: ...
    @property
    def created_ns(self) -> int: ...
    @property
    def updated_ns(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def entered(self) -> int: ...
    @property
    def client_id(self) -> int: ...
    @property
    def flags(self) -> Flag: ...
    @property
    def stp(self) -> SelfTrade: ...
    @property
    def aux(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def order_from_bytes(record: bytes, user: str | int | None = None, instrument: Instrument | None = None) -> Order: ...
