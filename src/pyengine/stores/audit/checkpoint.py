"""Checkpoints: each says what some bytes of the log are, and which checkpoint came before, so that none can be exchanged.

They are lines of JSON in ``trades.log.chain``. A checkpoint's link is the SHA-256 of all that stands before ``,"link":`` in its
line, the link of the one before among it; that of the first is 64 zeros.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyengine._core.log_lines import line_marks
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores.file_append import last_line_end

NO_LINK = "0" * 64


def chain_path(path: Path) -> Path:
    """Name the chain beside a log."""
    return path.with_name(f"{path.name}.chain")


class ChainHead(NamedTuple):
    """The newest checkpoint, in short: whoever knows it knows whether what it covers is still there.

    Attributes
    ----------
    link : str
        64 hexadecimal digits, the head itself.
    n : int
        Checkpoints so far.
    file, to : int
        Number of the newest file and how many of its bytes are covered.
    last_id : int
        Highest trade id of the last checkpoint.
    """

    link: str
    n: int
    file: int
    to: int
    last_id: int


@dataclass(frozen=True)
class Checkpoint:
    """What some bytes of one file of the log are.

    Attributes
    ----------
    n : int
        Number of the checkpoint, from 1.
    file : int
        Number of the file, under which it is closed.
    begin, end : int
        Bytes of the unpacked file; in the line they are called ``from`` and ``to``.
    lines : int
    first_id, last_id : int
        Lowest and highest trade id; 0 if there is none.
    found : bool
        Whether the lines were there when the log was opened, not seen being written.
    sha256 : str
        Of the bytes.
    prev : str
        Link of the checkpoint before.
    marks : bytes
        32 bits for each line, by which the first bad one is found; see `line_marks`.
    """

    n: int
    file: int
    begin: int
    end: int
    lines: int
    first_id: int
    last_id: int
    found: bool
    sha256: str
    prev: str
    marks: bytes

    @cached_property
    def linked(self) -> bytes:
        """What the link is the hash of."""
        fields = {
            "n": self.n,
            "file": self.file,
            "from": self.begin,
            "to": self.end,
            "lines": self.lines,
            "first_id": self.first_id,
            "last_id": self.last_id,
            "found": self.found,
            "sha256": self.sha256,
            "marks_sha256": hashlib.sha256(self.marks).hexdigest(),
            "prev": self.prev,
        }
        return json.dumps(fields, separators=(",", ":")).encode()[:-1]

    @cached_property
    def link(self) -> str:
        """The hash of it all."""
        return hashlib.sha256(self.linked).hexdigest()

    def line(self) -> bytes:
        """Write the line of the chain."""
        return self.linked + b',"link":"' + self.link.encode() + b'","marks":"' + base64.b64encode(self.marks) + b'"}\n'

    def head(self) -> ChainHead:
        """Give what has to be known of it to trust all before."""
        return ChainHead(self.link, self.n, self.file, self.end, self.last_id)

    def line_marks(self) -> NDArray[np.uint32]:
        """Give the mark of each line."""
        return np.frombuffer(self.marks, np.dtype("<u4"))


def checkpoint_of(text: bytes, before: Checkpoint | None, file: int, begin: int, *, found: bool) -> Checkpoint:
    """Make the checkpoint of some lines. O(bytes)."""
    marks, lowest, highest = line_marks(text)
    return Checkpoint(
        n=1 if before is None else before.n + 1,
        file=file,
        begin=begin,
        end=begin + len(text),
        lines=len(marks),
        first_id=lowest,
        last_id=highest,
        found=found,
        sha256=hashlib.sha256(text).hexdigest(),
        prev=NO_LINK if before is None else before.link,
        marks=marks.tobytes(),
    )


def read_checkpoint(line: bytes, place: str) -> Checkpoint:
    """Read a line of a chain, which must be what `Checkpoint.line` writes, to the letter.

    Raises
    ------
    StoreDamaged
        It is something else, or its link isn't that of its contents.
    """
    try:
        fields: dict[str, Any] = json.loads(line)
        numbers = {name: fields[name] for name in ("n", "file", "lines", "first_id", "last_id")}
        hashes = {name: fields[name] for name in ("sha256", "prev")}
        marks = base64.b64decode(fields["marks"], validate=True)
        found = fields["found"]
        checkpoint = Checkpoint(begin=fields["from"], end=fields["to"], found=found, marks=marks, **numbers, **hashes)
        whole = all(type(each) is int for each in (*numbers.values(), checkpoint.begin, checkpoint.end)) and type(found) is bool
        if not whole or checkpoint.line() != line:
            raise StoreDamaged(f"{place}: checkpoint must be as it was written, was changed")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StoreDamaged(f"{place}: line must be a checkpoint, was {line[:80]!r}") from error
    return checkpoint


def chain_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give each whole line of a chain and where it begins.

    Raises
    ------
    OSError
        It can't be read.
    """
    with path.open("rb") as file:
        at = 0
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield at, line
            at += len(line)


def last_checkpoint(path: Path) -> Checkpoint | None:
    """Read the newest checkpoint of a chain; None if there is none. O(1).

    Raises
    ------
    StoreDamaged
        It is no checkpoint.
    OSError
        The chain can't be read; FileNotFoundError is no error.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        end = last_line_end(fd, os.fstat(fd).st_size)
        if end == 0:
            return None
        begin = last_line_end(fd, end - 1)
        return read_checkpoint(os.pread(fd, end - begin, begin), f"file store: {path}, byte {begin}")
    finally:
        os.close(fd)


def chain_head(path: Path | str) -> ChainHead | None:
    """Read the head of the chain beside a log, and make sure that the disk has it; None if there is no chain yet.

    Parameters
    ----------
    path : path
        Of the log.

    Raises
    ------
    StoreDamaged
        The last line of the chain isn't a checkpoint.
    StoreUnavailable
        It can't be read.
    """
    chain = chain_path(Path(path).resolve())
    try:
        newest = last_checkpoint(chain)
        if newest is None:
            return None
        # A head that somebody keeps must not be lost with the machine: nobody could tell that from a cut.
        fd = os.open(chain, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except StoreDamaged:
        raise
    except OSError as error:
        raise StoreUnavailable(f"file store: read {chain}: {error.strerror}") from error
    return newest.head()
