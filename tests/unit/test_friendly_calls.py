"""The friendly forms: symbols, decimals, names and words in; decimals and lazy trades out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pyengine import Engine, Instrument
from pyengine.records import Kind, Reason, SelfTrade, Side, Status, TimeInForce


@pytest.fixture
def engine() -> Engine:
    """Make a book with real steps."""
    return Engine([Instrument("ETH-USD"), Instrument("BTC-USD", tick_size="0.01", lot_size="0.00000001")])


@pytest.mark.parametrize(
    ("qty", "price"),
    [("0.5", "6190.84"), (Decimal("0.5"), Decimal("6190.84")), (0.5, 6190.84), (np.float64(0.5), np.float64(6190.84))],
)
def test_every_way_to_write_a_number_is_the_same_order(engine: Engine, qty: Any, price: Any) -> None:
    result = engine.submit("BTC-USD", "buy", qty, price)
    assert (result.status, result.remaining_lots, result.remaining) == (Status.RESTING, 50_000_000, Decimal("0.5"))
    order = engine.order(result.order_id)
    assert order is not None
    assert (order.price, order.qty, order.side) == (Decimal("6190.84"), Decimal("0.5"), Side.BUY)


@pytest.mark.parametrize("side", ["buy", "BUY", "Buy", 1, Side.BUY])
def test_side_is_a_word_or_a_number(engine: Engine, side: Any) -> None:
    engine.submit("BTC-USD", side, 1, 100)
    assert engine.book("BTC-USD").best_bid() == (10_000, 10**8, 1)


def test_trades_are_decimals_at_the_makers_price(engine: Engine) -> None:
    engine.submit("BTC-USD", "sell", "0.3", "6190.84", order_id=7)
    result = engine.submit("BTC-USD", "buy", "0.5", "6200", order_id=8, ts_ns=99)
    assert (result.status, result.filled, result.remaining) == (
        Status.PARTIALLY_FILLED,
        Decimal("0.30000000"),
        Decimal("0.20000000"),
    )
    [trade] = result.trades
    assert (trade.price, trade.qty, trade.side, trade.ts_ns) == (Decimal("6190.84"), Decimal("0.3"), Side.BUY, 99)
    assert (trade.buy_order_id, trade.sell_order_id, trade.symbol) == (8, 7, "BTC-USD")


def test_order_without_a_price_is_a_market_order(engine: Engine) -> None:
    engine.submit("BTC-USD", "sell", "0.3", "6190.84")
    result = engine.submit("BTC-USD", "buy", "0.5")
    assert (result.status, result.reason) == (Status.CANCELLED, Reason.NO_LIQUIDITY)
    assert (result.filled, result.cancelled) == (Decimal("0.3"), Decimal("0.2"))


@pytest.mark.parametrize(("tif", "reason"), [("IOC", Reason.IOC), ("ioc", Reason.IOC), ("FOK", Reason.FOK), (2, Reason.FOK)])
def test_time_in_force_is_a_word_or_a_number(engine: Engine, tif: Any, reason: Reason) -> None:
    result = engine.submit("BTC-USD", "buy", 1, 100, tif=tif)
    assert (result.status, result.reason) == (Status.CANCELLED, reason)
    assert engine.submit("BTC-USD", "buy", 1, 100, tif=TimeInForce.GTC).status == Status.RESTING


def test_names_of_users_are_interned_on_the_way(engine: Engine) -> None:
    engine.submit("BTC-USD", "buy", 1, 100, user="alice", order_id=1)
    assert engine.user("alice") == 1
    assert engine.order(1).user == 1
    assert engine.cancel(1, user="bob").status == Reason.NOT_OWNER
    assert engine.cancel(1, user="alice").status == Status.CANCELLED


def test_self_trade_mode_can_be_given_to_one_order(engine: Engine) -> None:
    engine.submit("BTC-USD", "sell", 1, 100, user="alice")
    result = engine.submit("BTC-USD", "buy", 1, 100, user="alice", self_trade=SelfTrade.CANCEL_TAKER)
    assert (result.status, result.reason) == (Status.CANCELLED, Reason.SELF_TRADE)


def test_amend_changes_what_is_given_and_keeps_the_rest(engine: Engine) -> None:
    engine.submit("BTC-USD", "buy", "1", "100", order_id=1)
    engine.amend(1, qty="0.4")
    assert (engine.order(1).price, engine.order(1).qty) == (Decimal(100), Decimal("0.4"))
    engine.amend(1, price="101.5")
    assert (engine.order(1).price, engine.order(1).qty) == (Decimal("101.5"), Decimal("0.4"))


def test_post_only_and_slide(engine: Engine) -> None:
    engine.submit("BTC-USD", "sell", 1, "100")
    assert engine.submit("BTC-USD", "buy", 1, "100", post_only=True).status == Reason.POST_ONLY_WOULD_TRADE
    slid = engine.submit("BTC-USD", "buy", 1, "100", post_only=True, slide=True)
    assert slid.status == Status.RESTING
    assert engine.order(slid.order_id).price == Decimal("99.99")


def test_result_outlives_what_the_ring_forgets() -> None:
    engine = Engine([Instrument("X")], ring_capacity=64)
    book = engine.book("X")
    book.submit(2, 100, 5, 1)
    result = book.submit(1, 100, 5, 2)
    for number in range(500):
        book.submit(1, 50, 1, 10 + number)
    [trade] = result.trades
    assert (trade.maker_id, trade.taker_id, trade.qty_lots) == (1, 2, 5)


@pytest.mark.parametrize("makers", [1, 62, 63, 64, 65, 500])
def test_one_call_may_cause_more_events_than_the_ring_holds(makers: int) -> None:
    engine = Engine([Instrument("X")], ring_capacity=64)
    book = engine.book("X")
    for number in range(makers):
        book.submit(2, 100 + number, 1, number)
    result = book.submit_market(1, makers, 10**6)
    assert (result.status, result.filled_lots) == (Status.FILLED, makers)
    assert [t.maker_id for t in result.trades] == list(range(makers))
    assert [t.seq for t in result.trades] == list(range(makers + 2, 2 * makers + 2))
    engine.check()
    optional = engine.attach(required=False)
    for number in range(makers):
        book.submit(1, 50, 1, number)
    assert book.mass_cancel().status == Status.MASS_CANCELLED
    heard = np.concatenate([optional.read(), optional.read()])
    missed = sum(last - first + 1 for first, last in optional.missed)
    assert missed + len(heard) == 2 * makers
    assert heard["kind"][-1] == Kind.CANCELLED
    assert heard["seq"][-1] == engine.next_seq - 1
