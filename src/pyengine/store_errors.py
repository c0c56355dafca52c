"""Errors of the stores.

Imported by the compiled core too, which is why they aren't inside `pyengine.stores`.
"""

from __future__ import annotations

from pyengine.errors import PyengineError


class StoreError(PyengineError):
    """A store could not do what it was asked; base of all errors that only stores raise."""


class StoreClosed(StoreError, RuntimeError):
    """The store was closed before this call."""


class StoreUnavailable(StoreError, ConnectionError):
    """No answer: the backend can't be reached, is too slow or has no room now. Trying again later may help.

    It never means "not found": that is None, or an empty list.
    """


class StoreRefused(StoreError, ValueError):
    """The backend refuses what it was given, and would refuse it again. Nothing was stored."""


class StoreDamaged(StoreError, ValueError):
    """The backend holds something that this package didn't write or that was changed: the text names the place."""


class StoreFull(StoreError, TimeoutError):
    """The ring in front of the layers had no room in time; the write was refused and nothing has changed."""


class WatermarkMoved(StoreError):
    """The watermark of a store isn't where its writer left it: the store was wiped, restored, or written by somebody else.

    Neither a refusal nor an outage: nothing was stored, and what is missing has to be written from `actual` on.

    Parameters
    ----------
    actual : int or None
        Where the watermark is; None if the store knows nothing of the journal.
    text : str, optional
        What to say of it.
    """

    def __init__(self, actual: int | None, text: str = "") -> None:
        super().__init__(text or f"watermark must be where the writer left it, was {actual}")
        self.actual = actual

    def __reduce__(self) -> tuple[type[WatermarkMoved], tuple[int | None, str]]:
        return type(self), (self.actual, str(self))


class LayerStopped(StoreError):
    """Nothing is written to a layer, as it doesn't fit the journal; the text says why, and what to do."""


class SchemaError(StoreError):
    """The database's schema isn't one that this version can work with; the text says what to do."""


class SettingsError(PyengineError, ValueError):
    """The configuration can't be used; the text lists every variable with what is wrong and what was expected."""
