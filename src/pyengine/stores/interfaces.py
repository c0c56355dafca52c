"""What every store promises. The words here are the contract; a backend documents only its durability and its latency.

A store of your own implements the methods that have no body here. The others have one that is right for any store, slow but
correct, and a class that names the interface as its base gets them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pyengine._core.order import Order
from pyengine._core.trade import Trade
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import Records, Side
from pyengine.store_errors import WatermarkMoved
from pyengine.stores.arguments import order_id_of, whole
from pyengine.stores.objects import orders_of, trades_of


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a `flush` reached.

    Attributes
    ----------
    done : tuple of str
        Layers in which everything that was accepted before the call is safe.
    late : tuple of str
        Layers that didn't get there before the deadline, or that have missed something.
    """

    done: tuple[str, ...] = ()
    late: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether no layer is late."""
        return not self.late


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store has counted since it was made; a composite has one for each layer too.

    Attributes
    ----------
    name : str
        Of the store or layer: "memory", "redis", "postgres", "sqlite", "file", or what its owner calls it.
    counts : dict of str to int
        Counters that only grow, such as `hits`, `misses`, `written`, `errors`.
    gauges : dict of str to float
        Values as of now, such as `queue_length` or `lag_s`.
    state : str
        "closed", "open" or "half-open" for the circuit breaker of a layer, else "".
    missed : tuple of (int, int)
        Ranges, both ends included, of write positions that a layer will never get.
    layers : tuple of StoreStats
    """

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    state: str = ""
    missed: tuple[tuple[int, int], ...] = ()
    layers: tuple[StoreStats, ...] = ()


@runtime_checkable
class OrderStore(Protocol):
    """Orders, open and finished, by id, user and side.

    Errors: `FieldError` and `FieldTypeError` for an argument that can't be, `StoreUnavailable` when there is no answer,
    `StoreRefused` when the backend will never take it, `StoreDamaged` for a value that nobody can trust, `StoreClosed` after
    `close`. Whatever raises has changed nothing. Any thread may call.
    """

    def save(self, order: Order) -> bool:
        """Add an order, or replace the one of its id unless that has a higher version.

        Writing anything again is therefore safe. Returns whether it was stored.
        """
        ...

    def update(self, order: Order) -> bool:
        """Replace the order of the same id unless that has a higher version, or is missing. Returns whether it was stored."""
        ...

    def get(self, order_id: int) -> Order | None:
        """Return an order, or None if there is none of this id."""
        ...

    def remove(self, order_id: int) -> bool:
        """Forget an order and return whether there was one."""
        ...

    def get_all(self) -> list[Order]:
        """Return every order, by id."""
        ...

    def get_by_user(self, user: str) -> list[Order]:
        """Return a user's orders, open and finished, by id."""
        ...

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        """Return the open orders of a side in price-time order.

        Bids from high to low, asks from low to high; of one price by `entered`, then by `created_ns`, then by id. Instruments
        follow each other in the order in which the store learnt them.
        """
        ...

    def close(self) -> None:
        """Release what the store opened itself. Closing twice is closing once."""
        ...

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """Save many orders, all or none, and return how many were stored; of one id the last one counts.

        An array is of ORDER_RECORD_DTYPE, its users and instruments are numbers of the store's `names`.
        """
        return sum(map(self.save, orders_of(orders, self)))

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        """Forget many orders and return how many there were."""
        return sum(map(self.remove, [order_id_of(order_id) for order_id in order_ids]))

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:  # noqa: ARG002
        """Wait until everything accepted before this call is as safe as the store makes it.

        Parameters
        ----------
        layers : collection of str, optional
            Names of those to wait for. Default: all.
        timeout_s : float
            The deadline for all of them together.
        """
        return Flushed()

    def stats(self) -> StoreStats:
        """Return what the store has counted."""
        return StoreStats(type(self).__name__)

    @property
    def complete(self) -> bool:
        """Whether lists hold every order that was ever saved and not removed; a cache can't say so."""
        return True


@runtime_checkable
class TradeStore(Protocol):
    """Trades by id, the newest first. Errors and threads as in `OrderStore`."""

    def save(self, trade: Trade) -> bool:
        """Take in a trade. One of an id that is there already changes nothing. Returns whether it was new."""
        ...

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """Return the newest trades, by falling id."""
        ...

    def close(self) -> None:
        """Release what the store opened itself. Closing twice is closing once."""
        ...

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """Take in many trades, all or none, and return how many were new.

        An array is of TRADE_DTYPE, its instruments are numbers of the store's `names`.
        """
        return sum(map(self.save, trades_of(trades, self)))

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:  # noqa: ARG002
        """Wait until everything accepted before this call is as safe as the store makes it; see `OrderStore.flush`."""
        return Flushed()

    def stats(self) -> StoreStats:
        """Return what the store has counted."""
        return StoreStats(type(self).__name__)

    def complete_for(self, limit: int) -> bool:  # noqa: ARG002
        """Whether `get_recent(limit)` would be all of the newest trades, with no gap."""
        return True


MAX_SEQ = 2**63 - 1
"""The highest sequence number that a watermark can be: what an SQL integer holds."""

_JOURNAL = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Mark:
    """From where to where a watermark moves.

    Attributes
    ----------
    journal : str
        Whose sequence numbers they are: the journal's identity, 1 to 64 letters, digits, hyphens and underscores.
    after : int or None
        Where the watermark must be; None: there must be none of this journal yet.
    to : int
        Where it will be; not below `after`.
    """

    journal: str
    after: int | None
    to: int

    def __post_init__(self) -> None:
        journal_of(self.journal)
        after = None if self.after is None else whole("after", self.after, 0, MAX_SEQ)
        # Integers of Python, as drivers know no others.
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "to", whole("to", self.to, after or 0, MAX_SEQ))

    def follows(self, actual: int | None, place: str = "store") -> bool:
        """Tell by the watermark that a store has whether to write and move it now; False: it was moved before.

        Parameters
        ----------
        actual : int or None
        place : str
            The store, for the error.

        Raises
        ------
        WatermarkMoved
            It is somewhere else.
        """
        if actual == self.after:
            return True
        if actual == self.to:
            return False
        raise self.refusal(actual, place)

    def refusal(self, actual: int | None, place: str) -> WatermarkMoved:
        """Make the error for a watermark that is somewhere else."""
        return WatermarkMoved(
            actual, f"{place}: watermark of journal {self.journal} must be {_said(self.after)}, was {_said(actual)}"
        )


@runtime_checkable
class Watermarked(Protocol):
    """What any store may offer besides: it remembers how far it has got in a journal, where its data is.

    The watermark is the sequence number of the journal's last event up to which the store has everything that it is to have.
    Watermarks of several journals don't touch each other. Whatever wipes the data, or sets it back to an older state, must do the
    same to the watermarks: they belong into the same transaction, file or key space.
    """

    def watermark(self, journal: str) -> int | None:
        """Return the watermark; None if the store knows nothing of this journal."""
        ...

    def save_marked(self, records: Records | Iterable[Any], mark: Mark) -> int:
        """Do what `save_batch` does and move the watermark, both or neither; `records` may be empty.

        If the watermark is at `mark.to` already, it was moved before: nothing is done, and 0 is returned. So a call that may or
        may not have gone through can be made again.

        Raises
        ------
        WatermarkMoved
            The watermark is neither at `mark.after` nor at `mark.to`. Nothing has changed.
        """
        ...

    def forget_watermark(self, journal: str) -> None:
        """Take the watermark of a journal away, before all is written anew. It is no error if there is none."""
        ...


@runtime_checkable
class Clearable(Protocol):
    """What any store may offer besides, so that `pyengine rebuild` can make it anew."""

    def clear(self) -> None:
        """Forget all orders or trades, and the watermarks of all journals; what others keep in the same place stays."""
        ...


def journal_of(value: Any) -> str:
    """Read the identity of a journal."""
    if not isinstance(value, str):
        raise FieldTypeError("journal", value, "a str")
    if not _JOURNAL.fullmatch(value):
        raise FieldError("journal", value, "1 to 64 letters, digits, hyphens and underscores")
    return value


def _said(watermark: int | None) -> str:
    return "none" if watermark is None else str(watermark)
