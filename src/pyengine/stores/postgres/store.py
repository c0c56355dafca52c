"""What the order store and the trade store have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from pyengine._core.names import Names
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed
from pyengine.stores.interfaces import Flushed, StoreStats
from pyengine.stores.postgres.calls import Call, Calls
from pyengine.stores.postgres.pool import PoolOptions, PostgresPool

T = TypeVar("T")
C = TypeVar("C", bound=Calls)


class PostgresStore(Generic[C]):
    """A store in a PostgreSQL database.

    Parameters
    ----------
    url : str, optional
        Of the database.
    pool : PostgresPool, optional
        One that is there already, instead of an address; it stays open when the store is closed.
    names : Names, optional
        What the numbers of users and instruments in arrays mean. Default: numbers of its own.
    **options
        As of `PostgresPool`.

    Raises
    ------
    FieldTypeError, FieldError
        If a parameter can't be.
    StoreUnavailable, SchemaError
        As of `PostgresPool`.
    """

    name = "postgres"
    _calls_type: Callable[..., C]

    def __init__(
        self,
        url: str | None = None,
        *,
        pool: PostgresPool | None = None,
        names: Names | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        if pool is not None and not isinstance(pool, PostgresPool):
            raise FieldTypeError("pool", pool, "a PostgresPool or None")
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        if pool is not None and (url is not None or options):
            raise FieldError("pool", pool, "None when an address is given")
        self._owns_pool = pool is None
        self._pool = PostgresPool(url, **options) if pool is None else pool
        self._closed = False
        self._errors = 0
        self._calls = self._calls_type(self._place, Names() if names is None else names)

    @property
    def _place(self) -> str:
        return f"postgres {self._pool.address}"

    @property
    def pool(self) -> PostgresPool:
        """The connections, which other stores may share."""
        return self._pool

    @property
    def names(self) -> Names:
        """What the numbers of users and instruments in arrays mean."""
        return self._calls.names

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._closed

    def attach_names(self, names: Names) -> None:
        """Use somebody else's numbers, before any of its own were given; nothing is ever added to them.

        Raises
        ------
        FieldTypeError, FieldError
            If they aren't Names, or the store has used others.
        """
        if not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names")
        own = self.names
        if names is not own and (self._calls.definitions.lent or own.instruments or len(own.users) > 1):
            raise FieldError("names", names, "given before the store was used")
        self._calls = self._calls_type(self._place, names, lent=True)

    def watermark(self, journal: str) -> int | None:
        """See `Watermarked.watermark`."""
        return self.run(self._calls.watermark(journal))

    def forget_watermark(self, journal: str) -> None:
        """See `Watermarked.forget_watermark`."""
        self.run(self._calls.forget_watermark(journal))

    def clear(self) -> None:
        """See `Clearable.clear`. One transaction, which waits for others to end and keeps them waiting."""
        self.run(self._calls.clear())

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:  # noqa: ARG002
        """See `OrderStore.flush`. A write is committed when it returns, so there is nothing to wait for."""
        self._refuse_closed()
        return Flushed(done=(self.name,)) if layers is None or self.name in layers else Flushed()

    def stats(self) -> StoreStats:
        """See `OrderStore.stats`."""
        counts = {**self._calls.counts, "errors": self._errors, "retries": self._pool.retries}
        return StoreStats(self.name, counts, self._pool.gauges)

    def close(self) -> None:
        """See `OrderStore.close`."""
        self._closed = True
        if self._owns_pool:
            self._pool.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the caller's loop."""
        self._closed = True
        if self._owns_pool:
            await self._pool.aclose()

    def run(self, call: Call[T]) -> T:
        """Do one of the store's calls and wait for it."""
        self._refuse_closed()
        try:
            return call.finish(self._pool.run(call.operation, call.work, bounded=call.bounded))
        except Exception:
            self._errors += 1
            raise

    async def arun(self, make: Callable[..., Call[T]], *arguments: Any, **options: Any) -> T:
        """Make one of the store's calls and await it."""
        self._refuse_closed()
        given = arguments[0] if arguments else None
        # Checking many rows, and making many objects, is for another thread than that of the caller's loop.
        large = given is not None and not isinstance(given, (str, int)) and hasattr(given, "__len__")
        call = await asyncio.to_thread(make, *arguments, **options) if large else make(*arguments, **options)
        try:
            answer = await self._pool.arun(call.operation, call.work, bounded=call.bounded)
            if isinstance(answer, list) and len(answer) > _FEW_ROWS:
                return await asyncio.to_thread(call.finish, answer)
            return call.finish(answer)
        except Exception:
            self._errors += 1
            raise

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self._place}: the store was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._pool.address}{', closed' if self._closed else ''}>"


_FEW_ROWS = 100
