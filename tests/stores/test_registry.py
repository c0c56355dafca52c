"""Stores of one's own by name: what is found, what it is made with, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pyengine.store_errors import SettingsError, StoreUnavailable
from pyengine.stores import Names, Order, Trade
from pyengine.stores.interfaces import OrderStore, TradeStore
from pyengine.stores.registry import load_order_store, load_trade_store
from pyengine.stores.sqlite import SQLiteOrderStore, SQLiteTradeStore

MODULE = '''
from pyengine.stores.interfaces import OrderStore, TradeStore

class Trades(TradeStore):
    def __init__(self, size=1, *, names=None): self.size, self.names, self.held = size, names, {}
    def save(self, trade): return self.held.setdefault(trade.trade_id, trade) is trade
    def get_recent(self, limit=100): return list(self.held.values())[:limit]
    def close(self): pass

class Alone:
    """Has the methods without a body, and nothing else."""
    def save(self, trade): ...
    def get_recent(self, limit=100): ...
    def close(self): ...

class Unfinished(OrderStore):
    def save(self, order): return True
    def close(self): pass

def down(): raise ConnectionError("nobody there")
number = 5
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with stores and entry points."""
    (tmp_path / "their_stores.py").write_text(MODULE)
    (tmp_path / "broken_stores.py").write_text("import no_such_library\n")
    for name, points in {"theirs": "ring = their_stores:Trades\nno_name = their_stores", "others": "ring = other:Trades"}.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pyengine.trade_stores]\n{points}\n")
    (tmp_path / "others-1.0.dist-info").rename(tmp_path / "others")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("their_stores", "broken_stores"):
        sys.modules.pop(name, None)


def test_a_store_is_found_by_its_path(tmp_path: Path) -> None:
    names = Names()
    orders = load_order_store("pyengine.stores.sqlite:SQLiteOrderStore", path=tmp_path / "stores.db", names=names)
    trades = load_trade_store("pyengine.stores.sqlite.trades:SQLiteTradeStore", path=tmp_path / "stores.db")
    assert isinstance(orders, SQLiteOrderStore)
    assert isinstance(trades, SQLiteTradeStore)
    assert orders.names is names
    orders.close()
    trades.close()


def test_a_store_is_found_by_its_entry_point(package: Path) -> None:
    store = load_trade_store("ring", size=7)
    assert isinstance(store, TradeStore)
    assert vars(store)["size"] == 7
    assert store.save_batch([Trade(1, 2, 3, 4, 5, 1), Trade(1, 2, 3, 4, 5, 1)]) == 1


def test_a_store_gets_what_it_has_parameters_for(package: Path) -> None:
    names = Names()
    store = load_trade_store("their_stores:Trades", offer={"names": names, "settings": object(), "size": 1}, size=7)
    assert vars(store)["names"] is names
    assert vars(store)["size"] == 7


@pytest.mark.parametrize(
    ("spec", "options", "text"),
    [
        ("rink", {}, r"'rink' must be package.module:Name or an entry point of pyengine.trade_stores \(no_name, ring\), was"),
        ("", {}, "store '' must be package.module:Name or an entry point"),
        ("no_name", {}, "store 'their_stores' must be package.module:Name, was not"),
        (":Trades", {}, "store ':Trades' must be package.module:Name, was not"),
        ("their_stores:", {}, "store 'their_stores:' must be package.module:Name, was not"),
        ("os; rm:x", {}, "store 'os; rm:x' must be package.module:Name, was not"),
        ("no_such_module:X", {}, "store 'no_such_module:X' can't be imported: ModuleNotFoundError: No module named"),
        ("broken_stores:X", {}, "store 'broken_stores:X' can't be imported: .*No module named 'no_such_library'"),
        ("their_stores:X", {}, "store 'their_stores:X' must be in their_stores, which has no X"),
        ("their_stores:Trades.inner.y", {}, "which has no inner"),
        ("their_stores:number", {}, "'their_stores:number' must be a class or a function that makes a store, was 5"),
        ("ring", {"colour": 1}, "store 'ring' can't be made with the options colour: got an unexpected keyword argument"),
        ("their_stores:Alone", {}, "must have every method of TradeStore, was .*: name TradeStore as a base of its class"),
        ("their_stores:Unfinished", {}, "must implement TradeStore, was .* without get_recent"),
        ("builtins:dict", {}, "must implement TradeStore, was {} without close, get_recent, save"),
    ],
)
def test_what_is_wrong_is_said(package: Path, spec: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        load_trade_store(spec, **options)


def test_an_empty_method_of_the_interface_is_no_method(package: Path) -> None:
    with pytest.raises(SettingsError, match="without get, get_all, get_by_side, get_by_user, remove, update"):
        load_order_store("their_stores:Unfinished")


def test_two_packages_of_one_name_are_told_apart(package: Path) -> None:
    (package / "others").rename(package / "others-1.0.dist-info")
    with pytest.raises(SettingsError, match=r"was registered as other:Trades, their_stores:Trades"):
        load_trade_store("ring")


def test_the_error_of_a_store_is_its_own(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="nobody there"):
        load_order_store("their_stores:down")
    with pytest.raises(StoreUnavailable):
        load_order_store("pyengine.stores.sqlite:SQLiteOrderStore", path=tmp_path / "missing" / "stores.db")


def test_a_module_that_is_loaded_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Everything(OrderStore):
        def __init__(self) -> None:
            self.rows: dict[int, Order] = {}

        def save(self, order: Order) -> bool:
            self.rows[order.order_id] = order
            return True

        update = save

        def get(self, order_id: int) -> Order | None:
            return self.rows.get(order_id)

        def remove(self, order_id: int) -> bool:
            return self.rows.pop(order_id, None) is not None

        def get_all(self) -> list[Order]:
            return list(self.rows.values())

        def get_by_user(self, user: str) -> list[Order]:
            return [order for order in self.rows.values() if order.user == user]

        def get_by_side(self, side: object, symbol: str | None = None) -> list[Order]:
            return self.get_all()

        def close(self) -> None:
            self.rows.clear()

    module = ModuleType("loaded_stores")
    module.Everything = Everything  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "loaded_stores", module)
    assert isinstance(load_order_store("loaded_stores:Everything"), Everything)
