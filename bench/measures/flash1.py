"""The independent judge, flash1-dev/matching-engine-benchmark, with CppTrader in the same run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench.figures import Figure, Section
from bench.sizes import Sizes

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "bench" / "flash1" / "run.py"
PEER = "cpptrader"
PEER_ADAPTER = f"{PEER}_adapter.so"
TIMEOUT_S = 1800
ROW = re.compile(r"^(\S+) +(\S+) +(VALID|INVALID) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)

TEXT = """
`bench/flash1/run.py` has the judge run its five scenarios with our adapter, which passes the engine's own event ring
on, and with CppTrader, in turns. The judge's clock, the judge's verdict; each figure is the median over {runs} runs
of its messages a second. The target holds the worst scenario of ours against the worst of CppTrader's.
"""


def measure_with(harness: Path | None, sizes: Sizes) -> Section:
    """Run the judge, if there is one."""
    section = Section(title="flash1", text=TEXT.format(runs=sizes.flash1_runs))
    if harness is None:
        section.skipped = "give --harness with a built checkout of the benchmark"
        return section
    command = [sys.executable, str(DRIVER), "--harness", str(harness), "--runs", str(sizes.flash1_runs), "--no-audit"]
    if (harness / PEER_ADAPTER).exists():
        command += ["--against", PEER_ADAPTER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)
    rows = ROW.findall(done.stdout)
    if not rows:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        section.skipped = f"the judge gave no figures: {said[-1]}"
        return section
    section.figures = [of_row(row) for row in rows]
    medians: dict[str, list[float]] = {}
    for _, engine, _, median, _, _ in rows:
        medians.setdefault(engine, []).append(float(median))
    if PEER in medians:
        ours = next(values for engine, values in medians.items() if engine != PEER)
        ratio = min(ours) / min(medians[PEER])
        section.figures.append(
            Figure(name=f"worst scenario of each, pyengine : {PEER}", unit="x", values=(ratio,), target="flash1")
        )
    return section


def of_row(row: tuple[str, ...]) -> Figure:
    """Make a figure of a line of the judge's table: median, least, most."""
    scenario, engine, verdict, median, least, most = row
    values = (float(least), float(median), float(most))
    return Figure(name=f"{scenario}, {engine}", unit="M messages/s", values=values, note=verdict)
