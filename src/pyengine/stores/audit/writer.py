"""The thread that writes the chain: it follows the log and never lets its writer wait."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyengine.store_errors import StoreUnavailable
from pyengine.stores.audit.checkpoint import ChainHead, Checkpoint, chain_path, checkpoint_of, last_checkpoint
from pyengine.stores.file_append import AppendFile, cut_unfinished
from pyengine.stores.file_history import PlainFile, Section, closed_files, closed_section

_log = logging.getLogger("pyengine.stores.file")

_PAUSE_S = 0.5
_CLOSE_S = 5.0
"""How long a close waits for the chain to be finished; the next start goes on where it ended."""

_NOWHERE = (0, 0)

Anchor = Callable[[ChainHead], object]


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """How the chain is written.

    Attributes
    ----------
    block_bytes : int
        Bytes of a checkpoint at most, unless by a single line.
    interval_s : float
        How long lines stay without a checkpoint at most.
    anchor : callable or None
        Given a head to keep it elsewhere.
    anchor_s : float
        How often.
    """

    block_bytes: int = 1 << 18
    interval_s: float = 1.0
    anchor: Anchor | None = None
    anchor_s: float = 10.0


class ChainWriter:
    """Writes checkpoints of what is safe in a log, in a thread of its own, until `close`.

    Attributes
    ----------
    counts : dict of str to int
    error : Exception or None
        Why none can be written at the moment.

    Parameters
    ----------
    path : Path
        Of the log.
    place : callable
        Says which file is the current one, and how many of its bytes are never taken back.

    Raises
    ------
    StoreDamaged
        The last line of the chain is no checkpoint.
    OSError
        It can't be opened.

    Notes
    -----
    What follows the last checkpoint is read from the file, so a chain that is behind, because of a crash or a full disk, catches
    up the same way as it always goes on.
    """

    def __init__(self, path: Path, options: ChainOptions, place: Callable[[], tuple[int, int]]) -> None:
        self.path = path
        self.counts = dict.fromkeys(("checkpoints", "chain_errors", "anchored", "anchor_errors"), 0)
        self.error: Exception | None = None
        self._options = options
        self._place = place
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._event = threading.Event()
        self._wanted = self._served = 0
        self._asleep = self._closing = self._ended = False
        self._give_up_at = float("inf")
        self._sealed_at = self._anchored_at = float("-inf")
        self._anchored: str | None = None
        self._section: tuple[int, Section] | None = None
        self._found_until = _NOWHERE
        self._thread = threading.Thread(target=self._run, name="pyengine-file-chain", daemon=True)
        self._open()

    def _open(self) -> None:
        """Open the chain, repaired, behind its newest checkpoint."""
        chain = chain_path(self.path)
        cut_unfinished(chain)
        self._newest: Checkpoint | None = last_checkpoint(chain)
        first = min((number for number, _ in closed_files(self.path)), default=1)
        self.file, self.at = (first, 0) if self._newest is None else (self._newest.file, self._newest.end)
        self._file = AppendFile(chain)

    def start(self) -> None:
        """Begin, once `place` can be asked; what is there by now was found, not written."""
        self._found_until = self._place()
        self._thread.start()

    def tell(self, number: int, size: int) -> None:
        """Tell how far the log is safe."""
        if self._asleep or number != self.file or size - self.at >= self._options.block_bytes:
            self._event.set()

    def head(self, timeout_s: float) -> ChainHead | None:
        """Cover all that is safe by now, bring the chain to the disk, and return its head; None for an empty log.

        Raises
        ------
        StoreUnavailable
            That took too long.
        """
        with self._changed:
            self._wanted += 1
            turn = self._wanted
            self._event.set()
            if not self._changed.wait_for(lambda: self._served >= turn, timeout_s):
                why = "" if self.error is None else f" ({self.error})"
                raise StoreUnavailable(f"file store: chain of {self.path} must be written in {timeout_s:g} s, wasn't{why}")
            return None if self._newest is None else self._newest.head()

    def lag_bytes(self) -> int:
        """Say how many bytes of the current file have no checkpoint yet."""
        number, size = self._place()
        return size - self.at if number == self.file else size

    def close(self) -> None:
        """End the thread, once all is covered; a forked child only closes its copies. Closing twice is closing once."""
        if self._ended:
            return
        self._ended = True
        if os.getpid() == self._pid and self._thread.is_alive():
            self._give_up_at = time.monotonic() + _CLOSE_S
            self._closing = True
            self._event.set()
            # Not for ever: the garbage collector may have begun this close in the very thread that is waited for.
            self._thread.join(_CLOSE_S + 1)
        self._leave()
        self._file.close()

    # The thread

    def _run(self) -> None:
        while True:
            closing = self._closing
            pause_s: float | None = None
            try:
                self._work(closing)
            except Exception as error:  # noqa: BLE001  whatever it was, the log is there, and the chain can be made of it
                self._failed(error)
                pause_s = _PAUSE_S
            else:
                self._succeeded()
                if self._place() > (self.file, self.at):
                    pause_s = self._options.interval_s
            if self._options.anchor is not None:
                self._offer(closing)
                if self._newest is not None and self._newest.link != self._anchored:
                    pause_s = min(self._options.anchor_s if pause_s is None else pause_s, self._options.anchor_s)
            if closing:
                return
            self._sleep(pause_s)

    def _sleep(self, pause_s: float | None) -> None:
        """Wait until there is something to do."""
        if pause_s is None:
            self._asleep = True
            if self._place() > (self.file, self.at):  # it came before anybody could see that this thread sleeps
                self._event.set()
        self._event.wait(pause_s)
        self._asleep = False
        self._event.clear()

    def _work(self, closing: bool) -> None:
        """Write the checkpoints that are due."""
        with self._changed:
            wanted = self._wanted
        if self._file.moved():
            _log.error("%s was moved or changed by somebody else; going on with what is there", self._file.path)
            self._leave()
            self._file.close()
            self._open()
        due = time.monotonic() - self._sealed_at >= self._options.interval_s
        # What was found is covered by checkpoints of its own.
        if self._found_until != _NOWHERE:
            self._cover(self._found_until, whole=True, found=True)
            if time.monotonic() > self._give_up_at:
                return
            self._found_until = _NOWHERE
        self._cover(self._place(), whole=due or closing or wanted > self._served, found=False)
        if wanted > self._served or closing:
            self._file.sync()
        with self._changed:
            self._served = wanted
            self._changed.notify_all()

    def _cover(self, place: tuple[int, int], *, whole: bool, found: bool) -> None:
        """Cover the log up to a place; without `whole` only as far as checkpoints are full."""
        number, size = place
        while self.file < number:
            section = self._opened(self.file)
            if section is not None:
                size_here = section.full_size if isinstance(section, PlainFile) else section.size
                if not self._cover_file(section, size_here, whole=True, found=found):
                    return
            self._leave()
            following = [each for each, _ in closed_files(self.path) if each > self.file]
            self.file, self.at = min([*following, number]), 0
        if self.file == number and self.at != size:
            section = self._opened(number)
            if section is not None:
                self._cover_file(section, size, whole=whole, found=found)

    def _cover_file(self, section: Section, size: int, *, whole: bool, found: bool) -> bool:
        """Cover one file up to a byte, and return whether that wasn't given up."""
        if isinstance(section, PlainFile):
            section.size = size
        if size < self.at and not found:
            return True  # of a moment before
        if size < self.at:
            _log.error("%s must have %d bytes, as its chain says, has %d", section.path, self.at, size)
            self._seal(b"", size, found=True)
        while self.at < size:
            if size - self.at < self._options.block_bytes and not whole:
                return True
            if time.monotonic() > self._give_up_at:
                return False
            self._seal(self._block(section, size), self.at, found=found)
        return True

    def _block(self, section: Section, size: int) -> bytes:
        """Read the next whole lines."""
        count = self._options.block_bytes
        while True:
            text = section.read(self.at, min(count, size - self.at))
            if not text:
                raise StoreUnavailable(f"file store: {section.path} must have {size} bytes, ends at {self.at}")
            if self.at + len(text) < size:
                text = text[: text.rfind(b"\n") + 1]
            if text:
                return text
            count *= 2

    def _seal(self, text: bytes, begin: int, *, found: bool) -> None:
        """Write a checkpoint."""
        checkpoint = checkpoint_of(text, self._newest, self.file, begin, found=found)
        self._file.append(checkpoint.line())
        self._newest = checkpoint
        self.at = checkpoint.end
        self._sealed_at = time.monotonic()
        self.counts["checkpoints"] += 1

    def _opened(self, number: int) -> Section | None:
        """Open a file by its number, and keep it open, whatever it is called meanwhile; None if somebody removed it."""
        while True:
            if self._section is not None:
                if self._section[0] == number and not self._is_replaced(number):
                    return self._section[1]
                self._leave()
            current = self._place()[0]
            closed = dict(closed_files(self.path))  # in this order: one below the current file is closed, or gone
            if number < current and number not in closed:
                return None
            try:
                section: Section = closed_section(closed[number]) if number in closed else PlainFile(self.path, 0)
            except FileNotFoundError:
                if number not in closed:
                    return None
                continue
            if (number in closed) == (number in dict(closed_files(self.path))):
                self._section = number, section
                return section
            section.close()  # closed at this moment

    def _is_replaced(self, number: int) -> bool:
        """Whether the current file isn't the one that is open any more, though it has its number."""
        assert self._section is not None
        section = self._section[1]
        if number != self._place()[0] or not isinstance(section, PlainFile):
            return False
        return not section.is_under(self.path)

    def _leave(self) -> None:
        """Close the file that is read."""
        section, self._section = self._section, None
        if section is not None:
            section[1].close()

    def _offer(self, closing: bool) -> None:
        """Give the head to the anchor, if it is time."""
        anchor, newest = self._options.anchor, self._newest
        now = time.monotonic()
        if anchor is None or newest is None or newest.link == self._anchored:
            return
        if not closing and now - self._anchored_at < self._options.anchor_s:
            return
        self._anchored_at = now
        try:
            self._file.sync()
            anchor(newest.head())
        except Exception as error:  # noqa: BLE001  an anchor that is out of reach is tried again
            self.counts["anchor_errors"] += 1
            _log.warning("the head of %s couldn't be anchored, and is tried again: %s", self._file.path, error)
        else:
            self.counts["anchored"] += 1
            self._anchored = newest.link

    def _failed(self, error: Exception) -> None:
        self.counts["chain_errors"] += 1
        before, self.error = self.error, error
        if before is None:
            _log.error("%s can't be written, and is tried again: %s", chain_path(self.path), error)

    def _succeeded(self) -> None:
        before, self.error = self.error, None
        if before is not None:
            _log.warning("%s is written again; the error was: %s", chain_path(self.path), before)
