"""Run the matching-engine benchmark with pyengine: `python bench/flash1/run.py --harness CHECKOUT`.

The interpreter that runs this file is the one whose pyengine is judged. The checkout must be built; it is only read, all
work happens in a temporary folder of links. The exit status is 0 only if every run of pyengine was VALID.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
SCENARIOS: Final = ("normal", "static", "swing-25", "swing-40", "flash-crash")
PUBLISHED_SEED: Final = 23
MESSAGES: Final = 1_000_000  # new orders; cancels and modifies come on top
OURS: Final = "pyengine"
# Engines that can write the reference of a seed without a published one, first choice first.
REFERENCES: Final = ("cpp_orderbook", "hroptatyr_clob", "quantcup", "liquibook")
# The judge compares book states with liquibook, but liquibook needs longer for this scenario than the judge gives it.
# An engine by the name of liquibook is compared with quantcup instead.
AUDITED_BY_QUANTCUP: Final = ("static",)
# The conformance script wants reports of three engines to agree; liquibook stands in where one of them is not built.
STAND_IN: Final = "liquibook"
# The one case that is longer than the number of places at which states are compared.
CASES_WITHOUT_STATE: Final = {"deep_recursive_sweep_5000"}
RUN_TIMEOUT_S: Final = 1800
CONFORMANCE_TIMEOUT_S: Final = 3600


class SetupError(Exception):
    """The benchmark cannot run; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What the judge said of one run."""

    valid: bool
    throughput_per_s: float
    text: str
    details: dict[str, Any] = field(default_factory=dict)


def options_from(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--harness", type=Path, required=True, help="built checkout of the benchmark")
    parser.add_argument("--seed", type=int, default=PUBLISHED_SEED, help="workload; others than 23 need a reference engine")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each scenario")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--against", metavar="ADAPTER", help="adapter in the checkout that takes turns with pyengine")
    parser.add_argument("--reference", choices=REFERENCES, help="engine that writes the reference of another seed")
    parser.add_argument("--conformance", action="store_true", help="run the conformance cases too")
    parser.add_argument("--no-audit", dest="audit", action="store_false", help="leave out the comparison of book states")
    parser.add_argument("--matcher-core", type=int, default=0)
    parser.add_argument("--drainer-core", type=int, default=1)
    parser.add_argument("--realtime", action="store_true", help="keep other processes off the two cores (chrt, needs root)")
    parser.add_argument("--cflags", nargs="*", default=[], metavar="NAME=VALUE", help="definitions for adapter.c")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error(f"--runs must be at least 1, was {options.runs}")
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, was {options.seed}")
    return options


def build_adapter(harness: Path, into: Path, definitions: list[str]) -> Path:
    """Compile adapter.c for the running interpreter."""
    library_folder, library = (sysconfig.get_config_var(name) for name in ("LIBDIR", "LDLIBRARY"))
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not library_folder:
        message = f"the interpreter must have a shared libpython, {sys.executable} has none"
        raise SetupError(message)
    # Found without importing pyengine, so that a broken build shows in the judged process and nowhere before.
    found = next((Path(p, "pyengine") for p in sys.path if Path(p, "pyengine/_core/include/pyengine.h").exists()), None)
    if found is None:
        message = f"pyengine must be installed for {sys.executable}, its header was not found"
        raise SetupError(message)
    adapter = into / f"{OURS}_adapter.so"
    name = library.removeprefix("lib").split(".so")[0]
    _must(
        [
            *os.environ.get("CC", "cc").split(),
            *("-O3", "-std=c11", "-fPIC", "-shared", "-Wall", "-Wextra"),
            f'-DPYENGINE_PYTHON="{sys.executable}"',
            *(f"-D{definition}" for definition in definitions),
            f"-I{harness / 'api'}",
            f"-I{sysconfig.get_path('include')}",
            f"-I{found / '_core' / 'include'}",
            str(HERE / "adapter.c"),
            *("-o", str(adapter), f"-L{library_folder}", f"-l{name}", f"-Wl,-rpath,{library_folder}", "-ldl"),
        ]
    )
    return adapter


def link_checkout(harness: Path, into: Path) -> None:
    """Link what the judge reads into a folder of its own, because it writes beside what it reads."""
    for name in ("harness", "generator"):
        if not os.access(harness / name, os.X_OK):
            message = f"{harness} must be a built checkout, it has no program {name!r}"
            raise SetupError(message)
    for source in (harness / "harness", harness / "generator", harness / "scripts"):
        (into / source.name).symlink_to(source)
    for source in (*harness.glob("*_adapter.so"), *harness.glob(f"orders_*_n{MESSAGES}.bin")):
        (into / source.name).symlink_to(source)
    (into / "reference").mkdir()
    (into / "results").mkdir()
    shutil.copy(harness / "reference" / "correctness_hash.txt", into / "reference")


class Judge:
    """The benchmark's program in its folder of links."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._program = [*(["chrt", "--fifo", "1"] if options.realtime else []), str(folder / "harness")]
        self._common = ["--seed", str(options.seed), "--count", str(MESSAGES)]
        self._common += ["--matcher-core", str(options.matcher_core), "--drainer-core", str(options.drainer_core)]

    def run(self, adapter: str, scenario: str, mode: str) -> Verdict:
        """Let an adapter run a scenario."""
        status, output = self._call("--engine", adapter, "--scenario", scenario, "--mode", mode)
        found = re.search(r"^Result file: (\S+)", output, re.MULTILINE)
        if not found:
            said = [line for line in output.splitlines() if "adapter:" in line or "ERROR" in line] or ["no result"]
            return Verdict(valid=False, throughput_per_s=0.0, text=f"exit status {status}: {'; '.join(said)}")
        details = json.loads((self._folder / found[1]).read_text())
        valid = status == 0 and details["verdict"] == "VALID"
        return Verdict(valid, details.get("throughput_msgs_per_s", 0.0), details["verdict"], details)

    def write_reference(self, engine: str, scenario: str) -> None:
        """Let an engine of the checkout write the reference of a scenario."""
        _, output = self._call("--baseline", engine, "--scenario", scenario, "--mode", "perf", "--write-reference")
        if "Status: REFERENCE WRITTEN" not in output:
            message = f"{engine} must write a reference for {scenario}, it said:\n{output}"
            raise SetupError(message)
        for text in (self._folder / "reference").glob("canonical_output*"):
            text.unlink()

    def _call(self, *arguments: str) -> tuple[int, str]:
        return _run([*self._program, *arguments, *self._common], self._folder, RUN_TIMEOUT_S)


def measure(judge: Judge, adapters: dict[str, str], options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Run all scenarios, the engines taking turns, and print what came out; the flag tells if pyengine was always VALID."""
    results: dict[str, dict[str, list[Verdict]]] = {name: defaultdict(list) for name in adapters}
    for turn in range(options.runs):
        for scenario in options.scenarios:
            # Who goes first changes with each turn.
            for name in list(adapters)[:: 1 if turn % 2 == 0 else -1]:
                verdict = judge.run(adapters[name], scenario, "perf")
                results[name][scenario].append(verdict)
                if not verdict.valid:
                    print(f"{name} {scenario} run {turn + 1}: {verdict.text}", flush=True)
    medians = {
        name: {s: statistics.median(v.throughput_per_s for v in runs) for s, runs in of_engine.items()}
        for name, of_engine in results.items()
    }
    print(f"\n{'scenario':<12} {'engine':<16} {'verdict':<8} {'M msgs/s':>9} {'min':>7} {'max':>7}")
    for scenario in options.scenarios:
        for name, of_engine in results.items():
            runs = of_engine[scenario]
            rates = [v.throughput_per_s / 1e6 for v in runs]
            verdict_text = "VALID" if all(v.valid for v in runs) else "INVALID"
            median = medians[name][scenario] / 1e6
            print(f"{scenario:<12} {name:<16} {verdict_text:<8} {median:9.2f} {min(rates):7.2f} {max(rates):7.2f}")
    for name, of_scenario in medians.items():
        worst = min(of_scenario, key=of_scenario.__getitem__)
        print(f"worst of {name}: {of_scenario[worst] / 1e6:.2f} M msgs/s ({worst})")
    if len(medians) > 1:
        print_ratios(medians)
    return medians, all(v.valid for runs in results[OURS].values() for v in runs)


def print_ratios(medians: dict[str, dict[str, float]]) -> None:
    """Print how many times faster pyengine was, for each scenario and for the worst ones."""
    other = next(name for name in medians if name != OURS)
    if not all(medians[other].values()):
        print(f"{other} has scenarios without a figure, so there is no ratio")
        return
    ratios = {s: ours / medians[other][s] for s, ours in medians[OURS].items()}
    print(f"{OURS} : {other}  " + "  ".join(f"{s} {ratio:.2f}" for s, ratio in ratios.items()))
    worst = min(medians[OURS].values()) / min(medians[other].values())
    print(f"{OURS} : {other}  worst scenario of each {worst:.2f}, least ratio {min(ratios.values()):.2f}")


def audit(judge: Judge, folder: Path, adapter: Path, scenarios: list[str]) -> bool:
    """Have the book's state compared at random places of each scenario."""
    renamed = folder / "audited_by_quantcup" / "liquibook_adapter.so"
    renamed.parent.mkdir()
    renamed.symlink_to(adapter)
    passed = True
    print()
    for scenario in scenarios:
        path = renamed if scenario in AUDITED_BY_QUANTCUP else adapter
        verdict = judge.run(str(path), scenario, "audit")
        state = verdict.details.get("audit", {})
        text = f"{state.get('checks')} checks against {state.get('baseline')}" if state else verdict.text
        print(f"audit {scenario:<12} {'PASS' if verdict.valid else 'FAIL'}  {text}", flush=True)
        passed = passed and verdict.valid
    return passed


def conformance(folder: Path, adapter: Path) -> bool:
    """Run the conformance script; engines that are not built are replaced by liquibook, and that is printed."""
    script = folder / "scripts" / "conformance_check.py"
    # The oracle's answers are kept in this run's folder, so that no other run's are trusted.
    program = (
        "import sys, runpy, pathlib\n"
        f"sys.path.insert(0, {str(script.parent)!r})\n"
        "import conformance_check as check\n"
        "missing = [n for n, p in check.BASELINES.items() if not pathlib.Path(check.REPO, p).exists()]\n"
        f"names = [{STAND_IN!r} if n in missing else n for n in check.BASELINES]\n"
        "check.BASELINES = {n: f'./{n}_adapter.so' for n in names}\n"
        f"check.ORACLE_CACHE = {str(folder / 'oracle.json')!r}\n"
        "print('oracle:', ', '.join(check.BASELINES), '| not built:', ', '.join(missing) or 'none')\n"
        "check.main()\n"
    )
    status, output = _run([sys.executable, "-c", program, str(adapter)], folder, CONFORMANCE_TIMEOUT_S)
    cases = re.findall(r"^  (\S+) +report=(\S+) +state=(\S+)", output, re.MULTILINE)
    for line in output.splitlines():
        if line.startswith(("oracle:", "VERDICT", "ERROR")):
            print(line)
    # A comparison that was left out is no pass, though the script lets it be.
    bad = [c for c, report, state in cases if report != "PASS" or (state != "PASS" and c not in CASES_WITHOUT_STATE)]
    print(f"conformance: {len(cases) - len(bad)} of {len(cases)} cases" + (f", not: {', '.join(bad)}" if bad else ""))
    return status == 0 and bool(cases) and not bad


def choose_reference(folder: Path, wanted: str | None, against: str | None) -> str:
    """Choose the engine that writes the reference; not the one that is measured, if there is another."""
    built = [name for name in REFERENCES if (folder / f"{name}_adapter.so").exists()]
    if wanted:
        built = [name for name in built if name == wanted]
    if not built:
        message = f"a reference engine must be built in the checkout ({', '.join(REFERENCES)}), none was found"
        raise SetupError(message)
    return next((name for name in built if f"{name}_adapter.so" != against), built[0])


def judge_all(folder: Path, options: argparse.Namespace) -> bool:
    """Build, run and print everything in a folder; True if all was well."""
    harness: Path = options.harness.resolve()
    link_checkout(harness, folder)
    adapter = build_adapter(harness, folder, options.cflags)
    adapters = {OURS: str(adapter)}
    if options.against:
        other = Path(options.against).name
        if not (folder / other).exists():
            message = f"--against must name an adapter in {harness}, was {options.against!r}"
            raise SetupError(message)
        adapters[other.removesuffix("_adapter.so")] = str(folder / other)
    if options.realtime and not shutil.which("chrt"):
        message = "--realtime needs the program chrt, it was not found"
        raise SetupError(message)
    judge = Judge(folder, options)
    if options.seed == PUBLISHED_SEED:
        print(f"seed {options.seed}: published reference")
    else:
        reference = choose_reference(folder, options.reference, Path(options.against or "").name)
        for scenario in options.scenarios:
            judge.write_reference(reference, scenario)
        print(f"seed {options.seed}: reference by {reference}")
    _, valid = measure(judge, adapters, options)
    if options.audit:
        valid = audit(judge, folder, adapter, options.scenarios) and valid
    if options.conformance:
        valid = conformance(folder, adapter) and valid
    print(f"\n{'ALL VALID' if valid else 'NOT ALL VALID'}")
    return valid


def main() -> int:
    """Run the benchmark in a temporary folder and return the exit status."""
    options = options_from()
    with tempfile.TemporaryDirectory(prefix="flash1-") as folder:
        try:
            return 0 if judge_all(Path(folder), options) else 1
        except SetupError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


def _must(command: list[str]) -> None:
    status, output = _run(command, HERE, RUN_TIMEOUT_S)
    if status:
        message = f"{command[0]} must succeed, it said:\n{output}"
        raise SetupError(message)


def _run(command: list[str], folder: Path, timeout_s: float) -> tuple[int, str]:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"no end within {timeout_s:g} s"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
