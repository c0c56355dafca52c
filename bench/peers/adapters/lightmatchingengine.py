"""lightmatchingengine: a small book in pure Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightmatchingengine.lightmatchingengine import LightMatchingEngine, Side  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow

SYMBOL = "X"


class Adapter:
    """An engine with one instrument."""

    distribution = "lightmatchingengine"
    reports_fills = True
    notes = (
        "It numbers orders itself, from 1 in the order of submission, as the flow does. It reports one trade of the "
        "taker for each price and one of each maker behind it; they are joined after the timed part."
    )

    def __init__(self) -> None:
        self._engine = LightMatchingEngine()

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the engine's sides."""
        return as_commands(columns, Side.BUY, Side.SELL)

    def run(self, commands: list[Command]) -> list[Any]:
        """Call `add_order` and `cancel_order`."""
        add = self._engine.add_order
        cancel = self._engine.cancel_order
        collected: list[Any] = []
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id, SYMBOL)
            else:
                _, trades = add(SYMBOL, price, qty, side)
                if trades:
                    collected.extend(trades)
        return collected

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Give each maker's trade the taker before it, whose quantity tells how many makers follow."""
        rows: list[TradeRow] = []
        taker_id = open_qty = 0
        for fill in fills:
            if open_qty == 0:
                taker_id, open_qty = fill.order_id, fill.trade_qty
            else:
                open_qty -= fill.trade_qty
                rows.append((taker_id, fill.order_id, fill.trade_price, fill.trade_qty))
        return rows
