"""Folders with a book to start from, orders, and the trades and the book that must come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pyengine.commands import Commands, commands_from
from pyengine.errors import PyengineError
from pyengine.instrument import Instrument
from pyengine.records import Action, Records, Side
from pyengine.replay.checks import BookCheck, Check, TradesCheck, book_state
from pyengine.replay.compression import SUFFIXES, read_all
from pyengine.replay.errors import ReplayError, shown
from pyengine.replay.kinds import Code, Integer, Ints, Kind
from pyengine.replay.table import read_table
from pyengine.replay.tape import PlainTape

_SIDES = {"B": int(Side.BUY), "S": int(Side.SELL)}
_ACTIONS = {"N": int(Action.LIMIT), "M": int(Action.MARKET), "C": int(Action.CANCEL)}

_ORDERS: Mapping[str, Kind] = {
    "seq": Integer(),
    "ts_ns": Integer(),
    "action": Code(_ACTIONS),
    "order_id": Integer("<u8"),
    "side": Code(_SIDES, blank=0),
    "price": Integer(blank=0),
    "qty": Integer(blank=0),
}
_BOOK: Mapping[str, Kind] = {
    "side": Code(_SIDES),
    "price": Integer(),
    "queue_pos": Integer(),
    "order_id": Integer("<u8"),
    "qty": Integer(),
}
_TRADES: Mapping[str, Kind] = {
    "taker_id": Integer("<u8"),
    "maker_id": Integer("<u8"),
    "price": Integer(),
    "qty": Integer(),
}
_FORMS = (".csv", ".parquet", ".npz")


def is_folder(path: Path) -> bool:
    """Tell whether a folder has orders in this form."""
    return _part(path, "orders") is not None


def folder_tape(path: Path, *, expected: Path | None = None, instrument: Instrument | None = None) -> PlainTape:
    """Open a folder.

    Parameters
    ----------
    path : Path
        Holds ``orders`` (seq, ts_ns, action N, M or C, order_id, side, price, qty), and as far as they are known
        ``seed_book`` and ``final_book`` (side, price, queue_pos, order_id, qty), ``trades_expected`` (order_seq,
        taker_id, maker_id, price, qty); each as CSV or Parquet, packed or not. Prices are ticks and sizes lots.
        ``instrument.json`` has the symbol, tick_size and lot_size.
    expected : Path, optional
        A file of trades or of a book, to be compared instead of those in the folder.
    instrument : Instrument, optional
        What is traded, instead of ``instrument.json``; without both, one of tick 1 and lot 1 named as the folder.

    Returns
    -------
    PlainTape

    Raises
    ------
    ReplayError
        A file is missing, damaged or not in this form.
    """
    orders_path = _part(path, "orders")
    if orders_path is None:
        raise ReplayError(path, "a folder with a file orders.csv or orders.parquet", "without", subject="path")
    orders = read_table(orders_path, _ORDERS)
    instrument = instrument or _instrument(path)
    expectations: list[Callable[[], Check]] = []
    if expected is not None:
        expectations.append(expected_check(expected, orders))
    else:
        for name in ("trades_expected", "final_book"):
            part = _part(path, name)
            expectations += [] if part is None else [expected_check(part, orders)]
    seed = _part(path, "seed_book")
    return PlainTape(
        path.name,
        [instrument],
        _commands(orders),
        seed=None if seed is None else _seed(_book(seed)),
        expectations=expectations,
    )


def expected_check(path: Path, orders: Mapping[str, Ints] | None = None) -> Callable[[], Check]:
    """Read a file of expected trades or of an expected book, whichever its columns say.

    Parameters
    ----------
    path : Path
        The file.
    orders : mapping of name to ndarray, optional
        The orders of a folder, for trades that name the order's ``seq``.

    Returns
    -------
    callable
        Makes a fresh check.
    """
    columns = read_table(path, {}, optional={**_TRADES, **_BOOK, "order_seq": Integer()})
    if all(name in columns for name in _BOOK):
        state = _book(path)
        return lambda: BookCheck(state)
    missing = [name for name in _TRADES if name not in columns]
    if missing:
        expected = f"trades ({', '.join(_TRADES)}) or a book ({', '.join(_BOOK)})"
        raise ReplayError(path, expected, ", ".join(columns) or "none of these", subject="columns")
    trades = {
        "taker_id": columns["taker_id"],
        "maker_id": columns["maker_id"],
        "price_ticks": columns["price"],
        "qty_lots": columns["qty"],
    }
    if orders is not None and "order_seq" in columns:
        trades["ts_ns"] = _times_of(path, columns["order_seq"], orders)
    return lambda: TradesCheck(trades)


def _part(path: Path, name: str) -> Path | None:
    """Find a file of the folder under any of its suffixes."""
    for form in _FORMS:
        for packing in ("", *SUFFIXES):
            part = path / f"{name}{form}{packing}"
            if part.is_file():
                return part
    return None


def _instrument(path: Path) -> Instrument:
    """Read instrument.json, if it is there."""
    described = path / "instrument.json"
    if not described.is_file():
        return Instrument(path.name or "replay")
    raw = read_all(described)
    try:
        fields = json.loads(raw)
        return Instrument(fields["symbol"], fields["tick_size"], fields["lot_size"])
    except (ValueError, KeyError, TypeError, PyengineError) as error:
        raise ReplayError(described, "JSON with symbol, tick_size and lot_size", f"{shown(raw)} ({error})") from error


def _commands(orders: Mapping[str, Ints]) -> Commands:
    """Name the columns as the engine does; a cancel has no use for side, price and size."""
    is_cancel, is_limit = orders["action"] == Action.CANCEL, orders["action"] == Action.LIMIT
    return commands_from(
        {
            "action": orders["action"],
            "side": np.where(is_cancel, 0, orders["side"]).astype("u1"),
            "order_id": orders["order_id"],
            "price_ticks": np.where(is_limit, orders["price"], 0),
            "qty_lots": np.where(is_cancel, 0, orders["qty"]),
            "ts_ns": orders["ts_ns"],
        }
    )


def _book(path: Path) -> Records:
    """Read a book as its orders, bids then asks, best price first, in queue order."""
    table = read_table(path, _BOOK)
    return book_state(table["side"], table["price"], table["queue_pos"], table["order_id"], table["qty"])


def _seed(book: Records) -> Commands:
    """Make limit orders that build a book."""
    names = ("side", "order_id", "price_ticks", "qty_lots")
    return commands_from({name: book[name] for name in names}, action=Action.LIMIT)


def _times_of(path: Path, order_seq: Ints, orders: Mapping[str, Ints]) -> Ints:
    """Find the times of the orders that expected trades name."""
    by_seq = np.argsort(orders["seq"], kind="stable")
    place = np.searchsorted(orders["seq"], order_seq, sorter=by_seq)
    row = by_seq[np.minimum(place, len(by_seq) - 1)]
    bad = orders["seq"][row] != order_seq
    if bad.any():
        k = int(bad.argmax())
        raise ReplayError(path, "the seq of an order", str(order_seq[k]), row=k + 1, column="order_seq")
    return orders["ts_ns"][row]
