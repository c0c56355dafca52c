"""`pyengine trades`: what a trade log holds, selected, and followed while it grows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine.cli.configured import UNUSABLE, print_error
from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine._core.trade import Trade

DAMAGED = 1

_COLUMNS = ("trade_id", "buy_order_id", "sell_order_id", "price", "quantity", "timestamp", "symbol", "side")
_WIDTHS = (12, 12, 12, 16, 14, 30, 12, 4)
_NS = 1_000_000_000


def _time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read a time of RFC 3339, or a date, as nanoseconds since 1970."""
    if value is None:
        return None
    text, fraction = value, 0
    parts = re.fullmatch(r"(.*:\d\d)\.(\d{1,9})(.*)", text)
    if parts is not None:
        text, fraction = parts[1] + parts[3], int(parts[2].ljust(9, "0"))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"must be a time such as 2025-01-15T10:30:45.123Z, was {value!r}") from None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _NS + fraction


@dataclass(frozen=True)
class Asked:
    """What the command was asked for."""

    path: Path
    symbol: str | None
    begin: int | None
    end: int | None
    after_id: int
    last: int | None
    follow: bool
    form: str
    skip_damaged: bool
    unordered: bool


@click.command("trades")
@click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--symbol", help="Only trades of this instrument.")
@click.option(
    "--from",
    "begin",
    callback=_time,
    metavar="TIME",
    help="From this time on: 2025-01-15T10:30:45.123Z, or a date; UTC unless it says so.",
)
@click.option("--to", "end", callback=_time, metavar="TIME", help="Before this time.")
@click.option("--after-id", type=click.IntRange(min=0), default=0, help="Only trades of a higher id.")
@click.option("--last", type=click.IntRange(min=0), metavar="N", help="The newest N of the trades, read from the end.")
@click.option("--follow", is_flag=True, help="Go on with trades as they are written, until interrupted.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--skip-damaged", is_flag=True, help="Report damaged lines and go on; exit with 1 if there were any.")
@click.option("--unordered", is_flag=True, help="Times may fall along the log: look at every line for --from and --to.")
@click.pass_context
def trades_command(context: click.Context, /, **options: Any) -> None:
    """Print trades of a log, with its closed files, packed or not: PATH is the file that is, or was, written to.

    Exit status: 0, 1 if damaged lines were skipped, 2 if the log can't be read or a line is damaged.
    """
    asked = Asked(**options)
    if asked.last is not None and (asked.begin, asked.end, asked.after_id) != (None, None, 0):
        raise click.UsageError("--last must be used without --from, --to and --after-id")
    from pyengine.stores.log_reader import TradeLogReader

    try:
        reader = TradeLogReader(
            asked.path,
            damaged="skip" if asked.skip_damaged else "raise",
            on_damaged=lambda line: print_error(str(line)),
            rising_times=not asked.unordered,
        )
        _print(asked, reader)
    except PyengineError as error:
        print_error(str(error))
        context.exit(UNUSABLE)
    except KeyboardInterrupt:
        pass  # how following ends
    context.exit(DAMAGED if reader.damaged_count else 0)


def _print(asked: Asked, reader: Any) -> None:
    """Print what was asked for."""
    write = _writer(asked.form)
    selected: dict[str, Any] = {"symbol": asked.symbol, "first_id": asked.after_id + 1}
    if asked.begin is not None:
        selected["from_ns"] = asked.begin
    if asked.end is not None:
        selected["to_ns"] = asked.end
    if asked.last is not None:
        newest = reader.last(asked.last, symbol=asked.symbol)
        write(newest)
        if not asked.follow:
            return
        before = newest or reader.last(1)
        selected["first_id"] = before[-1].trade_id + 1 if before else 1
    write(reader.trades(**selected, follow=asked.follow))


def _writer(form: str) -> Callable[[Iterable[Trade]], None]:
    """Make what prints trades in a form, under a heading that is printed once."""
    if form == "csv":
        click.echo(",".join(_COLUMNS))
    elif form == "table":
        click.echo(_aligned(_COLUMNS))
    spell = {"csv": _csv, "table": _table, "json": _json}[form]

    def write(trades: Iterable[Trade]) -> None:
        for trade in trades:
            click.echo(spell(trade))

    return write


def _fields(trade: Trade) -> tuple[str, ...]:
    """Spell the fields of a trade, exactly."""
    second, ns = divmod(trade.ts_ns, _NS)
    time = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"
    ids = (trade.trade_id, trade.buy_order_id, trade.sell_order_id)
    return (*map(str, ids), f"{trade.price:f}", f"{trade.qty:f}", time, trade.symbol or "", str(int(trade.side)))


def _aligned(fields: Iterable[str]) -> str:
    return "  ".join(field.rjust(width) for field, width in zip(fields, _WIDTHS, strict=True))


def _table(trade: Trade) -> str:
    *fields, side = _fields(trade)
    return _aligned((*fields, "buy" if side == "1" else "sell"))


def _csv(trade: Trade) -> str:
    return ",".join(f'"{field.replace(chr(34), chr(34) * 2)}"' if set(field) & set(',"') else field for field in _fields(trade))


def _json(trade: Trade) -> str:
    """Write an object of the log's own form; its numbers are the exact decimals."""
    trade_id, buyer, seller, price, quantity, time, symbol, side = _fields(trade)
    named = json.dumps(symbol, ensure_ascii=False)
    return (
        f'{{"trade_id":{trade_id},"buy_order_id":{buyer},"sell_order_id":{seller},"price":{price},"quantity":{quantity},'
        f'"timestamp":"{time}","symbol":{named},"side":{side}}}'
    )
