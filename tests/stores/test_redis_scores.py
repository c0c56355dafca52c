"""Scores of trades: doubles that rise with the ids, whatever the times are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyengine.stores.redis.scores import Ranked, next_score, place, scores_after


@given(st.floats(-9.3e18, 9.3e18), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.booleans())
def test_scores_rise_and_are_doubles(previous: float, times: list[int], ordered: bool) -> None:
    previous = float(int(previous))
    times = sorted(times) if ordered else times
    found = scores_after(previous, np.array(times, np.int64))
    assert [float(score) for score in found] == found
    expected = []
    for time in times:
        previous = float(time) if float(time) > previous else next_score(previous)
        expected.append(previous)
    assert found == expected
    assert all(a < b for a, b in pairwise(found))


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(allow_nan=False)), max_size=10), st.lists(st.integers(1, 50), unique=True)
)
def test_places_rise_with_the_ids(old: list[tuple[int, float]], new: list[int]) -> None:
    members = [Ranked(number, b"%d old" % number, score) for number, score in old]
    known = {number for number, _ in old}
    fresh = [Ranked(number, b"%d new" % number, 1e18) for number in new if number not in known]
    changed = {ranked.member: ranked for ranked in place(members, fresh)}
    assert {ranked.member for ranked in fresh} <= set(changed)
    final = sorted((changed.get(r.member, r) for r in [*members, *fresh]), key=lambda r: r.score)
    assert [r.trade_id for r in final] == sorted(r.trade_id for r in [*members, *fresh])
