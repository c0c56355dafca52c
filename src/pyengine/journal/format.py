"""How a journal lies on the disk. docs/durability.md has the same in words.

A journal is a folder of segments, ``<first sequence number>-<number of the segment>.journal``. A segment is a header and
frames, each at a multiple of 8 bytes; all numbers are little-endian. What follows the last frame is zero, as the file is taken
whole from the file system before it is used.

    header   magic "PYENJRNL" | version u32 | length u32 | identity 16 B | number u64 | first_seq u64 | commit u64
             | instruments u32 | users u32 | definitions 16 B | previous u32 | crc u32
    frame    magic "FRAM" | kind u8 | flags u8 | 0 u16 | length u32 | count u32 | first_seq u64 | commit u64
             | previous u32 | crc u32 | payload, `length` bytes

A CRC is CRC-32C over all bytes before it in the header, and the payload. `previous` is the CRC of the frame before, for the first
frame that of the segment's header, for a header that of the last frame of the segment before: frames can't change places.

The frames of one commit were made durable together. The last of them has the flag LAST, and a commit without it doesn't count.
A commit holds whole commands. If a frame is damaged, and an intact one of a later commit lies behind it, then it was durable
once: the journal is damaged. Otherwise it is a commit that a crash cut short, and nobody was told of it.

    EVENTS         payload: `count` records of EVENT_DTYPE from sequence number `first_seq` on
    DEFINITIONS    JSON: instruments and users in the order of their numbers, and self-trade modes of users; they come before the
                   first events that use them, which are those from `first_seq` on
    CONFIGURATION  JSON: the first frame of each segment; what the engine was made with
    SEAL           no payload: the segment is complete, and another one follows
    END            no payload: the journal was closed, and everything before is complete
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pyengine.instrument import Instrument
from pyengine.optional import MissingExtraError, require
from pyengine.snapshot import described, instrument_from

MAGIC = b"PYENJRNL"
FRAME_MAGIC = b"FRAM"
VERSION = 1
LAST = 1
"""Flag of a commit's last frame."""

IDENTITY_BYTES = 16
DIGEST_BYTES = 16
LONGEST_PAYLOAD = 1 << 30
"""No frame has more; a larger length is damage."""

_HEADER = struct.Struct("<8sII16sQQQII16sI")
_FRAME = struct.Struct("<4sBBHIIQQI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size
FRAME_BYTES = _FRAME.size + _CRC.size
ALIGNMENT = 8
SUFFIX = ".journal"
NAMES_A_FRAME = 4096
EVENT_BYTES = 64

_crc32c: Any = None


class FrameKind(IntEnum):
    """What a frame holds."""

    EVENTS = 1
    DEFINITIONS = 2
    CONFIGURATION = 3
    SEAL = 4
    END = 5


def crc32c(data: Any, before: int = 0) -> int:
    """CRC-32C of bytes or of a read-only array of uint8, going on from that of what lies before.

    Raises
    ------
    MissingExtraError
        There is no compiled implementation.
    """
    global _crc32c  # noqa: PLW0603  looked up once; journals are all that needs it
    if _crc32c is None:
        module = require("google_crc32c", "journal")
        if module.implementation != "c":
            message = "google-crc32c must be installed with its compiled part for this: pip install 'pyengine[journal]'"
            raise MissingExtraError(message)
        _crc32c = module.extend
    value: int = _crc32c(before, data)
    return value


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment begins with.

    Attributes
    ----------
    identity : bytes
        Random, the same in all segments of a journal.
    number : int
        Of the segment, from 1 on.
    first_seq : int
        Sequence number of the first event that may be in it.
    commit : int
        Number of the last commit before.
    instruments, users : int
        How many were defined before.
    definitions : bytes
        Digest of these.
    previous : int
        CRC of the last frame of the segment before; 0 for the first segment.
    """

    identity: bytes
    number: int
    first_seq: int
    commit: int
    instruments: int
    users: int
    definitions: bytes
    previous: int

    @property
    def name(self) -> str:
        """Name of the segment's file."""
        return f"{self.first_seq:020d}-{self.number:08d}{SUFFIX}"

    def pack(self) -> bytes:
        """Write it as bytes."""
        body = _HEADER.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            self.identity,
            self.number,
            self.first_seq,
            self.commit,
            self.instruments,
            self.users,
            self.definitions,
            self.previous,
        )
        return body + _CRC.pack(crc32c(body))

    @classmethod
    def unpack(cls, data: bytes) -> tuple[SegmentHeader, int]:
        """Read it, and its CRC, from the first bytes of a segment.

        Raises
        ------
        ValueError
            It isn't one; the text says why.
        """
        if len(data) < HEADER_BYTES:
            message = f"a segment must have a header of {HEADER_BYTES} bytes, had {len(data)}"
            raise ValueError(message)
        magic, version, length, *fields = _HEADER.unpack_from(data)
        if magic != MAGIC:
            message = f"a segment must begin with {MAGIC!r}, began with {magic!r}"
            raise ValueError(message)
        [crc] = _CRC.unpack_from(data, _HEADER.size)
        if crc32c(data[: _HEADER.size]) != crc:
            message = "the segment's header must have the checksum that it names, has another"
            raise ValueError(message)
        if version != VERSION or length != HEADER_BYTES:
            message = f"the version must be {VERSION}, was {version}"
            raise ValueError(message)
        return cls(*fields), crc


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, found intact.

    Attributes
    ----------
    offset : int
        Of the frame in its segment.
    payload : memoryview
    """

    kind: int
    flags: int
    count: int
    first_seq: int
    commit: int
    previous: int
    crc: int
    offset: int
    payload: memoryview

    @property
    def end(self) -> int:
        """Offset behind the frame."""
        return self.offset + FRAME_BYTES + len(self.payload)

    @property
    def last(self) -> bool:
        """Whether the frame is the last of its commit."""
        return bool(self.flags & LAST)


def frame_at(data: memoryview, offset: int) -> Frame | None:
    """Read the frame at an offset of a segment; None if there is no intact one."""
    if offset + FRAME_BYTES > len(data):
        return None
    magic, kind, flags, reserved, length, count, first_seq, commit, previous = _FRAME.unpack_from(data, offset)
    begin = offset + FRAME_BYTES
    if magic != FRAME_MAGIC or length % ALIGNMENT or length > LONGEST_PAYLOAD or begin + length > len(data):
        return None
    [crc] = _CRC.unpack_from(data, offset + _FRAME.size)
    head = crc32c(bytes(data[offset : offset + _FRAME.size]))
    if crc32c(_readable(data[begin : begin + length]), head) != crc:
        return None
    if reserved or flags & ~LAST or kind not in FrameKind.__members__.values():
        return None
    return Frame(kind, flags, count, first_seq, commit, previous, crc, offset, data[begin : begin + length])


def frame_head(kind: int, payload: Sequence[Any], count: int, first_seq: int, commit: int, previous: int, *, last: bool) -> bytes:
    """Make what stands before a payload, given as parts that will be written one after the other."""
    length = sum(len(part) for part in payload)
    body = _FRAME.pack(FRAME_MAGIC, kind, LAST if last else 0, 0, length, count, first_seq, commit, previous)
    crc = crc32c(body)
    for part in payload:
        crc = crc32c(part, crc)
    return body + _CRC.pack(crc)


def crc_of(head: bytes) -> int:
    """Return the CRC that a frame's head ends with."""
    [crc] = _CRC.unpack_from(head, _FRAME.size)
    return int(crc)


def _readable(data: memoryview) -> Any:
    """Bytes as the checksum's library takes them: it refuses memory views, and arrays of NumPy do without a copy."""
    import numpy as np  # noqa: PLC0415  the format itself needs none

    return np.frombuffer(data, np.uint8) if len(data) else b""


def json_payload(content: dict[str, Any]) -> bytes:
    """Write something as JSON of a whole number of words."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % ALIGNMENT)


# --- definitions ------------------------------------------------------------------------------------------------------


class Definitions:
    """The instruments and users that a journal has defined so far, as a digest of all and the count of each.

    Attributes
    ----------
    instruments, users : int
    """

    def __init__(self) -> None:
        self.instruments = 0
        self.users = 0
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES), hashlib.blake2b(digest_size=DIGEST_BYTES)

    def add(self, instruments: Sequence[Instrument], users: Sequence[str]) -> None:
        """Take in further ones, in the order of their numbers."""
        for instrument in instruments:
            self._hash[0].update(json_payload(described(instrument)))
        for user in users:
            self._hash[1].update(user.encode() + b"\0")
        self.instruments += len(instruments)
        self.users += len(users)

    @property
    def digest(self) -> bytes:
        """Digest of all of them."""
        both = self._hash[0].digest() + self._hash[1].digest()
        return hashlib.blake2b(both, digest_size=DIGEST_BYTES).digest()


def definition_payloads(
    first_instrument: int, instruments: Sequence[Instrument], first_user: int, users: Sequence[str], modes: dict[int, int]
) -> list[tuple[bytes, int]]:
    """Write new instruments, new users and self-trade modes as payloads of frames, each with the number of entries in it."""
    payloads = []
    changed = list(modes.items())
    # Modes come last, as they are of users that may be in any of the frames before.
    names = max(len(instruments), len(users))
    steps = [(at, at, len(changed)) for at in range(0, names, NAMES_A_FRAME)]
    steps += [(names, names, at) for at in range(0, len(changed), NAMES_A_FRAME)]
    for instrument, user, mode in steps:
        some = [described(one) for one in instruments[instrument : instrument + NAMES_A_FRAME]]
        who, modal = users[user : user + NAMES_A_FRAME], changed[mode : mode + NAMES_A_FRAME]
        content = {
            "first_instrument": first_instrument + min(instrument, len(instruments)),
            "instruments": some,
            "first_user": first_user + min(user, len(users)),
            "users": list(who),
            "modes": modal,
        }
        payloads.append((json_payload(content), len(some) + len(who) + len(modal)))
    return payloads


@dataclass(frozen=True, slots=True)
class DefinitionsFrame:
    """What a DEFINITIONS frame says.

    Attributes
    ----------
    first_instrument, first_user : int
        Numbers of the first of each; users are counted from 1.
    modes : list of (int, int)
        Number of a user, who may be one of an earlier frame, and the self-trade mode from here on.
    """

    first_instrument: int
    instruments: list[Instrument]
    first_user: int
    users: list[str]
    modes: list[tuple[int, int]]

    @classmethod
    def read(cls, payload: memoryview) -> DefinitionsFrame:
        """Read a payload.

        Raises
        ------
        ValueError
            It isn't one, although its checksum was right.
        """
        try:
            content = json.loads(bytes(payload))
            return cls(
                int(content["first_instrument"]),
                [instrument_from(entry) for entry in content["instruments"]],
                int(content["first_user"]),
                [str(name) for name in content["users"]],
                [(int(user), int(mode)) for user, mode in content["modes"]],
            )
        except (LookupError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
            message = f"definitions must be of the form that this version writes: {error!r}"
            raise ValueError(message) from error
