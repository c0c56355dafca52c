"""Line coverage of the package, compiled lines included.

pyengine is built with COVERAGE=ON, so that compiled code says on which line it is, also where it runs without the GIL. Cython's
plugin for coverage.py finds the lines of a module in its C file, which has to lie beside the source; therefore the build takes
a copy of the tree, and the tests run in the folder from which the paths in the C files count.

Every compiled line costs about a microsecond this way, so the long tests are left out unless they are named.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from sanitized import ROOT, prepare

NEEDED = ("src", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
SUITES = ("tests/unit", "tests/stores", "tests/replay")
SETTINGS = """
[run]
plugins = Cython.Coverage
data_file = {data}
include =
    {tree}/src/_core/*
    {package}/*

[report]
skip_empty = true
show_missing = {missing}
"""


def copy_tree(tree: Path) -> None:
    """Copy what a build needs; times stay, so that only what has changed is built again."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
        else:
            shutil.copy2(source, tree / name)


def main() -> int:
    """Build, run the tests and print the coverage of each file; 0 if the tests passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, required=True, help="environment to build into; made if it isn't there")
    parser.add_argument("--missing", action="store_true", help="name the lines that weren't run")
    parser.add_argument("tests", nargs="*", help="tests to run instead of the quick ones")
    options = parser.parse_args()
    folder = options.venv.absolute()
    tree, objects, settings = folder / "tree", folder / "objects", folder / "coverage.ini"
    copy_tree(tree)
    python = prepare(folder, "cmake.define.COVERAGE=ON", tree=tree)
    subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "coverage>=7.4"], check=True)
    for generated in (objects / "src" / "_core").glob("*.c"):
        shutil.copy2(generated, tree / "src" / "_core")
    where = [python, "-c", "import pyengine; print(pyengine.__path__[0])"]
    package = subprocess.run(where, check=True, cwd=objects, capture_output=True, text=True).stdout.strip()
    settings.write_text(SETTINGS.format(data=folder / "coverage.data", tree=tree, package=package, missing=options.missing))
    coverage = [python, "-m", "coverage"]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    tests = [str(Path(test).resolve()) if Path(test).exists() else str(ROOT / test) for test in options.tests or SUITES]
    done = subprocess.run([*coverage, "run", f"--rcfile={settings}", *pytest, *tests], check=False, cwd=objects)
    report = subprocess.run([*coverage, "report", f"--rcfile={settings}"], check=False, cwd=objects)
    return done.returncode or report.returncode


if __name__ == "__main__":
    sys.exit(main())
