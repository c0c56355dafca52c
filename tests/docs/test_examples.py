"""Every Python example of the documents runs, and prints what its comments say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Collect the Python blocks of README and docs, each with a name."""
    found = []
    # The replays have a test of their own, because their examples need files.
    documents = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "replay.md"]
    for path in [ROOT / "README.md", *documents]:
        for number, block in enumerate(BLOCK.findall(path.read_text()), start=1):
            found.append((f"{path.name}-{number}", block))
    return found


def expected_lines(block: str) -> list[str]:
    """Return the comments that follow a print: what it shows."""
    return [line.strip()[2:] for line in block.splitlines() if line.strip().startswith("# ")]


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in examples()])
def test_example_prints_what_it_says(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(block, "example", "exec"), {"__name__": "example"})
    assert shown.getvalue().splitlines() == expected_lines(block)


def test_readme_has_examples() -> None:
    assert len([name for name, _ in examples() if name.startswith("README")]) >= 3


def test_the_tests_that_the_stores_document_names_exist() -> None:
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", (ROOT / "docs" / "stores.md").read_text())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"def {name}\(", (ROOT / "tests" / "stores" / path).resolve().read_text())
    ]
    assert len(named) > 40
    assert not missing
