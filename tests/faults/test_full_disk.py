"""A disk that is full for real, and has room again later: for the journal, the trade log in a composite, and SQLite.

Files are kept from growing by a limit of the operating system, in a process of its own, as that signals and can't be undone by
others; and by a small disk of memory where one can be mounted.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fault_runs import mounted, runs_of, seed
from journal_setup import rows
from side_by_side import MODES, NAMES, new_engine

from pyengine import Engine, SelfTrade
from pyengine.journal import Journal, JournalError, JournalFailed, JournalFull, recover

TESTS = Path(__file__).resolve().parents[1]
COMMANDS = 1500
RING = 256
MARGIN = RING * 64 + (1 << 16)
"""What a journal keeps free for a ring of this size."""

HEAD = """
import resource, signal, sys
sys.path[:0] = [{tests!r}, {faults!r}]
from pathlib import Path
path, number = Path(sys.argv[1]), int(sys.argv[2])
# Python ignores the signal of its own accord; said here because everything rests on it.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def no_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def in_a_process(code: str, path: Path, number: int) -> str:
    """Run some code in a process whose files can be kept from growing; return what it printed."""
    text = HEAD.format(tests=str(TESTS), faults=str(TESTS / "faults")) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", text, path, str(number)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(path: Path, segment_bytes: int) -> Engine:
    journal = Journal(path, segment_bytes=segment_bytes)
    try:
        engine = journal.resume(instruments=new_engine().instruments, self_trade=SelfTrade.CANCEL_TAKER, ring_capacity=RING)
    except BaseException:
        journal.finish()
        raise
    name_users(engine)
    return engine


def name_users(engine: Engine) -> None:
    for number, name in enumerate(NAMES, start=1):
        engine.user(name, MODES[number])


def run_on(engine: Engine, ends: list[int], each: int) -> int:
    """Run what is left of the tape; return the last event that was acknowledged before the journal failed, or the last."""
    told = engine.next_seq - 1
    for run in runs_of(rows(COMMANDS)[ends.index(told) :], each):
        try:
            engine.run(run)
        except (JournalFailed, JournalFull):
            return told
        told = engine.next_seq - 1
    return told


def reference() -> tuple[list[int], dict[int, bytes]]:
    """Run the tape without a journal; return the last event of each command, and the states behind them."""
    engine = new_engine(self_trade=SelfTrade.CANCEL_TAKER)
    ends, states = [0], {0: engine.snapshot()}
    for run in runs_of(rows(COMMANDS), 1):
        engine.run(run)
        ends.append(engine.next_seq - 1)
        states[ends[-1]] = engine.snapshot()
    return ends, states


def check_told(path: Path, told: int, ends: list[int], states: dict[int, bytes]) -> None:
    found = recover(path)
    assert found.last_seq >= told
    assert found.last_seq in ends
    if not found.last_seq:
        # No event says that the users were acknowledged.
        name_users(found.engine)
    assert found.engine.snapshot() == states[found.last_seq]


@pytest.mark.parametrize("segment_bytes", [1 << 16, 1 << 13])
def test_a_journal_whose_files_may_not_grow_keeps_what_it_told(quick_path: Path, segment_bytes: int) -> None:
    drawn = seed()
    print(f"PYENGINE_SEED={drawn}")
    said = in_a_process(
        """
        import random
        from test_full_disk import JournalError, check_told, opened, reference, run_on
        segment_bytes = number >> 32
        rng = random.Random(number & 0xFFFFFFFF)
        ends, states = reference()
        rounds = failures = 0
        told = 0
        while told < ends[-1]:
            engine = opened(path, segment_bytes)
            assert engine.snapshot() == states[engine.next_seq - 1]
            rounds += 1
            # Sometimes within a segment that is there already, sometimes so that the next one can't be made.
            limit(rng.choice([rng.randrange(1000, segment_bytes), segment_bytes - 1]))
            told = max(told, run_on(engine, ends, rng.choice([1, 7, 60])))
            failed = engine.journal.failure is not None
            failures += failed
            check_told(path, told, ends, states)
            if failed:
                assert "File too large" in str(engine.journal.failure), engine.journal.failure
                # Reading goes on, commands are refused, and closing says so.
                assert engine.resting_orders >= 0
                try:
                    engine.close()
                    raise AssertionError("closed as if nothing had happened")
                except JournalError:
                    pass
                if rng.random() < 0.5:
                    try:
                        opened(path, segment_bytes).close()
                    except JournalError as error:
                        assert "File too large" in str(error), error
            if rng.random() < 0.7 or rounds % 3 == 0:
                no_limit()
            if not failed:
                engine.close()
            no_limit()
        engine = opened(path, segment_bytes)
        assert engine.snapshot() == states[ends[-1]]
        engine.close()
        print(rounds, failures)
        """,
        quick_path / "j",
        segment_bytes << 32 | drawn,
    )
    rounds, failures = map(int, said.split())
    assert failures >= 1, (rounds, failures)


def test_sqlite_whose_files_may_not_grow_refuses_whole_batches_and_goes_on(quick_path: Path) -> None:
    in_a_process(
        """
        from stores.trade_files import names, rows
        from pyengine.store_errors import StoreUnavailable
        from pyengine.stores.sqlite import SQLiteTradeStore

        store = SQLiteTradeStore(path, names=names())
        limit(200_000)
        saved = failed = 0
        while saved < 20_000:
            batch = rows(range(saved + 1, saved + 501))
            try:
                assert store.save_batch(batch) == 500
                saved += 500
            except StoreUnavailable as error:
                failed += 1
                # All of the batch or nothing of it, and what was there before is there.
                assert [each.trade_id for each in store.get_recent(10)] == list(range(saved, max(0, saved - 10), -1))
                if failed == 3:
                    no_limit()
        assert failed == 3
        assert [each.trade_id for each in store.get_recent(30_000)] == list(range(20_000, 0, -1))
        store.close()
        """,
        quick_path / "trades.sqlite",
        0,
    )


def test_layers_on_a_full_disk_have_everything_once_there_is_room(quick_path: Path) -> None:
    in_a_process(
        """
        from side_by_side import new_engine
        from journal_setup import rows
        from stores.trade_files import ids_written
        from pyengine import Engine
        from pyengine.stores import InMemoryTradeStore
        from pyengine.stores.composite import CompositeTradeStore
        from pyengine.stores.composite.layer import LayerOptions
        from pyengine.stores.file import FileTradeStore
        from pyengine.stores.sqlite import SQLiteTradeStore

        path.mkdir()
        file, sqlite = FileTradeStore(path / "trades.log"), SQLiteTradeStore(path / "trades.sqlite")
        options = {"sqlite": LayerOptions(pause_s=0.01, longest_pause_s=0.02)}
        store = CompositeTradeStore(InMemoryTradeStore(100_000), sqlite, file, options=options)
        engine = Engine(new_engine().instruments, trade_store=store)
        for number in range(3):
            engine.user(f"user {number}")
        ids = []
        for turn in range(12):
            if turn == 4:
                assert engine.flush_stores().late == ()
                limit(60_000)
            ids += engine.run(rows(1000, seed=turn)).trades["trade_id"].tolist()
            if turn == 7:
                assert set(engine.flush_stores(0.5).late) == {"sqlite", "file"}
                no_limit()
        assert len(ids) > 1000 and ids == list(range(1, len(ids) + 1))
        assert engine.flush_stores(30).late == (), store.stats()
        assert [each.trade_id for each in sqlite.get_recent(100_000)] == ids[::-1]
        assert ids_written(path / "trades.log") == ids
        engine.close()
        store.close()
        """,
        quick_path / "layers",
        0,
    )


# --- a small disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of half a megabyte."""
    with mounted(tmp_path / "disk", "512k") as folder:
        yield folder


def fill(folder: Path, left: int) -> Path:
    """Leave so many bytes on a disk, the rest in a file that may be removed."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while os.statvfs(folder).f_bavail * 4096 > left:
            file.write(bytes(4096))
    return ballast


def test_a_journal_on_a_full_disk_goes_on_when_there_is_room(small_disk: Path) -> None:
    drawn = seed()
    print(f"PYENGINE_SEED={drawn}")
    rng = random.Random(drawn)
    ends, states = reference()
    path, told, failures, refusals = small_disk / "j", 0, 0, 0
    while told < ends[-1]:
        engine = opened(path, 1 << 14)
        assert engine.snapshot() == states[engine.next_seq - 1]
        before = told
        # What is kept free, and sometimes room for some more.
        ballast = fill(small_disk, MARGIN + rng.choice((0, 1 << 14, 1 << 16)))
        told = run_on(engine, ends, rng.choice([1, 7, 60]))
        assert told >= before
        failure = engine.journal.failure
        check_told(path, told, ends, states)
        if failure is None:
            # Commands are refused before there is no room: then nothing has failed.
            ballast.unlink()
            engine.close()
            refusals += told < ends[-1]
            continue
        failures += 1
        assert isinstance(failure.__cause__, OSError)
        assert failure.__cause__.errno == errno.ENOSPC
        with pytest.raises(JournalFailed):
            engine.close()
        # Going on may fail for want of room, and nothing is lost by it.
        with suppress(JournalError):
            opened(path, 1 << 14).journal.finish()
        check_told(path, told, ends, states)
        ballast.unlink()
    assert failures + refusals >= 2
    with opened(path, 1 << 14) as engine:
        assert engine.snapshot() == states[ends[-1]]
