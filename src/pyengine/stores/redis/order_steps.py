"""What an order store says to Redis: every operation once, for blocking and asyncio callers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine.errors import FieldError
from pyengine.records import Records, Side
from pyengine.store_errors import StoreDamaged
from pyengine.stores.arguments import order_id_of, side_of, symbol_of, user_of, whole
from pyengine.stores.interfaces import Mark
from pyengine.stores.json_form import read_object, read_order, read_symbol
from pyengine.stores.redis.definitions import Definitions
from pyengine.stores.redis.exchange import (
    Counts,
    Exchange,
    Script,
    Steps,
    pack_command,
    parts_of,
    refuse_errors,
)
from pyengine.stores.redis.order_keys import OrderKeys
from pyengine.stores.redis.order_saves import CALL_ROWS, SAVE, OrderSaves
from pyengine.stores.redis.replies import ReplyError, code_of, store_error
from pyengine.stores.redis.watermarks import Watermarks

SCAN_ROWS = 1000
"""Ids or keys that are read at once."""

_ID = re.compile(rb"0|[1-9][0-9]{0,19}")
_remove_script = Script("remove_orders")
_prune_script = Script("prune_set")


@dataclass(frozen=True, slots=True)
class _Index:
    """An index set, and what the value of an order that belongs in it contains: `needle`, and one of `either`."""

    key: bytes
    needle: bytes
    either: tuple[bytes, bytes] = (b"", b"")


@dataclass(slots=True)
class _SweepPlace:
    """Where a sweep goes on: in the list of sets, and in the set at its head."""

    pending: list[_Index]
    cursor: bytes = b"0"
    keys_cursor: bytes = b"0"
    last_page: bool = False


class OrderSteps:
    """The operations of an order store.

    Parameters
    ----------
    names : Names or None
    prefix : str
        Before every key.
    address : str
        For messages.
    ttl_s : float
        How long an order stays after its last change.
    """

    def __init__(self, names: Names | None, prefix: str, address: str, ttl_s: float) -> None:
        raw = prefix.encode()
        self.definitions = Definitions(names, raw + b"instruments", address)
        self.watermarks = Watermarks(raw + b"watermarks:orders", address)
        self.counts = Counts("hits", "misses", "written", "stale", "removed", "pruned", "errors")
        self._address = address
        self.keys = OrderKeys(prefix, ttl_s)
        self._saves = OrderSaves(self.keys, self.definitions, self.watermarks, self.counts, address)
        self._sweep: _SweepPlace | None = None

    def save(self, orders: Records | Iterable[Order], mode: bytes = SAVE, mark: Mark | None = None) -> Steps[int]:
        """Save in one of three modes, and move the watermark with the last of the orders; return how many were stored."""
        return self._saves.save(orders, mode, mark)

    def get(self, order_id: int) -> Steps[Order | None]:
        """Read one order."""
        order_id = order_id_of(order_id)
        key = self.keys.pattern % order_id
        what = f"get of order {order_id}"
        (value,) = yield Exchange(what, [pack_command((b"GET", key))])
        if isinstance(value, ReplyError):
            raise self._damage(value, what, key) from value
        if value is None:
            self.counts.add("misses")
            return None
        (order,) = yield from self._orders_of({order_id: value}, what)
        self.counts.add("hits")
        return order

    def remove(self, order_ids: Iterable[int]) -> Steps[int]:
        """Forget orders and return how many there were."""
        ids = list(dict.fromkeys(map(order_id_of, order_ids)))
        if not ids:
            return 0
        what = f"removal of order {ids[0]}" if len(ids) == 1 else f"removal of {len(ids)} orders"
        calls = [
            (
                [*map(self.keys.pattern.__mod__, some), *self.keys.sides],
                [b"%d" % len(some), self.keys.id_at, self.keys.users],
            )
            for some in parts_of(ids, CALL_ROWS)
        ]
        replies = yield from _remove_script.call(what, calls)
        refuse_errors(replies, what, self._address)
        self.counts.add("removed", sum(replies))
        return sum(replies)

    def get_all(self) -> Steps[list[Order]]:
        """Read every order, by id."""
        found: dict[int, Order] = {}
        pattern = _escaped(self.keys.orders) + b"*"
        cursor = b"0"
        while True:
            scan = pack_command((b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_ROWS))
            (reply,) = yield Exchange("get_all", [scan])
            refuse_errors([reply], "get_all", self._address)
            cursor, keys = reply
            ids = [key[len(self.keys.orders) :] for key in keys]
            for order in (yield from self._read([i for i in ids if _ID.fullmatch(i)], "get_all"))[0]:
                found[order.order_id] = order
            if cursor == b"0":
                return [found[order_id] for order_id in sorted(found)]

    def get_by_user(self, user: str | int) -> Steps[list[Order]]:
        """Read a user's orders, by id."""
        user = user_of(user, self.definitions.names) or ""
        if not user:
            return []
        orders = yield from self._indexed(self._user_index(user), f"orders of user {user}", lambda order: order.user == user)
        return sorted(orders, key=lambda order: order.order_id)

    def get_by_side(self, side: Side | int | str, symbol: str | int | None) -> Steps[list[Order]]:
        """Read the open orders of a side in price-time order."""
        side = side_of(side)
        if symbol is not None:
            symbol = symbol_of(symbol, self.definitions.names)
            if symbol is None:
                return []
        what = f"orders of side {side.name.lower()}"
        orders = yield from self._indexed(self._side_index(side), what, lambda order: order.is_open and order.side == side)
        sign = -1 if side == Side.BUY else 1
        rank = self.definitions.rank
        return sorted(
            (order for order in orders if symbol is None or order.symbol == symbol),
            key=lambda o: (rank(o.symbol or ""), sign * o.price_ticks, o.entered, o.created_ns, o.order_id),
        )

    def is_empty(self) -> Steps[bool]:
        """Whether there is no order at all."""
        cursor = b"0"
        while True:
            scan = pack_command((b"SCAN", cursor, b"MATCH", _escaped(self.keys.orders) + b"*", b"COUNT", b"%d" % SCAN_ROWS))
            (reply,) = yield Exchange("is_empty", [scan])
            refuse_errors([reply], "is_empty", self._address)
            cursor, keys = reply
            if keys or cursor == b"0":
                return not keys

    def clear(self) -> Steps[None]:
        """Forget all orders and their sets, and the watermarks."""
        replies = yield Exchange("clear", [pack_command((b"DEL", self.watermarks.key, *self.keys.sides))], write=True)
        refuse_errors(replies, "clear", self._address)
        for prefix in (self.keys.orders, self.keys.users):
            cursor = b""
            while cursor != b"0":
                scan = (b"SCAN", cursor or b"0", b"MATCH", _escaped(prefix) + b"*", b"COUNT", b"%d" % SCAN_ROWS)
                (reply,) = yield Exchange("clear", [pack_command(scan)])
                refuse_errors([reply], "clear", self._address)
                cursor, found = reply
                if found:
                    replies = yield Exchange("clear", [pack_command((b"UNLINK", *found))], write=True)
                    refuse_errors(replies, "clear", self._address)
        # Once more: whoever wrote meanwhile, and moved it, may have lost what he wrote.
        replies = yield Exchange("clear", [pack_command((b"DEL", self.watermarks.key))], write=True)
        refuse_errors(replies, "clear", self._address)

    def sweep(self, limit: int) -> Steps[int]:
        """Look at up to `limit` ids in the index sets, from where the last sweep stopped, and take the dead ones out."""
        limit = whole("limit", limit, 1, 2**63 - 1)
        place = self._sweep or _SweepPlace([self._side_index(Side.BUY), self._side_index(Side.SELL)])
        self._sweep = None
        looked = removed = 0
        while looked < limit:
            if place.pending:
                count = b"%d" % min(SCAN_ROWS, limit - looked)
                index = place.pending[0]
                (reply,) = yield Exchange("sweep", [pack_command((b"SSCAN", index.key, place.cursor, b"COUNT", count))])
                # A key that holds something else is nobody's index.
                if not isinstance(reply, ReplyError) or code_of(reply) != "WRONGTYPE":
                    refuse_errors([reply], "sweep", self._address)
                    place.cursor, ids = reply
                    removed += yield from self._prune(index, ids)
                    looked += len(ids)
                if place.cursor == b"0":
                    place.pending.pop(0)
            elif place.last_page:
                return removed
            else:
                yield from self._more_sets(place)
            looked += 1
        self._sweep = place
        return removed

    def _more_sets(self, place: _SweepPlace) -> Steps[None]:
        """List some more sets of users."""
        scan = pack_command((b"SCAN", place.keys_cursor, b"MATCH", _escaped(self.keys.users) + b"*", b"COUNT", b"%d" % SCAN_ROWS))
        (reply,) = yield Exchange("sweep", [scan])
        refuse_errors([reply], "sweep", self._address)
        place.keys_cursor, keys = reply
        place.last_page = place.keys_cursor == b"0"
        place.pending += [self._user_index(key[len(self.keys.users) :].decode(errors="replace"), key) for key in keys]

    def _indexed(self, index: _Index, what: str, belongs: Any) -> Steps[list[Order]]:
        """Read the orders that a set names, and take out of it what doesn't belong there."""
        found: dict[int, Order] = {}
        dead: list[bytes] = []
        cursor = b"0"
        while True:
            (reply,) = yield Exchange(what, [pack_command((b"SSCAN", index.key, cursor, b"COUNT", b"%d" % SCAN_ROWS))])
            if isinstance(reply, ReplyError):
                raise self._damage(reply, what, index.key) from reply
            cursor, ids = reply
            for some in parts_of(ids, SCAN_ROWS):
                orders, missing = yield from self._read([i for i in some if _ID.fullmatch(i)], what)
                dead += missing + [i for i in some if not _ID.fullmatch(i)]
                for order in orders:
                    if belongs(order):
                        found[order.order_id] = order
                    else:
                        dead.append(b"%d" % order.order_id)
            if cursor == b"0":
                break
        if dead:
            yield from self._prune(index, dead, tidy=True)
        return list(found.values())

    def _prune(self, index: _Index, ids: Sequence[bytes], *, tidy: bool = False) -> Steps[int]:
        """Take ids out of a set unless they belong there now; while tidying up behind a read, a refusal is no error."""
        calls = [([index.key], [self.keys.orders, index.needle, *index.either, *some]) for some in parts_of(ids, SCAN_ROWS)]
        replies = yield from _prune_script.call("prune", calls, write=False)
        if tidy:
            replies = [reply for reply in replies if not isinstance(reply, ReplyError)]
        refuse_errors(replies, "prune", self._address)
        self.counts.add("pruned", sum(replies))
        return sum(replies)

    def _read(self, ids: Sequence[bytes], what: str) -> Steps[tuple[list[Order], list[bytes]]]:
        """Read orders by id; return them, and the ids of which there is none."""
        if not ids:
            return [], []
        (values,) = yield Exchange(what, [pack_command((b"MGET", *(self.keys.orders + i for i in ids)))])
        refuse_errors([values], what, self._address)
        present = {int(i): value for i, value in zip(ids, values, strict=True) if value is not None}
        orders = yield from self._orders_of(present, what)
        return orders, [i for i, value in zip(ids, values, strict=True) if value is None]

    def _orders_of(self, values: dict[int, bytes], what: str) -> Steps[list[Order]]:
        """Make orders of values, by id."""
        read = []
        for order_id, value in values.items():
            place = self._place(self.keys.pattern % order_id)
            fields = read_object(value, place)
            read.append((order_id, place, fields, read_symbol(fields, place)))
        instruments = yield from self.definitions.read((symbol for _, _, _, symbol in read), what)
        orders = []
        for order_id, place, fields, symbol in read:
            order = self.definitions.numbered(read_order(fields, instruments[symbol], place))
            if order.order_id != order_id:
                raise StoreDamaged(f"{place}: {FieldError('order_id', order.order_id, str(order_id))}")
            orders.append(order)
        return orders

    def _user_index(self, user: str, key: bytes | None = None) -> _Index:
        return _Index(key or self.keys.users + user.encode(), b'"user_id":%b,' % json.dumps(user, ensure_ascii=False).encode())

    def _side_index(self, side: Side) -> _Index:
        return _Index(self.keys.sides[side - 1], b',"side":%d,' % side, (b',"status":1,', b',"status":2,'))

    def _damage(self, reply: Any, what: str, key: bytes) -> Exception:
        """Make an error of a reply; a key that holds something else is damage."""
        if code_of(reply) == "WRONGTYPE":
            return StoreDamaged(f"{self._place(key)}: must be of the type that this package writes, was another")
        return store_error(reply, what, self._address)

    def _place(self, key: bytes) -> str:
        return f"redis at {self._address}, key {key.decode(errors='replace')}"


def _escaped(text: bytes) -> bytes:
    """Take the meaning out of the characters that a pattern of keys gives one."""
    return re.sub(rb"([\\*?\[\]^-])", rb"\\\1", text)
