"""limit-order-book: a C++ book behind Cython (3.x) or ctypes (2.x), which tells nothing of its trades."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limit_order_book import LimitOrderBook  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """A book whose calls return None."""

    distribution = "limit-order-book"
    reports_fills = False
    notes = (
        "Reports no fill, neither by return value nor by callback. In a run that is not timed, the volumes at all "
        "prices that a command touches are compared after each command."
    )

    def __init__(self) -> None:
        self._book = LimitOrderBook()

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints, with True for the buying side."""
        return as_commands(columns, buy=True, sell=False)

    def run(self, commands: list[Command]) -> None:
        """Call `limit` and `cancel`."""
        limit = self._book.limit
        cancel = self._book.cancel
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id)
            else:
                limit(side, order_id, qty, price)

    def trades(self, _fills: None) -> list[TradeRow]:
        """There is nothing to read."""
        return []

    def volumes(self, prices: Sequence[int]) -> list[tuple[int, int]]:
        """Give the resting quantity of both sides at each price."""
        return [(self._book.volume_buy(price), self._book.volume_sell(price)) for price in prices]
