"""Many recordings at once give what they give one by one, in the order in which they were asked for."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from pyengine import samples
from pyengine.records import Records
from pyengine.replay import ManyReport, ReplayError, open_tape, replay, replay_many, write_commands


@pytest.fixture
def days(tmp_path: Path, commands: Records) -> list[Path]:
    """Eight days of different lengths, the longest first, so that they don't finish in order."""
    paths = []
    for k in range(8):
        path = tmp_path / f"day{k}.parquet"
        write_commands(path, commands[k * 100 :])
        paths.append(path)
    return paths


def facts(report: ManyReport) -> list[tuple[object, ...]]:
    return [(one.name, one.commands, one.events, one.state_hash, one.trades.tobytes()) for one in report.reports]


def one_by_one(days: list[Path]) -> ManyReport:
    return ManyReport(tuple(replay(day) for day in days), 1.0)


def test_processes_give_what_one_by_one_gives(days: list[Path]) -> None:
    assert facts(replay_many(days, jobs=2)) == facts(one_by_one(days))


def test_threads_give_what_one_by_one_gives(days: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert facts(replay_many(days, executor=pool)) == facts(one_by_one(days))
        assert pool.submit(int, "7").result() == 7  # a pool that was given is left open


def test_tapes_can_be_sent_to_processes() -> None:
    tape = open_tape(samples.path())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (report,) = replay_many([samples.path()], executor=pool, verify=True).reports
        assert report.verification is not None
        assert report.verification.ok
    assert report.state_hash == replay(tape).state_hash


def test_results_are_merged_in_order(days: list[Path]) -> None:
    with ThreadPoolExecutor(2) as pool:
        merged = replay_many(reversed(days), executor=pool)
    parts = [report.trades for report in merged.reports]
    assert [report.name for report in merged.reports] == [day.name for day in reversed(days)]
    assert merged.trades().tobytes() == b"".join(part.tobytes() for part in parts)
    assert np.bincount(merged.sources(), minlength=8).tolist() == [len(part) for part in parts]
    assert merged.commands == sum(report.commands for report in merged.reports)
    assert merged.events == sum(report.events for report in merged.reports)


def test_the_first_bad_recording_is_the_error(days: list[Path]) -> None:
    days[3].write_bytes(b"damaged")
    days[5].unlink()
    with ThreadPoolExecutor(2) as pool, pytest.raises(ReplayError, match=r"day3\.parquet"):
        replay_many(days, executor=pool)
    with pytest.raises(ReplayError, match=r"day3\.parquet"):
        replay_many(days, jobs=2)


def test_nothing_to_replay_is_nothing(days: list[Path]) -> None:
    with ThreadPoolExecutor(1) as pool:
        report = replay_many(days[:0], executor=pool)
    assert (report.commands, len(report.trades()), report.reports) == (0, 0, ())


def test_progress_counts_recordings(days: list[Path]) -> None:
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as pool:
        replay_many(days, executor=pool, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 8) for k in range(1, 9)]
