"""The journal: every event of an engine, on the disk before anybody is told that it happened."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from operator import ge
from pathlib import Path
from typing import Any, Self

from pyengine._core.consumer import Consumer
from pyengine.engine import Engine
from pyengine.errors import FieldError, FieldTypeError
from pyengine.journal.acknowledgement import Acknowledgement
from pyengine.journal.committer import Committer
from pyengine.journal.configuration import configured, engine_options
from pyengine.journal.disk import Disk
from pyengine.journal.errors import JournalClosed, JournalError, JournalFailed, JournalTimeout
from pyengine.journal.format import IDENTITY_BYTES, Definitions
from pyengine.journal.found import look
from pyengine.journal.hold import Hold
from pyengine.journal.reader import Position
from pyengine.journal.recovery import OPTIONS
from pyengine.journal.segments import NoRoomError, SegmentWriter
from pyengine.journal.space import Space, needed_by
from pyengine.journal.stores import recover_with_stores
from pyengine.journal.thread import Bell, write_on
from pyengine.journal.upkeep import Upkeep, UpkeepOptions
from pyengine.journal.waiters import Entry, Marks, ThreadWaiter, Waiters
from pyengine.stores.composite import CompositeOrderStore, process

SEGMENT_BYTES = 64 << 20
SMALLEST_SEGMENT_BYTES = 4096
LARGEST_SEGMENT_BYTES = 1 << 30
ALL = 2**63 - 1
LONGEST_LED_S = 0.02
DURABILITIES = ("journal", "memory")

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
    space_bytes : int, optional
        What all files of the folder may take. Commands are refused with `JournalFull` before it is reached, until there is room.
    reserve_bytes : int
        What the file system has to have left, likewise.
    snapshot_every_s, snapshot_every_events : optional
        Seconds and events after which a child process makes a snapshot and then takes away the segments that nobody needs; one
        is made early if room is short. None of both: others see to that.
    keep_snapshots : int
        How many good snapshots must cover a segment before it goes.
    archive : str or Path, optional
        Folder to put compressed copies of segments into before they go.

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

    is_fed_from = True
    """Whether stores get what this has, so that it is finished before them."""

    def __init__(
        self,
        path: str | Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
        space_bytes: int | None = None,
        reserve_bytes: int = 0,
        snapshot_every_s: float | None = None,
        snapshot_every_events: int | None = None,
        keep_snapshots: int = 2,
        archive: str | Path | None = None,
    ) -> None:
        if isinstance(segment_bytes, bool) or not isinstance(segment_bytes, int):
            raise FieldTypeError("segment_bytes", segment_bytes, "an int")
        if not SMALLEST_SEGMENT_BYTES <= segment_bytes <= LARGEST_SEGMENT_BYTES:
            raise FieldError("segment_bytes", segment_bytes, f"from {SMALLEST_SEGMENT_BYTES} to {LARGEST_SEGMENT_BYTES}")
        self.path = Path(path)
        self._disk = Disk() if disk is None else disk
        self._segment_bytes = segment_bytes
        self._options = UpkeepOptions(
            space_bytes=space_bytes,
            reserve_bytes=reserve_bytes,
            snapshot_every_s=snapshot_every_s,
            snapshot_every_events=snapshot_every_events,
            keep_snapshots=keep_snapshots,
            archive=archive,
        )
        self._upkeep = Upkeep(self.path, self._options)
        self._keeps: dict[str, Callable[[], int]] = {}
        self._led = 0
        self._stepped_s = 0.0
        self._committer: Committer | None = None
        self._closed = False
        self._lock = threading.RLock()
        self.bell = Bell()
        # Whose names in their own folders a power cut could take away; the next one's too if an earlier attempt made it.
        self._folders = [self.path.parent, *(each.parent for each in self.path.parents if not each.exists())]
        self.path.mkdir(parents=True, exist_ok=True)
        self._hold = Hold(self.path)
        try:
            self._found = look(self.path)
        except BaseException:
            self._hold.release()
            raise
        new = Position(identity=os.urandom(IDENTITY_BYTES))
        self._position = new if self._found is None else self._found.segment.position
        self._waiters = Waiters(self._position.seq - 1)

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """What tells this journal from any other, in hexadecimal."""
        return self._position.identity.hex()

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

    def stats(self) -> dict[str, int]:
        """Return what was counted since it was opened, and how many events have yet to be written (`lag`)."""
        found = {"durable_seq": self.durable_seq, "lag": 0}
        if self._committer is not None:
            found |= self._committer.counts
            found["lag"] = 0 if self._closed else self._committer.consumer.lag
            found["used_bytes"] = self._committer.space.used_bytes
            found |= self._upkeep.counts
        return found

    def keep(self, name: str, needs: Callable[[], int] | None) -> None:
        """Have no segment taken away that somebody still needs; None: nobody of that name does any more.

        Parameters
        ----------
        name : str
            For messages.
        needs : callable
            Returns the lowest sequence number that is still needed. Called from a thread of the journal.
        """
        if needs is None:
            self._keeps.pop(name, None)
        else:
            self._keeps[name] = needs

    def needed_seq(self) -> int:
        """Ask everybody for the lowest sequence number that is still needed."""
        return min((needed_by(name, call) for name, call in list(self._keeps.items())), default=ALL)

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
            if self._committer is not None:
                raise JournalError(f"journal {self.path} must have one engine, has one already")
            if engine.journal is not None:
                raise FieldError("engine", engine, "one without a journal")
            definitions = self._check_state(engine)
            space = Space(self.path, self._disk, self._options, self._segment_bytes, engine.ring_capacity)
            consumer = Consumer(engine, True, "journal")
            try:
                writer = self._open_writer(engine, definitions)
            except (OSError, MemoryError) as error:
                consumer.close()
                self.close()
                raise JournalError(f"journal {self.path} can't be written: {str(error) or type(error).__name__}") from error
            except BaseException:
                consumer.close()
                raise
            self._committer = Committer(consumer, writer, definitions, space, callers_commit=type(self._disk) is Disk)
            engine.take_journal(self)
            process.feed(self)
            self._start()
        try:
            self.acknowledged().result()
        except JournalError:
            self.finish()
            raise
        self._upkeep.start(self)
        if durability == "journal":
            engine.acknowledge_by(self._wait)

    def _start(self) -> None:
        """Begin to write."""
        threading.Thread(target=write_on, args=(weakref.ref(self),), name="pyengine-journal", daemon=True).start()

    def resume(self, *, durability: str = "journal", **options: Any) -> Engine:
        """Make the engine that the journal tells of, a new one if it is empty, and go on writing down what it does.

        Parameters
        ----------
        durability : str
            As for `attach`.
        **options
            `ring_capacity`, `capacity` and `publish_wait_s` of `Engine`; also `instruments`, `self_trade`, `client_ids` and
            `client_id_age_ns`, of which those that the journal has stay as they are; and `order_store` and `trade_store`. Memory
            is filled with all that the journal still tells of, layers below fetch from it what they lack, by themselves.

        Raises
        ------
        JournalDamaged
            Something isn't as it was written. A store in memory that was given is of no use then.
        """
        stores = options.pop("order_store", None), options.pop("trade_store", None)
        own = {"instruments", "self_trade", "client_ids", "client_id_age_ns"}
        for name in options.keys() - OPTIONS - own:
            raise FieldError("options", name, f"among {', '.join(sorted(OPTIONS | own))}")
        if self._found is None:
            engine = Engine(**options, order_store=stores[0], trade_store=stores[1])
        else:
            known = {name: value for name, value in options.items() if name not in own}
            engine = recover_with_stores(self.path, *stores, **known)
        self.attach(engine, durability=durability)
        if isinstance(stores[0], CompositeOrderStore):
            stores[0].loaded()
        for instrument in options.get("instruments", ()):
            if engine.names.instrument_index(instrument.symbol) is None:
                engine.add_instrument(instrument)
            else:
                engine.names.add_instrument(instrument)
        return engine

    def _check_state(self, engine: Engine) -> Definitions:
        """See that an engine is where the journal ends; return what the journal has defined."""
        found = self._found
        if engine.next_seq != self._position.seq:
            raise FieldError(
                "engine", engine.next_seq, f"one whose next event is {self._position.seq}, as the journal goes on there"
            )
        if found is None:
            if engine.resting_orders:
                raise FieldError("engine", engine, "one without orders, as the journal is new")
            return Definitions()
        known_options = engine_options(found.configuration)
        for name, value in configured(engine).items():
            if value != known_options[name]:
                raise FieldError(name, value, f"{known_options[name]}, as in the journal")
        known = found.definitions_of(engine)
        if known is None:
            raise FieldError("engine", engine, "one with the instruments and users that the journal has defined")
        return known

    def _open_writer(self, engine: Engine, definitions: Definitions) -> SegmentWriter:
        """Open the newest segment for writing, or make the first."""
        found = self._found
        configuration = configured(engine) if found is None else found.configuration
        writer = SegmentWriter(self.path, self._disk, self._segment_bytes, self._position, configuration)
        try:
            if found is None:
                for made in self._folders:
                    self._disk.sync_folder(made)
                writer.begin((definitions.instruments, definitions.users, definitions.digest))
            else:
                writer.reopen(found.segment)
        except BaseException:
            writer.close()
            raise
        return writer

    # --- writing ------------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Make durable what has happened up to now; return how many events it was, -1 if nothing is left to do."""
        with self._lock:
            committer = self._committer
            if self._closed or self._waiters.failure is not None or committer is None:
                return -1
            engine, writer = committer.consumer.engine, committer.writer
            barriers = self._waiters.take_barriers()
            try:
                if committer.space.look(engine, writer.position.number, writer.rest_bytes, self._keeps):
                    self._upkeep.hurry()
                count = committer.commit()
            except NoRoomError:
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
        _log.error("%s", failure)
        self._waiters.fail(failure, barriers)
        if self._committer is not None:
            self._committer.consumer.engine.refuse_commands(failure)
            self._committer.consumer.close()

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
            raise waiter.failure

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
            self._let_callers_commit(may=False)
            while self.step() > 0:
                pass
            if self._committer is not None and self._waiters.failure is None and not self._committer.is_done:
                self._let_callers_commit(may=True)
                raise self._committer.space.failure(self._keeps)
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
            raise failure

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

    def __repr__(self) -> str:
        """Show where it is and how far."""
        return f"<Journal {self.path}: events up to {self.durable_seq}>"
