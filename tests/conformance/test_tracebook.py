"""PyPI's `tracebook-conformance` as an outside judge: its fixed suite and its random campaigns, against its own engine.

It knows no post-only, no decrement and no amend that keeps its place, and it wants pro-rata in one case, which a
price-time engine leaves out. Everything else runs; the snapshots are read from the engine's real queues.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tracebook.conformance import (
    BookSnapshot,
    BookState,
    ConformanceConfig,
    EngineMetadata,
    Observation,
    Outcome,
    RestingOrder,
    TradeFill,
    canonical_decimal,
    copy_bundled_conformance_suite,
    run_conformance,
    run_qualification,
)
from tracebook.core.order import OrderSide, OrderType, SelfTradePolicy

from pyengine import Engine, FieldError, Instrument
from pyengine.records import Reason, SelfTrade, Side, TimeInForce

if TYPE_CHECKING:
    from pathlib import Path

    from tracebook.events import MarketEvent

    from pyengine import Book, Result

POLICIES = {
    SelfTradePolicy.NONE: SelfTrade.OFF,
    SelfTradePolicy.CANCEL_RESTING: SelfTrade.CANCEL_MAKER,
    SelfTradePolicy.CANCEL_INCOMING: SelfTrade.CANCEL_TAKER,
}
TIFS = {OrderType.LIMIT: TimeInForce.GTC, OrderType.IOC: TimeInForce.IOC, OrderType.FOK: TimeInForce.FOK}
CASES = (
    "fifo-lifecycle",
    "order-instructions",
    "stp-cancel-resting",
    "stp-cancel-resting-deep",
    "stp-cancel-incoming",
    "multi-symbol",
    "tick-grid",
    "deep-cancellation",
)
PROFILES = ("fifo-limit-v1", "fifo-partial-fill-v1", "fifo-full-v1")
ANONYMOUS = -1


class Refused(Exception):
    """The event isn't applicable; the text is the judge's code for why."""


class PyengineAdapter:
    """One engine per symbol, as the judge's order ids are unique within a symbol only."""

    metadata: EngineMetadata = EngineMetadata("pyengine", "in-tree", "Cython")

    def __init__(self, config: ConformanceConfig) -> None:
        self.config = config
        self.engines: dict[str, Engine] = {}

    def open_book(self, symbol: str) -> Book:
        """Find the book of a symbol; the first mention makes it."""
        if symbol not in self.engines:
            lot = Decimal(1).scaleb(-self.config.quantity_decimal_places)
            grid = Instrument(symbol, canonical_decimal(self.config.tick_size), lot)
            self.engines[symbol] = Engine([grid], self_trade=POLICIES[self.config.self_trade_policy])
        return self.engines[symbol].book(symbol)

    def apply(self, event: MarketEvent, index: int) -> Observation:
        """Give one event to the engine and report what it did and what its books hold."""
        trades: tuple[TradeFill, ...] = ()
        try:
            trades = self.fills(event.symbol, getattr(self, event.op)(event))
            outcome = Outcome("applied")
        except Refused as refusal:
            outcome = Outcome("rejected", str(refusal))
        state = self.snapshot()
        return Observation(index, outcome, trades, state.digest(), state.order_count)

    def new(self, event: MarketEvent) -> Result:
        """Submit an order. Prices are snapped to the grid, as the judge does it."""
        book = self.open_book(event.symbol)
        user = self.user(event)
        side = Side.BUY if event.side is OrderSide.BUY else Side.SELL
        lots = self.lots(event.quantity)
        try:
            if event.order_type is OrderType.MARKET:
                return self.done(book.submit_market(side, lots, event.order_id, user))
            ticks = self.ticks(event.price)
            return self.done(book.submit(side, ticks, lots, event.order_id, user, TIFS[event.order_type]))
        except FieldError:
            raise Refused("INVALID_ORDER") from None

    def cancel(self, event: MarketEvent) -> Result:
        """Cancel an order."""
        return self.done(self.known_book(event).cancel(event.order_id))

    def reduce(self, event: MarketEvent) -> Result:
        """Take off some quantity in place; all of it is a cancel."""
        book = self.known_book(event)
        order = self.engines[event.symbol].order(event.order_id)
        if order is None:
            raise Refused("ORDER_NOT_ACTIVE")
        left = order.qty_lots - self.lots(event.quantity)
        if left < 0:
            raise Refused("INVALID_ORDER")
        if left == 0:
            return self.cancel(event)
        return self.done(book.amend(event.order_id, order.price_ticks, left))

    def replace(self, event: MarketEvent) -> Result:
        """Amend, which loses the place, except where our amend would keep it and the judge wants it lost."""
        book = self.known_book(event)
        order = self.engines[event.symbol].order(event.order_id)
        if order is None:
            raise Refused("ORDER_NOT_ACTIVE")
        ticks = order.price_ticks if event.price is None else self.ticks(event.price)
        lots = order.qty_lots if event.quantity is None else self.lots(event.quantity)
        if ticks <= 0 or lots <= 0:
            raise Refused("INVALID_REPLACEMENT")
        if ticks != order.price_ticks or lots > order.qty_lots:
            return self.done(book.amend(event.order_id, ticks, lots))
        self.done(book.cancel(event.order_id))
        return self.done(book.submit(order.side, ticks, lots, event.order_id, order.user))

    def clear(self, event: MarketEvent) -> Result:
        """Empty one book."""
        return self.done(self.open_book(event.symbol).mass_cancel())

    def known_book(self, event: MarketEvent) -> Book:
        """Find a book that has been mentioned; a cancel opens none."""
        if event.symbol not in self.engines:
            raise Refused("ORDER_NOT_ACTIVE")
        return self.open_book(event.symbol)

    def user(self, event: MarketEvent) -> int:
        """Intern the owner; nobody is nobody."""
        return 0 if event.owner == ANONYMOUS else self.engines[event.symbol].user(str(event.owner))

    def ticks(self, price: float | None) -> int:
        """Snap a price to ticks."""
        assert price is not None
        return round(price / self.config.tick_size)

    def lots(self, quantity: float | None) -> int:
        """Convert a quantity to lots."""
        assert quantity is not None
        return int(Decimal(str(quantity)).scaleb(self.config.quantity_decimal_places))

    @staticmethod
    def done(result: Result) -> Result:
        """Pass a result on, or translate the refusal."""
        codes = {Reason.DUPLICATE_ORDER_ID: "DUPLICATE_ORDER_ID", Reason.UNKNOWN_ORDER: "ORDER_NOT_ACTIVE"}
        if result.status in codes:
            raise Refused(codes[result.status])
        return result

    def decimals(self, ticks: int, lots: int, grid: Instrument) -> tuple[str, str]:
        """Write a price and a quantity as the judge does."""
        places = self.config.quantity_decimal_places
        return canonical_decimal(grid.ticks_to_price(ticks)), canonical_decimal(grid.lots_to_qty(lots), places)

    def fills(self, symbol: str, result: Result) -> tuple[TradeFill, ...]:
        """Report the trades of one call."""
        grid = self.open_book(symbol).instrument
        return tuple(
            TradeFill(symbol, t.buy_order_id, t.sell_order_id, *self.decimals(t.price_ticks, t.qty_lots, grid))
            for t in result.trades
        )

    def snapshot(self) -> BookState:
        """Read every book, queues in the engine's own order."""
        return BookState(tuple(self.book_snapshot(symbol) for symbol in sorted(self.engines)))

    def book_snapshot(self, symbol: str) -> BookSnapshot:
        """Read both queues of one book."""
        engine, book = self.engines[symbol], self.open_book(symbol)
        queues: dict[int, list[RestingOrder]] = {Side.BUY: [], Side.SELL: []}
        for order in book.orders():
            owner = int(engine.user_name(int(order["user"]))) if order["user"] else ANONYMOUS
            texts = self.decimals(int(order["price_ticks"]), int(order["qty_lots"]), book.instrument)
            queues[int(order["side"])].append(RestingOrder(int(order["order_id"]), *texts, owner))
        return BookSnapshot(symbol, tuple(queues[Side.BUY]), tuple(queues[Side.SELL]))

    def close(self) -> None:
        """Let the engines go."""
        self.engines.clear()


@pytest.mark.parametrize("name", CASES)
def test_fixed_case_conforms(name: str, tmp_path: Path) -> None:
    suite = copy_bundled_conformance_suite(tmp_path / "suite", suite_version="v2")
    case = next(case for case in suite.cases if case.name == name)
    report = run_conformance(case.load_events(), PyengineAdapter, config=case.config, trace_name=case.name)
    assert report.conformant, report.divergence


def test_only_pro_rata_is_left_out(tmp_path: Path) -> None:
    suite = copy_bundled_conformance_suite(tmp_path / "suite", suite_version="v2")
    assert {case.name for case in suite.cases} - set(CASES) == {"pro-rata-allocation"}


@pytest.mark.parametrize("seed", [42, 20260])
@pytest.mark.parametrize("profile", PROFILES)
def test_profile_qualifies(profile: str, seed: int) -> None:
    result = run_qualification(
        PyengineAdapter,
        profile,
        suite_version="v2",
        seed=seed,
        traces=5,
        events_per_trace=200,
        max_minimize_runs=50,
    )
    failure = result.campaign.failure
    assert failure is None, failure.original_report.divergence
    assert result.qualified, [case["report"]["divergence"] for case in result.suite_report["cases"]]
