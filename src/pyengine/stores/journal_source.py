"""What a journal tells the layers of a composite, in their terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pyengine.records import Records
from pyengine.store_errors import LayerStopped

if TYPE_CHECKING:
    from pyengine.journal import History, Journal


class JournalSource:
    """A `Source` of the orders or the trades of a journal. It keeps neither the journal nor its engine.

    Parameters
    ----------
    path : Path
        The folder.
    identity : str
        Of the journal.
    durable : callable
        Returns the last event that is on the disk for certain.
    kind : "orders" or "trades"
    last : callable, optional
        Returns the last event that there is, if that isn't the same.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        durable: Callable[[], int],
        kind: Literal["orders", "trades"],
        last: Callable[[], int] | None = None,
    ) -> None:
        self.journal = identity
        self._path = path
        self._durable = durable
        self._kind = kind
        self._last = durable if last is None else last

    @classmethod
    def of_written(cls, journal: Journal, kind: Literal["orders", "trades"]) -> Self:
        """Make one of a journal that is being written."""
        waiters = journal.waiters
        return cls(journal.path, journal.identity, lambda: waiters.durable, kind)

    @classmethod
    def of_files(cls, history: History, kind: Literal["orders", "trades"], until_seq: int | None = None) -> Self:
        """Make one of what is in the files of a journal now, or up to an event, whether somebody writes to it or not."""
        last_seq = history.last_seq if until_seq is None else until_seq
        return cls(history.path, history.identity, lambda: last_seq, kind, lambda: history.last_seq)

    @property
    def durable_seq(self) -> int:
        """The last event that is on the disk for certain."""
        return self._durable()

    @property
    def last_seq(self) -> int:
        """The last event that a store may have; not below `durable_seq`."""
        return self._last()

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
