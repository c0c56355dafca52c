"""How far a store in Redis has got in a journal: a hash beside its keys, which the scripts that write check and move.

The hash doesn't expire, though the orders do. If it is evicted alone, that looks like a wipe, and what the journal has is written
once more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from pyengine.store_errors import StoreUnavailable
from pyengine.stores.interfaces import Mark, journal_of
from pyengine.stores.redis.exchange import Exchange, Script, Steps, pack_command, refuse_errors
from pyengine.stores.redis.replies import ReplyError, code_of

DONE = -3
"""What a script returns for a watermark that has moved already."""

_NUMBER = re.compile(rb"0|[1-9][0-9]*")
_move_script = Script("move_watermark", "watermark")


class Links:
    """What each call of a batch tells its script of the watermark.

    Parameters
    ----------
    mark : Mark or None
    calls : int
        In how many calls the batch comes.
    """

    def __init__(self, mark: Mark | None, calls: int) -> None:
        self._last = calls - 1
        self._token = os.urandom(8).hex() if calls > 1 and mark is not None else ""
        self._head = [b"", b"", b""]
        if mark is not None:
            after = b"" if mark.after is None else b"%d" % mark.after
            self._head = [mark.journal.encode(), after, b"%d" % mark.to]

    def of(self, number: int) -> list[bytes]:
        """Return the arguments for a call, counted from 0."""
        if not self._token:
            return [*self._head, b"", b""]
        before, behind = (f"{self._token}:{n}".encode() for n in (number - 1, number))
        return [*self._head, before if number else b"", behind if number < self._last else b""]


class Watermarks:
    """The hash of watermarks of one store.

    Parameters
    ----------
    key : bytes
    address : str
        For messages.
    """

    def __init__(self, key: bytes, address: str) -> None:
        self.key = key
        self._address = address

    def read(self, journal: str) -> Steps[int | None]:
        """Read a watermark; what is no number, or no hash, is none."""
        field = journal_of(journal).encode()
        # With the deadline of writes: who asks is about to write, and has no other layer to go to.
        (reply,) = yield Exchange("watermark", [pack_command((b"HGET", self.key, field))], write=True)
        if isinstance(reply, ReplyError) and code_of(reply) == "WRONGTYPE":
            return None
        refuse_errors([reply], "watermark", self._address)
        return self._number(reply)

    def forget(self, journal: str) -> Steps[None]:
        """Take a watermark away."""
        field = journal_of(journal).encode()
        command = pack_command((b"HDEL", self.key, field, b"batch:" + field))
        (reply,) = yield Exchange("forget_watermark", [command], write=True)
        if not isinstance(reply, ReplyError) or code_of(reply) != "WRONGTYPE":
            refuse_errors([reply], "forget_watermark", self._address)

    def move(self, mark: Mark) -> Steps[None]:
        """Move a watermark when there is nothing to write."""
        replies = yield from _move_script.call("save_marked", [([self.key], Links(mark, 1).of(0))])
        refuse_errors(replies, "save_marked", self._address)
        self.refuse_elsewhere(replies, mark)

    def refuse_elsewhere(self, replies: Iterable[Any], mark: Mark | None) -> None:
        """Raise WatermarkMoved if a script has returned where else the watermark is."""
        for reply in replies:
            if isinstance(reply, bytes) and mark is not None:
                raise mark.refusal(self._number(reply), f"redis at {self._address}, key {self.key.decode()}")

    def vanished(self, what: str) -> StoreUnavailable:
        """Make the error for a batch whose calls never all went through."""
        why = f"others change {self.key.decode()}, or wipe the server, all the time"
        return StoreUnavailable(f"redis at {self._address}: {what} failed: {why}")

    @staticmethod
    def _number(text: bytes | None) -> int | None:
        return int(text) if text is not None and _NUMBER.fullmatch(text) else None
