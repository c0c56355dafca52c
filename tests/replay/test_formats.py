"""What is written is what is read, in every form and packing, and replays alike."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pyengine import COMMAND_DTYPE, Engine, FieldError, Instrument, commands_from, samples
from pyengine.records import Records
from pyengine.replay import open_tape, read_commands, replay, write_commands, write_trades
from pyengine.replay.compression import read_all
from pyengine.replay.kinds import Integer
from pyengine.replay.table import read_table, write_table

FORMS = [f"{form}{packing}" for form in (".csv", ".parquet", ".npz") for packing in ("", ".gz", ".xz", ".zst")]


@pytest.fixture
def expected(commands: Records) -> tuple[list[object], int]:
    """Trades and state hash of the commands, without a file in between."""
    engine = Engine([Instrument("0"), Instrument("1")])
    engine.user("1")
    engine.user("2")
    trades = engine.run(commands).trades
    assert len(trades) > 50
    return trades.tolist(), engine.state_hash()


@pytest.mark.parametrize("form", FORMS)
def test_commands_come_back_as_they_were(tmp_path: Path, commands: Records, form: str) -> None:
    path = tmp_path / f"day{form}"
    write_commands(path, commands)
    back = read_commands(path)
    assert back.dtype == COMMAND_DTYPE
    assert back.tobytes() == commands.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_commands_replay_as_without_a_file(
    tmp_path: Path, commands: Records, expected: tuple[list[object], int], form: str
) -> None:
    path = tmp_path / f"day{form}"
    write_commands(path, commands)
    report = replay(path)
    assert (report.trades.tolist(), report.state_hash) == expected
    assert report.commands == len(commands)
    assert sum(report.statuses.values()) == len(commands)


def test_columns_are_written_like_records(tmp_path: Path, commands: Records) -> None:
    columns = commands_from({name: commands[name] for name in ("action", "side", "order_id", "price_ticks")}, qty_lots=3)
    write_commands(tmp_path / "columns.npz", columns)
    assert read_commands(tmp_path / "columns.npz").tobytes() == columns.to_array().tobytes()


def test_rows_that_columns_cannot_tell_are_not_written(tmp_path: Path, commands: Records) -> None:
    commands["reserved"][5] = 1
    with pytest.raises(FieldError, match="reserved must be 0, as it has no column"):
        write_commands(tmp_path / "day.npz", commands)


def test_columns_of_zeros_are_left_out(tmp_path: Path, commands: Records) -> None:
    write_commands(tmp_path / "day.parquet", commands)
    names = pq.read_schema(tmp_path / "day.parquet").names
    assert "tif" not in names
    assert {"action", "order_id", "user"} <= set(names)


@pytest.mark.parametrize("form", [".csv", ".parquet", ".npz"])
def test_no_commands_are_commands_too(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"empty{form}"
    write_commands(path, np.zeros(0, COMMAND_DTYPE))
    assert len(read_commands(path)) == 0
    report = replay(path)
    assert (report.commands, report.events, report.statuses) == (0, 0, {})


@pytest.mark.parametrize("form", [".parquet", ".npz"])
def test_instruments_are_kept(tmp_path: Path, commands: Records, form: str) -> None:
    instruments = [Instrument("BTC-USD", "0.01", "0.00000001"), Instrument("ESM4", "0.25")]
    path = tmp_path / f"day{form}"
    write_commands(path, commands, instruments=instruments)
    assert list(replay(path).instruments) == instruments


@pytest.mark.parametrize("form", [".csv", ".parquet", ".npz"])
def test_trades_serve_as_what_a_later_replay_must_make(tmp_path: Path, commands: Records, form: str) -> None:
    write_commands(tmp_path / "day.parquet", commands)
    trades = tmp_path / f"trades{form}"
    write_trades(trades, replay(tmp_path / "day.parquet").trades)
    report = replay(tmp_path / "day.parquet", expected=trades)
    assert report.verification is not None
    assert report.verification.ok
    table = dict(read_table(trades, {}, optional={name: Integer() for name in ("price_ticks", "qty_lots", "trade_id")}))
    table["price_ticks"] = table["price_ticks"] + (np.arange(len(table["qty_lots"])) == 3)
    write_table(trades, table)
    report = replay(tmp_path / "day.parquet", expected=trades)
    assert report.verification is not None
    assert "row 4: price_ticks must be" in str(report.verification.difference)


def test_parquet_of_many_groups_and_other_types_replays_alike(
    tmp_path: Path, commands: Records, expected: tuple[list[object], int]
) -> None:
    """As pandas and Spark write it: 64-bit integers throughout, signed, in small groups, without statistics."""
    names = [name for name in COMMAND_DTYPE.names or () if commands[name].any()]
    table = pa.table({name: pa.array(commands[name].astype(np.int64)) for name in names})
    pq.write_table(table, tmp_path / "day.parquet", row_group_size=37, write_statistics=False)
    report = replay(tmp_path / "day.parquet")
    assert (report.trades.tolist(), report.state_hash) == expected


def test_a_folder_in_parquet_is_one_in_csv(tmp_path: Path) -> None:
    words = {"side": {1: "B", 2: "S"}, "action": {1: "M", 2: "N", 3: "C"}}
    from pyengine.replay.folder import _BOOK, _ORDERS, _TRADES  # noqa: PLC0415  the columns of the form

    for name, kinds in (
        ("seed_book", _BOOK),
        ("final_book", _BOOK),
        ("orders", _ORDERS),
        ("trades_expected", {**_TRADES, "order_seq": Integer()}),
    ):
        table = read_table(samples.path() / f"{name}.csv.xz", kinds)
        columns = {
            key: pa.array([words[key][code] for code in values.tolist()]).dictionary_encode() if key in words else values
            for key, values in table.items()
        }
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    report = replay(tmp_path, verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    assert [finding.matched for finding in report.verification.findings] == [501, 66_833]


def test_zstd_files_of_several_frames_are_read_whole(tmp_path: Path) -> None:
    frames = [zstandard.compress(bytes([k]) * 100_000) for k in range(5)]
    (tmp_path / "x").write_bytes(b"".join(frames))
    assert read_all(tmp_path / "x") == b"".join(bytes([k]) * 100_000 for k in range(5))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress])
def test_packing_is_told_by_the_bytes_and_not_by_the_name(tmp_path: Path, commands: Records, pack: object) -> None:
    write_commands(tmp_path / "day.csv", commands)
    misnamed = tmp_path / "other.csv"
    misnamed.write_bytes(pack((tmp_path / "day.csv").read_bytes()))  # type: ignore[operator]
    assert read_commands(misnamed).tobytes() == commands.tobytes()


def test_equal_commands_make_equal_files(tmp_path: Path, commands: Records) -> None:
    for form in FORMS:
        for name in ("one", "two"):
            write_commands(tmp_path / f"{name}{form}", commands)
        assert (tmp_path / f"one{form}").read_bytes() == (tmp_path / f"two{form}").read_bytes()


def test_an_engine_with_other_instruments_is_refused(tmp_path: Path, commands: Records) -> None:
    write_commands(tmp_path / "day.npz", commands, instruments=[Instrument("A"), Instrument("B")])
    with pytest.raises(ValueError, match="instrument 1, in the engine given, must be"):
        replay(tmp_path / "day.npz", Engine([Instrument("A"), Instrument("C")]))
    engine = Engine([Instrument("A")])
    assert replay(tmp_path / "day.npz", engine).commands == 1000
    assert [book.instrument.symbol for book in engine.books] == ["A", "B"]


def test_a_tape_can_be_replayed_again(tmp_path: Path, commands: Records) -> None:
    write_commands(tmp_path / "day.parquet", commands)
    tape = open_tape(tmp_path / "day.parquet")
    assert replay(tape).state_hash == replay(tape).state_hash


def test_progress_reaches_the_end(tmp_path: Path, commands: Records) -> None:
    write_commands(tmp_path / "day.csv", commands)
    told: list[tuple[int, int]] = []
    replay(tmp_path / "day.csv", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1000, 1000)
