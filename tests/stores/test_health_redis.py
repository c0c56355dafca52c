"""What is said about a Redis as it is configured, and what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from stores.servers import ValkeyServer

from pyengine.health.redis import check_redis
from pyengine.settings import Settings

SECRET = "hunter2"


@pytest.fixture(scope="module")
def guarded(servers_wanted: None) -> Iterator[ValkeyServer]:
    """Run a server that asks for a password."""
    with ValkeyServer(password=SECRET) as server:
        yield server


def test_all_is_well(guarded: ValkeyServer) -> None:
    finding = check_redis(Settings(redis_host=guarded.host, redis_port=guarded.port, redis_password=SECRET))
    assert finding.ok
    assert finding.backend == "redis"
    assert finding.address == f"{guarded.host}:{guarded.port}"
    assert finding.facts[0] == "reachable"
    assert finding.facts[1].startswith(("Valkey ", "Redis "))
    assert finding.facts[2] == "takes writes"
    assert finding.latency_s is not None
    assert 0 < finding.latency_s < 1
    assert finding.advice == ()


def test_every_way_there(guarded: ValkeyServer) -> None:
    """URL, URL that the other variables complete, Unix socket as URL and as host."""
    for settings in (
        Settings(redis_url=guarded.url),
        Settings(redis_url=f"redis://{guarded.host}:{guarded.port}", redis_password=SECRET, redis_db=3),
        Settings(redis_url=guarded.socket_url),
        Settings(redis_host=str(guarded.socket_path), redis_password=SECRET),
        Settings(redis_port=guarded.port, redis_username="default", redis_password=SECRET),
    ):
        finding = check_redis(settings)
        assert finding.ok, finding.problem
        assert SECRET not in repr(finding)


@pytest.mark.parametrize("password", ["", "wrong-but-secret"])
def test_a_wrong_password(guarded: ValkeyServer, password: str) -> None:
    finding = check_redis(Settings(redis_port=guarded.port, redis_password=password))
    assert not finding.ok
    assert finding.problem.startswith("Failed to connect to Redis")
    [advice] = finding.advice
    assert advice.startswith("Check REDIS_PASSWORD, and REDIS_USERNAME if there are access lists, in .env: ")
    assert advice.endswith(f"redis-cli -h localhost -p {guarded.port} --askpass ping")
    assert "secret" not in repr(finding)


def test_nobody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    finding = check_redis(Settings(redis_host="127.0.0.1", redis_port=port))
    assert "Failed to connect to Redis" in finding.problem
    assert "refused" in finding.problem
    assert finding.advice[:2] == (
        f"Is Redis running? redis-cli -h 127.0.0.1 -p {port} ping",
        "Check REDIS_HOST and REDIS_PORT in .env",
    )
    assert finding.latency_s is None


def test_no_such_host() -> None:
    finding = check_redis(Settings(redis_host="no-such-host.invalid"))
    assert finding.advice[0] == "Check REDIS_HOST and REDIS_PORT in .env: no host of this name is known"
    finding = check_redis(Settings(redis_url=f"redis://:{SECRET}@no-such-host.invalid:6379/0"))
    assert finding.advice[0] == "Check REDIS_URL in .env: no host of this name is known"
    assert SECRET not in repr(finding)


def test_a_host_that_does_not_answer(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    server.pause()
    finding = check_redis(Settings(redis_port=server.port))
    server.resume()
    assert finding.advice[0] == "Check firewall rules"
    assert f"Is Redis running? redis-cli -h localhost -p {server.port} ping" in finding.advice


def test_tls_where_there_is_none(guarded: ValkeyServer) -> None:
    finding = check_redis(Settings(redis_port=guarded.port, redis_tls=True))
    assert "TLS" in finding.advice[0]


def test_a_replica(own_valkey: Callable[..., ValkeyServer]) -> None:
    finding = check_redis(Settings(redis_port=own_valkey(read_only=True).port))
    assert finding.facts[0] == "reachable"
    assert "READONLY" in finding.problem or "MASTERDOWN" in finding.problem
    assert finding.advice[0].startswith("This is a replica")


def test_a_user_without_rights(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    server.command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read", "+ping", "+info")
    finding = check_redis(Settings(redis_port=server.port, redis_username="reader", redis_password=SECRET))
    assert "NOPERM" in finding.problem
    assert finding.advice[0].startswith("The user needs all commands on the keys order:*")


def test_what_could_be_better(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(maxmemory="50mb", options=("maxmemory-policy noeviction",))
    finding = check_redis(Settings(redis_port=server.port, redis_timeout="1ms"))
    assert finding.ok
    assert any("maxmemory-policy" in text for text in finding.advice)
