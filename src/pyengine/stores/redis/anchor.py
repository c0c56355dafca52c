"""Heads of the chain beside a trade log, kept in Redis."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from pyengine.store_errors import StoreDamaged
from pyengine.stores.audit.anchor import HeadKeeper
from pyengine.stores.audit.checkpoint import ChainHead
from pyengine.stores.redis.connection import RedisConnection
from pyengine.stores.redis.exchange import Exchange, Steps, pack_command, refuse_errors


class RedisAnchor(HeadKeeper):
    """Keeps heads in the hash `audit_heads:{log}`: link to JSON.

    Parameters
    ----------
    connection : RedisConnection
        It stays open when the anchor is closed.
    path, log
        As of `HeadKeeper`.

    Notes
    -----
    Redis may be wiped, and then knows no head until the next one; heads that must not be lost belong elsewhere too.
    """

    name = "redis"

    def __init__(self, connection: RedisConnection, path: Path | str, log: str | None = None) -> None:
        self._connection = connection
        self.place = f"redis at {connection.address}"
        super().__init__(path, log)
        self._key = f"{connection.prefix}audit_heads:{self.log}".encode()

    def heads(self) -> list[ChainHead]:
        """See `HeadKeeper.heads`."""
        return self._connection.run(self._read())

    def keep(self, head: ChainHead, older: Collection[str]) -> None:
        """See `HeadKeeper.keep`."""
        self._connection.run(self._write(head, older))

    def _read(self) -> Steps[list[ChainHead]]:
        what = f"heads of {self.log}"
        (reply,) = yield Exchange(what, [pack_command((b"HGETALL", self._key))], write=True)
        refuse_errors([reply], what, self._connection.address)
        return [self._head(link, text) for link, text in zip(reply[::2], reply[1::2], strict=True)]

    def _head(self, link: bytes, text: bytes) -> ChainHead:
        try:
            fields = json.loads(text)
            return ChainHead(link.decode(), *(int(fields[name]) for name in ChainHead._fields[1:]))
        except (ValueError, KeyError, TypeError) as error:
            place = f"{self.place}, key {self._key.decode()}, field {link.decode(errors='replace')}"
            raise StoreDamaged(f"{place}: value must be a head, was {text[:80]!r}") from error

    def _write(self, head: ChainHead, older: Collection[str]) -> Steps[None]:
        what = f"head of {self.log}"
        fields = head._asdict()
        link = fields.pop("link").encode()
        commands = [pack_command((b"HSET", self._key, link, json.dumps(fields, separators=(",", ":")).encode()))]
        replies = yield Exchange(what, commands, write=True)
        refuse_errors(replies, what, self._connection.address)
        if older:
            forgotten = [each.encode() for each in older]
            replies = yield Exchange(what, [pack_command((b"HDEL", self._key, *forgotten))], write=True)
            refuse_errors(replies, what, self._connection.address)
