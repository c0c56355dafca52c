"""The thread that runs the event loop of all backends that are asyncio inside; one for the whole process.

Callers on any thread wait for it without a loop of their own, callers inside a loop await it without blocking theirs.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import selectors
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

_STOP_S = 2.0
_NAP_S = 1.0


class _Call(Generic[T]):
    """One coroutine that a thread waits for.

    A plain lock wakes the thread sooner than the condition of a Future does, and the coroutine itself opens it, a turn of the
    loop before a callback would.
    """

    __slots__ = ("_coroutine", "_task", "cancelled", "error", "finished", "value")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self.finished = threading.Lock()
        self.finished.acquire()

    def start(self) -> None:
        """Begin, on the loop."""
        if not self.cancelled:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """Give up, on the loop."""
        self.cancelled = True
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self.value = await self._coroutine
        except BaseException as error:  # noqa: BLE001  whatever it is, it is for the thread that waits
            self.error = error
        self.finished.release()


class IoThread:
    """An event loop on a thread of its own. Use `io_thread()` instead of making one."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(target=self._serve, name="pyengine-io", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, for what must be made on it."""
        return self._loop

    @property
    def ended(self) -> bool:
        """Whether the interpreter is on its way out and has stopped the loop."""
        return self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for what it returns or raises.

        Parameters
        ----------
        coroutine : coroutine
        timeout_s : float, optional
            How long to wait; the coroutine is cancelled then. Default: for as long as it takes.

        Raises
        ------
        TimeoutError
            It took longer.
        RuntimeError
            The call came from the loop itself, which would wait for itself for ever, or the interpreter is ending.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a call that waits must come from another thread than the I/O thread")
        call = _Call(coroutine)
        try:
            self._loop.call_soon_threadsafe(call.start)
            finished = _wait(call.finished, timeout_s)
        except BaseException:
            # Interrupted while waiting, or the loop is gone.
            self._give_up(call)
            raise
        if not finished:
            self._give_up(call)
            raise TimeoutError(f"a call on the I/O thread must end within {timeout_s} s")
        if call.error is not None:
            try:
                raise call.error
            finally:
                # The error's traceback refers to this frame; without the way back the two are freed at once.
                del call
        return cast("T", call.value)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop and return at once; cancelling the future cancels it."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise

    def stop(self) -> None:
        """End the thread; for the end of the interpreter."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_S)

    def abandon(self) -> None:
        """Let go of it in a forked child, which has the loop but not its thread.

        On Linux the selector is shared with the parent, who would miss what the child takes out of it.
        """
        self._selector.close()

    def _give_up(self, call: _Call[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(call.cancel)
        except RuntimeError:
            call.cancel()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # Who still waits is told; nobody else would ever wake them.
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()


def _wait(finished: threading.Lock, timeout_s: float | None) -> bool:
    """Wait for a call's end, awake now and then: a signal that comes just before the thread falls asleep wakes nobody."""
    if timeout_s is None:
        while not finished.acquire(timeout=_NAP_S):
            pass
        return True
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > _NAP_S:
        if finished.acquire(timeout=_NAP_S):
            return True
    return finished.acquire(timeout=max(0.0, left_s))


_making = threading.Lock()
_current: IoThread | None = None
_inherited: list[IoThread] = []


def io_thread() -> IoThread:
    """Return the I/O thread of this process, which is started with the first call."""
    global _current  # noqa: PLW0603  one for the whole process is the point
    found = _current
    if found is not None:
        return found
    with _making:
        if _current is None:
            _current = IoThread()
            atexit.register(_current.stop)
        return _current


def _forget_inherited() -> None:
    """Start anew in a child; what hangs on the old loop is kept for ever, because its end would say goodbye to servers."""
    global _current  # noqa: PLW0603
    if _current is not None:
        atexit.unregister(_current.stop)
        _current.abandon()
        _inherited.append(_current)
        _current = None
    _making.release()


os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_forget_inherited)
