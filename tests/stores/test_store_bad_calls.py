"""Bad arguments: each has its typed error, and the stores are as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
from pyengine.stores import (
    ORDER_RECORD_DTYPE,
    InMemoryOrderStore,
    InMemoryTradeStore,
    Names,
    Order,
    Trade,
    order_from_bytes,
    trade_from_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BTC = Instrument("BTC-USD", "0.01", "0.001")
GOOD: dict[str, Any] = {"order_id": 1, "side": 1, "price_ticks": 5, "qty_lots": 10}
TRADE: dict[str, Any] = {"trade_id": 1, "taker_id": 2, "maker_id": 3, "price_ticks": 4, "qty_lots": 5, "side": 1}


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"order_id": -1}, FieldError, "order_id must be an int from 0 to 18446744073709551615, was -1"),
        ({"order_id": 2**64}, FieldError, "order_id must be an int from 0"),
        ({"order_id": 2**200}, FieldError, "order_id must be an int from 0"),
        ({"order_id": "1"}, FieldTypeError, "order_id must be an int, was '1'"),
        ({"order_id": 1.0}, FieldTypeError, "order_id must be an int, was 1.0"),
        ({"order_id": True}, FieldTypeError, "order_id must be an int, was True"),
        ({"order_id": None}, FieldTypeError, "order_id must be an int, was None"),
        ({"side": 0}, FieldError, "side must be an int from 1 to 2, was 0"),
        ({"side": 3}, FieldError, "side must be an int from 1 to 2, was 3"),
        ({"side": "b"}, FieldError, "side must be one of buy, sell, was 'b'"),
        ({"side": None}, FieldTypeError, "side must be an int, was None"),
        ({"price_ticks": 2**63}, FieldError, "price_ticks must be an int from"),
        ({"price_ticks": 1.5}, FieldTypeError, "price_ticks must be an int, was 1.5"),
        ({"price": "1.00"}, FieldError, "price must be absent when price_ticks is given"),
        (
            {"price": "1.00", "price_ticks": None},
            FieldError,
            "price must be given as price_ticks, or with an instrument",
        ),
        ({"price": "nan", "price_ticks": None, "instrument": BTC}, FieldError, "price must be finite, was 'nan'"),
        ({"price": "0.001", "price_ticks": None, "instrument": BTC}, FieldError, "price must be a multiple of 0.01"),
        ({"qty_lots": 0}, FieldError, "qty_lots must be an int from 1"),
        ({"qty_lots": -1}, FieldError, "qty_lots must be an int from 1"),
        ({"qty_lots": 2**63}, FieldError, "qty_lots must be an int from 1"),
        ({"qty_lots": None}, FieldError, "qty must be given, or qty_lots, was None"),
        ({"qty": 1}, FieldError, "qty must be absent when qty_lots is given"),
        ({"remaining_lots": 11}, FieldError, "remaining_lots must be an int from 0 to 10, was 11"),
        ({"remaining_lots": -1}, FieldError, "remaining_lots must be an int from 0 to 10, was -1"),
        (
            {"remaining_lots": 3, "status": "filled"},
            FieldError,
            "remaining_lots must be from 0 to qty_lots, and 0 exactly when",
        ),
        (
            {"remaining_lots": 0, "status": "cancelled"},
            FieldError,
            "remaining_lots must be from 0 to qty_lots, and 0 exactly",
        ),
        ({"remaining_lots": 3, "status": "resting"}, FieldError, "status must be 1"),
        ({"status": "partially_filled"}, FieldError, "status must be 1"),
        ({"status": 5}, FieldError, "status must be an int from 1 to 4, was 5"),
        ({"status": "done"}, FieldError, "status must be one of resting, "),
        ({"order_type": 3}, FieldError, "order_type must be 1"),
        ({"order_type": 6}, FieldError, "order_type must be an int from 1 to 5"),
        ({"tif": 5}, FieldError, "tif must be an int from 0 to 4"),
        ({"tif": "forever"}, FieldError, "tif must be one of gtc, ioc, fok, was 'forever'"),
        ({"stp": 6}, FieldError, "stp must be an int from 0 to 5"),
        ({"flags": 256}, FieldError, "flags must be an int from 0 to 255"),
        ({"created_ns": 2**63}, FieldError, "created_ns must be an int from"),
        ({"updated_ns": "now"}, FieldTypeError, "updated_ns must be an int"),
        ({"version": -1}, FieldError, "version must be an int from 0"),
        ({"client_id": -1}, FieldError, "client_id must be an int from 0"),
        ({"entered": 2**64}, FieldError, "entered must be an int from 0"),
        ({"aux": 2**63}, FieldError, "aux must be an int from"),
        ({"user": -1}, FieldError, "user must be an int from 0 to 4294967295"),
        ({"user": 2**32}, FieldError, "user must be an int from 0 to 4294967295"),
        ({"user": 1.5}, FieldTypeError, "user must be a str, an int or None, was 1.5"),
        ({"user": ""}, FieldError, "user must be 1 to 255 printable characters, was ''"),
        ({"user": "a\nb"}, FieldError, "user must be 1 to 255 printable characters"),
        ({"user": "\ud800"}, FieldError, "user must be 1 to 255 printable characters"),
        ({"user": "x" * 256}, FieldError, "user must be 1 to 255 printable characters"),
        ({"instrument": "BTC-USD"}, FieldTypeError, "instrument must be an Instrument or None, was 'BTC-USD'"),
        ({"instrument_index": 2**32}, FieldError, "instrument_index must be an int from 0 to 4294967295"),
    ],
)
def test_no_such_order(fields: dict[str, Any], error: type[FieldError], text: str) -> None:
    with pytest.raises(FieldError) as caught:
        Order(**(GOOD | fields))
    assert type(caught.value) is error
    assert text in str(caught.value)
    if "price" not in fields and "qty" not in fields:
        with pytest.raises(FieldError):
            Order(**GOOD).replace(**fields)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"trade_id": 0}, FieldError, "trade_id must be an int from 1"),
        ({"trade_id": 2**63}, FieldError, "trade_id must be an int from 1"),
        ({"trade_id": 1.5}, FieldTypeError, "trade_id must be an int, was 1.5"),
        ({"taker_id": -1}, FieldError, "taker_id must be an int from 0"),
        ({"maker_id": 2**64}, FieldError, "maker_id must be an int from 0"),
        ({"price_ticks": "5"}, FieldTypeError, "price_ticks must be an int, was '5'"),
        ({"qty_lots": 0}, FieldError, "qty_lots must be an int from 1"),
        ({"side": 3}, FieldError, "side must be an int from 1 to 2, was 3"),
        ({"side": "long"}, FieldError, "side must be one of buy, sell, was 'long'"),
        ({"ts_ns": 2**63}, FieldError, "ts_ns must be an int from"),
        ({"seq": -1}, FieldError, "seq must be an int from 0"),
        ({"instrument_index": -1}, FieldError, "instrument_index must be an int from 0 to 4294967295, was -1"),
    ],
)
def test_no_such_trade(fields: dict[str, Any], error: type[FieldError], text: str) -> None:
    with pytest.raises(FieldError) as caught:
        Trade(**(TRADE | fields))
    assert type(caught.value) is error
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s.save(None), FieldTypeError, "order must be an Order, was None"),
        (lambda s: s.save(Trade(**TRADE)), FieldTypeError, "order must be an Order"),
        (lambda s: s.update({"order_id": 1}), FieldTypeError, "order must be an Order"),
        (
            lambda s: s.save(Order(**GOOD, instrument=Instrument("BTC-USD", 5))),
            FieldError,
            "equal to the one known as BTC-USD",
        ),
        (lambda s: s.get("1"), FieldTypeError, "order_id must be an int, was '1'"),
        (lambda s: s.get(-1), FieldError, "order_id must be an int from 0"),
        (lambda s: s.get(2**64), FieldError, "order_id must be an int from 0"),
        (lambda s: s.get(None), FieldTypeError, "order_id must be an int, was None"),
        (lambda s: s.remove(1.0), FieldTypeError, "order_id must be an int, was 1.0"),
        (lambda s: "1" in s, FieldTypeError, "order_id must be an int"),
        (lambda s: s.get_by_user(None), FieldError, "user must be a name, or a number from 1"),
        (lambda s: s.get_by_user(0), FieldError, "user must be a name, or a number from 1"),
        (lambda s: s.get_by_user(-1), FieldError, "user must be an int from 0 to 4294967295, was -1"),
        (lambda s: s.get_by_user(2**32), FieldError, "user must be an int from 0"),
        (lambda s: s.get_by_user(b"alice"), FieldTypeError, "user must be a str or an int, was b'alice'"),
        (lambda s: s.get_by_user(""), FieldError, "user must be 1 to 255 printable characters"),
        (lambda s: s.get_by_side(0), FieldError, "side must be an int from 1 to 2, was 0"),
        (lambda s: s.get_by_side("bid"), FieldError, "side must be one of buy, sell, was 'bid'"),
        (lambda s: s.get_by_side(None), FieldTypeError, "side must be an int, was None"),
        (lambda s: s.get_by_side(1, 2**32), FieldError, "symbol must be an int from 0"),
        (lambda s: s.get_by_side(1, b"BTC-USD"), FieldTypeError, "symbol must be an int"),
        (lambda s: s.remove_finished(), FieldError, "keep must be given, or older_than_ns"),
        (
            lambda s: s.remove_finished(keep=1, older_than_ns=1),
            FieldError,
            "keep must be given, or older_than_ns, but not both",
        ),
        (lambda s: s.remove_finished(keep=-1), FieldError, "keep must be an int from 0"),
        (lambda s: s.remove_finished(older_than_ns="1h"), FieldTypeError, "older_than_ns must be an int"),
        (
            lambda s: s.save_batch(5),
            FieldTypeError,
            "orders must be an array of ORDER_RECORD_DTYPE or an iterable of Order",
        ),
        (lambda s: s.save_batch([Order(**GOOD), 5]), FieldTypeError, "order must be an Order, was 5"),
        (
            lambda s: s.save_batch(np.zeros(3)),
            FieldTypeError,
            "orders must be an array of records with the fields order_id",
        ),
        (lambda s: s.save_batch(np.zeros(3, TRADE_DTYPE)), FieldTypeError, "orders must be an array of records"),
        (lambda s: s.save_batch(np.zeros((1, 1), ORDER_RECORD_DTYPE)), FieldError, "orders must be of one dimension"),
        (
            lambda s: s.save_batch(np.zeros(1, ORDER_RECORD_DTYPE.newbyteorder(">"))),
            FieldTypeError,
            "orders must be an array",
        ),
        (lambda s: s.apply(None), FieldTypeError, "events must be an array of records with the fields seq"),
        (lambda s: s.apply(np.zeros(1, ORDER_RECORD_DTYPE)), FieldTypeError, "events must be an array of records"),
        (lambda s: s.attach_names(None), FieldTypeError, "names must be Names, was None"),
        (lambda s: s.attach_names(Names()), FieldError, "names must be given to an empty store"),
        (lambda _: InMemoryOrderStore(-1), FieldError, "capacity must be an int from 0 to 4294967295, was -1"),
        (lambda _: InMemoryOrderStore("many"), FieldTypeError, "capacity must be an int, was 'many'"),
        (lambda _: InMemoryOrderStore(names=[]), FieldTypeError, "names must be Names or None, was []"),
        (lambda _: InMemoryOrderStore(keep_finished=-1), FieldError, "keep_finished must be an int from 0"),
        (lambda _: Names(["BTC-USD"]), FieldTypeError, "instrument must be an Instrument, was 'BTC-USD'"),
        (lambda _: Names([], [5]), FieldTypeError, "user must be a str, was 5"),
        (lambda _: Names([], ["a\x00"]), FieldError, "user must be 1 to 255 printable characters"),
        (lambda _: Names().user(-1), FieldError, "index must be an int from 0"),
        (lambda _: order_from_bytes(b"1"), FieldError, "record must be 96 bytes, was '1 bytes'"),
        (lambda _: order_from_bytes(bytes(96)), FieldError, "side must be 1 (BUY) or 2 (SELL), was"),
        (lambda _: trade_from_bytes(bytes(64)), FieldError, "kind must be 3 (TRADE), was 0"),
        (lambda _: trade_from_bytes(b""), FieldError, "record must be 64 bytes"),
    ],
)
def test_bad_calls_of_the_order_store(call: Callable[[Any], object], error: type[FieldError], text: str) -> None:
    store = InMemoryOrderStore()
    store.save(Order(**GOOD, user="alice", instrument=BTC))
    before = store.get_all_array().tobytes()
    with pytest.raises(FieldError) as caught:
        call(store)
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert store.get_all_array().tobytes() == before
    store.check()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s.save(None), FieldTypeError, "trade must be a Trade, was None"),
        (lambda s: s.save(Order(**GOOD)), FieldTypeError, "trade must be a Trade"),
        (lambda s: s.get("1"), FieldTypeError, "trade_id must be an int, was '1'"),
        (lambda s: s.get(2**63), FieldError, "trade_id must be an int from"),
        (lambda s: s.get_recent(-1), FieldError, "limit must be an int from 0"),
        (lambda s: s.get_recent(None), FieldTypeError, "limit must be an int, was None"),
        (lambda s: s.get_recent_array(1.5), FieldTypeError, "limit must be an int, was 1.5"),
        (lambda s: s.complete_for(-1), FieldError, "limit must be an int from 0"),
        (
            lambda s: s.save_batch(None),
            FieldTypeError,
            "trades must be an array of TRADE_DTYPE or an iterable of Trade",
        ),
        (lambda s: s.save_batch([None]), FieldTypeError, "trade must be a Trade, was None"),
        (lambda s: s.save_batch(np.zeros(2, EVENT_DTYPE)), FieldTypeError, "trades must be an array of records"),
        (lambda s: s.save_batch(np.zeros(2, TRADE_DTYPE)), FieldError, "trades[0].kind must be 3 (TRADE), was"),
        (lambda s: s.apply(np.zeros(2, TRADE_DTYPE)), FieldTypeError, "events must be an array of records"),
        (lambda s: s.attach_names(5), FieldTypeError, "names must be Names, was 5"),
        (lambda s: s.attach_names(Names()), FieldError, "names must be given to an empty store"),
        (lambda _: InMemoryTradeStore(0), FieldError, "capacity must be at least 1, was 0"),
        (lambda _: InMemoryTradeStore(-5), FieldError, "capacity must be an int from 0"),
        (lambda _: InMemoryTradeStore(2.5), FieldTypeError, "capacity must be an int, was 2.5"),
        (lambda _: InMemoryTradeStore(names="x"), FieldTypeError, "names must be Names or None, was 'x'"),
    ],
)
def test_bad_calls_of_the_trade_store(call: Callable[[Any], object], error: type[FieldError], text: str) -> None:
    store = InMemoryTradeStore()
    store.save(Trade(**TRADE))
    before = store.get_recent_array().tobytes()
    with pytest.raises(FieldError) as caught:
        call(store)
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert store.get_recent_array().tobytes() == before
    store.check()


def order_row() -> np.ndarray:
    """Make an array of one sound order."""
    return np.frombuffer(bytes(Order(**GOOD)), ORDER_RECORD_DTYPE).copy()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", 0),
        ("side", 255),
        ("status", 0),
        ("status", 5),
        ("status", 2),
        ("qty_lots", 0),
        ("qty_lots", -1),
        ("remaining_lots", -1),
        ("remaining_lots", 11),
        ("remaining_lots", 0),
        ("order_type", 0),
        ("order_type", 3),
        ("tif", 5),
        ("stp", 6),
        ("reserved", 1),
    ],
)
def test_a_bad_row_names_its_field(field: str, value: int) -> None:
    store = InMemoryOrderStore()
    rows = np.concatenate([order_row(), order_row()])
    rows[field][1] = value
    with pytest.raises(FieldError, match=r"orders\[1\]\.\w+ must be "):
        store.save_batch(rows)
    assert len(store) == 0
    with pytest.raises(FieldError):
        order_from_bytes(rows[1].tobytes())


@pytest.mark.parametrize(
    ("fields", "culprit"),
    [
        ({"kind": 0}, "kind"),
        ({"kind": 7}, "kind"),
        ({"side": 0}, "side"),
        ({"qty_lots": 0}, "qty_lots"),
        ({"qty_lots": 2**62}, "qty_lots"),
        ({"detail": 3 << 32}, "detail"),
        ({"detail": 2 << 32 | 5 << 40}, "detail"),
        ({"detail": 2 << 32 | 6 << 56}, "detail"),
        ({"kind": 3, "qty_lots": -1}, "qty_lots"),
        ({"kind": 4, "value": -1}, "value"),
        ({"kind": 4, "qty_lots": -1}, "qty_lots"),
        ({"kind": 5, "qty_lots": 0}, "qty_lots"),
        ({"kind": 5, "value": 2**62}, "value"),
    ],
)
def test_an_event_that_no_engine_writes_is_refused(fields: dict[str, int], culprit: str) -> None:
    store = InMemoryOrderStore()
    events = np.zeros(3, EVENT_DTYPE)
    events["kind"], events["side"], events["qty_lots"], events["detail"] = 1, 1, 5, 2 << 32
    events["order_id"] = events["seq"] = [1, 2, 3]
    for name, value in fields.items():
        events[name][2] = value
    with pytest.raises(FieldError, match=rf"events\[2\]\.{culprit} must be as an engine writes it"):
        store.apply(events)
    assert len(store) == 0


def test_what_an_iterable_raises_passes_through() -> None:
    def orders() -> object:
        yield Order(**GOOD)
        yield Order(**(GOOD | {"side": None}))

    store = InMemoryOrderStore()
    with pytest.raises(FieldTypeError, match="side must be an int, was None"):
        store.save_batch(orders())
    assert len(store) == 0


def test_more_than_there_is_memory_for() -> None:
    with pytest.raises(MemoryError):
        InMemoryOrderStore(2**32 - 1)
