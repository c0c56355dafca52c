"""Layers that are made anew, or compared, while the engine goes on: with new users, and faster than whoever reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores.gated import MarkedOrderStore
from stores.test_catch_up import Deployment

from pyengine import Engine, Instrument
from pyengine.journal import History, Journal, recover
from pyengine.journal.compare import compare_orders, compare_trades
from pyengine.journal.rebuild import bring_up_to_date
from pyengine.store_errors import StoreRefused
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

BTC = Instrument("BTC-USD", "0.01", "0.001")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Journal(tmp_path / "journal").resume(instruments=[BTC]) as made:
        trade(made, "ann")
        yield made


def trade(engine: Engine, *users: str) -> None:
    for user in users:
        for side in ("buy", "sell", "buy"):
            engine.submit("BTC-USD", side, qty="0.5", price="99.5", user=user)
    engine.acknowledged().result()


def stores(path: Path, names: Any) -> tuple[SQLiteOrderStore, SQLiteTradeStore]:
    made = SQLiteOrderStore(path), SQLiteTradeStore(path)
    for store in made:
        store.attach_names(names)
    return made


def test_what_comes_with_new_names_is_left_to_whoever_has_them(engine: Engine, tmp_path: Path) -> None:
    found, history = recover(tmp_path / "journal"), History(tmp_path / "journal")
    trade(engine, "bob", "cid")
    orders, trades = stores(tmp_path / "market.db", found.engine.names)
    bring_up_to_date(history, found.engine.names, orders, "orders", until_seq=found.last_seq)
    bring_up_to_date(history, found.engine.names, trades, "trades", until_seq=found.last_seq)
    assert orders.watermark(history.identity) == trades.watermark(history.identity) == found.last_seq < history.last_seq
    assert {order.user for order in orders.get_all()} == {"ann"}
    orders, trades = stores(tmp_path / "market.db", engine.names)
    bring_up_to_date(history, engine.names, orders, "orders")
    bring_up_to_date(history, engine.names, trades, "trades")
    assert {order.user for order in orders.get_all()} == {"ann", "bob", "cid"}
    assert compare_orders(history, engine.names, orders).differences == ()


def test_what_has_names_that_came_later_is_no_difference(engine: Engine, tmp_path: Path) -> None:
    found, history = recover(tmp_path / "journal"), History(tmp_path / "journal")
    trade(engine, "bob", "cid")
    orders, trades = stores(tmp_path / "market.db", engine.names)
    bring_up_to_date(history, engine.names, orders, "orders")
    bring_up_to_date(history, engine.names, trades, "trades")
    for compare, store in ((compare_orders, orders), (compare_trades, trades)):
        compared = compare(history, found.engine.names, store, to_seq=found.last_seq)
        assert compared.compared > 0
        assert compared.differences == ()


def test_a_store_that_refuses_something_is_not_waited_for(engine: Engine, tmp_path: Path) -> None:
    store = MarkedOrderStore()
    store.gate.refused = {2}
    with pytest.raises(StoreRefused, match=r"marked must take all orders, refused 1, at first: .*\[2\]"):
        bring_up_to_date(History(tmp_path / "journal"), engine.names, store, "orders")
    assert [order.order_id for order in store.inner.get_all()] == [1, 3]


def test_an_engine_that_is_faster_is_no_reason_to_stop(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "journal", orders=SQLiteOrderStore(tmp_path / "market.db"))
    deployment.run(20)
    found, history = recover(deployment.path), History(deployment.path)
    orders, _ = stores(tmp_path / "market.db", found.engine.names)
    orders.clear()
    # The engine comes to know of it by the next record, and brings all of it itself.
    deployment.run(5)
    assert deployment.order_store.flush(timeout_s=10)
    assert orders.watermark(history.identity) > found.last_seq
    bring_up_to_date(history, found.engine.names, orders, "orders", until_seq=found.last_seq)
    deployment.stop()
    assert compare_orders(history, recover(deployment.path).engine.names, orders).differences == ()
