"""What the commands that need the configuration have in common: reading it, or saying why it can't be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from pyengine.env_file import DEFAULT
from pyengine.optional import MissingExtraError
from pyengine.store_errors import SettingsError

if TYPE_CHECKING:
    from pyengine.settings import Settings

UNUSABLE = 2
_PIPE_WIDTH = 1_000

env_file_option: Callable[[Any], Any] = click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="File of NAME=value lines; the environment counts before it.",
)


def settings_or_exit(context: click.Context, env_file: Path) -> Settings:
    """Read the configuration; print what is wrong with it and exit with 2 if it can't be used."""
    try:
        from pyengine.settings import Settings

        return Settings.load(env_file=str(env_file))
    except (MissingExtraError, SettingsError) as error:
        print_error(str(error))
        context.exit(UNUSABLE)


def wide_console() -> Console:
    """Make a console for tables; into a file or a pipe, lines are as long as they need to be."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def print_error(text: str) -> None:
    """Print an error as it is: what stands in brackets is no markup, and no line is cut."""
    console = Console(stderr=True)
    console.print("[red]error:[/]", end=" ")
    console.print(text, highlight=False, markup=False, soft_wrap=True)
