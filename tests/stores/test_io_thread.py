"""The thread that runs the event loop of asyncio backends."""

from __future__ import annotations

import _thread
import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyengine.stores.io_thread import io_thread


async def answer(value: object, after_s: float = 0.0) -> object:
    await asyncio.sleep(after_s)
    return value


async def fail() -> None:
    await asyncio.sleep(0)
    raise LookupError("on purpose")


class Endless:
    """A coroutine that ends only when it is cancelled, and tells when."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.cancelled = threading.Event()

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def test_a_thread_gets_what_the_coroutine_returns_or_raises() -> None:
    io = io_thread()
    assert io.run(answer(42)) == 42
    with pytest.raises(LookupError, match="on purpose"):
        io.run(fail())
    assert io.run(answer("still there")) == "still there"


def test_there_is_one_and_all_threads_share_it() -> None:
    async def where() -> int:
        return threading.get_ident()

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: io_thread().run(where()), range(64)))
    assert len(found) == 1
    assert threading.get_ident() not in found


def test_calls_of_many_threads_overlap() -> None:
    start = time.perf_counter()
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda n: io_thread().run(answer(n, 0.1)), range(16))) == [*range(16)]
    assert time.perf_counter() - start < 1.0


def test_a_call_that_takes_too_long_is_cancelled() -> None:
    endless = Endless()
    with pytest.raises(TimeoutError, match=r"must end within 0\.05 s"):
        io_thread().run(endless.run(), timeout_s=0.05)
    assert endless.cancelled.wait(5)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt; shells start background processes with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_wait_cancels_the_call() -> None:
    endless = Endless()

    def interrupt() -> None:
        assert endless.began.wait(5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        io_thread().run(endless.run())
    assert endless.cancelled.wait(5)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_wakes_nobody_is_noticed_soon() -> None:
    cancelled = threading.Event()

    async def long() -> None:
        try:
            _thread.interrupt_main()  # as a signal does that comes just before the wait
            await asyncio.sleep(8)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        io_thread().run(long())
    assert cancelled.wait(5)


def test_waiting_on_the_thread_itself_is_refused() -> None:
    async def wait_inside() -> None:
        io_thread().run(answer(1))

    with pytest.raises(RuntimeError, match="another thread"):
        io_thread().run(wait_inside())


def test_submit_doesnt_wait_and_its_future_can_be_awaited_by_any_loop() -> None:
    async def main() -> tuple[object, float]:
        start = time.perf_counter()
        future = io_thread().submit(answer("late", 0.2))
        took = time.perf_counter() - start
        return await asyncio.wrap_future(future), took

    found, took = asyncio.run(main())
    assert found == "late"
    assert took < 0.1


def test_cancelling_what_was_submitted_cancels_the_coroutine() -> None:
    endless = Endless()
    future = io_thread().submit(endless.run())
    assert endless.began.wait(5)
    assert future.cancel()
    assert endless.cancelled.wait(5)


def script(text: str) -> str:
    """Run a program of its own, warnings as errors, and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def test_a_forked_child_gets_a_thread_of_its_own() -> None:
    assert (
        script("""
        import asyncio, os, threading
        from pyengine.stores.io_thread import io_thread

        async def name():
            return threading.current_thread().name, os.getpid()

        parent = io_thread()
        assert parent.run(name())[1] == os.getpid()
        child = os.fork()
        if child == 0:
            assert io_thread() is not parent
            assert io_thread().run(name()) == ("pyengine-io", os.getpid())
            raise SystemExit
        assert os.waitpid(child, 0)[1] == 0
        assert parent is io_thread()
        print(parent.run(name())[0])
    """)
        == "pyengine-io\n"
    )


def test_at_the_end_of_the_program_calls_are_refused_and_nothing_hangs() -> None:
    assert (
        script("""
        import asyncio, atexit
        from pyengine.stores.io_thread import io_thread

        def late():
            try:
                io_thread().run(asyncio.sleep(0))
            except RuntimeError as error:
                print(io_thread().ended, error)

        atexit.register(late)
        io_thread().run(asyncio.sleep(0))
        io_thread().submit(asyncio.sleep(0)).result()
    """)
        == "True Event loop is closed\n"
    )


def test_who_still_waits_at_the_end_of_the_program_is_woken() -> None:
    assert (
        script("""
        import asyncio, threading, time
        from pyengine.stores.io_thread import io_thread

        def wait():
            try:
                io_thread().run(asyncio.sleep(3600))
            except asyncio.CancelledError:
                print("woken", flush=True)

        io_thread().run(asyncio.sleep(0))
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        time.sleep(0.2)
        io_thread().stop()
        thread.join()
    """)
        == "woken\n"
    )
