"""What the figures were measured on, and with what."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("numpy", "pyarrow", "redis", "hiredis", "asyncpg")


def environment(arguments: list[str]) -> dict[str, str]:
    """Describe machine, software, commit and command; call it before anything is measured, for the load's sake."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "memory": f"{memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()} ({platform.python_compiler()}), {packages}",
        "core built by": compiler_of_core(),
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "bench", *arguments]),
        "load average at the start": f"{load} (1, 5, 15 minutes)",
    }


def version_of(name: str) -> str:
    """Version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Name the processor, and its caches as far as the system tells."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    named = {name: [line for line in lines if line.startswith(name)] for name in ("model name", "cache size")}
    words = [of_one[0].partition(":")[2].strip() for of_one in named.values() if of_one]
    return " with cache of ".join(words) or platform.processor()


def memory_gib() -> float:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def compiler_of_core() -> str:
    """Read the compiler's mark in the compiled engine."""
    found = find_spec("pyengine._core.engine")
    if found is None or found.origin is None or not found.origin.endswith(tuple(EXTENSION_SUFFIXES)):
        return "unknown"
    marks = re.findall(rb"GCC: \([^)]*\) [\d.]+|(?:Debian |Apple )?clang version [\d.]+", Path(found.origin).read_bytes())
    return ", ".join(sorted({mark.decode() for mark in marks})) or "unknown"


def commit() -> str:
    """Name the commit, and whether files differ from it. Reads only."""
    name = _git("rev-parse", "--short", "HEAD")
    if not name:
        return "unknown"
    changed = _git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", "src", "bench")
    return f"{name}, with changes that aren't committed" if changed else name


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def busy() -> bool:
    """Whether others leave the machine too little for the figures to be trusted."""
    return os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)


if __name__ == "__main__":
    for name, value in environment(sys.argv[1:]).items():
        print(f"{name}: {value}")
