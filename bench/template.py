"""The report's first form; once the file is there, its prose is edited in the file."""

from __future__ import annotations

from typing import Final

SECTIONS: Final = (
    "arrays",
    "calls",
    "latency",
    "stores",
    "layers",
    "layer_speed",
    "audit",
    "deep",
    "memory",
    "recorded",
    "states",
    "journal",
    "flash1",
    "peers",
)
"""The measurements, in the order of the report."""


def _empty(name: str) -> str:
    return f"<!-- figures: {name} -->\n<!-- end of figures: {name} -->\n"


TEMPLATE: Final = f"""# Benchmarks

`make bench` measures what is below and replaces the figures between the markers in this file; the rest is written by hand.

{_empty("environment")}
## What was promised

For the mixed flow around a book of about 4,000 orders, unless the row says otherwise. Where several figures belong to a row the
worst one counts.

{_empty("targets")}
## Method

- The mixed flow is that of `bench/peers/flow.py`: 50 % passive orders, 40 % cancels of random resting orders, 10 %
  orders that cross and take about one resting order, around 4,000 resting orders. The same trades must come out as in
  the generator's own slow book, or there is no figure.
- Each section runs in a process of its own. Within a section the kinds of work take turns, every other round backwards,
  so that a busy spell of the machine meets all alike; ratios are taken round by round. The figure is the median, the
  spread is from the least to the most of all rounds, and the rounds before the first counted one warm memory and caches
  up.
- Timings on a machine that others use too are noisy, by tens of per cent and more. Ratios within a run hold better than
  times, and processor time (of the calling thread, where one thread does the work) holds better than elapsed time,
  which is what counts here.
- Garbage is collected before each lap, and what exists then is kept out of later collections.
- Nothing is subtracted: a loop around calls is part of their figure, and given beside it.

## Where the nanoseconds go

Not written yet.

{"".join(_empty(name) + chr(10) for name in SECTIONS)}"""
