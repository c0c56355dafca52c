"""pylobo: a book in Rust whose orders are named by UUIDs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from lobo import Book, Reports, _lobo  # type: ignore[import-not-found]

from bench.peers.contract import as_commands, order_count

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow

TRADER = UUID(int=1)


class Adapter:
    """A book that keeps no map of its users, as the flow has none."""

    distribution = "pylobo"
    reports_fills = True
    notes = (
        "Order objects are made in the loop. The book names resting orders by UUIDs, which the loop keeps to cancel "
        "by. Fills are requested, summaries and market impact are not, and the map of users is off."
    )

    def __init__(self) -> None:
        self._book = Book(update_user_map=False)
        self._ids: list[UUID | None] = [None]

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the engine's sides, and room for the ids."""
        self._ids.extend([None] * order_count(columns))
        return as_commands(columns, _lobo.orders.Side.Buy, _lobo.orders.Side.Sell)

    def run(self, commands: list[Command]) -> list[tuple[int, list[Any]]]:
        """Make orders, call `fill` and `cancel`; fills are kept with the number of their taker."""
        make = _lobo.orders.LimitOrder
        fill = self._book.fill
        cancel = self._book.cancel
        reports = Reports(include_fills=True)
        ids = self._ids
        collected: list[tuple[int, list[Any]]] = []
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(ids[order_id])
            else:
                outcome = fill(make(price, qty, TRADER, side), reports)
                ids[order_id] = outcome.remaining_order_id
                fills = outcome.report.fills
                if fills:
                    collected.append((order_id, fills))
        return collected

    def trades(self, fills: list[tuple[int, list[Any]]]) -> list[TradeRow]:
        """Map the makers' UUIDs back."""
        number = {name: order_id for order_id, name in enumerate(self._ids) if name is not None}
        return [
            (taker, number[fill.maker_order_id], fill.price, fill.fill_quantity) for taker, matched in fills for fill in matched
        ]

    def construct(self, commands: list[Command]) -> None:
        """Make the orders again."""
        make = _lobo.orders.LimitOrder
        for action, _order_id, side, price, qty in commands:
            if not action:
                make(price, qty, TRADER, side)
