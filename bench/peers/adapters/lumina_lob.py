"""lumina-lob: the C++ book that its wheel ships beside the book in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lumina_lob import _core  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """The book and the engine around it; both record every event."""

    distribution = "lumina-lob"
    reports_fills = True
    notes = (
        "The C++ module, not the documented book in Python, which is slower. Its trades have no price: "
        "they are fetched as one list inside the timed part, and the prices come from its event log afterwards."
    )

    def __init__(self) -> None:
        self._book = _core.OrderBook()
        self._engine = _core.MatchingEngine(self._book)

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the engine's sides."""
        return as_commands(columns, _core.Side.BID, _core.Side.ASK)

    def run(self, commands: list[Command]) -> list[tuple[int, int, int]]:
        """Call `process` and `cancel`, then fetch the list of trades."""
        process = self._engine.process
        cancel = self._book.cancel
        limit = _core.OrderType.LIMIT
        for action, order_id, side, price, qty in commands:
            if action:
                cancel(order_id)
            else:
                process(order_id, side, price, qty, limit)
        trades: list[tuple[int, int, int]] = self._book.trades()
        return trades

    def trades(self, fills: list[tuple[int, int, int]]) -> list[TradeRow]:
        """Join the trades with the prices of the fills in the event log."""
        events: list[Any] = self._book.event_log().events
        logged = [event for event in events if event.event_type == _core.EventType.FILL]
        return [(taker, maker, event.price, qty) for (taker, maker, qty), event in zip(fills, logged, strict=True)]
