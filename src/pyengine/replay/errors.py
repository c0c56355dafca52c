"""What a recording can have wrong."""

from __future__ import annotations

from os import PathLike, fspath

from pyengine.errors import PyengineError

_MAX_SHOWN = 80


class ReplayError(PyengineError, ValueError):
    """A recording is corrupt, incomplete or not what its form says; nothing of it was replayed from there on.

    Parameters
    ----------
    path : str or path
        The file.
    expected : str
        What would have been accepted.
    found : str
        What was there instead.
    row : int, optional
        Number of the row, the first one after the header being 1.
    column : str, optional
        Name of the column.
    subject : str, optional
        What the complaint is about when it is neither a row nor a column.

    Notes
    -----
    The text reads ``FILE: row 17, column price must be a whole number, was '12x'``.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        expected: str,
        found: str,
        *,
        row: int | None = None,
        column: str | None = None,
        subject: str = "content",
    ) -> None:
        self.path = fspath(path)
        self.expected = expected
        self.found = found
        self.row = row
        self.column = column
        self.subject = subject
        places = [f"row {row}"] if row is not None else []
        places += [f"column {column}"] if column is not None else []
        super().__init__(f"{self.path}: {', '.join(places) or subject} must be {expected}, was {found}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the parts, as worker processes hand errors back."""
        return _rebuild, (self.path, self.expected, self.found, self.row, self.column, self.subject)


def _rebuild(path: str, expected: str, found: str, row: int | None, column: str | None, subject: str) -> ReplayError:
    """Make the error again in another process."""
    return ReplayError(path, expected, found, row=row, column=column, subject=subject)


def shown(value: object) -> str:
    """Show what was found, cut to a bounded length."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    shown_text = repr(text)
    return shown_text if len(shown_text) <= _MAX_SHOWN else shown_text[:_MAX_SHOWN] + "…"
