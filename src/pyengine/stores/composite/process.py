"""What composites do when their process forks or ends."""

# ruff: noqa: SLF001 - it is their own life.

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from pyengine._core.store_fork import hold, release

EXIT_S = 5.0
"""What all composites together may take to write what is left when the interpreter exits."""

_composites: weakref.WeakSet[Any] = weakref.WeakSet()
_writers: weakref.WeakSet[Any] = weakref.WeakSet()
_feeds: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[Any] = []
_held_feeds: list[Any] = []
_forking = threading.Lock()
_ordering = threading.Lock()
_goes_first: Callable[[], None] | None = None


def watch(composite: Any) -> None:
    """Look after a composite at a fork."""
    _composites.add(composite)


def remember(writer: Any) -> None:
    """Look after a writer at the end of the process, whether or not its composite still exists."""
    _writers.add(writer)


def feed(feeding: Any) -> None:
    """Look after what feeds composites, at a fork and at the end of the process."""
    _feeds.add(feeding)


def go_first() -> None:
    """Have what is left written before anything that was registered so far is ended at exit, such as a driver's thread.

    The interpreter may be exiting by now: the call registered on import stays, in case the one that goes first is changed
    under its hands.
    """
    global _goes_first
    with _ordering:
        before, _goes_first = _goes_first, partial(_at_exit)
        atexit.register(_goes_first)
        if before is not None:
            atexit.unregister(before)


def _before_fork() -> None:
    # Nobody else may be in the middle of a write, or the child would find locks taken by threads that it hasn't got.
    _forking.acquire()
    _held_feeds[:] = sorted(_feeds, key=id)
    for feeding in _held_feeds:
        feeding.before_fork()
    _held[:] = sorted(_composites, key=id)
    for composite in _held:
        composite._ring.lock.acquire()
        if composite.memory_layer is not None:
            hold(composite.memory_layer)


def _after_fork(end: Callable[[Any], object], *, in_child: bool) -> None:
    for composite in _held:
        if composite.memory_layer is not None:
            release(composite.memory_layer)
        end(composite)
    for feeding in _held_feeds:
        feeding.after_fork(in_child=in_child)
    _held.clear()
    _held_feeds.clear()


def _in_parent() -> None:
    _after_fork(lambda composite: composite._ring.lock.release(), in_child=False)
    _forking.release()


def _in_child() -> None:
    global _forking, _ordering  # noqa: PLW0603  its owner's thread is this one, but a lock of the parent's stays suspect
    _after_fork(lambda composite: composite._start_anew(), in_child=True)
    _writers.clear()
    _forking = threading.Lock()
    _ordering = threading.Lock()


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_S
    # Journals first: feeds bring stores only what those have.
    for feeding in sorted(_feeds, key=lambda each: not getattr(each, "is_fed_from", False)):
        feeding.finish(max(0.0, deadline - time.monotonic()))
    writers = list(_writers)
    for writer in writers:
        writer.stop()
    for writer in writers:
        writer.join(max(0.0, deadline - time.monotonic()))


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
atexit.register(_at_exit)
