"""The example that `make run` ends with: a market in two lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kill_and_recover.py"


def test_a_market_that_was_killed_half_way_comes_out_as_recorded() -> None:
    done = subprocess.run([sys.executable, EXAMPLE, "--seed", "5"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "501 of 501 trades identical" in done.stdout
    assert "66,833 of 66,833 orders identical" in done.stdout
