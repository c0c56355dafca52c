"""Orders, trades and names as objects."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import numpy as np
import pytest
from pyengine._core.order import ORDER_RECORD_BYTES

from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE, Action, Flag, SelfTrade, Side, Status, TimeInForce
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Order, Trade, order_from_bytes, trade_from_bytes

BTC = Instrument("BTC-USD", "0.01", "0.001")


def test_an_order_in_the_words_of_people() -> None:
    order = Order(42, "buy", user="alice", instrument=BTC, price="6190.84", qty="0.5", tif="fok", stp="cancel_maker", flags=1)
    assert (order.side, order.order_type, order.tif) == (Side.BUY, Action.LIMIT, TimeInForce.FOK)
    assert (order.stp, order.flags, order.status) == (SelfTrade.CANCEL_MAKER, Flag.POST_ONLY, Status.RESTING)
    assert (order.price, order.qty, order.remaining, order.filled) == (
        Decimal("6190.84"),
        Decimal("0.5"),
        Decimal("0.5"),
        0,
    )
    assert (order.price_ticks, order.qty_lots) == (619084, 500)
    assert (order.user, order.symbol, order.instrument) == ("alice", "BTC-USD", BTC)


def test_an_order_in_numbers() -> None:
    order = Order(2**64 - 1, 2, price_ticks=-5, qty_lots=2**63 - 1, remaining_lots=1, user=9, instrument_index=3, client_id=8)
    assert (order.status, order.filled_lots, order.is_open) == (Status.PARTIALLY_FILLED, 2**63 - 2, True)
    assert (order.user, order.user_index, order.instrument_index, order.client_id) == (9, 9, 3, 8)
    assert (order.price, order.qty, order.remaining, order.filled, order.symbol, order.instrument) == (None,) * 6


def test_a_market_order_has_no_price() -> None:
    order = Order(1, Side.SELL, instrument=BTC, qty=1)
    assert (order.order_type, order.price_ticks, order.price, order.user) == (Action.MARKET, 0, None, None)
    assert "the market" in repr(order)


@pytest.mark.parametrize(
    ("fields", "status", "remaining"),
    [
        ({}, Status.RESTING, 10),
        ({"remaining_lots": 3}, Status.PARTIALLY_FILLED, 3),
        ({"remaining_lots": 0}, Status.FILLED, 0),
        ({"status": "filled"}, Status.FILLED, 0),
        ({"status": 4, "remaining_lots": 3}, Status.CANCELLED, 3),
        ({"status": Status.CANCELLED}, Status.CANCELLED, 10),
    ],
)
def test_size_and_status_follow_from_each_other(fields: dict[str, object], status: Status, remaining: int) -> None:
    order = Order(1, 1, price_ticks=5, qty_lots=10, **fields)
    assert (order.status, order.remaining_lots) == (status, remaining)


def test_replace_changes_a_copy() -> None:
    order = Order(1, 1, user="alice", instrument=BTC, price=5, qty=1, client_id=4, entered=6)
    partly = order.replace(remaining_lots=400, version=9, updated_ns=7)
    assert (partly.status, partly.remaining_lots, partly.version, partly.updated_ns) == (
        Status.PARTIALLY_FILLED,
        400,
        9,
        7,
    )
    assert (partly.user, partly.symbol, partly.client_id, partly.entered) == ("alice", "BTC-USD", 4, 6)
    assert order.remaining_lots == 1000
    assert partly.replace(status="filled").remaining_lots == 0
    cancelled = partly.replace(status="cancelled")
    assert cancelled.replace(price="6.5").status == Status.CANCELLED
    assert order.replace(price="6.5", qty=2).replace(remaining_lots=1).price == Decimal("6.50")
    assert order.replace() == order


def test_objects_are_read_only() -> None:
    order, trade = Order(1, 1, qty_lots=1), Trade(1, 2, 3, 4, 5, 1)
    for target, name in ((order, "remaining_lots"), (order, "version"), (trade, "qty_lots"), (trade, "instrument")):
        with pytest.raises(AttributeError):
            setattr(target, name, 1)


def test_equality_is_by_content() -> None:
    order = Order(1, 1, price_ticks=5, qty_lots=10, user="alice", instrument=BTC)
    same = Order(1, 1, price_ticks=5, qty_lots=10, user="alice", instrument=Instrument("BTC-USD", "0.01", "0.001"))
    assert order == same
    assert hash(order) == hash(same)
    for other in (order.replace(user="bob"), order.replace(version=1), order.replace(instrument=None), 1, None):
        assert order != other
    trade = Trade(1, 2, 3, 4, 5, 1)
    assert trade == Trade(1, 2, 3, 4, 5, 1)
    assert hash(trade) == hash(Trade(1, 2, 3, 4, 5, 1))
    assert len({trade, Trade(1, 2, 3, 4, 5, 1), Trade(1, 2, 3, 4, 5, 2)}) == 2
    for other in (
        Trade(1, 2, 3, 4, 5, 1, instrument=BTC),
        Trade(1, 2, 3, 4, 5, 1, instrument_index=1),
        Trade(1, 2, 3, 4, 5, 1, seq=1),
    ):
        assert trade != other
    with pytest.raises(TypeError):
        assert order < same


@pytest.mark.parametrize("user", [None, 7, "alice"])
@pytest.mark.parametrize("instrument", [None, BTC])
def test_objects_survive_pickle_and_copy(user: object, instrument: Instrument | None) -> None:
    order = Order(1, 1, price_ticks=5, qty_lots=10, user=user, instrument=instrument, instrument_index=4)
    trade = Trade(1, 2, 3, 4, 5, 1, instrument=instrument, instrument_index=4)
    for thing in (order, trade):
        assert pickle.loads(pickle.dumps(thing)) == thing
        assert copy.deepcopy(thing) == thing
        assert pickle.loads(pickle.dumps(thing)).instrument_index == 4


def test_bytes_are_records() -> None:
    order = Order(1, 2, price_ticks=-5, qty_lots=10, remaining_lots=4, version=3, entered=2, client_id=9, user=6, stp=1, tif=2)
    row = np.frombuffer(bytes(order), ORDER_RECORD_DTYPE)[0]
    assert ORDER_RECORD_DTYPE.itemsize == ORDER_RECORD_BYTES == len(bytes(order))
    for name in (
        "order_id",
        "side",
        "price_ticks",
        "qty_lots",
        "remaining_lots",
        "version",
        "entered",
        "client_id",
        "stp",
        "tif",
    ):
        assert row[name] == getattr(order, name)
    assert order_from_bytes(row.tobytes()) == order
    trade = Trade(7, 8, 9, 10, 11, 2, ts_ns=12, seq=13, instrument_index=14)
    row = np.frombuffer(bytes(trade), TRADE_DTYPE)[0]
    for name in ("trade_id", "taker_id", "maker_id", "price_ticks", "qty_lots", "side", "ts_ns", "seq"):
        assert row[name] == getattr(trade, name)
    assert trade_from_bytes(bytes(trade)) == trade


def test_fields_do_not_overlap() -> None:
    fields = sorted((offset, kind.itemsize) for kind, offset, *_ in ORDER_RECORD_DTYPE.fields.values())
    ends = [offset + size for offset, size in fields]
    assert all(end <= start for end, (start, _) in zip(ends, fields[1:], strict=False))
    assert ends[-1] == ORDER_RECORD_DTYPE.itemsize


def test_a_trade_knows_who_bought() -> None:
    bought, sold = Trade(1, 8, 9, 100, 5, "buy", instrument=BTC), Trade(1, 8, 9, 100, 5, "sell")
    assert (bought.buy_order_id, bought.sell_order_id) == (8, 9)
    assert (sold.buy_order_id, sold.sell_order_id) == (9, 8)
    assert (bought.price, bought.qty, bought.symbol) == (1, Decimal("0.005"), "BTC-USD")
    assert (sold.price, sold.qty, sold.symbol) == (None, None, None)
    assert (bought.maker_filled, bought.taker_filled) == (False, False)
    assert repr(bought) == "<Trade 1: 8 bought 0.005 of BTC-USD at 1.00 from 9>"


def test_names_are_numbered_in_order() -> None:
    names = Names([BTC], ["zoe", "alice"])
    assert [names.add_user(name) for name in ("alice", "bob", "zoe")] == [2, 3, 1]
    assert (names.user(0), names.user(2), names.user(99), names.user_index("bob"), names.user_index("x")) == (
        None,
        "alice",
        None,
        3,
        None,
    )
    eth = Instrument("ETH-USD")
    assert [names.add_instrument(each) for each in (eth, BTC, eth)] == [1, 0, 1]
    assert (names.instrument(1), names.instrument(5), names.instrument_index("ETH-USD")) == (eth, None, 1)
    assert repr(names) == "<Names of 2 instruments and 3 users>"


def test_shared_names_follow_their_owner() -> None:
    instruments, users, by_symbol, by_name = [], [None], {}, {}
    names = Names.shared(instruments, users, by_symbol, by_name)
    users.append("alice")
    by_name["alice"] = 1
    instruments.append(BTC)
    by_symbol["BTC-USD"] = 0
    assert (names.user_index("alice"), names.user(1), names.instrument(0)) == (1, "alice", BTC)
