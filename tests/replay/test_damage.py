"""Damaged files of every form raise ReplayError or replay; never anything else."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard

from pyengine import Instrument
from pyengine.records import Records
from pyengine.replay import ReplayError, replay, write_commands

MBO = "ts_recv,ts_event,action,side,price,size,order_id,sequence,symbol\n" + "".join(
    f"2025-07-17T07:05:{k:02d}.5Z,{k},A,{'BA'[k % 2]},{10 + 5 * (k % 2)}.{k:02d},{k},{k},{k},ARL\n" for k in range(1, 40)
)
LOBSTER = "".join(f"34200.{k:03d},{1 + k // 20},{k % 20},{9 - 3 * (k // 20)},1000000,1\n" for k in range(40))
INSERTED = [b",", b"\n", b"-", b"9" * 25, b'"', b"\r", b"\x00", b"\xff"]
ROUNDS = 150


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Change, drop, insert or cut, more often near the start, where headers are."""
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not data:
            break
        at = rng.randrange(rng.choice([len(data), min(len(data), 300)]))
        what = rng.random()
        if what < 0.5:
            data[at] = rng.randrange(256)
        elif what < 0.65:
            del data[at : at + rng.randrange(1, 40)]
        elif what < 0.9:
            data[at:at] = rng.choice(INSERTED)
        else:
            del data[at:]
    return bytes(data)


def as_commands(path: Path, commands: Records) -> None:
    write_commands(path, commands[:60], instruments=[Instrument("A"), Instrument("B")])


FILES: dict[str, Callable[[Path, Records], object]] = {
    "x.parquet": as_commands,
    "x.npz": as_commands,
    "x.csv": as_commands,
    "x.csv.gz": as_commands,
    "x.csv.xz": as_commands,
    "x.csv.zst": as_commands,
    "mbo.csv": lambda path, _: path.write_text(MBO),
    "A_message_1.csv": lambda path, _: path.write_text(LOBSTER),
}


@pytest.mark.parametrize("name", FILES)
def test_damage_is_refused_or_harmless(tmp_path: Path, commands: Records, name: str) -> None:
    path = tmp_path / name
    FILES[name](path, commands)
    whole = path.read_bytes()
    assert replay(path).commands > 0
    rng = random.Random(name)
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, rng))
        with suppress(ReplayError):
            replay(path)


def test_damaged_dbn_is_refused_or_harmless(tmp_path: Path, recordings: Path) -> None:
    (source,) = (recordings / "databento_es_20240508").glob("*.zst")
    whole = zstandard.ZstdDecompressor().stream_reader(source.read_bytes()).read()[: 206 + 56 * 40]
    path = tmp_path / "x.dbn"
    rng = random.Random(1)
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, rng))
        with suppress(ReplayError):
            replay(path)
