"""What a journal tells the layers of a composite, in their terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pyengine.records import Records
from pyengine.store_errors import LayerStopped

if TYPE_CHECKING:
    from pyengine.journal import History, Journal


class JournalSource:
    """A `Source` of the orders or the trades of a journal. It keeps neither the journal nor its engine.

    Parameters
    ----------
    journal : Journal
        One that is being written.
    kind : "orders" or "trades"
    """

    def __init__(self, journal: Journal, kind: Literal["orders", "trades"]) -> None:
        self.journal = journal.identity
        self._path = journal.path
        self._waiters = journal.waiters
        self._kind = kind

    @property
    def durable_seq(self) -> int:
        """The last event that is on the disk for certain."""
        return self._waiters.durable

    @property
    def begins_after(self) -> int:
        """The lowest event behind which records can be read."""
        history = self._history()
        return history.orders_from if self._kind == "orders" else history.trades_from

    def _history(self) -> History:
        # Not at the top: a deployment without a journal has nothing to do with it.
        from pyengine.journal import History, JournalError  # noqa: PLC0415

        try:
            return History(self._path)
        except JournalError as error:
            raise LayerStopped(str(error)) from error

    def records(self, after_seq: int, batch: int, *, whole: bool = False) -> Iterator[tuple[Records, int]]:
        """Read what follows an event, up to what is on the disk by then."""
        from pyengine.journal import JournalError  # noqa: PLC0415

        history = self._history()
        try:
            if self._kind == "orders":
                yield from history.orders(after_seq, lambda: self.durable_seq, batch=batch, whole=whole)
            else:
                yield from history.trades(after_seq, lambda: self.durable_seq, batch=batch)
        except JournalError as error:
            raise LayerStopped(str(error)) from error

    def trade(self, trade_id: int) -> Records | None:
        """Find a trade; None if it isn't in the journal."""
        from pyengine.journal import JournalError  # noqa: PLC0415

        try:
            return self._history().trade(trade_id, self.durable_seq)
        except JournalError as error:
            raise LayerStopped(str(error)) from error


__all__ = ["JournalSource"]
