"""What no order store takes, how it says so, and that nothing has changed then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stores.contract.samples import BTC, ids, order, trade

from pyengine import Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed
from pyengine.stores import Order

Call = Callable[[Any], object]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s.save(None), FieldTypeError, "order must be an Order, was None"),
        (lambda s: s.save(trade()), FieldTypeError, "order must be an Order"),
        (lambda s: s.save([order(2)]), FieldTypeError, "order must be an Order"),
        (lambda s: s.save(bytes(order(2))), FieldTypeError, "order must be an Order"),
        (lambda s: s.update({"order_id": 1}), FieldTypeError, "order must be an Order"),
        (lambda s: s.update(None), FieldTypeError, "order must be an Order, was None"),
        (lambda s: s.get("1"), FieldTypeError, "order_id must be an int, was '1'"),
        (lambda s: s.get(-1), FieldError, "order_id must be an int from 0 to 18446744073709551615, was -1"),
        (lambda s: s.get(2**64), FieldError, "order_id must be an int from 0"),
        (lambda s: s.get(10**400), FieldError, "order_id must be an int from 0"),
        (lambda s: s.get(None), FieldTypeError, "order_id must be an int, was None"),
        (lambda s: s.get(1.0), FieldTypeError, "order_id must be an int, was 1.0"),
        (lambda s: s.get(True), FieldTypeError, "order_id must be an int, was True"),
        (lambda s: s.get(b"1"), FieldTypeError, "order_id must be an int, was b'1'"),
        (lambda s: s.remove(1.0), FieldTypeError, "order_id must be an int, was 1.0"),
        (lambda s: s.remove(-1), FieldError, "order_id must be an int from 0"),
        (lambda s: s.remove("*"), FieldTypeError, "order_id must be an int, was '*'"),
        (lambda s: s.get_by_user(None), FieldError, "user must be a name, or a number from 1"),
        (lambda s: s.get_by_user(0), FieldError, "user must be a name, or a number from 1"),
        (lambda s: s.get_by_user(-1), FieldError, "user must be an int from 0 to 4294967295, was -1"),
        (lambda s: s.get_by_user(b"alice"), FieldTypeError, "user must be a str or an int, was b'alice'"),
        (lambda s: s.get_by_user(""), FieldError, "user must be 1 to 255 printable characters, was ''"),
        (lambda s: s.get_by_user("a\nb"), FieldError, "user must be 1 to 255 printable characters"),
        (lambda s: s.get_by_user("a\x00b"), FieldError, "user must be 1 to 255 printable characters"),
        (lambda s: s.get_by_user("\ud800"), FieldError, "user must be 1 to 255 printable characters"),
        (lambda s: s.get_by_user("x" * 2**20), FieldError, "user must be 1 to 255 printable characters"),
        (lambda s: s.get_by_side(0), FieldError, "side must be an int from 1 to 2, was 0"),
        (lambda s: s.get_by_side(3), FieldError, "side must be an int from 1 to 2, was 3"),
        (lambda s: s.get_by_side("bid"), FieldError, "side must be one of buy, sell, was 'bid'"),
        (lambda s: s.get_by_side("*"), FieldError, "side must be one of buy, sell, was '*'"),
        (lambda s: s.get_by_side(None), FieldTypeError, "side must be an int, was None"),
        (lambda s: s.get_by_side(1.0), FieldTypeError, "side must be an int, was 1.0"),
        (lambda s: s.get_by_side(1, b"BTC-USD"), FieldTypeError, "symbol must be an int"),
        (lambda s: s.get_by_side(1, 1.5), FieldTypeError, "symbol must be an int, was 1.5"),
    ],
)
def test_a_bad_argument_changes_nothing(orders: Any, call: Call, error: type[FieldError], text: str) -> None:
    given = order()
    orders.save(given)
    with pytest.raises(FieldError) as caught:
        call(orders)
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert orders.get(1) == given
    assert orders.get_all() == orders.get_by_user("alice") == orders.get_by_side(1) == [given]


@pytest.mark.parametrize("symbol", ["", "no\nsymbol", "\ud800", "x" * 2**20, "a\x00b", "BTC-USD "])
def test_a_symbol_that_no_instrument_has_finds_nothing(orders: Any, symbol: str) -> None:
    orders.save(order())
    assert orders.get_by_side("buy", symbol) == []


def test_an_instrument_on_another_grid_is_refused(open_store: Any, order_backend: Any, numbered: None) -> None:
    store = open_store()
    store.save(order())
    wrong = order(1, instrument=Instrument("BTC-USD", 5), version=1)
    for call in (lambda: store.save(wrong), lambda: store.save_batch([order(3), wrong]), lambda: store.update(wrong)):
        with pytest.raises(FieldError, match=r"instrument must be .*, was"):
            call()
    assert store.get_all() == [order()]
    assert store.get(1).instrument == BTC


def test_numbers_of_nobody_are_refused_by_who_stores_names(open_store: Any, order_backend: Any, numbered: None) -> None:
    store = open_store()
    store.save(order())
    if not order_backend.needs_names:
        assert store.save(order(2, user=7))
        assert store.get_by_user(7) == [order(2, user=7)]
        return
    for call in (store.save, store.update, lambda one: store.save_batch([order(3), one])):
        with pytest.raises(FieldError, match=r"user must be .*name that the store knows, was 7"):
            call(order(1, user=7, version=1))
        with pytest.raises(FieldError, match=r"instrument must be .*an instrument that the store knows, was 9"):
            call(Order(1, "buy", qty_lots=1, instrument_index=9, version=1))
    assert store.get_by_user(7) == []
    assert store.get_all() == [order()]


def test_a_number_stands_for_its_name(open_store: Any, order_backend: Any, numbered: None) -> None:
    store = open_store()
    store.save(order())
    number = store.names.user_index("alice")
    assert store.get_by_user(number) == [order()]
    assert store.get_by_side("buy", store.names.instrument_index("BTC-USD")) == [order()]
    assert store.save(order(2, user=number))
    assert ids(store.get_by_user("alice")) == [1, 2]
    assert store.get(2).user == "alice"


CALLS: dict[str, Call] = {
    "save": lambda s: s.save(order()),
    "update": lambda s: s.update(order()),
    "get": lambda s: s.get(1),
    "remove": lambda s: s.remove(1),
    "get_all": lambda s: s.get_all(),
    "get_by_user": lambda s: s.get_by_user("alice"),
    "get_by_side": lambda s: s.get_by_side("buy"),
    "get_by_side of a symbol": lambda s: s.get_by_side("buy", "BTC-USD"),
    "save_batch": lambda s: s.save_batch([order()]),
    "remove_batch": lambda s: s.remove_batch([1]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_store_says_so(orders: Any, call: str) -> None:
    orders.save(order())
    orders.close()
    orders.close()
    with pytest.raises(StoreClosed):
        CALLS[call](orders)
