"""The schema in PostgreSQL as older releases made it, and rows of theirs."""

from __future__ import annotations

from stores.servers import run_sql

from pyengine.stores.postgres.migrate import SQL
from pyengine.stores.postgres.statements import migrations

NEWEST = len(migrations())

FIRST_ROWS = """
INSERT INTO orders (order_id, user_id, symbol, order_type, side, price, size, created_at, updated_at) VALUES
    (1, 'alice', 'BTC-USD', 2, 1, 100.5, 10, '2025-01-15T10:30:45.123456Z', '2025-01-15T10:30:46Z'),
    (2, 'bob', 'BTC-USD', 1, 2, 0, 2147483647, '2025-01-15T10:30:45Z', NULL),
    (3, 'bob', 'ETH-USD', NULL, 2, 9999999999.99999999, 7, NULL, NULL),
    (4, 'bob', 'ETH-USD', NULL, 2, NULL, 7, 'infinity', '0044-03-15 BC');
INSERT INTO trades (buy_order_id, sell_order_id, price, quantity, timestamp) VALUES
    (1, 2, 100.5, 10, '2025-01-15T10:30:45.123Z'),
    (77, 3, 0.00000001, 3, '1969-12-31T23:59:59.999999Z'),
    (98, 99, 101, 5, '-infinity');
"""
"""What another program has left in the first tables: no fills, no grid, and whatever its columns let in."""


def at_version(url: str, version: int, *, journal: bool = True) -> None:
    """Make the schema of an older release."""
    if journal and version:
        run_sql(url, SQL["create_journal"])
    for step in migrations()[:version]:
        run_sql(url, step.sql)
        if journal:
            run_sql(url, SQL["record"], step.version, step.name)


def versions(url: str) -> list[int]:
    return [row[0] for row in run_sql(url, "SELECT version FROM schema_migrations ORDER BY version")]
