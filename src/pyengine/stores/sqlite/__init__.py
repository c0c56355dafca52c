"""Orders and trades in a SQLite file."""

from pyengine.stores.sqlite.orders import SQLiteOrderStore
from pyengine.stores.sqlite.trades import SQLiteTradeStore

__all__ = ["SQLiteOrderStore", "SQLiteTradeStore"]
