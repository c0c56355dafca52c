"""Replays of recorded markets: readers of several forms, verification, and many recordings at once.

`replay` plays a recording into an engine and reports what came of it; `replay_many` does so with several at a time. Any
object with the members of `Tape` can be replayed, so a form of one's own needs no more than that.
"""

from __future__ import annotations

from pyengine.replay.checks import BookCheck, Check, DepthCheck, DepthRows, Finding, Moment, TradesCheck, Verification
from pyengine.replay.commands import read_commands, write_commands, write_trades
from pyengine.replay.errors import ReplayError
from pyengine.replay.many import ManyReport, replay_many
from pyengine.replay.run import Progress, ReplayReport, replay
from pyengine.replay.sources import FORMS, Source, open_tape
from pyengine.replay.tape import Batch, PlainTape, Prints, Tape

__all__ = [
    "FORMS",
    "Batch",
    "BookCheck",
    "Check",
    "DepthCheck",
    "DepthRows",
    "Finding",
    "ManyReport",
    "Moment",
    "PlainTape",
    "Prints",
    "Progress",
    "ReplayError",
    "ReplayReport",
    "Source",
    "Tape",
    "TradesCheck",
    "Verification",
    "open_tape",
    "read_commands",
    "replay",
    "replay_many",
    "write_commands",
    "write_trades",
]
