"""From what asyncpg and the operating system raise to the errors of stores."""

from __future__ import annotations

from pyengine.store_errors import SchemaError, StoreDamaged, StoreError, StoreRefused, StoreUnavailable
from pyengine.stores.postgres.driver import asyncpg

DRIVER_ERRORS: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that a call of asyncpg raises on purpose; OSError includes timeouts and TLS."""

_KINDS: dict[str, tuple[type[StoreError], str]] = {
    "22": (StoreRefused, ""),
    "23": (StoreRefused, ""),
    "25006": (StoreUnavailable, "the server is read-only"),
    "28": (StoreUnavailable, "the server refuses the login, check user and password"),
    "3D000": (StoreUnavailable, "the database must be created first"),
    "42": (SchemaError, "the tables must be as the migrations make them"),
    "42501": (StoreUnavailable, "the user lacks a privilege"),
    "53100": (StoreUnavailable, "the server's disk is full"),
    "53300": (StoreUnavailable, "the server has no connection free"),
    "57014": (StoreUnavailable, "the statement took too long"),
    "XX001": (StoreDamaged, "the server's files are damaged"),
    "XX002": (StoreDamaged, "the server's files are damaged"),
}
"""By SQLSTATE or its class; all others are StoreUnavailable."""

_LOST_STATES = frozenset({"08000", "08003", "08006", "57P01", "57P02", "57P05"})
_PASSING_STATES = _LOST_STATES | {"40001", "40P01", "0A000"}
"""SQLSTATEs after which the same call may work at once: its connection was lost, or a race, or a cached plan went stale."""


def translated(error: BaseException, operation: str, address: str) -> StoreError:
    """Make the error of a store; raise it from the cause.

    Parameters
    ----------
    error : Exception
        One of DRIVER_ERRORS.
    operation : str
        What the caller wanted.
    address : str
        Where the database is.
    """
    place = f"postgres {address}: {operation} failed"
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        kind, hint = _KINDS.get(state) or _KINDS.get(state[:2]) or (StoreUnavailable, "")
        reason = f"{hint}: {error}" if hint else str(error)
        return kind(f"{place}: {reason}")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{place}: the server didn't answer in time")
    return StoreUnavailable(f"{place}: {error or type(error).__name__}")


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and with it what was under way; others are probably gone too."""
    if isinstance(error, asyncpg.PostgresError):
        return getattr(error, "sqlstate", None) in _LOST_STATES
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, asyncpg.ClientConfigurationError)
    return isinstance(error, (ConnectionResetError, BrokenPipeError, ConnectionAbortedError))


def may_pass(error: BaseException) -> bool:
    """Whether to try once more at once: everything that stores do may be done twice."""
    return is_lost(error) or (isinstance(error, asyncpg.PostgresError) and getattr(error, "sqlstate", None) in _PASSING_STATES)
