"""Try out what is kept in files: the trade log and SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from shlex import quote

from pyengine.health.finding import Finding, Trial
from pyengine.settings import Settings
from pyengine.stores.sqlite.file import migrations

_LITTLE_SPACE = 100 * 1024**2


def check_trade_log(settings: Settings) -> Finding:
    """See that trades can be appended to the file; nothing is written."""
    path = settings.trade_log_path
    trial = Trial("file", str(path.absolute()))
    wrong = _fault(trial, path, "TRADE_LOG_PATH")
    return trial.failed(*wrong) if wrong else trial.done()


def check_sqlite(settings: Settings) -> Finding:
    """See that the file can be opened, and of which version its tables are; nothing is written and none is made."""
    assert settings.sqlite_path is not None
    path = settings.sqlite_path
    trial = Trial("sqlite", str(path.absolute()))
    wrong = _fault(trial, path, "SQLITE_PATH")
    if wrong:
        return trial.failed(*wrong)
    if not path.exists():
        return trial.done()
    known = len(migrations())
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            trial.time(lambda: connection.execute("PRAGMA schema_version").fetchone())
        finally:
            connection.close()
    except sqlite3.Error as error:
        return trial.failed(
            f"{path} must be a SQLite file that can be read: {error}", [f"Look into it: sqlite3 {quote(str(path))}"]
        )
    if tables and not (version and {"orders", "trades", "instruments"} <= tables):
        return trial.failed(f"{path} must be a store or empty, was another program's file", ["Set SQLITE_PATH to another file"])
    trial.facts.append(f"schema version {version} of {known}")
    if version > known:
        return trial.failed(
            f"{path} was written by a later version of pyengine", ["Upgrade pyengine, or set SQLITE_PATH to another file"]
        )
    return trial.done()


def _fault(trial: Trial, path: Path, variable: str) -> tuple[str, list[str]] | None:
    """Look at a file, there or not, and its folder; return what is wrong and what to do."""
    try:
        return _look(trial, path, variable)
    except OSError as error:
        return f"{path} must be within reach, was not: {error.strerror}", [f"Check {variable} in .env"]


def _look(trial: Trial, path: Path, variable: str) -> tuple[str, list[str]] | None:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"{folder} must be a folder, was not there", [f"mkdir -p {quote(str(folder))}", f"Check {variable} in .env"]
    if path.is_dir():
        return f"{path} must be a file, was a folder", [f"Check {variable} in .env"]
    if path.exists():
        trial.facts.append(f"there, {path.stat().st_size:,} bytes")
    else:
        trial.facts.append("not there yet")
    if not os.access(path if path.exists() else folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"{path} must be writable, was not", [f"ls -ld {quote(str(folder))}", f"Check {variable} in .env"]
    free = shutil.disk_usage(folder).free
    trial.facts.append(f"{free // 1024**2:,} MiB of disk left")
    if free < _LITTLE_SPACE:
        trial.advice.append(f"Make space: df -h {quote(str(folder))}")
    return None
