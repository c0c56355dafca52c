"""`pyengine check`: whether each backend can be used as it is configured, and what to do about one that can't."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from pyengine.cli.config import remarks
from pyengine.cli.configured import env_file_option, settings_or_exit, wide_console

if TYPE_CHECKING:
    from pyengine.health import Finding

FAILED = 1


@click.command("check")
@env_file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check_command(context: click.Context, /, env_file: Path, as_json: bool) -> None:
    """Try out each backend: can it be reached, who may come in, are the tables right, how long does an answer take.

    Exit status: 0 if all can be used, 1 if one can't, 2 if the configuration can't be used.
    """
    settings = settings_or_exit(context, env_file)
    from pyengine.health import check_backends

    findings = check_backends(settings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) | {"ok": finding.ok} for finding in findings], indent=2))
    else:
        console = wide_console()
        for text in remarks(settings):
            console.print(Text(f"note: {text}", style="yellow"))
        for finding in findings:
            _print(console, finding)
    context.exit(0 if all(finding.ok for finding in findings) else FAILED)


def _print(console: Console, finding: Finding) -> None:
    mark = Text("ok    ", style="green") if finding.ok else Text("FAILED", style="red")
    latency = () if finding.latency_s is None else (f"{finding.latency_s * 1e3:.2f} ms an answer",)
    facts = ", ".join((*finding.facts, *latency))
    console.print(Text.assemble(mark, " ", (finding.backend, "bold"), " ", finding.address, ": " * bool(facts), facts))
    if finding.problem:
        console.print(Text(f"       {finding.problem}"), soft_wrap=True)
    for number, text in enumerate(finding.advice, start=1):
        console.print(Text(f"       {number}. {text}"), soft_wrap=True)
