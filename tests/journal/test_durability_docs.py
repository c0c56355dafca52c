"""What docs/durability.md refers to is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tests_that_the_document_names_exist() -> None:
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", (ROOT / "docs" / "durability.md").read_text())
    missing = [f"{path}::{name}" for path, name in named if not re.search(rf"def {name}\(", (ROOT / "tests" / path).read_text())]
    assert len(named) > 12
    assert not missing
