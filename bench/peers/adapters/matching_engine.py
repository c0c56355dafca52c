"""matching-engine: a book in Python with commands and events as msgspec structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matching_engine import (  # type: ignore[import-not-found]
    CancelOrder,
    NewOrder,
    OrderType,
    SelfTradePrevention,
    SequencedCommand,
    Side,
    TimeInForce,
)
from matching_engine.engine import MatchingEngine  # type: ignore[import-not-found]
from matching_engine.events import Trade  # type: ignore[import-not-found]

from bench.peers.contract import as_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.contract import Columns, Command, TradeRow

ACCOUNT = 1
TS_NS = 0


class Adapter:
    """The engine alone, without its log, its snapshots and its gateway."""

    distribution = "matching-engine"
    reports_fills = True
    notes = (
        "The engine without its write-ahead log. Command objects are made in the loop. One account places all orders, "
        "with its self-trade prevention off."
    )

    def __init__(self) -> None:
        self._engine = MatchingEngine()

    def build(self, columns: Columns) -> list[Command]:
        """Prepare ints and the engine's sides."""
        return as_commands(columns, Side.BUY, Side.SELL)

    def run(self, commands: list[Command]) -> list[Any]:
        """Make commands and call `process`; the first event of an order is its acceptance, trades follow."""
        process = self._engine.process
        limit, gtc, no_prevention = OrderType.LIMIT, TimeInForce.GTC, SelfTradePrevention.NONE
        seq = self._engine.last_seq
        collected: list[Any] = []
        for action, order_id, side, price, qty in commands:
            seq += 1
            if action:
                process(SequencedCommand(seq, TS_NS, CancelOrder(order_id, ACCOUNT)))
            else:
                order = NewOrder(order_id, ACCOUNT, side, price, qty, limit, gtc, False, no_prevention)
                events = process(SequencedCommand(seq, TS_NS, order))
                if len(events) > 1:
                    collected.extend(events)
        return collected

    def trades(self, fills: list[Any]) -> list[TradeRow]:
        """Read the trades among the events."""
        trades: Iterator[Any] = (event for event in fills if type(event) is Trade)
        return [(trade.taker_order_id, trade.maker_order_id, trade.price, trade.qty) for trade in trades]

    def construct(self, commands: list[Command]) -> None:
        """Make the commands again."""
        limit, gtc, no_prevention = OrderType.LIMIT, TimeInForce.GTC, SelfTradePrevention.NONE
        for seq, (action, order_id, side, price, qty) in enumerate(commands):
            if action:
                SequencedCommand(seq, TS_NS, CancelOrder(order_id, ACCOUNT))
            else:
                order = NewOrder(order_id, ACCOUNT, side, price, qty, limit, gtc, False, no_prevention)
                SequencedCommand(seq, TS_NS, order)
