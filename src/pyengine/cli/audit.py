"""`pyengine audit`: whether a trade log is as it was written, its head, and proofs that a trade is in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine.cli.configured import UNUSABLE, env_file_option, print_error, settings_or_exit
from pyengine.errors import PyengineError
from pyengine.store_errors import StoreRefused

if TYPE_CHECKING:
    from pyengine.settings import Settings
    from pyengine.stores.audit import ChainHead, Verdict

TAMPERED = 1

path_argument = click.argument("path", type=click.Path(path_type=Path), metavar="PATH")


@click.group("audit")
def audit_command() -> None:
    """See whether a trade log is as it was written, by the chain of checkpoints beside it."""


@audit_command.command("verify")
@path_argument
@click.option("--head", metavar="HEX", help="A head that is known from elsewhere: also finds an end that was cut off.")
@click.option(
    "--anchor",
    metavar="redis|postgres|HEX",
    help="Where heads of this log are kept, as configured; or a head itself. May be given several times.",
    multiple=True,
)
@click.option("--log", metavar="NAME", help="What they are kept under; default: TRADE_LOG_NAME, else host name and path.")
@click.option("--pruned-before", type=click.IntRange(min=0), default=0, help="Closed files below this number may be gone.")
@click.option("--signature", metavar="HEX", help="Of --head, by --key; another one isn't trusted.")
@click.option("--key", type=click.Path(path_type=Path), help="PEM file with the public key of --signature.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@env_file_option
@click.pass_context
def verify_command(
    context: click.Context,
    /,
    path: Path,
    head: str | None,
    anchor: tuple[str, ...],
    log: str | None,
    pruned_before: int,
    signature: str | None,
    key: Path | None,
    as_json: bool,
    env_file: Path,
) -> None:
    """Compare a log with its chain: the current file and those that were closed, packed or not.

    Exit status: 0 if nothing is wrong, 1 if something is, and the first place is named, 2 if the log can't be read, or no head is
    kept where --anchor says.
    """
    from pyengine.stores.audit import is_signed, verify_log

    if (signature is None) != (key is None) or (signature is not None and head is None):
        raise click.UsageError("--signature, --key and --head must be used together")
    heads = [] if head is None else [head]
    places = [place for place in anchor if place in {"redis", "postgres"}]
    heads += [link for link in anchor if link not in places]
    settings = settings_or_exit(context, env_file) if places else None
    with _or_exit(context):
        if head is not None and signature is not None and key is not None and not is_signed(head, signature, key):
            click.echo(f"BAD: the head must be signed by {key}, isn't")
            context.exit(TAMPERED)
        if settings is not None:
            # Before the log is read, which goes on: what was kept by now must be there then.
            for place in places:
                heads += [kept.link for kept in _kept_heads(settings, place, path, log)]
        verdict = verify_log(path, head=heads, pruned_before=pruned_before)
    if as_json:
        fields: dict[str, Any] = dataclasses.asdict(verdict) | {"ok": verdict.ok}
        fields["head"] = None if verdict.head is None else verdict.head._asdict()
        click.echo(json.dumps(fields, indent=2, default=str))
    else:
        _print_verdict(verdict, len(set(heads)))
    context.exit(0 if verdict.ok else TAMPERED)


def _kept_heads(settings: Settings, place: str, path: Path, log: str | None) -> list[ChainHead]:
    """Read the heads of a log from where they are kept."""
    from pyengine.stores.audit.anchor import HeadKeeper
    from pyengine.stores.backends import postgres_pool, redis_connection

    log = log or settings.trade_log_name or None
    keeper: HeadKeeper
    if place == "redis":
        from pyengine.stores.redis import RedisAnchor

        with redis_connection(settings) as connection:
            keeper = RedisAnchor(connection, path, log)
            heads = keeper.heads()
    else:
        from pyengine.stores.postgres import PostgresAnchor

        with postgres_pool(settings, migrate=False) as pool:
            keeper = PostgresAnchor(pool, path, log)
            heads = keeper.heads()
    if not heads:
        raise StoreRefused(f"{keeper.place}: a head of {keeper.log} must be kept there, none is (--log names another log)")
    return heads


def _print_verdict(verdict: Verdict, known: int) -> None:
    """Print what a verification with some known heads came to."""
    counted = f"{verdict.lines:,} lines in {verdict.files:,} files, {verdict.checkpoints:,} checkpoints"
    if verdict.finding is None:
        click.echo(f"ok: {counted}")
    else:
        click.echo(f"BAD: {verdict.finding}")
        click.echo(f"good up to there: {counted}")
    if verdict.anchored:
        click.echo(f"known heads: {known:,}, all of them in the chain")
    if verdict.found_lines:
        click.echo(
            f"note: {verdict.found_lines:,} of the lines were there when the log was opened; nobody saw them being written"
        )
    if verdict.pruned_files:
        gone = f"{verdict.pruned_lines:,} lines in {verdict.pruned_files:,} files"
        click.echo(f"note: {gone} are gone, as was said; of them only the checkpoints were verified")
    if verdict.uncovered_bytes:
        click.echo(f"note: {verdict.uncovered_bytes:,} bytes after the last checkpoint, for which nobody vouches yet")
    if verdict.head is not None:
        click.echo(f"head: {verdict.head.link}")
    if verdict.ok and not known:
        click.echo(
            "note: without --head or --anchor an end that was cut off with the end of the chain, or a log that was made anew, "
            "isn't seen"
        )


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
