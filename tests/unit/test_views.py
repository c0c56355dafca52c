"""Books, users and what can be seen of them: levels, orders, hashes, wide price domains, many books."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from pyengine import Engine, FieldError, Instrument, UnknownInstrument
from pyengine.records import LEVEL_DTYPE, ORDER_STATE_DTYPE, Reason, Side, Status

BUY, SELL = Side.BUY, Side.SELL
LARGEST = 2**62 - 1


@pytest.fixture
def ladder() -> Engine:
    """Make a book of three bid and two ask levels, two orders on each but the last."""
    engine = Engine([Instrument("X", "0.5", "0.1")])
    book, alice = engine.book("X"), engine.user("alice")
    for order_id, (side, price) in enumerate([(BUY, 98), (BUY, 100), (BUY, 99), (SELL, 101), (SELL, 103)], start=1):
        book.submit(side, price, order_id, order_id, user=alice)
        if price != 103:
            book.submit(side, price, 10, order_id + 10)
    return engine


def test_best_prices_come_with_size_and_number_of_orders(ladder: Engine) -> None:
    assert ladder.book("X").best_bid() == (100, 12, 2)
    assert ladder.book("X").best_ask() == (101, 14, 2)


def test_empty_book_has_no_best_prices_and_empty_arrays(engine: Engine) -> None:
    book = engine.book("BTC-USD")
    assert book.best_bid() is None
    assert book.best_ask() is None
    bids, asks = book.depth()
    assert (len(bids), len(asks), len(book.orders())) == (0, 0, 0)
    assert bids.dtype == LEVEL_DTYPE
    assert book.orders().dtype == ORDER_STATE_DTYPE


def test_depth_goes_from_the_best_outwards(ladder: Engine) -> None:
    bids, asks = ladder.book("X").depth()
    assert bids.tolist() == [(100, 12, 2), (99, 13, 2), (98, 11, 2)]
    assert asks.tolist() == [(101, 14, 2), (103, 5, 1)]


@pytest.mark.parametrize("levels", [0, 1, 2, 3, 4, 2**31])
def test_depth_gives_no_more_levels_than_asked_for(ladder: Engine, levels: int) -> None:
    bids, asks = ladder.book("X").depth(levels)
    assert (len(bids), len(asks)) == (min(levels, 3), min(levels, 2))


def test_orders_stand_in_price_time_order_bids_first(ladder: Engine) -> None:
    orders = ladder.book("X").orders()
    assert orders["order_id"].tolist() == [2, 12, 3, 13, 1, 11, 4, 14, 5]
    assert orders["side"].tolist() == [1] * 6 + [2] * 3
    assert orders["user"].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert ladder.book("X").orders(SELL)["order_id"].tolist() == [4, 14, 5]
    assert ladder.book("X").orders(BUY)["order_id"].tolist() == [2, 12, 3, 13, 1, 11]


def test_views_are_copies_that_later_commands_dont_change(ladder: Engine) -> None:
    book = ladder.book("X")
    orders, (bids, _) = book.orders(), book.depth()
    before = orders.copy(), bids.copy()
    book.mass_cancel()
    for order_id in range(100, 120):
        book.submit(BUY, 90, 77, order_id)
    assert np.array_equal(orders, before[0])
    assert np.array_equal(bids, before[1])


def test_single_order_is_seen_by_its_id(ladder: Engine) -> None:
    view = ladder.order(4)
    assert view is not None
    assert (view.order_id, view.price_ticks, view.qty_lots, view.user, view.side) == (4, 101, 4, 1, SELL)
    assert ladder.order(99) is None
    assert ladder.order(2**64 - 1) is None


# The state hash


def small_book(order: list[int], **changes: int) -> Engine:
    """Make one level of three orders that enter in the given order."""
    engine = Engine([Instrument("X"), Instrument("Y")])
    engine.user("alice")
    for order_id in order:
        fields = {"price_ticks": 100, "qty_lots": 5, "user": 0}
        if order_id == 2:
            fields |= changes
        engine.book("X").submit(BUY, fields["price_ticks"], fields["qty_lots"], order_id, user=fields["user"])
    return engine


def test_hash_covers_the_order_of_the_queue() -> None:
    hashes = {small_book(list(order)).state_hash() for order in ([1, 2, 3], [1, 3, 2], [2, 1, 3], [3, 2, 1])}
    assert len(hashes) == 4
    assert small_book([1, 2, 3]).state_hash() == small_book([1, 2, 3]).state_hash()


@pytest.mark.parametrize("changes", [{"price_ticks": 99}, {"qty_lots": 6}, {"user": 1}])
def test_hash_covers_each_field_of_an_order(changes: dict[str, int]) -> None:
    assert small_book([1, 2, 3], **changes).state_hash() != small_book([1, 2, 3]).state_hash()


def test_hash_covers_which_book_and_side_an_order_is_in() -> None:
    hashes = set()
    for symbol in ("X", "Y"):
        for side in Side:
            engine = Engine([Instrument("X"), Instrument("Y")])
            engine.book(symbol).submit(side, 100, 1, 1)
            hashes.add(engine.state_hash())
    assert len(hashes) == 4


def test_hash_forgets_how_the_state_came_about() -> None:
    direct, roundabout = small_book([1, 2, 3]), small_book([1, 2, 3])
    book = roundabout.book("X")
    book.submit(SELL, 110, 4, 50)
    book.submit_market(BUY, 4)
    book.submit(BUY, 99, 1, 51)
    book.cancel(51)
    assert roundabout.state_hash() == direct.state_hash()
    assert book.state_hash() == direct.book("X").state_hash()


def test_hash_is_a_64_bit_integer() -> None:
    assert 0 <= small_book([1, 2, 3]).state_hash() < 2**64
    assert type(small_book([]).state_hash()) is int


# Price domain and size


def test_lowest_and_highest_price_live_in_one_book() -> None:
    engine = Engine([Instrument("X")])
    book = engine.book("X")
    assert book.submit(BUY, 1, 1, 1).status == Status.RESTING
    assert book.submit(SELL, LARGEST, 1, 2).status == Status.RESTING
    assert book.submit(SELL, 2**61, 1, 3).status == Status.RESTING
    assert (book.best_bid(), book.best_ask()) == ((1, 1, 1), (2**61, 1, 1))
    engine.check()
    assert [t.price_ticks for t in book.submit_market(BUY, 2).trades] == [2**61, LARGEST]
    engine.check()


def test_memory_follows_the_orders_not_the_span_of_their_prices() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    engine = Engine([Instrument("X")], ring_capacity=1024)
    book = engine.book("X")
    for height in range(62):
        book.submit(SELL, 2**height, 1, 2 * height)
        book.submit(SELL, min(2**height + 2**height // 3, LARGEST), 1, 2 * height + 1)
    engine.check()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 32 * 1024


def test_every_price_of_a_range_can_be_a_level() -> None:
    engine = Engine([Instrument("X")])
    book = engine.book("X")
    prices = np.random.default_rng(5).permutation(np.arange(1, 5001))
    for price in prices.tolist():
        book.submit(BUY, price, 1, price)
    assert book.depth()[0]["price_ticks"].tolist() == list(range(5000, 0, -1))
    engine.check()
    for price in prices.tolist()[:4990]:
        book.cancel(price)
    assert book.depth()[0]["price_ticks"].tolist() == sorted(prices.tolist()[4990:], reverse=True)
    engine.check()


def test_tens_of_thousands_of_books_most_of_them_empty() -> None:
    engine = Engine(Instrument(f"S{i}") for i in range(30_000))
    assert len(engine.instruments) == 30_000
    for index in (0, 1, 12_345, 29_999):
        book = engine.book(f"S{index}")
        assert book.index == index
        assert book.submit(BUY, 100, 1, index).status == Status.RESTING
    engine.check()
    assert engine.mass_cancel().status == Status.MASS_CANCELLED
    assert engine.book("S12345").best_bid() is None


# Books and users


def test_instruments_can_be_added_later() -> None:
    engine = Engine()
    book = engine.add_instrument(Instrument("LATE", "0.01"))
    assert (book.index, book.instrument.symbol) == (0, "LATE")
    assert engine.submit("LATE", "buy", qty=1, price="1.00").status == Status.RESTING


def test_symbol_can_only_be_added_once(engine: Engine) -> None:
    with pytest.raises(FieldError):
        engine.add_instrument(Instrument("BTC-USD"))
    assert len(engine.instruments) == 2


def test_unknown_symbol_is_a_key_error_that_reads_plainly(engine: Engine) -> None:
    with pytest.raises(UnknownInstrument) as caught:
        engine.book("DOGE")
    assert isinstance(caught.value, KeyError)
    assert "DOGE" in str(caught.value)


def test_users_are_numbered_from_one_in_order_and_once() -> None:
    engine = Engine()
    assert [engine.user(name) for name in ("alice", "bob", "alice", "carol")] == [1, 2, 1, 3]
    assert engine.user_name(2) == "bob"


def test_many_users_each_own_their_orders(engine: Engine) -> None:
    book = engine.book("BTC-USD")
    for number in range(1, 5001):
        assert engine.user(f"u{number}") == number
        book.submit(BUY, 100, 1, number, user=number)
    engine.check()
    assert book.cancel(77, user=78).status == Reason.NOT_OWNER
    book.mass_cancel(user=77)
    assert engine.order(77) is None
    assert book.best_bid() == (100, 4999, 4999)
    engine.check()
