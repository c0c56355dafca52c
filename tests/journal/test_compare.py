"""A layer beside the journal: whatever is missing, foreign or changed in it is found, and named by its sequence number."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from journal_setup import rows, small_journal

from pyengine.journal import Journal, prune, recover, write_snapshot
from pyengine.journal.compare import Comparison, compare_orders, compare_trades
from pyengine.journal.history import History
from pyengine.stores import Names
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore


class Filled:
    """A journal, and a database that has all of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"
        small_journal(self.path, runs=40)
        self.history = History(self.path)
        self.names = recover(self.path).engine.names
        self.file = folder / "market.db"
        self.order_store = SQLiteOrderStore(self.file)
        self.trade_store = SQLiteTradeStore(self.file)
        for store in (self.order_store, self.trade_store):
            store.attach_names(self.names)
        for orders, _ in self.history.orders():
            self.order_store.save_batch(orders)
        for trades, _ in self.history.trades():
            self.trade_store.save_batch(trades)

    def sql(self, text: str, *values: Any) -> list[Any]:
        with sqlite3.connect(self.file) as connection:
            return connection.execute(text, values).fetchall()

    def orders(self, **options: Any) -> Comparison:
        return compare_orders(self.history, self.names, self.order_store, **options)

    def trades(self, **options: Any) -> Comparison:
        return compare_trades(self.history, self.names, self.trade_store, **options)


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path)


def test_a_layer_that_has_everything_has_no_difference(filled: Filled) -> None:
    orders, trades = filled.orders(), filled.trades()
    assert (orders.differences, trades.differences) == ((), ())
    assert orders.compared == filled.sql("SELECT count(*) FROM orders")[0][0] > 50
    assert trades.compared == filled.sql("SELECT count(*) FROM trades")[0][0] > 50
    assert orders.to_seq == trades.to_seq == filled.history.last_seq


def test_what_is_missing_is_named_by_its_event(filled: Filled) -> None:
    [(order_id, version)] = filled.sql("SELECT order_id, version FROM orders ORDER BY order_id LIMIT 1 OFFSET 9")
    filled.sql("DELETE FROM orders WHERE order_id = ?", order_id)
    filled.sql("DELETE FROM trades WHERE trade_id IN (7, 3)")
    [lost] = filled.orders().differences
    assert (lost.seq, lost.what, lost.problem) == (version, f"order {order_id}", "is missing")
    assert str(lost) == f"event {version}: order {order_id} is missing"
    first, second = filled.trades().differences
    assert (first.what, second.what) == ("trade 3", "trade 7")
    assert (first.seq, second.seq) == (filled.history.seq_of_trade(3), filled.history.seq_of_trade(7))


def test_what_was_changed_is_named_with_its_field(filled: Filled) -> None:
    filled.sql("UPDATE trades SET sell_order_id = 77 WHERE trade_id = 5")
    [(order_id, flags)] = filled.sql("SELECT order_id, flags FROM orders ORDER BY order_id LIMIT 1")
    filled.sql("UPDATE orders SET flags = ? WHERE order_id = ?", flags ^ 1, order_id)
    [changed] = filled.trades().differences
    assert changed.what == "trade 5"
    assert changed.problem.startswith("has sell_order_id 77, must have ")
    [changed] = filled.orders().differences
    assert changed.problem == f"has flags {flags ^ 1}, must have {flags}"


def test_what_never_happened_is_found(filled: Filled) -> None:
    columns = [row[1] for row in filled.sql("PRAGMA table_info(trades)")]
    copied = ", ".join("trade_id + 1000000" if name == "trade_id" else name for name in columns)
    filled.sql(f"INSERT INTO trades SELECT {copied} FROM trades WHERE trade_id = 2")
    columns = [row[1] for row in filled.sql("PRAGMA table_info(orders)")]
    copied = ", ".join("order_id + 1000000" if name == "order_id" else name for name in columns)
    filled.sql(f"INSERT INTO orders SELECT {copied} FROM orders ORDER BY order_id LIMIT 1")
    [foreign] = filled.trades().differences
    assert (foreign.what, foreign.problem) == ("trade 1000002", "isn't in the journal")
    [foreign] = filled.orders().differences
    assert foreign.problem == "isn't in the journal"


def test_only_what_is_up_to_the_watermark_is_looked_at(filled: Filled) -> None:
    half = filled.history.last_seq // 2
    known, later = (set(_ids(filled.history.orders(*span))) for span in ((0, half), (half, None)))
    assert filled.orders(to_seq=half).differences == filled.trades(to_seq=half).differences == ()
    # What changed afterwards may be there in any form, or not at all.
    for order_id in later:
        filled.sql("DELETE FROM orders WHERE order_id = ?", order_id)
    found = filled.orders(to_seq=half)
    assert (found.compared, found.differences) == (len(known - later), ())
    last = max(rows["trade_id"].max() for rows, _ in filled.history.trades(0, half) if len(rows))
    filled.sql("DELETE FROM trades WHERE trade_id > ?", int(last))
    assert filled.trades(to_seq=half).differences == ()
    filled.sql("DELETE FROM trades WHERE trade_id = ?", int(last))
    assert len(filled.trades(to_seq=half).differences) == 1


def test_a_cache_may_have_dropped_orders_but_not_changed_them(filled: Filled) -> None:
    filled.sql("DELETE FROM orders WHERE order_id % 2 = 0")
    found = filled.orders(cache=True)
    assert (found.absent > 10, found.differences) == (True, ())
    filled.sql("UPDATE orders SET entered = entered + 1 WHERE order_id = (SELECT min(order_id) FROM orders)")
    assert len(filled.orders(cache=True).differences) == 1


def test_of_a_store_that_keeps_the_newest_trades_no_others_are_asked_for(filled: Filled) -> None:
    newest = filled.sql("SELECT max(trade_id) FROM trades")[0][0]
    filled.sql("DELETE FROM trades WHERE trade_id <= ?", newest - 20)
    assert filled.trades(newest=20).differences == ()
    filled.sql("DELETE FROM trades WHERE trade_id = ?", newest - 19)
    assert len(filled.trades(newest=20).differences) == 1


def test_names_that_the_journal_doesnt_have_are_foreign(filled: Filled) -> None:
    filled.names = Names()
    assert all(difference.problem == "isn't in the journal: its names aren't" for difference in filled.trades().differences[:5])


def test_after_pruning_what_is_left_is_compared(tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    write_snapshot(filled.path)
    engine = Journal(filled.path, segment_bytes=4096).resume()
    for turn in range(30):
        engine.run(rows(15, seed=1000 + turn))
    engine.close()
    write_snapshot(filled.path)
    assert prune(filled.path)
    end = filled.history.last_seq
    for orders, _ in filled.history.orders(filled.history.orders_from):
        filled.order_store.save_batch(orders)
    for trades, _ in filled.history.trades(filled.history.trades_from):
        filled.trade_store.save_batch(trades)
    assert filled.history.first_seq > 1
    assert filled.orders(to_seq=end).differences == filled.trades(to_seq=end).differences == ()
    filled.sql("DELETE FROM trades WHERE trade_id = (SELECT max(trade_id) FROM trades)")
    assert len(filled.trades(to_seq=end).differences) == 1


def _ids(batches: Any) -> Any:
    for orders, _ in batches:
        yield from orders["order_id"].tolist()
