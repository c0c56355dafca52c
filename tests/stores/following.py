"""An engine with a journal, and layers that follow it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journal_setup import rows
from side_by_side import NAMES, new_engine
from stores.composite_setup import QUICK
from stores.gated import MarkedOrderStore, MarkedTradeStore

from pyengine import SelfTrade
from pyengine.journal import History, Journal
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore

EACH = 40

RING = 256


class Deployment:
    """An engine with a journal and two layers below memory, or one, and what goes on meanwhile."""

    def __init__(self, path: Path, *, ring: int = RING, orders: Any = None, trades: Any = None, **journal: Any) -> None:
        self.path, self.ring, self.journal_options = path, ring, {"segment_bytes": 1 << 16, **journal}
        self.orders = MarkedOrderStore() if orders is None else orders
        self.trades = MarkedTradeStore() if trades is None else trades
        self.turn = 0
        self.start()

    def start(self) -> None:
        """Make the engine of what the journal has, with stores that are new but for the layers below."""
        options = dict.fromkeys({self.orders.name, self.trades.name}, QUICK)
        self.order_store = CompositeOrderStore(
            InMemoryOrderStore(), self.orders, ring_capacity=self.ring, options={self.orders.name: QUICK}, own=False
        )
        self.trade_store = CompositeTradeStore(
            InMemoryTradeStore(100), self.trades, ring_capacity=self.ring, options={self.trades.name: options[self.trades.name]},
            own=False,
        )  # fmt: skip
        self.journal = Journal(self.path, **self.journal_options)
        self.engine = self.journal.resume(
            order_store=self.order_store,
            trade_store=self.trade_store,
            instruments=new_engine().instruments,
            self_trade=SelfTrade.CANCEL_TAKER,
            ring_capacity=1 << 14,
        )
        for name in NAMES:
            self.engine.user(name)

    def run(self, turns: int = 1, each: int = EACH) -> None:
        for _ in range(turns):
            self.engine.run(rows(each, seed=self.turn))
            self.turn += 1

    def stop(self, timeout_s: float = 5.0) -> None:
        self.engine.close()
        self.order_store.close(timeout_s)
        self.trade_store.close(timeout_s)

    def expected(self) -> tuple[bytes, bytes]:
        """Read all out of the journal, however it came there."""
        orders, trades = InMemoryOrderStore(), InMemoryTradeStore(1 << 20)
        history, until = History(self.path), self.journal.durable_seq
        for part, _ in history.orders(0, until):
            orders.save_batch(part)
        for part, _ in history.trades(0, until):
            trades.save_batch(part)
        return orders.get_all_array().tobytes(), trades.get_recent_array(1 << 20).tobytes()

    def check(self) -> None:
        """See that both layers have what the journal has."""
        flushed = self.engine.flush_stores(20)
        assert flushed, flushed
        orders, trades = self.expected()
        assert self.orders.inner.get_all_array().tobytes() == orders
        assert self.trades.inner.get_recent_array(1 << 20).tobytes() == trades
        for store in (self.order_store, self.trade_store):
            [layer] = store.layers
            assert layer.is_whole
            assert layer.missed_count == 0
            assert layer.stats().gauges["stopped"] == 0

    @contextmanager
    def busy(self, pause_s: float = 0.002) -> Iterator[Callable[[], int]]:
        """Keep the engine busy; yields what counts the commands that were run."""
        over, failed = threading.Event(), []
        begun = self.turn

        def work() -> None:
            try:
                while not over.is_set():
                    self.run()
                    time.sleep(pause_s)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield lambda: self.turn - begun
        finally:
            over.set()
            thread.join()
        assert not failed


def marks_are_dense(store: Any, journal: str) -> None:
    """See that each mark went on where the one before had ended."""
    assert [mark.after for mark in store.moved[1:]] == [mark.to for mark in store.moved[:-1]]
    assert all(mark.journal == journal for mark in store.moved)
