"""`pyengine replay`: play recordings, compare what came of them, and say how fast it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pyengine import samples
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.plot import BestPrices, draw_replay
from pyengine.replay import ManyReport, ReplayReport, open_tape, replay, replay_many
from pyengine.replay.commands import write_trades
from pyengine.replay.sources import FORMS

DIFFERENT = 1
UNUSABLE = 2

_SHOWN_REPORTS = 40
_LONG_ROWS = 1_000_000


@dataclass(frozen=True)
class Options:
    """What the command was asked for."""

    paths: tuple[Path, ...]
    verify: bool
    expected: Path | None
    picture: Path | None
    results: Path | None
    jobs: int | None
    form: str | None
    quiet: bool


@click.command("replay")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--sample", is_flag=True, help="Replay the recorded market that comes with the package.")
@click.option("--verify", is_flag=True, help="Compare with what the recording says: exit 0 only if every row came out.")
@click.option("--expected", type=click.Path(path_type=Path), help="Compare with this file of trades, a book or levels.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw trades and book into this PNG, SVG or PDF.")
@click.option("--results", type=click.Path(path_type=Path), help="Write all trades to this .parquet, .csv or .npz.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes for several recordings; default: the processors.")
@click.option("--form", type=click.Choice(sorted(FORMS)), help="Form of the recordings; default: told from names and columns.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors and differences.")
@click.pass_context
def replay_command(context: click.Context, /, paths: tuple[Path, ...], sample: bool, **options: Any) -> None:
    """Replay recorded markets: folders, LOBSTER messages, Databento MBO, or files of commands.

    Exit status: 0 if all went well, 1 if --verify or --expected found a difference, 2 if the input can't be used.
    """
    if sample:
        paths = (samples.path(), *paths)
    asked = Options(paths=paths, **options)
    _check(asked)
    console, errors = Console(quiet=asked.quiet), Console(stderr=True)
    try:
        reports = _one(asked, console) if len(paths) == 1 else _many(asked, console)
        if asked.results is not None:
            _write_results(asked.results, reports)
            console.print(f"wrote {asked.results}", highlight=False)
    except (PyengineError, OSError) as error:
        errors.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        context.exit(UNUSABLE)
    different = [report for report in reports.reports if report.verification is not None and not report.verification.ok]
    for report in different:
        assert report.verification is not None
        text = f"[red]different:[/] {report.name}: {report.verification.difference}"
        errors.print(text, highlight=False, soft_wrap=True)
    context.exit(DIFFERENT if different else 0)


def _check(asked: Options) -> None:
    """Refuse what can't be asked for together."""
    if not asked.paths:
        raise click.UsageError("PATH must be given, or --sample")
    if len(asked.paths) > 1:
        for name in ("picture", "expected"):
            if getattr(asked, name) is not None:
                raise click.UsageError(f"--{name} must be used with one recording, was used with {len(asked.paths)}")


def _one(asked: Options, console: Console) -> ManyReport:
    """Replay one recording here."""
    with _progress(console, "commands") as tell:
        tape = open_tape(asked.paths[0], form=asked.form, expected=asked.expected)
        engine, best = Engine(), BestPrices(tape.rows)
        # Many small pieces would spoil the speed of a short replay, so that one is watched apart.
        apart = 0 < tape.rows < _LONG_ROWS
        watch = [best] if asked.picture is not None and not apart else []
        verify = asked.verify or asked.expected is not None
        report = replay(tape, engine, progress=tell, verify=verify, watch=watch)
        if asked.picture is not None and apart:
            replay(tape, watch=[best])
    _print_report(report, console)
    if asked.picture is not None:
        draw_replay(asked.picture, report, engine, prints=tape.prints, best=best)
        console.print(f"wrote {asked.picture}", highlight=False)
    return ManyReport((report,), report.seconds)


def _many(asked: Options, console: Console) -> ManyReport:
    """Replay several recordings in several processes."""
    with _progress(console, "recordings") as tell:
        reports = replay_many(asked.paths, jobs=asked.jobs, progress=tell, verify=asked.verify, form=asked.form)
    table = Table("recording", *("commands", "events", "trades", "rejected", "commands/s"), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    if asked.verify:
        table.add_column("verified")
    for report in reports.reports[:_SHOWN_REPORTS]:
        numbers = (report.commands, report.events, len(report.trades), report.rejected, round(report.commands_per_s))
        verdict = [_verdict(report)] if asked.verify else []
        table.add_row(report.name, *(f"{number:,}" for number in numbers), *verdict)
    console.print(table)
    if len(reports.reports) > _SHOWN_REPORTS:
        console.print(f"and {len(reports.reports) - _SHOWN_REPORTS} more")
    rate = f"{reports.commands_per_s:,.0f} commands/s"
    console.print(f"{reports.commands:,} commands in {reports.seconds:.3f} s: {rate}", highlight=False)
    return reports


def _verdict(report: ReplayReport) -> str:
    return "[green]identical[/]" if report.verification is not None and report.verification.ok else "[red]different[/]"


def _print_report(report: ReplayReport, console: Console) -> None:
    """Print what was matched, what was compared, and the speed."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    symbols = [instrument.symbol for instrument in report.instruments[:8]]
    more = f" and {len(report.instruments) - 8:,} more" if len(report.instruments) > 8 else ""
    table.add_row("recording", f"{report.name} ({', '.join(symbols)}{more})")
    if report.seeded:
        table.add_row("book before", f"{report.seeded:,} orders")
    statuses = ", ".join(f"{count:,} {name.lower().replace('_', ' ')}" for name, count in report.statuses.items())
    table.add_row("commands", f"{report.commands:,}: {statuses}" if statuses else "0")
    table.add_row("events", f"{report.events:,}")
    lots = sum(report.trades["qty_lots"].tolist())
    size = f", {report.instruments[0].lots_to_qty(lots):,f} in all" if lots and len(report.instruments) == 1 else ""
    table.add_row("trades", f"{len(report.trades):,}{size}")
    if report.prints:
        table.add_row("reported trades", f"{report.prints:,}")
    if report.verification is not None:
        for finding in report.verification.findings:
            mark = "[green]identical[/]" if finding.ok else "[red]different[/]"
            detail = f" ({finding.detail})" if finding.detail else ""
            table.add_row(finding.label, f"{finding.matched:,} of {finding.expected:,} {finding.unit} {mark}{detail}")
    inside = f"{report.engine_seconds * 1e3:,.1f} ms in the engine: {report.engine_commands_per_s:,.0f} commands/s"
    table.add_row("speed", f"{inside}; {report.seconds:.3f} s with reading" + (" and comparing" * bool(report.verification)))
    table.add_row("state hash", f"{report.state_hash:016x}")
    console.print(table, highlight=False)


@contextmanager
def _progress(console: Console, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while a replay runs; give what it is to be told."""
    columns = (
        TextColumn("replaying"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        task: TaskID = bar.add_task("replay", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield tell


def _write_results(path: Path, reports: ManyReport) -> None:
    """Write the trades; of several recordings with a column that says of which."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(reports.reports) == 1:
        write_trades(path, reports.reports[0].trades, instruments=reports.reports[0].instruments)
    else:
        write_trades(path, reports.trades(), sources=reports.sources())
