"""The newest trades of the file store: those that wait for their lines, and the lines themselves, as of one moment."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyengine.records import TRADE_DTYPE, Records
from pyengine.store_errors import StoreError, StoreUnavailable
from pyengine.stores.file_history import Line, LogView, last_line, newest_lines
from pyengine.stores.file_meta import LogMeta
from pyengine.stores.file_writer import FileWriter


class Newest(NamedTuple):
    """The newest trades by id, and what the files are.

    Attributes
    ----------
    waiting : dict of int to record
        Rows whose lines may not be there yet.
    lines : dict of int to Line
    meta : LogMeta
    closed : list of int
        Numbers of the closed files.
    """

    waiting: dict[int, Records]
    lines: dict[int, Line]
    meta: LogMeta
    closed: list[int]


def newest_of(path: Path, writer: FileWriter | None, wanted: int) -> Newest:
    """Find the newest trades, as their writer has them or, in a process without it, the files alone.

    Raises
    ------
    StoreDamaged, StoreUnavailable
    """
    parts: list[Records] = []
    try:
        if writer is None:
            view, meta = LogView(path), LogMeta(path)
        else:
            parts, view, meta = writer.pending()
        with closing(view):
            lines = newest_lines(view, wanted, meta.late)
    except StoreError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"file store: read {path}: {error.strerror}") from error
    rows = np.concatenate([np.zeros(0, TRADE_DTYPE), *(part[-wanted:] for part in parts if wanted)])
    return Newest({int(row["trade_id"]): row for row in rows}, lines, meta, [number for number, _ in view.closed])


def last_safe_id(path: Path, writer: FileWriter | None) -> int:
    """Return the highest trade id whose line is safe, or 0.

    Raises
    ------
    StoreDamaged, StoreUnavailable
    """
    if writer is not None:
        return writer.log.safe_id
    try:
        with closing(LogView(path)) as view:
            return last_line(view, LogMeta(path).late)[1].highest
    except StoreError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"file store: read {path}: {error.strerror}") from error
