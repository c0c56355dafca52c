"""The test servers do what the fault tests need of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from stores.servers import PostgresServer, ValkeyServer, run_sql


def test_a_database_is_empty_and_gone_afterwards(postgres_database: str) -> None:
    assert run_sql(postgres_database, "SELECT relname FROM pg_stat_user_tables") == []
    assert run_sql(postgres_database, "CREATE TABLE a (b int); INSERT INTO a VALUES (1)") == []
    assert run_sql(postgres_database, "SELECT b FROM a WHERE b = $1", 1)[0]["b"] == 1


def test_postgres_comes_back_with_its_rows_after_a_kill(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres(durable=True)
    server.execute("CREATE TABLE a (b int); INSERT INTO a VALUES (1)")
    server.kill()
    with pytest.raises(OSError, match="Connect"):
        server.execute("SELECT 1")
    server.start()
    assert server.execute("SELECT b FROM a")[0]["b"] == 1
    server.stop()
    server.start()
    assert server.execute("SELECT b FROM a")[0]["b"] == 1
    assert run_sql(server.socket_url, "SELECT b FROM a")[0]["b"] == 1


def test_postgres_asks_for_its_password(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres(password="it's % @:/", read_only=True)
    assert server.execute("SELECT 1 AS one")[0]["one"] == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        run_sql(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres", "SELECT 1")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        server.execute("CREATE TABLE a (b int)")
    server.set_read_only(False)
    server.execute("CREATE TABLE a (b int)")


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_postgres_has_no_room(own_postgres: Callable[..., PostgresServer]) -> None:
    server = own_postgres(disk_mb=120)
    server.execute("CREATE TABLE a (b text)")
    server.fill_disk()
    with pytest.raises(asyncpg.DiskFullError):
        server.execute("INSERT INTO a SELECT repeat(md5(n::text), 20) FROM generate_series(1, 100000) n")
    server.free_disk()
    server.execute("INSERT INTO a VALUES ('x')")


def test_a_paused_valkey_answers_after_it_goes_on(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(password="s3cret word", appendonly=True)
    server.command("SET", "a", "1")
    server.pause()
    once = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(server.url, socket_timeout=0.1, retry=once) as client, pytest.raises(redis.TimeoutError):
        client.get("a")
    server.resume()
    assert server.command("GET", "a") == b"1"
    server.stop()
    with pytest.raises(redis.ConnectionError):
        server.command("GET", "a")
    server.start()
    assert server.command("GET", "a") == b"1"
    with redis.Redis.from_url(server.socket_url) as client:
        assert client.get("a") == b"1"
    with redis.Redis(port=server.port, retry=once) as client, pytest.raises(redis.AuthenticationError):
        client.get("a")


def test_valkey_refuses_what_it_was_told_to(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(read_only=True, maxmemory="2mb")
    with pytest.raises(redis.ReadOnlyError):
        server.command("SET", "a", "1")
    server.set_read_only(False)
    server.command("SET", "a", "1")
    with pytest.raises(redis.OutOfMemoryError):
        server.command("SET", "b", "x" * 2_000_000), server.command("SET", "c", "1")


@pytest.mark.usefixtures("servers_wanted")
def test_nothing_is_left_when_the_test_process_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from stores.servers import *\n"
        "p, v = PostgresServer().start(), ValkeyServer().start()\n"
        "p.pause(); v.pause()\n"
        "print(p.process.pid, v.process.pid, p.folder, v.folder, postgres_template(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    folder = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        postgres, valkey, *folders = child.stdout.readline().split()
        assert all(Path(place).exists() for place in folders)
        child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(os.path.exists, folders)) or psutil.pid_exists(int(postgres)) or psutil.pid_exists(int(valkey)):
        assert time.monotonic() < deadline, (postgres, valkey, folders)
        time.sleep(0.05)


def test_a_server_that_cannot_start_shows_its_log(own_valkey: Callable[..., ValkeyServer]) -> None:
    with pytest.raises(RuntimeError, match="no-such-option"):
        own_valkey(options=("no-such-option 1",))
