"""Connections to Redis: the bounded pool, threads and forks, credentials, sockets, sentinels and clusters."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from stores.redis_rows import BTC, ids, order, trade
from stores.servers import ValkeyServer

from pyengine.errors import FieldError
from pyengine.store_errors import StoreClosed, StoreUnavailable
from pyengine.stores import Names
from pyengine.stores.redis import RedisConnection, RedisOrderStore, RedisTradeStore

Starter = Callable[..., ValkeyServer]


@pytest.fixture(scope="module")
def shared(servers_wanted: None) -> Iterator[ValkeyServer]:
    """Run one server for those tests that bring it back to where it was."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def server(shared: ValkeyServer) -> Iterator[ValkeyServer]:
    shared.command("FLUSHALL")
    yield shared
    assert shared.running


def both(server: ValkeyServer, **options: object) -> tuple[RedisOrderStore, RedisTradeStore]:
    """Make stores that share a connection, and have used it."""
    connection = RedisConnection(server.url, **options)
    orders, trades = RedisOrderStore(connection), RedisTradeStore(connection)
    orders.save(order(1))
    trades.save(trade(1))
    assert orders.get(1) == order(1)
    return orders, trades


def test_an_exhausted_pool_makes_callers_wait_for_their_deadline_only(server: ValkeyServer) -> None:
    orders, _ = both(server, pool_size=2, write_timeout_s=1.0)
    server.pause()
    try:

        def write() -> None:
            with pytest.raises(StoreUnavailable):
                orders.save(order(5))

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        while orders.connection.lent_count < 2:
            time.sleep(0.001)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"get of order 1 failed: all 2 connections were in use for 0.05 s"):
            orders.get(1)
        assert time.monotonic() - begun < 0.5
        for writer in writers:
            writer.join()
    finally:
        server.resume()
    assert orders.get(1) == order(1)
    assert orders.connection.lent_count == 0
    assert orders.connection.open_count <= 2
    orders.connection.close()


def test_never_more_connections_than_the_pool_holds(server: ValkeyServer) -> None:
    with RedisConnection(server.url, pool_size=3) as connection:
        store = RedisOrderStore(connection)
        most = []

        def work(number: int) -> None:
            for turn in range(30):
                with suppress(StoreUnavailable):
                    store.save(order(number * 100 + turn)) if turn % 2 else store.get(number * 100 + turn)
                most.append(connection.open_count)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 3


def test_connect_opens_idle_connections(server: ValkeyServer) -> None:
    with RedisConnection(server.url, pool_size=5, min_idle=4) as connection:
        connection.connect()
        assert (connection.open_count, connection.lent_count) == (4, 0)


def test_forty_threads(server: ValkeyServer) -> None:
    orders, trades = both(server, read_timeout_s=5.0)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                own = 1000 + number * 100 + turn
                assert orders.save(order(own, 1 + turn % 2, user=f"user {number}", version=turn))
                assert orders.get(own).version == turn
                trades.save(trade(own))
                assert len(orders.get_by_user(f"user {number}")) == turn + 1
            assert orders.remove(1000 + number * 100)
        except BaseException as error:  # noqa: BLE001  told to the test below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(orders.get_all()) == 40 * 9 + 1
    assert sum(len(orders.get_by_side(side)) for side in (1, 2)) == 40 * 9 + 1
    found = ids(trades.get_recent(2000))
    assert found == sorted(found, reverse=True)
    assert len(found) == 401
    orders.connection.close()


def _child(orders: RedisOrderStore, trades: RedisTradeStore, number: int, answers: multiprocessing.SimpleQueue) -> None:
    own = [orders.get(1) == order(1), orders.save(order(number)), orders.get(number) == order(number)]
    answers.put((*own, trades.save(trade(number)), os.getpid()))
    orders.connection.close()


def test_forked_children_open_connections_of_their_own(server: ValkeyServer) -> None:
    orders, trades = both(server, read_timeout_s=5.0)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            orders.save(order(7))
            trades.save(trade(7))
            assert orders.get(7) == order(7)

    workers = [threading.Thread(target=busy) for _ in range(3)]
    for worker in workers:
        worker.start()
    children = [fork.Process(target=_child, args=(orders, trades, 10 + number, answers), daemon=True) for number in range(4)]
    for child in children:
        child.start()
    found = [answers.get() for _ in children]
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    stop.set()
    for worker in workers:
        worker.join()
    assert [answer[:4] for answer in found] == [(True, True, True, True)] * 4
    assert len({answer[4] for answer in found} | {os.getpid()}) == 5
    assert ids(orders.get_all()) == [1, 7, 10, 11, 12, 13]
    assert ids(trades.get_recent()) == [13, 12, 11, 10, 7, 1]
    orders.connection.close()


def _child_beside_idle_connections(server: ValkeyServer, orders: RedisOrderStore, answers: multiprocessing.SimpleQueue) -> None:
    own = orders.get(1) == order(1) and orders.save(order(2))
    answers.put((own, len(server.command("CLIENT", "LIST").splitlines())))


def test_a_forked_child_leaves_idle_connections_alone(server: ValkeyServer) -> None:
    orders, _ = both(server, read_timeout_s=5.0)
    assert orders.connection.open_count == 2
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    before = len(server.command("CLIENT", "LIST").splitlines())
    child = fork.Process(target=_child_beside_idle_connections, args=(server, orders, answers), daemon=True)
    child.start()
    assert answers.get() == (True, before + 2)
    child.join(10)
    assert orders.get(2) == order(2)
    assert orders.save(order(3))
    orders.connection.close()


def test_a_fork_while_other_threads_hold_every_lock(server: ValkeyServer) -> None:
    orders, trades = both(server, read_timeout_s=5.0)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    held = [orders._steps.counts._lock, trades._steps.counts._lock, trades._turn[1], orders.connection._lender._lock]
    for lock in held:
        lock.acquire()
    child = fork.Process(target=_child, args=(orders, trades, 20, answers), daemon=True)
    child.start()
    for lock in held:
        lock.release()
    child.join(10)
    assert child.exitcode == 0
    assert answers.get()[:4] == (True, True, True, True)
    orders.connection.close()


@pytest.mark.parametrize("user", ["", "trader"])
def test_a_wrong_password_is_refused_and_never_shown(own_valkey: Starter, user: str, caplog: pytest.LogCaptureFixture) -> None:
    server = own_valkey(password="right-secret")
    server.command("ACL", "SETUSER", "trader", "on", ">right-secret", "~*", "+@all")
    caplog.set_level(logging.DEBUG)
    place = f"{server.host}:{server.port}"
    for connection in (
        RedisConnection(f"redis://{user}:wrong-secret@{place}/0"),
        RedisConnection(host=server.host, port=server.port, username=user, password="wrong-secret"),
    ):
        store = RedisOrderStore(connection)
        with pytest.raises(StoreUnavailable, match=f"^redis at {place}: get of order 1 failed: .*password") as caught:
            store.get(1)
        shown = [str(error) for error in (caught.value, caught.value.__cause__)] + [repr(connection), repr(store), caplog.text]
        assert "wrong-secret" not in "".join([*shown, *traceback.format_exception(caught.value, limit=0)])
    with pytest.raises(StoreUnavailable, match=r"Authentication required"):
        RedisOrderStore(host=server.host, port=server.port).get(1)
    with RedisOrderStore(f"redis://{user}:right-secret@{place}/0") as store:
        assert store.save(order(1))


def test_a_user_without_the_right_to_write(own_valkey: Starter) -> None:
    server = own_valkey()
    server.command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection")
    with RedisOrderStore(server.url) as full, RedisOrderStore(f"redis://reader:pw@{server.host}:{server.port}") as store:
        full.save(order(1))
        assert store.get(1) == order(1)
        with pytest.raises(StoreUnavailable, match="save of order 1 failed: NOPERM"):
            store.save(order(1))


def test_the_first_success_is_logged_once(own_valkey: Starter, caplog: pytest.LogCaptureFixture) -> None:
    server = own_valkey()
    caplog.set_level(logging.INFO, "pyengine.stores.redis")
    server.stop()
    with RedisConnection(server.url) as connection:
        orders, trades = RedisOrderStore(connection), RedisTradeStore(connection)
        with pytest.raises(StoreUnavailable):
            orders.get(1)
        assert caplog.messages == []
        server.start()
        for _ in range(3):
            orders.get(1)
            trades.get_recent()
        assert caplog.messages == ["Redis cache connected successfully"]
        assert caplog.records[0].name == "pyengine.stores.redis"
        assert re.fullmatch(r"127\.0\.0\.1:\d+", caplog.records[0].address)


def test_orders_by_names_of_a_shared_table(server: ValkeyServer) -> None:
    names = Names([BTC])
    with RedisConnection(server.url) as connection:
        first, second = RedisOrderStore(connection, names=names), RedisTradeStore(connection, names=names)
        first.save(order(1))
        second.save(trade(1))
        assert first.names is second.names is names
        assert names.users == [None, "alice"]


def test_who_opens_closes(valkey: str) -> None:
    with RedisConnection(valkey) as connection:
        first, second = RedisOrderStore(connection), RedisOrderStore(connection)
        first.save(order(1))
        first.close()
        first.close()
        assert first.closed
        for call in (lambda: first.get(1), lambda: first.save(order(1)), first.flush, first.ping, first.connect):
            with pytest.raises(StoreClosed):
                call()
        assert second.get(1) == order(1)
        assert not connection.closed
    with pytest.raises(StoreClosed):
        second.get(1)
    assert second.closed
    own = RedisOrderStore(valkey)
    own.save(order(2))
    assert own.connection.open_count == 1
    own.close()
    assert own.connection.open_count == 0
    assert repr(own).endswith(", closed>")
    with pytest.raises(FieldError, match="connection must be a URL or None when pool_size is given too"):
        RedisOrderStore(connection, pool_size=3)
