"""Puts a log of trades aside, with all that belongs to it, so that it can be written anew. Nothing is deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyengine.store_errors import StoreUnavailable
from pyengine.stores.file_hold import FileHold


def put_aside(path: Path) -> Path | None:
    """Move a log, the files that were closed before it, and what stands beside them, into a folder beside it.

    Parameters
    ----------
    path : Path
        The file that is written to.

    Returns
    -------
    Path or None
        The folder; None if there was nothing to move.

    Raises
    ------
    StoreUnavailable
        Somebody is writing to it, or it can't be moved.
    """
    try:
        hold = FileHold(path)
    except OSError as error:
        raise StoreUnavailable(f"file store: put aside {path}: {error.strerror or error}") from error
    try:
        found = [each for each in (path, *path.parent.glob(f"{path.name}.*")) if each.is_file() and each != hold.path]
        if not found:
            return None
        folder = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        folder.mkdir()
        # The log itself goes last: whoever is interrupted does it again.
        for each in sorted(found, key=lambda one: one == path):
            each.rename(folder / each.name)
    except OSError as error:
        raise StoreUnavailable(f"file store: put aside {path}: {error.strerror or error}") from error
    finally:
        hold.release()
    return folder
