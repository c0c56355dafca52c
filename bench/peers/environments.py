"""A virtual environment for each engine, made once and used again while its version is the pinned one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from bench.peers.roster import Peer

INSTALL_TIMEOUT_S: Final = 600
PROBE_TIMEOUT_S: Final = 60


class InstallError(Exception):
    """An engine cannot be had on this machine; the message says why."""


def interpreter(least_python: tuple[int, int]) -> str:
    """Find an interpreter: the running one if it is new enough, otherwise the oldest version that is.

    Raises
    ------
    InstallError
        If the machine has none.
    """
    if sys.version_info[:2] >= least_python:
        return sys.executable
    version = f"{least_python[0]}.{least_python[1]}"
    found = shutil.which(f"python{version}")
    if found:
        # A shim of pyenv runs a version that is not the selected one only when the environment names it.
        environment = os.environ | {"PYENV_VERSION": version}
        status, output = _run([found, "-c", "import sys; print(sys.executable)"], PROBE_TIMEOUT_S, environment)
        if status == 0:
            return output.strip().splitlines()[-1]
    message = f"needs Python {version} or newer, found none beside {sys.version_info[0]}.{sys.version_info[1]}"
    raise InstallError(message)


def python_of(peer: Peer, envs: Path) -> Path:
    """Give the Python of the engine's environment, which is made if it is not there.

    Raises
    ------
    InstallError
        If there is no interpreter for it, or pip fails.
    """
    folder = envs / f"{peer.name}-{peer.version}"
    # The path stays as it is, because a resolved link would lead out of the environment.
    python = folder.absolute() / ("Scripts" if os.name == "nt" else "bin") / "python"
    ready = folder / "installed.txt"
    if ready.exists() and python.exists():
        return python
    base = interpreter(peer.least_python)
    if base == sys.executable:
        venv.create(folder, clear=True, with_pip=True)
    else:
        _must([base, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _must([*pip, "numpy"])
    _must([*pip, *([] if peer.dependencies else ["--no-deps"]), peer.requirement])
    _, installed = _run([str(python), "-m", "pip", "freeze"], PROBE_TIMEOUT_S)
    ready.write_text(installed)
    return python


def packages(python: Path) -> list[str]:
    """List what pip put into the environment."""
    return (python.parent.parent / "installed.txt").read_text().splitlines()


def _must(command: list[str]) -> None:
    status, output = _run(command, INSTALL_TIMEOUT_S)
    if status:
        errors = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines()[-1:]
        raise InstallError("; ".join(errors[:2]) or f"exit status {status}")


def _run(command: list[str], timeout_s: float, environment: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return 1, f"error: no end within {timeout_s:g} s"
    return done.returncode, done.stdout + done.stderr if done.returncode else done.stdout
