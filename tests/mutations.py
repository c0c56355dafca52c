"""Faults put into the core one at a time, and the test that must notice each.

The tree is copied, built once unchanged (all named tests must pass) and once for each fault (the named test must
fail). A fault whose old text isn't in the source exactly once is stale, and counts as a failure of this list. Needs
what a build needs: Cython, scikit-build-core, cython-cmake, CMake and Ninja in the environment that runs it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CORE = Path("src/_core")
NEEDED = ("src", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
TEST_TIMEOUT_S = 300


class Mutant(NamedTuple):
    """One fault: where, what instead of what, and the test that must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "an equal size loses the place",
        "matching.pyx",
        "c.price_ticks == v.price_ticks and c.qty_lots <= o.qty_lots",
        "c.price_ticks == v.price_ticks and c.qty_lots < o.qty_lots",
        "unit/test_requests.py::test_smaller_or_equal_size_keeps_the_place",
    ),
    Mutant(
        "FOK doesn't count what self-trade prevention takes away",
        "matching.pyx",
        "            wanted -= min(wanted, s.pool.levels[level].qty_lots)\n        else:",
        "            wanted -= min(wanted, s.pool.levels[level].qty_lots)\n        elif t.stp == 99:",
        "unit/test_self_trade.py::test_fok_counts_what_prevention_would_take_away_before_it_decides",
    ),
    Mutant(
        "FOK trades what it can",
        "matching.pyx",
        "if c.tif == FOK and not can_fill(s, opposite, &t):",
        "if c.tif == FOK and t.id == 0 and not can_fill(s, opposite, &t):",
        "unit/test_matching.py::test_fok_that_cant_fill_whole_is_killed_without_any_trade",
    ),
    Mutant(
        "a level's total forgets partial fills",
        "matching.pyx",
        "            v.qty_lots -= fill\n            t.filled_lots += fill",
        "            t.filled_lots += fill",
        "unit/test_matching.py::test_partly_filled_maker_keeps_its_place",
    ),
    Mutant(
        "trades at the taker's price",
        "matching.pyx",
        "        price = v.price_ticks\n",
        "        price = t.price_ticks\n",
        "unit/test_matching.py::test_trade_is_printed_at_the_makers_price",
    ),
    Mutant(
        "an IOC remainder rests",
        "matching.pyx",
        "may_rest = c.tif == GTC and c.action == LIMIT",
        "may_rest = c.tif != FOK and c.action == LIMIT",
        "unit/test_matching.py::test_ioc_remainder_is_cancelled_and_doesnt_rest",
    ),
    Mutant(
        "a live id is taken again",
        "matching.pyx",
        "elif pye_unlikely(find_entry(s, order_id) != NO_ENTRY):",
        "elif pye_unlikely(find_entry(s, order_id) != NO_ENTRY and order_id == 0):",
        "unit/test_matching.py::test_id_is_free_again_once_its_order_is_done",
    ),
    Mutant(
        "anybody may claim an anonymous order",
        "matching.pyx",
        "if pye_unlikely(c.user != 0 and c.user != o.user):",
        "if pye_unlikely(c.user != 0 and o.user != 0 and c.user != o.user):",
        "unit/test_requests.py::test_anonymous_order_has_no_owner_to_claim_it",
    ),
    Mutant(
        "post-only slides two ticks",
        "matching.pyx",
        "price[0] = touch - 1 if c.side == BUY",
        "price[0] = touch - 2 if c.side == BUY",
        "unit/test_matching.py::test_post_only_is_refused_or_slides_one_tick_off_the_touch",
    ),
    Mutant(
        "a user's mass cancel takes both sides",
        "matching.pyx",
        "and (c.side == 0 or (side & 1) + 1 == c.side)",
        "and (c.side == 0 or (side & 1) + 1 == c.side or c.user != 0)",
        "property/test_against_reference.py::test_long_stream_matches_the_reference",
    ),
    Mutant(
        "nobody counts as a user",
        "matching.pyx",
        "    if user == 0:\n        return STP_OFF",
        "    if user == 0 and stp == STP_DEFAULT:\n        return STP_OFF",
        "unit/test_self_trade.py::test_nobody_is_not_a_user",
    ),
    Mutant(
        "an amended order counts twice in a full level",
        "matching.pyx",
        "(o.qty_lots if level == o.level else 0)",
        "(0 if level == o.level else 0)",
        "unit/test_matching.py::test_level_that_would_overflow_is_full",
    ),
    Mutant(
        "the best price stays after its level is gone",
        "ladder.pxd",
        "    if was_best:\n        slot",
        "    if was_best and page == 0:\n        slot",
        "unit/test_matching.py::test_no_phantom_best_price_after_the_last_order_of_a_level_goes",
    ),
    Mutant(
        "the best price stays after its page is empty",
        "ladder.pxd",
        "        l.best_key = pool.pages[page].prefix << 6 | slot\n",
        "",
        "property/test_against_reference.py::test_long_stream_matches_the_reference",
    ),
    Mutant(
        "the hash forgets the owner",
        "views.pyx",
        "                h = mixed(h, o.user)\n",
        "",
        "unit/test_views.py::test_hash_covers_each_field_of_an_order",
    ),
    Mutant(
        "the producer overwrites what a required consumer hasn't read",
        "ring.pyx",
        "    if r.required != 0 and end > slowest + r.capacity:",
        "    if r.required == 99 and end > slowest + r.capacity:",
        "unit/test_consumers.py::test_slow_required_consumer_makes_the_command_fail_after_the_deadline_and_nothing_change",
    ),
    Mutant(
        "an order may be sent with reserved bytes",
        "matching.pyx",
        "(c.reserved[0] | c.reserved[1] | c.reserved[2]) != 0 or ",
        "",
        "unit/test_bad_rows.py::test_reserved_bytes_must_be_zero_however_the_array_lies",
    ),
    Mutant(
        "another price under the same client order id is taken for a repetition",
        "requests.pyx",
        "same &= first.price_ticks == again.price_ticks",
        "same &= True",
        "unit/test_once.py::test_other_contents_are_refused_and_the_first_ones_stay",
    ),
    Mutant(
        "one command less is remembered",
        "requests.pyx",
        "while w.count != 0 and (w.count == w.limit or",
        "while w.count != 0 and (w.count + 1 == w.limit or",
        "property/test_once.py::test_streams_run_as_a_dictionary_says",
    ),
    Mutant(
        "time goes back for remembered commands",
        "requests.pyx",
        "w.latest_ns = max(w.latest_ns, request.ts_ns)",
        "w.latest_ns = request.ts_ns",
        "property/test_once.py::test_streams_run_as_a_dictionary_says",
    ),
    Mutant(
        "recovery remembers commands without what came of them",
        "recovery.pyx",
        "            request_take(&s.requests, e)\n",
        "            pass\n",
        "property/test_once.py::test_each_command_begins_where_another_engine_may_go_on",
    ),
    Mutant(
        "a malformed command leaves its request behind",
        "once.pyx",
        "        s.out.seq = request.seq\n",
        "        pass\n",
        "unit/test_once.py::test_bad_arguments_change_nothing",
    ),
    Mutant(
        "a request is published before it is known whether its command runs",
        "state.pyx",
        "s.out.published = s.out.seq - s.out.pending",
        "s.out.published = s.out.seq",
        "unit/test_once_window.py::test_what_was_refused_for_want_of_room_may_come_again",
    ),
    Mutant(
        "single calls give the interpreter's lock away",
        "engine.pyx",
        "        status = matching_execute(s, c)\n        if status == RING_FULL:",
        "        with nogil:\n            status = matching_execute(s, c)\n        if status == RING_FULL:",
        "unit/test_threads.py::test_single_calls_keep_the_interpreter_lock_while_there_is_room",
    ),
)


def build(tree: Path, target: Path) -> None:
    """Build the package of a tree into a folder; objects of the last build are used again."""
    shutil.rmtree(target, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    options = ["--no-deps", f"--config-settings=build-dir={tree / 'objects'}", "--target", str(target), str(tree)]
    subprocess.run([*pip, *options], check=True)


def run_tests(target: Path, tests: list[str]) -> tuple[bool, str]:
    """Run tests against a built package; returns whether all passed, and the last line.

    `-S` keeps an editable install of the package, which comes in by a .pth file, from getting in the way.
    """
    places = [str(target), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT / "tests")]
    options = ["-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--rootdir", str(ROOT / "tests")]
    code = f"import sys; sys.path[:0] = {places!r}; import pytest; sys.exit(pytest.main({[*options, *tests]!r}))"
    command = [sys.executable, "-S", "-c", code]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, "timeout"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit {done.returncode}"


def node(test: str) -> str:
    """Name a test from the root of the tree."""
    return str(ROOT / "tests" / test)


def try_mutant(mutant: Mutant, tree: Path, target: Path) -> bool:
    """Build one fault in, see whether its test notices, and take it out again."""
    path = tree / CORE / mutant.file
    source = path.read_text()
    if source.count(mutant.old) != 1:
        print(f"STALE     {mutant.name}: its text is {source.count(mutant.old)} times in {mutant.file}")
        return False
    started = time.perf_counter()
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        build(tree, target)
        passed, last = run_tests(target, [node(mutant.test)])
    finally:
        path.write_text(source)
    verdict = "SURVIVED " if passed else "caught   "
    print(f"{verdict} {mutant.name}: {mutant.test.split('::')[1]}: {last} [{time.perf_counter() - started:.0f} s]")
    return not passed


def main() -> int:
    """Run the list; 0 if the unchanged tree is green and every fault is caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="run the faults whose name contains this")
    parser.add_argument("--folder", type=Path, default=None, help="where to build; a temporary folder by default")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        tree, target = base / "tree", base / "built"
        shutil.rmtree(tree / "src", ignore_errors=True)
        tree.mkdir(parents=True, exist_ok=True)
        for name in NEEDED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
        build(tree, target)
        passed, last = run_tests(target, sorted({node(mutant.test) for mutant in chosen}))
        print(f"unchanged: {last}")
        if not passed:
            return 1
        caught = [try_mutant(mutant, tree, target) for mutant in chosen]
    print(f"{sum(caught)} of {len(caught)} faults caught")
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
