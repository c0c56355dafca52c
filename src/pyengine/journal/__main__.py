"""Make one snapshot of a journal and prune it, as a process of its own: `python -m pyengine.journal FOLDER FROM KEEP ARCHIVE`.

The thread of `upkeep.py` starts it. The last line that it prints is JSON, or what went wrong.
"""

from __future__ import annotations

import json
import os
import sys

from pyengine.errors import PyengineError
from pyengine.journal.snapshots import prune, write_snapshot
from pyengine.journal.upkeep import NICE


def main(folder: str, keep_from: str, keep_snapshots: str, archive: str) -> int:
    """Do it; the exit status is 1 if it failed."""
    os.nice(NICE)
    try:
        written = write_snapshot(folder)
        gone = prune(folder, keep=[lambda: int(keep_from)], keep_snapshots=int(keep_snapshots), archive=archive or None)
    except (PyengineError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"last_seq": written.last_seq, "segments_gone": len(gone)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
