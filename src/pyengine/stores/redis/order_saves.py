"""How orders get into Redis: those that are surely new by plain commands, all others by a script that looks at what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pyengine._core.json_lines import order_values
from pyengine._core.order import Order
from pyengine._core.record_arrays import order_array
from pyengine.records import Records
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.arguments import order_rows
from pyengine.stores.interfaces import Mark
from pyengine.stores.redis.definitions import Definitions
from pyengine.stores.redis.exchange import Counts, Script, Steps, bracket, pack_command, refuse_errors, send_brackets
from pyengine.stores.redis.order_keys import OrderKeys
from pyengine.stores.redis.watermarks import DONE, Links, Watermarks

SAVE, UPDATE, BACKFILL = b"0", b"1", b"2"
"""Modes of the script that saves: always, only what is there, only what isn't."""

CALL_ROWS = 250
"""Orders in one call of a script: the server answers nobody else for two milliseconds, and its caches hold what it works on."""

ADDED_ROWS = 250
"""Orders in one transaction that adds them."""

NOT_NEW = -2
"""What such a transaction returns that did nothing, since one of them is there already, or the one before did nothing."""

_FEWEST_NEW = 16
"""From how many on it is worth it."""

_save_script = Script("save_orders", "index_sets", "watermark")
_add_script = Script("add_orders", "index_sets", "watermark")


class OrderSaves:
    """The writes of an order store.

    Parameters
    ----------
    keys : OrderKeys
    definitions : Definitions
    watermarks : Watermarks
    counts : Counts
    address : str
        For messages.
    """

    def __init__(self, keys: OrderKeys, definitions: Definitions, watermarks: Watermarks, counts: Counts, address: str) -> None:
        self.keys = keys
        self.definitions = definitions
        self.watermarks = watermarks
        self.counts = counts
        self._address = address
        self._highest = -1
        """The highest id that was written here: higher ones are probably new."""

    def save(self, orders: Records | Iterable[Order], mode: bytes = SAVE, mark: Mark | None = None) -> Steps[int]:
        """Save in one of three modes, and move the watermark with the last of the orders; return how many were stored."""
        rows = order_array(orders, self.definitions.names, lent=self.definitions.lent, named=True)
        if len(rows) == 0:
            if mark is not None:
                yield from self.watermarks.move(mark)
            return 0
        if len(rows) > 1 and len(np.unique(rows["order_id"])) < len(rows):
            rows = order_rows(rows, self.definitions.names)
        what = f"save of order {rows['order_id'][0]}" if len(rows) == 1 else f"save of {len(rows)} orders"
        for attempt in range(3):
            yield from self.definitions.write(rows, what)
            replies: list[Any] = []
            if attempt == 0 and mode == SAVE:
                replies = yield from self._save_mostly_new(rows, mark, what)
            if not replies:
                replies = yield from self._save_any(rows, mode, Links(mark, _calls(rows)), what)
            if mark is not None and any(isinstance(reply, bytes) for reply in replies):
                self.definitions.forget()
                self.watermarks.refuse_elsewhere(replies, mark)
            stored: int = sum(reply for reply in replies if reply >= 0)
            if all(reply >= 0 or reply == DONE for reply in replies):
                self._highest = max(self._highest, int(rows["order_id"].max()))
                self.counts.add("written", stored)
                self.counts.add("stale", len(rows) - stored)
                return stored
            # The hash of instruments was wiped or evicted, or the server was wiped between two calls.
            self.definitions.forget()
        if mark is not None:
            raise self.watermarks.vanished(what)
        raise StoreUnavailable(f"redis at {self._address}: {what} failed: the instruments vanish as soon as they are written")

    def _save_any(self, rows: Records, mode: bytes, links: Links, what: str, first: int = 0) -> Steps[list[Any]]:
        """Save by the script that can do it all, with the links from the first one on; return its replies."""
        calls = _Calls(self, rows, mode, links, first)
        replies: list[Any] = yield from _save_script.call(what, calls)
        refuse_errors(replies, what, self._address)
        return replies

    def _save_mostly_new(self, rows: Records, mark: Mark | None, what: str) -> Steps[list[Any]]:
        """Add orders with ids above all that were written here before, then save the rest; return the replies.

        None, if there are too few of them, or one is there already: then all have yet to be saved.
        """
        above = rows["order_id"] > self._highest
        new, known = rows[above], rows[~above]
        if len(new) < _FEWEST_NEW:
            return []
        additions = -(-len(new) // ADDED_ROWS)
        links = Links(mark, additions + _calls(known))
        found = yield from send_brackets(what, lambda: self._additions(new, links), self._address)
        outcomes = [ended if begun == 0 else begun for begun, _, ended in found]
        if NOT_NEW in outcomes:
            self._highest = max(self._highest, int(new["order_id"].max()))
            return []
        if len(known) and all(isinstance(outcome, int) and outcome >= 0 for outcome in outcomes):
            outcomes += yield from self._save_any(known, SAVE, links, what, additions)
        return outcomes

    def _additions(self, rows: Records, links: Links) -> Iterator[bytes]:
        """Make the transactions that add orders, as they are sent."""
        hashes = [self.watermarks.key, self.definitions.key, self.keys.aside]
        for number, some in enumerate(_parts(rows, ADDED_ROWS)):
            keys = list(map(self.keys.pattern.__mod__, some["order_id"].tolist()))
            setting: list[Any] = [b"MSETNX", *keys, *keys, self.keys.aside, b"added"]
            setting[2:-2:2] = order_values(some, self.definitions.names)
            setting[1:-2:2] = keys
            sets, places = self.keys.sets_of(some, self.definitions.names)
            link = links.of(number)
            begin = _add_script.pack(hashes, [b"begin", *link], whole=number == 0)
            rest = [b"%d" % len(some), self.keys.ttl_ms, places, self.keys.id_at]
            end = _add_script.pack([*hashes, *keys, *sets], [b"end", *link, *rest])
            yield bracket(begin, pack_command(tuple(setting)), end)

    def save_call(self, rows: Records, mode: bytes, link: list[bytes]) -> tuple[list[Any], list[Any]]:
        """Return keys and arguments of the script for at most CALL_ROWS orders."""
        sets, places = self.keys.sets_of(rows, self.definitions.names)
        hashes = [self.watermarks.key, self.definitions.key]
        keys = [*hashes, *map(self.keys.pattern.__mod__, rows["order_id"].tolist()), *sets]
        head = [b"%d" % len(rows), self.keys.ttl_ms, mode, places, self.keys.id_at, self.keys.users, *link]
        return keys, head + order_values(rows, self.definitions.names)


class _Calls:
    """The calls for a batch, made as they are sent: the server works on the first while the next is encoded."""

    def __init__(self, saves: OrderSaves, rows: Records, mode: bytes, links: Links, first: int) -> None:
        self._saves, self._rows, self._mode, self._links, self._first = saves, rows, mode, links, first

    def __iter__(self) -> Iterator[tuple[list[Any], list[Any]]]:
        for number, some in enumerate(_parts(self._rows, CALL_ROWS), start=self._first):
            yield self._saves.save_call(some, self._mode, self._links.of(number))


def _calls(rows: Records) -> int:
    """Count the calls of the script for so many orders."""
    return -(-len(rows) // CALL_ROWS)


def _parts(rows: Records, size: int) -> Iterator[Records]:
    """Cut an array into parts of at most `size`."""
    for at in range(0, len(rows), size):
        yield rows[at : at + size]
