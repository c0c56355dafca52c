"""The examples of docs/replay.md do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyengine.records import Records
from pyengine.replay import write_commands

PAGE = Path(__file__).parents[2] / "docs" / "replay.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs_and_prints_what_it_says(tmp_path: Path, commands: Records, number: int) -> None:
    for day in ("monday", "tuesday"):
        write_commands(tmp_path / f"{day}.parquet", commands)
    (tmp_path / "example.py").write_text(EXAMPLES[number])
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^print.*# (.*)$", EXAMPLES[number], re.MULTILINE)
    assert done.stdout.splitlines() == said


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2
