"""Other engines from PyPI on the same flow, by `bench.peers.compare`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Section, number
from bench.sizes import Sizes

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 1800
HEADINGS = ("engine", "version", "Python", "µs a command", "min to max", "fills", "result")

TEXT = """
`bench/peers/` runs one flow through each engine in an environment of its own, all of them once a round; its README
has the rules. {commands:,} commands after a prefill of {book_orders:,} orders, {trades:,} trades to be made, {rounds}
rounds. `pyengine_call` is our fast calls, `pyengine_arrays` our arrays, `loop_alone` the Python loop that every
engine but the arrays has around its calls.
"""


def measure_with(environments: Path, sizes: Sizes) -> Section:
    """Run the comparison and make a table of what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "peers.json")
        command = [sys.executable, "-m", "bench.peers.compare", "--json", str(results), "--envs", str(environments)]
        command += ["--commands", str(sizes.peer_commands), "--repeat", str(sizes.peer_rounds)]
        command += ["--timeout-s", str(sizes.peer_timeout_s)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT, stderr=None)
        if not results.exists():
            skipped = f"the comparison ended with status {done.returncode}"
            return Section(title="Other engines", text="", skipped=skipped)
        outcome = json.loads(results.read_text())
    text = TEXT.format(rounds=sizes.peer_rounds, **outcome["flow"])
    return Section(title="Other engines", text=text, table=table(outcome["rows"]))


def table(rows: list[dict[str, Any]]) -> str:
    """Draw a table, fastest first and failures last."""
    ordered = sorted(rows, key=lambda row: row["median_us"] if row["measured"] else float("inf"))
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(cells(row) for row in ordered)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Make the texts of one engine."""
    result = row["result"].replace("|", "\\|")
    if not row["measured"]:
        return (row["name"], row.get("version", ""), "", "", "", "", result)
    each = [seconds / max(1, row["commands"]) * 1e6 for seconds in row["seconds"]]
    return (
        row["name"],
        row.get("version", ""),
        row["python"],
        number(row["median_us"]),
        f"{number(min(each))} to {number(max(each))}",
        "yes" if row["reports_fills"] else "no",
        result,
    )
