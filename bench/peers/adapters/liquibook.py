"""liquibook: SWIG around the C++ book of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import liquibook  # type: ignore[import-not-found]

from bench.peers.contract import as_commands, order_count

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow

Fill = tuple[Any, Any, int, int]


class _Listener(liquibook.OrderListener):  # type: ignore[misc]
    """Collects fills; the other two methods are abstract in the library and must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.fills: list[Fill] = []

    def on_fill(self, *fill: Any) -> None:
        self.fills.append(fill)

    def on_accept(self, _order: Any) -> None:
        return

    def on_cancel(self, _order: Any) -> None:
        return


class Adapter:
    """The plain book; the one with depth is slower."""

    distribution = "liquibook"
    reports_fills = True
    notes = (
        "Order objects are made in the loop. The library numbers them itself, one after the other; the ids are mapped "
        "after the timed part. Its listener must take every acceptance and cancellation in Python too."
    )

    def __init__(self) -> None:
        self._book = liquibook.liquibook_book_OrderBook()
        self._listener = _Listener()
        self._book.set_order_listener(self._listener)
        # Ids count on through the life of the process, so the last one before this book is what its ids start after.
        self._last_foreign_id: int = liquibook.SimpleOrder(True, 1, 1).order_id_
        self._orders: list[Any] = [None]

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints, with True for the buying side, and room for the orders."""
        self._orders.extend([None] * order_count(columns))
        return as_commands(columns, buy=True, sell=False)

    def run(self, commands: list[Command]) -> list[Fill]:
        """Make orders, call `add` and `cancel`; fills arrive at the listener."""
        make = liquibook.SimpleOrder
        add = self._book.add
        cancel = self._book.cancel
        orders = self._orders
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(orders[order_id])
            else:
                order = orders[order_id] = make(side, price, qty)
                add(order)
        return self._listener.fills

    def trades(self, fills: list[Fill]) -> list[TradeRow]:
        """Read the orders' ids."""
        base = self._last_foreign_id
        return [(taker.order_id_ - base, maker.order_id_ - base, price, qty) for taker, maker, qty, price in fills]

    def construct(self, commands: list[Command]) -> None:
        """Make the orders again."""
        make = liquibook.SimpleOrder
        orders = list(self._orders)
        for action, order_id, side, price, qty in commands:
            if not action:
                orders[order_id] = make(side, price, qty)
