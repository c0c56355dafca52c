"""Named statements and migrations, read once from the SQL files beside this module."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import NamedTuple

_PACKAGE = resources.files("pyengine.stores.postgres")
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)
_PART = re.compile(r"\{(\w+)\}")


class Migration(NamedTuple):
    """One step of the schema: migrations/NNNN_name.sql."""

    version: int
    name: str
    sql: str


@cache
def statements(file: str) -> dict[str, str]:
    """Read a file of statements, each under a line `-- name: ...`; `{other}` stands for the statement of that name.

    A name in braces that no statement has is left for `str.format`.
    """
    parts = _NAME.split(_PACKAGE.joinpath("queries", file).read_text(encoding="utf-8"))
    found = {name: _COMMENT.sub("", text).strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {name: _expanded(text, found) for name, text in found.items()}


def _expanded(text: str, parts: dict[str, str]) -> str:
    return _PART.sub(lambda match: _expanded(parts[match[1]], parts) if match[1] in parts else match[0], text)


@cache
def migrations() -> tuple[Migration, ...]:
    """Read the steps from an empty database to today's schema, in their order."""
    folder = _PACKAGE.joinpath("migrations")
    steps = []
    for file in sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql")):
        number, _, name = file.removesuffix(".sql").partition("_")
        steps.append(Migration(int(number), name, folder.joinpath(file).read_text(encoding="utf-8")))
    assert [step.version for step in steps] == [*range(1, len(steps) + 1)]
    return tuple(steps)
