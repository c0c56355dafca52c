"""The group of commands. A further one is a module with a click command, and one more `add_command` here."""

from __future__ import annotations

import click

from pyengine.cli.audit import audit_command
from pyengine.cli.check import check_command
from pyengine.cli.config import config_command
from pyengine.cli.journal import journal_command
from pyengine.cli.layers import rebuild_command, status_command, verify_command
from pyengine.cli.migrate import migrate_command
from pyengine.cli.replay import replay_command
from pyengine.cli.trades import trades_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pyengine", prog_name="pyengine")
def commands() -> None:
    """Run a price-time priority matching engine from the command line."""


commands.add_command(replay_command)
commands.add_command(config_command)
commands.add_command(check_command)
commands.add_command(migrate_command)
commands.add_command(journal_command)
commands.add_command(trades_command)
commands.add_command(audit_command)
commands.add_command(status_command)
commands.add_command(verify_command)
commands.add_command(rebuild_command)
