"""Whether a log is as it was written: every checkpoint against its bytes, up to the first that is bad."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from pyengine._core.log_lines import line_marks
from pyengine.errors import FieldError
from pyengine.optional import MissingExtraError
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores.arguments import whole
from pyengine.stores.audit.checkpoint import (
    NO_LINK,
    ChainHead,
    Checkpoint,
    chain_lines,
    chain_path,
    last_checkpoint,
    read_checkpoint,
)
from pyengine.stores.file_history import PlainFile, Section, closed_files, closed_path, closed_section

_MORE_BYTES = 1 << 14
"""Read behind the bytes of a bad checkpoint, so that a line that was made longer is seen whole."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where first.

    Attributes
    ----------
    path : Path
        Of the log or of its chain.
    line : int
        Counted from 1.
    at : int
        Byte of the unpacked file that the line begins at.
    why : str
    """

    path: Path
    line: int
    at: int
    why: str

    def __str__(self) -> str:
        """Say where and what."""
        return f"{self.path}, line {self.line}, byte {self.at}: {self.why}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification came to.

    Attributes
    ----------
    finding : Finding or None
        The first bad place.
    head : ChainHead or None
        The newest good checkpoint.
    files, checkpoints, lines, bytes : int
        That are as they were written.
    found_lines : int
        Lines among them that nobody saw being written: they were there when the log was opened, because the chain was begun later
        or the process before had crashed.
    uncovered_bytes : int
        Bytes after the last checkpoint, for which nobody vouches yet.
    anchored : bool
        Whether known heads were looked for and found.
    pruned_files, pruned_lines : int
        Files that may be gone and are, and the lines that they had: of these only the checkpoints were verified.
    """

    finding: Finding | None
    head: ChainHead | None
    files: int
    checkpoints: int
    lines: int
    bytes: int
    found_lines: int
    uncovered_bytes: int
    anchored: bool
    pruned_files: int = 0
    pruned_lines: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding is None

    def __bool__(self) -> bool:
        """Whether nothing is wrong."""
        return self.ok


class _Bad(Exception):  # carries what was found up to where it is returned
    def __init__(self, path: Path, line: int, at: int, why: str) -> None:
        self.finding = Finding(path, line, at, why)


def verify_log(
    path: Path | str,
    *,
    head: str | Collection[str] | None = None,
    pruned_before: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Verdict:
    """Compare a log with its chain, up to the first difference. O(bytes).

    Any process may do it at any time, also while the log is written.

    Parameters
    ----------
    path : path
        The file that is (or was) written to.
    head : str or collection of str, optional
        Links of checkpoints that are known from elsewhere: 64 hexadecimal digits each. They must be in the chain. Without one a
        log whose end was cut off together with the end of its chain can't be told from a shorter one.
    pruned_before : int
        Number of a file: closed ones with a lower number may be gone. Their checkpoints are still verified, so that a head which
        is older than what was deleted can be found; of what was in them nobody can tell more.
    progress : callable, optional
        Told how many bytes are good so far, after each checkpoint.

    Raises
    ------
    FieldTypeError, FieldError
        A head isn't one, or the number isn't.
    StoreUnavailable
        A file can't be read, though it is there.
    MissingExtraError
        A file is packed and zstandard isn't installed.
    """
    heads = [] if head is None else [head] if isinstance(head, str) else [*head]
    for link in heads:
        if len(link) != 64 or set(link.lower()) - set("0123456789abcdef"):
            raise FieldError("head", link, "64 hexadecimal digits")
    pruned_before = whole("pruned_before", pruned_before, 0, 2**63 - 1)
    verification = _Verification(Path(path).resolve(), {link.lower() for link in heads}, pruned_before, progress)
    with ExitStack() as kept:
        kept.callback(verification.leave)
        try:
            verification.run()
        except _Bad as bad:
            return verification.verdict(bad.finding)
        except OSError as error:
            if isinstance(error, (StoreUnavailable, MissingExtraError)):
                raise
            raise StoreUnavailable(f"file store: read {path}: {error.strerror or error}") from error
    return verification.verdict(None)


class _Verification:
    """One walk along a chain."""

    def __init__(self, path: Path, heads: set[str], pruned_before: int, progress: Callable[[int], object] | None) -> None:
        self.path = path
        self.chain = chain_path(path)
        self.heads = heads
        self.missing = heads.copy()
        self.pruned_before = pruned_before
        self.progress = progress
        self.newest: Checkpoint | None = None
        self.files = self.lines = self.bytes = self.found_lines = self.uncovered = 0
        self.pruned_files = self.pruned_lines = 0
        self.known: set[int] = set()
        self.last_file = _last_file(self.chain)
        self.lines_here = 0  # of the file that is compared
        self.section: Section | None = None

    def run(self) -> None:
        """Go along all checkpoints, and look at what is left."""
        line = end = 0
        for line, (at, text) in enumerate(self._chain(), start=1):
            self._follow(self._read(line, at, text), line, at)
            end = at + len(text)
        newest = self.newest
        if self.missing:
            why = f"chain must have the head {min(self.missing)}, hasn't: its end was cut off, or it was rewritten"
            raise _Bad(self.chain, line + 1, end, why)
        self._refuse_unknown(0 if newest is None else newest.file)
        if newest is None:
            self.uncovered = sum(self._size(number) for number in self._numbers())
            return
        self.uncovered = self._size(newest.file) - newest.end
        self.uncovered += sum(self._size(number) for number in self._numbers() if number > newest.file)

    def _chain(self) -> Iterator[tuple[int, bytes]]:
        try:
            yield from chain_lines(self.chain)
        except FileNotFoundError:
            raise _Bad(self.chain, 1, 0, "chain must be there, is missing") from None

    def _read(self, line: int, at: int, text: bytes) -> Checkpoint:
        """Read a checkpoint, which must follow the one before."""
        try:
            checkpoint = read_checkpoint(text, "")
        except StoreDamaged as error:
            raise _Bad(self.chain, line, at, str(error).removeprefix(": ")) from None
        before = self.newest
        expected = (1, NO_LINK) if before is None else (before.n + 1, before.link)
        if (checkpoint.n, checkpoint.prev) != expected:
            was = f"{checkpoint.n} after {checkpoint.prev}"
            why = f"checkpoint must be number {expected[0]} after {expected[1]}, was {was}"
            raise _Bad(self.chain, line, at, why)
        return checkpoint

    def _follow(self, checkpoint: Checkpoint, line: int, at: int) -> None:
        """Compare the bytes of a checkpoint."""
        before = self.newest
        if before is None or checkpoint.file != before.file:
            if before is not None:
                self._end_file(before)
            self.leave()
            self.lines_here = 0
            self.section = self._open(checkpoint)
            self.files += self.section is not None
            self.pruned_files += self.section is None
            self.known.add(checkpoint.file)
            begin = 0
        else:
            begin = before.end
        was_cut = before is not None and checkpoint.begin < begin and checkpoint.begin == checkpoint.end
        if was_cut and self.section is not None:
            why = f"file must go on to byte {begin}, was cut off here, as was seen when the log was opened"
            raise _Bad(self._shown(), self._line_of(checkpoint.begin), checkpoint.begin, why)
        if (before is not None and checkpoint.file < before.file) or (checkpoint.begin != begin and not was_cut):
            raise _Bad(self.chain, line, at, f"checkpoint must begin at byte {begin} of its file, begins at {checkpoint.begin}")
        self._count(checkpoint)

    def _count(self, checkpoint: Checkpoint) -> None:
        """Compare a checkpoint with its bytes, if they are there, and count it as a good one."""
        if self.section is None:
            self.pruned_lines += checkpoint.lines
        else:
            self._compare(self.section, checkpoint)
            self.lines_here += checkpoint.lines
            self.lines += checkpoint.lines
            self.bytes += checkpoint.end - checkpoint.begin
            self.found_lines += checkpoint.lines * checkpoint.found
        self.newest = checkpoint
        self.missing.discard(checkpoint.link)
        if self.progress is not None:
            self.progress(self.bytes)

    def _compare(self, section: Section, checkpoint: Checkpoint) -> None:
        try:
            text = section.read(checkpoint.begin, checkpoint.end - checkpoint.begin)
            if len(text) == checkpoint.end - checkpoint.begin and sha256(text).hexdigest() == checkpoint.sha256:
                return
            more = section.read(checkpoint.begin, checkpoint.end - checkpoint.begin + _MORE_BYTES)
        except StoreDamaged as error:
            raise _Bad(section.path, self.lines_here + 1, checkpoint.begin, str(error)) from None
        self._locate(checkpoint, more)

    def _locate(self, checkpoint: Checkpoint, text: bytes) -> None:
        """Find the first line that isn't the one that was written."""
        expected, there = checkpoint.line_marks(), line_marks(text)[0]
        count = min(len(expected), len(there))
        differing = np.flatnonzero(expected[:count] != there[:count])
        good = int(differing[0]) if len(differing) else count
        at = 0
        for _ in range(good):
            at = text.index(b"\n", at) + 1
        line, byte = self.lines_here + good + 1, checkpoint.begin + at
        if good == len(expected):
            why = f"bytes {checkpoint.begin} to {checkpoint.end} must have the SHA-256 {checkpoint.sha256}, have another"
            raise _Bad(self._shown(), self.lines_here + 1, checkpoint.begin, why)
        if good == len(there):
            raise _Bad(self._shown(), line, byte, f"file must go on to byte {checkpoint.end}, was cut off after byte {byte}")
        raise _Bad(self._shown(), line, byte, _what(expected[good:].tolist(), there[good:].tolist()))

    def _end_file(self, newest: Checkpoint) -> None:
        """See that a file has nothing behind its last checkpoint."""
        if self.section is None:
            return
        size = self.section.size
        if size > newest.end:
            raise _Bad(self._shown(), self.lines_here + 1, newest.end, f"file must end at byte {newest.end}, goes on to {size}")

    def _open(self, checkpoint: Checkpoint) -> Section | None:
        """Open the file of a checkpoint: by its number if it is closed, else the current one; None if it may be gone and is."""
        try:
            return self._section(checkpoint.file)
        except FileNotFoundError:
            if checkpoint.file < min(self.pruned_before, self.last_file):
                return None
            closed = closed_path(self.path, checkpoint.file)
            why = f"file must be there, from trade {checkpoint.first_id} on, is missing"
            raise _Bad(closed if checkpoint.file < self.last_file else self.path, 1, 0, why) from None
        except StoreDamaged as error:
            raise _Bad(closed_path(self.path, checkpoint.file), 1, 0, str(error)) from None

    def _section(self, number: int) -> Section:
        while True:
            closed = dict(closed_files(self.path))
            if number in closed:
                section = closed_section(closed[number])
            elif number < max([*closed, self.last_file]):
                raise FileNotFoundError(number)
            else:
                section = PlainFile(self.path)
            if (number in closed) == (number in dict(closed_files(self.path))):
                if isinstance(section, PlainFile):
                    section.size = section.full_size
                return section
            section.close()  # closed at this moment

    def _numbers(self) -> list[int]:
        """List the files that are there, the current one by the number that it will have."""
        closed = [number for number, _ in closed_files(self.path)]
        return [*closed, max(closed[-1] + 1 if closed else 1, self.last_file)] if self.path.exists() else closed

    def _size(self, number: int) -> int:
        try:
            with closing(self._section(number)) as section:
                return section.size
        except FileNotFoundError:
            return 0
        except StoreDamaged as error:
            raise _Bad(closed_path(self.path, number), 1, 0, str(error)) from None

    def _refuse_unknown(self, newest: int) -> None:
        """See that there is no closed file that the chain doesn't know, below the newest that it does."""
        for number, path in closed_files(self.path):
            if number < newest and number not in self.known:
                raise _Bad(path, 1, 0, "file must be in the chain, isn't")

    def _shown(self) -> Path:
        assert self.section is not None
        return self.section.path

    def _line_of(self, at: int) -> int:
        """Give the number of the line that begins at a byte."""
        assert self.section is not None
        return self.section.read(0, at).count(b"\n") + 1

    def leave(self) -> None:
        """Close the file."""
        section, self.section = self.section, None
        if section is not None:
            section.close()

    def verdict(self, finding: Finding | None) -> Verdict:
        """Sum up."""
        newest = self.newest
        return Verdict(
            finding,
            None if newest is None else newest.head(),
            self.files,
            0 if newest is None else newest.n,
            self.lines,
            self.bytes,
            self.found_lines,
            self.uncovered,
            bool(self.heads) and not self.missing,
            self.pruned_files,
            self.pruned_lines,
        )


def _last_file(chain: Path) -> int:
    """Say which file the end of a chain is about; 0 if it can't be read, which is found later."""
    try:
        newest = last_checkpoint(chain)
    except (StoreDamaged, OSError):
        return 0
    return 0 if newest is None else newest.file


def _what(expected: list[int], there: list[int]) -> str:
    """Say what became of a line, by the marks of those that were written and those that are there; the first ones differ."""
    if len(expected) > 1 and there[0] in expected[1:]:
        if expected[0] in there[1:]:
            return "line must be the one that was written here, stands further down (reordered)"
        return "line must be the one that was written here, was removed"
    if expected[0] in there[1:]:
        return "line must not be here, was inserted"
    return "line must be as it was written, was changed"
