"""Fixtures of the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_runs import folder_in_memory


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """Make a folder in which thousands of syncs take no time."""
    with folder_in_memory() as path:
        yield path
