"""`pyengine config`: the configuration as it is in effect, where each value came from, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from pyengine.cli.configured import env_file_option, settings_or_exit, wide_console

if TYPE_CHECKING:
    from pyengine.settings import Settings


@click.command("config")
@env_file_option
@click.option("--changed", is_flag=True, help="Show only what isn't at its default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def config_command(context: click.Context, /, env_file: Path, changed: bool, as_json: bool) -> None:
    """Show the effective configuration and where each value came from. Secrets are never shown.

    Exit status: 0, or 2 if the configuration can't be used.
    """
    settings = settings_or_exit(context, env_file)
    if as_json:
        click.echo(json.dumps(_as_json(settings, changed), indent=2, ensure_ascii=False))
        return
    console = wide_console()
    head = Table(show_header=False, box=None, pad_edge=False)
    head.add_column(style="bold")
    head.add_column(overflow="fold")
    head.add_row("mode", settings.mode)
    head.add_row("orders", Text(" → ".join(settings.order_layers)))
    head.add_row("trades", Text(" → ".join(settings.trade_layers)))
    for text in remarks(settings):
        head.add_row("[yellow]note[/]", Text(text))
    console.print(head, highlight=False)
    console.print()
    table = Table("variable", "value", "from", box=None, pad_edge=False, header_style="bold")
    for name in _fields(settings, changed):
        origin = settings.origins.get(name, "default")
        table.add_row(name.upper(), Text(settings.shown(name)), origin, style="dim" if origin == "default" else "")
    console.print(table, highlight=False)


def remarks(settings: Settings) -> list[str]:
    """Say what is probably not meant the way it stands."""
    found = [f"{name} isn't a setting; is {meant} meant?" for name, meant in settings.unknown.items()]
    for url, prefix, switch in (("database_url", "database_", "database_enabled"), ("redis_url", "redis_", "redis_enabled")):
        parts = [f"{prefix}{part}" for part in ("host", "port", "name", "user", "username", "password", "db", "ssl_mode", "tls")]
        shadowed = [name.upper() for name in parts if name in settings.origins]
        if getattr(settings, url) is not None and shadowed:
            found.append(f"{url.upper()} counts before {', '.join(shadowed)}")
        if not getattr(settings, switch) and any(name in settings.origins for name in (url, f"{prefix}host")):
            found.append(f"{switch.upper()} is false, so the other {prefix.upper()}… variables have no effect")
    return found


def _fields(settings: Settings, changed: bool) -> list[str]:
    return [name for name in type(settings).model_fields if not changed or name in settings.origins]


def _as_json(settings: Settings, changed: bool) -> dict[str, object]:
    return {
        "mode": settings.mode,
        "orders": settings.order_layers,
        "trades": settings.trade_layers,
        "notes": remarks(settings),
        "settings": {
            name.upper(): {"value": settings.shown(name), "from": settings.origins.get(name, "default")}
            for name in _fields(settings, changed)
        },
    }
