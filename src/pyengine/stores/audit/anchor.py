"""The newest head of a chain, kept where a log can't be changed with it: by a thread of its own, so that nobody waits for it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from hashlib import sha256
from pathlib import Path

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed, StoreDamaged
from pyengine.stores.arguments import path_of
from pyengine.stores.audit.checkpoint import ChainHead, chain_lines, chain_path
from pyengine.stores.interfaces import StoreStats

_log = logging.getLogger("pyengine.stores.file")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CLOSING_PAUSE_S = 0.05
_LONGEST_NAME = 500


class HeadKeeper(ABC):
    """Keeps heads somewhere; the `anchor` of a `FileTradeStore`. The last head of each start stays there, older ones make room.

    Parameters
    ----------
    path : path
        Of the log.
    log : str, optional
        The name under which its heads are kept. Default: host name and path.

    Attributes
    ----------
    log : str
    error : Exception or None
        Why the newest head can't be kept at the moment.

    Raises
    ------
    FieldTypeError, FieldError
        A parameter can't be.

    Notes
    -----
    The newest head wins: one that couldn't be kept yet gives way to the next. Heads that are kept but aren't in the chain are
    left where they are and reported: the log was cut off, or made anew. Thread-safe; a forked child begins anew.
    """

    name: str
    place: str

    def __init__(self, path: Path | str, log: str | None = None) -> None:
        self.path = path_of(path)
        self.log = log_name(self.path) if log is None else log
        if not isinstance(self.log, str):
            raise FieldTypeError("log", log, "a str")
        if not 1 <= len(self.log) <= _LONGEST_NAME or not self.log.isprintable():
            raise FieldError("log", log, f"1 to {_LONGEST_NAME} printable characters")
        self.counts = dict.fromkeys(("heads_kept", "head_errors", "strange_heads"), 0)
        self._renew()

    def _renew(self) -> None:
        """Begin without a thread."""
        self.error: Exception | None = None
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._wanted: ChainHead | None = None
        self._kept: ChainHead | None = None
        self._older: set[str] | None = None
        self._thread: threading.Thread | None = None
        self._since = time.monotonic()
        self._give_up_at = float("inf")
        self._closing = False

    @abstractmethod
    def heads(self) -> list[ChainHead]:
        """Return the heads of this log that are kept.

        Raises
        ------
        StoreError
            They can't be read.
        """

    @abstractmethod
    def keep(self, head: ChainHead, older: Collection[str]) -> None:
        """Keep a head, then forget those with the links `older`, which it stands for. It may be done twice.

        Raises
        ------
        StoreError
            That can't be done; nothing was forgotten without the new one being kept.
        """

    def __call__(self, head: ChainHead) -> None:
        """Take in the newest head. It is kept when that is possible."""
        with self._own_lock():
            if self._closing:
                raise StoreClosed(f"{self.place}: the anchor of {self.path} must be open, was closed")
            if self._wanted == self._kept:
                self._since = time.monotonic()
            self._wanted = head
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"pyengine-anchor-{self.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stats(self) -> StoreStats:
        """Return what was counted, and for how long the newest head hasn't been kept."""
        with self._own_lock():
            waits = self._wanted != self._kept
            lag_s = time.monotonic() - self._since if waits else 0.0
            return StoreStats(f"anchor_{self.name}", dict(self.counts), {"head_lag_s": lag_s})

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread once the newest head is kept, or when the time is up. Closing twice is closing once."""
        with self._own_lock():
            self._closing = True
            self._give_up_at = time.monotonic() + timeout_s
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._wanted != self._kept:
                _log.warning("%s: the last head of %s could not be kept: %s", self.place, self.path, self.error)

    def _own_lock(self) -> threading.Condition:
        """Return the lock; a forked child has neither the thread nor, perhaps, anybody who will ever let go of the parent's."""
        if self._pid != os.getpid():
            self._renew()
        return self._changed

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._wanted != self._kept)
                head = self._wanted
                if head is None or head == self._kept or time.monotonic() > self._give_up_at:
                    return
            try:
                self._bring(head)
            except Exception as error:  # noqa: BLE001  whatever it was, the log goes on, and it is tried again
                self._failed(error)
                self._wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._succeeded(head)
                pause_s = _FIRST_PAUSE_S

    def _wait(self, pause_s: float) -> None:
        """Wait before the next attempt; while closing, not for long."""
        with self._changed:
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, pause_s)
                return
        time.sleep(_CLOSING_PAUSE_S)

    def _bring(self, head: ChainHead) -> None:
        if self._older is None:
            self._older = self._earlier()
        self.keep(head, self._older - {head.link})
        self._older = {head.link}

    def _earlier(self) -> set[str]:
        """Look up which heads of earlier starts the chain has, and report the others."""
        try:
            kept = {each.link for each in self.heads()}
        except StoreDamaged as error:
            # What nobody can read is no reason to keep no head at all.
            _log.error("%s", error)
            self.counts["strange_heads"] = 1
            return set()
        known = links_among(self.path, kept)
        self.counts["strange_heads"] = len(kept - known)
        for link in sorted(kept - known):
            _log.error("%s: the head %s of %s isn't in its chain: the log was cut off or made anew", self.place, link, self.path)
        return known

    def _failed(self, error: Exception) -> None:
        self.counts["head_errors"] += 1
        before, self.error = self.error, error
        if before is None:
            _log.warning("the head of %s can't be kept, and is tried again: %s", self.path, error)

    def _succeeded(self, head: ChainHead) -> None:
        self.counts["heads_kept"] += 1
        before, self.error = self.error, None
        with self._changed:
            self._kept = head
            self._since = time.monotonic()
        if before is not None:
            _log.info("%s: the head of %s is kept again", self.place, self.path)


def log_name(path: Path) -> str:
    """Name a log among those of all machines, as long as nobody gives it a name."""
    return f"{socket.gethostname()}:{path}"


def links_among(path: Path, links: Collection[str]) -> set[str]:
    """Return those of some links that are in the chain beside a log. O(checkpoints); for none of them nothing is read."""
    if not links:
        return set()
    try:
        lines: Iterable[tuple[int, bytes]] = chain_lines(chain_path(path))
        found = {sha256(line.partition(b',"link":')[0]).hexdigest() for _, line in lines}
    except FileNotFoundError:
        return set()
    return found.intersection(links)
