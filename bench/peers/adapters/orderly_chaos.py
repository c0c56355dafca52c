"""orderly-chaos: a C++ book behind ctypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orderly_chaos import LimitOrderBook, Side  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """A book with a callback for each trade."""

    distribution = "orderly-chaos"
    reports_fills = True
    notes = "Trades arrive at a callback, which is the `append` of a list."

    def __init__(self) -> None:
        self._fills: list[Any] = []
        self._book = LimitOrderBook(on_trade=self._fills.append)

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the engine's sides."""
        return as_commands(columns, Side.BUY, Side.SELL)

    def run(self, commands: list[Command]) -> list[Any]:
        """Call `limit` and `cancel`."""
        limit = self._book.limit
        cancel = self._book.cancel
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id)
            else:
                limit(side, order_id, qty, price)
        return self._fills

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Read the trades' fields."""
        return [(fill.taker_id, fill.maker_id, fill.price, fill.quantity) for fill in fills]
