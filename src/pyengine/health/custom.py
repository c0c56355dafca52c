"""Try out stores that others wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyengine.health.finding import Finding, Trial
from pyengine.settings import Settings
from pyengine.stores.backends import own_order_store, own_trade_store


def check_order_store(settings: Settings, spec: str) -> Finding:
    """Make the store, ask it for an order, and close it."""
    return _check(spec, "ORDER_STORES", lambda: own_order_store(settings, spec), lambda store: store.get(0))


def check_trade_store(settings: Settings, spec: str) -> Finding:
    """Make the store, ask it for a trade, and close it."""
    return _check(spec, "TRADE_STORES", lambda: own_trade_store(settings, spec), lambda store: store.get_recent(1))


def _check(spec: str, variable: str, make: Callable[[], Any], ask: Callable[[Any], object]) -> Finding:
    trial = Trial(spec, f"{variable}={spec}")
    try:
        store = make()
        trial.facts.append(f"made: {type(store).__name__}")
        try:
            trial.time(lambda: ask(store))
        finally:
            store.close()
    except Exception as error:  # noqa: BLE001  it is somebody else's store, and may raise anything
        return trial.failed(
            f"{type(error).__name__}: {error}", [f"Check {variable} in .env", "Check the settings of the store itself"]
        )
    trial.facts.append("answers")
    return trial.done()
