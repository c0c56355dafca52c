"""Client order ids: what counts as the same command, what its repetition says, and what bad arguments do."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from once_setup import A, B, rest_some, said, two_books

from pyengine import (
    Engine,
    FieldError,
    InMemoryOrderStore,
    Instrument,
    Reason,
    Status,
    UnknownInstrument,
    make_commands,
    order_events,
    request_events,
)
from pyengine.errors import FieldTypeError
from pyengine.records import Action, Kind, RequestFlag, SelfTrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyengine import Consumer, Result


@pytest.fixture
def engine() -> Engine:
    return two_books()


@pytest.fixture
def events(engine: Engine) -> Consumer:
    return engine.attach(required=True)


def twice(call: Callable[[], Result]) -> Result:
    """Call twice and see that the second result is the first one again."""
    first, second = call(), call()
    assert not first.repeated
    assert second.repeated
    assert said(first) == said(second)
    return first


CALLS: dict[str, Callable[[Engine], Result]] = {
    "rests": lambda e: e.submit(A, "buy", 1, 9, client_order_id=7),
    "trades": lambda e: e.submit(A, "buy", 5, "11.5", client_order_id=7, user="carl"),
    "is filled": lambda e: e.submit(A, "buy", 3, 12, tif="IOC", client_order_id=7),
    "ioc": lambda e: e.submit(A, "buy", 30, 12, tif="IOC", client_order_id=7),
    "fok": lambda e: e.submit(A, "buy", 30, 12, tif="FOK", client_order_id=7),
    "market": lambda e: e.submit(A, "buy", 9, client_order_id=7),
    "no liquidity": lambda e: e.submit(B, "sell", 9, client_order_id=7),
    "own id": lambda e: e.submit(B, "sell", 9, 9, order_id=2**64 - 1, client_order_id=7),
    "slides": lambda e: e.submit(A, "buy", 1, 50, slide=True, client_order_id=7),
    "would trade": lambda e: e.submit(A, "buy", 1, 50, post_only=True, client_order_id=7),
    "duplicate": lambda e: e.submit(A, "buy", 1, 5, order_id=1, client_order_id=7),
    "self-trade, taker": lambda e: e.submit(A, "buy", 3, 12, user="ann", self_trade=SelfTrade.CANCEL_TAKER, client_order_id=7),
    "self-trade, maker": lambda e: e.submit(A, "buy", 3, 12, user="ann", self_trade=SelfTrade.CANCEL_MAKER, client_order_id=7),
    "self-trade, both": lambda e: e.submit(A, "buy", 3, 12, user="ann", self_trade=SelfTrade.CANCEL_BOTH, client_order_id=7),
    "self-trade, less": lambda e: e.submit(A, "buy", 9, 12, user="ann", self_trade=SelfTrade.DECREMENT, client_order_id=7),
    "cancel": lambda e: e.cancel(2, client_order_id=7),
    "cancel of the book": lambda e: e.book(A).cancel(2, client_order_id=7),
    "cancel of nothing": lambda e: e.cancel(99, client_order_id=7),
    "cancel in another book": lambda e: e.book(B).cancel(2, client_order_id=7),
    "cancel of another's": lambda e: e.cancel(2, user="bob", client_order_id=7),
    "amend down": lambda e: e.amend(2, qty=1, client_order_id=7),
    "amend away": lambda e: e.amend(2, price=20, client_order_id=7),
    "amend both": lambda e: e.amend(2, price=20, qty=7, client_order_id=7),
    "amend into trades": lambda e: e.amend(2, price=9, client_order_id=7),
    "amend of nothing": lambda e: e.amend(99, price="0.123456", qty=7, client_order_id=7),
    "amend in integers": lambda e: e.amend_lots(2, 40, 3, client_order_id=7),
    "amend of nothing in integers": lambda e: e.amend_lots(99, 40, 3, client_order_id=7),
    "amend of the book": lambda e: e.book(A).amend(2, 40, 3, client_order_id=7),
    "mass cancel": lambda e: e.mass_cancel(client_order_id=7),
    "mass cancel of a user": lambda e: e.mass_cancel(user="ann", side="sell", client_order_id=7),
    "mass cancel of nothing": lambda e: e.mass_cancel(B, side="buy", client_order_id=7),
    "mass cancel of the book": lambda e: e.book(A).mass_cancel(client_order_id=7),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_repetition_returns_the_first_result_and_does_nothing(engine: Engine, call: Callable[[Engine], Result]) -> None:
    rest_some(engine)
    first = call(engine)
    assert not first.repeated
    for _ in range(2):
        state = engine.snapshot()
        again = call(engine)
        assert again.repeated
        assert said(again) == said(first)
        assert engine.snapshot() == state
        # Whatever happens in between, also that the id of an order that was unknown or gone is taken.
        engine.mass_cancel()
        engine.submit(B, "sell", 7, 70, order_id=99)
        engine.submit(A, "sell", 7, 70, order_id=2)
    engine.check()
    restored = Engine.restore(engine.snapshot())
    assert said(call(restored)) == said(first)
    bare = Engine([Instrument(A, "0.5", "0.1"), Instrument(B)], client_ids=0)
    rest_some(bare)
    with pytest.raises(FieldError, match="client_order_id must be None, as the engine was made with client_ids=0, was 7"):
        call(bare)


def test_an_id_is_of_one_user_and_of_all_kinds_of_commands(engine: Engine) -> None:
    rest_some(engine)
    assert engine.submit(A, "buy", 1, 9, client_order_id=7).order_id == 6
    assert engine.submit(A, "buy", 1, 9, client_order_id=7, user="ann").order_id == 7
    assert engine.submit(A, "buy", 1, 9, client_order_id=7, user="bob").order_id == 8
    seq = engine.next_seq
    for call in (
        lambda: engine.cancel(1, client_order_id=7, user="ann"),
        lambda: engine.amend(1, qty=1, client_order_id=7),
        lambda: engine.mass_cancel(client_order_id=7, user="bob"),
        lambda: engine.submit(B, "buy", 1, 9, client_order_id=7),
    ):
        refused = call()
        assert (refused.status, refused.ok, refused.repeated) == (Reason.CLIENT_ID_REUSED, False, False)
    assert engine.next_seq == seq + 4


OTHERS: dict[str, dict[str, Any]] = {
    "symbol": {"symbol": B},
    "side": {"side": "sell", "price": 100},
    "qty": {"qty": 2},
    "price": {"price": 8},
    "market": {"price": None},
    "tif": {"tif": "IOC"},
    "post_only": {"post_only": True},
    "slide": {"slide": True},
    "order_id": {"order_id": 77},
    "self_trade": {"self_trade": SelfTrade.DECREMENT},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_other_contents_are_refused_and_the_first_ones_stay(engine: Engine, events: Consumer, change: dict[str, Any]) -> None:
    order: dict[str, Any] = {"symbol": A, "side": "buy", "qty": 1, "price": 9, "client_order_id": 5, "user": "ann"}
    first = engine.submit(**order)
    events.read()
    refused = engine.submit(**(order | change))
    assert refused.status == refused.reason == Reason.CLIENT_ID_REUSED
    [event] = order_events(events.read())
    assert (event["kind"], event["reason"], event["user"]) == (Kind.REJECTED, Reason.CLIENT_ID_REUSED, 1)
    assert said(engine.submit(**order, ts_ns=10**18)) == said(first)


def test_an_amend_repeats_only_what_it_said(engine: Engine) -> None:
    rest_some(engine)
    engine.amend(2, qty=1, client_order_id=7)
    assert engine.amend(2, qty="1.0", client_order_id=7).repeated
    # The price that it had was the same all along.
    assert engine.amend(2, qty=1, price=11, client_order_id=7).repeated
    assert engine.amend(2, client_order_id=7).status == Reason.CLIENT_ID_REUSED
    assert engine.amend(2, qty=1, price=12, client_order_id=7).status == Reason.CLIENT_ID_REUSED
    assert engine.amend(2, qty=1, post_only=True, client_order_id=7).status == Reason.CLIENT_ID_REUSED
    assert engine.amend(3, qty=1, client_order_id=7).status == Reason.CLIENT_ID_REUSED
    engine.amend(3, price=13, qty=1, client_order_id=8)
    assert engine.amend(3, qty=1, client_order_id=8).status == Reason.CLIENT_ID_REUSED
    engine.cancel(3)
    assert engine.amend(3, price=13, qty=1, client_order_id=8).repeated
    with pytest.raises(FieldError):
        engine.amend(3, price="13.1", qty=1, client_order_id=8)


def test_a_cancel_repeats_whichever_call_it_came_by(engine: Engine) -> None:
    rest_some(engine)
    first = engine.cancel(2, client_order_id=7)
    for again in (engine.cancel(2, client_order_id=7), engine.book(A).cancel(2, client_order_id=7)):
        assert again.repeated
        assert said(again) == said(first)
    assert engine.book(B).cancel(2, client_order_id=7).status == Reason.CLIENT_ID_REUSED
    row = make_commands(1)
    row["action"], row["order_id"] = Action.CANCEL, 2
    out = engine.run(row, client_ids=np.array([7], np.uint64))
    assert (out.status.tolist(), out.repeated.tolist(), len(out.events)) == ([Status.CANCELLED], [True], 0)


def test_requests_come_right_before_their_events(engine: Engine, events: Consumer) -> None:
    rest_some(engine)
    events.read()
    engine.submit(A, "buy", "0.5", 10, tif="IOC", client_order_id=2**64 - 1, user="carl", ts_ns=5)
    engine.cancel(99, client_order_id=1)
    engine.amend(3, qty=1, client_order_id=2)
    engine.mass_cancel(user="ann", client_order_id=3)
    rows = events.read()
    assert rows["kind"].tolist() == [6, 1, 3, 6, 2, 6, 5, 6, 4, 4, 4]
    found = request_events(rows)
    assert found["client_order_id"].tolist() == [2**64 - 1, 1, 2, 3]
    assert found["action"].tolist() == [Action.LIMIT, Action.CANCEL, Action.AMEND, Action.MASS_CANCEL]
    assert found["user"].tolist() == [3, 0, 0, 1]
    assert found["order_id"].tolist() == [0, 99, 3, 0]
    assert found["qty_lots"].tolist() == [5, 0, 10, 3]
    assert found["price_ticks"].tolist() == [20, 0, 24, 0]
    assert found["ts_ns"].tolist() == [5, 0, 0, 0]
    assert found["tif"].tolist() == [1, 0, 0, 0]
    unknown = RequestFlag.BOOK_IMPLIED | RequestFlag.NO_BOOK
    assert found["flags"].tolist() == [0, unknown, RequestFlag.BOOK_IMPLIED | RequestFlag.PRICE_KEPT, 0]
    assert len(order_events(rows)) == 6


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda e: e.submit(A, "buy", 1, 9, client_order_id=0), FieldError, "client_order_id must be an int from 1 to"),
        (lambda e: e.submit(A, "buy", 1, 9, client_order_id=-1), FieldError, "client_order_id must be"),
        (lambda e: e.submit(A, "buy", 1, 9, client_order_id=2**64), FieldError, "client_order_id must be"),
        (lambda e: e.submit(A, "buy", 1, 9, client_order_id="7"), FieldTypeError, "client_order_id must be an int"),
        (lambda e: e.submit(A, "buy", 1, 9, client_order_id=True), FieldTypeError, "client_order_id must be an int"),
        (lambda e: e.submit(A, "buy", 1, client_order_id=1.0), FieldTypeError, "client_order_id must be an int"),
        (lambda e: e.cancel(1, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.amend(1, qty=1, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.amend(1, qty=1, client_order_id="x"), FieldTypeError, "client_order_id must be"),
        (lambda e: e.amend_lots(1, 1, 1, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.amend_lots(1, None, 1), FieldTypeError, "price_ticks must be an int"),
        (lambda e: e.mass_cancel(client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).submit(1, 18, 10, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).submit_market(1, 10, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).cancel(1, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).amend(1, 18, 10, client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).mass_cancel(client_order_id=0), FieldError, "client_order_id must be"),
        (lambda e: e.book(A).submit(1, 0, 10, client_order_id=7), FieldError, "price_ticks must be"),
        (lambda e: e.book(A).submit(1, 10, 10, tif=9, client_order_id=7), FieldError, "tif must be"),
        (lambda e: e.book(A).submit(1, 10, 10, user=9, client_order_id=7), FieldError, "user must be"),
        (lambda e: e.book(A).amend(1, 10, 0, client_order_id=7), FieldError, "qty_lots must be"),
        (lambda e: e.submit("CCC", "buy", 1, 9, client_order_id=7), UnknownInstrument, "symbol must be"),
        (lambda e: e.run(make_commands(2), client_ids=[1, 2]), FieldTypeError, "client_ids must be an array of uint64"),
        (lambda e: e.run(make_commands(2), client_ids=np.ones(2, np.int64)), FieldTypeError, "client_ids must be"),
        (lambda e: e.run(make_commands(2), client_ids=np.ones(3, np.uint64)), FieldError, r"client_ids must be of shape \(2,\)"),
        (lambda e: e.run(make_commands(2), client_ids=np.ones((2, 1), np.uint64)), FieldError, "client_ids must be of shape"),
    ],
)
def test_bad_arguments_change_nothing(engine: Engine, call: Callable[[Engine], Any], error: type[Exception], text: str) -> None:
    rest_some(engine)
    state = engine.snapshot()
    with pytest.raises(error, match=text):
        call(engine)
    assert engine.snapshot() == state
    assert engine.remembered_commands == 0
    assert not engine.submit(A, "buy", 1, 9, client_order_id=7).repeated


def test_ids_of_an_array_need_a_window_and_may_have_strides(engine: Engine) -> None:
    rows = make_commands(3)
    rows["action"], rows["side"], rows["qty_lots"], rows["price_ticks"], rows["order_id"] = 2, 1, 1, 9, [1, 2, 3]
    with pytest.raises(FieldError, match="client_ids must be None, as the engine was made with client_ids=0"):
        Engine([Instrument(A)], client_ids=0).run(rows, client_ids=np.zeros(3, np.uint64))
    ids = np.array([5, 99, 0, 99, 6, 99], np.uint64)
    for repeated in (False, True):
        out = engine.run(rows[: 3 - repeated], client_ids=ids[::2][: 3 - repeated])
        assert out.repeated.tolist() == [repeated, False, False][: 3 - repeated]
    assert engine.run(rows[:1]).repeated.tolist() == [False]
    assert len(engine.run(rows[:0], client_ids=ids[:0])) == 0


def test_a_call_waits_for_its_own_events_and_a_repetition_for_the_first_ones(engine: Engine) -> None:
    waited: list[int] = []
    engine.acknowledge_by(waited.append)
    rest_some(engine)
    waited.clear()
    engine.submit(A, "buy", 3, 12, client_order_id=1)
    last = engine.next_seq - 1
    engine.cancel(99, client_order_id=2)
    refused = engine.next_seq - 1
    engine.submit(B, "buy", 1, 1)
    after = engine.next_seq - 1
    engine.submit(A, "buy", 3, 12, client_order_id=1)
    engine.cancel(99, client_order_id=2)
    assert waited == [last, refused, after, last, refused]


def test_an_order_has_the_id_that_placed_it(engine: Engine) -> None:
    store = InMemoryOrderStore()
    engine = Engine([Instrument(A, "0.5", "0.1"), Instrument(B)], order_store=store)
    rest_some(engine)
    placed = engine.submit(A, "buy", 1, 5, client_order_id=2**64 - 1, user="ann")
    engine.amend(placed.order_id, qty="0.5", client_order_id=8)
    engine.submit(A, "buy", 1, 5, client_order_id=2**64 - 1, user="ann")
    assert store.get(placed.order_id).client_id == 2**64 - 1
    assert store.get(placed.order_id).remaining == Decimal("0.5")
    assert [store.get(order_id).client_id for order_id in (1, 2, 3)] == [0, 0, 0]
    rows = make_commands(4)
    rows["action"], rows["side"], rows["qty_lots"], rows["price_ticks"], rows["order_id"] = 2, 1, 1, 2, [21, 22, 23, 21]
    engine.run(rows, client_ids=np.array([31, 0, 33, 31], np.uint64))
    assert [store.get(order_id).client_id for order_id in (21, 22, 23)] == [31, 0, 33]
