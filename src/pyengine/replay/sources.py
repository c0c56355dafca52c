"""Telling what form a recording has, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from pyengine.instrument import Instrument
from pyengine.replay.commands import commands_tape
from pyengine.replay.compression import bare_name
from pyengine.replay.databento import mbo_tape
from pyengine.replay.errors import ReplayError
from pyengine.replay.folder import folder_tape, is_folder
from pyengine.replay.lobster import lobster_tape
from pyengine.replay.tape import Tape
from pyengine.replay.text import csv_header

Source: TypeAlias = str | PathLike[str] | Tape
"""What can be replayed: the path of a recording, or a tape."""

FORMS: dict[str, Callable[..., Tape]] = {
    "folder": folder_tape,
    "lobster": lobster_tape,
    "mbo": mbo_tape,
    "commands": commands_tape,
}
"""The forms of recordings by name, and what opens each."""


def open_tape(
    source: Source,
    *,
    form: str | None = None,
    expected: str | PathLike[str] | None = None,
    instrument: Instrument | None = None,
) -> Tape:
    """Open a recording.

    Parameters
    ----------
    source : str, path or Tape
        A file or folder; a tape is given back as it is.
    form : str, optional
        One of `FORMS`; told from names and columns by default.
    expected : str or path, optional
        What must come out, where it isn't beside the recording: a file of trades, a book or levels, as the form has it.
    instrument : Instrument, optional
        What is traded, for a recording of one instrument that doesn't say.

    Returns
    -------
    Tape

    Raises
    ------
    ReplayError
        The file isn't there, has no known form, or is damaged.
    """
    if not isinstance(source, (str, PathLike)):
        return source
    path = Path(source)
    if not path.exists():
        raise ReplayError(path, "an existing file or folder", "missing", subject="path")
    if form is None:
        path, form = _only_one(path) if path.is_dir() else (path, _form_of_file(path))
    if form not in FORMS:
        raise ReplayError(path, f"one of {', '.join(FORMS)}", form, subject="form")
    return FORMS[form](path, expected=None if expected is None else Path(expected), instrument=instrument)


def _only_one(path: Path) -> tuple[Path, str]:
    """Take a folder as such, or as the place of a single recording."""
    if is_folder(path):
        return path, "folder"
    found = []
    for file in sorted(path.iterdir()):
        try:
            found.append((file, _form_of_file(file)))
        except ReplayError:
            continue  # a README, or the levels beside a recording
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file, _ in found[:5]) or "none"
    raise ReplayError(path, "a folder with orders or with one recording", names, subject="content")


def _form_of_file(path: Path) -> str:
    """Tell the form of a file by its name, and of a CSV file by its first line."""
    name = bare_name(path)
    if name.endswith(".dbn"):
        return "mbo"
    if name.endswith((".parquet", ".npz")):
        return "commands"
    if name.endswith((".csv", ".txt")):
        header = csv_header(path)
        if "action" in header and "bid_px_00" not in header:
            return "mbo" if "ts_event" in header else "commands"
        if len(header) == 6 and _is_number(header[0]):
            return "lobster"
    expected = "a folder, .dbn, .parquet, .npz, or CSV of commands, market-by-order records or LOBSTER messages"
    raise ReplayError(path, expected, path.name, subject="recording")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
