"""Orders in a SQLite file: the durable store for who has no server, and the model of a store of one's own."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from pyengine._core.order import Order, order_from_bytes
from pyengine.errors import FieldError
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import Action, Records, Side
from pyengine.stores.arguments import order_id_of, order_rows, side_of, symbol_of, user_of, whole
from pyengine.stores.interfaces import Mark, OrderStore
from pyengine.stores.sqlite.file import statements
from pyengine.stores.sqlite.store import SQLiteStore, signed

SQL = statements("orders.sql")
RECORD = struct.Struct("<9q2I6BHq")
SIGNED_DTYPE = np.dtype([(name, ORDER_RECORD_DTYPE[name].str.replace("u8", "i8")) for name in ORDER_RECORD_DTYPE.names or ()])
"""ORDER_RECORD_DTYPE with signed ids and versions; RECORD is the same bytes for one row."""


class SQLiteOrderStore(SQLiteStore, OrderStore):
    """Orders in a table of a SQLite file."""

    _table = "orders"
    _save = SQL["save"]

    def save(self, order: Order) -> bool:
        """See `OrderStore.save`."""
        return self.save_batch([order]) == 1

    def save_batch(self, orders: Records | Iterable[Order]) -> int:
        """See `OrderStore.save_batch`. One transaction."""
        return self._write(self._values(orders))

    def save_marked(self, records: Records | Iterable[Order], mark: Mark) -> int:
        """See `Watermarked.save_marked`. One transaction."""
        return self._write(self._values(records), mark)

    def update(self, order: Order) -> bool:
        """See `OrderStore.update`."""
        [values] = self._values([order])
        with self._file.write("update") as connection:
            if connection.execute(SQL["exists"], values[:1]).fetchone() is None:
                return False
            stored = connection.execute(SQL["save"], values).rowcount
            self._counts["written"] += stored
            return stored == 1

    def get(self, order_id: int) -> Order | None:
        """See `OrderStore.get`."""
        number = signed(order_id_of(order_id))
        with self._file.read("get") as connection:
            found = self._select(connection, SQL["by_id"], number)
            self._counts["hits" if found else "misses"] += 1
            return found[0] if found else None

    def remove(self, order_id: int) -> bool:
        """See `OrderStore.remove`."""
        return self.remove_batch([order_id]) == 1

    def remove_batch(self, order_ids: Iterable[int]) -> int:
        """See `OrderStore.remove_batch`. One transaction."""
        values = [(signed(order_id_of(order_id)),) for order_id in order_ids]
        with self._file.write("remove") as connection:
            removed = connection.executemany(SQL["remove"], values).rowcount if values else 0
            self._counts["removed"] += removed
            return removed

    def remove_finished(self, *, older_than_ns: int) -> int:
        """Forget orders that were filled or cancelled before a time, and return how many. O(all orders)."""
        before = whole("older_than_ns", older_than_ns, -(2**63), 2**63 - 1)
        with self._file.write("remove_finished") as connection:
            removed = connection.execute(SQL["remove_finished"], (before,)).rowcount
            self._counts["removed"] += removed
            return removed

    def get_all(self) -> list[Order]:
        """See `OrderStore.get_all`."""
        with self._file.read("get_all") as connection:
            return self._select(connection, SQL["all"])

    def get_by_user(self, user: str) -> list[Order]:
        """See `OrderStore.get_by_user`."""
        name = user_of(user, self._names)
        with self._file.read("get_by_user") as connection:
            return [] if name is None else self._select(connection, SQL["of_user"], name)

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        """See `OrderStore.get_by_side`."""
        self._definitions.learn()
        order = SQL["bids" if side_of(side) == Side.BUY else "asks"]
        wanted = None if symbol is None else symbol_of(symbol, self._names)
        with self._file.read("get_by_side") as connection:
            if symbol is not None and wanted is None:
                return []
            found = self._select(connection, order, wanted)
        return sorted(found, key=lambda order: order.instrument_index)

    def is_empty(self) -> bool:
        """Whether there is no order at all."""
        return self._is_empty(SQL["is_empty"])

    def _values(self, orders: Records | Iterable[Order]) -> list[tuple[Any, ...]]:
        """Check orders and make them parameters of the statement `save`, after keeping their instruments."""
        self._definitions.learn()
        rows = order_rows(orders, self._names)
        self._definitions.keep(rows["instrument"].tolist())
        instruments, users = self._names.instruments, self._names.users
        values = []
        for *numbers, instrument, user, side, order_type, tif, status, flags, stp, _, entered in rows.view(SIGNED_DTYPE).tolist():
            names = (instruments[instrument].symbol, users[user] or "")
            price = None if order_type == Action.MARKET else self._price(instrument, numbers[1])
            decimals = (price, self._qty(instrument, numbers[2]), self._qty(instrument, numbers[3]))
            values.append((*numbers, *names, side, order_type, tif, status, flags, stp, entered, *decimals))
        return values

    def _select(self, connection: sqlite3.Connection, condition: str, *parameters: Any) -> list[Order]:
        rows = connection.execute(SQL["select"] + condition, parameters)
        return [self._order(connection, row) for row in rows.fetchall()]

    def _order(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> Order:
        """Make an order of a row, and believe nothing that contradicts itself."""
        *numbers, symbol, user, side, order_type, tif, status, flags, stp, entered, price, size, remaining = row
        instrument = self._definitions.number(connection, symbol)
        try:
            user_number = self._names.add_user(user) if user else 0
            codes = (side, order_type, tif, status, flags, stp, 0)
            record = RECORD.pack(*numbers, instrument, user_number, *codes, entered)
            order = order_from_bytes(record, user or None, self._names.instruments[instrument])
        except (FieldError, struct.error) as error:
            raise self._damaged("order_id", numbers[0] % 2**64, error) from error
        self._compare(
            "order_id",
            numbers[0] % 2**64,
            price=(price, None if order_type == Action.MARKET else self._price(instrument, numbers[1])),
            size=(size, self._qty(instrument, numbers[2])),
            remaining=(remaining, self._qty(instrument, numbers[3])),
        )
        return order
