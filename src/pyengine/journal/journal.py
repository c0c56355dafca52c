"""The journal: every event of an engine, on the disk before anybody is told that it happened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyengine._core.consumer import Consumer
from pyengine.engine import Engine
from pyengine.errors import FieldError, FieldTypeError
from pyengine.journal.at_work import JournalAtWork
from pyengine.journal.committer import Committer
from pyengine.journal.configuration import configured, engine_options
from pyengine.journal.disk import Disk
from pyengine.journal.errors import JournalClosed, JournalError
from pyengine.journal.format import EVENT_BYTES, IDENTITY_BYTES, Definitions
from pyengine.journal.found import look
from pyengine.journal.hold import Hold
from pyengine.journal.reader import Position
from pyengine.journal.recovery import OPTIONS
from pyengine.journal.segments import SegmentWriter
from pyengine.journal.space import Space, needed_by
from pyengine.journal.stores import recover_with_stores
from pyengine.journal.upkeep import Upkeep, UpkeepOptions
from pyengine.stores.composite import CompositeOrderStore, process

SEGMENT_BYTES = 64 << 20
SMALLEST_SEGMENT_BYTES = 4096
LARGEST_SEGMENT_BYTES = 1 << 30
LARGEST_RING = LARGEST_SEGMENT_BYTES // (2 * EVENT_BYTES)
"""Events of a ring: all of it may become one commit, and none may be larger than a reader takes."""
ALL = 2**63 - 1
DURABILITIES = ("journal", "memory")


class Journal(JournalAtWork):
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
        self._segment_bytes = segment_bytes
        self._options = UpkeepOptions(
            space_bytes=space_bytes,
            reserve_bytes=reserve_bytes,
            snapshot_every_s=snapshot_every_s,
            snapshot_every_events=snapshot_every_events,
            keep_snapshots=keep_snapshots,
            archive=archive,
        )
        path = Path(path)
        # Whose names in their own folders a power cut could take away; the next one's too if an earlier attempt made it.
        self._folders = [path.parent, *(each.parent for each in path.parents if not each.exists())]
        path.mkdir(parents=True, exist_ok=True)
        hold = Hold(path)
        try:
            self._found = look(path)
        except BaseException:
            hold.release()
            raise
        new = Position(identity=os.urandom(IDENTITY_BYTES))
        position = new if self._found is None else self._found.segment.position
        super().__init__(path, Disk() if disk is None else disk, hold, Upkeep(path, self._options), position)

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """What tells this journal from any other, in hexadecimal."""
        return self._position.identity.hex()

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
        if engine.ring_capacity > LARGEST_RING:
            raise FieldError("ring_capacity", engine.ring_capacity, f"at most {LARGEST_RING} with a journal")
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

    def __repr__(self) -> str:
        """Show where it is and how far."""
        return f"<Journal {self.path}: events up to {self.durable_seq}>"
