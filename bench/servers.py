"""Real servers for the measurements, and empty places in them: those of the tests, but with a database that syncs its commits."""

from __future__ import annotations

import ctypes.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import redis

from bench.machine import ROOT

# Tests are no package; pytest finds them the same way.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))

from stores.servers import PostgresServer, ValkeyServer, fresh_database, run_sql

__all__ = ["Places", "run_sql", "running"]

POSTGRES_OPTIONS: Final = ("shared_buffers=2GB", "max_wal_size=4GB", "max_connections=200")
VALKEY_OPTIONS: Final = ("databases 64",)
JEMALLOC: Final = ctypes.util.find_library("jemalloc")
"""What servers of Redis and Valkey are built with by default, and the one that comes as a wheel isn't."""

SETTINGS: Final = """
{postgres} with `fsync`, `synchronous_commit` and `full_page_writes` on, {options}: what it has committed is on the disk.
{valkey} with `appendonly no` and no snapshots, as the cache that it is here; it takes memory from {allocator}.
Both are started for this section on this machine, so they share its processors with us, and are reached over TCP at 127.0.0.1
unless a row says otherwise. All files are in a temporary folder ({filesystem}).
"""


class Places:
    """A PostgreSQL, a Valkey and a folder, and places in them that nobody has used yet."""

    def __init__(self, postgres: PostgresServer, valkey: ValkeyServer, folder: Path, kept: ExitStack) -> None:
        self.postgres = postgres
        self.valkey = valkey
        self._folder = folder
        self._kept = kept
        self._used = 0

    def database_url(self, *, socket: bool = False) -> str:
        """URL of an empty PostgreSQL database."""
        url: str = self._kept.enter_context(fresh_database(self.postgres.url))
        if not socket:
            return url
        name = url.rpartition("/")[2]
        return str(self.postgres.socket_url).replace("@/postgres?", f"@/{name}?")

    def redis_url(self, *, socket: bool = False) -> str:
        """URL of an empty Redis database."""
        self._used += 1
        if socket:
            return str(self.valkey.socket_url).replace("db=0", f"db={self._used}")
        return f"{self.valkey.url.removesuffix('/0')}/{self._used}"

    def servers_cpu_s(self) -> float:
        """Processor time that both servers have taken so far, all their processes together."""
        total_s = 0.0
        for server in (self.postgres, self.valkey):
            assert server.process is not None
            parent = psutil.Process(server.process.pid)
            # Children that have ended are in the time of their parent.
            of_parent = parent.cpu_times()
            total_s += of_parent.user + of_parent.system + of_parent.children_user + of_parent.children_system
            for child in parent.children():
                of_child = child.cpu_times()
                total_s += of_child.user + of_child.system
        return total_s

    def members(self, redis_url: str, pattern: str) -> int:
        """Count the members of all Redis sets of a pattern, those of one in several as often."""
        with redis.Redis.from_url(redis_url) as client:
            return sum(client.scard(key) for key in client.scan_iter(match=pattern, count=1000))

    def path(self, name: str) -> Path:
        """Path of a file that doesn't exist, in a folder of its own."""
        return Path(tempfile.mkdtemp(dir=self._folder)) / name

    def settings(self) -> str:
        """Say what the figures were measured against."""
        [version] = self.postgres.execute("SHOW server_version")
        found = self.valkey.command("INFO", "server")
        valkey = found.get("valkey_version") or found["redis_version"]
        options = ", ".join(f"`{option}`" for option in POSTGRES_OPTIONS[:2])
        return SETTINGS.format(
            postgres=f"PostgreSQL {version['server_version']}",
            options=options,
            valkey=f"Valkey {valkey}",
            allocator="the C library, not from jemalloc, which isn't installed"
            if JEMALLOC is None
            else f"jemalloc (`{JEMALLOC}`)",
            filesystem=filesystem(self._folder),
        )


@contextmanager
def running() -> Iterator[Places]:
    """Start both servers; they and all files are gone afterwards."""
    with ExitStack() as kept:
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="pyengine-bench-")))
        postgres = kept.enter_context(PostgresServer(durable=True, options=POSTGRES_OPTIONS))
        server = ValkeyServer(options=VALKEY_OPTIONS)
        if JEMALLOC is not None:
            server.environment["LD_PRELOAD"] = JEMALLOC
        valkey = kept.enter_context(server)
        yield Places(postgres, valkey, folder, kept)


def filesystem(path: Path) -> str:
    """Type of the file system that a path is on: syncing means nothing on some."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(place), kind) for place, kind in mounts if path.resolve().is_relative_to(place)]
    return max(above)[1]
