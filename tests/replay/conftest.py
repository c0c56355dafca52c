"""What the tests of recordings share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyengine import Action, make_commands
from pyengine.records import Records

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of recorded markets, which aren't ours to ship."""
    if not RECORDINGS.is_dir():
        pytest.skip("the recorded markets (shared/data beside the repository) aren't on this machine")
    return RECORDINGS


@pytest.fixture
def commands() -> Records:
    """A thousand commands that rest, trade and cancel, of two instruments and two users."""
    rng = np.random.default_rng(7)
    rows = make_commands(1000)
    rows["action"] = np.where(rng.random(1000) < 0.7, Action.LIMIT, Action.CANCEL)
    rows["instrument"] = rng.integers(0, 2, 1000)
    rows["order_id"] = np.arange(1000)
    rows["ts_ns"] = 1_700_000_000_000_000_000 + np.arange(1000)
    limit = rows["action"] == Action.LIMIT
    rows["order_id"][~limit] = rng.integers(0, 1000, (~limit).sum())
    rows["side"][limit] = rng.integers(1, 3, limit.sum())
    rows["price_ticks"][limit] = rng.integers(95, 106, limit.sum())
    rows["qty_lots"][limit] = rng.integers(1, 50, limit.sum())
    rows["user"][limit] = rng.integers(0, 3, limit.sum())
    return rows
