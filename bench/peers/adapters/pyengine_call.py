"""pyengine, one Python call for each command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyengine
from bench.peers.contract import as_commands
from bench.peers.flow import BUY, SELL

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """An engine with one book."""

    distribution = "pyengine"
    reports_fills = True
    notes = "One call for each command; trade objects are made in the loop."

    def __init__(self) -> None:
        self._engine = pyengine.Engine()
        self._book = self._engine.add_instrument(pyengine.Instrument("X", tick_size=1, lot_size=1))

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints."""
        return as_commands(columns, BUY, SELL)

    def run(self, commands: list[Command]) -> list[Any]:
        """Call `submit` and `cancel`."""
        submit = self._book.submit
        cancel = self._book.cancel
        collected: list[Any] = []
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id)
            else:
                trades = submit(side, price, qty, order_id).trades
                if trades:
                    collected.extend(trades)
        return collected

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Read the trades' fields."""
        return [(fill.taker_id, fill.maker_id, fill.price_ticks, fill.qty_lots) for fill in fills]
