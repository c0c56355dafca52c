"""The circuit breaker: who may call when, with a clock that the test turns."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyengine.stores.composite.breaker import Breaker


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 1.0, 8.0, clock)


def fail(breaker: Breaker, times: int = 3) -> list[bool]:
    """Report failures, as callers that had leave."""
    opened = []
    for _ in range(times):
        assert breaker.allow()
        opened.append(breaker.failed())
    return opened


def test_it_opens_after_some_failures_in_a_row_and_says_so_once(breaker: Breaker) -> None:
    assert fail(breaker) == [False, False, True]
    assert (breaker.state, breaker.closed) == ("open", False)
    assert not breaker.allow()
    assert not breaker.failed(), "a call that was out already changes nothing"


def test_an_answer_between_failures_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(5):
        assert fail(breaker, 2) == [False, False]
        assert not breaker.succeeded()
    assert breaker.closed


def test_after_the_pause_one_probe_goes_out_and_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 0.79
    assert not breaker.allow()
    assert 0 < breaker.probe_in_s <= 0.41
    clock.now += 0.42
    assert breaker.probe_in_s == 0
    assert breaker.allow()
    assert breaker.state == "half-open"
    assert not breaker.allow(), "one at a time"
    assert breaker.succeeded()
    assert breaker.closed
    assert not breaker.succeeded()


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    for expected_s in (2, 4, 8, 8, 8):
        clock.now += 20
        assert breaker.allow()
        assert not breaker.failed()
        assert 0.8 * expected_s <= breaker.probe_in_s <= 1.2 * expected_s
    clock.now += 20
    assert breaker.allow()
    breaker.succeeded()
    fail(breaker)
    assert 0.8 <= breaker.probe_in_s <= 1.2, "after an answer the pauses start anew"


def test_a_probe_that_was_not_made_leaves_the_turn_to_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 2
    assert breaker.allow()
    breaker.gave_back()
    assert breaker.state == "open"
    assert breaker.allow()


def test_whoever_ends_may_probe_at_once(breaker: Breaker) -> None:
    fail(breaker)
    assert breaker.allow(now=True)
    assert not breaker.allow(now=True)


def test_a_hanging_call_trips_it_and_its_late_answer_closes_it(breaker: Breaker, clock: Clock) -> None:
    assert breaker.allow()
    assert breaker.trip()
    assert not breaker.trip()
    assert breaker.opened_at == clock.now
    assert not breaker.allow()
    assert breaker.succeeded()
    assert breaker.closed


def test_of_many_threads_one_probes(breaker: Breaker, clock: Clock) -> None:
    for turn in range(50):
        fail(breaker)
        clock.now += 2
        allowed: list[int] = []
        start = threading.Barrier(16)

        def ask(number: int, start: threading.Barrier = start, allowed: list[int] = allowed) -> None:
            start.wait()
            if breaker.allow():
                allowed.append(number)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(allowed) == 1, turn
        breaker.succeeded()


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(2, 1.0, 4.0, self.clock)
        self.normal = 0
        self.probes = 0

    @rule(seconds=st.floats(0, 3))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def ask(self) -> None:
        was = self.breaker.state
        early = self.breaker.probe_in_s > 0
        if self.breaker.allow():
            assert was == "closed" or (was == "open" and not early)
            self.normal += was == "closed"
            self.probes += was == "open"
        else:
            assert was == "half-open" or early

    def _end(self, report: Callable[[], object]) -> None:
        if self.probes and self.breaker.state == "half-open":
            self.probes -= 1
            report()

    @rule()
    def probe_answers(self) -> None:
        self._end(self.breaker.succeeded)

    @rule()
    def probe_fails(self) -> None:
        self._end(self.breaker.failed)

    @rule()
    def call_fails(self) -> None:
        if self.normal and self.breaker.state == "closed":
            self.normal -= 1
            self.breaker.failed()

    @rule()
    def call_hangs(self) -> None:
        self.breaker.trip()

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        assert (self.breaker.state == "half-open") == (self.probes == 1)
        assert self.probes <= 1
        assert self.breaker.closed == (self.breaker.state == "closed")


TestBreakerInAnyOrder = BreakerMachine.TestCase
TestBreakerInAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)
