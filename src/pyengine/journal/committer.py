"""From an engine's ring to commits: what has happened, and before it the names that it refers to."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyengine._core.consumer import Consumer
from pyengine._core.group_commit import GroupCommit
from pyengine.instrument import Instrument
from pyengine.journal.format import EVENT_BYTES, FRAME_BYTES, Definitions, FrameKind, definition_payloads
from pyengine.journal.segments import Content, NoRoomError, SegmentWriter
from pyengine.journal.space import Space
from pyengine.journal.waiters import Marks
from pyengine.records import Records


@dataclass(frozen=True, slots=True)
class Pending:
    """What the engine knows and the journal doesn't.

    Attributes
    ----------
    marks : tuple of int
        How much the engine knows.
    modes : array of uint8
        Of all users.
    payloads : list of (bytes, int)
        Frames that define it, each with the number of entries in it.
    """

    marks: Marks
    instruments: Sequence[Instrument]
    users: Sequence[str]
    modes: NDArray[np.uint8]
    payloads: list[tuple[bytes, int]]

    @property
    def length(self) -> int:
        """Bytes of the frames."""
        return sum(FRAME_BYTES + len(payload) for payload, _ in self.payloads)


class Committer:
    """Makes commits of what a consumer reads.

    Parameters
    ----------
    consumer : Consumer
        A required one.
    writer : SegmentWriter
    definitions : Definitions
        What the journal has defined already.
    space : Space
        Which knows whether there is room for another segment.
    callers_commit : bool
        Whether callers that wait may make simple commits themselves, see `group`.

    Attributes
    ----------
    group : GroupCommit
        Callers that wait for events, and their commits.
    durable_marks : tuple of int
        How many instruments, users and changes of modes are on the disk.

    Notes
    -----
    Not thread-safe. What `commit` raises ends it: what it had read is lost to it, and what the disk has isn't known.
    """

    def __init__(
        self, consumer: Consumer, writer: SegmentWriter, definitions: Definitions, space: Space, *, callers_commit: bool
    ) -> None:
        self.consumer = consumer
        self.writer = writer
        self.space = space
        self._definitions = definitions
        self._modes = np.zeros(1, np.uint8)
        # Modes are written down at first: what the engine has counts, whoever set them.
        self._marks: Marks = (definitions.instruments, definitions.users, -1)
        self.durable_marks = self._marks
        self._counts = dict.fromkeys(("commits", "events", "definitions", "longest_sync_ns"), 0)
        self.group = GroupCommit(consumer, writer.position.seq - 1)
        self.group.end_lead(0, writer.place)
        self.callers_commit = callers_commit

    @property
    def counts(self) -> dict[str, int]:
        """What was counted, commits of callers too."""
        group, found = self.group, dict(self._counts)
        found["commits"] += group.led
        found["events"] += group.led_events
        found["longest_sync_ns"] = max(found["longest_sync_ns"], group.longest_sync_ns)
        return found

    @property
    def head(self) -> int:
        """Sequence number below which everything has happened. The engine publishes whole commands only."""
        return self.consumer.position + self.consumer.lag

    @property
    def current_marks(self) -> Marks:
        """How many instruments, users and changes of modes there are in the engine."""
        engine = self.consumer.engine
        names = engine.names
        return len(names.instruments), len(names.users) - 1, engine.user_mode_changes

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be written."""
        return not self.consumer.lag and self.durable_marks == self.current_marks

    def commit(self) -> int:
        """Make durable what has happened up to now; return how many events it was.

        Raises
        ------
        NoRoomError
            There is no room for it. Nothing was read yet, and it may be tried again.
        OSError
            The disk refused it.
        """
        group, writer = self.group, self.writer
        try:
            # An interrupt may come as soon as this leads.
            at = group.begin_lead()
            if group.error:
                raise OSError(group.error, os.strerror(group.error))  # noqa: TRY301  what a caller's commit met
            writer.go_on(*at)
            count = self._commit()
            self._end_lead()
        except NoRoomError:
            self._end_lead()
            raise
        except BaseException:
            group.end_lead(0)
            raise
        return count

    def stop(self) -> None:
        """Let nobody commit any more, once whoever does has ended."""
        self.group.begin_lead()
        self.group.end_lead(0)
        self.consumer.close()

    def _end_lead(self) -> None:
        """Let callers make the next commits, if they may."""
        # The rest of a segment is not for them, as they don't see to space.
        fd, at, end, seq, crc, commit = self.writer.place
        place = fd, at, end - self.space.margin_bytes, seq, crc, commit
        may = self.callers_commit and self._marks[2] >= 0
        self.group.end_lead(seq - 1, place, self._marks if may else None)

    def _commit(self) -> int:
        consumer, head = self.consumer, self.head
        pending = self._pending()
        length = pending.length
        if head > consumer.position:
            length += (head - consumer.position) * EVENT_BYTES + FRAME_BYTES
        if length:
            self._make_room(length)
        events: list[Records] = []
        while consumer.position < head:
            events.append(consumer.read(head - consumer.position))
        # Looked at after the events, so that everything that they refer to is among it.
        before = self._definitions.instruments, self._definitions.users, self._definitions.digest
        contents = self._define(pending if self.current_marks == pending.marks else self._pending())
        count = sum(len(rows) for rows in events)
        if count:
            contents.append((FrameKind.EVENTS, [rows.view(np.uint8) for rows in events], count))
        if contents:
            try:
                self.writer.write(contents, before)
            except NoRoomError as error:
                # What was read can't be put back: names that have come since then took the room.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            # The engine may have this part of its ring back before the disk has it: after a failure nothing is read any more.
            del contents
            events.clear()
            self._sync()
        self._counts["events"] += count
        self.durable_marks = self._marks
        return count

    def _make_room(self, length: int) -> None:
        """See that so much can be written, as what was read of the ring can't be put back."""
        if self.writer.fits(length):
            return
        if not self.space.has_room_for_segment(length):
            raise NoRoomError
        known = self._definitions
        self.writer.make_room((known.instruments, known.users, known.digest), length)

    def _sync(self) -> None:
        begun = time.perf_counter_ns()
        self.writer.sync()
        self._counts["longest_sync_ns"] = max(self._counts["longest_sync_ns"], time.perf_counter_ns() - begun)
        self._counts["commits"] += 1

    def _pending(self) -> Pending:
        """Find what is to be defined. Nothing changes by it."""
        marks = self.current_marks
        if marks == self._marks:
            return Pending(marks, (), (), self._modes, [])
        instruments, users, changes = self._marks
        names = self.consumer.engine.names
        new_instruments = names.instruments[instruments : marks[0]]
        new_users = [str(name) for name in names.users[users + 1 : marks[1] + 1]]
        changed, modes = self._new_modes(marks[1]) if marks[2] != changes else ({}, self._modes)
        payloads = definition_payloads(instruments, new_instruments, users + 1, new_users, changed)
        return Pending(marks, new_instruments, new_users, modes, payloads)

    def _define(self, pending: Pending) -> list[Content]:
        """Count something as defined, and return what says so."""
        self._definitions.add(pending.instruments, pending.users)
        self._marks, self._modes = pending.marks, pending.modes
        self._counts["definitions"] += sum(count for _, count in pending.payloads)
        return [(FrameKind.DEFINITIONS, [payload], count) for payload, count in pending.payloads]

    def _new_modes(self, users: int) -> tuple[dict[int, int], NDArray[np.uint8]]:
        """Find whose mode isn't the one that was written down last, and all modes. O(users)."""
        modes = self.consumer.engine.user_modes()[: users + 1]
        before = np.zeros(len(modes), np.uint8)
        before[: len(self._modes)] = self._modes
        # In a journal that goes on, nobody's mode is known yet.
        changed = np.flatnonzero(modes != before) if self._marks[2] >= 0 else np.arange(1, len(modes))
        return {int(user): int(modes[user]) for user in changed}, modes
