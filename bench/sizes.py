"""How much is measured: all of it, or as much as a quick look needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of commands, orders and rounds."""

    flow_commands: int
    array_rounds: int
    call_commands: int
    call_rounds: int
    latency_commands: int
    paced_seconds: float
    deep_orders: int
    deep_commands: int
    deep_rounds: int
    memory_orders: tuple[int, ...]
    store_orders: int
    store_rounds: int
    day_repeats: int
    day_rounds: int
    state_orders: int
    state_rounds: int
    peer_commands: int
    peer_rounds: int
    peer_timeout_s: int
    flash1_runs: int
    layer_calls: int
    layer_rounds: int
    speed_records: int
    speed_rounds: int
    sustained_s: int
    journal_calls: int
    journal_rounds: int


FULL: Final = Sizes(
    flow_commands=1_000_000,
    array_rounds=11,
    call_commands=200_000,
    call_rounds=11,
    latency_commands=200_000,
    paced_seconds=5,
    deep_orders=10_000_000,
    deep_commands=500_000,
    deep_rounds=9,
    memory_orders=(1_000_000, 1_600_000, 10_000_000),
    store_orders=4_000,
    store_rounds=21,
    day_repeats=5,
    day_rounds=5,
    state_orders=1_000_000,
    state_rounds=5,
    peer_commands=200_000,
    peer_rounds=3,
    peer_timeout_s=60,
    flash1_runs=3,
    layer_calls=2_000,
    layer_rounds=5,
    speed_records=200_000,
    speed_rounds=7,
    sustained_s=60,
    journal_calls=2_000,
    journal_rounds=7,
)
QUICK: Final = Sizes(
    flow_commands=200_000,
    array_rounds=5,
    call_commands=100_000,
    call_rounds=5,
    latency_commands=50_000,
    paced_seconds=1,
    deep_orders=1_000_000,
    deep_commands=200_000,
    deep_rounds=5,
    memory_orders=(1_000_000,),
    store_orders=4_000,
    store_rounds=5,
    day_repeats=2,
    day_rounds=3,
    state_orders=100_000,
    state_rounds=3,
    peer_commands=20_000,
    peer_rounds=1,
    peer_timeout_s=10,
    flash1_runs=1,
    layer_calls=200,
    layer_rounds=3,
    speed_records=20_000,
    speed_rounds=3,
    sustained_s=3,
    journal_calls=300,
    journal_rounds=3,
)
