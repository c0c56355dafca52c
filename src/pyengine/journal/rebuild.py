"""Makes a layer anew out of a journal, or goes on with that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pyengine._core.names import Names
from pyengine.journal.history import History
from pyengine.store_errors import LayerStopped, StoreRefused
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.interfaces import StoreStats
from pyengine.stores.journal_source import JournalSource

_LOOK_EVERY_S = 0.5


def bring_up_to_date(
    history: History,
    names: Names,
    store: Any,
    kind: Literal["orders", "trades"],
    *,
    until_seq: int | None = None,
    told: Callable[[StoreStats], object] | None = None,
) -> None:
    """Bring a store everything that is in a journal and that it lacks, from its watermark on.

    The engine may go on meanwhile, and bring it some of that itself.

    Parameters
    ----------
    history : History
    names : Names
        Of the journal's engine, as of `until_seq` or later.
    store : OrderStore or TradeStore
    kind : "orders" or "trades"
    until_seq : int, optional
        The last event to bring. Default: the end of the journal.
    told : callable, optional
        Given the statistics of the layer now and then.

    Raises
    ------
    LayerStopped
        The store holds what isn't the journal's, or the journal doesn't go back so far.
    StoreRefused
        The store has everything but what it refuses.
    """
    make = CompositeOrderStore if kind == "orders" else CompositeTradeStore
    with make(store, own=False) as composite:
        composite.attach_names(names)
        source = JournalSource.of_files(history, kind, until_seq)
        composite.follow(None, source, source.durable_seq)
        layer = composite.layers[0]
        while not composite.flush(timeout_s=_LOOK_EVERY_S):
            if layer.stopped is not None:
                raise LayerStopped(str(layer.stopped)) from layer.stopped
            if layer.refused and not layer.is_behind:
                error = next(iter(layer.refused.values()))
                count = layer.stats().counts["refused"]
                raise StoreRefused(f"{layer.name} must take all {kind}, refused {count}, at first: {error}") from error
            if told is not None:
                told(composite.stats().layers[0])
        if told is not None:
            told(composite.stats().layers[0])


__all__ = ["bring_up_to_date"]
