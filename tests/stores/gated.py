"""Stores behind a gate: real ones, whose backend the tests make slow, deaf, unwilling or unreachable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyengine.records import Records, Side
from pyengine.store_errors import StoreDamaged, StoreRefused, StoreUnavailable
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore, Names, Order, Trade
from pyengine.stores.interfaces import Flushed, Mark, OrderStore, StoreStats, TradeStore


class Gate:
    """What stands between a store and its backend.

    Attributes
    ----------
    shut : bool
        Calls find nobody.
    delay_s : float
        What each call takes more.
    refused : set of int
        Ids that the backend refuses to store.
    damaged : set of int
        Ids under which it holds something else.
    calls : list of (str, int)
        Methods that came through, and of how many records.
    """

    def __init__(self) -> None:
        self.shut = False
        self.delay_s = 0.0
        self.refused: set[int] = set()
        self.damaged: set[int] = set()
        self.calls: list[tuple[str, int]] = []
        self.waiting = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._hanging: tuple[str, ...] = ()
        self._answers = threading.Event()
        self._answers.set()

    def hang(self, *methods: str) -> None:
        """Let calls, or those of some methods, wait until `go_on`, as a stopped process does."""
        self._hanging = methods
        self._answers.clear()

    def go_on(self) -> None:
        """Answer all who wait."""
        self._answers.set()

    @contextmanager
    def passing(self, method: str, records: int = 1) -> Iterator[None]:
        """Carry out a call, if the backend is there."""
        with self._lock:
            self.waiting += 1
            self.most_at_once = max(self.most_at_once, self.waiting)
        try:
            if not self._hanging or method in self._hanging:
                self._answers.wait()
            if self.delay_s:
                time.sleep(self.delay_s)
            if self.shut:
                raise StoreUnavailable("the backend must be reachable, the gate is shut")
            yield
            self.calls.append((method, records))
        finally:
            with self._lock:
                self.waiting -= 1

    def refuse(self, ids: Iterable[int]) -> None:
        """Raise for ids that the backend doesn't like."""
        wrong = self.refused.intersection(ids)
        if wrong:
            raise StoreRefused(f"ids must be liked, were {sorted(wrong)[:3]}")

    def look(self, ids: Iterable[int]) -> None:
        """Raise for ids whose values are damaged."""
        wrong = self.damaged.intersection(ids)
        if wrong:
            raise StoreDamaged(f"row {min(wrong)}: price must be a number, was 'abc'")


class GatedOrderStore(OrderStore):
    """An order store whose backend is an InMemoryOrderStore behind a gate; `is_cache` if it may forget."""

    def __init__(self, name: str = "gated", *, is_cache: bool = False, gate: Gate | None = None) -> None:
        self.name = name
        self.gate = gate or Gate()
        self.inner = InMemoryOrderStore()
        self._is_cache = is_cache
        self.closed = 0

    @property
    def names(self) -> Names:
        return self.inner.names

    @property
    def complete(self) -> bool:
        return not self._is_cache

    def is_empty(self) -> bool:
        with self.gate.passing("is_empty"):
            return len(self.inner) == 0

    def save(self, order: Order) -> bool:
        return self.save_batch([order]) == 1

    def update(self, order: Order) -> bool:
        with self.gate.passing("update"):
            return self.inner.update(order)

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        orders = orders if hasattr(orders, "dtype") else list(orders)
        with self.gate.passing("save_batch", len(orders)):
            self.gate.refuse(orders["order_id"].tolist() if hasattr(orders, "dtype") else [each.order_id for each in orders])
            return self.inner.save_batch(orders)

    def get(self, order_id: int) -> Order | None:
        with self.gate.passing("get"):
            self.gate.look([order_id])
            return self.inner.get(order_id)

    def remove(self, order_id: int) -> bool:
        return self.remove_batch([order_id]) == 1

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        with self.gate.passing("remove_batch", len(list(order_ids))):
            return self.inner.remove_batch(order_ids)

    def get_all(self) -> list[Order]:
        with self.gate.passing("get_all"):
            return self.inner.get_all()

    def get_by_user(self, user: str) -> list[Order]:
        with self.gate.passing("get_by_user"):
            return self.inner.get_by_user(user)

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        with self.gate.passing("get_by_side"):
            return self.inner.get_by_side(side, symbol)

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:
        with self.gate.passing("flush"):
            return Flushed((self.name,))

    def stats(self) -> StoreStats:
        return StoreStats(self.name, {"calls": len(self.gate.calls)})

    def close(self) -> None:
        self.closed += 1


class GatedTradeStore(TradeStore):
    """A trade store whose backend is an InMemoryTradeStore behind a gate."""

    def __init__(self, name: str = "gated", *, capacity: int = 100_000, gate: Gate | None = None) -> None:
        self.name = name
        self.gate = gate or Gate()
        self.inner = InMemoryTradeStore(capacity)
        self.closed = 0

    @property
    def names(self) -> Names:
        return self.inner.names

    def save(self, trade: Trade) -> bool:
        return self.save_batch([trade]) == 1

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        trades = trades if hasattr(trades, "dtype") else list(trades)
        with self.gate.passing("save_batch", len(trades)):
            self.gate.refuse(trades["trade_id"].tolist() if hasattr(trades, "dtype") else [each.trade_id for each in trades])
            return self.inner.save_batch(trades)

    def get_recent(self, limit: int = 100) -> list[Trade]:
        with self.gate.passing("get_recent"):
            return self.inner.get_recent(limit)

    def complete_for(self, limit: int) -> bool:
        with self.gate.passing("complete_for"):
            return self.inner.complete_for(limit)

    def close(self) -> None:
        self.closed += 1


class _Marked:
    """Watermarks, and a backend that can be wiped and set back."""

    gate: Gate
    inner: Any

    def _start(self) -> None:
        self.marks: dict[str, int] = {}
        self.moved: list[Mark] = []
        self._together = threading.Lock()

    def _all(self) -> Records:
        return self.inner.get_all_array() if isinstance(self.inner, InMemoryOrderStore) else self.inner.get_recent_array(2**31)

    def watermark(self, journal: str) -> int | None:
        with self.gate.passing("watermark"):
            return self.marks.get(journal)

    def save_marked(self, records: Records, mark: Mark) -> int:
        with self.gate.passing("save_marked", len(records)), self._together:
            key = "order_id" if isinstance(self.inner, InMemoryOrderStore) else "trade_id"
            self.gate.refuse(records[key].tolist())
            if not mark.follows(self.marks.get(mark.journal)):
                return 0
            stored: int = self.inner.save_batch(records)
            self.marks[mark.journal] = mark.to
            self.moved.append(mark)
            return stored

    def forget_watermark(self, journal: str) -> None:
        self.marks.pop(journal, None)

    def clear(self) -> None:
        with self.gate.passing("clear"):
            self.restore()

    def backup(self) -> tuple[Records, dict[str, int]]:
        """Copy everything."""
        with self._together:
            return self._all(), dict(self.marks)

    def restore(self, backup: tuple[Records, dict[str, int]] | None = None) -> None:
        """Set everything back to a copy, or to nothing."""
        with self._together:
            self.inner.clear()
            self.marks.clear()
            if backup is not None:
                self.inner.save_batch(backup[0])
                self.marks.update(backup[1])


class MarkedOrderStore(_Marked, GatedOrderStore):
    """An order store that keeps watermarks."""

    def __init__(self, name: str = "marked", **options: Any) -> None:
        super().__init__(name, **options)
        self._start()


class MarkedTradeStore(_Marked, GatedTradeStore):
    """A trade store that keeps watermarks."""

    def __init__(self, name: str = "marked", **options: Any) -> None:
        super().__init__(name, **options)
        self._start()

    def is_empty(self) -> bool:
        with self.gate.passing("is_empty"):
            return len(self.inner) == 0


class NumberedTradeStore(GatedTradeStore):
    """A trade store that has its trades in order, and knows the last one."""

    def last_trade_id(self) -> int:
        with self.gate.passing("last_trade_id"):
            return self.inner.newest_trade_id or 0


class OwnOrderStore(OrderStore):
    """A store as a user would write it, with the methods that have no body and no `names`."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}

    def save(self, order: Order) -> bool:
        known = self.orders.get(order.order_id)
        if known is not None and known.version > order.version:
            return False
        self.orders[order.order_id] = order
        return True

    def update(self, order: Order) -> bool:
        return order.order_id in self.orders and self.save(order)

    def get(self, order_id: int) -> Order | None:
        return self.orders.get(order_id)

    def remove(self, order_id: int) -> bool:
        return self.orders.pop(order_id, None) is not None

    def get_all(self) -> list[Order]:
        return [self.orders[order_id] for order_id in sorted(self.orders)]

    def get_by_user(self, user: str) -> list[Order]:
        return [order for order in self.get_all() if order.user == user]

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        found = [o for o in self.get_all() if o.is_open and o.side == side and symbol in (None, o.symbol)]
        return sorted(found, key=lambda o: (-o.price_ticks if o.side == Side.BUY else o.price_ticks, o.entered))

    def close(self) -> None:
        self.orders.clear()


def eventually(holds: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.002)
