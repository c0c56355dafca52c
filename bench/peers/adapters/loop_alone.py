"""The loop that every adapter of single calls has, without a call: the floor under all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.contract import as_commands
from bench.peers.flow import BUY, SELL

if TYPE_CHECKING:
    from bench.peers.contract import Columns, Command, TradeRow


class Adapter:
    """No engine at all."""

    distribution = ""
    reports_fills = False
    notes = "No engine: what unpacking and branching cost in each of the other rows."

    def build(self, columns: Columns) -> list[Command]:
        """Prepare the commands as for an engine that takes ints."""
        return as_commands(columns, BUY, SELL)

    def run(self, commands: list[Command]) -> None:
        """Walk over the commands."""
        for action, _order_id, _side, _price, _qty in commands:
            if action:
                pass

    def trades(self, _fills: None) -> list[TradeRow]:
        """There are none."""
        return []
