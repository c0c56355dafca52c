"""The file system has no room for another segment: what has come by then is written once there is."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fault_runs import SteppedJournal
from journal_setup import rows
from side_by_side import new_engine

from pyengine import Engine, SelfTrade
from pyengine.journal import JournalFull, recover
from pyengine.journal.disk import Disk


class FullDisk(Disk):
    """A disk that has room for no further file while it is full."""

    full = False

    def allocate(self, fd: int, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(fd, size)


def nearly_full_segment(path: Path, disk: FullDisk) -> Engine:
    """Begin a journal whose first segment has room for nothing but its seal."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    SteppedJournal(path, segment_bytes=4096, disk=disk).attach(engine, durability="memory")
    while engine.journal._committer.writer.rest_bytes > 300:
        engine.run(rows(1, seed=engine.next_seq))
        engine.acknowledged().result()
    disk.full = True
    return engine


@pytest.mark.parametrize("with_events", [False, True])
def test_names_that_found_no_room_are_written_when_there_is(quick_path: Path, with_events: bool) -> None:
    disk = FullDisk()
    engine = nearly_full_segment(quick_path / "j", disk)
    for number in range(60):
        engine.user(f"a user of a rather long name, so that it takes room, {number}")
    if with_events:
        engine.run(rows(1, seed=3))
    with pytest.raises(JournalFull):
        engine.acknowledged().result()
    with pytest.raises(JournalFull):
        engine.close()
    assert not engine.journal.closed
    disk.full = False
    engine.journal.close()
    found = recover(quick_path / "j")
    assert found.complete
    assert (found.engine.names.users[63], found.last_seq) == (engine.names.users[63], engine.journal.last_seq)
