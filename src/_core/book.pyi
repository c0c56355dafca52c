from typing import SupportsIndex, final

from pyengine._core.engine import EngineCore
from pyengine._core.result import Result

from pyengine.instrument import Instrument
from pyengine.records import Records

@final
class Book:
    @property
    def engine(self) -> EngineCore: ...
    @property
    def instrument(self) -> Instrument: ...
    @property
    def index(self) -> int: ...
    def submit(
        self,
        side: SupportsIndex,
        price_ticks: SupportsIndex,
        qty_lots: SupportsIndex,
        order_id: SupportsIndex | None = None,
        user: SupportsIndex = 0,
        tif: SupportsIndex = 0,
        flags: SupportsIndex = 0,
        ts_ns: SupportsIndex = 0,
        stp: SupportsIndex = 0,
        client_order_id: SupportsIndex | None = None,
    ) -> Result: ...
    def submit_market(
        self,
        side: SupportsIndex,
        qty_lots: SupportsIndex,
        order_id: SupportsIndex | None = None,
        user: SupportsIndex = 0,
        ts_ns: SupportsIndex = 0,
        stp: SupportsIndex = 0,
        tif: SupportsIndex = 0,
        client_order_id: SupportsIndex | None = None,
    ) -> Result: ...
    def cancel(
        self,
        order_id: SupportsIndex,
        user: SupportsIndex = 0,
        ts_ns: SupportsIndex = 0,
        client_order_id: SupportsIndex | None = None,
    ) -> Result: ...
    def amend(
        self,
        order_id: SupportsIndex,
        price_ticks: SupportsIndex,
        qty_lots: SupportsIndex,
        user: SupportsIndex = 0,
        flags: SupportsIndex = 0,
        ts_ns: SupportsIndex = 0,
        stp: SupportsIndex = 0,
        client_order_id: SupportsIndex | None = None,
    ) -> Result: ...
    def mass_cancel(
        self,
        side: SupportsIndex = 0,
        user: SupportsIndex = 0,
        ts_ns: SupportsIndex = 0,
        client_order_id: SupportsIndex | None = None,
    ) -> Result: ...
    def best_bid(self) -> tuple[int, int, int] | None: ...
    def best_ask(self) -> tuple[int, int, int] | None: ...
    def depth(self, levels: SupportsIndex | None = None) -> tuple[Records, Records]: ...
    def orders(self, side: SupportsIndex = 0) -> Records: ...
    def state_hash(self) -> int: ...

def make_book(engine: EngineCore, instrument: Instrument, index: int) -> Book: ...
