"""Reading a journal: every byte checked, what a crash left behind told from damage."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine.journal.errors import JournalDamaged, JournalError
from pyengine.journal.format import (
    ALIGNMENT,
    EVENT_BYTES,
    FRAME_BYTES,
    FRAME_MAGIC,
    HEADER_BYTES,
    SUFFIX,
    Frame,
    FrameKind,
    SegmentHeader,
    frame_at,
)
from pyengine.records import EVENT_DTYPE, Records

_NAME = re.compile(r"(\d{20})-(\d{8,})" + re.escape(SUFFIX))
NEXT_SUFFIX = ".next"
_REREADS = 10


def segment_paths(path: Path) -> list[Path]:
    """List the segments of a journal in order."""
    found = [(int(match[2]), entry) for entry in path.iterdir() if (match := _NAME.fullmatch(entry.name))]
    return [entry for _, entry in sorted(found)]


@dataclass(slots=True)
class Position:
    """Where in a journal a reader is: behind which frame, and what has to come next.

    Attributes
    ----------
    identity : bytes
        Of the journal; empty before its first segment.
    seq : int
        Sequence number of the next event.
    crc : int
        Of the last frame, or header.
    commit : int
        Number of its commit.
    whole : bool
        Whether that commit is complete.
    """

    identity: bytes = b""
    number: int = 0
    seq: int = 1
    crc: int = 0
    commit: int = 0
    whole: bool = True


@dataclass(slots=True)
class Segment:
    """A segment as it was found.

    Attributes
    ----------
    end : int
        Offset behind the last frame of a complete commit; known once all frames were read.
    torn : int
        Offset behind the last byte that isn't zero, if there are any behind `end`; else 0.
    sealed, ended : bool
        Whether its last frame says that another segment follows, or that the journal was closed.
    """

    path: Path
    header: SegmentHeader
    data: NDArray[np.uint8]
    end: int = HEADER_BYTES
    torn: int = 0
    sealed: bool = False
    ended: bool = False
    events: int = 0
    commits: int = 0
    position: Position = field(default_factory=Position)

    @property
    def view(self) -> memoryview:
        """The bytes of the file."""
        return self.data.data

    def reread(self) -> bool:
        """Read the file once more; False if it is as it was."""
        fresh = np.fromfile(self.path, np.uint8)
        changed = not np.array_equal(fresh, self.data)
        self.data = fresh
        return changed


def first_header(path: Path) -> SegmentHeader:
    """Read the header of the oldest segment.

    Raises
    ------
    JournalError
        There is no segment, or it has none.
    """
    paths = segment_paths(path)
    if not paths:
        raise JournalError(f"path must be the folder of a journal, has no segments: {str(path)!r}")
    with paths[0].open("rb") as file:
        try:
            return SegmentHeader.unpack(file.read(HEADER_BYTES))[0]
        except ValueError as error:
            raise JournalDamaged(paths[0].name, 0, int(paths[0].name[:20]), str(error)) from error


def upcoming(sealed: Segment) -> Path | None:
    """Find the segment behind a sealed one that was made, but hasn't got its name yet."""
    for path in sorted(sealed.path.parent.glob(f"*-{sealed.header.number + 1:08d}{SUFFIX}{NEXT_SUFFIX}")):
        try:
            with path.open("rb") as file:
                header, _ = SegmentHeader.unpack(file.read(HEADER_BYTES))
        except (ValueError, FileNotFoundError):
            continue
        if header.previous == sealed.position.crc and header.identity == sealed.header.identity:
            return path
    return None


class JournalReader:
    """Reads the segments of a journal in order, and gives out the frames of complete commits.

    Parameters
    ----------
    path : Path
        The folder.
    from_seq : int
        Segments that end before this event may be missing, and are passed over.

    Attributes
    ----------
    segments : list of Segment
        Those that were read, without what is in them, but for the last one.

    Raises
    ------
    JournalDamaged
        While frames are read: something isn't as it was written.
    JournalError
        There is no journal.
    """

    def __init__(self, path: Path, from_seq: int = 1) -> None:
        self.path = path
        if not path.is_dir():
            raise JournalError(f"path must be the folder of a journal, was {str(path)!r}")
        self._paths = _from(segment_paths(path), from_seq)
        if not self._paths:
            raise JournalError(f"path must be the folder of a journal, has no segments: {str(path)!r}")
        self.segments: list[Segment] = []

    def frames(self) -> Iterator[tuple[Segment, Frame]]:
        """Read everything. Only frames of complete commits come, each with the segment that it is in."""
        position: Position | None = None
        while self._paths:
            segment = self._open(self._paths.pop(0), position)
            if self.segments:
                self.segments[-1].data = np.empty(0, np.uint8)
            self.segments.append(segment)
            yield from _frames(segment, newest=not self._paths)
            position = segment.position
            if segment.sealed and not self._paths:
                # Looked for under the name that it gets last, last: the journal may be going on meanwhile.
                made = upcoming(segment) is not None
                self._paths = [path for path in segment_paths(self.path) if segment_number(path) > segment.header.number]
                if not made and not self._paths:
                    raise _damaged(segment, segment.end, "the segment that follows must be there, is missing")

    def _open(self, path: Path, position: Position | None) -> Segment:
        data = np.fromfile(path, np.uint8)
        seq = int(path.name[:20]) if position is None else position.seq
        try:
            header, crc = SegmentHeader.unpack(data[:HEADER_BYTES].tobytes())
        except ValueError as error:
            raise JournalDamaged(path.name, 0, seq, str(error)) from error
        if path.name != header.name:
            raise JournalDamaged(path.name, 0, seq, f"the segment must be called {header.name}")
        if position is not None:
            _check_follows(path, header, position)
        elif header.number == 1 and (header.first_seq, header.commit, header.previous) != (1, 0, 0):
            raise JournalDamaged(path.name, 0, seq, "the first segment must begin with event 1 and commit 0")
        segment = Segment(path, header, data)
        segment.position = Position(header.identity, header.number, header.first_seq, crc, header.commit)
        return segment


def segment_number(path: Path) -> int:
    """Read the number of a segment off its name."""
    return int(path.name[21 : -len(SUFFIX)])


def _from(paths: list[Path], from_seq: int) -> list[Path]:
    """Leave out the segments that hold nothing that happened behind the event before this one.

    The segment of that event stays even if it is the last in it: names and modes may have been defined behind it.
    """
    begin = 0
    for place, path in enumerate(paths):
        if int(path.name[:20]) < from_seq:
            begin = place
    # Several may begin with the same event, if those before it are without any.
    while begin > 0 and paths[begin].name[:20] == paths[begin - 1].name[:20]:
        begin -= 1
    return paths[begin:]


def _check_follows(path: Path, header: SegmentHeader, position: Position) -> None:
    """See that a segment is the one that follows."""
    for problem, found, expected in (
        ("the journal's identity must be {1}, was {0}", header.identity.hex(), position.identity.hex()),
        ("the segment must be number {1}, was {0}", header.number, position.number + 1),
        ("the segment must begin with event {1}, begins with {0}", header.first_seq, position.seq),
        ("the segment must come after commit {1}, comes after {0}", header.commit, position.commit),
        ("the segment must come after the frame {1:08x}, comes after {0:08x}", header.previous, position.crc),
    ):
        if found != expected:
            raise JournalDamaged(path.name, 0, position.seq, problem.format(found, expected))


def _frames(segment: Segment, *, newest: bool) -> Iterator[tuple[Segment, Frame]]:
    """Give out the frames of a segment's complete commits, and find its end."""
    for last_try in [False] * _REREADS + [True]:
        at, position = yield from _commits(segment)
        try:
            _check_rest(segment, at, position, newest=newest)
        except JournalDamaged:
            # If it is being written meanwhile, what was read first may be older than what was read last.
            if last_try or not newest or not segment.reread():
                raise
        else:
            return


def _commits(segment: Segment) -> Generator[tuple[Segment, Frame], None, tuple[int, Position]]:
    """Give out the frames of complete commits from the segment's end on; return the place behind the last intact frame."""
    data = segment.view
    at, position = segment.end, segment.position
    commit: list[Frame] = []
    while (frame := frame_at(data, at)) is not None:
        if segment.sealed:
            raise _damaged(segment, at, "nothing must stand behind a seal")
        _check_frame(segment, frame, position)
        commit.append(frame)
        at = frame.end
        whole = frame.last
        seq = position.seq + frame.count if frame.kind == FrameKind.EVENTS else position.seq
        position = Position(position.identity, position.number, seq, frame.crc, frame.commit, whole)
        if whole:
            segment.end, segment.position = at, position
            segment.sealed = frame.kind == FrameKind.SEAL
            segment.ended = frame.kind == FrameKind.END
            segment.events += sum(one.count for one in commit if one.kind == FrameKind.EVENTS)
            segment.commits += 1
            yield from ((segment, one) for one in commit)
            commit = []
    return at, position


def _check_frame(segment: Segment, frame: Frame, position: Position) -> None:
    """See that an intact frame is the one that follows."""
    commit = position.commit + position.whole
    if frame.previous != position.crc:
        raise _damaged(segment, frame.offset, f"the frame must follow {position.crc:08x}, follows {frame.previous:08x}")
    if frame.commit != commit:
        raise _damaged(segment, frame.offset, f"the frame must be of commit {commit}, was of {frame.commit}")
    if frame.first_seq != position.seq:
        raise _damaged(segment, frame.offset, f"the frame must be about event {position.seq}, was about {frame.first_seq}")
    if frame.kind == FrameKind.EVENTS and len(frame.payload) != frame.count * EVENT_BYTES:
        raise _damaged(segment, frame.offset, f"the frame must have {frame.count} events, has {len(frame.payload)} bytes")
    if (frame.kind == FrameKind.CONFIGURATION) != (frame.offset == HEADER_BYTES):
        raise _damaged(segment, frame.offset, "the configuration, and nothing else, must come first")


def _check_rest(segment: Segment, at: int, position: Position, *, newest: bool) -> None:
    """Tell what stands behind the last intact frame: nothing, what a crash left, or damage."""
    if segment.commits == 0:
        raise _damaged(segment, at, "the segment must begin with its configuration")
    rest = segment.data[segment.end :]
    used = np.flatnonzero(rest)
    if len(used) == 0:
        if not newest and not segment.sealed:
            raise _damaged(segment, at, "the segment must be sealed, as another one follows")
        return
    if not newest or segment.sealed:
        raise _damaged(segment, at, "the frame must be intact, isn't")
    # What is wrong was never durable, unless a later commit was: that was begun only afterwards.
    wrong = position.commit + position.whole
    for found in re.finditer(re.escape(FRAME_MAGIC), segment.data[at:].tobytes()):
        offset = at + found.start()
        behind = frame_at(segment.view, offset) if offset % ALIGNMENT == 0 else None
        if behind is not None and behind.commit > wrong:
            raise _damaged(segment, at, f"the frame must be intact, as commit {behind.commit} at byte {offset} is")
    segment.torn = segment.end + int(used[-1]) + 1


def _damaged(segment: Segment, offset: int, problem: str) -> JournalDamaged:
    return JournalDamaged(segment.path.name, offset, segment.position.seq, problem)


def events_of(frame: Frame) -> Records:
    """View the events of a frame as an array. No copy."""
    return np.frombuffer(frame.payload, EVENT_DTYPE) if frame.count else np.empty(0, EVENT_DTYPE)


def configuration_of(segment: Segment, frame: Frame) -> dict[str, Any]:
    """Read a frame of the configuration."""
    try:
        content = json.loads(bytes(frame.payload))
    except ValueError as error:
        raise JournalDamaged(
            segment.path.name, frame.offset, frame.first_seq, f"the configuration must be JSON: {error}"
        ) from error
    if not isinstance(content, dict):
        raise JournalDamaged(segment.path.name, frame.offset, frame.first_seq, "the configuration must be an object of JSON")
    return content


__all__ = [
    "FRAME_BYTES",
    "JournalReader",
    "Position",
    "Segment",
    "configuration_of",
    "events_of",
    "segment_number",
    "segment_paths",
]
