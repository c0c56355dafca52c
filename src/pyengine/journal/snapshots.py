"""Snapshots of a journal: made of the journal itself, so that the engine that writes it doesn't stop for them.

    name     ``<sequence number of the last event>.snapshot``
    content  magic "PYENJSNP" | version u32 | head length u32 | identity 16 B | last_seq u64 | state hash u64 | latest_ns i64
             | length u64 | 0 u32 | crc u32
             | an engine's snapshot, `length` bytes, which ends with a digest of itself | parts
    part     tag, 4 bytes | crc u32 | length u64 | `length` bytes; unknown ones are passed over
    "ORDR"   the open orders as records of ORDER_RECORD_DTYPE, by id: more than books know of them

`latest_ns` is the highest time stamp of all events up to `last_seq`, the lowest number there is if there are none. The CRC of
the head is CRC-32C over what is before it, that of a part over its tag, length and bytes. The file gets its name when it was
read again, and led to the state that it was made of. It doesn't count if the journal ends before it.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pyengine.engine import Engine
from pyengine.errors import FieldError, PyengineError
from pyengine.journal.disk import Disk, write_all
from pyengine.journal.errors import JournalError
from pyengine.journal.format import crc32c
from pyengine.journal.reader import first_header, segment_paths
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import Records

_log = logging.getLogger("pyengine.journal")

SNAPSHOT_SUFFIX = ".snapshot"
UNFINISHED = ".unfinished"
_MAGIC = b"PYENJSNP"
_VERSION = 2
_HEAD = struct.Struct("<8sII16sQQqQI")
_CRC = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _CRC.size
_PART = struct.Struct("<4sIQ")
_ORDERS = b"ORDR"


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What a snapshot says of itself.

    Attributes
    ----------
    latest_ns : int
        Highest time stamp of the events up to its last one.
    length : int
        Bytes of the engine's snapshot behind it.
    """

    identity: bytes
    last_seq: int
    state_hash: int
    latest_ns: int
    length: int

    def pack(self) -> bytes:
        """Write it as bytes."""
        fields = self.identity, self.last_seq, self.state_hash, self.latest_ns, self.length
        body = _HEAD.pack(_MAGIC, _VERSION, _HEAD_BYTES, *fields, 0)
        return body + _CRC.pack(crc32c(body))

    @classmethod
    def unpack(cls, content: bytes, name: str) -> SnapshotHead:
        """Read it from the first bytes of a file.

        Raises
        ------
        JournalError
            It is damaged, or of another version.
        """
        if len(content) < _HEAD_BYTES:
            raise JournalError(f"{name}: a snapshot must have at least {_HEAD_BYTES} bytes, had {len(content)}")
        magic, version, length, *fields, _ = _HEAD.unpack_from(content)
        [crc] = _CRC.unpack_from(content, _HEAD.size)
        if (magic, version, length) != (_MAGIC, _VERSION, _HEAD_BYTES) or crc32c(content[: _HEAD.size]) != crc:
            raise JournalError(f"{name}: the head must be intact and of version {_VERSION}, isn't")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A snapshot beside the segments.

    Attributes
    ----------
    last_seq : int
        Sequence number of the last event that is in it.
    """

    path: Path
    last_seq: int

    def head(self) -> SnapshotHead:
        """Read what it says of itself.

        Raises
        ------
        JournalError
            It is damaged, or of another version.
        OSError
            It can't be read.
        """
        with self.path.open("rb") as file:
            return SnapshotHead.unpack(file.read(_HEAD_BYTES), self.path.name)

    def load(self, identity: bytes | None, options: dict[str, Any]) -> Engine:
        """Make an engine of it, checked to the last order.

        Raises
        ------
        PyengineError
            It is damaged, of another journal, or of another version.
        OSError
            It can't be read.
        """
        head, content, _ = self._read(identity)
        engine = Engine.restore(memoryview(content)[_HEAD_BYTES : _HEAD_BYTES + head.length], **options)
        if (engine.next_seq - 1, engine.state_hash()) != (self.last_seq, head.state_hash):
            raise JournalError(f"{self.path.name}: the state must be that of event {self.last_seq}, isn't")
        return engine

    def orders(self, identity: bytes | None) -> Records | None:
        """Read the open orders; None if they aren't in it. Raises as `load`."""
        _, content, parts = self._read(identity)
        place = parts.get(_ORDERS)
        if place is None or (place[1] - place[0]) % ORDER_RECORD_DTYPE.itemsize:
            return None
        return np.frombuffer(content, np.uint8)[slice(*place)].view(ORDER_RECORD_DTYPE)

    def _read(self, identity: bytes | None) -> tuple[SnapshotHead, bytes, dict[bytes, tuple[int, int]]]:
        """Check everything but the engine's snapshot; return the head, all bytes, and the places of the parts."""
        content = self.path.read_bytes()
        head = SnapshotHead.unpack(content, self.path.name)
        if identity is not None and head.identity != identity:
            raise JournalError(f"{self.path.name}: the journal's identity must be {identity.hex()}, was {head.identity.hex()}")
        at = _HEAD_BYTES + head.length
        if head.last_seq != self.last_seq or at > len(content):
            raise JournalError(f"{self.path.name}: name and length must be {head.last_seq} and {head.length}, aren't")
        parts = {}
        while at < len(content):
            end = _part_end(content, at)
            if end is None:
                raise JournalError(f"{self.path.name}: the part at byte {at} must be intact, isn't")
            parts[content[at : at + 4]] = at + _PART.size, end
            at = end
        return head, content, parts


def _part(tag: bytes, payload: bytes) -> list[bytes]:
    """Make a part, as bytes to be written one behind the other."""
    crc = crc32c(payload, crc32c(_PART.pack(tag, 0, len(payload))))
    return [_PART.pack(tag, crc, len(payload)), payload]


def _part_end(content: bytes, at: int) -> int | None:
    """Return where the part at an offset ends; None if it isn't intact."""
    if at + _PART.size > len(content):
        return None
    tag, crc, length = _PART.unpack_from(content, at)
    end: int = at + _PART.size + length
    if end > len(content) or crc32c(content[at + _PART.size : end], crc32c(_PART.pack(tag, 0, length))) != crc:
        return None
    return end


def snapshot_files(path: Path) -> list[SnapshotFile]:
    """List the snapshots of a journal, newest first. Whether they are good is seen when they are loaded."""
    found = []
    for entry in path.glob(f"*{SNAPSHOT_SUFFIX}"):
        number = entry.name.removesuffix(SNAPSHOT_SUFFIX)
        if number.isdigit():
            found.append(SnapshotFile(entry, int(number)))
    return sorted(found, key=lambda one: one.last_seq, reverse=True)


def good_snapshots(path: Path, most: int) -> list[SnapshotFile]:
    """List the newest snapshots that lead to what they were made of, newest first."""
    good: list[SnapshotFile] = []
    identity = first_header(path).identity
    for one in snapshot_files(path):
        try:
            one.load(identity, {"ring_capacity": 64})
        except (PyengineError, OSError) as error:
            _log.error("%s is of no use: %s", one.path, error)
        else:
            good.append(one)
        if len(good) == most:
            break
    return good


def write_snapshot(path: str | Path, *, disk: Disk | None = None) -> SnapshotFile:
    """Write the state that a journal leads to beside its segments, so that recovery begins there.

    It is made of the newest snapshot and the events behind it, which are only read: it may be done in any process, while the
    engine goes on.

    Parameters
    ----------
    path : str or Path
        The folder.
    disk : Disk, optional
        What the operating system is asked through.

    Returns
    -------
    SnapshotFile
        It was read again, and led to the same state; or the one that was there already.

    Raises
    ------
    JournalDamaged, JournalError
        As `recover`; or the snapshot didn't lead to the state that it was made of.
    OSError
        It can't be written; then there is none.
    """
    from pyengine.journal.beside import Beside  # noqa: PLC0415  recovery begins with snapshots
    from pyengine.journal.recovery import recover_beside  # noqa: PLC0415  as above

    folder, disk = Path(path), Disk() if disk is None else disk
    beside = Beside()
    found = recover_beside(folder, beside, ring_capacity=64)
    target = folder / f"{found.last_seq:020d}{SNAPSHOT_SUFFIX}"
    identity = first_header(folder).identity
    body = found.engine.snapshot()
    orders = beside.open_orders().tobytes()
    head = SnapshotHead(identity, found.last_seq, found.engine.state_hash(), found.latest_ns, len(body)).pack()
    unfinished = target.with_name(f"{target.name}.{os.getpid()}{UNFINISHED}")
    fd = disk.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        try:
            write_all(disk, fd, [head, body, *_part(_ORDERS, orders)], 0)
            disk.sync(fd)
        finally:
            disk.close(fd)
        _check_written(SnapshotFile(unfinished, found.last_seq), identity, body, orders)
        # Its last events may have been read before the disk had them.
        _sync_file(segment_paths(folder)[-1], disk)
        disk.rename(unfinished, target)
    except BaseException:
        disk.unlink(unfinished)
        raise
    disk.sync_folder(folder)
    return SnapshotFile(target, found.last_seq)


def _check_written(written: SnapshotFile, identity: bytes, body: bytes, orders: bytes) -> None:
    found = written.orders(identity)
    if found is None or found.tobytes() != orders or written.load(identity, {"ring_capacity": 64}).snapshot() != body:
        raise JournalError(f"{written.path.name}: what was written must lead to the state that it was made of, doesn't")


def _sync_file(path: Path, disk: Disk) -> None:
    fd = disk.open(path, os.O_RDONLY)
    try:
        disk.sync(fd)
    finally:
        disk.close(fd)


def prune(
    path: str | Path,
    *,
    keep: Iterable[Callable[[], int]] = (),
    keep_snapshots: int = 2,
    archive: str | Path | None = None,
    disk: Disk | None = None,
) -> list[Path]:
    """Take away the segments that nobody needs any more: those before the oldest of some good snapshots.

    Parameters
    ----------
    path : str or Path
        The folder; its engine may go on meanwhile.
    keep : iterable of callables
        Each returns the lowest sequence number that somebody still needs; it and what follows stays, and so does the snapshot
        before it with the orders that were open then, and what follows that.
    keep_snapshots : int
        How many good snapshots must cover a segment, so that the newest may be lost; older ones are taken away too.
    archive : str or Path, optional
        Folder to put the segments into, compressed with zstd, before they are taken away.
    disk : Disk, optional
        What the operating system is asked through.

    Returns
    -------
    list of Path
        The segments that were taken away. None, as long as there are fewer good snapshots than asked for.

    Raises
    ------
    OSError
        One couldn't be put away; it and all later ones are where they were.
    """
    if isinstance(keep_snapshots, bool) or not isinstance(keep_snapshots, int) or keep_snapshots < 1:
        raise FieldError("keep_snapshots", keep_snapshots, "an int from 1 on")
    folder, disk = Path(path), Disk() if disk is None else disk
    good = good_snapshots(folder, keep_snapshots)
    if len(good) < keep_snapshots:
        return []
    # Behind the snapshot's last event, in the same segment, there may be definitions that it doesn't have.
    needed = min([good[-1].last_seq, *(_begin_before(folder, call()) for call in keep)])
    paths, gone = segment_paths(folder), []
    # A segment ends where the next one begins; the newest stays in any case. The oldest goes first: no gap is left by a crash.
    for segment, following in pairwise(paths):
        if int(following.name[:20]) > needed:
            break
        if archive is not None:
            _archive(segment, Path(archive), disk)
        disk.unlink(segment)
        disk.sync_folder(folder)
        gone.append(segment)
    for old in snapshot_files(folder):
        if old.last_seq < needed:
            disk.unlink(old.path)
    return gone


def _begin_before(folder: Path, seq: int) -> int:
    """Return the last event of the newest snapshot from which orders can be followed to an event, or 1."""
    identity = first_header(folder).identity
    for one in snapshot_files(folder):
        if one.last_seq < seq:
            try:
                if one.orders(identity) is not None:
                    return one.last_seq
            except (PyengineError, OSError):
                continue
    return 1


def _archive(segment: Path, folder: Path, disk: Disk) -> None:
    """Put a compressed copy of a segment into a folder, durable."""
    from pyengine.optional import require  # noqa: PLC0415  only archives need it

    zstandard = require("zstandard", "zstd")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{segment.name}.zst"
    unfinished = folder / f"{target.name}{UNFINISHED}"
    content = segment.read_bytes()
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    fd = disk.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, fd, [packed], 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    if zstandard.ZstdDecompressor().decompress(unfinished.read_bytes(), max_output_size=len(content)) != content:
        message = f"{unfinished} must lead to {segment.name} again, doesn't"
        raise OSError(message)
    disk.rename(unfinished, target)
    disk.sync_folder(folder)
