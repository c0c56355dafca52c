"""Sizes of the record structs, so that tests can hold them against the NumPy descriptions of the same bytes."""

from pyengine._core.records cimport Command, Event

COMMAND_BYTES: int = sizeof(Command)
EVENT_BYTES: int = sizeof(Event)
