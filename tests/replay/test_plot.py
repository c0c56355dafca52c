"""Pictures are drawn whatever a replay left: no trades, no book, no times."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image as images
import numpy as np
import pytest

from pyengine import Engine, make_commands, samples
from pyengine.plot import BestPrices, draw_replay
from pyengine.records import Records
from pyengine.replay import open_tape, replay, write_commands


def test_best_prices_are_seen_at_a_bounded_number_of_moments() -> None:
    tape = open_tape(samples.path())
    best = BestPrices(tape.rows, samples=100)
    report = replay(tape, watch=[best])
    times, bids, asks = best.columns()
    assert len(times) == 100
    assert (np.diff(times) >= 0).all()
    assert (bids < asks).all()
    assert bids.max() >= report.trades["price_ticks"].max() - 1


def test_best_prices_are_seen_where_the_length_is_not_known(recordings: Path) -> None:
    tape = open_tape(recordings / "lobster_aapl_l10_head")
    best = BestPrices(tape.rows)
    replay(tape, watch=[best])
    assert len(best.columns()[0]) > 50


@pytest.mark.parametrize("rows", [0, 1, 3, 1000])
@pytest.mark.parametrize("watched", [False, True])
def test_any_replay_can_be_drawn(tmp_path: Path, commands: Records, rows: int, watched: bool) -> None:
    write_commands(tmp_path / "x.npz", commands[:rows])
    engine, best = Engine(), BestPrices(rows)
    report = replay(tmp_path / "x.npz", engine, watch=[best] if watched else [])
    draw_replay(tmp_path / "new" / "x.png", report, engine, best=best if watched else None)
    height, width = images.imread(tmp_path / "new" / "x.png").shape[:2]
    assert (width, height) == (1560, 1040)


def test_a_book_of_one_side_is_drawn(tmp_path: Path) -> None:
    rows = make_commands(1)
    rows[["action", "side", "price_ticks", "qty_lots"]] = (2, 1, 100, 5)
    write_commands(tmp_path / "x.npz", rows)
    engine = Engine()
    draw_replay(tmp_path / "x.svg", replay(tmp_path / "x.npz", engine), engine)
    assert (tmp_path / "x.svg").read_text().lstrip().startswith("<?xml")


def test_reported_trades_are_drawn_where_the_engine_made_none(recordings: Path, tmp_path: Path) -> None:
    tape = open_tape(recordings / "databento_arl_xnas_20250717" / "mbo.csv.gz")
    engine = Engine()
    report = replay(tape, engine)
    draw_replay(tmp_path / "with.svg", report, engine, prints=tape.prints)
    draw_replay(tmp_path / "without.svg", report, engine)
    assert "46 trades" in (tmp_path / "with.svg").read_text()
    assert "0 trades" in (tmp_path / "without.svg").read_text()
