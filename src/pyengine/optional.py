"""Libraries that only some parts of the package need."""

from __future__ import annotations

import importlib
from typing import Any

from pyengine.errors import PyengineError


class MissingExtraError(PyengineError, ImportError):
    """A library that this part of the package needs isn't installed; the text names the extra that brings it."""


def require(module: str, extra: str) -> Any:
    """Import an optional library, or say which extra brings it.

    Parameters
    ----------
    module : str
        Full name of the module, such as ``pyarrow.parquet``.
    extra : str
        Name of the extra of this package that installs it.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        The library isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        message = f"{library} must be installed for this: pip install 'pyengine[{extra}]'"
        raise MissingExtraError(message) from error
