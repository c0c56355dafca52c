"""pyengine, all commands in one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import pyengine
from bench.peers.flow import ADD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.peers.contract import Columns


class Adapter:
    """An engine with one book."""

    distribution = "pyengine"
    reports_fills = True
    notes = "One call for all commands, which are an array of records prepared before; trades are an array too."

    def __init__(self) -> None:
        self._engine = pyengine.Engine()
        self._book = self._engine.add_instrument(pyengine.Instrument("X", tick_size=1, lot_size=1))

    def build(self, columns: Columns) -> Any:
        """Prepare command records; a cancel names nothing but its order."""
        adds = columns["action"] == ADD
        commands = pyengine.make_commands(len(adds))
        commands["action"] = np.where(adds, int(pyengine.Action.LIMIT), int(pyengine.Action.CANCEL))
        commands["instrument"] = self._book.index
        commands["order_id"] = columns["order_id"]
        commands["side"] = np.where(adds, columns["side"], 0)
        commands["price_ticks"] = np.where(adds, columns["price"], 0)
        commands["qty_lots"] = np.where(adds, columns["qty"], 0)
        return commands

    def run(self, commands: Any) -> Any:
        """Call `run` once."""
        return self._engine.run(commands).trades

    def trades(self, fills: Any) -> NDArray[np.int64]:
        """Read four columns."""
        names = ("taker_id", "maker_id", "price_ticks", "qty_lots")
        return np.column_stack([fills[name].astype(np.int64) for name in names])
