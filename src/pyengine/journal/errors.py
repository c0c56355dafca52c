"""Errors of the journal."""

from __future__ import annotations

from pyengine.errors import PyengineError


class JournalError(PyengineError):
    """Base of all errors that only journals raise."""


class JournalFailed(JournalError, RuntimeError):
    """The journal can't make anything durable any more; what it acknowledged before is on the disk. The text says what to do."""


class JournalClosed(JournalError, RuntimeError):
    """The journal was closed before this call."""


class JournalHeld(JournalError, RuntimeError):
    """Another process, or another journal object of this one, writes to it; the text says who."""


class JournalTimeout(JournalError, TimeoutError):
    """The events weren't on the disk in time. They may come to be; waiting again is possible."""


class JournalFull(JournalError, RuntimeError):
    """There is no room for further events. Commands are refused before they run, until there is; nothing is lost.

    Attributes
    ----------
    used_bytes : int
        What the journal's files take.
    bound_bytes : int
        What they may take.
    kept_by : str
        What keeps the oldest segment from being taken away.
    """

    def __init__(self, text: str, used_bytes: int, bound_bytes: int, kept_by: str) -> None:
        self.used_bytes = used_bytes
        self.bound_bytes = bound_bytes
        self.kept_by = kept_by
        super().__init__(text)

    def __reduce__(self) -> tuple[type, tuple[str, int, int, str]]:
        """Pickle by the parts."""
        return type(self), (str(self), self.used_bytes, self.bound_bytes, self.kept_by)


class JournalDamaged(JournalError, ValueError):
    """A journal isn't as it was written; nothing was made of it.

    Attributes
    ----------
    segment : str
        Name of the file.
    offset : int
        Byte of the file where what is wrong begins.
    seq : int
        Sequence number of the first event that can't be had.
    problem : str
        What is wrong there.
    """

    def __init__(self, segment: str, offset: int, seq: int, problem: str) -> None:
        self.segment = segment
        self.offset = offset
        self.seq = seq
        self.problem = problem
        super().__init__(f"{segment}, byte {offset}, event {seq}: {problem}")

    def __reduce__(self) -> tuple[type, tuple[str, int, int, str]]:
        """Pickle by the parts, as the message is made from them."""
        return type(self), (self.segment, self.offset, self.seq, self.problem)


class HistoryGone(JournalError, LookupError):
    """The journal doesn't go back so far any more.

    Attributes
    ----------
    wanted_seq : int
        Sequence number of the first event that was asked for.
    first_seq : int
        Of the first one that can be had.
    """

    def __init__(self, wanted_seq: int, first_seq: int) -> None:
        self.wanted_seq = wanted_seq
        self.first_seq = first_seq
        super().__init__(f"the journal must go back to event {wanted_seq}, goes back to {first_seq}: what was before was pruned")

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        """Pickle by the parts, as the message is made from them."""
        return type(self), (self.wanted_seq, self.first_seq)
