"""Redis out of reach, too slow, too full, starting, read-only or gone in the middle: typed errors or right answers."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat

import pytest
from stores.redis_rows import ids, order, order_rows, trade, trade_rows
from stores.servers import ValkeyServer

from pyengine.store_errors import StoreDamaged, StoreUnavailable
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


def every_call(orders: RedisOrderStore, trades: RedisTradeStore) -> list[Callable[[], object]]:
    return [
        lambda: orders.get(1),
        orders.get_all,
        lambda: orders.get_by_user("alice"),
        lambda: orders.get_by_side("buy"),
        lambda: orders.save(order(2)),
        lambda: orders.update(order(1)),
        lambda: orders.backfill([order(3)]),
        lambda: orders.remove(1),
        orders.sweep,
        orders.is_empty,
        orders.ping,
        orders.connect,
        trades.get_recent,
        lambda: trades.complete_for(1),
        lambda: trades.save(trade(2)),
        trades.is_empty,
    ]


def test_nobody_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % reserved.getsockname()[1]  # noqa: UP031  a port is a number
        with RedisConnection(f"redis://{address}") as connection:
            orders, trades = RedisOrderStore(connection), RedisTradeStore(connection)
            for call in every_call(orders, trades):
                with pytest.raises(StoreUnavailable, match=f"^redis at {address}: .+ failed: .*refused"):
                    call()
            assert orders.stats().counts["errors"] == 11
            assert connection.lent_count == connection.open_count == 0


def test_somebody_who_is_no_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        peer.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        with RedisOrderStore(port=listener.getsockname()[1], host="127.0.0.1") as store:
            with pytest.raises(StoreUnavailable, match="get of order 1 failed"):
                store.get(1)
            with pytest.raises(StoreUnavailable):
                store.save(order(1))
        listener.shutdown(socket.SHUT_RDWR)


def test_somebody_who_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, RedisOrderStore(port=listener.getsockname()[1]) as store:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="Timeout"):
            store.get(1)
        assert time.monotonic() - begun < 1


def test_a_paused_server_costs_a_read_its_deadline(server: ValkeyServer) -> None:
    orders, trades = both(server, write_timeout_s=0.2)
    for number in range(2, 30):
        orders.save(order(number, version=number))
    server.pause()
    try:
        for call in every_call(orders, trades):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match=f"^redis at {server.host}:{server.port}: .+ failed: .*[Tt]imeout"):
                call()
            assert time.monotonic() - begun < 1.5
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            orders.get(1)
        assert 0.04 < time.monotonic() - begun < 0.5
    finally:
        server.resume()
    # No answer that comes late is taken for the answer to something else.
    for number in range(2, 30):
        assert orders.get(number).version == number
    assert orders.save(order(1))
    assert ids(trades.get_recent())[-1] == 1
    orders.connection.close()


def test_a_restarted_server_is_found_again(own_valkey: Starter) -> None:
    server = own_valkey()
    orders, trades = both(server)
    for number in range(2, 4):
        server.stop()
        for call in every_call(orders, trades):
            with pytest.raises(StoreUnavailable):
                call()
        server.start()
        # The cache is empty, the scripts are unknown, the instruments are gone, and the first connections are dead.
        assert orders.get(1) is None
        assert orders.save(order(number))
        assert trades.save(trade(number))
        assert orders.get_all() == [order(number)]
        assert trades.get_recent() == [trade(number)]
    orders.connection.close()


def test_a_server_that_closes_connections(server: ValkeyServer) -> None:
    orders, trades = both(server)
    for _ in range(3):
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert orders.get(1) == order(1)
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert orders.save(order(1))
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert trades.save(trade(1)) is False
    orders.connection.close()


def test_a_server_that_forgets_its_scripts(server: ValkeyServer) -> None:
    orders, trades = both(server)
    rows, names = order_rows(10, 1600)
    with RedisOrderStore(orders.connection, names=names) as sharing:
        server.command("SCRIPT", "FLUSH")
        assert sharing.save_batch(rows) == 1600
    server.command("SCRIPT", "FLUSH")
    with RedisTradeStore(orders.connection, names=names) as sharing:
        assert sharing.save_batch(trade_rows(2, 3000)) == 3000
    assert sorted(server.command("KEYS", "trades:*")) == [b"trades:recent"]
    assert server.command("ZCARD", "trades:recent") == 3001
    server.command("SCRIPT", "FLUSH")
    assert trades.save(trade(0x7FFF))
    assert trades.save(trade(4000))
    server.command("SCRIPT", "FLUSH")
    assert orders.remove_batch(range(2000)) == 1601
    server.command("SADD", "side_orders:1", "99")
    server.command("SCRIPT", "FLUSH")
    assert orders.get_by_side(1) == []
    assert server.command("EXISTS", "side_orders:1") == 0
    orders.connection.close()


def test_killed_in_the_middle_of_a_batch(own_valkey: Starter) -> None:
    server = own_valkey(appendonly=True)
    rows, names = order_rows(1, 20_000, users=50)
    new_trades = trade_rows(1, 10_000)
    with RedisConnection(server.url) as connection:
        orders, trades = RedisOrderStore(connection, names=names), RedisTradeStore(connection, names=names, capacity=10_000)
        orders.save_batch(rows[:100])
        trades.save_batch(new_trades[:100])
        for write, table in ((orders.save_batch, rows), (trades.save_batch, new_trades)):
            killer = threading.Timer(0.08, server.kill)
            killer.start()
            with pytest.raises(StoreUnavailable):
                deque(map(write, repeat(table)), 0)
            killer.join()
            server.start()
        assert orders.save_batch(rows) == 20_000
        trades.save_batch(new_trades)
        assert len(orders.get_all()) == 20_000
        assert sum(len(orders.get_by_side(side)) for side in (1, 2)) == 20_000
        assert len(orders.get_by_user("user 7")) == 400
        assert trades.complete_for(10_000)
        assert ids(trades.get_recent(5)) == [10_000, 9_999, 9_998, 9_997, 9_996]


def test_a_server_that_is_still_loading(own_valkey: Starter) -> None:
    server = own_valkey(options=("key-load-delay 300", "loading-process-events-interval-bytes 1024"))
    orders, trades = both(server)
    rows, names = order_rows(10, 3000)
    with RedisOrderStore(orders.connection, names=names) as sharing:
        sharing.save_batch(rows)
    server.command("SAVE")
    server.stop()
    server.start(wait=False)
    seen = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            found = orders.get(1)
        except StoreUnavailable as error:
            seen.add("is loading" if "is loading" in str(error) else "else")
        else:
            assert found == order(1)
            break
    assert "is loading" in seen
    server.wait()
    assert len(orders.get_all()) == 3001
    assert trades.get_recent() == [trade(1)]
    orders.connection.close()


def test_a_read_only_server_answers_reads(server: ValkeyServer) -> None:
    orders, trades = both(server)
    server.command("SADD", "user_orders:alice", "99")
    server.set_read_only()
    try:
        assert orders.get(1) == order(1)
        assert orders.get_by_user("alice") == orders.get_all() == orders.get_by_side("buy") == [order(1)]
        assert trades.get_recent() == [trade(1)]
        for call in (
            lambda: orders.save(order(2)),
            lambda: orders.save(order(1)),
            lambda: orders.remove(1),
            lambda: orders.backfill([order(3)]),
            orders.sweep,
            lambda: trades.save(trade(2)),
            lambda: trades.save_batch([trade(0x99), trade(2), trade(1)]),
        ):
            with pytest.raises(StoreUnavailable, match=f"^redis at {server.host}:{server.port}: .+ failed: READONLY"):
                call()
    finally:
        server.set_read_only(False)
    assert orders.save(order(2))
    assert trades.save(trade(2))
    assert ids(orders.get_by_user("alice")) == [1, 2]
    assert server.command("SCARD", "user_orders:alice") == 2
    orders.connection.close()


def test_a_full_server_says_so_and_still_answers(server: ValkeyServer) -> None:
    orders, trades = both(server)
    server.command("CONFIG", "SET", "maxmemory", "1mb")
    try:
        for call in (lambda: orders.save(order(2)), lambda: trades.save(trade(2)), lambda: orders.save(order(1, version=1))):
            with pytest.raises(StoreUnavailable, match=r"failed: OOM command not allowed"):
                call()
        assert orders.get(1) == order(1)
        assert trades.get_recent() == [trade(1)]
        assert orders.remove(1)
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")
    assert orders.save(order(1))
    assert trades.save(trade(2))
    assert orders.get_by_user("alice") == [order(1)]
    orders.connection.close()


def test_eviction_loses_and_never_lies(own_valkey: Starter) -> None:
    server = own_valkey(maxmemory="4mb", options=("maxmemory-policy allkeys-random",))
    rows, names = order_rows(1, 20_000, users=20)
    with RedisConnection(server.url) as connection:
        orders, trades = RedisOrderStore(connection, names=names), RedisTradeStore(connection, names=names)
        for at in range(0, 20_000, 500):
            assert orders.save_batch(rows[at : at + 500]) == 500
            assert trades.save_batch(trade_rows(1 + at, 500)) == 500
        assert server.command("INFO", "stats")["evicted_keys"] > 1000
        by_id = {int(row["order_id"]): row for row in rows}
        held = orders.get_all()
        assert 0 < len(held) < 20_000
        for found in held:
            assert found.version == by_id[found.order_id]["version"]
        for number in range(20):
            assert all(found.user == f"user {number}" for found in orders.get_by_user(f"user {number}"))
        for side in (1, 2):
            assert all(found.side == side for found in orders.get_by_side(side))
        recent = ids(trades.get_recent(1000))
        assert recent == sorted(recent, reverse=True)
        assert not recent or recent[0] == 20_000
        assert trades.complete_for(500) == (len(recent) >= 500 and recent[0] - recent[499] == 499)
        with RedisOrderStore(server.url) as other, suppress(StoreDamaged):
            # The definitions may be gone too; they are never guessed.
            assert {found.instrument for found in other.get_all()} <= {*names.instruments}


def test_more_clients_than_the_server_takes(own_valkey: Starter) -> None:
    server = own_valkey(options=("maxclients 2",))
    with RedisConnection(server.socket_url) as first, RedisConnection(server.socket_url) as second:
        orders = RedisOrderStore(first)
        orders.save(order(1))
        orders.get(1)
        with pytest.raises(StoreUnavailable, match="get of order 1 failed: "):
            RedisOrderStore(second).get(1)
        first.close()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with suppress(StoreUnavailable):
                assert RedisOrderStore(second).get(1) == order(1)
                break
        else:
            pytest.fail("the server never took another client")
