"""Read variables from a file of NAME=value lines, `.env`."""

from __future__ import annotations

from pathlib import Path

from dotenv.parser import parse_stream

DEFAULT = ".env"
"""The file that is read when none is named, if it is there."""


def read_env_file(path: Path | str) -> tuple[dict[str, str], list[str]]:
    """Read the variables of a file.

    Values mean what stands there: nothing is put in for `${NAME}`, because passwords may look like that. Quotes around a value
    and comments behind it, after a blank, are no part of it.

    Parameters
    ----------
    path : Path or str
        A file that isn't there is an empty one if it is the default.

    Returns
    -------
    variables : dict of str to str
        Of a name that comes twice the last one.
    faults : list of str
        One for each line that isn't NAME=value. What stands in such a line isn't repeated: it may be a secret.
    """
    variables: dict[str, str] = {}
    faults: list[str] = []
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                if binding.key is None and not binding.error:
                    continue
                if binding.error or binding.key is None or binding.value is None:
                    faults.append(f"{path} line {_line(binding.original.string, binding.original.line)} must be NAME=value")
                    continue
                variables[binding.key] = binding.value
    except FileNotFoundError:
        if str(path) != DEFAULT:
            faults.append(f"{path} must be a file, was not there")
    except UnicodeDecodeError as error:
        faults.append(f"{path} must be UTF-8, was not at byte {error.start}")
    except OSError as error:
        faults.append(f"{path} must be a file that can be read, was not: {error.strerror}")
    return variables, faults


def _line(text: str, first: int) -> int:
    """Find the line that is meant: empty ones before it belong to a statement."""
    return first + len(text[: len(text) - len(text.lstrip())].splitlines())
