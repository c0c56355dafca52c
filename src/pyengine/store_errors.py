"""Errors of the stores."""

from __future__ import annotations

from pyengine.errors import PyengineError


class StoreError(PyengineError):
    """A store could not do what it was asked; base of all errors that only stores raise."""


class StoreClosed(StoreError, RuntimeError):
    """The store was closed before this call."""
