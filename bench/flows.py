"""The mixed flow as commands for the engine, and the trades that must come of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.peers import flow as generator
from bench.timing import progress
from pyengine import Action, Commands, Engine, Instrument, commands_from, make_commands

SEED: Final = 7
BOOK_ORDERS: Final = 4000
KEPT: Final = Path(__file__).resolve().parents[1] / "build" / "bench"
"""Flows that were made before; they take a slow book in Python and are the same every time."""

Records = NDArray[np.void]
Call = tuple[int, int, int, int, int]


class WrongResultError(Exception):
    """The engine did something else than it must; its speed is of no interest then."""


@dataclass(frozen=True)
class MixedFlow:
    """Commands around a book of about 4,000 orders: half passive adds, 40 % cancels, 10 % crossing."""

    columns: Mapping[str, NDArray[np.int64]]

    @property
    def prefill(self) -> int:
        """How many of the first commands only build the book."""
        return int(self.columns["prefill"][0])

    def __len__(self) -> int:
        return len(self.columns["action"]) - self.prefill

    def records(self) -> Records:
        """Make one array of COMMAND_DTYPE, prefill included."""
        commands = make_commands(len(self.columns["action"]))
        for name, values in self._fields().items():
            commands[name] = values
        return commands

    def as_columns(self) -> Commands:
        """Make commands of separate columns, in the engine's own types, prefill included."""
        return commands_from(self._fields())

    def _fields(self) -> dict[str, NDArray[Any]]:
        return {
            "action": np.where(self.columns["action"] == generator.ADD, Action.LIMIT, Action.CANCEL).astype("u1"),
            "side": self.columns["side"].astype("u1"),
            "order_id": self.columns["order_id"].astype("<u8"),
            "price_ticks": self.columns["price"].astype("<i8"),
            "qty_lots": self.columns["qty"].astype("<i8"),
        }

    def calls(self, count: int | None = None) -> tuple[list[Call], list[Call]]:
        """Make tuples (action, order id, side, price, qty) of Python ints: the prefill, and the first `count` after it."""
        stop = len(self.columns["action"]) if count is None else self.prefill + count
        rows = list(zip(*(self.columns[name][:stop].tolist() for name in generator.COMMAND_COLUMNS), strict=True))
        return rows[: self.prefill], rows[self.prefill :]

    def trades(self) -> NDArray[np.int64]:
        """Taker, maker, price and quantity of every trade, in order."""
        return np.column_stack([self.columns[name] for name in generator.TRADE_COLUMNS])

    def check(self, trades: Records) -> None:
        """See that an array of TRADE_DTYPE, or the first part of it, is what must come out."""
        found = np.column_stack([trades[name] for name in ("taker_id", "maker_id", "price_ticks", "qty_lots")])
        if not np.array_equal(found.astype(np.int64), self.trades()[: len(found)]):
            message = f"trades must be those of the flow, were others among {len(found)}"
            raise WrongResultError(message)


def mixed_flow(commands: int) -> MixedFlow:
    """Make the flow, or read it if it was made before."""
    source = hashlib.sha256(Path(generator.__file__).read_bytes()).hexdigest()[:12]
    kept = KEPT / f"flow-{commands}-{SEED}-{BOOK_ORDERS}-{source}.npz"
    if not kept.exists():
        progress(f"making a flow of {commands:,} commands")
        kept.parent.mkdir(parents=True, exist_ok=True)
        half_written = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(half_written, **generator.mixed_flow(commands, SEED, BOOK_ORDERS))
        half_written.replace(kept)
    with np.load(kept) as archive:
        return MixedFlow(dict(archive))


def new_engine(**options: Any) -> Engine:
    """Make an engine with one book, of tick 1 and lot 1."""
    return Engine([Instrument("X")], **options)
