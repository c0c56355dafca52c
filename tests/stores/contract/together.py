"""Several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

THREADS = 8
ROUNDS = 25


def together(work: Callable[[int], None], count: int = THREADS) -> None:
    """Run something in several threads at once, and raise what one of them raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
