"""The events of a journal from any of them on, while it is being written: for who knows how far it is on the disk."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from pyengine.journal.errors import HistoryGone, JournalDamaged, JournalError
from pyengine.journal.format import ALIGNMENT, FRAME_BYTES, FRAME_MAGIC, HEADER_BYTES, Frame, FrameKind, SegmentHeader, frame_at
from pyengine.journal.reader import events_of, segment_number, segment_paths
from pyengine.records import Records

_CHUNK = 1 << 20
_LENGTH = struct.Struct("<4sBBHI")


class EventScan:
    """Reads events in order, from the one behind `after_seq` on.

    Each frame's checksum and place are checked, but not that frames name their predecessors, as `recover` does.

    Parameters
    ----------
    path : Path
        The folder.
    after_seq : int
        The last event that isn't wanted.

    Attributes
    ----------
    seq : int
        The last event that was given out, at first `after_seq`.

    Raises
    ------
    HistoryGone
        The segment with the next event isn't there any more.
    JournalError
        There is no journal.

    Notes
    -----
    Not thread-safe.
    """

    def __init__(self, path: Path, after_seq: int) -> None:
        self.path = path
        self.seq = after_seq
        paths = segment_paths(path) if path.is_dir() else []
        if not paths:
            raise JournalError(f"path must be the folder of a journal, has no segments: {str(path)!r}")
        first = int(paths[0].name[:20])
        if first > after_seq + 1:
            raise HistoryGone(after_seq + 1, first)
        # Of segments that begin with the same event, all but the last are without any.
        self._open([one for one in paths if int(one.name[:20]) <= after_seq + 1][-1])

    def _open(self, segment: Path) -> None:
        self._segment = segment
        self._data = b""
        self._begin = self._at = 0  # where in the file the bytes begin, and the next frame does
        header = self._read_at(HEADER_BYTES)
        try:
            self._next = SegmentHeader.unpack(header[:HEADER_BYTES])[0].first_seq
        except ValueError as error:
            raise self._damaged(str(error)) from error
        self._at = HEADER_BYTES

    def _read_at(self, count: int) -> bytes:
        """Have at least so many bytes from the next frame on, if the file has; return what there is from there on."""
        have = self._begin + len(self._data) - self._at
        if have < count:
            try:
                with self._segment.open("rb") as file:
                    file.seek(self._at)
                    self._data = file.read(max(count, _CHUNK))
            except FileNotFoundError:
                raise HistoryGone(self.seq + 1, _first_seq(self.path)) from None
            self._begin = self._at
        return self._data

    def events(self, until_seq: int) -> Iterator[Records]:
        """Give out events up to one that is on the disk for certain, as they were committed. Going on later is possible.

        Raises
        ------
        JournalDamaged
            One of them isn't there.
        HistoryGone
            The segment was taken away meanwhile.
        """
        while self.seq < until_seq:
            frame = self._frame()
            if frame.kind == FrameKind.SEAL:
                self._open(self._following())
                continue
            if frame.kind == FrameKind.EVENTS:
                if frame.first_seq != self._next:
                    raise self._damaged(f"the frame must be about event {self._next}, was about {frame.first_seq}")
                behind = frame.first_seq + frame.count
                first, self.seq, before = max(self.seq + 1, frame.first_seq), min(until_seq, behind - 1), self.seq
                if behind - 1 <= until_seq:
                    self._next = behind
                    self._at += frame.end
                if self.seq > before:
                    yield events_of(frame)[first - frame.first_seq : self.seq + 1 - frame.first_seq]
                else:
                    self.seq = before
            else:
                self._at += frame.end

    def _frame(self) -> Frame:
        """Read the next frame; its `offset` is 0."""
        self._read_at(FRAME_BYTES)
        for _ in range(2):
            frame = frame_at(memoryview(self._data)[self._at - self._begin :], 0)
            if frame is not None:
                return frame
            # It may be larger than what was read, or have been written since.
            head = self._data[self._at - self._begin :][: _LENGTH.size]
            length = _LENGTH.unpack(head)[4] if head[:4] == FRAME_MAGIC and len(head) == _LENGTH.size else 0
            self._data = b""
            self._read_at(FRAME_BYTES + (length if length % ALIGNMENT == 0 else 0))
        raise self._damaged("the frame must be intact, isn't")

    def _following(self) -> Path:
        number = segment_number(self._segment) + 1
        for one in segment_paths(self.path):
            if segment_number(one) == number:
                return one
        raise self._damaged("the segment that follows must be there, is missing")

    def _damaged(self, problem: str) -> JournalDamaged:
        return JournalDamaged(self._segment.name, self._at, self.seq + 1, problem)


def _first_seq(path: Path) -> int:
    return int(segment_paths(path)[0].name[:20])
