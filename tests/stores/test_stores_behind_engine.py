"""An engine with its stores: after any stream of commands they hold what the books hold, queue order included."""

from __future__ import annotations

import numpy as np
import pytest
from command_streams import MIXES, Mix, random_rows, rows_of, streams
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_records import Command
from side_by_side import MODES, NAMES, as_call, call
from store_model import TradeModel

from pyengine import Engine, Instrument
from pyengine.errors import FieldError
from pyengine.records import SelfTrade, Side, Status
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Order, StoreClosed

SHARED = ["order_id", "price_ticks", "user", "side"]


def with_stores(capacity: int = 20, keep_finished: int | None = None) -> Engine:
    """Make an engine of three books with stores."""
    engine = Engine(
        [Instrument("BOOK-0"), Instrument("BOOK-1"), Instrument("BOOK-2", min_price=90, max_price=110, min_qty=2, max_qty=500)],
        order_store=InMemoryOrderStore(keep_finished=keep_finished),
        trade_store=InMemoryTradeStore(capacity),
    )
    for name in NAMES:
        engine.user(name, MODES[len(engine.order_store.names.users)])
    return engine


def assert_stores_agree(engine: Engine) -> None:
    """Compare the open orders of the store with the books, level by level and place by place."""
    store = engine.order_store
    store.check()
    engine.trade_store.check()
    assert store.unmatched_events == 0
    resting = 0
    for number, book in enumerate(engine.books):
        for side in Side:
            expected, found = book.orders(side), store.get_by_side_array(side, number)
            assert found[SHARED].tolist() == expected[SHARED].tolist()
            assert found["remaining_lots"].tolist() == expected["qty_lots"].tolist()
            resting += len(expected)
    assert store.open_count == resting


def assert_trades_agree(engine: Engine, trades: np.ndarray, capacity: int) -> None:
    """Compare the ring with all trades there were."""
    ring, model = engine.trade_store, TradeModel(capacity)
    for trade_id in trades["trade_id"].tolist():
        model.save(trade_id, 0)
    assert ring.get_recent_array(capacity).tobytes() == trades[::-1][:capacity].tobytes()
    assert (ring.total, len(ring)) == (model.total, len(model.held))
    assert ring.complete_for(capacity) == model.complete_for(capacity)


@settings(max_examples=150)
@given(streams(), st.lists(st.integers(1, 40), max_size=4))
def test_after_arrays_the_stores_hold_what_the_books_hold(stream: list[Command], cuts: list[int]) -> None:
    engine = with_stores()
    trades = []
    for part in np.split(rows_of(stream), np.minimum(np.cumsum(cuts, dtype=int), len(stream))):
        trades.append(engine.run(part).trades)
        assert_stores_agree(engine)
    assert_trades_agree(engine, np.concatenate(trades), 20)


@settings(max_examples=100)
@given(streams())
def test_after_calls_the_stores_hold_what_the_books_hold(stream: list[Command]) -> None:
    engine = with_stores()
    seen = []
    for command in stream:
        sayable = as_call(command)
        if sayable is None:
            continue
        try:
            result = call(engine, sayable)
        except FieldError:
            continue
        seen.extend(result.trades)
        assert_stores_agree(engine)
    assert engine.trade_store.get_recent(20) == seen[::-1][:20]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_after_a_long_stream_the_stores_hold_what_the_books_hold(mix: Mix) -> None:
    engine = with_stores(capacity=1000, keep_finished=100)
    rows = random_rows(np.random.default_rng(11), 60_000, mix)
    trades = []
    for part in np.array_split(rows, 6):
        trades.append(engine.run(part).trades)
        assert_stores_agree(engine)
        assert engine.order_store.finished_count <= 100
    assert_trades_agree(engine, np.concatenate(trades), 1000)


def test_statuses_and_sizes_follow_the_results() -> None:
    engine = with_stores()
    book = engine.books[0]
    for order_id, (lots, tif) in enumerate([(10, 0), (4, 0), (20, 1), (3, 2)], start=1):
        book.submit(1 + (order_id > 1), 100, lots, order_id, 0, tif)
    found = {order.order_id: (order.status, order.filled_lots, order.remaining_lots) for order in engine.order_store.get_all()}
    assert found == {
        1: (Status.FILLED, 10, 0),
        2: (Status.FILLED, 4, 0),
        3: (Status.CANCELLED, 6, 14),
        4: (Status.CANCELLED, 0, 3),
    }


def test_names_are_the_engines() -> None:
    store = InMemoryOrderStore()
    engine = Engine([Instrument("BTC-USD", "0.01", "0.001")], order_store=store, trade_store=InMemoryTradeStore())
    engine.submit("BTC-USD", "sell", qty="0.5", price="100.25", user="alice", order_id=7)
    engine.submit("BTC-USD", "buy", qty="0.2", price="100.25", user="bob", order_id=8)
    order = store.get(7)
    assert (order.user, order.symbol, str(order.price), str(order.remaining)) == ("alice", "BTC-USD", "100.25", "0.300")
    assert [each.order_id for each in store.get_by_user("bob")] == [8]
    assert [each.order_id for each in store.get_by_side("sell", "BTC-USD")] == [7]
    trade = engine.trade_store.get(1)
    assert (trade.symbol, str(trade.price), str(trade.qty), trade.buy_order_id) == ("BTC-USD", "100.25", "0.200", 8)
    engine.add_instrument(Instrument("ETH-USD"))
    engine.submit("ETH-USD", "buy", qty=1, price=5, user="carol", order_id=9)
    assert (store.get(9).user, store.get(9).symbol) == ("carol", "ETH-USD")


def test_a_store_that_is_in_use_is_not_taken() -> None:
    store, ring = InMemoryOrderStore(), InMemoryTradeStore()
    Engine(order_store=store, trade_store=ring)
    for stores in ({"order_store": store}, {"trade_store": ring}):
        with pytest.raises(FieldError, match="names must be those of the engine that the store belongs to"):
            Engine(**stores)
    filled = InMemoryOrderStore()
    filled.save(Order(1, 1, qty_lots=1))
    with pytest.raises(FieldError, match="names must be given to an empty store"):
        Engine(order_store=filled)


@pytest.mark.parametrize("which", ["order_store", "trade_store"])
def test_a_command_is_not_run_when_a_store_is_closed(which: str) -> None:
    engine = with_stores()
    engine.books[0].submit(1, 100, 5, 1)
    before = engine.state_hash()
    getattr(engine, which).close()
    for command in (lambda: engine.books[0].submit(2, 100, 5, 2), lambda: engine.run(np.zeros(0, rows_of([]).dtype))):
        with pytest.raises(StoreClosed):
            command()
    assert engine.state_hash() == before
    engine.check()


def test_self_trade_prevention_is_seen_in_the_store() -> None:
    engine = with_stores()
    book = engine.books[0]
    book.submit(1, 100, 10, 1, 1)
    book.submit(2, 100, 4, 2, 1, 0, 0, 0, SelfTrade.DECREMENT)
    maker, taker = engine.order_store.get(1), engine.order_store.get(2)
    assert (maker.status, maker.qty_lots, maker.remaining_lots, maker.filled_lots) == (Status.RESTING, 6, 6, 0)
    assert (taker.status, taker.filled_lots) == (Status.CANCELLED, 0)
    assert_stores_agree(engine)
