"""Calls that are wrong, friendly and fast, each with its error or refusal; nothing changes and nothing crashes."""

from __future__ import annotations

import gc
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pyengine import (
    Book,
    Engine,
    EngineClosed,
    FieldError,
    FieldTypeError,
    Instrument,
    Result,
    UnknownInstrument,
    make_commands,
)
from pyengine.records import Flag, Reason, SelfTrade, Side

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 2**62 - 1
NAN, INF = float("nan"), float("inf")
WRONG_TYPES: tuple[Any, ...] = (None, 1.0, NAN, INF, "1", b"1", Decimal(1), [1], {}, object(), int, True, np.float64(1))
HUGE = (2**63, -(2**63) - 1, 2**64, 2**200, -(2**200))
GOOD: dict[str, dict[str, Any]] = {
    "book.submit": {"side": 1, "price_ticks": 100, "qty_lots": 5},
    "book.submit_market": {"side": 1, "qty_lots": 5},
    "book.cancel": {"order_id": 1},
    "book.amend": {"order_id": 1, "price_ticks": 90, "qty_lots": 4},
    "book.mass_cancel": {},
    "book.depth": {},
    "book.orders": {},
    "engine.submit": {"symbol": "X", "side": "buy", "qty": 5, "price": 100},
    "engine.cancel": {"order_id": 1},
    "engine.amend": {"order_id": 1, "qty": 4},
    "engine.mass_cancel": {},
    "engine.order": {"order_id": 1},
    "engine.user": {"name": "alice"},
    "engine.user_name": {"number": 1},
    "engine.book": {"symbol": "X"},
    "engine.add_instrument": {"instrument": None},
    "engine.reserve": {"orders": 1},
}


def spoil(call: str, field: str, *values: Any, error: type[Exception] = FieldError) -> list[Any]:
    """List the calls that a field with one of these values spoils."""
    return [pytest.param(call, {field: v}, error, field, id=f"{call}({field}={v!r:.25})") for v in values]


def integers(call: str, field: str, *, unsigned: bool = False) -> list[Any]:
    """List what no integer field takes: other types, and numbers that don't fit."""
    wrong = [v for v in WRONG_TYPES if v is not None or field != "order_id" or "submit" not in call]
    beyond = [v for v in HUGE if v != 2**63 or not unsigned or field != "order_id"]
    return [
        *spoil(call, field, *wrong, error=FieldTypeError),
        *spoil(call, field, *beyond, *([-1] if unsigned else [])),
    ]


CALLS = [
    *[p for field in ("price_ticks", "qty_lots") for p in integers("book.submit", field)],
    *[p for field in ("side", "order_id", "user") for p in integers("book.submit", field, unsigned=True)],
    *spoil("book.submit", "side", 0, 3, 255, 256),
    *spoil("book.submit", "price_ticks", 0, -1, LARGEST + 1),
    *spoil("book.submit", "qty_lots", 0, -1, LARGEST + 1),
    *spoil("book.submit", "user", 3, 2**32 - 1, 2**32),
    *spoil("book.submit", "tif", 3, 4, 255, 256, -1),
    *spoil("book.submit", "tif", "GTC", None, 1.0, error=FieldTypeError),
    *spoil("book.submit", "flags", 2, 4, 64, 255, 256, -1),
    *spoil("book.submit", "flags", "POST_ONLY", None, error=FieldTypeError),
    *spoil("book.submit", "stp", 6, 255, 256, -1),
    *spoil("book.submit", "stp", "OFF", None, error=FieldTypeError),
    *spoil("book.submit", "ts_ns", 2**63, -(2**63) - 1),
    *spoil("book.submit", "ts_ns", 1.0, None, "now", error=FieldTypeError),
    *spoil("book.submit_market", "side", 0, 3, -1),
    *spoil("book.submit_market", "qty_lots", 0, -1, LARGEST + 1, 2**63),
    *spoil("book.submit_market", "qty_lots", None, 1.5, "5", error=FieldTypeError),
    *spoil("book.submit_market", "user", 3, -1),
    *spoil("book.submit_market", "stp", 6),
    *integers("book.cancel", "order_id", unsigned=True),
    *spoil("book.cancel", "user", 3, -1, 2**32),
    *spoil("book.cancel", "user", "alice", error=FieldTypeError),
    *spoil("book.amend", "order_id", -1, 2**64),
    *spoil("book.amend", "price_ticks", 0, -1, LARGEST + 1, 2**63),
    *spoil("book.amend", "price_ticks", None, "90", 90.0, error=FieldTypeError),
    *spoil("book.amend", "qty_lots", 0, -1, LARGEST + 1, 2**64),
    *spoil("book.amend", "flags", 2, 3, 128, 64, -1),
    *spoil("book.amend", "stp", 6, -1),
    *spoil("book.amend", "user", 3),
    *spoil("book.mass_cancel", "side", 3, -1, 256),
    *spoil("book.mass_cancel", "user", 3, -1),
    *spoil("book.depth", "levels", -1, 2**64),
    *spoil("book.depth", "levels", "1", 1.0, NAN, error=FieldTypeError),
    *spoil("book.orders", "side", -1, 3),
    *spoil("book.orders", "side", None, "buy", error=FieldTypeError),
    *spoil("engine.submit", "symbol", "DOGE", "", "x" * 10_000, error=UnknownInstrument),
    *spoil("engine.submit", "side", "up", "", 0, 3, "BUY "),
    *spoil("engine.submit", "side", None, 1.0, b"buy", True, error=FieldTypeError),
    *spoil("engine.submit", "qty", 0, -1, 0.5, "x", NAN, INF, "", 2**62, 10**400),
    *spoil("engine.submit", "qty", None, b"1", [], error=FieldTypeError),
    *spoil("engine.submit", "price", 0, -1, 0.5, "x", NAN, INF, -INF, "", 2**62, 10**400),
    *spoil("engine.submit", "price", b"1", [], True, error=FieldTypeError),
    *spoil("engine.submit", "tif", "DAY", "", "never", 3, -1),
    *spoil("engine.submit", "tif", None, 1.5, error=FieldTypeError),
    *spoil("engine.submit", "order_id", -1, 2**64),
    *spoil("engine.submit", "order_id", "1", 1.0, NAN, error=FieldTypeError),
    *spoil("engine.submit", "user", "", "x" * 256, 3, -1),
    *spoil("engine.submit", "user", 1.0, b"alice", error=FieldTypeError),
    *spoil("engine.submit", "self_trade", 6, -1),
    *spoil("engine.submit", "self_trade", "off", error=FieldTypeError),
    *spoil("engine.submit", "ts_ns", 2**63),
    *integers("engine.cancel", "order_id", unsigned=True),
    *spoil("engine.cancel", "user", "", 3, -1),
    *spoil("engine.amend", "qty", 0, -1, 0.5, "x", NAN, 2**62),
    *spoil("engine.amend", "price", 0, -1, 0.5, "x", NAN, 2**62),
    *spoil("engine.amend", "order_id", -1, 2**64),
    *spoil("engine.amend", "order_id", None, "1", error=FieldTypeError),
    *spoil("engine.mass_cancel", "symbol", "DOGE", error=UnknownInstrument),
    *spoil("engine.mass_cancel", "side", "up", 0, 3),
    *spoil("engine.mass_cancel", "user", "", 3),
    *integers("engine.order", "order_id", unsigned=True),
    *spoil("engine.user", "name", "", "x" * 256, "a\nb", "\0"),
    *spoil("engine.user", "name", None, 1, b"alice", error=FieldTypeError),
    *spoil("engine.user", "self_trade", 6, -1),
    *spoil("engine.user_name", "number", 3, -1, 2**64),
    *spoil("engine.book", "symbol", "DOGE", 3, 2**31, error=UnknownInstrument),
    *spoil("engine.add_instrument", "instrument", None, "X", 1, Instrument, error=FieldTypeError),
    *spoil("engine.add_instrument", "instrument", Instrument("X"), Instrument("X", "0.5")),
    *spoil("engine.reserve", "orders", -1, 2**40),
]
RENAMED = {"name": "user", "number": "user", "instrument": "symbol"}


@pytest.fixture
def engine() -> Engine:
    """Make a book with a bid of alice and an ask of bob."""
    engine = Engine([Instrument("X"), Instrument("Y")])
    alice, bob = engine.user("alice"), engine.user("bob")
    engine.book("X").submit(1, 90, 5, 1, user=alice)
    engine.book("X").submit(2, 110, 5, 2, user=bob)
    return engine


def find(engine: Engine, call: str) -> Callable[..., Any]:
    """Find a method by the name that the table gives it."""
    owner, _, method = call.partition(".")
    bound: Callable[..., Any] = getattr(engine if owner == "engine" else engine.book("X"), method)
    return bound


def test_the_table_is_long_enough() -> None:
    assert len(CALLS) >= 150


@pytest.mark.parametrize(("call", "changes", "error", "field"), CALLS)
def test_bad_call_raises_our_error_and_changes_nothing(
    engine: Engine, call: str, changes: dict[str, Any], error: type[Exception], field: str
) -> None:
    before, seq = engine.state_hash(), engine.next_seq
    with pytest.raises(error) as caught:
        find(engine, call)(**(GOOD[call] | changes))
    assert engine.state_hash() == before
    assert engine.next_seq == seq
    engine.check()
    if isinstance(caught.value, FieldError):
        assert caught.value.field in {field, RENAMED.get(field)}
        assert caught.value.expected
        assert str(caught.value).startswith(f"{caught.value.field} must be {caught.value.expected}, was ")


@pytest.mark.parametrize("call", [c for c in GOOD if c != "engine.add_instrument"])
def test_the_calls_that_the_table_spoils_are_good_before(engine: Engine, call: str) -> None:
    find(engine, call)(**GOOD[call])
    engine.check()


@pytest.mark.parametrize(("price", "qty"), [(2**32, 2**31), (LARGEST, 3), (3, LARGEST), (LARGEST, LARGEST), (2**61, 4)])
def test_price_times_quantity_that_overflows_is_refused(engine: Engine, price: int, qty: int) -> None:
    before = engine.state_hash()
    attempts: list[Callable[[], Result]] = [
        lambda: engine.book("X").submit(1, price, qty),
        lambda: engine.submit("X", "buy", qty, price),
        lambda: engine.book("X").amend(1, price, qty),
        lambda: engine.amend(1, price=price, qty=qty),
    ]
    for attempt in attempts:
        with pytest.raises(FieldError, match=r"2\*\*63"):
            attempt()
    assert engine.state_hash() == before


REFUSALS: list[tuple[str, Callable[[Engine], Result], Reason]] = [
    ("duplicate", lambda e: e.book("X").submit(1, 100, 1, 1), Reason.DUPLICATE_ORDER_ID),
    ("duplicate elsewhere", lambda e: e.book("Y").submit(1, 100, 1, 2), Reason.DUPLICATE_ORDER_ID),
    ("duplicate market", lambda e: e.book("X").submit_market(1, 1, 2), Reason.DUPLICATE_ORDER_ID),
    ("friendly duplicate", lambda e: e.submit("X", "buy", 1, 1, order_id=1), Reason.DUPLICATE_ORDER_ID),
    ("cancel unknown", lambda e: e.book("X").cancel(3), Reason.UNKNOWN_ORDER),
    ("amend unknown", lambda e: e.book("X").amend(3, 1, 1), Reason.UNKNOWN_ORDER),
    ("friendly cancel unknown", lambda e: e.cancel(3), Reason.UNKNOWN_ORDER),
    ("friendly amend unknown", lambda e: e.amend(3, qty=1, price=1), Reason.UNKNOWN_ORDER),
    ("cancel elsewhere", lambda e: e.book("Y").cancel(1), Reason.WRONG_INSTRUMENT),
    ("amend elsewhere", lambda e: e.book("Y").amend(1, 1, 1), Reason.WRONG_INSTRUMENT),
    ("cancel another's", lambda e: e.book("X").cancel(1, user=2), Reason.NOT_OWNER),
    ("amend another's", lambda e: e.book("X").amend(1, 1, 1, user=2), Reason.NOT_OWNER),
    ("friendly cancel another's", lambda e: e.cancel(1, user="bob"), Reason.NOT_OWNER),
    ("friendly amend another's", lambda e: e.amend(1, qty=1, user="bob"), Reason.NOT_OWNER),
    ("post-only buy", lambda e: e.book("X").submit(1, 110, 1, 9, flags=1), Reason.POST_ONLY_WOULD_TRADE),
    ("post-only sell", lambda e: e.book("X").submit(2, 90, 1, 9, flags=1), Reason.POST_ONLY_WOULD_TRADE),
    ("friendly post-only", lambda e: e.submit("X", "buy", 1, 110, post_only=True), Reason.POST_ONLY_WOULD_TRADE),
    ("post-only amend", lambda e: e.book("X").amend(1, 110, 1, flags=Flag.POST_ONLY), Reason.POST_ONLY_WOULD_TRADE),
    ("friendly post-only amend", lambda e: e.amend(1, price=110, post_only=True), Reason.POST_ONLY_WOULD_TRADE),
]


@pytest.mark.parametrize(("attempt", "reason"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_refusal_is_a_result_and_changes_nothing(engine: Engine, attempt: Callable[[Engine], Result], reason: Reason) -> None:
    before = engine.state_hash()
    result = attempt(engine)
    assert (result.status, result.reason) == (reason, reason)
    assert (result.filled_lots, result.remaining_lots, len(result.trades)) == (0, 0, 0)
    assert engine.state_hash() == before
    assert reason.name in repr(result)
    engine.check()


def test_unknown_order_is_unknown_whatever_the_first_book_accepts() -> None:
    engine = Engine([Instrument("X", min_price=10, min_qty=2)])
    assert engine.amend(99, price=20).status == Reason.UNKNOWN_ORDER
    assert engine.cancel(99).status == Reason.UNKNOWN_ORDER


@pytest.mark.parametrize("argument", [{"price": None, "post_only": True}, {"tif": "IOC", "post_only": True}])
def test_post_only_needs_a_limit_order_that_may_wait(engine: Engine, argument: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        engine.submit(**(GOOD["engine.submit"] | argument))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ring_capacity": 0}, FieldError),
        ({"ring_capacity": 63}, FieldError),
        ({"ring_capacity": 1000}, FieldError),
        ({"ring_capacity": -64}, FieldError),
        ({"ring_capacity": 2**63}, FieldError),
        ({"ring_capacity": 2**64}, FieldError),
        ({"ring_capacity": None}, FieldTypeError),
        ({"ring_capacity": 64.0}, FieldTypeError),
        ({"capacity": -1}, FieldError),
        ({"capacity": 2**64}, FieldError),
        ({"capacity": "many"}, FieldTypeError),
        ({"self_trade": 0}, FieldError),
        ({"self_trade": 6}, FieldError),
        ({"self_trade": "off"}, FieldTypeError),
        ({"publish_wait_s": NAN}, FieldError),
        ({"publish_wait_s": INF}, FieldError),
        ({"publish_wait_s": -1}, FieldError),
        ({"publish_wait_s": None}, FieldTypeError),
        ({"instruments": [None]}, FieldTypeError),
        ({"instruments": ["X"]}, FieldTypeError),
        ({"instruments": [Instrument("X"), Instrument("X")]}, FieldError),
        ({"instruments": 5}, TypeError),
        ({"unknown": 5}, TypeError),
    ],
)
def test_impossible_engine_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Engine(**arguments)


def test_closed_engine_says_so_to_every_call(engine: Engine) -> None:
    book = engine.book("X")
    engine.close()
    calls: list[Callable[[], Any]] = [
        partial(engine.submit, "X", "buy", 5, 100),
        partial(engine.cancel, 1),
        partial(engine.amend, 1, qty=4),
        partial(engine.order, 1),
        partial(engine.user, "carol"),
        partial(engine.add_instrument, Instrument("Z")),
        partial(engine.run, make_commands(1)),
        partial(book.submit, 1, 100, 5),
        partial(book.cancel, 1),
        partial(book.amend, 1, 90, 4),
    ]
    calls += [engine.mass_cancel, engine.state_hash, engine.check, engine.snapshot, engine.attach]
    calls += [book.mass_cancel, book.best_bid, book.best_ask, book.depth, book.orders, book.state_hash]
    for attempt in calls:
        with pytest.raises(EngineClosed):
            attempt()


def test_closing_twice_is_once() -> None:
    with Engine([Instrument("X")]) as engine:
        engine.close()
        engine.close()


def assert_is_error(error: Exception) -> None:
    """Look at an error as a caller would."""
    assert str(error) is not None


@pytest.mark.parametrize("made", [Book, Result, type(Engine([Instrument("X")]).attach())], ids=lambda c: c.__name__)
def test_parts_that_only_an_engine_makes_dont_crash_when_made_by_hand(made: Any) -> None:
    try:
        part = made.__new__(made)
    except TypeError:
        return
    for name in dir(part):
        if name.startswith("__") and name != "__repr__":
            continue
        try:
            member = getattr(part, name)
            if callable(member):
                member(*[1] * 3) if name in {"submit", "amend"} else member()
        except Exception as error:  # noqa: BLE001  anything that Python can catch is no crash
            assert_is_error(error)


def test_argument_that_calls_the_engine_while_it_is_read_sees_a_whole_engine(engine: Engine) -> None:
    class Meddler:
        def __index__(self) -> int:
            engine.mass_cancel()
            engine.book("X").submit(1, 50, 1)
            return 1

    for call in ("book.cancel", "book.amend", "engine.cancel", "engine.order"):
        find(engine, call)(**(GOOD[call] | {"order_id": Meddler()}))
        engine.check()
    engine.book("X").submit(Meddler(), 100, Meddler(), Meddler())
    engine.check()


def test_garbage_collection_that_calls_the_engine_disturbs_no_view_and_no_result(engine: Engine) -> None:
    book = engine.book("X")
    busy = False

    def meddle(*_: object) -> None:
        nonlocal busy
        if not busy:
            busy = True
            book.submit(1, 40, 1)
            book.submit(1, 41, 1)
            busy = False

    old = gc.get_threshold()
    gc.callbacks.append(meddle)
    gc.set_threshold(1)
    try:
        for _ in range(300):
            orders = book.orders()
            assert set(orders["price_ticks"].tolist()) <= {90, 110, 40, 41}
            assert set(book.depth()[0]["price_ticks"].tolist()) <= {90, 40, 41}
            result = book.submit(Side.SELL, 2000, 7)
            assert result.remaining_lots == 7
            book.cancel(result.order_id)
    finally:
        gc.set_threshold(*old)
        gc.callbacks.remove(meddle)
    engine.check()


def test_default_self_trade_mode_of_an_engine_is_none_of_the_modes_by_reference() -> None:
    with pytest.raises(FieldError) as caught:
        Engine(self_trade=SelfTrade.DEFAULT)
    assert (caught.value.field, caught.value.value) == ("self_trade", SelfTrade.DEFAULT)
