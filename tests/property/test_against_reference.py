"""Any stream of commands, by calls and by arrays, does what the reference says, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_streams import MIXES, Mix, commands_of, modes, random_rows, rows_of, streams
from hypothesis import given, settings
from hypothesis import strategies as st
from side_by_side import SideBySide, as_call, assert_same_state, call, canonical, new_engine, new_reference

from pyengine import Engine
from pyengine.records import SelfTrade

if TYPE_CHECKING:
    from reference_records import Command

engine_modes = modes.map(lambda mode: mode or SelfTrade.OFF)


@settings(max_examples=300)
@given(streams(), engine_modes)
def test_calls_do_what_the_reference_says(stream: list[Command], self_trade: SelfTrade) -> None:
    both = SideBySide(self_trade)
    for command in stream:
        sayable = as_call(command)
        if sayable is not None:
            both.by_call(sayable)
            assert_same_state(both.engine, both.reference)


@settings(max_examples=300)
@given(streams(), engine_modes, st.lists(st.integers(1, 40)))
def test_arrays_do_what_the_reference_says_however_they_are_cut(
    stream: list[Command], self_trade: SelfTrade, sizes: list[int]
) -> None:
    both = SideBySide(self_trade)
    at = 0
    for size in [*sizes, len(stream)]:
        both.by_array(stream[at : at + size])
        at += size
        assert_same_state(both.engine, both.reference)


@settings(max_examples=100)
@given(streams(), st.sampled_from(["bare", "optional", "required"]), st.integers(0, 40))
def test_listeners_and_chunks_change_nothing(stream: list[Command], listener: str, cut: int) -> None:
    rows = rows_of(stream)
    plain, watched = new_engine(), new_engine()
    if listener != "bare":
        consumer = watched.attach(required=listener == "required")
    whole = plain.run(rows)
    parts = [watched.run(rows[:cut]), watched.run(rows[cut:])]
    assert b"".join(part.events.tobytes() for part in parts) == whole.events.tobytes()
    assert b"".join(part.status.tobytes() for part in parts) == whole.status.tobytes()
    assert watched.state_hash() == plain.state_hash()
    if listener != "bare":
        heard = b""
        while len(batch := consumer.read()):
            heard += batch.tobytes()
        assert heard == whole.events.tobytes()


@settings(max_examples=100)
@given(streams())
def test_same_commands_give_the_same_bytes(stream: list[Command]) -> None:
    rows = rows_of(stream)
    first, second = new_engine(), new_engine(ring_capacity=64)
    one, two = first.run(rows), second.run(rows)
    assert one.events.tobytes() == two.events.tobytes()
    assert first.state_hash() == second.state_hash()
    assert first.snapshot() == second.snapshot()
    silent = new_engine()
    assert silent.run(rows, events=False).status.tobytes() == one.status.tobytes()
    assert silent.snapshot() == first.snapshot()


@settings(max_examples=100)
@given(streams(), st.integers(0, 40))
def test_restored_engine_goes_on_as_if_nothing_had_happened(stream: list[Command], cut: int) -> None:
    rows = rows_of(stream)
    original = new_engine(self_trade=SelfTrade.CANCEL_BOTH)
    original.run(rows[:cut])
    copy = Engine.restore(original.snapshot())
    copy.check()
    assert copy.state_hash() == original.state_hash()
    assert canonical(copy) == canonical(original)
    assert copy.run(rows[cut:]).events.tobytes() == original.run(rows[cut:]).events.tobytes()
    assert copy.snapshot() == original.snapshot()


@settings(max_examples=100)
@given(streams(25), streams(25))
def test_hashes_are_equal_exactly_when_states_are(one: list[Command], two: list[Command]) -> None:
    engines = [new_engine(), new_engine()]
    for engine, stream in zip(engines, (one, two), strict=True):
        engine.run(rows_of(stream))
    same = canonical(engines[0]) == canonical(engines[1])
    assert (engines[0].state_hash() == engines[1].state_hash()) == same
    for ours, theirs in zip(engines[0].books, engines[1].books, strict=True):
        same = ours.orders().tolist() == theirs.orders().tolist()
        assert (ours.state_hash() == theirs.state_hash()) == same


@given(st.permutations(list(range(1, 7))), st.permutations(list(range(1, 7))))
def test_permuting_a_queue_changes_the_hash(one: list[int], two: list[int]) -> None:
    hashes = []
    for order in (one, two):
        engine = new_engine()
        for order_id in order:
            engine.books[0].submit(1, 100, 5, order_id)
        hashes.append(engine.state_hash())
    assert (hashes[0] == hashes[1]) == (one == two)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_long_stream_matches_the_reference(mix: Mix, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stream = commands_of(random_rows(rng, 20_000, mix))
    both = SideBySide(list(SelfTrade)[1 + seed % 5], ring_capacity=65536)
    at = 0
    while at < len(stream):
        size = int(rng.integers(1, 1500))
        both.by_array(stream[at : at + size])
        at += size
        assert_same_state(both.engine, both.reference)
    assert canonical(both.engine) != [[], [], []]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_long_stream_by_calls_matches_the_reference(mix: Mix) -> None:
    engine, reference = new_engine(), new_reference()
    checked_every = 500
    for number, command in enumerate(commands_of(random_rows(np.random.default_rng(11), 6_000, mix))):
        sayable = as_call(command)
        if sayable is None:
            continue
        outcome = reference.apply(sayable)
        if 32 <= outcome.status < 64:
            continue
        assert call(engine, sayable).status == outcome.status
        if number % checked_every == 0:
            assert_same_state(engine, reference)
    assert_same_state(engine, reference)
