"""What lies in the newest segment of a journal that is opened for writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyengine.engine import Engine
from pyengine.journal.errors import JournalDamaged
from pyengine.journal.format import Definitions, DefinitionsFrame, FrameKind
from pyengine.journal.reader import JournalReader, Segment, configuration_of, segment_paths


@dataclass(frozen=True, slots=True)
class Found:
    """The newest segment.

    Attributes
    ----------
    first : Segment
        The first that was read: the newest, or one before it that begins with the same event.
    segment : Segment
        The newest.
    frames : list of DefinitionsFrame
        What they define.
    """

    first: Segment
    segment: Segment
    configuration: dict[str, Any]
    frames: list[DefinitionsFrame] = field(default_factory=list)

    def definitions_of(self, engine: Engine) -> Definitions | None:
        """Take the journal's definitions out of an engine that should have them; None if it hasn't."""
        header, known = self.first.header, Definitions()
        known.add(engine.instruments[: header.instruments], _users(engine, 0, header.users))
        if (known.instruments, known.users, known.digest) != (header.instruments, header.users, header.definitions):
            return None
        for frame in self.frames:
            instruments = list(engine.instruments[known.instruments : known.instruments + len(frame.instruments)])
            users = _users(engine, known.users, len(frame.users))
            if instruments != frame.instruments or users != frame.users:
                return None
            known.add(instruments, users)
        return known


def look(folder: Path) -> Found | None:
    """Read the newest segment of a journal; None if there is none.

    Raises
    ------
    JournalDamaged
        It isn't as it was written.
    """
    if not segment_paths(folder):
        return None
    reader = JournalReader(folder, from_seq=2**63)
    configuration: dict[str, Any] = {}
    frames = []
    for segment, frame in reader.frames():
        if frame.kind == FrameKind.CONFIGURATION:
            configuration = configuration_of(segment, frame)
        elif frame.kind == FrameKind.DEFINITIONS:
            try:
                frames.append(DefinitionsFrame.read(frame.payload))
            except ValueError as error:
                raise JournalDamaged(segment.path.name, frame.offset, frame.first_seq, str(error)) from error
    return Found(reader.segments[0], reader.segments[-1], configuration, frames)


def _users(engine: Engine, before: int, count: int) -> list[str]:
    return [str(name) for name in engine.names.users[before + 1 : before + 1 + count]]
