"""Where a layer is in the journal of the engine that it follows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from pyengine.records import Records
from pyengine.store_errors import StoreError
from pyengine.stores.interfaces import Watermarked

_KEPT = 4096


class Source(Protocol):
    """What a journal can tell the layers of a composite, orders or trades; none of it keeps the engine alive."""

    journal: str

    @property
    def durable_seq(self) -> int:
        """The last event that is on the disk for certain."""
        ...

    @property
    def last_seq(self) -> int:
        """The last event that a store may have: somebody else may bring it more than what is read here."""
        ...

    @property
    def begins_after(self) -> int:
        """The lowest event behind which records can be read."""
        ...

    def records(self, after_seq: int, batch: int, *, whole: bool = False) -> Iterator[tuple[Records, int]]:
        """Read what follows an event, up to what is on the disk by then, each part with the event up to which it goes.

        With `whole`, what was open at the first event comes before.

        Raises
        ------
        LayerStopped
            The journal doesn't go back so far, or is damaged.
        """
        ...

    def trade(self, trade_id: int) -> Records | None:
        """Find a trade, as an array of one; None if it isn't in the journal. Raises LayerStopped if it was pruned."""
        ...


class Place:
    """How far a layer has got, and how it goes on.

    Parameters
    ----------
    store : OrderStore or TradeStore
    source : Source
    begins_at : int
        The event behind which the ring begins.

    Attributes
    ----------
    watermark : int or None
        The last event up to which the store has everything; None if it has nothing, or that isn't known yet.
    marked : bool
        Whether the store keeps the watermark itself.
    numbered : bool
        Whether it can tell the last trade that it has instead.
    aligned : bool
        Whether the layer goes on in the ring.
    ours : bool
        Whether something was written here, so that a store without a watermark has been wiped.
    stopped : Exception or None
        Why nothing is written to the store.

    Notes
    -----
    The layer's writer changes it, any thread may read it.
    """

    def __init__(self, store: Any, source: Source, begins_at: int) -> None:
        self.source = source
        self.marked = isinstance(store, Watermarked)
        self.numbered = not self.marked and hasattr(store, "last_trade_id")
        # Of a store that can't tell what it has, only what has come since can be made good.
        plain = not self.marked and not self.numbered
        self.watermark: int | None = begins_at if plain else None
        self.aligned = False
        self.known = plain
        self.ours = False
        self.stopped: Exception | None = None
        self.look_again_at = 0.0
        self.behind_since = time.monotonic()
        self.caught_up = 0
        self._began = (0.0, 0, 0)
        # Of more, the oldest go: what is behind them counts as safe a little later.
        self._written: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._safe = 0

    @property
    def seq(self) -> int:
        """The watermark as a number."""
        return self.watermark or 0

    def move(self, to_seq: int, rows: Records) -> None:
        """Note that the store has everything up to an event."""
        self.watermark = to_seq
        self.ours = True
        if self.numbered and len(rows):
            self._written.append((int(rows["trade_id"][-1]), to_seq))

    def safe_seq(self, store: Any) -> int:
        """Return up to where nothing can be lost any more, of a store that takes its time to write it down."""
        if not self.numbered:
            return self.seq
        try:
            last = store.last_trade_id()
        except StoreError:
            return self._safe
        while self._written and self._written[0][0] <= last:
            self._safe = self._written.popleft()[1]
        return self._safe if self._written else self.seq

    def lose(self) -> None:
        """Note that the layer has to catch up."""
        if self.aligned:
            self.behind_since = time.monotonic()
        self.aligned = False

    def begin(self) -> None:
        """Note that catching up begins."""
        self._safe = self.seq
        self._began = (time.monotonic(), self.caught_up, self.seq)

    def gauges(self) -> dict[str, float]:
        """Return what `stats` tells of it."""
        lag = max(0, self.source.durable_seq - self.seq)
        found = {"watermark": float(self.seq), "lag_events": float(lag), "stopped": float(self.stopped is not None)}
        if not self.aligned:
            since, records, seq = self._began
            spent_s = time.monotonic() - since
            events_s = (self.seq - seq) / spent_s if since and self.seq > seq else 0.0
            found["catch_up_records_per_s"] = (self.caught_up - records) / spent_s if since else 0.0
            found["catch_up_left_s"] = lag / events_s if events_s else float("inf") if lag else 0.0
        return found
