"""Trade logs with a chain beside them, and what verifying one says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from stores.trade_files import closed, eventually, names, rows

from pyengine.stores.audit import ChainHead, Verdict, verify_log
from pyengine.stores.file import FileTradeStore


def fill(path: Path, count: int = 30, batches: int = 3, first: int = 1, **options: object) -> ChainHead:
    """Write trades and return the head."""
    with FileTradeStore(path, names=names(), **{"chain_bytes": 1000, **options}) as store:
        for part in np.array_split(rows(range(first, first + count)), batches):
            store.save_batch(part)
            assert store.flush()
        head = store.head()
        if options.get("rotate_bytes") and options.get("compress", True):
            eventually(lambda: not [each for each in closed(path) if each.suffix != ".zst"])
    assert head is not None
    return head


def bad(path: Path, head: str | None = None) -> tuple[str, int, int, str]:
    """Verify a log that isn't right, and give the name of the file, line, byte and reason."""
    verdict = verify_log(path, head=head)
    assert not verdict
    assert verdict.finding is not None
    return verdict.finding.path.name, verdict.finding.line, verdict.finding.at, verdict.finding.why


def good(path: Path, lines: int, head: str | None = None) -> Verdict:
    """Verify a log that is right, and wholly covered."""
    verdict = verify_log(path, head=head)
    assert verdict.ok, verdict.finding
    assert (verdict.lines, verdict.uncovered_bytes) == (lines, 0)
    return verdict


def rotated_log(path: Path) -> Path:
    """Write a log of which several files are closed."""
    fill(path, 300, 6, rotate_bytes=9_000, compress=False)
    assert len(closed(path)) > 4
    return path
