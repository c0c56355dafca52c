"""asyncpg, which the extra `postgres` brings."""

from __future__ import annotations

from typing import Any, TypeAlias

from pyengine.optional import require

asyncpg = require("asyncpg", "postgres")

Connection: TypeAlias = Any
"""An asyncpg.Connection."""

Row: TypeAlias = Any
"""An asyncpg.Record."""
