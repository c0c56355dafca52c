"""What no trade store takes, how it says so, and that nothing has changed then; and that threads may share one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from stores.contract.samples import BTC, ids, order, trade, trade_array
from stores.contract.together import ROUNDS, THREADS, together

from pyengine import Instrument
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
from pyengine.store_errors import StoreClosed
from pyengine.stores import ORDER_RECORD_DTYPE, Names, Trade

Call = Callable[[Any], object]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s.save(None), FieldTypeError, "trade must be a Trade, was None"),
        (lambda s: s.save(order()), FieldTypeError, "trade must be a Trade"),
        (lambda s: s.save([trade(2)]), FieldTypeError, "trade must be a Trade"),
        (lambda s: s.save(bytes(trade(2))), FieldTypeError, "trade must be a Trade"),
        (lambda s: s.get_recent(-1), FieldError, "limit must be an int from 0"),
        (lambda s: s.get_recent(2**64), FieldError, "limit must be an int from 0"),
        (lambda s: s.get_recent(None), FieldTypeError, "limit must be an int, was None"),
        (lambda s: s.get_recent("1"), FieldTypeError, "limit must be an int, was '1'"),
        (lambda s: s.get_recent(1.5), FieldTypeError, "limit must be an int, was 1.5"),
        (lambda s: s.save_batch(None), FieldTypeError, "trades must be an array of TRADE_DTYPE or an iterable of Trade, was"),
        (lambda s: s.save_batch(5), FieldTypeError, "trades must be an array of TRADE_DTYPE or an iterable of Trade, was 5"),
        (lambda s: s.save_batch([trade(2), None]), FieldTypeError, "trade must be a Trade, was None"),
        (lambda s: s.save_batch(iter([trade(2), order()])), FieldTypeError, "trade must be a Trade, was"),
        (lambda s: s.save_batch(np.zeros(2)), FieldError, "trades must be"),
        (lambda s: s.save_batch(np.zeros(2, EVENT_DTYPE)), FieldError, "trades must be"),
        (lambda s: s.save_batch(np.zeros(2, ORDER_RECORD_DTYPE)), FieldError, "trades must be"),
        (lambda s: s.save_batch(np.zeros((1, 1), TRADE_DTYPE)), FieldError, "trades must be"),
    ],
)
def test_a_bad_argument_changes_nothing(trades: Any, call: Call, error: type[FieldError], text: str) -> None:
    trades.save(trade())
    with pytest.raises(FieldError) as caught:
        call(trades)
    assert isinstance(caught.value, error)
    assert text in str(caught.value)
    assert trades.get_recent() == [trade()]


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", 0), ("kind", 1), ("side", 0), ("side", 3), ("qty_lots", 0), ("qty_lots", -1), ("trade_id", 0), ("trade_id", -1)],
)
def test_a_record_that_no_trade_can_be_is_refused_with_all_others(
    open_store: Any, trade_backend: Any, numbered: None, field: str, value: int
) -> None:
    names = Names()
    rows = trade_array([trade(n) for n in (1, 2, 3)], names)
    rows[field][1] = value
    store = open_store(names)
    with pytest.raises(FieldError, match="must be"):
        store.save_batch(rows)
    assert store.get_recent() == []


@pytest.mark.parametrize("number", [1, 2**32 - 1])
def test_numbers_without_an_instrument_are_refused_by_who_stores_names(
    open_store: Any, trade_backend: Any, numbered: None, number: int
) -> None:
    names = Names()
    rows = trade_array([trade(n) for n in (1, 2, 3)], names)
    rows["instrument"][1] = number
    store = open_store(names)
    if not trade_backend.needs_names:
        assert store.save_batch(rows) == 3
        return
    for given in (rows, [trade(5), Trade(6, 1, 2, 3, 4, 1, instrument_index=number)]):
        with pytest.raises(FieldError, match=r"instrument must be .*an instrument that the store knows, was"):
            store.save_batch(given)
    assert store.get_recent() == []


def test_an_instrument_on_another_grid_is_refused(open_store: Any, trade_backend: Any, numbered: None) -> None:
    store = open_store()
    store.save(trade())
    wrong = trade(2, instrument=Instrument("BTC-USD", 5))
    for call in (lambda: store.save(wrong), lambda: store.save_batch([trade(3), wrong])):
        with pytest.raises(FieldError, match=r"instrument must be .*, was"):
            call()
    assert store.get_recent() == [trade()]
    assert store.get_recent()[0].instrument == BTC


def test_what_an_iterable_raises_passes_through(trades: Any) -> None:
    def broken() -> Iterable[Trade]:
        yield trade(1)
        raise LookupError("no more trades")

    with pytest.raises(LookupError, match="no more trades"):
        trades.save_batch(broken())
    assert trades.get_recent() == []


CALLS: dict[str, Call] = {
    "save": lambda s: s.save(trade()),
    "get_recent": lambda s: s.get_recent(),
    "save_batch": lambda s: s.save_batch([trade()]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_store_says_so(trades: Any, call: str) -> None:
    trades.save(trade())
    trades.close()
    trades.close()
    with pytest.raises(StoreClosed):
        CALLS[call](trades)


def test_threads_share_a_store(trades: Any, said: Callable[[object, object], bool]) -> None:
    new = [0] * THREADS

    def work(thread: int) -> None:
        for n in range(1, ROUNDS + 1):
            new[thread] += trades.save(trade(n))
            new[thread] += trades.save_batch([trade(1_000 + n), trade(thread * 10_000 + 100_000 + n)])
            assert len(trades.get_recent(10)) > 0

    together(work)
    assert said(sum(new), 2 * ROUNDS + THREADS * ROUNDS)
    found = ids(trades.get_recent(10_000))
    assert found == sorted(set(found), reverse=True)
    assert len(found) == 2 * ROUNDS + THREADS * ROUNDS
