"""Programs that write trade logs, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def program(code: str, *arguments: object) -> list[str]:
    """Make the command of a process that runs some code with the modules of these tests."""
    head = """
        import os, resource, signal, sys
        sys.path.insert(0, TESTS)
        from pathlib import Path
        from stores.trade_files import ids_written, names, rows
        from pyengine.stores.file import FileTradeStore
        path = Path(sys.argv[1])
    """
    text = textwrap.dedent(head).replace("TESTS", repr(str(TESTS))) + textwrap.dedent(code)
    return [sys.executable, "-c", text, *map(str, arguments)]


def run(code: str, *arguments: object) -> str:
    """Run some code in a process of its own and return what it printed."""
    done = subprocess.run(program(code, *arguments), check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
