"""Recorded markets that come with the package."""

from __future__ import annotations

from pathlib import Path

from pyengine.errors import FieldError

_HERE = Path(__file__).parent

DEFAULT = "coinbase_btcusd_20180713"
"""The sample that is meant when none is named."""


def names() -> list[str]:
    """List the samples."""
    return sorted(entry.parent.name for entry in _HERE.glob("*/README.md"))


def path(name: str = DEFAULT) -> Path:
    """Find a sample.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Path
        A folder that `pyengine.replay.replay` takes.

    Raises
    ------
    FieldError
        There is no such sample.
    """
    if name not in names():
        raise FieldError("name", name, f"one of {', '.join(names())}")
    return _HERE / name
