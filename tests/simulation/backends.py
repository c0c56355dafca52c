"""Backends of layers that outlive the process, fail in every way that a caller can see, and lose or forget what they had.

Behind each is a dict or a list; in front of it a store as a deployment has one, with or without a watermark.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
from pyengine._core.record_arrays import order_array, trade_array

from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import TRADE_DTYPE, Records, Side
from pyengine.store_errors import StoreUnavailable
from pyengine.stores import Names, Order, Trade
from pyengine.stores.interfaces import Flushed, Mark, OrderStore, StoreStats, TradeStore

Passes = Callable[[float], None]


class Backend:
    """What is on the other side.

    Parameters
    ----------
    name : str
    rng : random.Random
    passes : callable
        Lets time pass, and others go on meanwhile.

    Attributes
    ----------
    rows : dict of int to bytes
        Records by id.
    marks : dict of str to int
    trouble : float
        Chance of each call to go wrong.
    down_until : float
        Until when nobody answers.
    """

    def __init__(self, name: str, rng: random.Random, passes: Passes) -> None:
        self.name = name
        self.rows: dict[int, bytes] = {}
        self.marks: dict[str, int] = {}
        self.names = Names()
        self.trouble = 0.0
        self.down_until = 0.0
        self.safe_id = 0
        self._rng = rng
        self._passes = passes
        self._copies: list[tuple[dict[int, bytes], dict[str, int]]] = []

    def call(self, do: Callable[[], Any]) -> Any:
        """Answer a call, or not, before or after it was carried out."""
        rng = self._rng
        if time.monotonic() < self.down_until:
            raise StoreUnavailable(f"{self.name} must be reachable, is down")
        if rng.random() >= self.trouble:
            return do()
        what = rng.choice(("lost", "unanswered", "slow", "slower", "hangs"))
        if what == "lost":
            raise StoreUnavailable(f"{self.name} must be reachable, lost a request")
        if what == "slower":
            self._passes(rng.uniform(0.1, 3.0))
        found = do()
        if what == "unanswered":
            raise StoreUnavailable(f"{self.name} must answer, lost a reply")
        if what in {"slow", "hangs"}:
            self._passes(rng.uniform(0.1, 10.0))
        if what == "hangs":
            raise StoreUnavailable(f"{self.name} must answer in time, didn't")
        return found

    def keep_copy(self) -> None:
        """Make a backup."""
        self._copies = [*self._copies[-2:], (dict(self.rows), dict(self.marks))]

    def restore(self) -> None:
        """Be as it was when a backup was made; empty without one."""
        rows, marks = self._rng.choice([*self._copies, ({}, {})])
        self.rows, self.marks = dict(rows), dict(marks)
        self.safe_id = max(self.rows, default=0)

    def lose_unsynced(self) -> None:
        """Lose some of what wasn't made durable, newest first: for those that write in order and sync later."""
        last = max(self.rows, default=0)
        kept = self._rng.randint(min(self.safe_id, last), last)
        for number in range(kept + 1, last + 1):
            self.rows.pop(number, None)
        self.safe_id = kept

    def array(self, dtype: np.dtype[np.void]) -> Records:
        """Return all records, by id."""
        return np.frombuffer(b"".join(self.rows[number] for number in sorted(self.rows)), dtype)


class _Front:
    """The half that all stores have in common."""

    complete = True

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.backend = backend

    @property
    def names(self) -> Names:
        return self.backend.names

    def is_empty(self) -> bool:
        return bool(self.backend.call(lambda: not self.backend.rows))

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:
        return Flushed((self.name,))

    def stats(self) -> StoreStats:
        return StoreStats(self.name)

    def close(self) -> None:
        pass


class _Marked(_Front):
    """Of those that keep watermarks."""

    def watermark(self, journal: str) -> int | None:
        return self.backend.call(lambda: self.backend.marks.get(journal))

    def save_marked(self, records: Any, mark: Mark) -> int:
        def save() -> int:
            if not mark.follows(self.backend.marks.get(mark.journal), self.name):
                return 0
            stored = self.put(records)  # type: ignore[attr-defined]
            self.backend.marks[mark.journal] = mark.to
            return stored

        return self.backend.call(save)

    def forget_watermark(self, journal: str) -> None:
        self.backend.call(lambda: self.backend.marks.pop(journal, None))


class PlainOrders(_Front, OrderStore):
    """Orders by id; the higher version wins."""

    def put(self, orders: Records | Iterable[Order]) -> int:
        rows = order_array(orders, self.names)
        size, raw, held, stored = ORDER_RECORD_DTYPE.itemsize, rows.tobytes(), self.backend.rows, 0
        for at, (number, version) in enumerate(zip(rows["order_id"].tolist(), rows["version"].tolist(), strict=True)):
            before = held.get(number)
            if before is None or np.frombuffer(before, ORDER_RECORD_DTYPE)["version"][0] <= version:
                held[number] = raw[at * size : (at + 1) * size]
                stored += 1
        return stored

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        return self.backend.call(lambda: self.put(orders))

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        numbers = [int(number) for number in order_ids]
        return self.backend.call(lambda: sum(self.backend.rows.pop(number, None) is not None for number in numbers))

    def save(self, order: Order) -> bool:
        return self.save_batch([order]) == 1

    def update(self, order: Order) -> bool:
        raise NotImplementedError

    def remove(self, order_id: int) -> bool:
        return self.remove_batch([order_id]) == 1

    def get(self, order_id: int) -> Order | None:
        return self.backend.call(lambda: None)

    def get_all(self) -> list[Order]:
        raise NotImplementedError

    def get_by_user(self, user: str) -> list[Order]:
        raise NotImplementedError

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        raise NotImplementedError


class MarkedOrders(_Marked, PlainOrders):
    """Orders and a watermark."""


class CachedOrders(MarkedOrders):
    """Orders and a watermark, of which none need be there."""

    complete = False


class PlainTrades(_Front, TradeStore):
    """Trades by id, each once."""

    def put(self, trades: Records | Iterable[Trade]) -> int:
        rows = trade_array(trades, self.names)
        size, raw, held, stored = TRADE_DTYPE.itemsize, rows.tobytes(), self.backend.rows, 0
        for at, number in enumerate(rows["trade_id"].tolist()):
            if number not in held:
                held[number] = raw[at * size : (at + 1) * size]
                stored += 1
        return stored

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        return self.backend.call(lambda: self.put(trades))

    def save(self, trade: Trade) -> bool:
        return self.save_batch([trade]) == 1

    def get_recent(self, limit: int = 100) -> list[Any]:
        return self.backend.call(lambda: self._recent(limit))

    def _recent(self, limit: int) -> list[Any]:
        rows = self.backend.array(TRADE_DTYPE)[::-1][:limit]
        return [_Read(*map(int, (row["trade_id"], row["maker_id"], row["taker_id"]))) for row in rows]


class _Read:
    """What is asked about a trade that is read back."""

    def __init__(self, trade_id: int, maker_id: int, taker_id: int) -> None:
        self.trade_id, self.maker_id, self.taker_id = trade_id, maker_id, taker_id


class MarkedTrades(_Marked, PlainTrades):
    """Trades and a watermark."""


class NumberedTrades(PlainTrades):
    """Trades in order, written now and synced later, whose last one says how far they go."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        # As a file is synced when it is opened.
        backend.safe_id = max(backend.rows, default=0)

    def last_trade_id(self) -> int:
        def sync() -> int:
            last = max(self.backend.rows, default=0)
            self.backend.safe_id = max(self.backend.safe_id, min(last, self.backend.safe_id + 20))
            return self.backend.safe_id

        return self.backend.call(sync)


ORDERS: dict[str, type[Any]] = {"marked": MarkedOrders, "cached": CachedOrders, "plain": PlainOrders}
TRADES: dict[str, type[Any]] = {"marked": MarkedTrades, "numbered": NumberedTrades, "plain": PlainTrades}
