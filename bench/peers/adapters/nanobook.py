"""nanobook: an exchange in Rust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nanobook  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """An exchange of one book."""

    distribution = "nanobook"
    reports_fills = True
    notes = "It numbers orders itself, from 1 in the order of submission, as the flow does. It keeps all events and trades."

    def __init__(self) -> None:
        self._exchange = nanobook.Exchange()

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the names of the sides."""
        return as_commands(columns, "buy", "sell")

    def run(self, commands: list[Command]) -> list[Any]:
        """Call `submit_limit` and `cancel`."""
        submit = self._exchange.submit_limit
        cancel = self._exchange.cancel
        collected: list[Any] = []
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id)
            else:
                trades = submit(side, price, qty).trades
                if trades:
                    collected.extend(trades)
        return collected

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Read the trades' fields."""
        return [(fill.aggressor_order_id, fill.passive_order_id, fill.price, fill.quantity) for fill in fills]
