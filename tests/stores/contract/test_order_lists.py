"""In which order every order store answers, and what belongs into its lists."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from stores.contract.samples import BTC, ETH, IDS, ids, order

from pyengine import Instrument
from pyengine.records import Side


def test_all_orders_come_by_id(orders: Any) -> None:
    shuffled = random.Random(5).sample(IDS, len(IDS))
    for order_id in shuffled:
        orders.save(order(order_id, status="cancelled" if order_id % 2 else None))
    assert ids(orders.get_all()) == sorted(IDS)


def test_orders_of_a_user_come_by_id_open_or_not(orders: Any) -> None:
    orders.save_batch([order(order_id, user="bob") for order_id in (7, 3)])
    for order_id, status in zip(reversed(IDS), itertools.cycle(["resting", "filled", "cancelled"]), strict=False):
        orders.save(order(order_id, status=status))
    orders.save(order(5, user=None))
    assert ids(orders.get_by_user("alice")) == sorted(IDS)
    assert ids(orders.get_by_user("bob")) == [3, 7]


def test_a_side_has_the_open_orders_only(orders: Any) -> None:
    left = {"resting": 250, "partially_filled": 1, "filled": 0, "cancelled": 100}
    for order_id, (status, lots) in enumerate(left.items()):
        orders.save(order(order_id, status=status, remaining_lots=lots))
    assert ids(orders.get_by_side(1)) == [0, 1]
    orders.save(order(0, status="filled", version=1))
    assert ids(orders.get_by_side(1)) == [1]
    orders.save(order(3, version=1))
    assert ids(orders.get_by_side(1)) == [1, 3]


@pytest.mark.parametrize("side", [1, "buy", "BUY", Side.BUY])
def test_a_side_has_several_names(orders: Any, side: Side | int | str) -> None:
    orders.save_batch([order(1, "buy"), order(2, "sell")])
    assert ids(orders.get_by_side(side)) == [1]


def test_bids_come_from_high_to_low_and_asks_from_low_to_high(orders: Any) -> None:
    ticks = [5, -(2**63), 0, 2**63 - 1, -1, 1, 2**53 + 1, 2**53]
    for number, price in enumerate(ticks):
        orders.save(order(number, "buy", price_ticks=price))
        orders.save(order(100 + number, "sell", price_ticks=price))
    rising = sorted(range(len(ticks)), key=ticks.__getitem__)
    assert ids(orders.get_by_side("sell")) == [100 + number for number in rising]
    assert ids(orders.get_by_side("buy")) == rising[::-1]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_orders_of_one_price_come_by_entry_then_by_time_then_by_id(orders: Any, side: str) -> None:
    keys = list(itertools.product([0, 1, 2**63, 2**64 - 1], [-(2**63), -5, 0, 7], [3, 2**63 + 1]))
    numbered = {(entered, created, low + 10 * n): None for n, (entered, created, low) in enumerate(keys)}
    shuffled = random.Random(7).sample(list(numbered), len(numbered))
    for entered, created, order_id in shuffled:
        orders.save(order(order_id, side, entered=entered, created_ns=created))
    assert ids(orders.get_by_side(side)) == [order_id for _, _, order_id in sorted(numbered)]


def test_orders_alike_but_for_their_id_come_by_id(orders: Any) -> None:
    for order_id in reversed(IDS):
        orders.save(order(order_id))
    assert ids(orders.get_by_side(1)) == sorted(IDS)


def test_an_order_that_came_back_into_the_queue_has_its_new_place(orders: Any) -> None:
    for order_id in (1, 2, 3):
        orders.save(order(order_id, entered=order_id))
    orders.save(order(1, entered=4, version=1))
    assert ids(orders.get_by_side(1)) == [2, 3, 1]
    orders.save(order(1, entered=4, price_ticks=10_001, version=2))
    assert ids(orders.get_by_side(1)) == [1, 2, 3]


def test_a_fill_keeps_the_place(orders: Any) -> None:
    for order_id in (1, 2, 3):
        orders.save(order(order_id, entered=order_id))
    orders.save(order(2, entered=2, remaining_lots=1, version=1))
    assert ids(orders.get_by_side(1)) == [1, 2, 3]


def test_instruments_follow_each_other_as_the_store_learnt_them(orders: Any) -> None:
    symbols = ["M", "Z", "A"]
    for number, symbol in enumerate(symbols):
        orders.save(order(number, instrument=Instrument(symbol), price_ticks=10 + number))
    orders.save(order(10, instrument=Instrument("A"), price_ticks=1))
    orders.save(order(11, instrument=Instrument("M"), price_ticks=99))
    assert ids(orders.get_by_side("buy")) == [11, 0, 1, 2, 10]


def test_a_symbol_selects(orders: Any) -> None:
    orders.save_batch([order(1), order(2, instrument=ETH), order(3, "sell", instrument=ETH)])
    assert ids(orders.get_by_side("buy", "BTC-USD")) == [1]
    assert ids(orders.get_by_side("buy", "ETH-USD")) == [2]
    assert ids(orders.get_by_side("sell", "ETH-USD")) == [3]
    assert orders.get_by_side("sell", "BTC-USD") == orders.get_by_side("buy", "eth-usd") == orders.get_by_side("buy", "*") == []


def test_market_orders_wait_on_their_side_too(orders: Any) -> None:
    orders.save_batch([order(1, order_type="market", price_ticks=0), order(2, price_ticks=-1), order(3, price_ticks=1)])
    assert ids(orders.get_by_side("buy")) == [3, 1, 2]


def test_lists_of_thousands(orders: Any) -> None:
    given = [order(n, "buy" if n % 3 else "sell", user=f"user {n % 7}", price_ticks=n % 100, entered=n) for n in range(3_000)]
    assert orders.save_batch(given) == 3_000
    assert orders.get_all() == given
    assert orders.get_by_user("user 3") == given[3::7]
    asks = sorted(given[::3], key=lambda one: (one.price_ticks, one.entered))
    assert orders.get_by_side("sell") == asks


def test_lists_belong_to_the_caller(orders: Any) -> None:
    orders.save(order())
    for found in (orders.get_all(), orders.get_by_user("alice"), orders.get_by_side(1)):
        found.clear()
    assert ids(orders.get_all()) == ids(orders.get_by_user("alice")) == ids(orders.get_by_side(1)) == [1]
    assert orders.get(1).instrument == BTC
