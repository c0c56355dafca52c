"""The block-wise reader of CSV against the obvious way to read a cell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as Number
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine.replay import text
from pyengine.replay.errors import ReplayError
from pyengine.replay.kinds import FRONT_BYTES as FRONT
from pyengine.replay.kinds import CellError, Cells, Code, Decimal, Integer, Kind, Time, Word
from pyengine.replay.text import read_csv

CELL = st.text("0123456789-+. eE_xZ:,"[:-1], max_size=24)


def cells_of(values: list[str]) -> Cells:
    """Lay cells out as a block has them."""
    encoded = [value.encode() for value in values]
    buffer = np.frombuffer(bytes(FRONT) + b",".join(encoded) + b",", np.uint8)
    ends = FRONT + np.cumsum([len(value) + 1 for value in encoded]) - 1
    return Cells(buffer, np.append(FRONT, ends[:-1] + 1), ends)


def is_integer(cell: str, dtype: str) -> bool:
    digits = cell.removeprefix("-")
    info = np.iinfo(dtype)
    return digits.isascii() and digits.isdigit() and info.min <= int(cell) <= info.max


@pytest.mark.parametrize("dtype", ["<i8", "<u8", "<u4", "u1"])
@given(st.data())
def test_integers_are_read_exactly(dtype: str, data: st.DataObject) -> None:
    info = np.iinfo(dtype)
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=20))
    parsed = Integer(dtype).parse(cells_of([str(value) for value in values]))
    assert parsed.dtype == np.dtype(dtype)
    assert parsed.tolist() == values


@pytest.mark.parametrize("dtype", ["<i8", "<u8", "<u4", "u1"])
@settings(max_examples=120)
@given(st.lists(CELL, min_size=1, max_size=6))
def test_whatever_is_no_integer_is_refused_by_its_place(dtype: str, values: list[str]) -> None:
    wrong = [k for k, value in enumerate(values) if not is_integer(value, dtype)]
    if wrong:
        with pytest.raises(CellError) as raised:
            Integer(dtype).parse(cells_of(values))
        assert raised.value.index == wrong[0]
    else:
        assert Integer(dtype).parse(cells_of(values)).tolist() == [int(value) for value in values]


@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 2**63 - 1, 10**19, 0, 7, -(2**63), -(2**63) + 1])
def test_integers_at_the_limits(value: int) -> None:
    for dtype in ("<i8", "<u8"):
        info = np.iinfo(dtype)
        for text_of in (str(value), f"{'-' if value < 0 else ''}{abs(value):040d}"):
            cells = cells_of(["1", text_of])
            if info.min <= value <= info.max:
                assert Integer(dtype).parse(cells).tolist() == [1, value]
            else:
                with pytest.raises(CellError, match="a whole number from"):
                    Integer(dtype).parse(cells)


@given(st.lists(st.decimals(-(10**9), 10**9, places=9), min_size=1, max_size=20))
def test_decimals_are_read_exactly(values: list[Number]) -> None:
    parsed = Decimal(9).parse(cells_of([f"{value:f}" for value in values]))
    assert parsed.tolist() == [int(value.scaleb(9)) for value in values]


@pytest.mark.parametrize(
    ("cell", "steps"),
    [
        ("5.51", 551),
        ("5", 500),
        ("5.", 500),
        ("-0.5", -50),
        ("5.510000", 551),
        ("5.511", None),
        ("92233720368547758.0", None),
        ("1e3", None),
        (".5", None),
        ("", None),
        ("-", None),
        ("1.2.3", None),
        ("1.-2", None),
        ("nan", None),
    ],
)
def test_decimals_of_two_places(cell: str, steps: int | None) -> None:
    if steps is None:
        with pytest.raises(CellError, match="a decimal number of at most 2 places"):
            Decimal(2).parse(cells_of(["1", cell]))
    else:
        assert Decimal(2).parse(cells_of(["1", cell])).tolist() == [100, steps]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=10))
def test_times_are_read_to_the_nanosecond(values: list[int]) -> None:
    texts = []
    for value in values:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value // 10**9)
        texts.append(f"{moment:%Y-%m-%dT%H:%M:%S}.{value % 10**9:09d}Z")
    assert Time().parse(cells_of(texts)).tolist() == values
    assert Time().parse(cells_of([str(value) for value in values])).tolist() == values


@pytest.mark.parametrize(
    "cell",
    [
        "2025-13-01T00:00:00Z",
        "2025-01-01T00:00:00",
        "yesterdayZ",
        "",
        "Z",
        "NaTZ",
        "2025-01-01T00-01Z",
        "9999-01-01Z",
        "2025-01-01T00:00:00.0000000001Z",
    ],
)
def test_what_is_no_time_is_refused(cell: str) -> None:
    with pytest.raises(CellError) as raised:
        Time().parse(cells_of(["2025-01-01T00:00:00Z", cell]))
    assert raised.value.index == 1


@pytest.mark.parametrize("cell", ["C", "", "AA", "a", "B "])
def test_what_is_no_code_is_refused(cell: str) -> None:
    with pytest.raises(CellError, match="one of A, B"):
        Code({"A": 1, "B": 2}).parse(cells_of(["A", cell]))


def test_blanks_stand_for_what_they_are_told_to() -> None:
    blanks = cells_of(["", "3", ""])
    assert Integer(blank=-1).parse(blanks).tolist() == [-1, 3, -1]
    assert Decimal(2, blank=0).parse(blanks).tolist() == [0, 300, 0]
    assert Code({"3": 3}, blank=9).parse(blanks).tolist() == [9, 3, 9]
    assert Word().parse(blanks).tolist() == [b"", b"3", b""]


@given(
    st.lists(st.tuples(st.integers(-(10**18), 10**18), st.sampled_from("BS")), max_size=60),
    st.integers(1, 64),
    st.booleans(),
)
def test_rows_are_the_same_however_the_file_falls_into_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]], block: int, crlf: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    ending = "\r\n" if crlf else "\n"
    path.write_bytes(ending.join(["n,side", *(f"{n},{side}" for n, side in rows)]).encode())
    schema: dict[str, Kind] = {"side": Code({"B": 1, "S": 2}), "n": Integer()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyengine.replay.compression.BLOCK_BYTES", block)
        table = read_csv(path, schema)
    assert table["n"].tolist() == [n for n, _ in rows]
    assert table["side"].tolist() == [1 if side == "B" else 2 for _, side in rows]


def test_quoted_fields_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('\ufeff"n","side"\n"1","B"\n2,"S"\n')
    table = read_csv(tmp_path / "x.csv", {"n": Integer(), "side": Code({"B": 1, "S": 2})})
    assert (table["n"].tolist(), table["side"].tolist()) == ([1, 2], [1, 2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n,side\n1,B\n2\n", "row 2 must be 2 fields, was 1"),
        ("n,side\n1,B\n2,S,3\n", "row 2 must be 2 fields, was 3"),
        ("n,side\n1,B\n\n2,S\n", "row 2 must be 2 fields, was 1"),
        ("n,side\n1,B,2,S\n", "row 1 must be 2 fields, was 4"),
        ("n\n1\n", "column side must be there, beside n, was missing"),
        ("", "content must be a header line, was an empty file"),
        (
            "n,side\n1,B\nx,S\n",
            "row 2, column n must be a whole number from -9223372036854775808 to 9223372036854775807, was 'x'",
        ),
        ("n,side\n1,B\n1,Q\n", "row 2, column side must be one of B, S, was 'Q'"),
        ('n,side\n"1,5",B\n', "must be fields without commas or line ends inside"),
        ("n,side\n" + "1" * 70_000, "must be lines of at most 65536 bytes, was longer"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(ReplayError) as raised:
        read_csv(path, {"n": Integer(), "side": Code({"B": 1, "S": 2})})
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))


def test_rows_are_counted_over_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_text("n\n" + "".join(f"{k}\n" for k in range(1000)) + "oops\n")
    monkeypatch.setattr("pyengine.replay.compression.BLOCK_BYTES", 100)
    with pytest.raises(ReplayError, match="row 1001, column n"):
        text.read_csv(path, {"n": Integer()})
