"""From an engine to any store: a thread that turns events into orders and trades.

    engine ─► L1 in memory, within the call
           └► event ring ─► feed ─► ring of a composite ─► its layers, each at its own pace

A store that isn't a composite is put behind one of its own, so that a slow or dead backend has a ring, a breaker and a writer
to itself whatever it is. The engine waits for the feed as for any required consumer; the feed waits for layers only briefly.
What they miss then they fetch from the engine's journal; if it has none, the composite counts it. Matching doesn't stop for a
store. With a journal, events come here once they are on the disk: no store is ever ahead of it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pyengine._core.consumer import Consumer
from pyengine._core.engine import EngineCore
from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.errors import FieldTypeError
from pyengine.records import TRADE_DTYPE, Kind, Records
from pyengine.store_errors import StoreClosed
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, process
from pyengine.stores.composite.layer import Layer
from pyengine.stores.interfaces import Flushed, OrderStore, StoreStats, TradeStore
from pyengine.stores.journal_source import JournalSource

if TYPE_CHECKING:
    from pyengine.journal import Journal
    from pyengine.journal.waiters import Waiters

_MOST = 8192
_NOTHING = 2**63 - 1
_MANY = 2048
_MOST_NAPS = 20
_SHORTEST_NAP_S = 0.5e-3
_LONGEST_NAP_S = 2e-3
_log = logging.getLogger("pyengine.stores.feed")


class EngineFeed:
    """Feeds the stores of an engine from its events. Made by `Engine`.

    Parameters
    ----------
    engine : EngineCore
    order_store, trade_store : optional
        Those that the engine doesn't write by itself; composites, or any others.
    orders : array of ORDER_RECORD_DTYPE, optional
        Those that are open in the engine already.

    Raises
    ------
    FieldTypeError
        Something is no store.

    Notes
    -----
    Thread-safety: any thread. Fork: the child's engine is fed by a thread of its own, from its own events on.
    """

    def __init__(
        self, engine: EngineCore, order_store: Any = None, trade_store: Any = None, orders: Records | None = None
    ) -> None:
        self._orders = _fed_orders(engine, order_store)
        self._trades = _fed_trades(engine, trade_store)
        self._tracker = InMemoryOrderStore(names=engine.names)
        if orders is not None:
            self._tracker.save_batch(orders)
        self._journal: Waiters | None = None
        self._in_hand: deque[tuple[CompositeOrderStore | CompositeTradeStore, Records, str, int]] = deque()
        self._most = _MOST
        self._counts = {"events": 0, "orders": 0, "trades": 0, "missed": 0}
        self._consumer = Consumer(engine, True, "stores")
        self._fed = self._skip_to = self._consumer.position
        self._closed = self._torn = False
        self._lock = threading.RLock()
        self.wake = threading.Event()
        for store in filter(None, (self._orders, self._trades)):
            store.follow(_upstream(self))
        if self._trades is not None:
            self._trades.begin_behind(engine.next_trade_id - 1)
        process.feed(self)
        self._start()

    def take_journal(self, journal: Journal) -> None:
        """Give the stores only what is in a journal from now on, and have them fetch from there what they lack."""
        with self._lock:
            self._journal = journal.waiters
            # An event changes two orders at most: what comes at once has room in each ring, and needn't come in parts.
            rings = [layer.ring.capacity // 2 for store in filter(None, (self._orders, self._trades)) for layer in store.layers]
            self._most = max(1, min([_MOST, *rings]))
            begins_at = self._consumer.position - 1
            for store in filter(None, (self._orders, self._trades)):
                kind: Literal["orders", "trades"] = "orders" if store is self._orders else "trades"
                store.follow(_upstream(self), JournalSource.of_written(journal, kind), begins_at)
                for layer in store.layers:
                    # A cache that is away may be away for good, and begins with what there is when it comes.
                    if not layer.is_cache:
                        journal.keep(f"{kind} in {layer.name}", _needs(layer))

    def _start(self) -> None:
        threading.Thread(target=_run, args=(weakref.ref(self),), name="pyengine-feed", daemon=True).start()

    # --- feeding ------------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Bring the stores what has happened, up to some thousand events; return how many it was."""
        with self._lock:
            if self._closed or self._torn:
                return 0
            self._give_rest()
            # If this doesn't come to its end, events are lost. To layers it would look as if they had all, if more came behind.
            self._torn = True
            count = self._read()
            self._torn = False
            self._give_rest()
            return count

    def _read(self) -> int:
        """Turn what has happened into records that are to be given to the stores; return of how many events."""
        events = self._consumer.read(min(self._most, self.lag))
        if not len(events):
            return 0
        # In a forked child, what happened before the fork is the parent's to write.
        inherited = max(0, min(self._skip_to - self._fed, len(events)))
        new, seq = events[inherited:], int(events["seq"][-1])
        self._counts["events"] += len(events)
        if self._orders is not None:
            self._tracker.apply_changes(events[:inherited])
            self._in_hand.append((self._orders, self._tracker.apply_changes(new), "orders", seq))
            self._tracker.remove_finished(keep=0)
        if self._trades is not None:
            trades = new[new["kind"] == Kind.TRADE].view(TRADE_DTYPE)
            self._in_hand.append((self._trades, trades, "trades", seq))
        return len(events)

    def _give_rest(self) -> None:
        """Give the stores what is in hand; it stays there if this is interrupted, as closing is by who can't wait for it."""
        while self._in_hand:
            self._give(*self._in_hand[0])
            self._in_hand.popleft()
        self._fed = self._consumer.position

    def _give(self, store: CompositeOrderStore | CompositeTradeStore, rows: Records, what: str, seq: int) -> None:
        try:
            store.accept_from_engine(rows, None if self._journal is None else seq)
            self._counts[what] += len(rows)
        except StoreClosed:
            if not self._counts["missed"]:
                _log.error("the engine's %s go nowhere: their store was closed", what)
            self._counts["missed"] += len(rows)

    def reached(self) -> Callable[[], bool]:
        """Return what tells whether everything has come to the stores that has happened up to now."""
        target = self._consumer.position + self._consumer.lag
        self.wake.set()

        def is_reached() -> bool:
            # After a failure of the journal nothing more comes than what it has.
            journal = self._journal
            ends_at = target if journal is None or journal.failure is None else min(target, journal.durable + 1)
            return self._fed >= ends_at or self._closed

        return is_reached

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def lag(self) -> int:
        """Number of events that can be turned into records, and haven't been."""
        lag, journal = self._consumer.lag, self._journal
        return lag if journal is None else max(0, min(lag, journal.durable + 1 - self._consumer.position))

    @property
    def enough(self) -> int:
        """Lag at which it is time to begin, lest the engine has to wait."""
        return 3 * self._consumer.engine.ring_capacity // 4

    @property
    def lowest_watermark(self) -> int | None:
        """The event up to which all layers have everything safely; None if none is known to. For `prune(keep=...)`, plus 1."""
        found = [store.lowest_watermark for store in (self._orders, self._trades) if store is not None]
        return min((each for each in found if each is not None), default=None)

    @property
    def closed(self) -> bool:
        """Whether the feed was closed."""
        return self._closed

    def flush(self, timeout_s: float = 5.0) -> Flushed:
        """Wait until everything that has happened up to now is safe in all layers of the stores, up to a deadline."""
        deadline = time.monotonic() + timeout_s
        done: list[str] = []
        late: list[str] = []
        for store in filter(None, (self._orders, self._trades)):
            flushed = store.flush(timeout_s=max(0.0, deadline - time.monotonic()))
            done += flushed.done
            late += flushed.late
        return Flushed(tuple(dict.fromkeys(done)), tuple(dict.fromkeys(late)))

    def finish(self, timeout_s: float = 5.0) -> None:
        """Bring the stores what is left, and stop. Stopping twice is stopping once."""
        if self.closed:
            return
        deadline = time.monotonic() + timeout_s
        while self.step() and time.monotonic() < deadline:
            pass
        with self._lock:
            if self._closed:
                return
            lost = self._consumer.position + self._consumer.lag - self._fed
            if lost:
                self._counts["missed"] += lost
                why = (
                    "it was closed" if self._journal is None or self._journal.failure is None else "its journal doesn't have them"
                )
                _log.error("the last %d events of an engine have not come to its stores: %s", lost, why)
            self._closed = True
            self._consumer.close()
            self.wake.set()

    def stats(self) -> StoreStats:
        """Return what was counted; `lag_records` are events that have yet to be turned into records."""
        counts = {**self._counts, "unmatched_events": self._tracker.unmatched_events}
        return StoreStats("feed", counts, {"lag_records": float(self._consumer.lag), "open": float(self._tracker.open_count)})

    def before_fork(self) -> None:
        """Be between two steps while the process forks."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; in a child with a thread of its own."""
        if not in_child:
            self._lock.release()
            return
        self._lock = threading.RLock()
        self.wake = threading.Event()
        self._skip_to = self._consumer.position + self._consumer.lag
        self._in_hand.clear()
        if not self._closed:
            self._start()


def _run(feed_of: weakref.ref[EngineFeed]) -> None:
    """Feed until the feed is closed, or gone with its engine."""
    nap_s, lag, naps, hurried = _SHORTEST_NAP_S, 0, 0, False
    while True:
        feed = feed_of()
        if feed is None or feed.closed:
            return
        before, lag = lag, feed.lag
        if lag > before and lag < feed.enough and naps < _MOST_NAPS and not hurried:
            # The engine is at work and there is room: it needs the processor, its caches and memory more than we do.
            nap_s = _SHORTEST_NAP_S
            naps += 1
        else:
            nap_s = _SHORTEST_NAP_S if lag else min(2 * nap_s, _LONGEST_NAP_S)
            naps = 0
            while feed.step() > _MANY:
                pass
            lag = feed.lag
        wake = feed.wake
        del feed
        hurried = wake.wait(nap_s)
        wake.clear()


def _upstream(feed: EngineFeed) -> Callable[[], Callable[[], bool]]:
    """Let a composite ask its feed without keeping it, and the engine, alive."""
    feed_of = weakref.ref(feed)

    def upstream() -> Callable[[], bool]:
        found = feed_of()
        return found.reached() if found is not None else lambda: True

    return upstream


def _needs(layer: Layer) -> Callable[[], int]:
    """Tell the journal what a layer has yet to get; one that doesn't fit it, or is gone, holds nothing up."""
    layer_of = weakref.ref(layer)

    def needs() -> int:
        found = layer_of()
        return _NOTHING if found is None or found.place is None or found.stopped is not None else found.safe_seq + 1

    return needs


def _fed_orders(engine: EngineCore, store: Any) -> CompositeOrderStore | None:
    if store is None or isinstance(store, InMemoryOrderStore):
        return None
    if not isinstance(store, OrderStore):
        raise FieldTypeError("order_store", store, "an OrderStore, such as one of a class that names it as its base")
    fed = store if isinstance(store, CompositeOrderStore) else CompositeOrderStore(store, own=False)
    fed.attach_names(engine.names)
    return fed


def _fed_trades(engine: EngineCore, store: Any) -> CompositeTradeStore | None:
    if store is None or isinstance(store, InMemoryTradeStore):
        return None
    if not isinstance(store, TradeStore):
        raise FieldTypeError("trade_store", store, "a TradeStore, such as one of a class that names it as its base")
    fed = store if isinstance(store, CompositeTradeStore) else CompositeTradeStore(store, own=False)
    fed.attach_names(engine.names)
    return fed
