"""What a journal does once it has an engine: commits, those who wait for them, failures, forks, and the end."""

from __future__ import annotations

import logging
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from operator import ge
from pathlib import Path
from typing import Self

from pyengine.journal.acknowledgement import Acknowledgement
from pyengine.journal.committer import Committer
from pyengine.journal.disk import Disk
from pyengine.journal.errors import JournalClosed, JournalError, JournalFailed, JournalTimeout
from pyengine.journal.hold import Hold
from pyengine.journal.reader import Position
from pyengine.journal.segments import NoRoomError
from pyengine.journal.thread import Bell, write_on
from pyengine.journal.upkeep import Upkeep
from pyengine.journal.waiters import Entry, Marks, ThreadWaiter, Waiters

LONGEST_LED_S = 0.02

_log = logging.getLogger("pyengine.journal")


class JournalAtWork:
    """The half of a `Journal` that its thread, those who wait, forks and ends have to do with.

    Attributes
    ----------
    path : Path
    bell : Bell
        What wakes its thread.

    Notes
    -----
    Thread-safety: any thread. Fork: a child doesn't write, and its engine refuses commands.
    """

    is_fed_from = True
    """Whether stores get what this has, so that it is finished before them."""

    def __init__(self, path: Path, disk: Disk, hold: Hold, upkeep: Upkeep, position: Position) -> None:
        self.path = path
        self.bell = Bell()
        self._disk = disk
        self._hold = hold
        self._upkeep = upkeep
        self._position = position
        self._waiters = Waiters(position.seq - 1)
        self._keeps: dict[str, Callable[[], int]] = {}
        self._led = 0
        self._stepped_s = 0.0
        self._committer: Committer | None = None
        self._closed = False
        self._no_room = False
        self._lock = threading.RLock()

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event that was written; 0 for none."""
        if self._committer is None:
            return self._position.seq - 1
        return max(self._committer.writer.position.seq - 1, self._committer.group.durable)

    @property
    def durable_seq(self) -> int:
        """Sequence number of the last event that is on the disk for certain; 0 for none."""
        return self._waiters.durable if self._committer is None else max(self._waiters.durable, self._committer.group.durable)

    @property
    def failure(self) -> Exception | None:
        """Why nothing will be durable any more; None while all is well."""
        failure = self._waiters.failure
        return None if isinstance(failure, JournalClosed) else failure

    @property
    def closed(self) -> bool:
        """Whether the journal was closed."""
        return self._closed

    # --- writing ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin to write."""
        threading.Thread(target=write_on, args=(weakref.ref(self),), name="pyengine-journal", daemon=True).start()

    def step(self) -> int:
        """Make durable what has happened up to now; return how many events it was, -1 if nothing is left to do."""
        with self._lock:
            committer = self._committer
            if self._closed or self._waiters.failure is not None or committer is None:
                return -1
            engine, writer = committer.consumer.engine, committer.writer
            barriers, self._no_room = self._waiters.take_barriers(), False
            try:
                if committer.space.look(engine, writer.position.number, writer.rest_bytes, self._keeps):
                    self._upkeep.hurry()
                count = committer.commit()
            except NoRoomError:
                self._no_room = True
                self._waiters.dismiss(committer.space.failure(self._keeps), barriers)
                return 0
            except Exception as error:  # noqa: BLE001  whatever it was, what is on the disk isn't known any more
                self._fail(error, barriers)
                return -1
            except BaseException as error:
                self._fail(error, barriers)
                raise
            self._waiters.settle(committer.writer.position.seq - 1, barriers)
            self._led = committer.group.led
            self._stepped_s = time.monotonic()
            return count

    def is_led(self) -> bool:
        """Whether callers make the commits just now, so that the journal's thread needn't."""
        if self._committer is None or time.monotonic() - self._stepped_s > LONGEST_LED_S:
            return False
        before, self._led = self._led, self._committer.group.led
        if self._led == before or self.is_awaited():
            return False
        self._waiters.settle(self._committer.group.durable, [])
        return True

    @property
    def lull(self) -> int:
        """How many events may come in a moment without the ring's being full in the next ones."""
        return 0 if self._committer is None else self._committer.consumer.engine.ring_capacity // 64

    def _fail(self, error: BaseException, barriers: list[Entry]) -> None:
        """Never acknowledge anything again. Nothing is tried twice: after a failed sync nobody knows what the disk has."""
        failure = JournalFailed(
            f"journal {self.path} could not be written: {str(error) or type(error).__name__}. Events up to "
            f"{self.durable_seq} are on the disk, no later one was acknowledged. See to the disk, close this engine, and go on "
            "with Journal(path).resume()"
        )
        failure.__cause__ = error
        # Its frames have arrays of the ring, and so the engine, which has the failure: no collector sees through arrays.
        traceback.clear_frames(error.__traceback__)
        # Only its text: handlers may keep what they are given.
        _log.error("%s", str(failure))
        self._waiters.fail(failure, barriers)
        if self._committer is not None:
            self._committer.consumer.engine.refuse_commands(failure)
            self._committer.stop()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, seq: int, timeout_s: float | None = None) -> None:
        """Wait until an event, and all before it, are on the disk.

        Raises
        ------
        JournalFailed
            The journal can't be written any more, and doesn't have the event.
        JournalClosed
            It was closed before.
        JournalFull
            There is no room for it now. It is written once there is.
        JournalTimeout
            It took too long.
        """
        if self.durable_seq < seq:
            self.sleep(seq, timeout_s, barrier=False)

    def _wait(self, seq: int) -> None:
        assert self._committer is not None
        if not self._committer.group.wait(seq):
            self.sleep(seq, None, barrier=False)

    def sleep(self, seq: int, timeout_s: float | None, *, barrier: bool) -> None:
        """Wait for an event, or for a whole commit that begins from now on. What `wait` and acknowledgements are made of."""
        waiter = ThreadWaiter()
        entry = self._waiters.add(seq, waiter, barrier=barrier)
        if entry is None:
            return
        self.bell.ring()
        try:
            done = waiter.sleep(-1 if timeout_s is None else timeout_s)
        except BaseException:
            self._waiters.forget(entry)
            raise
        if not done:
            self._waiters.forget(entry)
            raise JournalTimeout(
                f"event {seq} must be on the disk within {timeout_s} s, the last one there is {self.durable_seq}"
            )
        if waiter.failure is not None:
            raise waiter.failure.with_traceback(None)

    def future(self, seq: int) -> Future[int]:
        """Return a future that is done when an event, and all before it, are on the disk. Its result is the number."""
        return Acknowledgement(self, seq, (0, 0, -1)).future()

    def acknowledged(self) -> Acknowledgement:
        """Return what can be waited for, or awaited, until everything that has happened up to now is on the disk."""
        if self._committer is None:
            return Acknowledgement(self, self.last_seq, (0, 0, -1))
        engine = self._committer.consumer.engine
        return Acknowledgement(self, engine.next_seq - 1, self._committer.current_marks)

    def is_awaited(self) -> bool:
        """Whether somebody waits for something that the next commit brings."""
        return self._committer is not None and self._waiters.wait_below(self._committer.head)

    @property
    def waiters(self) -> Waiters:
        """Those who wait."""
        return self._waiters

    def has(self, seq: int, marks: Marks) -> bool:
        """Whether events up to a number, and so many definitions, are on the disk."""
        if self.durable_seq < seq:
            return False
        return self._committer is None or all(map(ge, self._committer.durable_marks, marks))

    # --- life ---------------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float = 5.0) -> None:
        """Make everything durable that has happened, say so in the journal, and let others write. Twice is once.

        Raises
        ------
        JournalFailed
            Not everything could be made durable.
        JournalFull
            There is no room for all of it; the journal stays open.
        JournalTimeout
            The disk was busy for too long; the journal stays open.
        """
        if self.closed:
            return
        if not self._lock.acquire(timeout=timeout_s):
            raise JournalTimeout(f"journal {self.path} must be closed within {timeout_s} s, the disk is still busy")
        try:
            if self._closed:
                return
            try:
                self._write_the_rest()
            except BaseException:
                self._stay_open()
                raise
            if self._committer is not None and self._waiters.failure is None:
                try:
                    self._committer.writer.end()
                except Exception as error:  # noqa: BLE001  as in `step`
                    self._fail(error, [])
            failure = self._waiters.failure
            self._shut()
        finally:
            self._lock.release()
        if failure is not None:
            raise failure.with_traceback(None)

    def _write_the_rest(self) -> None:
        committer = self._committer
        if committer is None or self._waiters.failure is not None:
            return
        self._let_callers_commit(may=False)
        if not committer.consumer.engine.closed:
            # What comes from now on would keep this from ever being done.
            committer.consumer.engine.refuse_commands(JournalClosed(f"journal {self.path} is being closed"))
        while self.step() >= 0 and not committer.is_done:
            # What was running meanwhile may have come behind the last commit.
            if self._no_room:
                raise committer.space.failure(self._keeps)

    def _stay_open(self) -> None:
        """Go on as before an attempt to close."""
        if self._committer is not None and self._waiters.failure is None:
            self._committer.consumer.engine.refuse_commands(self._committer.space.full)
            self._let_callers_commit(may=True)

    def _let_callers_commit(self, *, may: bool) -> None:
        """From the next step on."""
        if self._committer is not None:
            self._committer.callers_commit = may and type(self._disk) is Disk

    def _shut(self) -> None:
        self._closed = True
        self._upkeep.stop()
        self._waiters.fail(JournalClosed(f"journal {self.path} was closed"))
        if self._committer is not None:
            self._committer.writer.close()
            engine = self._committer.consumer.engine
            self._committer.consumer.close()
            if not engine.closed:
                engine.refuse_commands(self._waiters.failure)
        self._hold.release()
        self.bell.ring()

    def finish(self, timeout_s: float = 5.0) -> None:
        """Close at the end of the process, or of the engine, where nobody could catch an error; it is logged."""
        try:
            self.close(timeout_s)
        except JournalError as error:
            _log.error("%s", error)

    def before_fork(self) -> None:
        """Be between two commits while the process forks."""
        self._lock.acquire()
        self._waiters.lock.acquire()
        if self._committer is not None:
            self._committer.group.begin_lead()

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; in a child never again."""
        self._waiters.lock.release()
        group = None if self._committer is None else self._committer.group
        if not in_child:
            if group is not None:
                group.resume()
            self._lock.release()
            return
        if group is not None:
            group.start_anew()
        self._lock = threading.RLock()
        self.bell = Bell()
        self._waiters.lock = threading.Lock()
        if self._closed:
            return
        failure = JournalFailed(
            f"journal {self.path} belongs to the process that opened it, this one was forked from it. Open another journal here"
        )
        self._waiters.fail(failure)
        self._closed = True
        if self._committer is not None:
            self._committer.consumer.engine.refuse_commands(failure)
            self._committer.writer.close()
        self._hold.release()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()
