"""How a composite asks its layers: what to ask whom is a generator, so that threads and event loops share it.

The generator yields an `Ask` and is sent the `Reply`. `ask` answers it in the caller's thread, `ask_async` on the caller's
event loop; neither takes longer than the layer's deadline, whatever the store does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreDamaged, StoreUnavailable
from pyengine.stores.composite.layer import Layer
from pyengine.stores.composite.readers import Busy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A method of a layer's store to call, once the layer has dealt with everything up to a position (0: at once)."""

    layer: Layer
    method: str
    arguments: tuple[Any, ...]
    after: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a value, or why there is none."""

    value: Any = None
    error: Exception | None = None


Reading = Generator[Ask, Reply, T]


def read(reading: Reading[T]) -> T:
    """Carry out a reading in this thread."""
    try:
        asked = next(reading)
        while True:
            asked = reading.send(ask(asked))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def read_async(reading: Reading[T]) -> T:
    """Carry out a reading on this event loop."""
    try:
        asked = next(reading)
        while True:
            asked = reading.send(await ask_async(asked))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def ask(asked: Ask) -> Reply:
    """Ask a layer, and wait for the answer until its deadline."""
    layer = asked.layer
    deadline = time.monotonic() + layer.read_deadline_s
    if layer.is_behind:
        # What it lacks is more than what is in the ring; who asked sees to it that its answer isn't taken for the whole.
        asked = replace(asked, after=0)
    if _may_ask(layer) and asked.after > layer.cursor.done:
        layer.ring.wait_until(lambda: _is_over(asked), layer.read_deadline_s)
    refused = _refused(asked)
    if refused is not None:
        return refused
    if layer.is_inline:
        return _replied(asked, _called(asked))
    try:
        future = layer.readers.submit(lambda: getattr(layer.store, asked.method)(*asked.arguments))
        future.exception(max(0.0, deadline - time.monotonic()))
    except Busy as error:
        layer.breaker.gave_back()
        return _skipped(layer, str(error))
    except FutureTimeoutError:
        future.cancel()
        future = _late(asked)
    return _replied(asked, future)


async def ask_async(asked: Ask) -> Reply:
    """Ask a layer without keeping the event loop from others: through the store's own `aio`, or in a thread."""
    layer = asked.layer
    deadline = time.monotonic() + layer.read_deadline_s
    if layer.is_behind:
        asked = replace(asked, after=0)
    if _may_ask(layer) and asked.after > layer.cursor.done:
        await wait_async(lambda: _is_over(asked), layer, layer.read_deadline_s)
    refused = _refused(asked)
    if refused is not None:
        return refused
    if layer.is_inline:
        return _replied(asked, _called(asked))
    native = getattr(getattr(layer.store, "aio", None), asked.method, None)
    done: Future[Any] = Future()
    try:
        if native is not None:
            coming = native(*asked.arguments)
        else:
            call = layer.readers.submit(lambda: getattr(layer.store, asked.method)(*asked.arguments))
            coming = asyncio.wrap_future(call)
        done.set_result(await asyncio.wait_for(coming, max(0.0, deadline - time.monotonic())))
    except Busy as error:
        layer.breaker.gave_back()
        return _skipped(layer, str(error))
    except TimeoutError:
        return _replied(asked, _late(asked))
    except asyncio.CancelledError:
        layer.breaker.gave_back()
        raise
    except Exception as error:  # noqa: BLE001  sorted in _replied
        done.set_exception(error)
    return _replied(asked, done)


async def wait_async(reached: Any, layer: Layer, timeout_s: float) -> bool:
    """Wait for progress of a layer until a condition holds, and return whether it does."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    deadline = time.monotonic() + timeout_s

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    with layer.ring.listening(wake):
        while not reached():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), min(left_s, 0.02))
            except TimeoutError:
                continue
    return True


def no_answer(replies: list[tuple[Layer, Exception]]) -> Exception:
    """Make the error of a read that nobody could answer: damage where somebody saw it, else that nobody is there."""
    for _, error in replies:
        if isinstance(error, StoreDamaged):
            return error
    reasons = "; ".join(str(error) for _, error in replies)
    return StoreUnavailable(f"no layer can answer: {reasons or 'there is none'}")


def _may_ask(layer: Layer) -> bool:
    """Whether waiting for a turn makes sense at all."""
    return layer.breaker.closed or layer.breaker.probe_in_s == 0


def _refused(asked: Ask) -> Reply | None:
    """Return why a layer isn't asked now, or None and the leave to."""
    layer = asked.layer
    if layer.cursor.done < asked.after and layer.breaker.closed:
        return _skipped(layer, "is behind")
    if layer.cursor.done < asked.after or not layer.breaker.allow():
        return _skipped(layer, "is out of reach")
    return None


def _is_over(asked: Ask) -> bool:
    return asked.layer.cursor.done >= asked.after or not asked.layer.breaker.closed


def _called(asked: Ask) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(getattr(asked.layer.store, asked.method)(*asked.arguments))
    except Exception as error:  # noqa: BLE001  sorted in _replied
        done.set_exception(error)
    return done


def _late(asked: Ask) -> Future[Any]:
    late: Future[Any] = Future()
    late.set_exception(
        StoreUnavailable(f"{asked.layer.name} must answer {asked.method} in {asked.layer.read_deadline_s:g} s, has not")
    )
    return late


def _skipped(layer: Layer, why: str) -> Reply:
    layer.count("skipped")
    return Reply(error=StoreUnavailable(f"{layer.name} {why}"))


def _replied(asked: Ask, done: Future[Any]) -> Reply:
    """Sort what came back: a value, a complaint about the question, damage, or no answer."""
    error = done.exception()
    layer = asked.layer
    if error is None:
        layer.succeeded()
        return Reply(done.result())
    if isinstance(error, (FieldError, FieldTypeError)):
        layer.succeeded()
        raise error
    if isinstance(error, StoreDamaged):
        layer.succeeded()
        layer.say_damaged(error)
        return Reply(error=error)
    if not isinstance(error, Exception):
        raise error
    layer.failed(error)
    return Reply(error=error)
