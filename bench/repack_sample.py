"""Repack a folder of a recorded market into the smallest form that the base install reads: CSV in xz.

Usage: python bench/repack_sample.py FROM TO

FROM has seed_book, orders, trades_expected and final_book as CSV, packed or not; the same text goes to TO, so the two
can be compared byte for byte once unpacked. Equal input gives equal files.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

from pyengine.replay.compression import bare_name, read_all

INSTRUMENT = {"symbol": "BTC-USD", "tick_size": "0.01", "lot_size": "0.00000001"}
PARTS = ("seed_book.csv", "orders.csv", "trades_expected.csv", "final_book.csv")


def repack(source: Path, target: Path) -> int:
    """Write the parts of a folder to another one.

    Parameters
    ----------
    source, target : Path
        Folders; `target` is made if it isn't there.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    FileNotFoundError
        A part is missing.
    """
    target.mkdir(parents=True, exist_ok=True)
    files = {bare_name(file): file for file in sorted(source.iterdir())}
    written = 0
    for part in PARTS:
        if part not in files:
            message = f"{source} must have {part}, packed or not"
            raise FileNotFoundError(message)
        packed = lzma.compress(read_all(files[part]), check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME)
        (target / f"{part}.xz").write_bytes(packed)
        written += len(packed)
    described = json.dumps(INSTRUMENT, indent=2) + "\n"
    (target / "instrument.json").write_text(described)
    return written + len(described)


if __name__ == "__main__":
    sys.stdout.write(f"{repack(Path(sys.argv[1]), Path(sys.argv[2])):,} bytes\n")
