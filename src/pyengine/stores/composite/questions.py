"""Questions for lists of orders, said so that every layer understands them alike."""

from __future__ import annotations

from typing import Any, Literal

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine.stores.arguments import symbol_of, user_of

ListMethod = Literal["get_all", "get_by_user", "get_by_side"]


def for_layers(method: ListMethod, arguments: tuple[Any, ...], names: Names) -> tuple[Any, ...] | None:
    """Say a question in names, as layers have numbers of their own; None if nobody has a name for it."""
    if method == "get_by_user" and not isinstance(arguments[0], str):
        name = user_of(arguments[0], names)
        return None if name is None else (name,)
    if method == "get_by_side" and arguments[1] is not None:
        symbol = symbol_of(arguments[1], names)
        return None if symbol is None else (arguments[0], symbol)
    return arguments


def in_own_order(method: ListMethod, arguments: tuple[Any, ...], orders: list[Order], names: Names) -> list[Order]:
    """Let instruments follow each other in the order in which `names` learnt them, not a layer."""
    if method != "get_by_side" or arguments[1] is not None:
        return orders
    unknown = len(names.instruments)

    def place(order: Order) -> int:
        found = None if order.symbol is None else names.instrument_index(order.symbol)
        return unknown if found is None else found

    return sorted(orders, key=place)
