"""Every way to a Redis: URLs, sockets, TLS, sentinels and clusters, and what is refused without repeating a password."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from stores.redis_rows import ids, order, trade
from stores.server_process import Server, free_port
from stores.servers import ValkeyServer, valkey_program

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreUnavailable
from pyengine.stores.redis import RedisConnection, RedisOrderStore, RedisTradeStore
from pyengine.stores.redis.address import ClusterAddress, SentinelAddress, read_url

Starter = Callable[..., ValkeyServer]
CERTIFICATES = Path(__file__).with_name("certificates")


@pytest.mark.parametrize(
    ("url", "shown", "options", "tls"),
    [
        ("redis://", "localhost:6379", {"host": "localhost", "port": 6379}, False),
        ("redis://h:1/2", "h:1", {"host": "h", "port": 1, "db": 2}, False),
        ("redis://u:p%40%2F%23@h", "h:6379", {"host": "h", "port": 6379, "username": "u", "password": "p@/#"}, False),
        ("redis://:p@h:1?db=3", "h:1", {"host": "h", "port": 1, "password": "p", "db": 3}, False),
        ("redis://[::1]:7", "::1:7", {"host": "::1", "port": 7}, False),
        ("rediss://h", "h:6379", {"host": "h", "port": 6379}, True),
        ("rediss://h?ssl_ca_certs=/ca.pem", "h:6379", {"host": "h", "port": 6379, "ssl_ca_certs": "/ca.pem"}, True),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock", {"path": "/run/redis.sock", "db": 1}, False),
        ("unix://u:p@/run/a%20b", "/run/a b", {"path": "/run/a b", "username": "u", "password": "p"}, False),
        ("redis://h?decode_responses=1&socket_timeout=9&protocol=3", "h:6379", {"host": "h", "port": 6379}, False),
    ],
)
def test_urls_of_one_server(url: str, shown: str, options: dict[str, Any], tls: bool) -> None:
    address = read_url(url, {})
    assert (address.shown, dict(address.options), address.tls) == (shown, options, tls)
    assert address.locate(b"", 1) == options
    assert dict(read_url(url, {"db": 9}).options) == options | {"db": 9}


def test_urls_of_sentinels() -> None:
    url = "redis+sentinel://u:p%2F@one:1,two,[::1]:3/main/4?ssl_ca_certs=x&sentinel_password=s&sentinel_username=t"
    address = read_url(url, {})
    assert isinstance(address, SentinelAddress)
    assert address.shown == "main of sentinels one:1,two:26379,::1:3"
    assert (address.service, address.sentinels) == ("main", (("one", 1), ("two", 26379), ("::1", 3)))
    assert dict(address.options) == {"username": "u", "password": "p/", "db": 4, "ssl_ca_certs": "x"}
    assert dict(address.sentinel_options) == {"password": "s", "username": "t"}
    assert address.secrets == ("p/", "s")
    assert not address.tls
    assert read_url("rediss+sentinel://h/m", {}).tls
    assert "p/" not in repr(address)


def test_urls_of_clusters() -> None:
    address = read_url("rediss+cluster://:p@one:1,two/0", {"ssl_ca_certs": "x"})
    assert isinstance(address, ClusterAddress)
    assert (address.shown, address.nodes, address.tls) == ("cluster of one:1,two:6379", (("one", 1), ("two", 6379)), True)
    assert dict(address.options) == {"password": "p", "ssl_ca_certs": "x"}
    for prefix in ("", "a:", "{}", "a}{"):
        with pytest.raises(FieldError, match="prefix must be with a hash tag"):
            RedisConnection("redis+cluster://h", prefix=prefix)
    assert RedisConnection("redis+cluster://h", prefix="a{b}:").prefix == "a{b}:"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sec-ret",
        "http://:sec-ret@h",
        "redis://:sec-ret@h:port",
        "redis://:sec/ret@h:99999",
        "redis://u:sec#ret@h",
        "unix://sec-ret",
        "redis+sentinel://:sec-ret@h",
        "redis+sentinel://:sec-ret@h/a/b",
        "redis+sentinel://:sec-ret@h/a/1/2",
        "redis+sentinel://:sec-ret@/a",
        "redis+cluster://:sec-ret@h/1",
        "redis+cluster://:sec-ret@h,,i",
        "redis+other://:sec-ret@h",
        "redis://:sec-ret@h?db=sec-ret",
    ],
)
def test_urls_that_cannot_be_are_not_repeated(url: str) -> None:
    with pytest.raises(FieldError, match=r"^url must be of a scheme redis, rediss, unix") as caught:
        RedisConnection(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": 5},
        {"pool_size": 0},
        {"pool_size": True},
        {"pool_size": "1"},
        {"min_idle": -1},
        {"read_timeout_s": 0},
        {"read_timeout_s": float("inf")},
        {"write_timeout_s": "5"},
        {"prefix": "order:"},
        {"prefix": "user_orders"},
        {"prefix": "a\n"},
        {"prefix": "x" * 256},
        {"prefix": None},
    ],
)
def test_parameters_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        RedisConnection(**wrong)
    with pytest.raises(FieldTypeError):
        RedisConnection(url=5)


def test_nothing_is_shown_that_is_secret() -> None:
    for connection in (
        RedisConnection("redis://user:sec-ret@h:1"),
        RedisConnection(host="h", port=1, username="user", password="sec-ret"),
        RedisConnection("redis+sentinel://:sec-ret@h/m?sentinel_password=sec-ret"),
        RedisConnection("redis+cluster://:sec-ret@h", prefix="{a}"),
    ):
        assert "sec-ret" not in repr(connection) + connection.address + repr(connection._address)
        error = connection.error(redis.ConnectionError("unknown command 'AUTH', with args beginning with: 'sec-ret'"), "get")
        assert str(error).endswith("get failed: unknown command 'AUTH', with args beginning with: '***'")
        assert connection.cause(redis.ConnectionError("sec-ret")) is None
    plain = RedisConnection(port=1)
    cause = redis.ConnectionError("refused")
    assert plain.cause(cause) is cause


def used(connection: RedisConnection) -> None:
    """See that both stores work over a connection."""
    orders, trades = RedisOrderStore(connection), RedisTradeStore(connection)
    assert orders.save_batch([order(1), order(2, "sell")]) == 2
    assert trades.save_batch([trade(1), trade(2)]) == 2
    assert orders.get(2) == order(2, "sell")
    assert ids(orders.get_all()) == ids(orders.get_by_user("alice")) == [1, 2]
    assert ids(trades.get_recent()) == [2, 1]
    assert orders.remove(1)


def test_a_unix_socket(own_valkey: Starter) -> None:
    server = own_valkey(password="sec-ret")
    for connection in (
        RedisConnection(server.socket_url),
        RedisConnection(unix_socket=server.socket_path, password="sec-ret", db=3),
        RedisConnection(f"unix://{server.socket_path}", password="sec-ret", db=4),
    ):
        assert connection.address == str(server.socket_path)
        with connection:
            used(connection)
    assert set(server.command("INFO", "keyspace")) == {"db0", "db3", "db4"}


@contextmanager
def tls_in_front_of(server: ValkeyServer) -> Iterator[int]:
    """Take TLS connections on a port and hand on what they say: the server in the wheel was built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    threads = []

    def copy(plain: socket.socket) -> None:
        there = (server.host, server.port)
        with (
            suppress(OSError),
            plain,
            context.wrap_socket(plain, server_side=True) as inner,
            socket.create_connection(there) as outer,
        ):
            while True:
                ready, _, _ = select.select([inner, outer], [], [], 10)
                for one in ready:
                    text = one.recv(65536)
                    if not text:
                        return
                    (outer if one is inner else inner).sendall(text)
                    while one is inner and inner.pending():
                        outer.sendall(inner.recv(65536))

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=copy, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept, args=(listener,))
        acceptor.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    acceptor.join()
    for thread in threads:
        thread.join()


def test_tls(own_valkey: Starter) -> None:
    server = own_valkey(password="sec-ret")
    ca = str(CERTIFICATES / "server.pem")
    with tls_in_front_of(server) as port:
        timeouts = {"read_timeout_s": 2.0, "password": "sec-ret"}
        checked = {"tls": True, "ssl_ca_certs": ca, "ssl_check_hostname": True}
        with RedisConnection(host="localhost", port=port, **checked, **timeouts) as by_name:
            used(by_name)
        server.command("FLUSHALL")
        with RedisConnection(f"rediss://127.0.0.1:{port}?ssl_ca_certs={ca}", **timeouts) as by_url:
            used(by_url)
        with RedisConnection(f"rediss://127.0.0.1:{port}", **timeouts) as strange:
            store = RedisOrderStore(strange)
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                store.get(1)


class Sentinel(Server):
    """A sentinel that watches one master."""

    kind = "sentinel"

    def __init__(self, master: ValkeyServer) -> None:
        super().__init__()
        self.config = self.folder / "sentinel.conf"
        lines = [f"port {self.port}", f"bind {self.host}", f"dir {self.home}", "requirepass guard"]
        lines += [f"sentinel monitor main {master.host} {master.port} 1", "sentinel down-after-milliseconds main 500"]
        lines.append(f"sentinel auth-pass main {master.password}")
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o666)
        self.folder.chmod(0o777)

    def command_line(self) -> list[str | Path]:
        return [valkey_program(), self.config, "--sentinel"]

    def answers(self) -> bool:
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.host, port=self.port, password="guard", decode_responses=True)


def test_sentinels_name_the_master_and_the_next_one(own_valkey: Starter) -> None:
    options = ("masterauth sec-ret", "repl-diskless-sync-delay 0", "repl-ping-replica-period 1")
    master = own_valkey(password="sec-ret", options=options)
    other = own_valkey(password="sec-ret", options=(*options, f"replicaof {master.host} {master.port}"))
    with Sentinel(master) as sentinel:
        url = f"redis+sentinel://:sec-ret@127.0.0.1:1,{sentinel.host}:{sentinel.port}/main?sentinel_password=guard"
        with RedisConnection(url, read_timeout_s=2.0) as connection:
            used(connection)
            store = RedisOrderStore(connection)
            assert master.command("EXISTS", "order:2") == 1
            deadline = time.monotonic() + 40
            with sentinel.client() as client:
                while client.sentinel_master("main")["num-slaves"] < 1 or other.command("EXISTS", "order:2") == 0:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                while client.sentinel_get_master_addr_by_name("main") != (other.host, other.port):
                    # Refused while the sentinel doesn't know the replica well enough, or is at it already.
                    with suppress(redis.ResponseError):
                        client.execute_command("SENTINEL", "FAILOVER", "main")
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            saved = False
            while not saved:
                assert time.monotonic() < deadline
                with suppress(StoreUnavailable):
                    saved = store.save(order(77))
                    saved = saved and other.command("EXISTS", "order:77") == 1
            assert store.get(77) == order(77)
        with (
            RedisConnection(url.replace("/main", "/none"), read_timeout_s=2.0) as connection,
            pytest.raises(StoreUnavailable, match="No master found for 'none'"),
        ):
            RedisOrderStore(connection).get(1)


def test_a_cluster_is_asked_for_the_node_of_our_keys(own_valkey: Starter) -> None:
    buses = [free_port(), free_port()]
    first, second = nodes = [own_valkey(options=("cluster-enabled yes", f"cluster-port {bus}")) for bus in buses]
    first.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    first.command("CLUSTER", "MEET", second.host, second.port, buses[1])
    names = [node.command("CLUSTER", "MYID").decode() for node in nodes]
    deadline = time.monotonic() + 20
    while any(b"cluster_state:ok" not in node.command("CLUSTER", "INFO") for node in nodes):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    url = f"redis+cluster://{second.host}:{second.port},{first.host}:{first.port}"
    with RedisConnection(url, prefix="{pyengine}:", read_timeout_s=2.0) as connection:
        used(connection)
        assert first.command("EXISTS", "{pyengine}:order:2") == 1
        slot = first.command("CLUSTER", "KEYSLOT", "{pyengine}:")
        first.command("FLUSHALL")
        for node in nodes[::-1]:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
        store = RedisOrderStore(connection)
        for call in (lambda: store.save(order(5)), lambda: store.get(5)):
            # The first answer names the other node; whoever tries again is sent there.
            with suppress(StoreUnavailable):
                call()
        assert store.save(order(5))
        assert store.get(5) == order(5)
        assert second.command("EXISTS", "{pyengine}:order:5") == 1
        with RedisOrderStore(connection) as again:
            again.sweep()
            assert again.remove(5)
