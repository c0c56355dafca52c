"""docs/benchmarks.md: figures between markers are replaced, everything else stays as somebody wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.figures import TARGETS, Section, number
from bench.template import TEMPLATE

HEADINGS: Final = ("figure", "median", "unit", "min to max", "by processor time", "remarks")
TARGET_HEADINGS: Final = ("figure", "must", "aim", "measured", "verdict", "when")


def block(name: str) -> re.Pattern[str]:
    """Find a generated block."""
    return re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end of figures: {name} -->)", re.DOTALL)


def update(path: Path, sections: Mapping[str, Section], environment: Mapping[str, str]) -> None:
    """Write the sections into the file; those that weren't measured keep what they have."""
    text = path.read_text() if path.exists() else TEMPLATE
    when = f"{environment['date'][:10]}, {environment['commit'].partition(',')[0]}"
    text = replaced(text, "environment", listing(environment))
    text = replaced(text, "targets", targets(current(text, "targets"), sections, when))
    for name, section in sections.items():
        text = replaced(text, name, body(section, when))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def replaced(text: str, name: str, figures: str) -> str:
    """Put new figures into a block; a block that isn't there yet is added at the end."""
    if not block(name).search(text):
        text = f"{text.rstrip()}\n\n<!-- figures: {name} -->\n<!-- end of figures: {name} -->\n"
    return block(name).sub(lambda found: f"{found[1]}\n{figures.strip()}\n\n{found[2]}", text)


def current(text: str, name: str) -> str:
    """Give what is in a block now."""
    found = block(name).search(text)
    return found[0] if found else ""


def listing(environment: Mapping[str, str]) -> str:
    """List what was measured on."""
    return "\n".join(f"- {name}: {value}" for name, value in environment.items())


def grid(lines: list[tuple[str, ...]]) -> str:
    """Draw a table; the first line is its heading."""
    ruled = [lines[0], tuple("---" for _ in lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)


def body(section: Section, when: str) -> str:
    """Write a section below its title."""
    parts = [f"## {section.title}"]
    if section.skipped:
        parts.append(f"Not run: {section.skipped}.")
    else:
        parts.append(section.text.strip())
        if section.figures:
            parts.append(grid([HEADINGS, *(figure.cells for figure in section.figures)]))
        if section.table:
            parts.append(section.table.strip())
    parts.append(f"*{when}*")
    return "\n\n".join(parts)


def targets(before: str, sections: Mapping[str, Section], when: str) -> str:
    """Draw the table of promised figures; a row that wasn't measured now keeps what it says."""
    kept = {line.split("|")[1].strip(): line for line in before.splitlines() if line.startswith("|")}
    lines = [grid([TARGET_HEADINGS])]
    for key, target in TARGETS.items():
        figures = [figure for section in sections.values() for figure in section.figures if figure.target == key]
        if not figures:
            empty = grid([(target.words, *target.bounds(), "", "not measured", "")]).splitlines()[0]
            lines.append(kept.get(target.words, empty))
            continue
        medians = [figure.median for figure in figures]
        measured = number(target.worst(medians))
        if len(medians) > 1:
            measured += f" (others from {number(min(medians))} to {number(max(medians))})"
        verdict = target.verdict(target.worst(medians))
        row = (target.words, *target.bounds(), f"{measured} {target.unit}", verdict, when)
        lines.append(grid([row]).splitlines()[0])
    return "\n".join(lines)


def plain(sections: Mapping[str, Section]) -> str:
    """Write everything for a terminal."""
    parts = []
    for section in sections.values():
        rows = [figure.cells for figure in section.figures]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(len(HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        said = [f"not run: {section.skipped}"] if section.skipped else [*lines, section.table.strip()]
        parts.append("\n".join([section.title, "=" * len(section.title), *filter(None, said)]))
    return "\n\n".join(parts) + "\n"
