"""Trades in a SQLite file."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from typing import Any

from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError
from pyengine.records import Kind, Records, Side
from pyengine.stores.arguments import limit_of, symbol_of, trade_rows, whole
from pyengine.stores.interfaces import Mark, TradeStore
from pyengine.stores.sqlite.file import statements
from pyengine.stores.sqlite.store import SQLiteStore, signed

SQL = statements("trades.sql")
RECORD = struct.Struct("<7qI4B")
"""One row of TRADE_DTYPE, with signed ids."""


class SQLiteTradeStore(SQLiteStore, TradeStore):
    """Trades in a table of a SQLite file."""

    _table = "trades"
    _save = SQL["save"]

    def save(self, trade: Trade) -> bool:
        """See `TradeStore.save`."""
        return self.save_batch([trade]) == 1

    def save_batch(self, trades: Records | Iterable[Trade]) -> int:
        """See `TradeStore.save_batch`. One transaction."""
        return self._write(self._values(trades))

    def save_marked(self, records: Records | Iterable[Trade], mark: Mark) -> int:
        """See `Watermarked.save_marked`. One transaction."""
        return self._write(self._values(records), mark)

    def get(self, trade_id: int) -> Trade | None:
        """Return a trade, or None if there is none of this id."""
        number = whole("trade_id", trade_id, 1, 2**63 - 1)
        with self._file.read("get") as connection:
            found = self._select(connection, SQL["by_id"], number)
            self._counts["hits" if found else "misses"] += 1
            return found[0] if found else None

    def get_recent(self, limit: int = 100) -> list[Trade]:
        """See `TradeStore.get_recent`."""
        most = limit_of(limit)
        with self._file.read("get_recent") as connection:
            return self._select(connection, SQL["recent"], most)

    def get_between(
        self, from_ns: int, to_ns: int, *, symbol: str | None = None, after_id: int = 0, limit: int = 1000
    ) -> list[Trade]:
        """Return trades of a time range, its end not included, by rising id; the next page is that after the last id."""
        times = [whole(name, ns, -(2**63), 2**63 - 1) for name, ns in (("from_ns", from_ns), ("to_ns", to_ns))]
        start = whole("after_id", after_id, 0, 2**63 - 1)
        wanted = None if symbol is None else symbol_of(symbol, self._names)
        with self._file.read("get_between") as connection:
            return self._select(connection, SQL["between"], *times, start, wanted, limit_of(limit))

    def is_empty(self) -> bool:
        """Whether there is no trade at all."""
        return self._is_empty(SQL["is_empty"])

    def _values(self, trades: Records | Iterable[Trade]) -> list[tuple[Any, ...]]:
        """Check trades and make them parameters of the statement `save`, after keeping their instruments."""
        self._definitions.learn()
        rows = trade_rows(trades, self._names)
        self._definitions.keep(rows["instrument"].tolist())
        instruments = self._names.instruments
        values = []
        for seq, ts_ns, taker, maker, ticks, lots, trade_id, instrument, _, side, _, flags in rows.tolist():
            buyer, seller = (taker, maker) if side == Side.BUY else (maker, taker)
            decimals = (self._price(instrument, ticks), self._qty(instrument, lots))
            symbol = instruments[instrument].symbol
            ids = (trade_id, signed(buyer), signed(seller))
            values.append((*ids, *decimals, symbol, side, signed(seq), flags, ticks, lots, ts_ns))
        return values

    def _select(self, connection: sqlite3.Connection, condition: str, *parameters: Any) -> list[Trade]:
        rows = connection.execute(SQL["select"] + condition, parameters)
        return [self._trade(connection, row) for row in rows.fetchall()]

    def _trade(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> Trade:
        """Make a trade of a row, and believe nothing that contradicts itself."""
        trade_id, buyer, seller, price, quantity, symbol, side, seq, flags, ticks, lots, ts_ns = row
        instrument = self._definitions.number(connection, symbol)
        taker, maker = (buyer, seller) if side == Side.BUY else (seller, buyer)
        try:
            codes = (Kind.TRADE, side, 0, flags)
            record = RECORD.pack(seq, ts_ns, taker, maker, ticks, lots, trade_id, instrument, *codes)
            trade = trade_from_bytes(record, self._names.instruments[instrument])
            whole("trade_id", trade_id, 1, 2**63 - 1)
            whole("qty_lots", lots, 1, 2**63 - 1)
        except (FieldError, struct.error) as error:
            raise self._damaged("trade_id", trade_id, error) from error
        expected = (self._price(instrument, ticks), self._qty(instrument, lots))
        self._compare("trade_id", trade_id, price=(price, expected[0]), quantity=(quantity, expected[1]))
        return trade
