"""Builds that are broken on purpose, each in one place, and what is to notice."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyengine.journal import format as journal_format
from pyengine.journal import reader, recovery
from pyengine.journal.committer import Committer
from pyengine.journal.history import History
from pyengine.journal.journal import Journal
from pyengine.journal.segments import SegmentWriter
from pyengine.stores.composite.sequence import Sequence
from pyengine.stores.composite.writer import LayerWriter
from pyengine.stores.feed import EngineFeed
from pyengine.stores.file_log import TradeLog
from pyengine.stores.file_writer import FileWriter

JOURNALED, LAYERED, LOG = "journaled", "layered", "log"


@dataclass(frozen=True)
class Mutant:
    """A change of the source of one function.

    Attributes
    ----------
    promise : str
        What it breaks.
    owner : class or module
    name : str
        Of the function in it.
    old, new : str
        Text that is there once, and what comes in its place.
    caught_by : str
        Which simulation notices.
    """

    promise: str
    owner: Any
    name: str
    old: str
    new: str
    caught_by: str = JOURNALED

    def __str__(self) -> str:
        return self.promise.replace(" ", "-")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the function changed."""
        before = inspect.getattr_static(self.owner, self.name)
        function: Callable[..., Any] = before.fget if isinstance(before, property) else before
        text = textwrap.dedent(inspect.getsource(function))
        assert text.count(self.old) == 1, f"{self.old!r} must be there once, is {text.count(self.old)} times in {self.name}"
        made: dict[str, Any] = {}
        future = "from __future__ import annotations\n"
        exec(compile(future + text.replace(self.old, self.new), f"mutant of {self.name}", "exec"), function.__globals__, made)
        setattr(self.owner, self.name, made[self.name])
        places = [module for module in (reader,) if getattr(module, self.name, None) is before]
        for module in places:
            setattr(module, self.name, made[self.name])
        try:
            yield
        finally:
            for owner in (self.owner, *places):
                setattr(owner, self.name, before)


MUTANTS = [
    Mutant("acknowledged after sync", SegmentWriter, "sync", "self._disk.sync(self._fd)", "pass"),
    Mutant(
        "a failed sync is never taken for a good one",
        SegmentWriter,
        "sync",
        "self._disk.sync(self._fd)",
        "\n    try:\n        self._disk.sync(self._fd)\n    except OSError:\n        pass",
    ),
    Mutant("a new segment is synced", SegmentWriter, "_make_next", "disk.sync(self._fd)", "pass"),
    Mutant("the name of a segment is synced", SegmentWriter, "_rotate", "disk.sync_folder(self._folder)", "pass"),
    Mutant("the name of the first segment is synced", SegmentWriter, "begin", "disk.sync_folder(self._folder)", "pass"),
    Mutant(
        "the folder of a new journal is synced",
        Journal,
        "_open_writer",
        "self._disk.sync_folder(made)",
        "pass",
    ),
    Mutant(
        "going on begins behind the last whole commit",
        SegmentWriter,
        "reopen",
        "self._at = segment.end",
        "self._at = segment.torn or segment.end",
    ),
    Mutant("checksums are compared", journal_format, "frame_at", "head) != crc", "head) == -1"),
    Mutant("a commit counts with its last frame", reader, "_commits", "whole = frame.last", "whole = True"),
    Mutant(
        "names come before the events that use them",
        Committer,
        "_commit",
        "contents.append((FrameKind.EVENTS",
        "contents.insert(0, (FrameKind.EVENTS",
    ),
    Mutant(
        "recovery reads from the segment on that a snapshot ends in",
        reader,
        "_from",
        "< from_seq",
        "<= from_seq",
    ),
    Mutant(
        "a snapshot counts only for what is in it",
        recovery,
        "_recovered",
        "JournalReader(path, begin)",
        "JournalReader(path, begin + 9)",
    ),
    # Layers
    Mutant(
        "the feed is behind the disk",
        EngineFeed,
        "lag",
        "min(lag, journal.durable + 1 - self._consumer.position)",
        "lag",
        LAYERED,
    ),
    Mutant(
        "the watermark moves with the records",
        LayerWriter,
        "_save",
        "if self._attempt(lambda part: store.save_marked(part, mark), things) is None:",
        "self._attempt(lambda _: store.save_marked(things[:0], mark), ())\n"
        "    if self._attempt(store.save_batch, things) is None:",
        LAYERED,
    ),
    Mutant(
        "a layer that isn't where it was catches up",
        LayerWriter,
        "turn",
        "except WatermarkMoved as error:",
        "except WatermarkMoved as error:\n        layer.place.watermark = error.actual\n        return",
        LAYERED,
    ),
    Mutant("a layer joins the ring where it is", Sequence, "join", "self._lows, seq) - 1", "self._lows, seq + 2) - 1", LAYERED),
    Mutant(
        "a batch is covered up to its last record", Sequence, "covered", "self._highs[place]", "self._highs[place] + 1", LAYERED
    ),
    Mutant(
        "catching up leaves out no order",
        History,
        "orders",
        "tracker = self.open_orders(after_seq)",
        "tracker = self.open_orders(0)",
        LAYERED,
    ),
    Mutant(
        "what is on its way when closing is interrupted comes later",
        EngineFeed,
        "_give_rest",
        "self._give(*self._in_hand[0])\n        self._in_hand.popleft()",
        "self._give(*self._in_hand.popleft())",
        LAYERED,
    ),
    # The trade log
    Mutant("a trade is in the log once", FileWriter, "_room_for", "else ~self._ids.holds(ids)", "else slice(None)", LOG),
    Mutant("what the disk lost is written again", TradeLog, "sync", "self._resync = True", "pass", LOG),
    Mutant("the trade log is synced", TradeLog, "sync", "file.sync()", "pass", LOG),
]
