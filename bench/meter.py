"""Processor time of works that take turns: in this process, with all its threads, and in the servers that it talks to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from bench.servers import Places
from bench.timing import Prepare


class Meter:
    """Adds up, lap by lap, the warm-up too. Servers are looked at while no clock runs, which takes too long otherwise."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._laps: defaultdict[str, int] = defaultdict(int)
        self._here_s: defaultdict[str, float] = defaultdict(float)
        self._servers_s: defaultdict[str, float] = defaultdict(float)
        self._running: tuple[str, float] | None = None

    def around(self, name: str, prepare: Prepare) -> Prepare:
        """Measure a work too."""

        def prepare_both() -> Callable[[], object]:
            self.stop()
            work = prepare()

            def run() -> object:
                start = time.process_time()
                result = work()
                self._here_s[name] += time.process_time() - start
                return result

            self._running = name, self._places.servers_cpu_s()
            return run

        return prepare_both

    def stop(self) -> None:
        """Note what the servers have done since the last lap began."""
        if self._running is not None:
            name, before = self._running
            self._laps[name] += 1
            self._servers_s[name] += self._places.servers_cpu_s() - before
            self._running = None

    def words(self, name: str, count: int) -> str:
        """Say what one of so many of a lap has taken on average."""
        self.stop()
        each_us = 1e6 / (count * self._laps[name])
        here, there = self._here_s[name] * each_us, self._servers_s[name] * each_us
        return f"processor time {here:.1f} µs each here, {there:.1f} µs in the server"
