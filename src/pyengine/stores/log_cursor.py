"""A place in a log that moves forwards: block by block, from each file to the one that was begun after it, while both grow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pyengine.stores.file_append import last_line_end
from pyengine.stores.file_history import PlainFile, Section, closed_files, closed_section

_BLOCK_BYTES = 1 << 20
_NEAR_BYTES = 1 << 16
"""A search ends when what is left can be read at once."""

_LONGEST_LINE_BYTES = 1 << 14
"""That is looked at by a search; longer ones are damage."""


class Block(NamedTuple):
    """Lines that follow each other in one file.

    Attributes
    ----------
    number : int
        Of the file: that of its name when it is closed, and the next one as long as it is written to.
    path : Path
    at : int
        Where the text begins in the (unpacked) file.
    text : bytes
        Whole lines; at the end of a closed file maybe one without a line feed.
    """

    number: int
    path: Path
    at: int
    text: bytes


class CurrentFile:
    """The file that is written to, and goes on being read when it was closed and renamed meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = 0
        self.grow()

    def grow(self) -> None:
        """See how many whole lines there are by now."""
        self.size = last_line_end(self._fd, os.fstat(self._fd).st_size)

    def is_current(self) -> bool:
        """Whether it is still the file under its name."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def read(self, at: int, count: int) -> bytes:
        """Read up to `count` bytes."""
        return os.pread(self._fd, max(0, min(count, self.size - at)), at)

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)


class LogCursor:
    """Reads a log forwards.

    Parameters
    ----------
    path : Path
        The file that is written to.

    Attributes
    ----------
    number : int
        The file that is read.
    at : int
        The byte that comes next in it.

    Raises
    ------
    OSError
        A file can't be read; methods raise it too. FileNotFoundError: there is no log.
    StoreDamaged
        A packed file isn't one; methods raise it too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = self.at = 0
        self._section: Section | None = None
        self._current: CurrentFile | None = None
        if not self.begin(0):
            raise FileNotFoundError(2, os.strerror(2), str(path))

    def begin(self, number: int, at: int = 0) -> bool:
        """Go to a file, or the first one after it, and to a byte of it; False, and nothing else, if there is none."""
        try:
            current = CurrentFile(self.path)
        except FileNotFoundError:
            current = None
        # In this order: what was opened is the file after the newest closed one, unless that was closed only since.
        closed = dict(closed_files(self.path))
        following = [each for each in closed if each >= number]
        section: Section
        if following:
            if current is not None:
                current.close()
            number, current = min(following), None
            section = closed_section(closed[number])
            if isinstance(section, PlainFile):
                section.size = section.full_size  # what isn't a whole line there is damage, and shown
        elif current is None:
            return False
        else:
            number, section = max(number, max(closed, default=0) + 1), current
        self.close()
        self.number, self.at, self._section, self._current = number, at, section, current
        return True

    def numbers(self) -> list[int]:
        """List the files, by rising number."""
        closed = [number for number, _ in closed_files(self.path)]
        return [*closed, max(self.number, closed[-1] + 1 if closed else 1)] if self.path.exists() else closed

    def blocks(self) -> Iterator[Block]:
        """Give what is there by now, from here on."""
        while True:
            section = self._section
            assert section is not None
            while self.at < section.size:
                block = self._next(section)
                if block is None:
                    break
                self.at += len(block.text)
                yield block
            if not self._next_file():
                return

    def _next(self, section: Section) -> Block | None:
        """Read up to a megabyte, and more if that isn't a line."""
        count = _BLOCK_BYTES
        while True:
            text = section.read(self.at, count)
            if self.at + len(text) < section.size:
                text = text[: text.rfind(b"\n") + 1]
            if text or count > section.size:
                return Block(self.number, section.path, self.at, text) if text else None
            count *= 2

    def _next_file(self) -> bool:
        """Go to the next file, once this one can't grow any more; False if there is nothing to read at the moment."""
        if self._current is None:
            return self.begin(self.number + 1)
        closed = not self._current.is_current()
        self._current.grow()
        if self.at < self._current.size:
            return True
        return closed and self.begin(self.number + 1)

    def seek(self, is_behind: Callable[[bytes], bool | None]) -> None:
        """Go to a line before which no line is behind what is looked for. O(log bytes) reads.

        Parameters
        ----------
        is_behind : callable
            Says of a line whether it is what is looked for or behind it, None of one that can't say; once it said True of a line,
            it must of all lines that follow.
        """
        numbers = self.numbers()
        low, high = 0, len(numbers) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.begin(numbers[middle]) and self._is_behind(0, 2**62, is_behind)[0]:
                high = middle - 1
            else:
                low = middle
        self.begin(numbers[low] if numbers else 0)
        assert self._section is not None
        begin, end = 0, self._section.size
        while end - begin > _NEAR_BYTES:
            middle = (begin + end) // 2
            behind, next_line = self._is_behind(middle, end, is_behind)
            if behind is False:
                begin = next_line
            else:
                end = middle
        self.at = begin

    def _is_behind(self, at: int, end: int, is_behind: Callable[[bytes], bool | None]) -> tuple[bool | None, int]:
        """Ask about the first line from a byte on that can say, and return where the next one begins; None if none can."""
        section = self._section
        assert section is not None
        end = min(end, section.size)
        if at > 0:
            at = self._line_end(section, at - 1, end)
        while at < end:
            after = self._line_end(section, at, end)
            behind = is_behind(section.read(at, min(after - at, _LONGEST_LINE_BYTES)))
            if behind is not None:
                return behind, after
            at = after
        return None, end

    @staticmethod
    def _line_end(section: Section, at: int, end: int) -> int:
        """Find where the line that a byte is in ends."""
        while at < end:
            text = section.read(at, _LONGEST_LINE_BYTES)
            found = text.find(b"\n")
            if found >= 0:
                return at + found + 1
            if not text:
                return end
            at += len(text)
        return end

    def close(self) -> None:
        """Close the file."""
        section, self._section, self._current = self._section, None, None
        if section is not None:
            section.close()


def lines_before(cursor_path: Path, number: int, at: int) -> int:
    """Count the lines of a file of a log before a byte. O(bytes)."""
    with closing(LogCursor(cursor_path)) as cursor:
        cursor.begin(number)
        lines = 0
        for block in cursor.blocks():
            if block.number != number or block.at >= at:
                return lines
            lines += block.text.count(b"\n", 0, at - block.at)
        return lines
