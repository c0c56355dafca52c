"""What an engine must do with client order ids, said with a dictionary and an engine that knows nothing of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from side_by_side import new_engine

from pyengine.records import FIRST_REJECTION, Action, Flag, Kind, Reason, SelfTrade

if TYPE_CHECKING:
    from pyengine import Engine, Result

INT64_MAX = 2**63 - 1
TRADES_EACH = 4
Trades = tuple[tuple[int, ...], ...]
Contents = tuple[int, ...]


class Outcome(NamedTuple):
    """What a command's result says."""

    status: int
    order_id: int
    filled: int
    remaining: int
    cancelled: int
    reason: int
    trades: Trades


class Remembered(NamedTuple):
    """One command in the window."""

    contents: Contents
    outcome: Outcome
    time_ns: int


def contents_of(row: np.void) -> Contents:
    """Everything that a command asks for; what its action ignores doesn't count, nor does the time."""
    action = int(row["action"])
    ignored = {
        Action.CANCEL: ("side", "price_ticks", "qty_lots"),
        Action.AMEND: ("side",),
        Action.MASS_CANCEL: ("price_ticks", "qty_lots"),
    }
    names = ("action", "tif", "flags", "stp", "instrument", "order_id", "price_ticks", "qty_lots", "user", "side")
    left_out = set(ignored.get(Action(action), ())) if action in Action.__members__.values() else set()
    if row["flags"] & Flag.ASSIGN_ID:
        left_out.add("order_id")
    return tuple(0 if name in left_out else int(row[name]) for name in names)


def outcome_of(row: np.void, status: int, events: np.ndarray) -> Outcome:
    """Read a result off a command's events."""
    action, order_id = int(row["action"]), int(row["order_id"])
    if status >= FIRST_REJECTION:
        return Outcome(status, order_id, 0, 0, 0, status, ())
    trades = events[events["kind"] == Kind.TRADE]
    seen = tuple(
        tuple(int(e[name]) for name in ("order_id", "detail", "price_ticks", "qty_lots", "value", "flags")) for e in trades
    )
    gone = [e for e in events if e["kind"] == Kind.CANCELLED]
    if action == Action.MASS_CANCEL:
        return Outcome(status, order_id, 0, 0, min(INT64_MAX, sum(int(e["qty_lots"]) for e in gone)), Reason.MASS, ())
    if action == Action.CANCEL:
        return Outcome(status, order_id, 0, 0, int(gone[0]["qty_lots"]), Reason.USER, ())
    own = int(events[0]["order_id"])
    filled = sum(int(e["qty_lots"]) for e in trades)
    ends = [e for e in gone if e["order_id"] == own]
    cancelled = sum(int(e["qty_lots"]) for e in ends)
    reason = int(ends[-1]["reason"]) if ends and events[-1] == ends[-1] and ends[-1]["value"] == 0 else 0
    return Outcome(status, own, filled, int(row["qty_lots"]) - filled - cancelled, cancelled, reason, seen)


def outcome_of_result(result: Result) -> Outcome:
    """Read the same off a result."""
    trades = tuple(
        (
            t.taker_id,
            t.maker_id,
            t.price_ticks,
            t.qty_lots,
            t.trade_id,
            (1 if t.maker_filled else 0) | (2 if t.taker_filled else 0),
        )
        for t in result.trades
    )
    return Outcome(
        int(result.status),
        result.order_id,
        result.filled_lots,
        result.remaining_lots,
        result.cancelled_lots,
        int(result.reason),
        trades,
    )


class OnceModel:
    """A bare engine, and the newest commands in a dictionary."""

    def __init__(self, *, limit: int, age_ns: int | None = None, self_trade: SelfTrade = SelfTrade.OFF) -> None:
        self.engine: Engine = new_engine(self_trade=self_trade)
        self.events: list[np.ndarray] = []
        self._limit = limit
        self._age_ns = age_ns
        self._latest_ns = -(2**63)
        self._window: OrderedDict[tuple[int, int], Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._window)

    def apply(self, row: np.void, client_id: int) -> tuple[Outcome, bool]:
        """Run a command, or find what it led to; also whether it was found."""
        if client_id == 0:
            return self._run(row), False
        key, contents, ts_ns = (int(row["user"]), client_id), contents_of(row), int(row["ts_ns"])
        found = self._window.get(key)
        if found is not None and self._age_ns is not None and max(self._latest_ns, ts_ns) - found.time_ns > self._age_ns:
            found = None
        if found is not None:
            if found.contents == contents:
                return found.outcome, True
            return self._refuse(row), False
        outcome = self._run(row)
        if outcome.status < FIRST_REJECTION or 64 <= outcome.status < 96:
            self._remember(key, Remembered(contents, outcome, max(self._latest_ns, ts_ns)))
        return outcome, False

    def forget_last_events(self) -> None:
        """Leave out those of a malformed command: single calls raise instead."""
        self.events.pop()

    def _run(self, row: np.void) -> Outcome:
        out = self.engine.run(row.reshape(1))
        self.events.append(out.events.copy())
        return outcome_of(row, int(out.status[0]), out.events)

    def _refuse(self, row: np.void) -> Outcome:
        event = np.zeros(1, self.events[0].dtype if self.events else "V64")
        status = Reason.CLIENT_ID_REUSED
        event["ts_ns"], event["order_id"], event["kind"], event["reason"] = row["ts_ns"], row["order_id"], Kind.REJECTED, status
        event["detail"] = sum(
            int(row[name]) << shift for name, shift in (("user", 0), ("action", 32), ("tif", 40), ("flags", 48), ("stp", 56))
        )
        for name in ("price_ticks", "qty_lots", "instrument", "side"):
            event[name] = row[name]
        event["flags"] = row["action"]
        self.events.append(event)
        return Outcome(status, int(row["order_id"]), 0, 0, 0, status, ())

    def _remember(self, key: tuple[int, int], command: Remembered) -> None:
        self._latest_ns = command.time_ns
        window = self._window
        while window and (len(window) == self._limit or self._is_too_old(next(iter(window.values())))):
            window.popitem(last=False)
        assert key not in window
        window[key] = command
        while len(window) > 1 and sum(len(one.outcome.trades) for one in window.values()) > TRADES_EACH * self._limit:
            window.popitem(last=False)

    def _is_too_old(self, command: Remembered) -> bool:
        return self._age_ns is not None and self._latest_ns - command.time_ns > self._age_ns
