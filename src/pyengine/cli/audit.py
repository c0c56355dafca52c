"""`pyengine audit`: whether a trade log is as it was written, its head, and proofs that a trade is in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pyengine.cli.configured import UNUSABLE, print_error
from pyengine.errors import PyengineError

TAMPERED = 1

path_argument = click.argument("path", type=click.Path(path_type=Path), metavar="PATH")


@click.group("audit")
def audit_command() -> None:
    """See whether a trade log is as it was written, by the chain of checkpoints beside it."""


@audit_command.command("verify")
@path_argument
@click.option("--head", metavar="HEX", help="A head that is known from elsewhere: also finds an end that was cut off.")
@click.option("--signature", metavar="HEX", help="Of that head, by --key; another one isn't trusted.")
@click.option("--key", type=click.Path(path_type=Path), help="PEM file with the public key of --signature.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify_command(
    context: click.Context, /, path: Path, head: str | None, signature: str | None, key: Path | None, as_json: bool
) -> None:
    """Compare a log with its chain: the current file and those that were closed, packed or not.

    Exit status: 0 if nothing is wrong, 1 if something is, and the first place is named, 2 if the log can't be read.
    """
    from pyengine.stores.audit import is_signed, verify_log

    if (signature is None) != (key is None) or (signature is not None and head is None):
        raise click.UsageError("--signature, --key and --head must be used together")
    with _or_exit(context):
        if head is not None and signature is not None and key is not None and not is_signed(head, signature, key):
            click.echo(f"BAD: the head must be signed by {key}, isn't")
            context.exit(TAMPERED)
        verdict = verify_log(path, head=head)
    if as_json:
        fields: dict[str, Any] = dataclasses.asdict(verdict) | {"ok": verdict.ok}
        fields["head"] = None if verdict.head is None else verdict.head._asdict()
        click.echo(json.dumps(fields, indent=2, default=str))
    else:
        counted = f"{verdict.lines:,} lines in {verdict.files:,} files, {verdict.checkpoints:,} checkpoints"
        if verdict.finding is None:
            click.echo(f"ok: {counted}")
        else:
            click.echo(f"BAD: {verdict.finding}")
            click.echo(f"good up to there: {counted}")
        if verdict.found_lines:
            click.echo(
                f"note: {verdict.found_lines:,} of the lines were there when the log was opened; nobody saw them being written"
            )
        if verdict.uncovered_bytes:
            click.echo(f"note: {verdict.uncovered_bytes:,} bytes after the last checkpoint, for which nobody vouches yet")
        if verdict.head is not None:
            click.echo(f"head: {verdict.head.link}")
        if verdict.ok and head is None:
            click.echo(
                "note: without --head an end that was cut off with the end of the chain, or a log that was made anew, isn't seen"
            )
    context.exit(0 if verdict.ok else TAMPERED)


@audit_command.command("head")
@path_argument
@click.option("--sign", "key", type=click.Path(path_type=Path), help="PEM file with an Ed25519 key; prints a signature too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def head_command(context: click.Context, /, path: Path, key: Path | None, as_json: bool) -> None:
    """Print the newest head, to be kept where nobody can change both: `verify --head` then finds whatever was changed before it.

    Exit status: 0, or 2 if there is no chain or it can't be read.
    """
    from pyengine.stores.audit import chain_head, sign_head

    with _or_exit(context):
        head = chain_head(path)
        signature = None if head is None or key is None else sign_head(head.link, key)
    if head is None:
        print_error(f"{path} must have a chain beside it, has none")
        context.exit(UNUSABLE)
    if as_json:
        click.echo(json.dumps(head._asdict() | ({} if signature is None else {"signature": signature})))
    else:
        click.echo(head.link if signature is None else f"{head.link}\n{signature}")


@audit_command.command("prove")
@path_argument
@click.argument("trade_id", type=click.IntRange(min=1))
@click.option("--head", metavar="HEX", help="The head that whoever checks the proof knows; default: the newest.")
@click.pass_context
def prove_command(context: click.Context, /, path: Path, trade_id: int, head: str | None) -> None:
    """Print a proof that a trade is in the log, as JSON that examples/check_trade_proof.py checks without this package.

    Exit status: 0, or 2 if there is no such trade, it isn't covered yet, or the log can't be read.
    """
    from pyengine.stores.audit import prove_trade

    with _or_exit(context):
        proof = prove_trade(path, trade_id, head=head)
    click.echo(json.dumps(proof, ensure_ascii=False, indent=1))


@contextmanager
def _or_exit(context: click.Context) -> Iterator[None]:
    """Print what can't be done, and exit."""
    try:
        yield
    except (PyengineError, OSError) as error:
        print_error(str(error))
        context.exit(UNUSABLE)
