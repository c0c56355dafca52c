"""Writing segments: commits of frames, one write and one sync each, and the change to the next file."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyengine.journal.disk import Disk, write_all
from pyengine.journal.format import (
    FRAME_BYTES,
    HEADER_BYTES,
    FrameKind,
    SegmentHeader,
    crc_of,
    frame_head,
    json_payload,
)
from pyengine.journal.reader import NEXT_SUFFIX, Position, Segment, upcoming

_log = logging.getLogger("pyengine.journal")

Content = tuple[FrameKind, Sequence[Any], int]
"""Kind of a frame, its payload in parts, and what it counts."""


NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoRoomError(Exception):
    """There is no room for another segment. Nothing has changed, and it may be tried again."""


class SegmentWriter:
    """The newest segment of a journal, open for appending.

    Attributes
    ----------
    position : Position
        Behind the last commit that was written.
    segments : int
        Number of the current segment.

    Notes
    -----
    Not thread-safe. When a method raises OSError, the file holds what no one was told of; the writer must not be used again.
    """

    def __init__(self, folder: Path, disk: Disk, segment_bytes: int, position: Position, configuration: dict[str, Any]) -> None:
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._configuration = configuration
        self.position = position
        self._fd = -1
        self._at = 0
        self._size = 0

    @property
    def offset(self) -> int:
        """Bytes of the current segment that are used."""
        return self._at

    @property
    def rest_bytes(self) -> int:
        """Bytes of the current segment that are free."""
        return self._size - self._at

    @property
    def place(self) -> tuple[int, int, int, int, int, int]:
        """Descriptor of the file, where the next frame goes and must end, next event, checksum and number of the last commit."""
        p = self.position
        return self._fd, self._at, self._size - FRAME_BYTES, p.seq, p.crc, p.commit

    def go_on(self, at: int, seq: int, crc: int, commit: int) -> None:
        """Go on where somebody else has written commits, each of one frame, into the same segment."""
        self._at = at
        self.position = replace(self.position, seq=seq, crc=crc, commit=commit)

    def begin(self, definitions: tuple[int, int, bytes]) -> None:
        """Make the first segment."""
        disk, header = self._disk, self._header(definitions, self.position.crc)
        path = self._make_next(header)
        disk.rename(path, self._folder / header.name)
        disk.sync_folder(self._folder)

    def reopen(self, segment: Segment) -> None:
        """Go on behind what was read of the newest segment; what a crash left behind it is kept aside and cut off."""
        disk = self._disk
        if segment.torn:
            self._keep_aside(segment)
        self._fd = disk.open(segment.path, os.O_RDWR)
        if segment.torn:
            disk.truncate(self._fd, segment.end)
        self._at = segment.end
        self._size = max(self._segment_bytes, segment.end)
        disk.allocate(self._fd, self._size)
        disk.sync(self._fd)
        # It may have got its name just before the end, so that only the system knew of it.
        disk.sync_folder(self._folder)
        self.position = segment.position
        if segment.sealed:
            self._adopt(segment)
        for path in self._folder.glob(f"*{NEXT_SUFFIX}"):
            disk.unlink(path)

    def _keep_aside(self, segment: Segment) -> None:
        disk = self._disk
        aside = segment.path.with_name(f"{segment.path.name}.torn-{segment.end}")
        fd = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(disk, fd, [segment.data[segment.end : segment.torn].tobytes()], 0)
            disk.sync(fd)
        finally:
            disk.close(fd)
        disk.sync_folder(self._folder)
        _log.warning(
            "cut %d bytes of an unfinished commit off %s, and kept them in %s", segment.torn - segment.end, segment.path, aside
        )

    def _adopt(self, sealed: Segment) -> None:
        """Go on in the segment that a crash left without its name."""
        path = upcoming(sealed)
        assert path is not None
        with path.open("rb") as file:
            header, _ = SegmentHeader.unpack(file.read(HEADER_BYTES))
        self._close_file()
        # What is in it is known, so it is simply written once more.
        self._fd = self._disk.open(path, os.O_RDWR)
        self._begin_file(header, 0)
        self._disk.sync(self._fd)
        self._disk.rename(path, self._folder / header.name)
        self._disk.sync_folder(self._folder)

    def write(self, contents: Sequence[Content], definitions: tuple[int, int, bytes]) -> None:
        """Write the frames of one commit, in a new segment if they don't fit. `definitions` are those before this commit."""
        length = sum(FRAME_BYTES + sum(_bytes_of(part) for part in payload) for _, payload, _ in contents)
        if not self.fits(length):
            self._rotate(definitions, length)
        parts, position = self._frames(contents)
        self._at += write_all(self._disk, self._fd, parts, self._at)
        self.position = position

    def fits(self, length: int) -> bool:
        """Whether frames of so many bytes fit into the current segment, with its seal behind them."""
        return self._at + length + FRAME_BYTES <= self._size

    def make_room(self, definitions: tuple[int, int, bytes], length: int) -> None:
        """Begin a new segment if frames of so many bytes don't fit into this one.

        Raises
        ------
        NoRoomError
            The file system is full.
        """
        if not self.fits(length):
            self._rotate(definitions, length)

    def sync(self) -> None:
        """Make what was written durable."""
        self._disk.sync(self._fd)

    def _frames(self, contents: Sequence[Content]) -> tuple[list[Any], Position]:
        """Make frames of one commit, and the position behind them."""
        parts: list[Any] = []
        p = self.position
        seq, crc, commit = p.seq, p.crc, p.commit + 1
        for place, (kind, payload, count) in enumerate(contents):
            head = frame_head(kind, payload, count, seq, commit, crc, last=place == len(contents) - 1)
            parts += [head, *payload]
            crc = crc_of(head)
            seq += count if kind == FrameKind.EVENTS else 0
        return parts, Position(p.identity, p.number, seq, crc, commit)

    def _header(self, definitions: tuple[int, int, bytes], previous: int) -> SegmentHeader:
        p = self.position
        return SegmentHeader(p.identity, p.number + 1, p.seq, p.commit, *definitions, previous)

    def _rotate(self, definitions: tuple[int, int, bytes], length: int) -> None:
        """Seal the segment and go on in the next. That is made before, and gets its name afterwards."""
        disk = self._disk
        [seal], sealed = self._frames([(FrameKind.SEAL, (), 0)])
        before = self._fd, self._at, self._size, self.position
        old, end = self._fd, self._at
        self._fd = -1
        self.position = sealed
        header = self._header(definitions, sealed.crc)
        try:
            path = self._make_next(header, length)
        except OSError as error:
            if error.errno not in NO_SPACE:
                disk.close(old)
                raise
            self._close_file()
            self._fd, self._at, self._size, self.position = before
            with contextlib.suppress(OSError):
                disk.unlink(self._folder / (header.name + NEXT_SUFFIX))
            raise NoRoomError from error
        except BaseException:
            disk.close(old)
            raise
        try:
            write_all(disk, old, [seal], end)
            disk.truncate(old, end + len(seal))
            disk.sync(old)
        finally:
            disk.close(old)
        disk.rename(path, self._folder / header.name)
        disk.sync_folder(self._folder)

    def _make_next(self, header: SegmentHeader, length: int = 0) -> Path:
        """Make a segment, durable, under the name of one that doesn't count yet, and go on in it."""
        disk = self._disk
        path = self._folder / (header.name + NEXT_SUFFIX)
        disk.unlink(path)
        self._fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._begin_file(header, length)
        disk.sync(self._fd)
        disk.sync_folder(self._folder)
        return path

    def _begin_file(self, header: SegmentHeader, length: int) -> None:
        head = header.pack()
        crc = int.from_bytes(head[-4:], "little")
        self.position = Position(header.identity, header.number, header.first_seq, crc, header.commit)
        parts, position = self._frames([(FrameKind.CONFIGURATION, (json_payload(self._configuration),), 0)])
        # A single commit may be larger than a segment.
        self._size = max(self._segment_bytes, sum(len(part) for part in (head, *parts)) + length + FRAME_BYTES)
        self._disk.allocate(self._fd, self._size)
        self._at = write_all(self._disk, self._fd, [head, *parts], 0)
        self.position = position

    def end(self) -> None:
        """Say that the journal was closed, and give back what wasn't used."""
        parts, position = self._frames([(FrameKind.END, (), 0)])
        self._at += write_all(self._disk, self._fd, parts, self._at)
        self.position = position
        self._disk.truncate(self._fd, self._at)
        self._disk.sync(self._fd)

    def close(self) -> None:
        """Close the file as it is. Closing twice is closing once."""
        self._close_file()

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)


def _bytes_of(part: Any) -> int:
    return int(part.nbytes) if isinstance(part, np.ndarray) else len(part)
