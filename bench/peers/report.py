"""From the workers' results to verdicts and a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Final

HEADINGS: Final = (
    "engine",
    "version",
    "python",
    "us/command",
    "min-max",
    "ratio",
    "cpu us",
    "cpu ratio",
    "objects",
    "fills",
    "result",
)
REFERENCE: Final = "pyengine_call"


@dataclass(kw_only=True)
class Row:
    """One engine over all rounds."""

    name: str
    known_difference: str = ""
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    construct_cpu_seconds: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    packages: list[str] = field(default_factory=list)

    def take(self, result: dict[str, Any]) -> None:
        """Add a round; an engine that failed once is out, and so is one whose rounds disagree."""
        if "error" in result:
            self.failure = str(result["error"])
            return
        if self.last and self.last["digest"] != result["digest"]:
            self.failure = "trades differ between rounds"
            return
        self.last = result
        self.seconds += result["seconds"]
        self.cpu_seconds += result["cpu_seconds"]
        self.construct_cpu_seconds += result["construct_cpu_seconds"]

    @property
    def measured(self) -> bool:
        """Whether all rounds ran."""
        return not self.failure and bool(self.seconds)

    def microseconds(self, seconds: float) -> float:
        """Time of one command."""
        return seconds / max(1, int(self.last["commands"])) * 1e6

    @property
    def median_us(self) -> float:
        """Median over the rounds, of one command, by the clock."""
        return self.microseconds(statistics.median(self.seconds))

    @property
    def median_cpu_us(self) -> float:
        """Median over the rounds, of one command, by processor time."""
        return self.microseconds(statistics.median(self.cpu_seconds))


def verdict(row: Row, expected_digest: str) -> tuple[bool, str]:
    """Tell whether the engine did what it had to, or why not is known, and say it."""
    reason = f" ({row.known_difference})" if row.known_difference else ""
    if not row.measured:
        return bool(reason), f"failed: {row.failure or 'no round was run'}{reason}"
    if row.last["reports_fills"]:
        if row.last["digest"] == expected_digest:
            return True, "equal"
        found = row.last["difference"] or {}
        where = f"differs from trade {found.get('row')} on, {found.get('rows')} trades, in {found.get('columns')}"
        return bool(reason), where + reason
    if not row.last.get("book_checked"):
        return True, "nothing to check"
    difference = row.last["book_difference"]
    if difference is None:
        return True, "no fills reported; book equal after each command"
    return bool(reason), f"book differs after command {difference['command']}{reason}"


def reference_of(rows: list[Row], expected_digest: str) -> Row | None:
    """Choose what ratios are relative to: our own calls, or the fastest engine with equal trades."""
    equal = [row for row in rows if row.measured and row.last["digest"] == expected_digest]
    ours = [row for row in equal if row.name == REFERENCE]
    return ours[0] if ours else min(equal, key=lambda row: row.median_us, default=None)


def cells(row: Row, reference: Row | None, expected_digest: str) -> tuple[str, ...]:
    """Make the texts of one row."""
    _, outcome = verdict(row, expected_digest)
    head = (row.name, str(row.last.get("version", "")), str(row.last.get("python", "")))
    if not row.measured:
        return (*head, *[""] * (len(HEADINGS) - len(head) - 1), outcome)
    low, high = row.microseconds(min(row.seconds)), row.microseconds(max(row.seconds))
    construct = row.construct_cpu_seconds
    return (
        *head,
        f"{row.median_us:.3f}",
        f"{low:.3f}-{high:.3f}",
        f"{row.median_us / reference.median_us:.2f}" if reference else "",
        f"{row.median_cpu_us:.3f}",
        f"{row.median_cpu_us / reference.median_cpu_us:.2f}" if reference else "",
        f"{row.microseconds(statistics.median(construct)):.3f}" if construct else "",
        "yes" if row.last["reports_fills"] else "no",
        outcome,
    )


def table(rows: list[Row], expected_digest: str) -> str:
    """Draw the table, fastest first and failures last."""
    reference = reference_of(rows, expected_digest)
    ordered = sorted(rows, key=lambda row: row.median_us if row.measured else float("inf"))
    lines = [HEADINGS, *(cells(row, reference, expected_digest) for row in ordered)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths[:-1]) + "  ------")
    if reference:
        text.append(f"Ratios are to {reference.name}. Of cpu us, `objects` is what making order objects takes alone.")
    return "\n".join(text) + "\n"


def as_json(row: Row, expected_digest: str) -> dict[str, Any]:
    """Give the whole of a row for the file."""
    accepted, outcome = verdict(row, expected_digest)
    return {
        "name": row.name,
        "measured": row.measured,
        "accepted": accepted,
        "result": outcome,
        "median_us": row.median_us if row.measured else None,
        "median_cpu_us": row.median_cpu_us if row.measured else None,
        "packages": row.packages,
        **{
            key: value
            for key, value in row.last.items()
            if key not in {"name", "seconds", "cpu_seconds", "construct_cpu_seconds"}
        },
        "seconds": row.seconds,
        "cpu_seconds": row.cpu_seconds,
        "construct_cpu_seconds": row.construct_cpu_seconds,
    }
