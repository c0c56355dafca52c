"""`pyengine journal`: whether a journal is whole, what is in it, and the state that it leads to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from pyengine._core.names import Names
from pyengine.cli.configured import env_file_option, settings_or_exit
from pyengine.errors import PyengineError
from pyengine.optional import MissingExtraError
from pyengine.records import Side

DAMAGED = 1
UNUSABLE = 2

_SHOWN_LEVELS = 5
_Answer = TypeVar("_Answer")

path_argument = click.argument("path", type=click.Path(path_type=Path))


@click.group("journal")
def journal_command() -> None:
    """Look at a journal: verify it, list its segments, recover the state at a point; write snapshots of it."""


@journal_command.command("verify")
@path_argument
@click.pass_context
def verify_command(context: click.Context, /, path: Path) -> None:
    """Read every byte of a journal and apply every event of it.

    Exit status: 0 if it is whole, 1 if it is damaged, 2 if it can't be read.
    """
    console = Console()
    from pyengine.journal import recover

    found = _tried(context, lambda: recover(path))
    console.print(
        f"whole: {found.events:,} events up to {found.last_seq:,} in {found.segments:,} segments, state hash "
        f"{found.engine.state_hash():016x}",
        highlight=False,
        soft_wrap=True,
    )
    if found.torn_bytes:
        text = f"behind them {found.torn_bytes:,} bytes of a commit that a crash cut short; nobody was told that it is durable"
        console.print(text, highlight=False, soft_wrap=True)
    elif not found.complete:
        console.print("the journal is being written, or its writer was killed", highlight=False, soft_wrap=True)


@journal_command.command("show")
@path_argument
@click.pass_context
def show_command(context: click.Context, /, path: Path) -> None:
    """List the segments with their ranges of sequence numbers, commits and names.

    Exit status: 0 if all could be read, 1 if one is damaged, 2 if there is no journal.
    """
    from pyengine.journal.format import FrameKind
    from pyengine.journal.reader import JournalReader, events_of

    def read() -> tuple[JournalReader, dict[int, tuple[int, int]]]:
        reader = JournalReader(path)
        times: dict[int, tuple[int, int]] = {}
        for segment, frame in reader.frames():
            if frame.kind == FrameKind.EVENTS and frame.count:
                stamps = events_of(frame)["ts_ns"]
                first, last = int(stamps.min()), int(stamps.max())
                before = times.get(segment.header.number, (first, last))
                times[segment.header.number] = min(first, before[0]), max(last, before[1])
        return reader, times

    reader, times = _tried(context, read)
    columns = ("segment", "first", "last", "events", "commits", "bytes", "instruments", "users", "times", "ends")
    table = Table(*columns, box=None, header_style="bold")
    for column in table.columns[1:8]:
        column.justify = "right"
    for segment in reader.segments:
        header = segment.header
        numbers = (header.first_seq, segment.position.seq - 1, segment.events, segment.commits, segment.end)
        ends = "sealed" if segment.sealed else "closed" if segment.ended else "torn" if segment.torn else "open"
        stamps = times.get(header.number)
        table.add_row(
            str(header.number),
            *(f"{number:,}" for number in (*numbers, header.instruments, header.users)),
            "" if stamps is None else f"{stamps[0]} to {stamps[1]}",
            ends,
        )
    console = Console(width=200) if not Console().is_terminal else Console()
    console.print(f"journal {reader.segments[0].header.identity.hex()}", highlight=False)
    console.print(table, highlight=False)


@journal_command.command("recover")
@path_argument
@click.option("--until", "until_seq", type=click.IntRange(min=0), help="Leave out whatever causes a later event than this one.")
@click.option(
    "--time", "until_text", help="Leave out what is later: nanoseconds since 1970, or a time such as 2026-11-22T10:30:00."
)
@click.option("--snapshot", "target", type=click.Path(path_type=Path), help="Write the state to this file, for Engine.restore.")
@click.pass_context
def recover_command(
    context: click.Context, /, path: Path, until_seq: int | None, until_text: str | None, target: Path | None
) -> None:
    """Print the state that a journal leads to, now or at an earlier point.

    Exit status: 0 if it was recovered, 1 if the journal is damaged, 2 if it can't be read.
    """
    until_ns = None if until_text is None else _nanoseconds(until_text)
    from pyengine.journal import recover

    found = _tried(context, lambda: recover(path, until_seq=until_seq, until_ns=until_ns))
    engine, console = found.engine, Console(width=200)
    console.print(f"last event {found.last_seq:,}, {engine.resting_orders:,} resting orders", highlight=False)
    table = Table("instrument", "orders", "bids", "asks", box=None, header_style="bold")
    for book in engine.books:
        shown = (_levels(book, side) for side in Side)
        table.add_row(book.instrument.symbol, f"{len(book.orders()):,}", *shown)
    console.print(table, highlight=False)
    console.print(f"state hash {engine.state_hash():016x}", highlight=False)
    if target is not None:
        content = engine.snapshot()
        target.write_bytes(content)
        console.print(f"wrote {target}, SHA-256 {hashlib.sha256(content).hexdigest()}", highlight=False, soft_wrap=True)


@journal_command.command("snapshot")
@path_argument
@click.option("--prune", "prunes", is_flag=True, help="Take away the segments that two good snapshots cover.")
@click.option("--archive", type=click.Path(path_type=Path), help="Put them into this folder before, compressed with zstd.")
@env_file_option
@click.pass_context
def snapshot_command(context: click.Context, /, path: Path, prunes: bool, archive: Path | None, env_file: Path) -> None:
    """Write a snapshot, so that recovery begins there. The engine that writes the journal may go on meanwhile.

    With --prune, the layers of the settings are asked if JOURNAL_PATH is the journal: what one has yet to get stays.

    Exit status: 0 if it was written and is good, 1 if the journal is damaged, 2 if it can't be read or written.
    """
    if archive is not None and not prunes:
        raise click.UsageError("--archive must be used with --prune")
    from pyengine.journal import prune, write_snapshot

    console = Console()
    file = _tried(context, lambda: write_snapshot(path))
    console.print(f"wrote {file.path}", highlight=False, soft_wrap=True)
    if prunes:
        keep = _needs(context, path, env_file)
        gone = _tried(context, lambda: prune(path, archive=archive, keep=keep))
        console.print(f"took away {len(gone):,} segments", highlight=False, soft_wrap=True)


def _needs(context: click.Context, path: Path, env_file: Path) -> list[Callable[[], int]]:
    """Ask the layers that follow a journal what they have yet to get."""
    try:
        from pyengine.journal import History
        from pyengine.stores.layers import needed_seq, open_layers
    except MissingExtraError:
        # Without the settings there is nothing that could follow it by them.
        return []
    settings = settings_or_exit(context, env_file)
    if settings.journal_path is None or settings.journal_path.resolve() != path.resolve():
        return []
    with open_layers(settings, Names()) as layers:
        needed = _tried(context, lambda: needed_seq(History(path), layers))
    return [] if needed is None else [lambda: needed]


def _levels(book: Any, side: Side) -> str:
    """Write the best levels of a side."""
    levels = book.depth()[side - 1][:_SHOWN_LEVELS]
    instrument = book.instrument
    prices = (
        f"{instrument.lots_to_qty(row['qty_lots']):f} @ {instrument.ticks_to_price(row['price_ticks']):f}" for row in levels
    )
    return ", ".join(prices)


def _nanoseconds(text: str) -> int:
    """Read a time; one without a zone is UTC."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"--time must be nanoseconds or a time of ISO 8601, was {text!r}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000


def _tried(context: click.Context, work: Callable[[], _Answer]) -> _Answer:
    """Do something with a journal, or say what is wrong with it and exit."""
    from pyengine.journal import JournalDamaged

    errors = Console(stderr=True)
    try:
        return work()
    except JournalDamaged as error:
        errors.print(f"[red]damaged:[/] {error}", highlight=False, soft_wrap=True)
        context.exit(DAMAGED)
    except (PyengineError, OSError) as error:
        errors.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        context.exit(UNUSABLE)
