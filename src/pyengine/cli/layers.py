"""`pyengine status`, `verify` and `rebuild`: how far each layer is, whether it is what the journal says, and one made anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click
from rich.console import Console
from rich.table import Table

from pyengine.cli.configured import UNUSABLE, env_file_option, print_error, settings_or_exit, wide_console
from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine._core.names import Names
    from pyengine.journal import History
    from pyengine.journal.compare import Comparison
    from pyengine.settings import Settings
    from pyengine.stores.layers import OpenLayer

DIFFERENT = 1

KINDS: tuple[Literal["orders", "trades"], ...] = ("orders", "trades")

journal_option: Callable[[Any], Any] = click.option(
    "--journal", "journal_path", type=click.Path(path_type=Path), help="Folder of the journal, instead of JOURNAL_PATH."
)
layers_argument: Callable[[Any], Any] = click.argument("layers", nargs=-1, metavar="[LAYER]...")


# --- status -----------------------------------------------------------------------------------------------------------


@click.command("status")
@env_file_option
@journal_option
@click.option("--interval", type=click.FloatRange(0, 3600), default=1.0, show_default=True, help="Seconds to watch for.")
@click.pass_context
def status_command(context: click.Context, /, env_file: Path, journal_path: Path | None, interval: float) -> None:
    """Show how far each layer is behind the journal, how fast it gets on, and how long that takes.

    Exit status: 0 if every layer has everything, 1 if one is behind or can't be used, 2 if the journal can't be read.
    """
    settings = settings_or_exit(context, env_file)
    with _opened(context, settings, journal_path, named=False) as (history, _, _, layers):
        before, begun = _watermarks(history, layers), time.monotonic()
        first = history.last_seq
        time.sleep(interval)
        after, end = _watermarks(history, layers), history.last_seq
        spent_s = time.monotonic() - begun
        table = Table("layer", "of", "watermark", "behind", "behind for", "events/s", "left", box=None, header_style="bold")
        for column in table.columns[2:]:
            column.justify = "right"
        whole = True
        for name, kind in after:
            text, seq = after[name, kind]
            earlier = before[name, kind][1]
            whole &= seq == end
            table.add_row(name, kind, text, *_progress(seq, earlier, end, first, spent_s))
        for layer in layers:
            if layer.error is not None:
                whole = False
                table.add_row(layer.name, "", "[red]can't be used[/]")
    console = wide_console()
    console.print(f"journal {history.identity}: events {history.first_seq:,} to {end:,}", highlight=False)
    console.print(table, highlight=False)
    for layer in layers:
        if layer.error is not None:
            print_error(str(layer.error))
    context.exit(0 if whole else DIFFERENT)


def _watermarks(history: History, layers: list[OpenLayer]) -> dict[tuple[str, str], tuple[str, int | None]]:
    """Ask each store how far it is; with the text to show."""
    from pyengine.journal import JournalError
    from pyengine.store_errors import StoreError
    from pyengine.stores.layers import watermark_of

    found: dict[tuple[str, str], tuple[str, int | None]] = {}
    for layer in layers:
        for kind in KINDS:
            store = getattr(layer, kind)
            if store is None:
                continue
            try:
                seq = watermark_of(history, store)
                found[layer.name, kind] = ("none" if seq is None else f"{seq:,}"), seq
            except (StoreError, JournalError) as error:
                found[layer.name, kind] = f"[red]{error}[/]", None
    return found


def _progress(seq: int | None, earlier: int | None, end: int, first: int, spent_s: float) -> tuple[str, str, str, str]:
    """Write how far behind a layer is, in events and in time, how fast it gets on, and how long until it has everything."""
    if seq is None:
        return "", "", "", ""
    pace, growth = (seq - (seq if earlier is None else earlier)) / spent_s, (end - first) / spent_s
    lag = end - seq
    if lag == 0:
        return "0", "0 s", f"{pace:,.0f}", "0 s"
    behind_s = f"{lag / growth:,.1f} s" if growth > 0 else "unknown"
    left = f"{lag / (pace - growth):,.1f} s" if pace > growth else "never, at this pace"
    return f"{lag:,}", behind_s, f"{pace:,.0f}", left


# --- verify -----------------------------------------------------------------------------------------------------------


@click.command("verify")
@layers_argument
@env_file_option
@journal_option
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True, help="Differences to list for each layer.")
@click.pass_context
def verify_command(
    context: click.Context, /, layers: tuple[str, ...], env_file: Path, journal_path: Path | None, most: int
) -> None:
    """Compare layers with the journal, order by order and trade by trade, and list the differences by sequence number.

    Without names all layers are compared. What changed behind a layer's watermark is still on its way, and isn't looked at.

    Exit status: 0 if there is no difference, 1 if there is one, 2 if something can't be read.
    """
    settings = settings_or_exit(context, env_file)
    console = wide_console()
    status = 0
    with _opened(context, settings, journal_path, layers) as (history, names, named_seq, chosen):
        for layer in chosen:
            if layer.error is not None:
                print_error(str(layer.error))
                status = UNUSABLE
                continue
            for kind in KINDS:
                if getattr(layer, kind) is not None:
                    status = max(status, _verify(console, history, names, named_seq, layer, kind, most))
    context.exit(status)


def _verify(
    console: Console,
    history: History,
    names: Names,
    named_seq: int,
    layer: OpenLayer,
    kind: Literal["orders", "trades"],
    most: int,
) -> int:
    """Compare one store as of an event that has all its names, print what was found, and return the exit status."""
    from pyengine.journal.compare import compare_orders, compare_trades
    from pyengine.store_errors import StoreDamaged
    from pyengine.stores.layers import watermark_of

    store = getattr(layer, kind)
    head = f"{layer.name} {kind}:"
    try:
        to_seq = watermark_of(history, store)
        if to_seq is not None and to_seq > history.last_seq:
            console.print(f"{head} is at event {to_seq:,}, the journal ends at {history.last_seq:,}", highlight=False)
            return DIFFERENT
        to_seq = named_seq if to_seq is None else min(to_seq, named_seq)
        found: Comparison
        if kind == "orders":
            found = compare_orders(history, names, store, to_seq=to_seq, cache=layer.cache)
        else:
            found = compare_trades(history, names, store, to_seq=to_seq, newest=layer.newest_trades)
    except StoreDamaged as error:
        console.print(f"{head} [red]damaged[/]: {error}", highlight=False)
        return DIFFERENT
    except PyengineError as error:
        print_error(f"{head} {error}")
        return UNUSABLE
    dropped = f", {found.absent:,} of them dropped" if found.absent else ""
    verdict = f"[red]{len(found.differences):,} differences[/]" if found.differences else "[green]no difference[/]"
    console.print(f"{head} {verdict}, {found.compared:,} {kind} up to event {found.to_seq:,}{dropped}", highlight=False)
    for difference in found.differences[:most]:
        console.print(f"  {difference}", highlight=False, markup=False, soft_wrap=True)
    if len(found.differences) > most:
        console.print(f"  and {len(found.differences) - most:,} more")
    return DIFFERENT if found.differences else 0


# --- rebuild ----------------------------------------------------------------------------------------------------------


@click.command("rebuild")
@click.argument("layer")
@env_file_option
@journal_option
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def rebuild_command(context: click.Context, /, layer: str, env_file: Path, journal_path: Path | None, yes: bool) -> None:
    """Empty a layer, and fill it with what the journal has. A trade log is put aside, not deleted.

    The engine may be running, unless the layer is the trade log. Who began and didn't finish just does it again.

    Exit status: 0 if the layer has everything, 2 if it can't be made anew; then it is as it was, or partly filled.
    """
    settings = settings_or_exit(context, env_file)
    console = wide_console()
    with _opened(context, settings, journal_path, (layer,)) as (history, names, named_seq, [chosen]):
        if chosen.error is not None:
            _exit(context, chosen.error)
        gone = 0 if chosen.cache else max(history.orders_from if chosen.orders is not None else 0, history.trades_from)
        if gone:
            _exit(
                context, f"{layer} can't be made anew: the journal was pruned up to event {gone}. Put its archived segments back"
            )
        if not yes:
            click.confirm(f"Empty {layer} and fill it from journal {history.path}?", abort=True)
        try:
            if layer == "file":
                _rebuild_file(console, settings, history, names, named_seq)
            else:
                for kind in KINDS:
                    if getattr(chosen, kind) is not None:
                        _rebuild(console, history, names, named_seq, chosen, kind)
        except PyengineError as error:
            _exit(context, error)


def _rebuild(
    console: Console, history: History, names: Names, named_seq: int, layer: OpenLayer, kind: Literal["orders", "trades"]
) -> None:
    from pyengine.store_errors import StoreUnavailable
    from pyengine.stores.interfaces import Clearable

    store = getattr(layer, kind)
    if not isinstance(store, Clearable):
        raise StoreUnavailable(f"{layer.name} must have a method `clear` to be made anew, has none")
    store.clear()
    _fill(console, history, names, named_seq, store, kind)


def _rebuild_file(console: Console, settings: Settings, history: History, names: Names, named_seq: int) -> None:
    from pyengine.stores.build import file_store
    from pyengine.stores.file_aside import put_aside

    folder = put_aside(settings.trade_log_path)
    if folder is not None:
        console.print(f"file: what was there is in {folder}", highlight=False, soft_wrap=True)
    with file_store(settings) as store:
        _fill(console, history, names, named_seq, store, "trades")


def _fill(
    console: Console, history: History, names: Names, named_seq: int, store: Any, kind: Literal["orders", "trades"]
) -> None:
    """Fill a store, and say every now and then how far it is."""
    from pyengine.journal.rebuild import bring_up_to_date

    begun, said = time.monotonic(), time.monotonic()

    def tell(stats: Any) -> None:
        nonlocal said
        if time.monotonic() - said >= 1:
            said = time.monotonic()
            gauges = stats.gauges
            speed, left = gauges.get("catch_up_records_per_s", 0.0), gauges.get("catch_up_left_s", 0.0)
            text = f"{store.name} {kind}: event {gauges['watermark']:,.0f}, {speed:,.0f} {kind}/s, {left:,.0f} s left"
            console.print(text, highlight=False)

    bring_up_to_date(history, names, store, kind, until_seq=named_seq, told=tell)
    spent_s = time.monotonic() - begun
    console.print(f"{store.name} {kind}: has everything up to event {named_seq:,}, {spent_s:.1f} s", highlight=False)


# --- what they share --------------------------------------------------------------------------------------------------


@contextmanager
def _opened(
    context: click.Context,
    settings: Settings,
    journal_path: Path | None,
    wanted: tuple[str, ...] = (),
    *,
    named: bool = True,
) -> Iterator[tuple[History, Names, int, list[OpenLayer]]]:
    """Open the journal and the layers, of which some may be chosen; say what is wrong and exit if it can't be done.

    Numbers get their names only if that is asked for, as all of the journal is read for them; with the names comes the last event
    that is sure to do with them, as an engine that runs goes on giving names.
    """
    from pyengine._core.names import Names
    from pyengine.journal import History, recover
    from pyengine.stores.layers import open_layers

    path = settings.journal_path if journal_path is None else journal_path
    if path is None:
        _exit(context, "JOURNAL_PATH or --journal must be the folder of a journal, was nothing")
    try:
        history = History(path)
        names, named_seq = Names(), 0
        if named:
            recovered = recover(path)
            names, named_seq = recovered.engine.names, recovered.last_seq
    except (PyengineError, OSError) as error:
        _exit(context, error)
    with open_layers(settings, names) as layers:
        unknown = set(wanted) - {layer.name for layer in layers}
        if unknown:
            known = ", ".join(layer.name for layer in layers)
            _exit(context, f"LAYER must be one of {known}, was {', '.join(sorted(unknown))}")
        yield history, names, named_seq, [layer for layer in layers if not wanted or layer.name in wanted]


def _exit(context: click.Context, error: Exception | str) -> NoReturn:
    print_error(str(error))
    context.exit(UNUSABLE)
