"""The fuzzer for a moment, without sanitizers; `make fuzz` runs it for long and with them."""

from __future__ import annotations

from fuzz import fuzz


def test_raw_command_bytes_break_nothing_and_the_seed_repeats_a_run() -> None:
    assert fuzz(60_000, seed=23, quiet=True) == fuzz(60_000, seed=23, quiet=True)
