"""What one order does to a book: priority, prices, remainders, and the mistakes that others have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyengine.records import Flag, Reason, Side, Status, TimeInForce

if TYPE_CHECKING:
    from pyengine import Book, Engine

BUY, SELL = Side.BUY, Side.SELL
IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def resting(book: Book) -> list[tuple[int, int, int]]:
    """List id, price and open lots of every resting order."""
    return [(int(o["order_id"]), int(o["price_ticks"]), int(o["qty_lots"])) for o in book.orders()]


@pytest.mark.parametrize(("maker", "taker", "limit"), [(SELL, BUY, 105), (BUY, SELL, 95)])
def test_trade_is_printed_at_the_makers_price(book: Book, maker: Side, taker: Side, limit: int) -> None:
    book.submit(maker, 100, 5, 1)
    result = book.submit(taker, limit, 5, 2)
    assert result.status == Status.FILLED
    [trade] = result.trades
    assert (trade.price_ticks, trade.qty_lots, trade.maker_id, trade.taker_id, trade.side) == (100, 5, 1, 2, taker)


def test_better_price_goes_first_then_the_older_order(book: Book) -> None:
    for order_id, price in ((1, 101), (2, 100), (3, 100), (4, 99)):
        book.submit(SELL, price, 1, order_id)
    assert [t.maker_id for t in book.submit_market(BUY, 4).trades] == [4, 2, 3, 1]


def test_partly_filled_maker_keeps_its_place(book: Book) -> None:
    book.submit(SELL, 100, 5, 1)
    book.submit(SELL, 100, 5, 2)
    book.submit(BUY, 100, 2, 3)
    assert resting(book) == [(1, 100, 3), (2, 100, 5)]
    assert book.best_ask() == (100, 8, 2)
    assert [t.maker_id for t in book.submit(BUY, 100, 4, 4).trades] == [1, 2]


def test_limit_remainder_rests_at_its_own_price(book: Book) -> None:
    book.submit(SELL, 100, 2, 1)
    result = book.submit(BUY, 103, 5, 2)
    assert (result.status, result.filled_lots, result.remaining_lots) == (Status.PARTIALLY_FILLED, 2, 3)
    assert book.best_bid() == (103, 3, 1)
    assert book.best_ask() is None


def test_sweep_stops_at_the_limit(book: Book) -> None:
    for order_id, price in ((1, 100), (2, 101), (3, 102)):
        book.submit(SELL, price, 1, order_id)
    result = book.submit(BUY, 101, 9, 4)
    assert [t.price_ticks for t in result.trades] == [100, 101]
    assert resting(book) == [(4, 101, 7), (3, 102, 1)]


def test_ioc_remainder_is_cancelled_and_doesnt_rest(book: Book) -> None:
    book.submit(SELL, 100, 2, 1)
    result = book.submit(BUY, 100, 5, 2, tif=IOC)
    assert (result.status, result.reason, result.filled_lots) == (Status.CANCELLED, Reason.IOC, 2)
    assert result.remaining_lots == 0
    assert resting(book) == []
    assert book.cancel(2).status == Reason.UNKNOWN_ORDER


def test_ioc_that_fills_whole_is_filled(book: Book) -> None:
    book.submit(SELL, 100, 5, 1)
    assert book.submit(BUY, 100, 5, 2, tif=IOC).status == Status.FILLED


@pytest.mark.parametrize("lots", [6, 4, 100])
def test_fok_that_cant_fill_whole_is_killed_without_any_trade(engine: Engine, book: Book, lots: int) -> None:
    for order_id, price in ((1, 100), (2, 101), (3, 102)):
        book.submit(SELL, price, 1, order_id)
    before = engine.state_hash()
    result = book.submit(BUY, 101, lots, 4, tif=FOK)
    assert (result.status, result.reason, result.filled_lots) == (Status.CANCELLED, Reason.FOK, 0)
    assert len(result.trades) == 0
    assert engine.state_hash() == before


def test_fok_that_can_fill_fills_across_levels(book: Book) -> None:
    for order_id, price in ((1, 100), (2, 101), (3, 102)):
        book.submit(SELL, price, 1, order_id)
    result = book.submit(BUY, 102, 3, 4, tif=FOK)
    assert result.status == Status.FILLED
    assert [t.price_ticks for t in result.trades] == [100, 101, 102]


def test_market_on_an_empty_book_is_cancelled_for_want_of_liquidity(book: Book) -> None:
    result = book.submit_market(BUY, 5, 1)
    assert (result.status, result.reason, result.filled_lots) == (Status.CANCELLED, Reason.NO_LIQUIDITY, 0)
    assert resting(book) == []


def test_market_remainder_is_cancelled_after_its_fills(book: Book) -> None:
    book.submit(SELL, 100, 2, 1)
    result = book.submit_market(BUY, 5, 2)
    assert (result.status, result.reason, result.filled_lots) == (Status.CANCELLED, Reason.NO_LIQUIDITY, 2)
    assert resting(book) == []


@pytest.mark.parametrize("order_id", [0, 1, 2, 2**31, 2**32, 2**63, 2**64 - 1])
def test_cancel_of_an_unknown_id_is_refused(engine: Engine, book: Book, order_id: int) -> None:
    assert book.cancel(order_id).status == Reason.UNKNOWN_ORDER
    book.submit(BUY, 100, 1, 7)
    assert book.cancel(order_id).status == Reason.UNKNOWN_ORDER
    assert book.amend(order_id, 100, 1).status == Reason.UNKNOWN_ORDER
    assert engine.cancel(order_id).status == Reason.UNKNOWN_ORDER
    engine.check()


def test_filled_order_can_be_neither_cancelled_nor_amended(engine: Engine, book: Book) -> None:
    book.submit(SELL, 100, 5, 1)
    book.submit(BUY, 100, 5, 2)
    before = engine.state_hash()
    for order_id in (1, 2):
        assert book.cancel(order_id).status == Reason.UNKNOWN_ORDER
        assert book.amend(order_id, 100, 5).status == Reason.UNKNOWN_ORDER
    assert engine.state_hash() == before
    assert engine.order(1) is None


def test_cancelled_order_cant_be_cancelled_again(book: Book) -> None:
    book.submit(SELL, 100, 5, 1)
    assert book.cancel(1).status == Status.CANCELLED
    assert book.cancel(1).status == Reason.UNKNOWN_ORDER


def test_id_is_free_again_once_its_order_is_done(book: Book) -> None:
    book.submit(SELL, 100, 5, 1)
    assert book.submit(SELL, 101, 5, 1).status == Reason.DUPLICATE_ORDER_ID
    book.submit(BUY, 100, 5, 2)
    assert book.submit(SELL, 101, 5, 1).status == Status.RESTING
    book.cancel(1)
    assert book.submit(BUY, 99, 5, 1).status == Status.RESTING
    assert book.submit(SELL, 99, 2, 2, tif=IOC).status == Status.FILLED
    assert book.submit(SELL, 98, 4, 2, tif=IOC).status == Status.CANCELLED
    assert book.submit(SELL, 97, 1, 2).status == Status.RESTING
    assert resting(book) == [(2, 97, 1)]


def test_ids_are_one_namespace_for_all_books(engine: Engine, book: Book) -> None:
    book.submit(BUY, 100, 1, 1)
    other = engine.book("ETH-USD")
    assert other.submit(BUY, 100, 1, 1).status == Reason.DUPLICATE_ORDER_ID
    assert other.cancel(1).status == Reason.WRONG_INSTRUMENT
    assert other.amend(1, 100, 1).status == Reason.WRONG_INSTRUMENT
    assert engine.cancel(1).status == Status.CANCELLED


@pytest.mark.parametrize(("side", "prices"), [(BUY, [100, 99, 98]), (SELL, [100, 101, 102])])
def test_no_phantom_best_price_after_the_last_order_of_a_level_goes(book: Book, side: Side, prices: list[int]) -> None:
    best = book.best_bid if side == BUY else book.best_ask
    for order_id, price in enumerate(prices):
        book.submit(side, price, 1, order_id)
    for order_id, price in enumerate(prices):
        assert best() == (price, 1, 1)
        book.cancel(order_id)
    assert best() is None
    assert book.submit_market(SELL if side == BUY else BUY, 1).filled_lots == 0
    book.submit(side, prices[-1], 2, 9)
    assert best() == (prices[-1], 2, 1)


def test_best_price_follows_fills_amends_and_mass_cancels(book: Book) -> None:
    for order_id, price in enumerate((100, 101, 102, 103)):
        book.submit(SELL, price, 1, order_id)
    book.submit_market(BUY, 1)
    assert book.best_ask() == (101, 1, 1)
    book.amend(1, 110, 1)
    assert book.best_ask() == (102, 1, 1)
    book.amend(1, 90, 1)
    assert book.best_ask() == (90, 1, 1)
    book.mass_cancel()
    assert book.best_ask() is None


def test_engine_given_ids_avoid_live_ones(book: Book) -> None:
    assert book.submit(BUY, 90, 1).order_id == 1
    book.submit(BUY, 90, 1, 2)
    book.submit(BUY, 90, 1, 4)
    assert [book.submit(BUY, 90, 1).order_id for _ in range(3)] == [3, 5, 6]


def test_refused_order_uses_up_no_id(book: Book) -> None:
    book.submit(BUY, 90, 1, 1)
    book.submit(SELL, 95, 1, 2)
    assert book.submit(BUY, 95, 1, flags=Flag.POST_ONLY).status == Reason.POST_ONLY_WOULD_TRADE
    book.cancel(1)
    assert book.submit(BUY, 90, 1).order_id == 1


@pytest.mark.parametrize(("side", "crossing", "slid"), [(BUY, 105, 99), (BUY, 100, 99), (SELL, 80, 91), (SELL, 90, 91)])
def test_post_only_is_refused_or_slides_one_tick_off_the_touch(
    engine: Engine, book: Book, side: Side, crossing: int, slid: int
) -> None:
    book.submit(SELL, 100, 1, 1)
    book.submit(BUY, 90, 1, 2)
    before = engine.state_hash()
    result = book.submit(side, crossing, 5, 3, flags=Flag.POST_ONLY)
    assert (result.status, result.filled_lots) == (Reason.POST_ONLY_WOULD_TRADE, 0)
    assert engine.state_hash() == before
    assert book.submit(side, crossing, 5, 3, flags=Flag.POST_ONLY | Flag.SLIDE).status == Status.RESTING
    assert (3, slid, 5) in resting(book)


def test_post_only_that_doesnt_cross_rests_at_its_price(book: Book) -> None:
    book.submit(SELL, 100, 1, 1)
    book.submit(BUY, 95, 5, 2, flags=Flag.POST_ONLY | Flag.SLIDE)
    assert book.best_bid() == (95, 5, 1)


def test_post_only_cant_slide_below_the_lowest_price(book: Book) -> None:
    book.submit(SELL, 1, 1, 1)
    assert book.submit(BUY, 1, 5, 2, flags=Flag.POST_ONLY | Flag.SLIDE).status == Reason.POST_ONLY_WOULD_TRADE


def test_level_that_would_overflow_is_full(engine: Engine, book: Book) -> None:
    largest = 2**62 - 1
    for order_id, lots in ((1, largest), (2, largest), (3, 1)):
        assert book.submit(BUY, 1, lots, order_id).status == Status.RESTING
    assert book.best_bid() == (1, 2**63 - 1, 3)
    before = engine.state_hash()
    assert book.submit(BUY, 1, 1, 4).status == Reason.LEVEL_FULL
    assert engine.state_hash() == before
    book.submit(BUY, 2, 1, 5)
    assert book.amend(5, 1, 1).status == Reason.LEVEL_FULL
    assert book.amend(3, 1, 2).status == Reason.LEVEL_FULL
    assert book.amend(1, 1, largest).status == Status.REPLACED
    engine.check()
