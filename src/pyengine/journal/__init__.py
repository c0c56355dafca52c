"""The journal: an engine's events on the disk before anybody is told, and an engine from them. See docs/durability.md."""

from pyengine.journal.acknowledgement import Acknowledgement
from pyengine.journal.errors import (
    HistoryGone,
    JournalClosed,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalHeld,
    JournalTimeout,
)
from pyengine.journal.history import History
from pyengine.journal.journal import Journal
from pyengine.journal.recovery import Recovered, recover
from pyengine.journal.snapshots import prune, write_snapshot

__all__ = [
    "Acknowledgement",
    "History",
    "HistoryGone",
    "Journal",
    "JournalClosed",
    "JournalDamaged",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalHeld",
    "JournalTimeout",
    "Recovered",
    "prune",
    "recover",
    "write_snapshot",
]
