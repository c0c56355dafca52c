"""Scores of trades in a sorted set: their times, moved just enough that they rise with the ids.

A score is a double, and beside 1.8e18 those are 256 apart: trades within 256 ns, or of one time, would have one score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyengine.records import Records

_EXACT_INT64 = float(2**63 - 2**11)
"""Up to here a double is surely an int64."""

HIGHEST = 2.0**64
"""No score of ours is above; one that somebody else gave is no place to go on from."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A member of the set.

    Attributes
    ----------
    trade_id : int or None
        None if it is no trade.
    member : bytes
    score : float
    """

    trade_id: int | None
    member: bytes
    score: float


def next_score(previous: float) -> float:
    """Return the least score above another one that is whole."""
    return float(math.floor(max(math.nextafter(previous, math.inf), previous + 1.0)))


def scores_after(previous: float, times_ns: Records) -> list[int]:
    """Give trades that follow each other scores that rise, from above `previous` on. O(n).

    Returns
    -------
    list of int
        Each exactly a double.
    """
    times = times_ns.astype(np.float64)
    if times[0] > previous and times[-1] < _EXACT_INT64 and bool((times[1:] > times[:-1]).all()):
        whole: list[int] = times.astype(np.int64).tolist()
        return whole
    scores = []
    for time in times.tolist():
        previous = time if time > previous else next_score(previous)
        scores.append(int(previous))
    return scores


def place(members: Iterable[Ranked], new: Sequence[Ranked]) -> Iterator[Ranked]:
    """Merge new trades, whose scores are their times, among members of the set; yield those that are new or have to move.

    Everything ends up by id, and members keep their scores while there is room between them. O((n + m) log(n + m)).
    """
    previous = -math.inf
    fresh = {trade.trade_id for trade in new}
    for trade in sorted([*members, *new], key=lambda ranked: ranked.trade_id or 0):
        moved = not previous < trade.score <= HIGHEST
        score = trade.score
        if moved:
            score = next_score(previous) if previous > -math.inf else 0.0
        previous = score
        if moved or trade.trade_id in fresh:
            yield Ranked(trade.trade_id, trade.member, score)
