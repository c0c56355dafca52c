"""Files that can't be read say which, where and what would have been right; nothing else escapes."""

from __future__ import annotations

import gzip
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pyengine import PyengineError
from pyengine.records import Records
from pyengine.replay import ReplayError, open_tape, read_commands, replay, write_commands

GOOD = "action,order_id,side,price_ticks,qty_lots\n2,1,1,100,5\n2,2,2,101,5\n"
ORDERS = "seq,ts_ns,action,order_id,side,price,qty\n1,5,N,1,B,100,5\n2,6,C,1,B,,\n"
BOOK = "side,price,queue_pos,order_id,qty\nB,100,0,9,5\n"
TRADES = "order_seq,taker_id,maker_id,price,qty\n1,1,9,100,5\n"
MBO = "ts_recv,ts_event,action,side,price,size,order_id,sequence\n1,1,A,B,10.00,5,1,1\n"
LOBSTER = "34200.1,1,11,5,1000000,1\n"

CASES: list[tuple[str, str, str]] = [
    # file, its text, what the error says
    ("x.csv", "", "content must be a header line, was an empty file"),
    ("x.csv", "hello\n", "recording must be a folder, .dbn"),
    ("x.doc", GOOD, "recording must be a folder, .dbn"),
    ("x.csv", GOOD.replace("100", "1e2"), "row 1, column price_ticks must be a whole number from -92"),
    ("x.csv", GOOD.replace("101", "101.0"), "row 2, column price_ticks must be a whole number"),
    ("x.csv", GOOD.replace("2,2,2", "300,2,2"), "row 2, column action must be a whole number from 0 to 255, was '300'"),
    (
        "x.csv",
        GOOD.replace("2,2,2", "2,-2,2"),
        "row 2, column order_id must be a whole number from 0 to 18446744073709551615",
    ),
    (
        "x.csv",
        GOOD.replace("2,2,2", "2,,2"),
        "row 2, column order_id must be a whole number from 0 to 18446744073709551615, was ''",
    ),
    ("x.csv", GOOD.replace("101,5", f"101,{2**63}"), "row 2, column qty_lots must be a whole number"),
    ("x.csv", GOOD.replace("101,5", "101"), "row 2 must be 5 fields, was 4"),
    ("x.csv", GOOD[:-5], "row 2 must be 5 fields, was 4"),
    (
        "x.csv",
        GOOD.replace("side", "instrument").replace("2,2,2", "2,2,9999999"),
        "column instrument must be below 1048576",
    ),
    ("x.csv", GOOD.replace("side", "user").replace("2,2,2", "2,2,99999999"), "column user must be below 16777216"),
    ("x.parquet", "not parquet", "content must be a whole Parquet file, was damaged"),
    ("x.parquet", "", "content must be a whole Parquet file, was damaged"),
    ("x.npz", "not npz", "content must be an NPZ file, was a file that starts with 'not npz'"),
    ("x.npz", "PK\x03\x04 and then nothing", "content must be a whole NPZ file of plain arrays, was damaged"),
    ("x.dbn", "", "content must be a whole DBN file, was 0 bytes"),
    ("x.dbn", "DBN\x01\x10", "content must be a whole DBN file"),
    ("x.dbn", "DBN\x01\x04\x00\x00\x00abcd", "content must be a DBN header, was damaged"),
    ("x.csv.gz", "plain text, no gzip", "recording must be a folder, .dbn"),
    (
        "d/orders.csv",
        ORDERS.replace("price", "prize"),
        "column price must be there, beside seq, ts_ns, action, order_id, side, prize",
    ),
    ("d/orders.csv", ORDERS.replace(",N,", ",X,"), "row 1, column action must be one of N, M, C, was 'X'"),
    ("d/orders.csv", ORDERS.replace("1,5,N", "1,,N"), "row 1, column ts_ns must be a whole number"),
    ("d/seed_book.csv", BOOK.replace("100", ""), "row 1, column price must be a whole number"),
    ("d/seed_book.csv", BOOK.replace("100", "0"), "order 1 of the seed must be accepted, was rejected: INVALID_PRICE"),
    ("d/seed_book.csv", BOOK.replace("B,", "Q,"), "row 1, column side must be one of B, S, was 'Q'"),
    (
        "d/trades_expected.csv",
        TRADES.replace("maker_id", "mkr"),
        "columns must be trades (taker_id, maker_id, price, qty) or a book",
    ),
    (
        "d/trades_expected.csv",
        TRADES.replace("1,1,9", "7,1,9"),
        "row 1, column order_seq must be the seq of an order, was 7",
    ),
    ("d/final_book.csv", BOOK.replace("queue_pos", "place"), "columns must be trades"),
    ("d/instrument.json", "{", "content must be JSON with symbol, tick_size and lot_size"),
    ("d/instrument.json", '{"symbol": "A", "tick_size": -1, "lot_size": 1}', "content must be JSON with symbol"),
    ("d/instrument.json", "[]", "content must be JSON with symbol"),
    (
        "X_message_1.csv",
        LOBSTER.replace(",1,11", ",9,11"),
        "row 1, column type must be one of 1, 2, 3, 4, 5, 6, 7, was '9'",
    ),
    (
        "X_message_1.csv",
        LOBSTER + LOBSTER.replace(",1\n", ",3\n"),
        "row 2, column direction must be one of 1, -1, 0, was '3'",
    ),
    (
        "X_message_1.csv",
        LOBSTER + LOBSTER.replace("34200.1", "noon"),
        "row 2, column time must be a decimal number of at most 9",
    ),
    (
        "X_message_1.csv",
        LOBSTER + LOBSTER.replace(",1,11,5", ",2,11,6"),
        "row 2, column size must be at most what its order has open",
    ),
    (
        "x.csv",
        MBO.replace("10.00", "ten"),
        "row 1, column price must be a decimal number of at most 9 places, was 'ten'",
    ),
    ("x.csv", MBO.replace(",A,B", ",Z,B"), "row 1, column action must be one of A, C, M, R, F, T, N, was 'Z'"),
    ("x.csv", MBO.replace("size", "volume"), "column size must be there"),
    ("x.csv", MBO + "2,2,C,B,10.00,6,1,2\n", "row 2, column size must be at most what its order has open, was more"),
    ("x.csv", MBO.replace("1,1,A", "2025-07-17T25:00:00Z,1,A"), "row 1, column ts_recv must be a UTC time"),
]


@pytest.mark.parametrize(("name", "content", "message"), CASES)
def test_bad_recordings_name_what_is_wrong(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    if name.startswith("d/"):
        path.parent.mkdir()
        for part, good in (("orders", ORDERS), ("seed_book", BOOK), ("trades_expected", TRADES), ("final_book", BOOK)):
            (path.parent / f"{part}.csv").write_text(good)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ReplayError) as raised:
        replay(path.parent if name.startswith("d/") else path, verify=name.startswith("d/"))
    assert message in str(raised.value)
    assert isinstance(raised.value, PyengineError)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.csv", "path must be an existing file or folder, was missing"),
        ("", "content must be a folder with orders or with one recording, was none"),
    ],
)
def test_bad_paths_are_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ReplayError, match=message):
        replay(tmp_path / name)


def test_a_folder_with_two_recordings_is_ambiguous(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(ReplayError, match=r"with one recording, was one\.csv, two\.csv"):
        replay(tmp_path)


def test_forms_have_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(GOOD)
    assert replay(tmp_path / "x.csv", form="commands").commands == 2
    with pytest.raises(ReplayError, match="form must be one of folder, lobster, mbo, commands, was tape"):
        open_tape(tmp_path / "x.csv", form="tape")


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)])
def test_packed_files_that_were_cut_off_are_refused(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    rng = np.random.default_rng(3)
    text = GOOD + "".join(f"2,{k},1,{price},1\n" for k, price in enumerate(rng.integers(1, 10**9, 5000), 3))
    whole = pack(text.encode())
    path = tmp_path / f"x.csv{suffix}"
    path.write_bytes(whole)
    assert len(read_commands(path)) == 5002
    for size in (len(whole) - 1, len(whole) // 2, 20):
        path.write_bytes(whole[:size])
        with pytest.raises(ReplayError, match=r"content must be a whole (gzip|xz|zstd) file, was (cut off|damaged)"):
            read_commands(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_packed_files_with_a_flipped_byte_are_refused_or_unchanged(tmp_path: Path, commands: Records, suffix: str) -> None:
    path = tmp_path / f"x.csv{suffix}"
    write_commands(path, commands)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert read_commands(path).tobytes() == commands.tobytes()
        except ReplayError:
            continue


def test_parquet_that_was_cut_off_or_damaged_is_refused(tmp_path: Path, commands: Records) -> None:
    path = tmp_path / "x.parquet"
    write_commands(path, commands)
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ReplayError, match="content must be a whole Parquet file, was damaged"):
            replay(path)
    path.write_bytes(whole[:50] + bytes(200) + whole[250:])
    with pytest.raises(ReplayError, match="content must be a whole Parquet file, was damaged"):
        replay(path)


def test_npz_that_was_cut_off_is_refused(tmp_path: Path, commands: Records) -> None:
    path = tmp_path / "x.npz"
    write_commands(path, commands)
    whole = path.read_bytes()
    for size in (4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ReplayError, match="content must be a whole NPZ file of plain arrays, was damaged"):
            replay(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"order_id": pa.array([1, 2])}, "column action must be there, beside order_id, was missing"),
        ({"action": pa.array([2.0, 2.0])}, "column action must be integers, was double"),
        ({"action": pa.array(["LIMIT", "LIMIT"])}, "column action must be integers, was string"),
        ({"action": pa.array([2, None])}, "row 2, column action must be a whole number from 0 to 255, was null"),
        ({"action": pa.array([2, 256])}, "row 2, column action must be a whole number from 0 to 255, was 256"),
        ({"action": pa.array([2, -1])}, "row 2, column action must be a whole number from 0 to 255, was -1"),
        (
            {"action": pa.array([2, 2]), "order_id": pa.array([0, -5])},
            "row 2, column order_id must be a whole number from 0",
        ),
        (
            {"action": pa.array([2, 2]), "instrument": pa.array([0, 1 << 21])},
            "column instrument must be below 1048576, was 2097152",
        ),
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_parquet_columns_of_the_wrong_kind_are_named(
    tmp_path: Path, columns: dict[str, pa.Array], message: str, group: int
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=group)
    with pytest.raises(ReplayError) as raised:
        replay(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"order_id": np.zeros(2, "u8")}, "column action must be there, beside order_id, was missing"),
        ({"action": np.zeros(2)}, "column action must be integers, was float64"),
        ({"action": np.zeros((2, 2), "u1")}, "content must be one-dimensional arrays of equal length"),
        (
            {"action": np.zeros(2, "u1"), "side": np.zeros(3, "u1")},
            "content must be one-dimensional arrays of equal length",
        ),
        ({"action": np.array([2, 256])}, "row 2, column action must be a whole number from 0 to 255, was 256"),
        ({"action": np.array([2, None], object)}, "content must be a whole NPZ file of plain arrays"),
    ],
)
def test_npz_arrays_of_the_wrong_kind_are_named(tmp_path: Path, columns: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", **columns)
    with pytest.raises(ReplayError) as raised:
        replay(tmp_path / "x.npz")
    assert message in str(raised.value)


def test_dbn_that_was_cut_off_names_the_byte(recordings: Path, tmp_path: Path) -> None:
    (source,) = (recordings / "databento_es_20240508").glob("*.zst")
    raw = zstandard.ZstdDecompressor().stream_reader(source.read_bytes()).read()
    path = tmp_path / "x.dbn"
    path.write_bytes(raw)
    assert replay(path).commands == 13_786
    path.write_bytes(raw[:-7])
    with pytest.raises(ReplayError, match="row 13796 must be a whole record, was cut off at byte"):
        replay(path)
    path.write_bytes(raw[:300])
    with pytest.raises(ReplayError, match="row 2 must be a whole record"):
        replay(path)


def test_dbn_records_of_other_kinds_are_passed_over(recordings: Path, tmp_path: Path) -> None:
    (source,) = (recordings / "databento_es_20240508").glob("*.zst")
    raw = zstandard.ZstdDecompressor().stream_reader(source.read_bytes()).read()
    system = bytes([4, 23]) + bytes(14)
    start = 8 + int.from_bytes(raw[4:8], "little")
    (tmp_path / "x.dbn").write_bytes(raw[:start] + system + raw[start:] + system)
    assert replay(tmp_path / "x.dbn", verify=True).state_hash == replay(source).state_hash


def test_rejected_rows_are_counted_and_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(GOOD + "9,3,1,1,1\n3,77,0,0,0\n2,4,1,-3,1\n")
    report = replay(tmp_path / "x.csv")
    assert report.rejected == 3
    assert report.statuses == {"RESTING": 2, "INVALID_ACTION": 1, "INVALID_PRICE": 1, "UNKNOWN_ORDER": 1}
