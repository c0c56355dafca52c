"""An engine that only hears what happened is in the same state as the one where it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_streams import MIXES, Mix, modes, random_rows, rows_of, streams
from hypothesis import given, settings
from hypothesis import strategies as st
from pyengine._core.recovery import Recovery
from side_by_side import new_engine

from pyengine import Engine, SelfTrade
from pyengine.errors import RecoveryError

if TYPE_CHECKING:
    from reference_records import Command

engine_modes = modes.map(lambda mode: mode or SelfTrade.OFF)


def recovered(events: np.ndarray, like: Engine, sizes: list[int]) -> Engine:
    engine = new_engine()
    recovery = Recovery(engine)
    at = 0
    for size in [*sizes, len(events)]:
        recovery.apply(events[at : at + size])
        at += size
    recovery.finish()
    engine.check()
    assert engine.state_hash() == like.state_hash()
    assert engine.next_seq == like.next_seq
    assert engine.next_trade_id == like.next_trade_id
    return engine


@settings(max_examples=300)
@given(streams(), streams(), engine_modes, st.lists(st.integers(0, 20)))
def test_events_bring_the_same_state_however_they_are_cut(
    stream: list[Command], later: list[Command], mode: SelfTrade, sizes: list[int]
) -> None:
    engine = new_engine(self_trade=mode)
    other = recovered(engine.run(rows_of(stream)).events, engine, sizes)
    if mode == SelfTrade.OFF:
        assert other.snapshot() == engine.snapshot()
        assert other.run(rows_of(later)).events.tobytes() == engine.run(rows_of(later)).events.tobytes()


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_long_stream_is_recovered(mix: Mix) -> None:
    rng = np.random.default_rng(7)
    engine = new_engine()
    events = engine.run(random_rows(rng, 30_000, mix)).events
    other = recovered(events, engine, rng.integers(0, 3000, 10).tolist())
    assert other.snapshot() == engine.snapshot()
    more = random_rows(rng, 10_000, mix)
    assert other.run(more).events.tobytes() == engine.run(more).events.tobytes()


def test_event_out_of_turn_is_refused_by_its_number() -> None:
    engine = new_engine()
    events = engine.run(random_rows(np.random.default_rng(1), 200, MIXES[0])).events
    other = new_engine()
    recovery = Recovery(other)
    recovery.apply(events[:100])
    with pytest.raises(RecoveryError, match="event 102 must have the next sequence number") as refused:
        recovery.apply(events[101:])
    assert refused.value.seq == 102
    recovery.apply(events[100:])
    recovery.finish()
    assert other.state_hash() == engine.state_hash()
