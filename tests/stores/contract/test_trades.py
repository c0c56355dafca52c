"""What every trade store promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from stores.contract.samples import BTC, ETH, GRIDS, TEXTS, ids, trade, trade_array

from pyengine import Instrument
from pyengine.stores import Names, Trade
from pyengine.stores.interfaces import StoreStats, TradeStore

Said = Callable[[object, object], bool]
Seq = Callable[[int], int]
FORMS: dict[str, Callable[[list[Trade]], Iterable[Trade]]] = {"list": list, "tuple": tuple, "generator": iter}
IDS = [1, 2, 3, 2**32, 2**53, 2**53 + 1, 2**63 - 1]


def test_it_is_a_trade_store(trades: Any) -> None:
    assert isinstance(trades, TradeStore)


def test_an_empty_store_has_no_trades(trades: Any) -> None:
    assert trades.get_recent() == trades.get_recent(0) == trades.get_recent(2**63 - 1) == []


@pytest.mark.parametrize("side", [1, 2])
def test_a_trade_is_found_as_it_was_saved(trades: Any, seq: Seq, side: int) -> None:
    given = trade(5, taker_id=2**64 - 1, maker_id=0, side=side, ts_ns=1_736_937_045_123_456_789, seq=seq(2**64 - 1))
    assert trades.save(given) is True
    [found] = trades.get_recent()
    assert found == given
    assert (found.buy_order_id, found.sell_order_id) == (given.buy_order_id, given.sell_order_id)
    assert (found.price, found.qty, found.symbol) == (given.price, given.qty, "BTC-USD")


def test_a_trade_is_found_by_who_comes_later(trades: Any, open_store: Any, reopen: Any, said: Said, seq: Seq) -> None:
    given = [trade(1, ts_ns=5, seq=seq(2**63)), trade(2**63 - 1, side=2, instrument=ETH)]
    for one in given:
        trades.save(one)
    later = reopen(open_store, trades)
    assert later.get_recent() == given[::-1]
    assert later.get_recent()[1].instrument == BTC
    assert said([later.save(one) for one in given], [False, False])
    assert said(later.save(trade(7)), True)
    assert ids(later.get_recent()) == [2**63 - 1, 7, 1]


def test_the_newest_come_first(trades: Any) -> None:
    for trade_id in [3, 2**63 - 1, 1, 2**53, 2**32, 2, 2**53 + 1]:
        assert trades.save(trade(trade_id, ts_ns=-trade_id))
    assert ids(trades.get_recent()) == IDS[::-1]
    assert ids(trades.get_recent(3)) == IDS[:-4:-1]
    assert ids(trades.get_recent(1)) == IDS[-1:]
    assert trades.get_recent(0) == []
    assert ids(trades.get_recent(limit=2**64 - 1)) == IDS[::-1]


def test_a_hundred_unless_told_otherwise(trades: Any) -> None:
    trades.save_batch([trade(n) for n in range(1, 251)])
    assert ids(trades.get_recent()) == list(range(250, 150, -1))
    assert ids(trades.get_recent(200)) == list(range(250, 50, -1))
    assert ids(trades.get_recent(1_000)) == list(range(250, 0, -1))


@pytest.mark.parametrize("call", ["save", "save_batch"])
def test_a_trade_that_is_there_stays_as_it_is(trades: Any, said: Said, call: str) -> None:
    trades.save(trade(1))
    trades.save(trade(2))
    other = trade(1, price_ticks=5, qty_lots=7, side=2, instrument=ETH, ts_ns=9, seq=9)
    assert said(getattr(trades, call)(other if call == "save" else [other]), 0)
    assert trades.get_recent() == [trade(2), trade(1)]


@pytest.mark.parametrize("ticks", [-(2**63), -(2**62), -1, 0, 1, 2**53 + 1, 2**62 - 1, 2**63 - 1])
@pytest.mark.parametrize("instrument", GRIDS, ids=lambda grid: grid.symbol)
def test_any_price_on_any_grid(trades: Any, instrument: Instrument, ticks: int) -> None:
    given = trade(instrument=instrument, price_ticks=ticks, qty_lots=2**63 - 1)
    assert trades.save(given)
    assert trades.get_recent() == [given]
    assert trades.get_recent()[0].price == instrument.ticks_to_price(ticks)


@pytest.mark.parametrize("ts_ns", [-(2**63), -1, 0, 1, 999, 1_000_000, 2**53 + 1, 2**63 - 1])
def test_any_time(trades: Any, ts_ns: int) -> None:
    assert trades.save(trade(ts_ns=ts_ns))
    assert trades.get_recent() == [trade(ts_ns=ts_ns)]


def test_trades_of_one_time_are_apart(trades: Any) -> None:
    given = [trade(n, ts_ns=1_736_937_045_123_456_789 + n // 3) for n in range(1, 50)]
    assert trades.save_batch(given) == 49
    assert trades.get_recent() == given[::-1]


@pytest.mark.parametrize("order_id", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_any_order_id(trades: Any, order_id: int) -> None:
    given = [trade(1, taker_id=order_id), trade(2, maker_id=order_id, side=2), trade(3, taker_id=order_id, maker_id=order_id)]
    trades.save_batch(given)
    assert trades.get_recent() == given[::-1]


@pytest.mark.parametrize("symbol", TEXTS)
def test_any_symbol(trades: Any, symbol: str) -> None:
    given = trade(instrument=Instrument(symbol, "0.01", "0.001"))
    assert trades.save(given)
    assert trades.save(trade(2))
    assert trades.get_recent() == [trade(2), given]


def test_symbols_are_found_by_who_comes_later(trades: Any, open_store: Any, reopen: Any) -> None:
    given = [trade(n, instrument=Instrument(symbol, "0.1")) for n, symbol in enumerate(TEXTS, 1)]
    given += [trade(1_000 + n, instrument=grid) for n, grid in enumerate(GRIDS)]
    trades.save_batch(given)
    assert reopen(open_store, trades).get_recent(2_000) == given[::-1]


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_objects(trades: Any, form: str) -> None:
    given = [trade(n, instrument=ETH if n % 2 else BTC) for n in (5, 2, 9, 1)]
    assert trades.save_batch(FORMS[form](given)) == 4
    assert trades.save_batch(FORMS[form]([])) == 0
    assert trades.get_recent() == sorted(given, key=lambda one: -one.trade_id)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_batch_of_records(open_store: Any, trade_backend: Any, numbered: None, said: Said, read_only: bool) -> None:
    names = Names([ETH], ["zoe"])
    given = [trade(trade_id, taker_id=2**64 - trade_id, side=1 + trade_id % 2) for trade_id in IDS]
    rows = trade_array(given, names)
    before = rows.tobytes()
    rows.flags.writeable = not read_only
    store = open_store(names)
    assert store.names is names
    assert store.save_batch(rows) == len(IDS)
    assert said(store.save_batch(rows), 0)
    assert store.get_recent() == given[::-1]
    assert rows.tobytes() == before
    assert store.save_batch(rows[:0]) == 0


def test_a_batch_of_records_with_gaps_between_them(open_store: Any, trade_backend: Any, numbered: None) -> None:
    names = Names()
    given = [trade(n) for n in range(1, 11)]
    store = open_store(names)
    assert store.save_batch(trade_array(given, names)[::3]) == 4
    assert store.get_recent() == given[::3][::-1]


def test_only_the_new_ones_of_a_batch_count(trades: Any, said: Said) -> None:
    assert trades.save_batch([trade(n) for n in (1, 2, 3)]) == 3
    assert said(trades.save_batch([trade(n, qty_lots=5) for n in (2, 3, 4, 5)]), 2)
    assert trades.get_recent() == [trade(5, qty_lots=5), trade(4, qty_lots=5), trade(3), trade(2), trade(1)]


def test_of_one_id_in_a_batch_the_first_counts(trades: Any, said: Said) -> None:
    given = [trade(1, qty_lots=lots) for lots in (5, 6, 7)]
    assert said(trades.save_batch([*given, trade(2)]), 2)
    assert trades.get_recent() == [trade(2), given[0]]


def test_of_one_id_in_an_array_the_first_counts(open_store: Any, trade_backend: Any, numbered: None, said: Said) -> None:
    names = Names()
    given = [trade(1, qty_lots=lots) for lots in (5, 6, 7)]
    store = open_store(names)
    assert said(store.save_batch(trade_array(given, names)), 1)
    assert store.get_recent() == given[:1]


def test_older_trades_find_their_place(trades: Any, said: Said) -> None:
    trades.save_batch([trade(n) for n in range(100, 200)])
    trades.save_batch([trade(n) for n in range(50, 60)])
    assert said(trades.save(trade(150, qty_lots=1)), False)
    assert ids(trades.get_recent(105)) == [*range(199, 99, -1), *range(59, 54, -1)]


def test_thousands_of_trades_by_who_comes_later(
    open_store: Any, trade_backend: Any, numbered: None, reopen: Any, seq: Seq
) -> None:
    names = Names()
    given = [trade(n, ts_ns=n * 1_000_003, seq=seq(n), instrument=GRIDS[n % len(GRIDS)]) for n in range(1, 5_001)]
    store = open_store(names)
    assert store.save_batch(trade_array(given, names)) == 5_000
    later = reopen(open_store, store)
    assert later.get_recent(5_000) == given[::-1]
    assert later.get_recent(1_000) == given[:-1_001:-1]


def test_completeness_is_told(trades: Any) -> None:
    trades.save_batch([trade(n) for n in range(1, 101)])
    assert trades.complete_for(1) is True
    assert trades.complete_for(100) is True


def test_counts_only_grow(trades: Any) -> None:
    before = trades.stats()
    trades.save_batch([trade(1), trade(2)])
    trades.get_recent()
    after = trades.stats()
    assert isinstance(after, StoreStats)
    assert after.name
    assert set(before.counts) <= set(after.counts)
    assert all(after.counts[name] >= count >= 0 for name, count in before.counts.items())


def test_flush_says_who_is_safe(trades: Any) -> None:
    trades.save(trade())
    flushed = trades.flush(timeout_s=10)
    assert flushed
    assert flushed.late == ()
    assert trades.flush([], timeout_s=1).done == ()


def test_lists_belong_to_the_caller(trades: Any) -> None:
    trades.save(trade())
    trades.get_recent().clear()
    assert trades.get_recent() == [trade()]


def test_a_numpy_number_is_a_number(trades: Any) -> None:
    trades.save_batch([trade(np.int64(3)), trade(np.uint8(4))])
    assert ids(trades.get_recent(np.int32(1))) == [4]
