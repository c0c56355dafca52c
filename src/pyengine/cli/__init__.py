"""The command line, `pyengine`. This door needs only the base install; what is behind it needs the extra `cli`."""

from __future__ import annotations

import sys

from pyengine.optional import MissingExtraError, require


def main() -> None:
    """Run the command line on the arguments of the process.

    Raises
    ------
    SystemExit
        Always: 0 done, 1 a difference was found, 2 the input can't be used.
    """
    try:
        for library in ("click", "rich"):
            require(library, "cli")
    except MissingExtraError as error:
        print(f"pyengine: {error}", file=sys.stderr)  # noqa: T201  this is the command line
        raise SystemExit(2) from None
    from pyengine.cli.commands import commands

    commands(prog_name="pyengine")
