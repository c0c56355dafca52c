"""The chain beside the trade log, by which anybody can see whether a line was changed: verified, and proofs out of it."""

from pyengine.stores.audit.anchor import HeadKeeper
from pyengine.stores.audit.checkpoint import ChainHead, Checkpoint, chain_head, chain_path
from pyengine.stores.audit.prove import prove_trade
from pyengine.stores.audit.sign import is_signed, sign_head
from pyengine.stores.audit.verify import Finding, Verdict, verify_log

__all__ = [
    "ChainHead",
    "Checkpoint",
    "Finding",
    "HeadKeeper",
    "Verdict",
    "chain_head",
    "chain_path",
    "is_signed",
    "prove_trade",
    "sign_head",
    "verify_log",
]
