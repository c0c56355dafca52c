"""Measure everything: `python -m bench [--quick] [--only NAME ...] [--harness DIR] [--output FILE]`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.figures import TARGETS, Section
from bench.machine import ROOT, busy, environment
from bench.report import plain, update
from bench.template import SECTIONS

REPORT: Final = ROOT / "docs" / "benchmarks.md"
TIMEOUT_S: Final = 1800


def options_from(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure pyengine.")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer; writes no report unless --output is given")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME", help=", ".join(SECTIONS))
    parser.add_argument("--harness", type=Path, help="built checkout of flash1-dev/matching-engine-benchmark")
    parser.add_argument("--envs", type=Path, default=ROOT / ".peers", help="environments of the other engines")
    parser.add_argument("--output", type=Path, help=f"report to update, by default {REPORT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if options.output is None and not options.quick:
        options.output = REPORT
    return options


def run_section(name: str, options: argparse.Namespace) -> Section:
    """Measure a section in a new process; a crash or a hang is its result."""
    command = [sys.executable, "-m", "bench.worker", name, "--envs", str(options.envs.resolve())]
    command += ["--quick"] if options.quick else []
    command += ["--harness", str(options.harness.resolve())] if options.harness else []
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return Section(title=name, text="", skipped=f"no end within {TIMEOUT_S} s")
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return Section(title=name, text="", skipped=f"it failed, with status {done.returncode}")
    return Section.from_json(json.loads(lines[-1]))


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; the exit status is 1 if a section failed, whatever the figures are."""
    options = options_from(arguments)
    described = environment(sys.argv[1:] if arguments is None else arguments)
    if busy():
        sys.stderr.write("the machine is busy: times will be too long, ratios may hold\n")
    sections: dict[str, Section] = {}
    failed = False
    for name in options.only:
        sys.stderr.write(f"{name}\n")
        start = time.monotonic()
        sections[name] = run_section(name, options)
        failed = failed or sections[name].skipped.startswith(("it failed", "no end"))
        sys.stderr.write(f"  {time.monotonic() - start:.0f} s\n")
        if options.output is not None:
            update(options.output, {name: sections[name]}, described)
    sys.stdout.write(plain(sections))
    missed = [
        TARGETS[figure.target].words
        for section in sections.values()
        for figure in section.figures
        if figure.target and "below" in TARGETS[figure.target].verdict(figure.median)
    ]
    sys.stdout.write("".join(f"\nbelow must: {words}" for words in dict.fromkeys(missed)) + ("\n" if missed else ""))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
