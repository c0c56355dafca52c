"""Cancel, amend and mass cancel: whose order, which place in the queue, and in what order events come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyengine.records import EventFlag, Flag, Kind, Reason, Side, Status

if TYPE_CHECKING:
    from pyengine import Book, Consumer, Engine

BUY, SELL = Side.BUY, Side.SELL


def queue(book: Book) -> list[int]:
    """List the ids of the resting orders in price-time order, bids first."""
    return [int(order_id) for order_id in book.orders()["order_id"]]


@pytest.fixture
def events(engine: Engine) -> Consumer:
    """Listen to everything that the engine says."""
    return engine.attach(required=True)


@pytest.mark.parametrize("lots", [1, 4, 5])
def test_smaller_or_equal_size_keeps_the_place(book: Book, events: Consumer, lots: int) -> None:
    book.submit(BUY, 100, 5, 1)
    book.submit(BUY, 100, 5, 2)
    events.read()
    assert book.amend(1, 100, lots).status == Status.REPLACED
    assert queue(book) == [1, 2]
    [replaced] = events.read()
    assert (replaced["kind"], replaced["flags"]) == (Kind.REPLACED, EventFlag.KEPT_PLACE)
    assert (replaced["qty_lots"], replaced["value"], replaced["price_ticks"]) == (lots, 5, 100)
    assert book.best_bid() == (100, lots + 5, 2)


def test_larger_size_loses_the_place(book: Book, events: Consumer) -> None:
    book.submit(BUY, 100, 5, 1)
    book.submit(BUY, 100, 5, 2)
    events.read()
    assert book.amend(1, 100, 6).status == Status.REPLACED
    assert queue(book) == [2, 1]
    assert [e["flags"] for e in events.read()] == [0]


def test_larger_size_of_the_only_order_of_a_level_stays_alone(engine: Engine, book: Book) -> None:
    book.submit(BUY, 100, 5, 1)
    book.amend(1, 100, 9)
    assert book.best_bid() == (100, 9, 1)
    engine.check()


def test_new_price_loses_the_place_there_and_back(book: Book) -> None:
    for order_id in (1, 2, 3):
        book.submit(BUY, 100, 5, order_id)
    book.amend(1, 99, 5)
    assert queue(book) == [2, 3, 1]
    book.amend(1, 100, 5)
    assert queue(book) == [2, 3, 1]
    book.amend(3, 101, 5)
    assert queue(book) == [3, 2, 1]


def test_amended_quantity_is_the_open_one_not_the_original(book: Book) -> None:
    book.submit(BUY, 100, 10, 1)
    book.submit(SELL, 100, 4, 2)
    assert book.amend(1, 100, 6).status == Status.REPLACED
    assert book.best_bid() == (100, 6, 1)


def test_amend_into_the_other_side_trades_at_the_makers_price_and_rests(book: Book, events: Consumer) -> None:
    book.submit(SELL, 100, 3, 1)
    book.submit(SELL, 101, 3, 2)
    book.submit(BUY, 90, 5, 3)
    events.read()
    result = book.amend(3, 102, 8)
    assert (result.status, result.filled_lots, result.remaining_lots) == (Status.PARTIALLY_FILLED, 6, 2)
    assert [(t.maker_id, t.price_ticks) for t in result.trades] == [(1, 100), (2, 101)]
    assert [e["kind"] for e in events.read()] == [Kind.REPLACED, Kind.TRADE, Kind.TRADE]
    assert book.best_bid() == (102, 2, 1)
    assert book.best_ask() is None


def test_amend_that_fills_whole_is_done(book: Book) -> None:
    book.submit(SELL, 100, 3, 1)
    book.submit(BUY, 90, 3, 2)
    assert book.amend(2, 100, 3).status == Status.FILLED
    assert queue(book) == []
    assert book.amend(2, 100, 3).status == Reason.UNKNOWN_ORDER


def test_post_only_amend_that_would_trade_leaves_the_order_as_it_was(engine: Engine, book: Book) -> None:
    book.submit(SELL, 100, 3, 1)
    book.submit(BUY, 90, 3, 2)
    before = engine.state_hash()
    assert book.amend(2, 100, 3, flags=Flag.POST_ONLY).status == Reason.POST_ONLY_WOULD_TRADE
    assert engine.state_hash() == before
    assert book.amend(2, 99, 3, flags=Flag.POST_ONLY).status == Status.REPLACED


def test_amend_of_one_order_leaves_the_rest_of_its_level_alone(engine: Engine, book: Book) -> None:
    for order_id in range(1, 6):
        book.submit(SELL, 100, order_id, order_id)
    book.amend(3, 105, 3)
    assert book.best_ask() == (100, 12, 4)
    assert queue(book) == [1, 2, 4, 5, 3]
    engine.check()


def test_only_the_owner_or_nobody_in_particular_may_touch_an_order(engine: Engine, book: Book) -> None:
    alice, bob = engine.user("alice"), engine.user("bob")
    book.submit(BUY, 100, 5, 1, user=alice)
    before = engine.state_hash()
    assert book.cancel(1, user=bob).status == Reason.NOT_OWNER
    assert book.amend(1, 100, 4, user=bob).status == Reason.NOT_OWNER
    assert engine.cancel(1, user="bob").status == Reason.NOT_OWNER
    assert engine.state_hash() == before
    assert book.amend(1, 100, 4).status == Status.REPLACED
    assert book.amend(1, 100, 3, user=alice).status == Status.REPLACED
    assert book.cancel(1, user=alice).status == Status.CANCELLED


def test_anonymous_order_has_no_owner_to_claim_it(engine: Engine, book: Book) -> None:
    book.submit(BUY, 100, 5, 1)
    assert book.cancel(1, user=engine.user("alice")).status == Reason.NOT_OWNER
    assert book.cancel(1).status == Status.CANCELLED


def test_cancelled_event_says_what_was_taken_off(engine: Engine, book: Book, events: Consumer) -> None:
    book.submit(BUY, 100, 5, 1, user=engine.user("alice"))
    book.submit(SELL, 100, 2, 2)
    events.read()
    assert book.cancel(1, ts_ns=77).status == Status.CANCELLED
    [cancelled] = events.read()
    assert (cancelled["kind"], cancelled["reason"], cancelled["ts_ns"]) == (Kind.CANCELLED, Reason.USER, 77)
    assert (cancelled["qty_lots"], cancelled["value"], cancelled["price_ticks"]) == (3, 0, 100)
    assert (cancelled["side"], int(cancelled["detail"]) & 0xFFFFFFFF) == (BUY, 1)


# Mass cancel


@pytest.fixture
def crowded(engine: Engine) -> Engine:
    """Fill two books with orders of two users and of nobody, ids in order of entry."""
    users = [0, engine.user("alice"), engine.user("bob")]
    order_id = 0
    for price in (0, 2, 1):
        for index, symbol in enumerate(("ETH-USD", "BTC-USD")):
            for side, base in ((SELL, 110), (BUY, 90)):
                order_id += 1
                user = users[(order_id + index) % 3]
                engine.book(symbol).submit(side, base + price, 1, order_id, user=user)
    return engine


def removed(events: Consumer) -> list[int]:
    """Read which orders a mass cancel took off."""
    batch = events.read()
    assert set(batch["kind"]) <= {Kind.CANCELLED}
    assert set(batch["reason"]) <= {Reason.MASS}
    return [int(order_id) for order_id in batch["order_id"]]


def test_mass_cancel_goes_by_book_then_bids_then_asks_in_price_time_order(crowded: Engine) -> None:
    events = crowded.attach(required=True)
    expected = [int(i) for symbol in ("BTC-USD", "ETH-USD") for i in crowded.book(symbol).orders()["order_id"]]
    assert crowded.mass_cancel().status == Status.MASS_CANCELLED
    assert removed(events) == expected
    assert len(crowded.book("BTC-USD").orders()) == 0
    crowded.check()


def test_mass_cancel_of_a_user_goes_by_order_of_entry(crowded: Engine) -> None:
    events = crowded.attach(required=True)
    alice = crowded.user("alice")
    theirs = {int(o["order_id"]) for s in ("BTC-USD", "ETH-USD") for o in crowded.book(s).orders() if o["user"] == alice}
    crowded.mass_cancel(user="alice")
    assert removed(events) == sorted(theirs)
    assert theirs
    crowded.check()


def test_amend_doesnt_change_the_order_of_entry(engine: Engine, book: Book) -> None:
    alice = engine.user("alice")
    for order_id in (1, 2, 3):
        book.submit(BUY, 100, 1, order_id, user=alice)
    book.amend(1, 99, 5)
    events = engine.attach(required=True)
    book.mass_cancel(user=alice)
    assert removed(events) == [1, 2, 3]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_mass_cancel_of_one_side_of_one_symbol_spares_the_rest(crowded: Engine, side: str) -> None:
    number = Side[side.upper()]
    other = crowded.book("ETH-USD").state_hash()
    crowded.mass_cancel(symbol="BTC-USD", side=side)
    assert {int(s) for s in crowded.book("BTC-USD").orders()["side"]} == {3 - number}
    assert crowded.book("ETH-USD").state_hash() == other


def test_mass_cancel_on_a_handle_stays_in_its_book(crowded: Engine) -> None:
    crowded.book("BTC-USD").mass_cancel(user=crowded.user("bob"))
    left = {int(u) for u in crowded.book("BTC-USD").orders()["user"]}
    assert crowded.user("bob") not in left
    assert crowded.user("bob") in {int(u) for u in crowded.book("ETH-USD").orders()["user"]}


def test_mass_cancel_of_nothing_is_fine(engine: Engine) -> None:
    events = engine.attach(required=True)
    assert engine.mass_cancel().status == Status.MASS_CANCELLED
    assert len(events.read()) == 0
