"""What a store says to Redis, apart from how it travels: the same steps run over blocking and asyncio connections."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from pyengine.optional import require
from pyengine.stores.redis.replies import ReplyError, code_of, store_error

pack_command: Any = require("hiredis", "redis").pack_command

_MULTI, _EXEC = pack_command((b"MULTI",)), pack_command((b"EXEC",))

Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Commands that travel together, and their replies.

    Attributes
    ----------
    what : str
        The operation, for messages: "get of order 5".
    commands : iterable of bytes
        Packed. They are sent as they come out of the iterator, so that the server may work on the first while the next is
        being made.
    write : bool
        Whether it has the deadline of writes, and isn't sent again when the connection breaks.
    replies_each : int
        How many commands each of `commands` is, and so how many replies it gets.
    """

    what: str
    commands: Iterable[bytes]
    write: bool = False
    replies_each: int = 1


Steps = Generator[Exchange, list[Any], Answer]
"""An operation: yields exchanges, is sent the replies (errors among them as they are), and returns its result."""


class Script:
    """A Lua script that the server keeps and knows by its digest.

    Parameters
    ----------
    *names : str
        Of the files beside this module, without their ending: the script, and what stands in front of it.
    """

    def __init__(self, *names: str) -> None:
        folder = files("pyengine.stores.redis")
        self.source = b"".join(folder.joinpath(f"{name}.lua").read_bytes() for name in reversed(names))
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def pack(self, keys: list[Any], arguments: list[Any], *, whole: bool = False) -> bytes:
        """Pack a call, with the script itself if the server doesn't know it."""
        head = (b"EVAL", self.source) if whole else (b"EVALSHA", self.digest)
        packed: bytes = pack_command((*head, len(keys), *keys, *arguments))
        return packed

    def call(self, what: str, calls: Iterable[tuple[list[Any], list[Any]]], *, write: bool = True) -> Steps[list[Any]]:
        """Call it once for each (keys, arguments), all in one exchange; `calls` can be iterated twice.

        A server that was restarted doesn't know the script: then everything is sent again, the script with it, so that what
        a call does must be safe to do twice.
        """
        replies = yield Exchange(what, (self.pack(keys, arguments) for keys, arguments in calls), write)
        if any(isinstance(reply, ReplyError) and code_of(reply) == "NOSCRIPT" for reply in replies):
            replies = yield Exchange(what, (self.pack(keys, arguments, whole=True) for keys, arguments in calls), write)
        return replies


_BRACKET_REPLIES = 5


def bracket(begin: bytes, command: bytes, end: bytes) -> bytes:
    """Pack a transaction: a script, a plain command that would cost more through it, and the script again."""
    return b"".join((_MULTI, begin, command, end, _EXEC))


def send_brackets(what: str, packed: Callable[[], Iterable[bytes]], address: str) -> Steps[list[tuple[Any, Any, Any]]]:
    """Send transactions in one exchange, and return the three replies of each.

    Parameters
    ----------
    what : str
        The operation, for messages.
    packed : callable
        Makes them with `bracket`. The first has to have the script itself: a server that doesn't know it would run the plain
        command alone.

    Raises
    ------
    StoreError
        A transaction or a script failed. What a plain command failed with is among the replies.
    """
    for last in (False, True):
        replies = yield Exchange(what, packed(), write=True, replies_each=_BRACKET_REPLIES)
        found: list[tuple[Any, Any, Any]] = []
        for part in parts_of(replies, _BRACKET_REPLIES):
            refuse_errors(part, what, address)
            begun, done, ended = part[-1]
            if isinstance(begun, ReplyError) and code_of(begun) == "NOSCRIPT" and not last:
                # Somebody has made the server forget it since the first.
                break
            refuse_errors((begun, ended), what, address)
            found.append((begun, done, ended))
        else:
            break
    return found


def refuse_errors(replies: Iterable[Any], what: str, address: str) -> None:
    """Raise for the first error among replies."""
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise store_error(reply, what, address) from reply


def parts_of(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into parts of at most `size`."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


class Counts:
    """Counters of a store.

    Notes
    -----
    Thread-safety: any thread may add. A fork while another thread adds doesn't lock the child out.
    """

    def __init__(self, *names: str) -> None:
        self._counter: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._lock = threading.Lock()
        self._process_id = os.getpid()

    def add(self, name: str, number: int = 1) -> None:
        """Add to one of them."""
        if self._process_id != os.getpid():
            self._lock, self._process_id = threading.Lock(), os.getpid()
        with self._lock:
            self._counter[name] += number

    def as_dict(self) -> dict[str, int]:
        """Return them all."""
        return dict(self._counter)
