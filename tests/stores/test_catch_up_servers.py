"""Layers on real servers, whatever happens to these: they end with what the journal has, and matching went on throughout."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from journal_setup import rows
from side_by_side import NAMES, new_engine
from stores.gated import eventually
from stores.servers import PostgresServer, ValkeyServer

from pyengine import SelfTrade
from pyengine.journal import History, Journal
from pyengine.journal.compare import compare_orders, compare_trades
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore
from pyengine.stores.composite import CompositeOrderStore, CompositeTradeStore, LayerOptions
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore

TESTS = Path(__file__).resolve().parents[1]
EACH = 100
KEPT_BY_REDIS = 10_000
SHORT, LONG = 1 << 16, 512
"""Rings that an outage of a second doesn't fill, and does."""
OPTIONS = {
    "redis": LayerOptions(read_deadline_s=0.5, pause_s=0.1, longest_pause_s=0.2),
    "postgres": LayerOptions(read_deadline_s=2, pause_s=0.1, longest_pause_s=0.2),
}
KILLED = """
import os, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from journal_setup import rows
from stores.test_catch_up_servers import Deployed

folder, valkey, postgres, turn = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
deployed = Deployed(folder, valkey, postgres, 512)
os.write(1, b"ready\\n")
while True:
    deployed.run()
"""


class Deployed:
    """An engine with a journal and stores in memory, Redis, PostgreSQL and a file."""

    def __init__(self, folder: Path, valkey: str, postgres: str, ring: int) -> None:
        self.folder = folder
        self.postgres = PostgresOrderStore(postgres, lazy=True, command_timeout_s=2)
        self.postgres_trades = PostgresTradeStore(postgres, lazy=True, command_timeout_s=2)
        self.redis = RedisOrderStore(valkey, write_timeout_s=1, read_timeout_s=5.0)
        self.redis_trades = RedisTradeStore(valkey, write_timeout_s=1, read_timeout_s=5.0, capacity=KEPT_BY_REDIS)
        self.file = FileTradeStore(folder / "trades.log", fsync="interval")
        self.order_store = CompositeOrderStore(
            InMemoryOrderStore(), self.redis, self.postgres, ring_capacity=ring, options=OPTIONS
        )
        self.trade_store = CompositeTradeStore(
            InMemoryTradeStore(1000), self.redis_trades, self.postgres_trades, self.file, ring_capacity=ring, options=OPTIONS
        )
        self.journal = Journal(folder / "journal", segment_bytes=1 << 20)
        self.engine = self.journal.resume(
            order_store=self.order_store,
            trade_store=self.trade_store,
            instruments=new_engine().instruments,
            self_trade=SelfTrade.CANCEL_TAKER,
        )
        for name in NAMES:
            self.engine.user(name)
        self.turn = self.engine.next_seq

    def run(self) -> None:
        self.engine.run(rows(EACH, seed=self.turn))
        self.turn += 1

    @contextmanager
    def busy(self) -> Iterator[Callable[[], int]]:
        """Keep the engine busy, and see that nothing holds it up."""
        over, begun, times = threading.Event(), self.turn, [0.0]

        def work() -> None:
            while not over.is_set():
                before = time.perf_counter()
                self.run()
                times.append(time.perf_counter() - before)
                time.sleep(0.01)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield lambda: self.turn - begun
        finally:
            over.set()
            thread.join()
        assert max(times) < 2, "matching goes on"

    def check(self) -> None:
        """See that every layer has what the journal has."""
        flushed = self.engine.flush_stores(60)
        assert flushed, (flushed, self.order_store.stats(), self.trade_store.stats())
        history, names = History(self.folder / "journal"), self.engine.names
        for orders in (self.redis, self.postgres):
            found = compare_orders(history, names, orders, cache=orders is self.redis)
            assert (found.differences, found.absent) == ((), 0), orders.name
            assert found.compared > 500
        for trades, newest in ((self.redis_trades, KEPT_BY_REDIS), (self.postgres_trades, None), (self.file, None)):
            found = compare_trades(history, names, trades, newest=newest)
            assert found.differences == (), trades.name
            assert found.compared > 100
        for store in (self.order_store, self.trade_store):
            assert all(layer.is_whole and layer.missed_count == 0 for layer in store.layers)

    def close(self) -> None:
        self.engine.close()
        self.order_store.close()
        self.trade_store.close()


class Servers:
    """A Valkey and a PostgreSQL, and what may become of them."""

    def __init__(self, valkey: ValkeyServer, postgres: PostgresServer) -> None:
        self.valkey, self.postgres = valkey, postgres
        self._copies = valkey.folder / "copies"
        self._copies.mkdir()

    def named(self, which: str) -> list[Any]:
        return {"redis": [self.valkey], "postgres": [self.postgres], "both": [self.valkey, self.postgres]}[which]

    def wipe(self, which: str) -> None:
        if which != "postgres":
            self.valkey.command("FLUSHALL")
        if which != "redis":
            while True:
                try:
                    self.postgres.execute("TRUNCATE orders, trades, instruments, watermarks")
                except asyncpg.DeadlockDetectedError:
                    continue  # with a layer that is writing
                break

    def copy(self) -> None:
        """Make a copy of both, as of now."""
        self.valkey.command("SAVE")
        shutil.copy(self.valkey.home / "dump.rdb", self._copies)
        self.postgres.stop()
        shutil.copytree(self.postgres.cluster, self._copies / "cluster", symlinks=True)
        self.postgres.start()

    def restore(self, which: str) -> None:
        """Bring the copy back."""
        for server in self.named(which):
            server.kill()
        if which != "postgres":
            shutil.copy(self._copies / "dump.rdb", self.valkey.home)
        if which != "redis":
            shutil.rmtree(self.postgres.cluster)
            shutil.copytree(self._copies / "cluster", self.postgres.cluster, symlinks=True)
        if self.postgres.user is not None:
            for server in (self.valkey, self.postgres):
                for place in [server.home, *server.home.rglob("*")]:
                    shutil.chown(place, self.postgres.user)
        for server in self.named(which):
            server.start()


@pytest.fixture
def servers(own_valkey: Callable[..., ValkeyServer], own_postgres: Callable[..., PostgresServer]) -> Iterator[Servers]:
    # What it has said to be committed must be there after a kill.
    made = Servers(own_valkey(), own_postgres(durable=True))
    yield made
    print(made.postgres.log_text()[-4000:])


@contextmanager
def deployed(folder: Path, servers: Servers, ring: int = LONG) -> Iterator[Deployed]:
    made = Deployed(folder, servers.valkey.url, servers.postgres.url, ring)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("ring", [SHORT, LONG], ids=["shorter than the ring", "longer than the ring"])
@pytest.mark.parametrize("which", ["redis", "postgres", "both"])
@pytest.mark.parametrize("spoil", ["pause", "kill", "restart"])
def test_an_outage_under_load(spoil: str, which: str, ring: int, servers: Servers, tmp_path: Path) -> None:
    with deployed(tmp_path, servers, ring) as market:
        with market.busy() as done:
            eventually(lambda: done() > 20)
            for server in servers.named(which):
                {"pause": server.pause, "kill": server.kill, "restart": server.stop}[spoil]()
            reached = done()
            eventually(lambda: done() > reached + 60, 60)
            for server in servers.named(which):
                server.resume() if spoil == "pause" else server.start()
            reached = done()
            eventually(lambda: done() > reached + 20, 60)
        market.check()


@pytest.mark.parametrize("which", ["redis", "postgres", "both"])
def test_wiped_and_set_back_under_load(which: str, servers: Servers, tmp_path: Path) -> None:
    with deployed(tmp_path, servers) as market:
        with market.busy() as done:
            eventually(lambda: done() > 20)
            servers.copy()
            reached = done()
            eventually(lambda: done() > reached + 40, 60)
            servers.wipe(which)
            reached = done()
            eventually(lambda: done() > reached + 20, 60)
        market.check()
        with market.busy() as done:
            eventually(lambda: done() > 20)
            servers.restore(which)
            reached = done()
            eventually(lambda: done() > reached + 20, 60)
        market.check()


def test_a_killed_process_goes_on_with_all_its_layers(servers: Servers, tmp_path: Path) -> None:
    for life in range(4):
        script = KILLED.format(tests=str(TESTS))
        command = [sys.executable, "-c", script, str(tmp_path), servers.valkey.url, servers.postgres.url, str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.2 + 0.3 * life)
            if life == 2:
                # Both are away when it is killed, and come back before the next life.
                servers.valkey.kill()
                servers.postgres.pause()
                time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
        if life == 2:
            servers.valkey.start()
            servers.postgres.resume()
    with deployed(tmp_path, servers) as market:
        market.check()
        market.run()
        market.check()
