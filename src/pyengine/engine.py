"""The engine in friendly words: symbols, decimals and names on top of the compiled core."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pyengine._core.book import Book
from pyengine._core.consumer import Consumer
from pyengine._core.engine import EngineCore
from pyengine._core.result import Result
from pyengine.arguments import mode_of, side_of, tif_of
from pyengine.commands import Commands
from pyengine.errors import FieldError
from pyengine.followers import feed_of, open_journal
from pyengine.instrument import Instrument, Number
from pyengine.records import EVERY_INSTRUMENT, Flag, Records, SelfTrade, TimeInForce
from pyengine.run import Run
from pyengine.snapshot import restore_snapshot, take_snapshot
from pyengine.stores.interfaces import Flushed, OrderStore, TradeStore

if TYPE_CHECKING:
    from pyengine.journal import Acknowledgement, Journal
    from pyengine.stores.feed import EngineFeed


class Engine(EngineCore):
    """A matching engine: books of any number of instruments, price-time priority, one writer at a time.

    Parameters
    ----------
    instruments : iterable of Instrument
        To open books for; `add_instrument` opens more.
    ring_capacity : int
        Events that the ring holds, a power of two from 64.
    self_trade : SelfTrade
        What happens when two orders of one user meet, unless the user or the command says otherwise.
    order_store, trade_store : optional
        Stores that follow the engine's events; without them the engine runs bare. Those in memory, and the memory of a
        composite, are written within each call; anything else gets the events by a thread of its own, see
        `pyengine.stores.feed`. Who closes the engine closes its stores afterwards.
    capacity : int
        Resting orders to take memory for at once; the engine grows beyond as needed.
    publish_wait_s : float
        How long a command waits for required consumers before it is refused.
    journal : Journal, str or Path, optional
        Where every event is written down, a new one; see `pyengine.journal`. An engine that is to go on with the journal of
        an earlier one comes from `Journal.resume`. Closing the engine closes it.
    durability : str
        With a journal, "journal": calls that run commands return when their events are on the disk. "memory": they return at
        once, and `acknowledged` tells who wants to know.
    client_ids : int
        How many commands with a client order id are remembered, up to 2**24. Older ones are forgotten, also when all together
        had more than four times as many trades. 0: commands may have none.
    client_id_age_ns : int, optional
        Forget them also when they are so much older than the newest of them, or than a repetition, by their time stamps.

    Notes
    -----
    Thread-safety: any thread may call; see `EngineCore`.
    """

    _feed: EngineFeed | None = None
    _journal: Journal | None = None

    def __init__(
        self,
        instruments: Iterable[Instrument] = (),
        *,
        # Read by the compiled half, which is made first.
        ring_capacity: int = 65536,  # noqa: ARG002
        self_trade: SelfTrade = SelfTrade.OFF,  # noqa: ARG002
        order_store: OrderStore | None = None,
        trade_store: TradeStore | None = None,
        capacity: int = 0,  # noqa: ARG002
        publish_wait_s: float = 1.0,  # noqa: ARG002
        client_ids: int = 65536,  # noqa: ARG002
        client_id_age_ns: int | None = None,  # noqa: ARG002
        journal: Journal | str | Path | None = None,
        durability: str = "journal",
    ) -> None:
        self._feed = feed_of(self, order_store, trade_store, None)
        for instrument in instruments:
            self.add_instrument(instrument)
        if journal is not None:
            open_journal(self, journal, durability)

    def take_stores(self, order_store: OrderStore | None, trade_store: TradeStore | None, orders: Records) -> None:
        """Have stores follow from here on, whose memory knows what has happened; what makes engines of their past calls it.

        Parameters
        ----------
        order_store, trade_store : optional
        orders : array of ORDER_RECORD_DTYPE
            Those that are open.
        """
        self.follow_by(order_store, trade_store)
        self._feed = feed_of(self, order_store, trade_store, orders)
        if self._journal is not None and self._feed is not None:
            self._feed.take_journal(self._journal)

    def submit(
        self,
        symbol: str,
        side: str | int,
        qty: Number,
        price: Number | None = None,
        *,
        user: str | int | None = None,
        tif: str | int = TimeInForce.GTC,
        post_only: bool = False,
        slide: bool = False,
        order_id: int | None = None,
        ts_ns: int = 0,
        self_trade: SelfTrade | int = SelfTrade.DEFAULT,
        client_order_id: int | None = None,
    ) -> Result:
        """Place an order.

        Parameters
        ----------
        symbol : str
        side : str or int
            "buy" or "sell", or a Side.
        qty, price : str, int, float or Decimal
            On the instrument's grid; without a price it is a market order.
        user : str or int, optional
            A new name is interned.
        tif : str or int
            "GTC", "IOC", "FOK", or a TimeInForce.
        post_only, slide : bool
            Refuse the order if it would trade; or price it one tick off the touch.
        order_id : int, optional
            Any unsigned 64-bit value that isn't resting now; the engine picks one otherwise.
        ts_ns : int
            Time stamp for the events; the engine has no clock.
        self_trade : SelfTrade
            For this order; DEFAULT is the user's mode, or else the engine's.
        client_order_id : int, optional
            The caller's own number for this command, from 1 to 2**64 - 1; each user has such numbers, for commands of all kinds
            alike. If it comes again while it is remembered, nothing happens, and the first result is returned with `repeated`
            set; with any other contents, time stamps apart, it is refused by CLIENT_ID_REUSED. Refusals are remembered too,
            errors aren't.

        Returns
        -------
        Result
            Refusals (duplicate id, post-only that would trade, ...) come back as its status.

        Raises
        ------
        FieldError
            A value can't be an order; it names field, value and expectation, and nothing has changed.
        UnknownInstrument
            There is no book for the symbol.

        Examples
        --------
        >>> engine = Engine([Instrument("BTC-USD", tick_size="0.01", lot_size="0.001")])
        >>> engine.submit("BTC-USD", "sell", qty="0.5", price="6190.84").status.name
        'RESTING'
        >>> engine.submit("BTC-USD", "buy", qty="0.2", price="6200").trades[0].price
        Decimal('6190.84')
        """
        book = self.book(symbol)
        which = side_of(side)
        lots = book.instrument.qty_to_lots(qty)
        ticks = None if price is None else book.instrument.price_to_ticks(price)
        force = tif_of(tif)
        flags = (Flag.POST_ONLY if post_only or slide else 0) | (Flag.SLIDE if slide else 0)
        if ticks is None and flags:
            raise FieldError("price", None, "a price, as a post-only order needs one")
        if flags and force != TimeInForce.GTC:
            raise FieldError("tif", tif, "GTC, as a post-only order rests")
        mode = mode_of(self_trade)
        who = self._user(user)
        if ticks is None:
            return book.submit_market(which, lots, order_id, who, ts_ns, mode, force, client_order_id)
        return book.submit(which, ticks, lots, order_id, who, force, int(flags), ts_ns, mode, client_order_id)

    def amend(
        self,
        order_id: int,
        *,
        price: Number | None = None,
        qty: Number | None = None,
        user: str | int | None = None,
        post_only: bool = False,
        ts_ns: int = 0,
        self_trade: SelfTrade | int = SelfTrade.DEFAULT,
        client_order_id: int | None = None,
    ) -> Result:
        """Give a resting order a new price, a new open size, or both; what isn't given stays.

        A smaller size alone keeps the place in the queue; a new price or a larger size loses it, and a price into the
        opposite side trades. Refusals: UNKNOWN_ORDER, NOT_OWNER, POST_ONLY_WOULD_TRADE.

        Parameters
        ----------
        order_id : int
        price, qty : str, int, float or Decimal, optional
            `qty` is what shall be open afterwards, whatever was filled before.
        user, post_only, ts_ns, self_trade, client_order_id
            As for `submit`.
        """
        mode = mode_of(self_trade)
        if client_order_id is not None:
            who = self._user(user)
            # A repetition may find the order gone, and must be read as the first time nevertheless.
            instrument = self.amended_instrument(order_id, who, client_order_id, ts_ns)
            at = None if price is None or instrument is None else instrument.price_to_ticks(price)
            size = None if qty is None or instrument is None else instrument.qty_to_lots(qty)
            return self.amend_lots(order_id, at, size, who, int(post_only), ts_ns, mode, client_order_id)
        view = self.order(order_id)
        if view is None:
            return self.refuse_amend(order_id, self._user(user), ts_ns)
        ticks = view.price_ticks if price is None else view.instrument.price_to_ticks(price)
        lots = view.qty_lots if qty is None else view.instrument.qty_to_lots(qty)
        return self.amend_lots(order_id, ticks, lots, self._user(user), int(post_only), ts_ns, mode)

    def mass_cancel(
        self,
        symbol: str | None = None,
        side: str | int | None = None,
        user: str | int | None = None,
        ts_ns: int = 0,
        client_order_id: int | None = None,
    ) -> Result:
        """Cancel all resting orders, or those of a symbol, a side, a user, or any mix of these.

        Returns
        -------
        Result
            `cancelled_lots` is the sum over all of them.
        """
        index = EVERY_INSTRUMENT if symbol is None else self.book(symbol).index
        which = 0 if side is None else side_of(side)
        return self.mass_cancel_lots(index, which, self._user(user), ts_ns, client_order_id)

    def run(self, commands: Records | Commands, *, client_ids: NDArray[np.uint64] | None = None, events: bool = True) -> Run:
        """Run an array of commands, without the GIL.

        Each row is one command; a bad row is rejected by the reason in its status and changes nothing else.

        Parameters
        ----------
        commands : ndarray of COMMAND_DTYPE, shape (n,), or Commands
            See `make_commands` and `commands_from`.
        client_ids : ndarray of uint64, shape (n,), optional
            Client order ids, see `submit`; 0 for a command without one. `Run.repeated` tells which came again.
        events : bool
            Whether to return events and trades; without them only the statuses come back.

        Returns
        -------
        Run
            `events`, `trades` and `status`. O(n), plus O(1) for each trade.

        Raises
        ------
        FieldError, FieldTypeError
            The array isn't one of commands; nothing was run.
        """
        return Run(*self.run_arrays(commands, events, client_ids))

    def attach(self, *, required: bool = True, name: str = "") -> Consumer:
        """Add a consumer of the event ring, from the next event on.

        Parameters
        ----------
        required : bool
            Whether the engine waits for it; see `Consumer`.
        name : str
            For messages.
        """
        return Consumer(self, required, name)

    def snapshot(self) -> bytes:
        """Write the whole state as bytes; see `pyengine.snapshot`. O(everything)."""
        return take_snapshot(self)

    @classmethod
    def restore(cls, data: bytes | bytearray | memoryview, **options: Any) -> Self:
        """Make an engine from a snapshot; it goes on exactly where the other one was, with an equal `state_hash`.

        Parameters
        ----------
        data : bytes-like
        **options
            Keyword arguments of `Engine`, such as `ring_capacity`. A snapshot has what is open of an order and no more: stores
            begin with that, sizes and times of what was before unknown. Recovery from a journal knows all of it.

        Raises
        ------
        SnapshotError
            The bytes are no snapshot, of a later version, cut short or changed.
        """
        return restore_snapshot(data, cls, **options)

    def flush_stores(self, timeout_s: float = 5.0) -> Flushed:
        """Wait until all events so far are safe in every layer of the stores, up to a deadline.

        Returns
        -------
        Flushed
            Which layers have everything; those in memory always have, and aren't named unless a composite does.
        """
        return Flushed() if self._feed is None else self._feed.flush(timeout_s)

    @property
    def lowest_watermark(self) -> int | None:
        """The last event that all layers of the stores have safely; None without a journal, or without layers."""
        return None if self._feed is None else self._feed.lowest_watermark

    @property
    def journal(self) -> Journal | None:
        """Where every event is written down, if anywhere."""
        return self._journal

    def take_journal(self, journal: Journal) -> None:
        """Keep the journal that writes this engine's events down; journals call it, nobody else needs to."""
        self._journal = journal
        if self._feed is not None:
            self._feed.take_journal(journal)

    def acknowledged(self) -> Acknowledgement:
        """Return what can be waited for, awaited, or taken as a future, until all that has happened so far is on the disk.

        Raises
        ------
        FieldError
            The engine has no journal.
        """
        if self._journal is None:
            raise FieldError("journal", None, "a Journal for anything to be on the disk")
        return self._journal.acknowledged()

    def close(self, timeout_s: float = 5.0) -> None:
        """Refuse all later calls, and bring journal and stores what has happened, up to a deadline; stores stay open.

        Consumers can still read what is in the ring. Closing twice is closing once.

        Raises
        ------
        JournalFailed, JournalTimeout
            Not everything is in the journal.
        """
        super().close()
        try:
            if self._journal is not None:
                self._journal.close(timeout_s)
        finally:
            if self._feed is not None:
                self._feed.finish(timeout_s)

    def __del__(self) -> None:
        """Bring journal and stores what has happened."""
        if self._journal is not None:
            self._journal.finish()
        if self._feed is not None:
            self._feed.finish()

    def _user(self, user: str | int | None) -> int:
        if user is None:
            return 0
        return self.user(user) if isinstance(user, str) else user

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the engine."""
        self.close()

    def __repr__(self) -> str:
        """Show the number of books and resting orders."""
        return f"<Engine: {len(self.books)} books, {self.resting_orders} resting orders>"


__all__ = ["Book", "Consumer", "Engine", "Run"]
