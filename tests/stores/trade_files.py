"""Trades for a log, and what the log holds, read without the store's own reader, and what the store says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from pyengine.instrument import Instrument
from pyengine.records import TRADE_DTYPE
from pyengine.stores import Names, Trade
from pyengine.stores.file import FileTradeStore

BTC = Instrument("BTC-USD", "0.01", "0.001")
ETH = Instrument("ETH-USD", "0.05")

DAY_NS = 86_400_000_000_000
START_NS = 1_736_937_045_123_000_000
"""2025-01-15T10:30:45.123Z"""


def trade(trade_id: int, **fields: Any) -> Trade:
    """Make a trade."""
    return Trade(trade_id, 10 + trade_id, 20, 10050, 5, "sell", **{"instrument": BTC, "ts_ns": START_NS, **fields})


def rows(ids: Iterable[int]) -> np.ndarray:
    """Make an array of trades; all other fields follow from the ids."""
    listed = np.array(list(ids), np.int64)
    array = np.zeros(len(listed), TRADE_DTYPE)
    array["kind"], array["side"], array["trade_id"], array["seq"] = 3, 1 + listed % 2, listed, listed % 10**9
    array["taker_id"], array["maker_id"] = listed % 10**12 + 7, listed % 10**6
    array["price_ticks"], array["qty_lots"], array["ts_ns"] = 10000 + listed % 997, 1 + listed % 31, START_NS + listed % 10**9
    return array


def names() -> Names:
    """Make the names that `rows` are numbered in."""
    return Names([BTC, ETH])


def written(path: Path) -> list[dict[str, Any]]:
    """Read all lines of a log, closed files first."""
    files = sorted(each for each in path.parent.iterdir() if each.name.removeprefix(f"{path.name}.")[:6].isdigit())
    text = b"".join(unpacked(each) for each in [*files, path])
    assert text == b"" or text.endswith(b"\n")
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]


def unpacked(path: Path) -> bytes:
    """Read a file as any tool would."""
    if path.suffix != ".zst":
        return path.read_bytes()
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        return reader.read()


def ids_written(path: Path) -> list[int]:
    """List the ids in a log, in the order of its lines."""
    return [line["trade_id"] for line in written(path)]


def recent(store: FileTradeStore, limit: int = 100) -> list[int]:
    """List the ids of the newest trades, as a store says."""
    return [each.trade_id for each in store.get_recent(limit)]


def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it didn't come to pass in time"
        time.sleep(0.005)


def plain(array: np.ndarray) -> np.ndarray:
    """Leave out what lines don't say."""
    array = array.copy()
    for name in ("seq", "flags", "reason"):
        array[name] = 0
    return array


def mixed(ids: range) -> np.ndarray:
    """Make trades of two instruments whose times rise by a microsecond."""
    array = plain(rows(ids))
    array["instrument"] = array["trade_id"] % 2
    array["ts_ns"] = START_NS + array["trade_id"] * 1000
    return array


def ids(trades: object) -> list[int]:
    return [each.trade_id for each in trades]


def write_log(path: Path, batches: list[np.ndarray], **options: Any) -> None:
    """Write batches of trades to a log, and wait until its closed files are packed, if they are to be."""
    with FileTradeStore(path, names=names(), **options) as store:
        for batch in batches:
            store.save_batch(batch)
            assert store.flush()
        if options.get("rotate_bytes") and options.get("compress", True):
            eventually(lambda: all(each.suffix == ".zst" for each in closed(path)))


def closed(path: Path) -> list[Path]:
    """List the closed files of a log."""
    return sorted(path.parent.glob("trades.log.0*"))
