"""A verification that can't fail proves nothing: every way in which a recording may disagree is found, and named."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from pyengine import samples
from pyengine.replay import ReplayError, replay
from pyengine.replay.compression import read_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample that a test may change."""
    for file in samples.path().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(path: Path, edit: Callable[[list[str]], list[str]]) -> None:
    """Edit the lines of a packed file."""
    lines = read_all(path).decode().splitlines()
    path.write_bytes(lzma.compress(("\n".join(edit(lines)) + "\n").encode()))


def difference(path: Path) -> str:
    """Replay and give the first difference, of which there must be one."""
    report = replay(path, verify=True)
    assert report.verification is not None
    assert not report.verification.ok
    assert report.verification.difference is not None
    return report.verification.difference


def cell(row: int, place: int, text: str) -> Callable[[list[str]], list[str]]:
    """Make an edit of one cell; rows count from 1 after the header."""

    def edit(lines: list[str]) -> list[str]:
        cells = lines[row].split(",")
        cells[place] = text
        return [*lines[:row], ",".join(cells), *lines[row + 1 :]]

    return edit


@pytest.mark.parametrize(
    ("place", "text", "named"),
    [
        (0, "184", "recorded trades: row 1: ts_ns must be "),
        (1, "66901", "recorded trades: row 1: taker_id must be 66901, was 66900"),
        (2, "5", "recorded trades: row 1: maker_id must be 5, was 23267"),
        (3, "619084", "recorded trades: row 1: price_ticks must be 619084, was 619085"),
        (4, "1", "recorded trades: row 1: qty_lots must be 1, was 7727983"),
    ],
)
def test_one_changed_cell_of_a_trade_is_found(folder: Path, place: int, text: str, named: str) -> None:
    change(folder / "trades_expected.csv.xz", cell(1, place, text))
    assert difference(folder).startswith(named)


def test_a_trade_too_many_is_found(folder: Path) -> None:
    change(folder / "trades_expected.csv.xz", lambda lines: lines[:-1])
    assert "row 501: the recording's end must be reached" in difference(folder)


def test_a_missing_trade_is_found(folder: Path) -> None:
    change(folder / "trades_expected.csv.xz", lambda lines: [*lines, lines[-1]])
    assert "row 502: trade must be" in difference(folder)


def test_two_orders_that_swap_their_places_are_found(folder: Path) -> None:
    def swap(lines: list[str]) -> list[str]:
        assert lines[1].split(",")[:2] == lines[2].split(",")[:2]
        one, two = lines[1].split(","), lines[2].split(",")
        one[2], two[2] = two[2], one[2]
        return [lines[0], ",".join(one), ",".join(two), *lines[3:]]

    change(folder / "final_book.csv.xz", swap)
    assert difference(folder).startswith("final book: row 1: order_id must be")


def test_an_order_that_should_be_gone_is_found(folder: Path) -> None:
    change(folder / "final_book.csv.xz", lambda lines: lines[:-1])
    assert "number of orders must be 66832, was 66833" in difference(folder)


def test_a_cancel_that_is_left_out_is_found(folder: Path) -> None:
    change(folder / "orders.csv.xz", lambda lines: [line for line in lines if not line.startswith("23914,")])
    assert "final book" in difference(folder)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


MESSAGES = "34200.1,1,11,5,1000000,1\n34200.2,1,12,7,1000100,-1\n34200.3,4,11,2,1000000,1\n34200.4,3,12,7,1000100,-1\n"
BOOK = "1000200,9,1000000,5\n1000100,7,1000000,5\n1000100,7,1000000,3\n1000200,9,1000000,3\n"


def lobster(tmp_path: Path, book: str) -> Path:
    write(tmp_path / "X_orderbook_1.csv", book)
    return write(tmp_path / "X_message_1.csv", MESSAGES)


def test_lobster_rows_that_follow_are_found_identical(tmp_path: Path) -> None:
    report = replay(lobster(tmp_path, BOOK), verify=True)
    assert report.verification is not None
    assert report.verification.ok
    assert report.verification.findings[0].matched == 3


def test_each_lobster_row_is_judged_by_the_one_before(tmp_path: Path) -> None:
    report = replay(lobster(tmp_path, BOOK.replace("1000100,7,1000000,3", "1000100,7,1000000,4")), verify=True)
    assert report.verification is not None
    (finding,) = report.verification.findings
    assert finding.difference is not None
    assert finding.difference.startswith("row 3: levels (price, size) must be [[(1000000, 4)], [(1000100, 7)]]")
    # Row 4 differs too, as 4 lots can't become 3 by a message about the other side; row 2 is as it must be.
    assert (finding.expected, finding.matched) == (3, 1)


def test_lobster_files_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="number of rows must be 4, one for each message, was 3"):
        replay(lobster(tmp_path, BOOK[: BOOK.rindex("1000200")]), verify=True)


MBO_HEADER = "ts_recv,ts_event,action,side,price,size,order_id,sequence\n"
MBO = MBO_HEADER + "1,1,A,B,10.00,5,1,1\n2,2,A,A,10.01,8,2,2\n3,3,T,B,10.01,3,0,3\n3,3,F,A,10.01,3,2,3\n3,3,C,A,10.01,3,2,3\n"
MBP = (
    "ts_event,action,size,sequence,order_id,bid_px_00,bid_sz_00,bid_ct_00,ask_px_00,ask_sz_00,ask_ct_00\n"
    "1,A,5,1,1,10.00,5,1,,0,0\n2,A,8,2,2,10.00,5,1,10.01,8,1\n3,T,3,3,0,10.00,5,1,10.01,5,1\n"
)


def mbo(tmp_path: Path, feed: str = MBO, levels: str = MBP) -> Path:
    write(tmp_path / "mbp.csv", levels)
    return write(tmp_path / "mbo.csv", feed)


def test_a_small_feed_is_found_identical(tmp_path: Path) -> None:
    report = replay(mbo(tmp_path), verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    assert [(f.matched, f.expected) for f in report.verification.findings] == [(1, 1), (3, 3)]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (
            "10.00,5,1,10.01,8,1",
            "10.00,5,1,10.01,9,1",
            "book after each event: row 2: qty_lots of the asks must be [9], was [8]",
        ),
        (
            "10.00,5,1,10.01,8,1",
            "10.00,5,1,10.01,8,2",
            "book after each event: row 2: orders of the asks must be [2], was [1]",
        ),
        (
            "10.00,5,1,,0,0",
            "10.01,5,1,,0,0",
            "book after each event: row 1: price_ticks of the bids must be [1001], was [1000]",
        ),
        (
            "10.00,5,1,,0,0",
            "10.00,5,1,10.05,1,1",
            "book after each event: row 1: price_ticks of the asks must be [1005], was []",
        ),
    ],
)
def test_one_changed_cell_of_the_levels_is_found(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert difference(mbo(tmp_path, levels=MBP.replace(old, new, 1))) == named


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("3,3,C,A,10.01,3,2,3", "3,3,C,A,10.01,2,2,3", "recorded fills: row 1: what order 2 lost must be 3, was 2"),
        (
            "3,3,F,A,10.01,3,2,3",
            "3,3,F,A,10.01,9,2,3",
            "recorded fills: row 1: open size of order 2 must be at least 9, was 8",
        ),
        (
            "3,3,C,A,10.01,3,2,3\n",
            "",
            "recorded fills: row 1: order 2 must be reduced after its fill, was left as it was",
        ),
    ],
)
def test_a_fill_that_the_feed_does_not_take_off_is_found(tmp_path: Path, old: str, new: str, named: str) -> None:
    feed = mbo(tmp_path, MBO.replace(old, new, 1))
    (tmp_path / "mbp.csv").unlink()
    assert difference(feed) == named


def test_a_feed_that_crosses_its_own_book_does_not_trade(tmp_path: Path) -> None:
    report = replay(write(tmp_path / "x.csv", MBO_HEADER + "1,1,A,B,10.02,5,1,1\n2,2,A,A,10.01,8,2,2\n"))
    assert (len(report.trades), report.statuses) == (0, {"RESTING": 1, "POST_ONLY_WOULD_TRADE": 1})


def test_there_must_be_something_to_verify_against(tmp_path: Path) -> None:
    path = write(tmp_path / "commands.csv", "action,order_id,side,price_ticks,qty_lots\n2,1,1,5,5\n")
    with pytest.raises(ReplayError, match="expected results must be there to be compared with, was missing"):
        replay(path, verify=True)
