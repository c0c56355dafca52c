"""Compare pyengine with other engines: `python -m bench.peers.compare --json out.json`.

Every engine runs in its own environment and in a new process for each round, all of them once a round, so that a busy
spell of the machine meets all alike. Trades are compared with those of the generator's own book.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.peers.contract import digest
from bench.peers.environments import InstallError, packages, python_of
from bench.peers.flow import Flow, mixed_flow
from bench.peers.report import Row, as_json, table, verdict
from bench.peers.roster import FLOOR, OURS, PEERS, Peer

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Runner:
    """A row and what it is run with."""

    row: Row
    python: Path
    adapter: str
    peer: Peer | None = None


def options_from(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commands", type=int, default=200_000, help="commands after the prefill")
    parser.add_argument("--book-orders", type=int, default=4000, help="resting orders, prefilled and kept to")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--envs", type=Path, default=Path(".peers"), help="folder of the virtual environments")
    parser.add_argument("--ours", default=sys.executable, help="Python that has pyengine")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows to run")
    parser.add_argument("--timeout-s", type=float, default=60.0, help="for one engine in one round")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args(arguments)
    if options.repeat < 1 or options.commands < 1 or options.book_orders < 1:
        parser.error("--repeat, --commands and --book-orders must be at least 1")
    return options


def prepare(options: argparse.Namespace) -> list[Runner]:
    """Make a runner for each row that was asked for; an engine that cannot be installed is a row too."""
    python = Path(options.ours)
    runners = [Runner(Row(name=name), python, name) for name in (FLOOR, *OURS)]
    for peer in PEERS:
        row = Row(name=peer.name, known_difference=peer.known_difference)
        runners.append(Runner(row, python, peer.adapter, peer))
    if options.only:
        unknown = set(options.only) - {runner.row.name for runner in runners}
        if unknown:
            message = f"--only must name rows among {[runner.row.name for runner in runners]}, was {sorted(unknown)}"
            raise SystemExit(message)
        runners = [runner for runner in runners if runner.row.name in options.only]
    for runner in runners:
        if runner.peer is None:
            continue
        sys.stderr.write(f"environment of {runner.peer.name}\n")
        try:
            runner.python = python_of(runner.peer, options.envs)
            runner.row.packages = packages(runner.python)
        except InstallError as error:
            runner.row.failure = f"not installed: {error}"
    return runners


def run_worker(python: Path, adapter: str, flow: Path, timeout_s: float) -> dict[str, Any]:
    """Run one round of one engine in a process of its own; a crash or a hang is its result."""
    command = [str(python), "-m", "bench.peers.worker", adapter, str(flow)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"error": f"no end within {timeout_s:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        result: dict[str, Any] = json.loads(lines[-1])
        return result
    if done.returncode < 0:
        return {"error": f"killed by signal {-done.returncode}"}
    return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}


def run_rounds(runners: list[Runner], flow: Path, options: argparse.Namespace) -> list[float]:
    """Run all rounds, every other one backwards, and give the machine's load before each."""
    loads = []
    for number in range(options.repeat):
        loads.append(os.getloadavg()[0])
        for runner in runners if number % 2 == 0 else runners[::-1]:
            if not runner.row.failure:
                sys.stderr.write(f"round {number + 1} of {options.repeat}: {runner.row.name}\n")
                runner.row.take(run_worker(runner.python, runner.adapter, flow, options.timeout_s))
    return loads


def processor() -> str:
    """Name the processor, as far as the system tells."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; the exit status is 1 if a result is wrong or missing without a known reason."""
    options = options_from(arguments)
    flow: Flow = mixed_flow(options.commands, options.seed, options.book_orders)
    expected = np.column_stack([flow["trade_taker"], flow["trade_maker"], flow["trade_price"], flow["trade_qty"]])
    expected_digest = digest(expected)
    runners = prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "flow.npz"
        np.savez(stored, **flow)
        loads = run_rounds(runners, stored, options)
    rows = [runner.row for runner in runners]
    sys.stdout.write(
        f"{options.commands} commands, {len(expected)} trades, book of {options.book_orders} orders, "
        f"seed {options.seed}, {options.repeat} rounds; "
        f"load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores\n\n"
    )
    sys.stdout.write(table(rows, expected_digest))
    if options.json:
        outcome = {
            "flow": {
                "commands": options.commands,
                "book_orders": options.book_orders,
                "seed": options.seed,
                "trades": len(expected),
                "digest": expected_digest,
            },
            "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(), "loads": loads},
            "rows": [as_json(row, expected_digest) for row in rows],
        }
        options.json.write_text(json.dumps(outcome, indent=2) + "\n")
    return 0 if all(verdict(row, expected_digest)[0] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
