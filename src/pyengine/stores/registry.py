"""Stores that others wrote, found by name: an entry point of their package, or `package.module:Name`.

A package registers its stores in its pyproject.toml:

    [project.entry-points."pyengine.order_stores"]
    dynamo = "their_package.stores:DynamoOrderStore"

and `ORDER_STORES=dynamo` is all that the configuration needs; `ORDER_STORES=their_package.stores:DynamoOrderStore` does it
without. The name stands for a class, or for a function that makes a store.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pyengine.store_errors import SettingsError
from pyengine.stores.interfaces import OrderStore, TradeStore

ORDER_STORES = "pyengine.order_stores"
TRADE_STORES = "pyengine.trade_stores"

_ORDER_METHODS = ("save", "update", "get", "remove", "get_all", "get_by_user", "get_by_side", "close")
_TRADE_METHODS = ("save", "get_recent", "close")
"""What the interfaces have no body for."""


def load_order_store(spec: str, *, offer: Mapping[str, object] | None = None, **options: Any) -> OrderStore:
    """Make the order store of a name.

    Parameters
    ----------
    spec : str
        Name of an entry point in the group ``pyengine.order_stores``, or ``package.module:Name``.
    offer : mapping, optional
        Further arguments, such as `names` or `settings`, of which the store gets those that it has parameters for.
    **options
        Its arguments.

    Raises
    ------
    SettingsError
        There is no such store, it can't be imported, it takes other arguments, or it isn't an order store.
    """
    store: OrderStore = _make(spec, ORDER_STORES, offer or {}, options)
    _refuse_incomplete(spec, store, OrderStore, _ORDER_METHODS)
    return store


def load_trade_store(spec: str, *, offer: Mapping[str, object] | None = None, **options: Any) -> TradeStore:
    """Make the trade store of a name, which is one of the group ``pyengine.trade_stores``; see `load_order_store`."""
    store: TradeStore = _make(spec, TRADE_STORES, offer or {}, options)
    _refuse_incomplete(spec, store, TradeStore, _TRADE_METHODS)
    return store


def _make(spec: str, group: str, offer: Mapping[str, object], options: dict[str, Any]) -> Any:
    factory = _import(spec) if ":" in spec else _load(_registered(spec, group))
    if not callable(factory):
        raise SettingsError(f"store {spec!r} must be a class or a function that makes a store, was {factory!r}")
    try:
        signature = inspect.signature(factory)
    except ValueError:
        # A class in C that doesn't tell its parameters.
        return factory(**options)
    given = {name: value for name, value in offer.items() if name in signature.parameters} | options
    try:
        signature.bind(**given)
    except TypeError as error:
        raise SettingsError(f"store {spec!r} can't be made with the options {_listed(options)}: {error}") from error
    # What the store itself raises is its own error, and passes through.
    return factory(**given)


def _registered(name: str, group: str) -> EntryPoint:
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise SettingsError(f"store {name!r} must be one entry point of {group}, was registered as {_listed(found)}")
    if not found:
        known = {point.name for point in entry_points(group=group)}
        raise SettingsError(
            f"store {name!r} must be package.module:Name or an entry point of {group} ({_listed(known)}), was neither"
        )
    return found.popitem()[1]


def _load(point: EntryPoint) -> Any:
    return _import(f"{point.module}:{point.attr}" if point.attr else point.module)


def _import(path: str) -> Any:
    """Import `package.module:Name`, and say which half of it is wrong."""
    module_name, _, attribute = path.partition(":")
    if not attribute or not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise SettingsError(f"store {path!r} must be package.module:Name, was not")
    try:
        found = importlib.import_module(module_name)
    except Exception as error:
        raise SettingsError(f"store {path!r} can't be imported: {type(error).__name__}: {error}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise SettingsError(f"store {path!r} must be in {module_name}, which has no {name}")
        found = getattr(found, name)
    return found


def _refuse_incomplete(spec: str, store: object, interface: type[Any], methods: tuple[str, ...]) -> None:
    """Refuse what lacks a method, has only the interface's empty one, or lacks one that the interface would have given it."""
    missing = [name for name in methods if _implementation(store, name) in {None, getattr(interface, name)}]
    if missing:
        raise SettingsError(f"store {spec!r} must implement {interface.__name__}, was {store!r} without {_listed(missing)}")
    if not isinstance(store, interface):
        raise SettingsError(
            f"store {spec!r} must have every method of {interface.__name__}, was {store!r}: name {interface.__name__} as a base "
            "of its class to get those that have a body there"
        )


def _implementation(store: object, name: str) -> Callable[..., object] | None:
    """Find a method as its class has it, as a bound one equals no other."""
    found: Callable[..., object] | None = getattr(type(store), name, None)
    return found


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
