"""A market in two lives: `make run` plays the recorded market with a journal, kills the process half way, and goes on.

The first process runs the market's commands in small arrays and says after each how many have been acknowledged. It is killed
without warning at some moment in the middle. The second one makes the engine anew out of the journal, runs what is left, and
compares all trades of both lives and the final book with the recording.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pyengine import Engine, samples
from pyengine.journal import Journal
from pyengine.journal.format import FrameKind
from pyengine.journal.reader import JournalReader, events_of
from pyengine.records import TRADE_DTYPE, Kind, Records
from pyengine.replay import Tape, open_tape
from pyengine.replay.checks import Finding, Moment
from pyengine.replay.tape import Batch

ROWS = 200
"""Commands of an array: each is acknowledged as a whole, by one wait for the disk."""


def all_rows(tape: Tape) -> int:
    """Count all commands of a tape, those of its book at the beginning too."""
    return tape.rows + (0 if tape.seed is None else len(tape.seed))


def pieces(tape: Tape, rows: int, skip: int = 0) -> Iterator[Batch]:
    """Cut all commands of a tape, its book at the beginning first, into arrays; leave out the first `skip`."""
    for part in (tape.seed, *tape.batches(Engine(), ())):
        if part is not None:
            for start in range(min(skip, len(part)), len(part), rows):
                yield part[start : start + rows]
            skip -= min(skip, len(part))


def first_life(folder: Path, tape: Tape) -> None:
    """Run until somebody kills this process, and say what has been acknowledged."""
    done = 0
    with Journal(folder).resume(instruments=tape.instruments) as engine:
        for piece in pieces(tape, ROWS):
            engine.run(piece)
            done += len(piece)
            print(done, flush=True)


def run_and_kill(folder: Path, rows: int, seed: int) -> int:
    """Start the first life, end it at a random moment of its middle third, and return how many commands it had acknowledged."""
    end = random.Random(seed).randrange(rows // 3, 2 * rows // 3)  # noqa: S311  any moment will do
    command = [sys.executable, __file__, "--first-life", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  ourselves
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= end:
                process.send_signal(signal.SIGKILL)
                break
        # What it had said before it died, but nobody had read yet.
        return max([acknowledged, *map(int, process.stdout.read().split())])


def commands_in(tape: Tape, next_seq: int) -> int:
    """Count the commands that make all events before a sequence number, by running them."""
    engine = Engine(tape.instruments)
    for done, piece in enumerate(pieces(tape, 1)):
        if engine.next_seq >= next_seq:
            return done
        engine.run(piece, events=False)
    return all_rows(tape)


def all_trades(folder: Path) -> Records:
    """Read the trades of all lives out of the journal."""
    frames = [events_of(frame) for _, frame in JournalReader(folder).frames() if frame.kind == FrameKind.EVENTS]
    events = np.concatenate(frames)
    return events[events["kind"] == Kind.TRADE].view(TRADE_DTYPE)


def second_life(folder: Path, tape: Tape, acknowledged: int) -> tuple[Table, list[Finding]]:
    """Go on where the journal ends, and compare what came of both lives."""
    start = time.perf_counter()
    engine = Journal(folder).resume()
    recovered_ms = (time.perf_counter() - start) * 1e3
    recovered = engine.next_seq - 1
    done = commands_in(tape, engine.next_seq)
    if done < acknowledged:
        message = f"every acknowledged command must be in the journal: {acknowledged} were, {done} are"
        raise SystemExit(message)
    for piece in pieces(tape, ROWS, done):
        engine.run(piece)
    engine.acknowledged().result()
    trades = all_trades(folder)
    moment = Moment(engine, tape.rows)
    findings = []
    for check in tape.checks():
        check.trades(trades)
        found = check.finish(moment)
        if found is not None:
            findings.append(found)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("killed", f"after {acknowledged:,} commands were acknowledged")
    table.add_row("recovered", f"{done:,} commands by {recovered:,} events, in {recovered_ms:,.0f} ms")
    for finding in findings:
        mark = "[green]identical[/]" if finding.ok else "[red]different[/]"
        table.add_row(finding.label, f"{finding.matched:,} of {finding.expected:,} {finding.unit} {mark}")
    engine.close()
    return table, findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both lives; 0 only if everything acknowledged was there and all came out as recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--first-life", type=Path, metavar="FOLDER", help="be the process that is killed")
    parser.add_argument("--seed", type=int, default=None, help="of the moment when that happens")
    options = parser.parse_args(arguments)
    tape = open_tape(samples.path())
    if options.first_life is not None:
        first_life(options.first_life, tape)
        return 0
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    rows = all_rows(tape)
    with tempfile.TemporaryDirectory() as folder:
        acknowledged = run_and_kill(Path(folder), rows, seed)
        table, findings = second_life(Path(folder), tape, acknowledged)
    console = Console()
    console.print(f"the same market with a journal, killed half way (seed {seed}) and recovered", highlight=False)
    console.print(table, highlight=False)
    return 0 if findings and all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
