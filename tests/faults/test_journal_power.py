"""The power goes: whatever wasn't synced is lost, names in folders too. What was acknowledged is there."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from journal_setup import journaled, rows

from pyengine import Engine
from pyengine.journal import Journal, JournalFailed, prune, recover, write_snapshot
from pyengine.journal.disk import Disk


class ForgetfulDisk(Disk):
    """A disk that has of each file what was synced, and of each folder the names that were synced."""

    def __init__(self) -> None:
        self._contents: dict[int, bytes] = {}
        self._names: dict[str, int] = {}

    def sync(self, fd: int) -> None:
        super().sync(fd)
        # By the way of its name, as it may be open for writing only.
        self._contents[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._names = {entry.name: entry.stat().st_ino for entry in path.iterdir()}

    def after_the_cut(self, into: Path, written: Path, rng: random.Random | None = None) -> Path:
        """Write down what is left. With dice, some blocks are there too that were on their way."""
        into.mkdir()
        now = {entry.stat().st_ino: entry for entry in written.iterdir()}
        for name, inode in self._names.items():
            content = bytearray(self._contents.get(inode, b""))
            if rng is not None and inode in now and content:
                later = now[inode].read_bytes()
                for at in range(0, min(len(later), len(content)), 512):
                    if rng.random() < 0.5:
                        content[at : at + 512] = later[at : at + 512]
            (into / name).write_bytes(content)
        return into


def test_what_was_acknowledged_is_there_after_a_power_cut(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    path = tmp_path / "j"
    engine = journaled(path, segment_bytes=4096, disk=disk)
    assert recover(disk.after_the_cut(tmp_path / "new", path)).engine.snapshot() == engine.snapshot()
    for turn in range(40):
        engine.user(f"user {turn}")
        engine.run(rows(12, seed=turn))
        left = disk.after_the_cut(tmp_path / f"cut {turn}", path)
        assert recover(left, ring_capacity=64).engine.snapshot() == engine.snapshot()
        if turn % 10 == 3:
            write_snapshot(path, disk=disk)
            prune(path, keep_snapshots=1, disk=disk)
        if turn % 8 == 5:
            engine.close()
            left = disk.after_the_cut(tmp_path / f"closed {turn}", path)
            assert recover(left, ring_capacity=64).complete
            engine = Journal(path, segment_bytes=4096, disk=disk).resume()
    engine.close()


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**31)])
def test_blocks_that_were_on_their_way_are_a_torn_tail(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    for turn in range(40):
        disk = ForgetfulDisk()
        path = tmp_path / f"{turn}"
        engine = journaled(path, segment_bytes=1 << 15, disk=disk)
        engine.run(rows(rng.randrange(1, 60), seed=turn))
        acknowledged, state = engine.next_seq - 1, engine.snapshot()
        # The last commit is written, but the sync never comes back.
        disk.sync = lambda fd: None  # type: ignore[method-assign]
        engine.run(rows(rng.randrange(1, 60), seed=turn + 99))
        last, last_state = engine.next_seq - 1, engine.snapshot()
        left = disk.after_the_cut(tmp_path / f"{turn} left", path, rng)
        found = recover(left, ring_capacity=64)
        assert found.last_seq in {acknowledged, last}
        assert found.engine.snapshot() == (last_state if found.last_seq == last else state)
        with Journal(left).resume() as again:
            again.run(rows(5))
        engine.close()


def run_on(engine: Engine) -> None:
    for turn in range(50):
        engine.run(rows(10, seed=turn))


def test_the_folder_of_a_new_journal_is_durable_in_its_own(tmp_path: Path) -> None:
    synced = []

    class Noting(Disk):
        def sync_folder(self, path: Path) -> None:
            super().sync_folder(path)
            synced.append(path)

    engine = journaled(tmp_path / "a" / "b" / "j", disk=Noting())
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)
    engine.close()


def test_a_name_that_was_not_synced_is_before_anything_else_is_told(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    engine = journaled(tmp_path / "j", segment_bytes=4096, disk=disk)
    sync_folder = disk.sync_folder

    def fails_after_the_rename(path: Path) -> None:
        if len(list(path.glob("*.journal"))) > 1:
            raise OSError(errno.EIO, "Input/output error")
        sync_folder(path)

    disk.sync_folder = fails_after_the_rename  # type: ignore[method-assign]
    with pytest.raises(JournalFailed):
        run_on(engine)
    with pytest.raises(JournalFailed):
        engine.close()
    disk.sync_folder = sync_folder  # type: ignore[method-assign]
    engine = Journal(tmp_path / "j", segment_bytes=4096, disk=disk).resume()
    engine.run(rows(10, seed=99))
    left = disk.after_the_cut(tmp_path / "left", tmp_path / "j")
    assert recover(left).engine.snapshot() == engine.snapshot()
    engine.close()


def test_definitions_between_a_snapshot_and_the_next_segment_are_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    engine = journaled(path, segment_bytes=4096)
    engine.run(rows(15))
    write_snapshot(path)
    while len(list(path.glob("*.journal"))) == 1:
        # Users only: the next segment begins with the event behind the snapshot.
        engine.user(f"user {len(engine.names.users)}")
        engine.acknowledged().result()
    assert recover(path).engine.snapshot() == engine.snapshot()
    assert recover(path).snapshot_seq
    prune(path, keep_snapshots=1)
    assert recover(path).engine.snapshot() == engine.snapshot()
    engine.run(rows(30, seed=8))
    expected = engine.snapshot()
    engine.close()
    write_snapshot(path)
    prune(path, keep_snapshots=1)
    assert recover(path).engine.snapshot() == expected
