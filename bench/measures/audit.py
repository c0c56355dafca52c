"""The trade log: what the chain of hashes costs the file layer, and how fast the log is read back and verified."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from bench.checks import same
from bench.figures import Figure, Section
from bench.market import names, trades
from bench.measures.arrays import ratio
from bench.sizes import Sizes
from bench.timing import Prepare, in_turns, progress, rate
from pyengine import TradeLogReader
from pyengine.stores.audit import verify_log
from pyengine.stores.file import FileTradeStore

BATCH: Final = 5_000
FLUSH_S: Final = 60.0

TEXT = """
Arrays of {batch:,} trades into a file store, until `flush` says that all {count:,} are written and synced: without a chain, with
one, and with one until its head covers all of them and is on the disk itself. The chain is written by a thread of its own, so its
price depends on whether a processor is free for it. At the end all that was written is verified, the reader's arrays are compared
with the trades that were written, and the other forms are counted. `seek` opens the log and finds one trade by its id.
"""


def written(root: Path, sizes: Sizes) -> tuple[list[Figure], Path, int]:
    """Measure writing, and give a log and how many trades it has."""
    count = sizes.speed_records
    kinds = {"plain": False, "chain": True, "head": True}
    first = dict.fromkeys(kinds, 1)
    with ExitStack() as kept:
        stores = {
            kind: kept.enter_context(FileTradeStore(root / kind / "trades.log", names=names(), chain=chain, capacity=2 * count))
            for kind, chain in kinds.items()
            if (root / kind).mkdir() is None
        }

        def save_all(kind: str) -> Prepare:
            def prepare() -> Callable[[], None]:
                rows = trades(first[kind], count)
                first[kind] += count
                store = stores[kind]
                pieces = [rows[begin : begin + BATCH].copy() for begin in range(0, count, BATCH)]
                if kinds[kind]:
                    store.head(FLUSH_S)  # nothing of the lap before is left to do

                def work() -> None:
                    for piece in pieces:
                        store.save_batch(piece)
                    if not store.flush(timeout_s=FLUSH_S):
                        raise TimeoutError(f"{kind} must be flushed in {FLUSH_S:g} s, wasn't")
                    if kind == "head":
                        store.head(FLUSH_S)

                return work

            return prepare

        laps = in_turns({kind: save_all(kind) for kind in kinds}, sizes.speed_rounds)
    note = f"{stores['head'].stats().counts['checkpoints']:,} checkpoints in all"
    figures = [
        rate("file without a chain", laps["plain"], count, thing="trades"),
        rate("file with its chain", laps["chain"], count, thing="trades"),
        rate("file with its chain, until its head covers all", laps["head"], count, thing="trades", note=note),
        ratio("speed with the chain, against without", laps["plain"], laps["chain"]),
    ]
    figures = [Figure(**{**vars(one), "cpu_values": ()}) for one in figures]
    figures[-1] = Figure(**{**vars(figures[-1]), "target": "chain"})
    return figures, root / "head" / "trades.log", first["head"] - 1


def read(path: Path, count: int, sizes: Sizes) -> list[Figure]:
    """Measure reading and verifying a log."""
    table = names()
    reader = TradeLogReader(path, names=table)
    found = reader.array()
    expected = trades(1, count)
    for field in ("trade_id", "taker_id", "maker_id", "price_ticks", "qty_lots", "ts_ns", "instrument", "side"):
        same(f"the log: {field}", bool(np.array_equal(found[field], expected[field])), True)
    same("the log: verified", verify_log(path).lines, count)
    few = max(1, count // 10)
    works: dict[str, Callable[[], object]] = {
        "arrays": lambda: same("arrays", sum(map(len, reader.arrays())), count),
        "arrow": lambda: same("arrow", reader.table(last_id=few).num_rows, few),
        "objects": lambda: same("objects", sum(1 for _ in reader.trades(last_id=few)), few),
        "verify": lambda: same("verify", verify_log(path).ok, True),
        "seek": lambda: same("seek", reader.find(count // 2) is not None, True),
    }
    laps = in_turns({name: (lambda work=work: work) for name, work in works.items()}, sizes.speed_rounds)
    return [
        rate("reader: lines into arrays", laps["arrays"], count, thing="lines"),
        rate("reader: lines into an Arrow table", laps["arrow"], few, thing="lines"),
        rate("reader: lines into objects", laps["objects"], few, thing="lines"),
        rate("audit: lines verified", laps["verify"], count, thing="lines"),
        Figure(name="reader: seek by trade id", unit="ms", values=tuple(one.seconds * 1e3 for one in laps["seek"])),
    ]


def measure(sizes: Sizes) -> Section:
    """Measure all of it on a log of its own."""
    with tempfile.TemporaryDirectory(prefix="pyengine-bench-") as folder:
        progress("writing with and without a chain")
        figures, path, count = written(Path(folder), sizes)
        progress(f"reading {count:,} lines")
        figures += read(path, count, sizes)
    return Section(title="The trade log", text=TEXT.format(batch=BATCH, count=sizes.speed_records), figures=figures)
