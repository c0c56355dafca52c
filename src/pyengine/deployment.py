"""A deployment: the engine, its stores and its journal, as the settings describe them. It goes on where it ended.

Examples
--------
>>> from pyengine import Instrument
>>> from pyengine.settings import Settings
>>> settings = Settings(journal_path="a journal", sqlite_path="market.db")
>>> btc = Instrument("BTC-USD", tick_size="0.01", lot_size="0.001")
>>> with open_deployment(settings, [btc]) as market:
...     first = market.engine.submit("BTC-USD", "buy", qty="0.5", price="99.5", user="ann")
>>> with open_deployment(settings) as market:
...     print(market.engine.order(first.order_id).price, market.stores.order_store.get(first.order_id).user)
99.50 ann
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from pyengine.engine import Engine
from pyengine.instrument import Instrument
from pyengine.settings import Settings
from pyengine.stores.build import Stores, build_stores


@dataclass(frozen=True)
class Deployment:
    """An engine with all that belongs to it.

    Attributes
    ----------
    engine : Engine
    stores : Stores
    """

    engine: Engine
    stores: Stores

    def close(self, timeout_s: float = 30.0) -> None:
        """Refuse further commands, bring journal and stores what has happened, and close everything. Twice is once.

        Raises
        ------
        JournalFailed, JournalTimeout
            Not everything is in the journal; the stores are closed all the same.
        """
        try:
            self.engine.close(timeout_s)
        finally:
            self.stores.close()

    def __enter__(self) -> Self:
        """Return the deployment itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()


def open_deployment(settings: Settings, instruments: Iterable[Instrument] = (), **options: Any) -> Deployment:
    """Make the engine that the settings describe: with JOURNAL_PATH, the one of the journal, and its layers catch up.

    Parameters
    ----------
    settings : Settings
    instruments : iterable of Instrument
        To open books for, unless the journal has them already.
    **options
        `ring_capacity`, `capacity`, `publish_wait_s` and `self_trade` of `Engine`.

    Returns
    -------
    Deployment

    Raises
    ------
    JournalError
        The journal is damaged, held by another process, or can't be written.
    SettingsError, StoreUnavailable, SchemaError, MissingExtraError
        As `build_stores`.
    FieldError
        An instrument isn't as the journal has it.
    """
    stores = build_stores(settings)
    try:
        return Deployment(_engine(settings, stores, instruments, options), stores)
    except BaseException:
        stores.close()
        raise


def _engine(settings: Settings, stores: Stores, instruments: Iterable[Instrument], options: dict[str, Any]) -> Engine:
    given: dict[str, Any] = {
        **options,
        "instruments": tuple(instruments),
        "order_store": stores.order_store,
        "trade_store": stores.trade_store,
    }
    if settings.journal_path is None:
        return Engine(**given)
    from pyengine.journal import Journal  # noqa: PLC0415  an extra brings what it needs

    journal = Journal(
        settings.journal_path,
        segment_bytes=int(settings.journal_segment_size),
        space_bytes=int(settings.journal_space) or None,
        snapshot_every_s=settings.journal_snapshot_interval.total_seconds() or None,
        archive=settings.journal_archive,
    )
    try:
        return journal.resume(durability=settings.journal_durability, **given)
    except BaseException:
        journal.finish()
        raise
