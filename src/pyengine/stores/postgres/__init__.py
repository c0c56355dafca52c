"""Orders and trades in PostgreSQL."""

from pyengine.stores.postgres.anchor import PostgresAnchor
from pyengine.stores.postgres.orders import PostgresOrderStore
from pyengine.stores.postgres.page import Page
from pyengine.stores.postgres.pool import PostgresPool
from pyengine.stores.postgres.trades import PostgresTradeStore

__all__ = ["Page", "PostgresAnchor", "PostgresOrderStore", "PostgresPool", "PostgresTradeStore"]
