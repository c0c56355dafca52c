"""The journal: every event of an engine, on the disk before anybody is told that it happened."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from pyengine._core.consumer import Consumer
from pyengine.engine import Engine
from pyengine.errors import FieldError, FieldTypeError
from pyengine.journal.acknowledgement import Acknowledgement
from pyengine.journal.disk import Disk
from pyengine.journal.errors import JournalClosed, JournalDamaged, JournalError, JournalFailed, JournalTimeout
from pyengine.journal.format import IDENTITY_BYTES, Definitions, DefinitionsFrame, FrameKind, definition_payloads
from pyengine.journal.hold import Hold
from pyengine.journal.reader import JournalReader, Position, Segment, configuration_of, segment_paths
from pyengine.journal.recovery import recover
from pyengine.journal.segments import Content, SegmentWriter
from pyengine.journal.waiters import Entry, Marks, ThreadWaiter, Waiters
from pyengine.records import Records
from pyengine.stores.composite import process

SEGMENT_BYTES = 64 << 20
SMALLEST_SEGMENT_BYTES = 4096
LARGEST_SEGMENT_BYTES = 1 << 30
DURABILITIES = ("journal", "memory")

_MANY = 2048
_SHORTEST_NAP_S = 0.25e-3
_LONGEST_NAP_S = 2e-3
_log = logging.getLogger("pyengine.journal")


class Journal:
    """A folder of segments that an engine's events go to, by a thread of its own.

    What queued up while the disk was busy with one commit is the next one: however many wait, each commit is one write and one
    sync.

    Parameters
    ----------
    path : str or Path
        The folder; it is made if it isn't there.
    segment_bytes : int
        Size that a file is given at once, and doesn't exceed unless by a single commit; from 4 KiB to 1 GiB.
    disk : Disk, optional
        What the operating system is asked through.

    Raises
    ------
    JournalHeld
        Somebody else writes to it; the text says who.
    JournalDamaged
        The newest segment isn't as it was written. `recover` reads all of them.
    OSError
        It can't be opened.

    Notes
    -----
    Thread-safety: any thread. Fork: a child doesn't write, and its engine refuses commands.
    """

    def __init__(self, path: str | Path, *, segment_bytes: int = SEGMENT_BYTES, disk: Disk | None = None) -> None:
        if isinstance(segment_bytes, bool) or not isinstance(segment_bytes, int):
            raise FieldTypeError("segment_bytes", segment_bytes, "an int")
        if not SMALLEST_SEGMENT_BYTES <= segment_bytes <= LARGEST_SEGMENT_BYTES:
            raise FieldError("segment_bytes", segment_bytes, f"from {SMALLEST_SEGMENT_BYTES} to {LARGEST_SEGMENT_BYTES}")
        self.path = Path(path)
        self._disk = Disk() if disk is None else disk
        self._segment_bytes = segment_bytes
        self._consumer: Consumer | None = None
        self._writer: SegmentWriter | None = None
        self._closed = False
        self._lock = threading.RLock()
        self._bell = threading.Lock()
        self._idle = False
        self._counts = dict.fromkeys(("commits", "events", "bytes", "definitions", "longest_sync_ns"), 0)
        self._definitions = Definitions()
        self._modes = np.zeros(1, np.uint8)
        self._marks: Marks = (0, 0, 0)
        self._durable_marks = self._marks
        self.path.mkdir(parents=True, exist_ok=True)
        self._hold = Hold(self.path)
        try:
            self._found = self._look()
        except BaseException:
            self._hold.release()
            raise
        self._waiters = Waiters(self._position.seq - 1)

    # --- what is there ------------------------------------------------------------------------------------------------

    def _look(self) -> _Found | None:
        """Read the newest segment."""
        self._position = Position(identity=os.urandom(IDENTITY_BYTES))
        if not segment_paths(self.path):
            return None
        reader = JournalReader(self.path, from_seq=2**63)
        found = _Found()
        for segment, frame in reader.frames():
            if frame.kind == FrameKind.CONFIGURATION:
                found.configuration = configuration_of(segment, frame)
            elif frame.kind == FrameKind.DEFINITIONS:
                try:
                    found.frames.append(DefinitionsFrame.read(frame.payload))
                except ValueError as error:
                    raise JournalDamaged(segment.path.name, frame.offset, frame.first_seq, str(error)) from error
        found.first, found.segment = reader.segments[0], reader.segments[-1]
        self._position = found.segment.position
        return found

    @property
    def identity(self) -> str:
        """What tells this journal from any other, in hexadecimal."""
        return self._position.identity.hex()

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event that was written; 0 for none."""
        return (self._position if self._writer is None else self._writer.position).seq - 1

    @property
    def durable_seq(self) -> int:
        """Sequence number of the last event that is on the disk for certain; 0 for none."""
        return self._waiters.durable

    @property
    def failure(self) -> Exception | None:
        """Why nothing will be durable any more; None while all is well."""
        failure = self._waiters.failure
        return None if isinstance(failure, JournalClosed) else failure

    @property
    def closed(self) -> bool:
        """Whether the journal was closed."""
        return self._closed

    def stats(self) -> dict[str, int]:
        """Return what was counted since it was opened, and how many events have yet to be written (`lag`)."""
        lag = 0 if self._consumer is None or self._closed else self._consumer.lag
        return {**self._counts, "lag": lag, "durable_seq": self.durable_seq}

    # --- engines ------------------------------------------------------------------------------------------------------

    def attach(self, engine: Engine, *, durability: str = "journal") -> None:
        """Have everything that an engine does from now on written down.

        Parameters
        ----------
        engine : Engine
            A new one for a new journal; for one with events the engine that `recover` made of them. `resume` does both.
        durability : str
            "journal": calls that run commands return when their events are on the disk. "memory": they return at once, and
            `Engine.acknowledged` tells who wants to know.

        Raises
        ------
        FieldError
            The engine isn't in the state in which the journal ends; nothing was changed.
        JournalError
            The journal has an engine already, was closed, or can't be written.
        """
        if not isinstance(engine, Engine):
            raise FieldTypeError("engine", engine, "an Engine")
        if durability not in DURABILITIES:
            raise FieldError("durability", durability, "'journal' or 'memory'")
        with self._lock:
            if self._closed:
                raise JournalClosed(f"journal {self.path} was closed")
            if self._consumer is not None:
                raise JournalError(f"journal {self.path} must have one engine, has one already")
            if engine.journal is not None:
                raise FieldError("engine", engine, "one without a journal")
            self._check_state(engine)
            consumer = Consumer(engine, True, "journal")
            try:
                self._begin(engine)
            except OSError as error:
                consumer.close()
                self.close()
                raise JournalError(f"journal {self.path} can't be written: {error}") from error
            except BaseException:
                consumer.close()
                raise
            self._consumer = consumer
            engine.take_journal(self)
            process.feed(self)
            threading.Thread(target=_run, args=(weakref.ref(self),), name="pyengine-journal", daemon=True).start()
        self.acknowledged().result()
        if durability == "journal":
            engine.acknowledge_by(self._wait)

    def resume(self, *, durability: str = "journal", **options: Any) -> Engine:
        """Make the engine that the journal tells of, a new one if it is empty, and go on writing down what it does.

        Parameters
        ----------
        durability : str
            As for `attach`.
        **options
            Keyword arguments of `Engine`. Instruments and the self-trade mode of a journal with events are in it.

        Raises
        ------
        JournalDamaged
            Something isn't as it was written.
        """
        if self._found is None:
            engine = Engine(**options)
        else:
            given = {name: value for name, value in options.items() if name not in {"instruments", "self_trade"}}
            engine = recover(self.path, **given).engine
        self.attach(engine, durability=durability)
        for instrument in options.get("instruments", ()):
            if engine.names.instrument_index(instrument.symbol) is None:
                engine.add_instrument(instrument)
            else:
                engine.names.add_instrument(instrument)
        return engine

    def _check_state(self, engine: Engine) -> None:
        """See that an engine is where the journal ends, and take in what the journal has defined."""
        found = self._found
        if engine.next_seq != self._position.seq:
            raise FieldError("engine", engine.next_seq, f"one whose next event is {self._position.seq}, as the journal goes on there")
        if found is None:
            if engine.resting_orders:
                raise FieldError("engine", engine, "one without orders, as the journal is new")
            return
        if engine.self_trade != found.configuration.get("self_trade"):
            raise FieldError("self_trade", engine.self_trade, f"{found.configuration.get('self_trade')}, as in the journal")
        known = found.definitions_of(engine)
        if known is None:
            raise FieldError("engine", engine, "one with the instruments and users that the journal has defined")
        self._definitions = known

    def _begin(self, engine: Engine) -> None:
        """Open the newest segment for writing, or make the first."""
        found = self._found
        configuration = {"self_trade": engine.self_trade} if found is None else found.configuration
        writer = SegmentWriter(self.path, self._disk, self._segment_bytes, self._position, configuration)
        try:
            if found is None:
                writer.begin(self._defined())
            else:
                writer.reopen(found.segment)
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        self._modes = np.zeros(1, np.uint8)
        # Modes are written down once more: what the engine has counts, whoever made it.
        self._marks = self._durable_marks = (self._definitions.instruments, self._definitions.users, -1)

    def _defined(self) -> tuple[int, int, bytes]:
        return self._definitions.instruments, self._definitions.users, self._definitions.digest

    # --- writing ------------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Make durable what has happened up to now; return how many events it was, -1 if nothing is left to do."""
        with self._lock:
            consumer, writer = self._consumer, self._writer
            if self._closed or self._waiters.failure is not None or consumer is None or writer is None:
                return -1
            barriers = self._waiters.take_barriers()
            try:
                count = self._commit(consumer, writer)
            except Exception as error:  # noqa: BLE001  whatever it was, what is on the disk isn't known any more
                self._fail(error, barriers)
                return -1
            except BaseException as error:
                self._fail(error, barriers)
                raise
            self._waiters.settle(writer.position.seq - 1, barriers)
            return count

    def _commit(self, consumer: Consumer, writer: SegmentWriter) -> int:
        # The engine publishes whole commands only, so what it has published now is no half of any.
        head = consumer.position + consumer.lag
        events: list[Records] = []
        while consumer.position < head:
            events.append(consumer.read(head - consumer.position))
        # Looked at after the events, so that everything that they refer to is among it.
        before = self._defined()
        contents = self._new_definitions()
        count = sum(len(rows) for rows in events)
        if count:
            contents.append((FrameKind.EVENTS, [rows.view(np.uint8) for rows in events], count))
        if not contents:
            return 0
        writer.write(contents, before)
        # The engine may have this part of its ring back before the disk has it: after a failure nothing more is read.
        del contents
        events.clear()
        begun = time.perf_counter_ns()
        writer.sync()
        taken = time.perf_counter_ns() - begun
        self._durable_marks = self._marks
        self._counts["commits"] += 1
        self._counts["events"] += count
        self._counts["bytes"] = writer.offset
        self._counts["longest_sync_ns"] = max(self._counts["longest_sync_ns"], taken)
        return count

    def _current_marks(self) -> Marks:
        """Return what is defined in the engine now."""
        if self._consumer is None:
            return self._marks
        engine = self._consumer.engine
        names = engine.names
        return len(names.instruments), len(names.users) - 1, engine.user_mode_changes

    def _new_definitions(self) -> list[Content]:
        marks = self._current_marks()
        if marks == self._marks:
            return []
        instruments, users, changes = self._marks
        assert self._consumer is not None
        names = self._consumer.engine.names
        new_instruments = names.instruments[instruments : marks[0]]
        new_users = [str(name) for name in names.users[users + 1 : marks[1] + 1]]
        modes = self._new_modes(marks[1]) if marks[2] != changes else {}
        payloads = definition_payloads(instruments, new_instruments, users + 1, new_users, modes)
        self._definitions.add(new_instruments, new_users)
        self._marks = marks
        self._counts["definitions"] += len(new_instruments) + len(new_users) + len(modes)
        return [(FrameKind.DEFINITIONS, [payload], count) for payload, count in payloads]

    def _new_modes(self, users: int) -> dict[int, int]:
        """Find whose mode isn't the one that was written down last. O(users)."""
        assert self._consumer is not None
        modes = self._consumer.engine.user_modes()[: users + 1]
        before = np.zeros(len(modes), np.uint8)
        before[: len(self._modes)] = self._modes
        # In a journal that goes on, nobody's mode is known yet.
        changed = np.flatnonzero(modes != before) if self._marks[2] >= 0 else np.arange(1, len(modes))
        self._modes = modes
        return {int(user): int(modes[user]) for user in changed}

    def _fail(self, error: BaseException, barriers: list[Entry]) -> None:
        """Never acknowledge anything again. Nothing is tried twice: after a failed sync nobody knows what the disk has."""
        failure = JournalFailed(
            f"journal {self.path} could not be written: {error or type(error).__name__}. Events up to {self.durable_seq} are on "
            "the disk, no later one was acknowledged. See to the disk, close this engine, and go on with "
            "Journal(path).resume()"
        )
        failure.__cause__ = error
        _log.error("%s", failure)
        self._waiters.fail(failure, barriers)
        if self._consumer is not None:
            self._consumer.engine.refuse_commands(failure)
            self._consumer.close()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, seq: int, timeout_s: float | None = None) -> None:
        """Wait until an event, and all before it, are on the disk.

        Raises
        ------
        JournalFailed
            The journal can't be written any more, and doesn't have the event.
        JournalClosed
            It was closed before.
        JournalTimeout
            It took too long.
        """
        if self._waiters.durable < seq:
            self.sleep(seq, timeout_s, barrier=False)

    def _wait(self, seq: int) -> None:
        if self._waiters.durable < seq:
            self.sleep(seq, None, barrier=False)

    def sleep(self, seq: int, timeout_s: float | None, *, barrier: bool) -> None:
        """Wait for an event, or for a whole commit that begins from now on. What `wait` and acknowledgements are made of."""
        waiter = ThreadWaiter()
        entry = self._waiters.add(seq, waiter, barrier=barrier)
        if entry is None:
            return
        self.ring_bell()
        try:
            done = waiter.sleep(-1 if timeout_s is None else timeout_s)
        except BaseException:
            self._waiters.forget(entry)
            raise
        if not done:
            self._waiters.forget(entry)
            raise JournalTimeout(f"event {seq} must be on the disk within {timeout_s} s, the last one there is {self.durable_seq}")
        if waiter.failure is not None:
            raise waiter.failure

    def future(self, seq: int) -> Future[int]:
        """Return a future that is done when an event, and all before it, are on the disk. Its result is the number."""
        return Acknowledgement(self, seq, self._marks).future()

    def acknowledged(self) -> Acknowledgement:
        """Return what can be waited for, or awaited, until everything that has happened up to now is on the disk."""
        consumer = self._consumer
        seq = self.last_seq if consumer is None else consumer.engine.next_seq - 1
        return Acknowledgement(self, seq, self._current_marks())

    def ring_bell(self) -> None:
        """Wake the writer, if it sleeps."""
        if self._idle:
            self._idle = False
            with contextlib.suppress(RuntimeError):
                self._bell.release()

    def nap(self, seconds: float) -> None:
        """Sleep until somebody waits, at most so long. For the writer's thread."""
        self._bell.acquire(blocking=False)
        self._idle = True
        if not self.awaited:
            self._bell.acquire(timeout=seconds)
        self._idle = False

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for something that the next commit brings."""
        consumer = self._consumer
        return consumer is not None and self._waiters.wait_below(consumer.position + consumer.lag)

    @property
    def waiters(self) -> Waiters:
        """Those who wait."""
        return self._waiters

    def has(self, seq: int, marks: Marks) -> bool:
        """Whether events up to a number, and so many definitions, are on the disk."""
        written = self._durable_marks
        return self._waiters.durable >= seq and all(one >= other for one, other in zip(written, marks, strict=True))

    # --- life ---------------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float = 5.0) -> None:
        """Make everything durable that has happened, say so in the journal, and let others write. Twice is once.

        Raises
        ------
        JournalFailed
            Not everything could be made durable.
        JournalTimeout
            The disk was busy for too long; the journal stays open.
        """
        if self._closed:
            return
        if not self._lock.acquire(timeout=timeout_s):
            raise JournalTimeout(f"journal {self.path} must be closed within {timeout_s} s, the disk is still busy")
        try:
            if self._closed:
                return
            while self.step() > 0:
                pass
            writer, failure = self._writer, self._waiters.failure
            if writer is not None and failure is None:
                try:
                    writer.end()
                except OSError as error:
                    self._fail(error, [])
                    failure = self._waiters.failure
            self._shut()
        finally:
            self._lock.release()
        if failure is not None:
            raise failure

    def _shut(self) -> None:
        self._closed = True
        self._waiters.fail(JournalClosed(f"journal {self.path} was closed"))
        if self._writer is not None:
            self._writer.close()
        if self._consumer is not None:
            engine = self._consumer.engine
            self._consumer.close()
            if not engine.closed:
                engine.refuse_commands(self._waiters.failure)
        self._hold.release()
        self.ring_bell()

    def finish(self, timeout_s: float = 5.0) -> None:
        """Close at the end of the process, or of the engine, where nobody could catch an error; it is logged."""
        try:
            self.close(timeout_s)
        except JournalError as error:
            _log.error("%s", error)  # noqa: TRY400  the text says it all

    def before_fork(self) -> None:
        """Be between two commits while the process forks."""
        self._lock.acquire()
        self._waiters.lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; in a child never again."""
        self._waiters.lock.release()
        if not in_child:
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._bell = threading.Lock()
        self._waiters.lock = threading.Lock()
        if self._closed:
            return
        failure = JournalFailed(
            f"journal {self.path} belongs to the process that opened it, this one was forked from it. Open another journal here"
        )
        self._waiters.fail(failure)
        if self._consumer is not None:
            self._consumer.engine.refuse_commands(failure)
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        self._hold.release()

    def __enter__(self) -> Journal:
        """Return the journal itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Show where it is and how far."""
        return f"<Journal {self.path}: events up to {self.durable_seq}>"


class _Found:
    """What was in the newest segment."""

    def __init__(self) -> None:
        self.configuration: dict[str, Any] = {}
        self.frames: list[DefinitionsFrame] = []
        self.first: Segment
        self.segment: Segment

    def definitions_of(self, engine: Engine) -> Definitions | None:
        """Take the journal's definitions out of an engine that should have them; None if it hasn't."""
        header, known = self.first.header, Definitions()
        known.add(engine.instruments[: header.instruments], _users(engine, 0, header.users))
        if (known.instruments, known.users, known.digest) != (header.instruments, header.users, header.definitions):
            return None
        for frame in self.frames:
            instruments = list(engine.instruments[known.instruments : known.instruments + len(frame.instruments)])
            users = _users(engine, known.users, len(frame.users))
            if instruments != frame.instruments or users != frame.users:
                return None
            known.add(instruments, users)
        return known


def _users(engine: Engine, before: int, count: int) -> list[str]:
    return [str(name) for name in engine.names.users[before + 1 : before + 1 + count]]


def _run(journal_of: weakref.ref[Journal]) -> None:
    """Write until the journal is closed, or gone with its engine."""
    nap_s = _SHORTEST_NAP_S
    while True:
        journal = journal_of()
        if journal is None:
            return
        count = journal.step()
        if count < 0:
            return
        if count <= _MANY and not journal.awaited:
            # Nobody waits: what comes within the next moment goes into the same commit.
            nap_s = _SHORTEST_NAP_S if count else min(2 * nap_s, _LONGEST_NAP_S)
            journal.nap(nap_s)
        del journal
