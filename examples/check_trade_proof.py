"""Check a proof that `pyengine audit prove` exported. It needs Python alone: no package, no log.

    python check_trade_proof.py proof.json HEAD

HEAD is the 64 digits that you were told, or wrote down, by another way than the proof: a proof that says itself what its head is
proves nothing but that it fits together. Exit status: 0 if the trade was in the log when that head was made, 1 if not.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def check(proof: dict, head: str) -> dict:
    """Return the trade, or raise ValueError that says what doesn't fit."""
    if proof["format"] != "pyengine-trade-proof-1":
        raise ValueError(f"a proof of another format: {proof['format']}")
    block, line, offset = proof["block"].encode(), proof["trade"].encode(), proof["offset"]
    trade = json.loads(line)
    if trade["trade_id"] != proof["trade_id"]:
        raise ValueError("the line is of another trade")
    if block[offset : offset + len(line) + 1] != line + b"\n" or (offset > 0 and block[offset - 1 : offset] != b"\n"):
        raise ValueError("the line isn't in the block")
    if not proof["checkpoints"]:
        raise ValueError("there is no checkpoint")
    # The first checkpoint says what the block is, and each later one what stands before it, up to the head.
    link = None
    for number, text in enumerate(proof["checkpoints"]):
        checkpoint = json.loads(text + "}")
        if number == 0 and checkpoint["sha256"] != hashlib.sha256(block).hexdigest():
            raise ValueError("the block isn't the one of its checkpoint")
        if link is not None and checkpoint["prev"] != link:
            raise ValueError(f"checkpoint {checkpoint['n']} doesn't follow the one before")
        link = hashlib.sha256(text.encode()).hexdigest()
    if link != head.lower():
        raise ValueError(f"the checkpoints lead to the head {link}, not to {head}")
    return trade


def main() -> int:
    """Check the proof of the arguments."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        trade = check(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
    except (ValueError, KeyError, TypeError) as error:
        print(f"NOT proven: {error}")
        return 1
    print(f"proven: {json.dumps(trade)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
