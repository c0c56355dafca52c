"""The keys of an order store in Redis, and which of its sets an order belongs in."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine.records import Records, Status


class OrderKeys:
    """The keys of a store.

    Parameters
    ----------
    prefix : str
        Before every key.
    ttl_s : float
        How long an order stays after its last change.

    Attributes
    ----------
    orders, users : bytes
        What the keys of orders, and of the sets of users, begin with.
    pattern : bytes
        Makes the key of an order of its id, with `%`.
    sides : list of bytes
        The sets of open orders to buy and to sell.
    aside : bytes
        A key that is there only within a transaction.
    id_at, ttl_ms : bytes
        Where in its key an order's id begins, counted from 1, and how long orders live, as scripts are told.
    """

    def __init__(self, prefix: str, ttl_s: float) -> None:
        raw = prefix.encode()
        self.orders = raw + b"order:"
        self.users = raw + b"user_orders:"
        self.pattern = raw.replace(b"%", b"%%") + b"order:%d"
        self.sides = [raw + b"side_orders:1", raw + b"side_orders:2"]
        self.aside = raw + b"orders:aside"
        self.id_at = b"%d" % (len(self.orders) + 1)
        self.ttl_ms = b"%d" % max(1, round(ttl_s * 1000))

    def sets_of(self, rows: Records, names: Names) -> tuple[list[bytes], bytes]:
        """Return the index sets of orders, those of the sides first, and three bytes for each order that name its own."""
        users, number = _distinct(rows["user"])
        links = np.empty((len(rows), 3), np.uint8)
        # User 0, who is nobody and comes first, has no set.
        if users[0] == 0:
            users = users[1:]
        else:
            number = number + 1
        links[:, 0], links[:, 1] = number & 255, number >> 8
        links[:, 2] = np.where(rows["status"] <= Status.PARTIALLY_FILLED, rows["side"], 0)
        return [*self.sides, *(self.users + (names.users[user] or "").encode() for user in users.tolist())], links.tobytes()


def _distinct(numbers: Records) -> tuple[Any, Any]:
    """Return the different numbers in rising order, and for each of the given ones its place among them."""
    if len(numbers) == 1:
        return numbers, np.zeros(1, np.int64)
    return np.unique(numbers, return_inverse=True)
