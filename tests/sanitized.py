"""The tests and the fuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.

pyengine is built with SANITIZE=ON into an environment of its own, apart from the editable build, and everything runs with
both sanitizers' libraries loaded first, because the interpreter itself isn't built with them. What they find goes to files,
since a test's captured output would be lost with its process; any such file is a failure, also one of a child process.
Needs GCC with libasan and libubsan. Python's own memory comes from malloc, so that NumPy's arrays are guarded as well; leaks
aren't looked for, as the interpreter leaves plenty by design. Tests that need a server are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITES = ("unit", "property", "journal", "stores", "replay")
BUILD = ("pip>=25.1", "scikit-build-core>=1.0", "cython>=3.1", "cython-cmake>=0.3", "cmake", "ninja", "numpy>=1.26")
RUNS = 10_000_000


def compiler() -> str:
    """Name the C compiler, for the build and for its libraries alike."""
    return os.environ.get("CC", "gcc")


def prepare(folder: Path, *settings: str, tree: Path = ROOT) -> Path:
    """Make the environment if it isn't there, build pyengine into it with some settings, and return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "--upgrade", *BUILD], check=True)
    # Without symbols a report would name addresses only.
    settings = (*settings, "install.strip=false", f"build-dir={folder / 'objects'}")
    options = ["--no-build-isolation", *(f"--config-settings={setting}" for setting in settings)]
    environment = {**os.environ, "CC": compiler()}
    subprocess.run([*pip, *options, "--group", "test", f"{tree}[all]"], check=True, cwd=tree, env=environment)
    return python


def library(name: str) -> str:
    """Find a library of the compiler."""
    found = subprocess.run([compiler(), f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        message = f"{compiler()} has no {name}: install the sanitizer libraries of GCC"
        raise SystemExit(message)
    return str(Path(found).resolve())


def guarded(reports: Path) -> dict[str, str]:
    """Set the sanitizers up for a process and its children; what they find goes to files in a folder."""
    # Requests for absurd amounts of memory must fail as they do elsewhere, with MemoryError.
    address = ("detect_leaks=0", "allocator_may_return_null=1", "detect_stack_use_after_return=1")
    undefined = ("halt_on_error=1", "print_stacktrace=1")
    return {
        **os.environ,
        "PYENGINE_TEST_WITHOUT_SERVERS": "1",
        "LD_PRELOAD": " ".join([library("libasan.so"), library("libubsan.so")]),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": ":".join([*address, f"log_path={reports / 'address'}"]),
        "UBSAN_OPTIONS": ":".join([*undefined, f"log_path={reports / 'undefined'}"]),
    }


def run(name: str, command: list[str]) -> bool:
    """Run something with the sanitizers; whether it succeeded and they found nothing."""
    started = time.perf_counter()
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, check=False, cwd=ROOT, env=guarded(Path(folder)))
        findings = sorted(Path(folder).iterdir())
        for finding in findings:
            print(f"-- {finding.name}\n{finding.read_text(errors='replace')}", file=sys.stderr, flush=True)
    good = done.returncode == 0 and not findings
    seconds = time.perf_counter() - started
    print(f"== {name}: {'ok' if good else 'FAILED'}, exit {done.returncode}, {len(findings)} findings, {seconds:.0f} s")
    return good


def main() -> int:
    """Build, run the tests and the fuzzer; 0 only if everything passed and the sanitizers have nothing to say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, required=True, help="environment to build into; made if it isn't there")
    parser.add_argument("--fuzz-only", action="store_true", help="leave the tests out")
    parser.add_argument("--runs", type=int, default=RUNS, help="commands that the fuzzer runs")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run of the fuzzer")
    parser.add_argument("tests", nargs="*", help="tests to run instead of all")
    options = parser.parse_args()
    python = str(prepare(options.venv.absolute(), "cmake.define.SANITIZE=ON"))
    good = True
    if not options.fuzz_only:
        # Without faulthandler, which would take the signals of a crash away from the sanitizer.
        pytest = [python, "-m", "pytest", "-q", "-p", "no:faulthandler", "-p", "no:cacheprovider"]
        good = run("tests", [*pytest, *(options.tests or [f"tests/{suite}" for suite in SUITES])])
    fuzz = [python, "tests/fuzz.py", "--runs", str(options.runs)]
    if options.seed is not None:
        fuzz += ["--seed", str(options.seed)]
    good = run("fuzzer", fuzz) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
