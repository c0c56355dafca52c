"""`pyengine migrate`: bring the tables of the database up to date by hand, or say what that would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyengine.cli.configured import UNUSABLE, env_file_option, print_error, settings_or_exit
from pyengine.optional import MissingExtraError
from pyengine.store_errors import SettingsError, StoreError

if TYPE_CHECKING:
    from pyengine.settings import Settings

FAILED = 1
BEHIND = 3


@click.command("migrate")
@env_file_option
@click.option("--dry-run", is_flag=True, help="Only say which steps are missing; exit with 3 if any are.")
@click.option("--sql", is_flag=True, help="With --dry-run: print the SQL of these steps.")
@click.pass_context
def migrate_command(context: click.Context, /, env_file: Path, dry_run: bool, sql: bool) -> None:
    """Bring the tables of the PostgreSQL database up to date. Safe while nodes are running or doing the same.

    Exit status: 0 if they are up to date, 1 if the database can't be used, 2 if the configuration can't, 3 if --dry-run found
    missing steps.
    """
    if sql and not dry_run:
        raise click.UsageError("--sql must be used with --dry-run")
    settings = settings_or_exit(context, env_file)
    try:
        missing = _say_what_is_missing(settings, sql) if dry_run else _migrate(settings)
    except (MissingExtraError, SettingsError) as error:
        print_error(str(error))
        context.exit(UNUSABLE)
    except StoreError as error:
        print_error(str(error))
        print_error("`pyengine check` says what to do about it")
        context.exit(FAILED)
    context.exit(BEHIND if dry_run and missing else 0)


def _migrate(settings: Settings) -> int:
    """Take the missing steps."""
    from pyengine.stores.backends import postgres_pool

    with postgres_pool(settings, migrate=False) as pool:
        taken = pool.migrate()
        schema = pool.schema()
        for step in taken:
            click.echo(f"applied {step}")
        click.echo(f"{pool.address}: schema version {schema.version}, {len(taken)} steps applied")
    return 0


def _say_what_is_missing(settings: Settings, sql: bool) -> int:
    """Print the steps that would be taken and return how many there are."""
    from pyengine.stores.backends import postgres_pool
    from pyengine.stores.postgres.migrate import refuse_unfit
    from pyengine.stores.postgres.statements import migrations

    with postgres_pool(settings, migrate=False) as pool:
        schema = pool.schema()
        if schema.version > schema.newest:
            refuse_unfit(schema, pool.address)
        missing = migrations()[schema.version :]
        for step in missing:
            click.echo(f"missing {step.version:04}_{step.name}")
            if sql:
                click.echo(step.sql)
        click.echo(f"{pool.address}: schema version {schema.version} of {schema.newest}, {len(missing)} steps missing")
    return len(missing)
