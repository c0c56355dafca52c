"""Recent trades in Redis: a cache that several nodes share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyengine._core.names import Names
from pyengine._core.trade import Trade
from pyengine.records import Records
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.arguments import whole
from pyengine.stores.interfaces import Mark, TradeStore
from pyengine.stores.redis.aio import AsyncTrades
from pyengine.stores.redis.connection import RedisConnection
from pyengine.stores.redis.store import RedisStore, connection_of
from pyengine.stores.redis.trade_steps import TradeSteps

CAPACITY = 10_000


class RedisTradeStore(RedisStore, TradeStore):
    """The newest trades in Redis: `trades:recent` is a sorted set of JSON objects whose scores are times in nanoseconds.

    Parameters
    ----------
    connection : RedisConnection or str, optional
        A URL or None makes a connection of the store's own, from it and the `options`.
    names : Names, optional
        Table of instruments. Default: a table of its own.
    capacity : int
        How many trades are kept.
    **options
        Of `RedisConnection`.

    Raises
    ------
    FieldTypeError, FieldError
        A parameter can't be used.

    Notes
    -----
    Durability: a cache that may forget anything at any time. `complete_for` looks at the ids: what is dense is all there is,
    up to the newest trade that Redis was given.

    Latency: one round trip a batch for trades that follow the newest, two or three for those that come late.

    Order: scores rise with the ids. A double can't tell times within 256 ns apart, so a trade of (nearly) the same time as
    the one before it gets the next double as its score; the exact time is in the JSON.

    A batch goes in steps of 1,000 trades: if it fails midway, some may be stored, and saving it again is safe. What a JSON
    object doesn't say is lost: the flags of a trade, which tell whether it filled its orders.

    Thread-safety: any thread may call, and a forked child. Writers take turns.
    """

    def __init__(
        self,
        connection: RedisConnection | str | None = None,
        *,
        names: Names | None = None,
        capacity: int = CAPACITY,
        **options: Any,
    ) -> None:
        way, owned = connection_of(connection, options)
        self.capacity = whole("capacity", capacity, 1, 2**32 - 1)
        self._steps = TradeSteps(names, way.prefix, way.address, self.capacity)
        super().__init__(way, owned=owned, steps=self._steps)
        self._aio = AsyncTrades(self, self._steps)
        self._turn = (os.getpid(), threading.Lock())

    @property
    def aio(self) -> AsyncTrades:
        """The same methods as coroutines, for the caller's own loop."""
        return self._aio

    def save(self, trade: Trade) -> bool:
        """Take in a trade; see `TradeStore.save`."""
        return self.save_batch([trade]) == 1

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """Take in many trades and return how many were new; older ones than a full set holds aren't taken in."""
        with self._taking_turns():
            return self.run(self._steps.save(trades))

    def save_marked(self, records: Records | Iterable[Trade], mark: Mark) -> int:
        """See `Watermarked.save_marked`.

        A batch goes in steps as that of `save_batch`: if it fails midway, trades may be stored, but the watermark isn't moved.
        """
        with self._taking_turns():
            return self.run(self._steps.save(records, mark))

    def backfill(self, trades: Records | Iterable[Trade]) -> int:
        """Put in what other layers know; as a trade never changes, this is `save_batch`."""
        return self.save_batch(trades)

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """Return the newest trades that Redis has, by falling id."""
        return self.run(self._steps.get_recent(limit))

    def complete_for(self, limit: int) -> bool:
        """Whether that many trades are there without a gap between their ids, or all from the first on."""
        return self.run(self._steps.complete_for(limit))

    def is_empty(self) -> bool:
        """Whether Redis has no trade."""
        return self.run(self._steps.is_empty())

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Let one thread write at a time: each needs to know which trade the other's was."""
        process_id, lock = self._turn
        if process_id != os.getpid():
            # Another thread may have held the lock when this process was forked off.
            _, lock = self._turn = (os.getpid(), threading.Lock())
        if not lock.acquire(timeout=self._connection.write_timeout_s):
            raise StoreUnavailable(f"redis at {self.address}: save failed: other threads were writing for too long")
        try:
            yield
        finally:
            lock.release()
