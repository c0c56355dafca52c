"""What an adapter is, and the one way to turn columns into arguments and fills into text.

The rules are the same for every engine:

- Arguments are prepared before the clock starts: Python ints (floats or strings only where the engine takes nothing
  else) and the engine's own constants for the sides. An engine that takes arrays gets arrays.
- The timed part is one loop over the commands with nothing in it but the engine's calls. An order object that the
  engine wants for each order is made in the loop, because its users make one for each order too; `construct` times that
  share alone.
- Fills are collected in the loop as the engine's own objects; their fields are read after the clock has stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.peers.flow import ADD, COMMAND_COLUMNS, SELL

Columns = dict[str, NDArray[np.int64]]
Command = tuple[int, int, Any, Any, Any]
TradeRow = tuple[int, int, int, int]
Trades = Sequence[TradeRow] | NDArray[np.int64]


class Adapter(Protocol):
    """One engine with an empty book; a new one is made for each run."""

    distribution: ClassVar[str]
    """Name on PyPI, whose installed version is reported."""
    reports_fills: ClassVar[bool]
    notes: ClassVar[str]
    """What was done to make the flow fit, in a sentence or two."""

    def build(self, columns: Columns) -> Any:
        """Prepare the arguments of these commands; not timed."""

    def run(self, commands: Any) -> Any:
        """Pass the commands to the engine and return the fills as it reports them, or None; timed."""

    def trades(self, fills: Any) -> Trades:
        """Read taker, maker, price and quantity of each fill in the order of execution; not timed."""


@runtime_checkable
class ConstructsOrders(Protocol):
    """An adapter whose engine takes order objects."""

    def construct(self, commands: Any) -> None:
        """Make the objects that `run` makes, and nothing else; timed apart."""


@runtime_checkable
class ShowsVolumes(Adapter, Protocol):
    """An adapter whose engine reports no fills, but shows by its book that it did the work; its commands are a list."""

    def volumes(self, prices: Sequence[int]) -> list[tuple[int, int]]:
        """Give the resting quantity of buys and of sells at each price."""


def as_commands(columns: Columns, buy: Any, sell: Any) -> list[Command]:
    """Make a tuple (action, order id, side, price, qty) of each command, with the engine's constants for the sides."""
    action, order_id, side, price, qty = (columns[name].tolist() for name in COMMAND_COLUMNS)
    sides = [sell if value == SELL else buy for value in side]
    return list(zip(action, order_id, sides, price, qty, strict=True))


def order_count(columns: Columns) -> int:
    """Count the orders among the commands."""
    return int(np.count_nonzero(columns["action"] == ADD))


def as_trade_array(trades: Trades) -> NDArray[np.int64]:
    """Make an array of four columns, of no rows where nothing traded."""
    return np.asarray(trades, dtype=np.int64).reshape(len(trades), 4)


def digest(trades: NDArray[np.int64]) -> str:
    """Hash the canonical text of trades: a line `taker maker price qty` for each."""
    text = "".join(f"{taker} {maker} {price} {qty}\n" for taker, maker, price, qty in trades.tolist())
    return hashlib.sha256(text.encode()).hexdigest()
