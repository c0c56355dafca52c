"""What follows an engine: a journal, and stores that it doesn't write by itself. Loaded only where there is any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.trade_store import InMemoryTradeStore
from pyengine.errors import FieldTypeError
from pyengine.records import Records

if TYPE_CHECKING:
    from pyengine.engine import Engine
    from pyengine.journal import Journal
    from pyengine.stores.feed import EngineFeed


def feed_of(engine: Engine, order_store: Any, trade_store: Any, orders: Records | None) -> EngineFeed | None:
    """Bring stores that the engine doesn't write by itself what happens from now on; `orders` are open already."""
    if isinstance(order_store, InMemoryOrderStore | None) and isinstance(trade_store, InMemoryTradeStore | None):
        return None
    # Not at the top: most engines have nothing to do with composites and their threads.
    from pyengine.stores.feed import EngineFeed  # noqa: PLC0415

    return EngineFeed(engine, order_store, trade_store, orders)


def open_journal(engine: Engine, journal: Journal | str | Path, durability: str) -> None:
    """Have a journal, which a path makes a new one of, write down what the engine does."""
    # Not at the top: it needs threads, and a library that only some installations have.
    from pyengine.journal import Journal  # noqa: PLC0415

    if isinstance(journal, Journal):
        journal.attach(engine, durability=durability)
        return
    if not isinstance(journal, (str, Path)):
        raise FieldTypeError("journal", journal, "a Journal, or the path of one")
    opened = Journal(journal)
    try:
        opened.attach(engine, durability=durability)
    except BaseException:
        opened.finish()
        raise
