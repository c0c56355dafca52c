"""litebook: a book in Rust with prices as floats and ids of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import litebook  # type: ignore[import-not-found]

from bench.peers.contract import as_commands, order_count

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """A book with a tick size of 1, on which the prices of the flow are exact."""

    distribution = "litebook"
    reports_fills = True
    notes = (
        "Prices and quantities are floats. Order objects are made in the loop and name themselves by a UUID, which the "
        "loop keeps to cancel by. Its `buy_id` names the maker and `sell_id` the taker, whatever their sides; here the "
        "later order counts as the taker."
    )

    def __init__(self) -> None:
        self._book = litebook.OrderBook(tick_size=1.0)
        self._ids: list[str] = [""]

    def build(self, columns: Columns) -> list[Command]:
        """Prepare floats and the engine's sides, and room for the ids."""
        self._ids.extend([""] * order_count(columns))
        commands = as_commands(columns, litebook.OrderType.Buy, litebook.OrderType.Sell)
        return [(action, order_id, side, float(price), float(qty)) for action, order_id, side, price, qty in commands]

    def run(self, commands: list[Command]) -> list[Any]:
        """Call `create_order`, `add` and `cancel`."""
        create = self._book.create_order
        add = self._book.add
        cancel = self._book.cancel
        ids = self._ids
        collected: list[Any] = []
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(ids[order_id])
            else:
                order = create(side, price, qty)
                ids[order_id] = order.id
                fills = add(order)
                if fills:
                    collected.extend(fills)
        return collected

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Map the ids back."""
        number = {name: order_id for order_id, name in enumerate(self._ids)}
        pairs = [sorted((number[fill.buy_id], number[fill.sell_id])) for fill in fills]
        return [(taker, maker, int(fill.price), int(fill.quantity)) for (maker, taker), fill in zip(pairs, fills, strict=True)]

    def construct(self, commands: list[Command]) -> None:
        """Make the orders again and read their ids."""
        create = self._book.create_order
        ids = list(self._ids)
        for action, order_id, side, price, qty in commands:
            if not action:
                ids[order_id] = create(side, price, qty).id
