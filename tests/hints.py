"""What the Cython compiler has to say about the core: nothing, or the check fails.

A "performance hint" is a call that takes the GIL or tests for an exception on every return, forty nanoseconds instead of one;
a warning is mostly a mistake. Every module is transpiled as the build does it, with the directives of CMakeLists.txt, in a
temporary folder that gives the sources their package path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "_core"
COMPLAINT = re.compile(r"performance hint|warning", re.IGNORECASE)


def directives(cmake: str) -> list[str]:
    """Read the arguments for Cython from CMakeLists.txt, as they are when no option is on."""
    basic = re.search(r"set\(CYTHON_FLAGS\s+(.*?)\)", cmake, re.DOTALL)
    plain = re.search(r"if\(CHECKS\).*?else\(\)(.*?)endif\(\)", cmake, re.DOTALL)
    if basic is None or plain is None:
        message = "CMakeLists.txt has no CYTHON_FLAGS, or no part for builds without CHECKS"
        raise SystemExit(message)
    words = basic[1].split()
    for added in re.findall(r"list\(APPEND CYTHON_FLAGS\s+(.*?)\)", plain[1], re.DOTALL):
        words += added.split()
    return words


def transpile(source: Path, folder: Path, flags: list[str]) -> str:
    """Transpile one module; returns what the compiler said."""
    module = f"pyengine._core.{source.stem}"
    command = [sys.executable, "-m", "cython", *flags, "--module-name", module, "-o", f"{source.stem}.c"]
    done = subprocess.run([*command, f"pyengine/_core/{source.name}"], check=False, cwd=folder, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        return f"{source.name}: exit {done.returncode}\n{said}"
    return said if COMPLAINT.search(said) else ""


def main() -> int:
    """Transpile every module; 0 if the compiler has no complaint."""
    flags = directives((ROOT / "CMakeLists.txt").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pyengine").mkdir()
        (folder / "pyengine" / "__init__.py").touch()
        shutil.copytree(CORE, folder / "pyengine" / "_core", ignore=shutil.ignore_patterns("*.c", "*.so", "__pycache__"))
        sources = sorted((folder / "pyengine" / "_core").glob("*.pyx"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            said = [text for text in pool.map(lambda source: transpile(source, folder, flags), sources) if text]
    for text in said:
        print(text, file=sys.stderr)
    print(f"{len(sources)} modules, {len(said)} with complaints; directives: {' '.join(flags)}")
    return 1 if said or not sources else 0


if __name__ == "__main__":
    sys.exit(main())
