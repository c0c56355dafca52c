"""From a journal back to an engine: what happened is applied, nothing is matched again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyengine._core.recovery import Recovery
from pyengine.engine import Engine
from pyengine.errors import FieldError, PyengineError, SnapshotError
from pyengine.journal.beside import Beside
from pyengine.journal.configuration import configured, engine_options
from pyengine.journal.errors import JournalDamaged, JournalError
from pyengine.journal.format import Definitions, DefinitionsFrame, Frame, FrameKind
from pyengine.journal.reader import JournalReader, Segment, configuration_of, events_of, first_header
from pyengine.journal.snapshots import SnapshotHead, snapshot_files
from pyengine.records import Action, Kind, Reason, Records

_log = logging.getLogger("pyengine.journal")

OPTIONS = frozenset({"ring_capacity", "capacity", "publish_wait_s"})
"""What an engine out of a journal may be made with. Stores would have to hear of its past, which they don't."""

NO_TIME = -(2**63)
"""Highest time stamp of no events."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came out of a journal.

    Attributes
    ----------
    engine : Engine
    last_seq : int
        Sequence number of the last event that was applied; 0 if there is none.
    events : int
        How many were applied.
    segments : int
        How many were read.
    torn_bytes : int
        Bytes of a commit that a crash cut short, behind the last whole one. Nobody was told that they are durable.
    complete : bool
        Whether the journal says of itself that it was closed, so that nothing can be missing at its end.
    snapshot_seq : int
        Last event of the snapshot that it began with; 0 without.
    latest_ns : int
        Highest time stamp of all events up to the last one; `NO_TIME` if there are none.
    """

    engine: Engine
    last_seq: int
    events: int
    segments: int
    torn_bytes: int
    complete: bool
    snapshot_seq: int
    latest_ns: int


def recover(path: str | Path, *, until_seq: int | None = None, until_ns: int | None = None, **options: Any) -> Recovered:
    """Make the engine that a journal tells of. The journal itself is only read.

    Parameters
    ----------
    path : str or Path
        The folder.
    until_seq : int, optional
        Leave out the command that causes the first event behind this one, and all later ones.
    until_ns : int, optional
        Leave out the command that causes the first event with a later time stamp, and all later ones.
    **options
        `ring_capacity`, `capacity` and `publish_wait_s` of `Engine`.

    Returns
    -------
    Recovered
        O(events).

    Raises
    ------
    JournalDamaged
        Something isn't as it was written, and it isn't a commit that a crash cut short: segment, offset, sequence number.
    JournalError
        There is no journal; or the point lies before all that is left of it.
    """
    for name, value in (("until_seq", until_seq), ("until_ns", until_ns)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise FieldError(name, value, "an int")
    for name in options.keys() - OPTIONS:
        raise FieldError("options", name, f"among {', '.join(sorted(OPTIONS))}: all else is in the journal, or comes afterwards")
    return _recover(Path(path), until_seq, until_ns, options, None)


def recover_beside(path: Path, beside: Beside, **options: Any) -> Recovered:
    """Do that to the journal's end, and have stores in memory follow. They are of no use if it fails."""
    return _recover(path, None, None, options, beside)


def _recover(
    path: Path, until_seq: int | None, until_ns: int | None, options: dict[str, Any], beside: Beside | None
) -> Recovered:
    for base in _bases(path, until_seq, until_ns, options, orders=beside is not None):
        found = _recovered(path, until_seq, until_ns, options, base, beside)
        if found is not None:
            return found
    raise AssertionError


def _recovered(
    path: Path, until_seq: int | None, until_ns: int | None, options: dict[str, Any], base: Base | None, beside: Beside | None
) -> Recovered | None:
    """Go on from a snapshot, or from nothing; None if the journal ends before the snapshot."""
    begin = 1 if base is None else base.engine.next_seq
    reader = JournalReader(path, begin)
    replayed = Replayed(until_seq, until_ns, options, base, beside)
    if base is not None and beside is not None and base.orders is not None:
        beside.begin(base.engine, base.orders)
    for segment, frame in reader.frames():
        if not replayed.take(segment, frame):
            break
    last = reader.segments[-1]
    if last.position.seq < begin:
        _log.error("going without the snapshot of event %d: the journal ends at %d", begin - 1, last.position.seq - 1)
        return None
    engine = replayed.finish(last)
    torn = max(0, last.torn - last.end)
    return Recovered(
        engine, engine.next_seq - 1, replayed.events, len(reader.segments), torn, last.ended, begin - 1, replayed.latest_ns
    )


@dataclass(frozen=True, slots=True)
class Base:
    """A snapshot that recovery begins with.

    Attributes
    ----------
    engine : Engine
    latest_ns : int
        Highest time stamp up to then.
    orders : array of ORDER_RECORD_DTYPE or None
        The open ones, if stores need them.
    """

    engine: Engine
    latest_ns: int
    orders: Records | None


def _bases(
    path: Path, until_seq: int | None, until_ns: int | None, options: dict[str, Any], *, orders: bool
) -> Iterator[Base | None]:
    """Load good snapshots that aren't behind the point, with their orders if needs be, newest first; at last comes None."""
    behind: SnapshotHead | None = None
    for one in snapshot_files(path) if path.is_dir() else ():
        try:
            first, head = first_header(path), one.head()
            if (until_seq is not None and head.last_seq > until_seq) or (until_ns is not None and head.latest_ns > until_ns):
                behind = head if head.identity == first.identity else behind
                continue
            found = one.orders(first.identity) if orders else None
            if orders and found is None:
                _log.error("going without %s: it doesn't have what stores need", one.path)
                continue
            yield Base(one.load(first.identity, options), head.latest_ns, found)
        except (JournalError, SnapshotError, OSError) as error:
            _log.error("going without %s: %s", one.path, error)
    if behind is not None and first_header(path).number > 1:
        point = f"event {until_seq}" if until_seq is not None else f"time stamp {until_ns}"
        raise JournalError(
            f"the point must be event {behind.last_seq}, with time stamps up to {behind.latest_ns}, or later, was {point}: the "
            f"segments before it were taken away from {path}. If they were archived, put them back, unpacked"
        )
    yield None


class Replayed:
    """An engine that is being made from frames."""

    def __init__(
        self,
        until_seq: int | None,
        until_ns: int | None,
        options: dict[str, Any],
        base: Base | None,
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside
        self._until_seq = until_seq
        self._until_ns = until_ns
        self._options = options
        self._engine = None if base is None else base.engine
        self._recovery = None if base is None else Recovery(base.engine)
        self._definitions: Definitions | None = None if base is not None else Definitions()
        self.events = 0
        self.latest_ns = NO_TIME if base is None else base.latest_ns

    def take(self, segment: Segment, frame: Frame) -> bool:
        """Take in a frame; False if it holds the end that was asked for."""
        if frame.kind == FrameKind.CONFIGURATION:
            self._configure(segment, frame)
        elif frame.kind == FrameKind.DEFINITIONS:
            self._define(segment, frame)
        elif frame.kind == FrameKind.EVENTS:
            return self._apply(segment, frame)
        return True

    def _configure(self, segment: Segment, frame: Frame) -> None:
        content = configuration_of(segment, frame)
        if self._engine is None:
            if segment.header.number != 1:
                raise _damaged(segment, frame, "the segments before must be there, are missing")
            try:
                self._engine = Engine(**engine_options(content), **self._options)
            except (KeyError, FieldError) as error:
                raise _damaged(segment, frame, f"the configuration must have {error}") from error
            self._recovery = Recovery(self._engine)
            if self._beside is not None:
                self._beside.begin(self._engine, None)
        engine, header = self._engine, segment.header
        if self._definitions is None:
            # The snapshot may know more than what was defined before this segment, but not less.
            self._definitions = Definitions()
            self._definitions.add(engine.instruments[: header.instruments], _users(engine, 1, header.users))
            for name, value in configured(engine).items():
                if engine_options(content)[name] != value:
                    raise _damaged(segment, frame, f"{name} must be {value}, as in the snapshot")
        known = self._definitions
        if (known.instruments, known.users, known.digest) != (header.instruments, header.users, header.definitions):
            raise _damaged(segment, frame, "the segment must come after the definitions that were read, comes after others")

    def _define(self, segment: Segment, frame: Frame) -> None:
        engine, known = self._engine, self._definitions
        assert engine is not None
        assert known is not None
        try:
            new = DefinitionsFrame.read(frame.payload)
            if (new.first_instrument, new.first_user) != (known.instruments, known.users + 1):
                message = f"definitions must go on at {known.instruments} and {known.users + 1}"
                raise ValueError(message)  # noqa: TRY301  one place for all that contradicts
            for index, instrument in enumerate(new.instruments, start=new.first_instrument):
                if index == len(engine.instruments):
                    engine.add_instrument(instrument)
                elif engine.instruments[index] != instrument:
                    message = f"instrument {index} must be {engine.instruments[index]}, as in the snapshot"
                    raise ValueError(message)  # noqa: TRY301  as above
            for place, name in enumerate(new.users, start=new.first_user):
                if engine.user(name) != place:
                    message = f"user {name!r} must be number {place}"
                    raise ValueError(message)  # noqa: TRY301  as above
            for user, mode in new.modes:
                engine.user(_name(engine, user), mode)
        except (ValueError, PyengineError) as error:
            raise _damaged(segment, frame, str(error)) from error
        known.add(new.instruments, new.users)

    def _apply(self, segment: Segment, frame: Frame) -> bool:
        assert self._engine is not None
        rows = events_of(frame)
        if self._engine.next_seq > frame.first_seq:
            if self._engine.next_seq < frame.first_seq + frame.count:
                raise _damaged(segment, frame, "a snapshot must be of the state between two commits")
            return True
        count = whole_commands(rows, self._until_seq, self._until_ns)
        assert self._recovery is not None
        try:
            self._recovery.apply(rows[:count])
        except PyengineError as error:
            raise _damaged(segment, frame, str(error)) from error
        if self._beside is not None:
            self._beside.apply(rows[:count])
        self.events += count
        if count:
            self.latest_ns = max(self.latest_ns, int(rows["ts_ns"][:count].max()))
        return count == len(rows)

    def finish(self, segment: Segment) -> Engine:
        """Return the engine."""
        assert self._engine is not None
        assert self._recovery is not None
        try:
            self._recovery.finish()
        except PyengineError as error:
            raise JournalDamaged(segment.path.name, segment.end, segment.position.seq, str(error)) from error
        if self._beside is not None and self._beside.open_count != self._engine.resting_orders:
            problem = f"there must be {self._engine.resting_orders} open orders, as in the books, are {self._beside.open_count}"
            raise JournalDamaged(segment.path.name, segment.end, segment.position.seq, problem)
        return self._engine


def _users(engine: Engine, first: int, count: int) -> list[str]:
    return [str(name) for name in engine.names.users[first : first + count]]


def _name(engine: Engine, user: int) -> str:
    name = engine.user_name(user)
    if name is None:
        message = f"a mode must be one of a user, was of {user}"
        raise ValueError(message)
    return name


def _damaged(segment: Segment, frame: Frame, problem: str) -> JournalDamaged:
    return JournalDamaged(segment.path.name, frame.offset, frame.first_seq, problem)


def whole_commands(rows: Records, until_seq: int | None, until_ns: int | None) -> int:
    """Count the events of whole commands before the first one that is behind one of these points. O(events).

    `rows` begin with a command. Two mass cancels with the same time stamp, one right behind the other, count as one.
    """
    behind = np.zeros(len(rows), np.bool_)
    if until_seq is not None:
        # Compared as Python would: numbers below zero and above 2**64 are as good as any.
        behind |= rows["seq"] > np.uint64(min(max(until_seq, 0), 2**64 - 1))
    if until_ns is not None:
        behind |= rows["ts_ns"] > min(max(until_ns, -(2**63)), 2**63 - 1)
    first = int(np.argmax(behind)) if behind.any() else len(rows)
    if first == len(rows):
        return first
    kind, reason = rows["kind"], rows["reason"]
    request = kind == Kind.REQUEST
    alone = request & (rows["detail"] >> np.uint64(32) & np.uint64(255) == Action.MASS_CANCEL) & (rows["qty_lots"] == 0)
    mass = (kind == Kind.CANCELLED) & (reason == Reason.MASS)
    goes_on = np.zeros(len(rows), np.bool_)
    goes_on[1:] = mass[1:] & mass[:-1] & (rows["ts_ns"][1:] == rows["ts_ns"][:-1])
    begins = (kind != Kind.TRADE) & ((kind != Kind.CANCELLED) | (reason == Reason.USER) | mass) & ~goes_on
    # What follows a request belongs to it, unless that is of a mass cancel that met no order.
    begins[1:] = (begins[1:] & (~request[:-1] | alone[:-1])) | request[1:]
    begins[0] = True
    return int(np.flatnonzero(begins[: first + 1])[-1])


__all__ = ["Recovered", "recover", "recover_beside", "whole_commands"]
