"""Composites at the end of things: of the composite, the interpreter, or after a fork. What was accepted gets where it can."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest
from children import in_child
from stores.composite_setup import BTC, QUICK, ids, order, order_rows, trade
from stores.gated import GatedOrderStore, GatedTradeStore, eventually

from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore
from pyengine.stores.sqlite import SQLiteOrderStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
TESTS = Path(__file__).resolve().parents[1]
HEAD = """
import sys, time
sys.path.insert(0, {tests!r})
from stores.composite_setup import BTC, QUICK, order
from stores.gated import GatedOrderStore
from pyengine import Engine
from pyengine.stores import InMemoryOrderStore
from pyengine.stores.composite import CompositeOrderStore, LayerOptions, process
from pyengine.stores.sqlite import SQLiteOrderStore
process.EXIT_S = {exit_s}
path = {path!r}
"""


def run(script: str, path: Path, *, exit_s: float = 20) -> str:
    """Run a script in a process of its own, which must end by itself and well."""
    head = HEAD.format(tests=str(TESTS), path=str(path), exit_s=exit_s)
    command = [sys.executable, "-W", "error", "-c", head + textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def stored(path: Path) -> list[int]:
    """List what a file holds."""
    store = SQLiteOrderStore(path)
    found = ids(store.get_all())
    store.close()
    return found


def test_a_composite_that_is_gone_writes_what_it_has_accepted() -> None:
    below = GatedOrderStore()
    below.gate.hang()
    store = CompositeOrderStore(InMemoryOrderStore(), below)
    writer, watched = store._writers[0], weakref.ref(store)
    store.save_batch(map(order, range(1, 10)))
    del store
    gc.collect()
    assert watched() is None
    below.gate.go_on()
    writer.join(20)
    assert not writer.is_alive()
    assert ids(below.inner.get_all()) == list(range(1, 10))


def test_threads_end_with_the_composite() -> None:
    before = set(threading.enumerate())
    with CompositeTradeStore(InMemoryTradeStore(), GatedTradeStore("a"), GatedTradeStore("b")) as store:
        store.save(trade(1))
        store.get_recent(50)
        assert len(set(threading.enumerate()) - before) >= 2
    eventually(lambda: set(threading.enumerate()) <= before)


def test_the_interpreter_ends_with_everything_written(tmp_path: Path) -> None:
    script = """
        store = CompositeOrderStore(InMemoryOrderStore(), SQLiteOrderStore(path))
        for i in range(1, 2001):
            store.save(order(i))
    """
    run(script, tmp_path / "orders.db")
    assert stored(tmp_path / "orders.db") == list(range(1, 2001))


def test_the_interpreter_ends_with_an_engines_last_events_written(tmp_path: Path) -> None:
    script = """
        engine = Engine([BTC], order_store=SQLiteOrderStore(path))
        for i in range(1, 501):
            engine.submit("BTC-USD", "buy", qty=1, price=100, user="alice", order_id=i)
    """
    said = run(script, tmp_path / "orders.db")
    assert stored(tmp_path / "orders.db") == list(range(1, 501)), said


def test_layers_that_connect_while_the_interpreter_exits_do_not_keep_others_from_writing(tmp_path: Path) -> None:
    script = """
        import threading
        def connect() -> None:
            while True:
                process.go_first()
        store = CompositeOrderStore(InMemoryOrderStore(), SQLiteOrderStore(path))
        assert store.flush()
        for _ in range(3):
            threading.Thread(target=connect, daemon=True).start()
        sys.setswitchinterval(1e-6)
        store.save(order(1))
    """
    for turn in range(10):
        said = run(script, tmp_path / f"{turn}.db")
        assert stored(tmp_path / f"{turn}.db") == [1], said


def test_a_layer_that_hangs_does_not_keep_the_interpreter_from_ending(tmp_path: Path) -> None:
    script = """
        hung = GatedOrderStore("hung")
        store = CompositeOrderStore(InMemoryOrderStore(), hung, SQLiteOrderStore(path), options={"hung": QUICK})
        store.save(order(1))
        assert store.flush()
        hung.gate.hang()
        store.save(order(2))
        assert store.get(3) is None
        start = time.monotonic()
        import atexit
        atexit._run_exitfuncs()
        assert time.monotonic() - start < 10
    """
    run(script, tmp_path / "orders.db", exit_s=0.5)
    assert stored(tmp_path / "orders.db") == [1, 2]


def test_a_layer_that_is_dead_is_said_to_lack_what_is_left(tmp_path: Path) -> None:
    script = """
        dead = GatedOrderStore("dead")
        store = CompositeOrderStore(InMemoryOrderStore(), dead, options={"dead": QUICK})
        dead.gate.shut = True
        for i in range(1, 8):
            store.save(order(i))
    """
    assert "dead was closed without the last 7 records" in run(script, tmp_path / "orders.db")


def test_a_forked_child_has_writers_of_its_own_and_leaves_the_parents_work_to_it(tmp_path: Path) -> None:
    gated, file = GatedOrderStore("gated"), SQLiteOrderStore(tmp_path / "orders.db")
    with CompositeOrderStore(InMemoryOrderStore(), gated, file) as store:
        store.save(order(1))
        assert store.flush()
        gated.gate.hang()
        store.save(order(2))

        def child() -> None:
            gated.gate._answers.set()
            assert store.get(2) == order(2), "memory is as it was"
            assert store.stats().layers[1].gauges["lag_records"] == 0
            store.save(order(3))
            assert store.flush(timeout_s=20)
            assert ids(gated.inner.get_all()) == [1, 3], "order 2 is the parent's to write"
            gated.inner.save(order(9))
            assert store.get(9) == order(9), "the parent may write what this memory doesn't know"
            store.close()

        in_child(child)
        gated.gate.go_on()
        assert store.flush()
        assert ids(gated.inner.get_all()) == [1, 2]
        assert ids(file.get_all()) == [1, 2, 3]


def test_a_fork_while_memory_is_read_leaves_no_lock_behind() -> None:
    memory = InMemoryOrderStore()
    memory.names.add_user("alice")
    memory.names.add_instrument(BTC)
    memory.save_batch(order_rows(1, 400_000))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            memory.get_by_user_array("alice")

    with CompositeOrderStore(memory, GatedOrderStore()) as store:
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(6):
                in_child(lambda: store.get(7).order_id, timeout_s=20)
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_a_fork_among_forty_busy_threads_takes_no_lock_along() -> None:
    layers = [GatedOrderStore("one"), GatedOrderStore("two")]
    done = threading.Event()
    with CompositeOrderStore(InMemoryOrderStore(), *layers, options={"one": QUICK}) as store:

        def work(number: int) -> None:
            turn = 0
            while not done.is_set():
                turn += 1
                store.save(order(100_000 * number + turn))
                store.get_by_user("alice")
                store.stats()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 41)]
        for thread in threads:
            thread.start()

        def child() -> None:
            store.save(order(7))
            assert store.get(7) == order(7)
            assert store.get_all()
            assert store.stats().layers[1].state == "closed"
            if store.layers[1].store.gate.waiting == 0:
                store.flush(timeout_s=0.2)

        try:
            for _ in range(8):
                in_child(child)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert store.flush(timeout_s=30)
        assert layers[0].inner.get_all() == store.get_all()
