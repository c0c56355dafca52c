"""Fixtures that several folders share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from pyengine import Engine, Instrument

if TYPE_CHECKING:
    from pyengine import Book

# One example may take long on a busy machine; what is slow shows in the durations, not as a flaky failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Find the recorded markets that lie beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the recorded markets aren't here: {folder} is no folder")
    return folder


@pytest.fixture
def engine() -> Engine:
    """Make an engine with two books."""
    return Engine([Instrument("BTC-USD"), Instrument("ETH-USD")])


@pytest.fixture
def book(engine: Engine) -> Book:
    """Give out the first book."""
    return engine.book("BTC-USD")
