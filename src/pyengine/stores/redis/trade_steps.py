"""What a trade store says to Redis: every operation once, for blocking and asyncio callers."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from pyengine._core.json_lines import trade_values
from pyengine._core.names import Names
from pyengine._core.record_arrays import trade_array
from pyengine._core.trade import Trade
from pyengine.records import Records
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores.arguments import limit_of
from pyengine.stores.interfaces import Mark
from pyengine.stores.json_form import read_object, read_symbol, read_trade
from pyengine.stores.redis.definitions import Definitions
from pyengine.stores.redis.exchange import Counts, Exchange, Script, Steps, bracket, pack_command, refuse_errors, send_brackets
from pyengine.stores.redis.replies import ReplyError, code_of, store_error
from pyengine.stores.redis.scores import HIGHEST, Ranked, place, scores_after
from pyengine.stores.redis.watermarks import DONE, Links, Watermarks

CALL_ROWS = 1000
"""Trades in one transaction."""

ATTEMPTS = 20
"""How often a batch is tried while others write too."""

_EMPTY = Ranked(0, b"", -math.inf)
"""What stands for the newest trade of an empty set."""

_ID = re.compile(rb'\{"trade_id":([1-9][0-9]{0,18}),')
_add_script = Script("add_trades", "watermark")
_merge_script = Script("merge_trades", "watermark")


class TradeSteps:
    """The operations of a trade store.

    Parameters
    ----------
    names : Names or None
    prefix : str
        Before every key.
    address : str
        For messages.
    kept : int
        How many trades the set keeps, the newest.
    """

    def __init__(self, names: Names | None, prefix: str, address: str, kept: int) -> None:
        raw = prefix.encode()
        self.definitions = Definitions(names, raw + b"instruments", address)
        self.watermarks = Watermarks(raw + b"watermarks:trades", address)
        self.counts = Counts("hits", "misses", "written", "known", "errors")
        self.kept = kept
        self._address = address
        self._key = raw + b"trades:recent"
        self.keys: list[Any] = [self._key, self.definitions.key, self._key + b":aside", self.watermarks.key]
        self._newest: Ranked | None = None

    def save(self, trades: Records | Iterable[Trade], mark: Mark | None = None) -> Steps[int]:
        """Take in trades, and move the watermark with the last of them; return how many were new.

        Trades that are newer than all in the set are added at its end, if its end is what this store believes: one round
        trip. Others cost a look at what is there.
        """
        rows = trade_array(trades, self.definitions.names, lent=self.definitions.lent, named=True)
        if len(rows) == 0:
            if mark is not None:
                yield from self.watermarks.move(mark)
            return 0
        rows = _by_id(rows)
        what = f"save of trade {rows['trade_id'][0]}" if len(rows) == 1 else f"save of {len(rows)} trades"
        added: int = 0
        for _ in range(ATTEMPTS):
            yield from self.definitions.write(rows, what)
            newest = self._newest or (yield from self._read_newest(what))
            if newest.trade_id is not None and newest.trade_id < rows["trade_id"][0] and newest.score <= HIGHEST:
                outcomes = yield from self._add(rows, newest, mark, what)
            else:
                outcomes = [(yield from self._merge(rows, mark, what))]
            if any(isinstance(outcome, bytes) for outcome in outcomes):
                self._newest = None
                self.definitions.forget()
                self.watermarks.refuse_elsewhere(outcomes, mark)
            added += sum(outcome for outcome in outcomes if outcome > 0)
            if min(outcomes) >= 0 or outcomes.count(DONE) == len(outcomes):
                self.counts.add("written", added)
                self.counts.add("known", len(rows) - added)
                return added
            # Somebody else wrote, or the server was wiped: look again.
            self._newest = None
            if -1 in outcomes:
                self.definitions.forget()
        raise StoreUnavailable(f"redis at {self._address}: {what} failed: others changed {self._key.decode()} all the time")

    def get_recent(self, limit: int) -> Steps[list[Trade]]:
        """Read the newest trades, by falling id."""
        limit = limit_of(limit)
        members = yield from self._read_members(limit, "get_recent")
        key = self._place()
        read = []
        for number, member in enumerate(members, -len(members)):
            where = f"{key}, index {number}"
            fields = read_object(member, where)
            read.append((where, fields, read_symbol(fields, where)))
        instruments = yield from self.definitions.read((symbol for _, _, symbol in read), "get_recent")
        found: dict[int, Trade] = {}
        for where, fields, symbol in read:
            instrument = instruments[symbol]
            trade = read_trade(fields, instrument, where, self.definitions.number_of(instrument))
            other = found.setdefault(trade.trade_id, trade)
            if other is not trade and other != trade:
                raise StoreDamaged(f"{where}: trade {trade.trade_id} must be the same everywhere, was {trade!r} and {other!r}")
        self.counts.add("hits" if found else "misses")
        return [found[trade_id] for trade_id in sorted(found, reverse=True)]

    def complete_for(self, limit: int) -> Steps[bool]:
        """Whether `limit` trades are there with no gap between them, or all from the first on."""
        limit = limit_of(limit)
        members = yield from self._read_members(limit, "complete_for")
        ids = sorted({_id_of(member) or 0 for member in members}, reverse=True)
        if len(ids) < limit and (not ids or ids[-1] != 1):
            return False
        return 0 not in ids and all(newer == older + 1 for newer, older in pairwise(ids))

    def is_empty(self) -> Steps[bool]:
        """Whether there is no trade at all."""
        (reply,) = yield Exchange("is_empty", [pack_command((b"ZCARD", self._key))])
        self._refuse(reply, "is_empty")
        return bool(reply == 0)

    def clear(self) -> Steps[None]:
        """Forget all trades, and the watermarks."""
        replies = yield Exchange("clear", [pack_command((b"DEL", self.watermarks.key, self._key))], write=True)
        refuse_errors(replies, "clear", self._address)

    def _add(self, rows: Records, newest: Ranked, mark: Mark | None, what: str) -> Steps[list[Any]]:
        """Add trades that are newer than the newest; return for each part of them how many were new, or what refused it."""
        parts = _Additions(self, rows, newest, mark)
        found = yield from send_brackets(what, parts.packed, self._address)
        outcomes: list[Any] = []
        for begun, added, _ in found:
            if begun == 0:
                refuse_errors([added], what, self._address)
            outcomes.append(added if begun == 0 else begun)
        if all(isinstance(outcome, int) and outcome >= 0 for outcome in outcomes):
            self._newest = parts.last
        return outcomes

    def _merge(self, rows: Records, mark: Mark | None, what: str) -> Steps[Any]:
        """Put trades that came late in their places; return how many were new, or what the script refused with."""
        members, digest = yield from self._read_end(int(rows["trade_id"][0]), what)
        if not members:
            self._newest = _EMPTY
            return -2
        foreign = [ranked.member for ranked in members if ranked.trade_id is None]
        ours = [ranked for ranked in members if ranked.trade_id is not None]
        known = np.array([ranked.trade_id for ranked in ours], np.int64)
        rows = rows[~np.isin(rows["trade_id"], known)]
        # The oldest make room, first those below what was read.
        surplus = len(ours) + len(rows) - self.kept
        if surplus > 0:
            ids = sorted([*known.tolist(), *rows["trade_id"].tolist()])
            rows = rows[rows["trade_id"] >= ids[min(surplus, len(ids) - 1)]]
        if len(rows) == 0 and not foreign and mark is None:
            self._newest = members[-1]
            return 0
        fresh = [
            Ranked(trade_id, member, time)
            for trade_id, member, time in zip(
                rows["trade_id"].tolist(),
                trade_values(rows, self.definitions.names),
                rows["ts_ns"].astype(np.float64).tolist(),
                strict=True,
            )
        ]
        changes = list(place(ours, fresh))
        seen = [b"%d" % self.kept, b"%d" % len(members), digest]
        arguments = [*Links(mark, 1).of(0), *seen, b"%d" % len(foreign), *foreign]
        for change in changes:
            arguments += (repr(change.score).encode(), change.member)
        replies = yield from _merge_script.call(what, [(self.keys, arguments)])
        refuse_errors(replies, what, self._address)
        self._newest = None
        return len(rows) if replies[0] == 0 else replies[0]

    def _read_newest(self, what: str) -> Steps[Ranked]:
        """Look at the end of the set; a key that holds something else counts as an empty one, which the script makes of it."""
        (reply,) = yield Exchange(what, [pack_command((b"ZRANGE", self._key, b"-1", b"-1", b"WITHSCORES"))], write=True)
        if isinstance(reply, ReplyError) and code_of(reply) == "WRONGTYPE":
            return _EMPTY
        refuse_errors([reply], what, self._address)
        return _ranked(reply)[-1] if reply else _EMPTY

    def _read_end(self, trade_id: int, what: str) -> Steps[tuple[list[Ranked], bytes]]:
        """Read members from the newest down to one that is older than a trade, or all; also their digest."""
        wanted = 64
        while True:
            command = pack_command((b"ZRANGE", self._key, b"%d" % -wanted, b"-1", b"WITHSCORES"))
            (reply,) = yield Exchange(what, [command], write=True)
            if isinstance(reply, ReplyError) and code_of(reply) == "WRONGTYPE":
                return [], b""
            refuse_errors([reply], what, self._address)
            members = _ranked(reply)
            if len(members) < wanted or (members[0].trade_id or trade_id) < trade_id:
                return members, hashlib.sha1(b"\n".join(reply), usedforsecurity=False).hexdigest().encode()
            wanted *= 8

    def _read_members(self, limit: int, what: str) -> Steps[list[bytes]]:
        """Read the newest members, the oldest of them first."""
        if limit == 0:
            return []
        (reply,) = yield Exchange(what, [pack_command((b"ZRANGE", self._key, b"%d" % -limit, b"-1"))])
        self._refuse(reply, what)
        members: list[bytes] = reply
        return members

    def _refuse(self, reply: Any, what: str) -> None:
        """Raise if a reply is an error; a key that holds something else is damage."""
        if isinstance(reply, ReplyError):
            if code_of(reply) == "WRONGTYPE":
                raise StoreDamaged(f"{self._place()}: must be a sorted set, was another type") from reply
            raise store_error(reply, what, self._address) from reply

    def _place(self) -> str:
        return f"redis at {self._address}, key {self._key.decode()}"


class _Additions:
    """The transactions for a batch, made as they are sent; `last` is the newest trade after them."""

    def __init__(self, steps: TradeSteps, rows: Records, newest: Ranked, mark: Mark | None) -> None:
        self._steps, self._rows, self._newest = steps, rows, newest
        self._links = Links(mark, -(-len(rows) // CALL_ROWS))
        self.last = newest

    def packed(self) -> Iterator[bytes]:
        """Pack them, the first with the script itself."""
        steps = self._steps
        self.last = self._newest
        for number, at in enumerate(range(0, len(self._rows), CALL_ROWS)):
            rows = self._rows[at : at + CALL_ROWS]
            members = trade_values(rows, steps.definitions.names)
            link = [members[-1], *self._links.of(number)]
            begin = _add_script.pack(steps.keys, [b"begin", self.last.member, *link], whole=number == 0)
            end = _add_script.pack(steps.keys, [b"end", b"%d" % steps.kept, *link])
            scores = scores_after(self.last.score, rows["ts_ns"])
            adding: list[Any] = [b"ZADD", steps.keys[2], b"NX", *members, *members]
            adding[3::2] = map(b"%d".__mod__, scores)
            adding[4::2] = members
            self.last = Ranked(int(rows["trade_id"][-1]), members[-1], float(scores[-1]))
            yield bracket(begin, pack_command(tuple(adding)), end)


def _by_id(rows: Records) -> Records:
    """Sort trades by id; of several of one id the first counts."""
    ids = rows["trade_id"]
    if bool((ids[1:] > ids[:-1]).all()):
        return rows
    _, first = np.unique(ids, return_index=True)
    chosen: Records = rows[first]
    return chosen


def _ranked(reply: list[bytes]) -> list[Ranked]:
    """Pair members with their scores."""
    return [Ranked(_id_of(member), member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]


def _id_of(member: bytes) -> int | None:
    """Return the id of a trade, or None for a member that is no trade."""
    match = _ID.match(member)
    if match is not None:
        trade_id: Any = int(match.group(1))
    else:
        try:
            trade_id = read_object(member, "").get("trade_id")
        except StoreDamaged:
            return None
    return trade_id if type(trade_id) is int and 0 < trade_id < 2**63 else None
