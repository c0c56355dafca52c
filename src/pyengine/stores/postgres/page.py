"""One page of an answer that may be long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of a query, and where it goes on.

    Attributes
    ----------
    rows : list
        Orders by rising id, trades by falling id.
    next : int or None
        What to give as `after` for the next page; None after the last one.
    """

    rows: list[T]
    next: int | None

    def __iter__(self) -> Iterator[T]:
        """Go through the rows of this page."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Count the rows of this page."""
        return len(self.rows)
