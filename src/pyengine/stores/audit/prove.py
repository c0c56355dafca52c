"""A proof that a trade is in the log, which needs neither the log nor this package to be checked."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from pyengine.errors import FieldError
from pyengine.store_errors import StoreDamaged, StoreRefused, StoreUnavailable
from pyengine.stores.audit.checkpoint import Checkpoint, chain_lines, chain_path, read_checkpoint
from pyengine.stores.file_history import PlainFile, closed_files, open_closed
from pyengine.stores.log_reader import FoundLine, TradeLogReader

FORMAT = "pyengine-trade-proof-1"


def prove_trade(path: Path | str, trade_id: int, *, head: str | None = None) -> dict[str, Any]:
    """Collect what proves that a trade is in the log whose head is known. O(checkpoints behind it).

    Parameters
    ----------
    path : path
        The file that is (or was) written to.
    trade_id : int
    head : str, optional
        Link of the checkpoint that whoever checks it knows. Default: the newest.

    Returns
    -------
    dict
        For JSON: ``trade``, the line; ``offset``, where it is in ``block``, the lines that were covered together, in UTF-8;
        ``checkpoints``, lines of the chain from the one of the block to ``head``, each as far as its link is the hash of it. The
        proof shows the other trades of the block too.

    Raises
    ------
    FieldError
        There is no such trade, or no such head behind it.
    StoreRefused
        The trade isn't covered by a checkpoint yet.
    StoreDamaged
        The log isn't what its chain says; `verify_log` says where.
    StoreUnavailable
        A file can't be read.
    """
    path = Path(path).resolve()
    line = TradeLogReader(path, damaged="skip").find(trade_id)
    if line is None:
        raise FieldError("trade_id", trade_id, f"that of a trade in {path}")
    try:
        covering, links = _behind(path, line, head)
        block = _block(path, covering)
    except StoreUnavailable:
        raise
    except OSError as error:
        raise StoreUnavailable(f"file store: read {path}: {error.strerror or error}") from error
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"file store: {line.path}, byte {covering.begin}: lines must be UTF-8, aren't") from error
    return {
        "format": FORMAT,
        "trade_id": trade_id,
        "trade": line.text.decode(),
        "offset": line.at - covering.begin,
        "block": text,
        "checkpoints": [linked.decode() for linked in links],
        "head": sha256(links[-1]).hexdigest(),
    }


def _behind(path: Path, line: FoundLine, head: str | None) -> tuple[Checkpoint, list[bytes]]:
    """Find the checkpoint of a line and all behind it up to a head: each as far as its link goes."""
    covering: Checkpoint | None = None
    links: list[bytes] = []
    for at, text in chain_lines(chain_path(path)):
        checkpoint = read_checkpoint(text, f"file store: {chain_path(path)}, byte {at}")
        if covering is None and checkpoint.file == line.number and checkpoint.begin <= line.at < checkpoint.end:
            covering = checkpoint
        if covering is not None:
            links.append(checkpoint.linked)
            if head is not None and checkpoint.link == head.lower():
                return covering, links
    if covering is None:
        raise StoreRefused(f"file store: {line.path}, byte {line.at}: line must be covered by a checkpoint, isn't yet")
    if head is not None:
        raise FieldError("head", head, "the link of a checkpoint behind the trade")
    return covering, links


def _block(path: Path, covering: Checkpoint) -> bytes:
    """Read the bytes of a checkpoint."""
    closed = dict(closed_files(path))
    count = covering.end - covering.begin
    if covering.file in closed:
        with open_closed(closed[covering.file]) as section:
            text = section.read(covering.begin, count)
    else:
        current = PlainFile(path, covering.end)
        try:
            text = current.read(covering.begin, count)
        finally:
            current.close()
    if sha256(text).hexdigest() != covering.sha256:
        raise StoreDamaged(
            f"file store: file {covering.file} of {path} must be as its chain says from byte {covering.begin}, isn't"
        )
    return text
