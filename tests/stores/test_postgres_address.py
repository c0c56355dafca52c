"""Where the database is: what is accepted, what is refused, and that no password is ever shown."""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores.postgres_rows import order
from stores.servers import PostgresServer

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreError, StoreUnavailable
from pyengine.stores.postgres import PostgresOrderStore, PostgresPool
from pyengine.stores.postgres.address import address_of_url

SECRET = "hunter2/?#@: x"
QUOTED = "hunter2%2F%3F%23%40%3A%20x"
SSL_REQUEST = (80877103).to_bytes(4, "big")
NOWHERE = {"port": 1, "lazy": True}


def everything_said(error: BaseException | None) -> str:
    """Join what an error and its causes say, in any way that logs might print."""
    said = []
    while error is not None:
        said += [str(error), repr(error), repr(error.args), repr(getattr(error, "__dict__", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(said)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://bob:secret@db.internal:6432/market", "db.internal:6432/market"),
        ("postgres://db.internal/market", "db.internal/market"),
        ("postgresql://bob@/market?host=/run/postgresql&port=5433", "/run/postgresql:5433/market"),
        ("postgresql://[::1]:5432/market?sslmode=verify-full", "[::1]:5432/market"),
        ("postgresql://one:1,two:2/market", "one:1,two:2/market"),
        ("postgresql:///market", "localhost/market"),
        ("postgresql://bob@db", "db/bob"),
        ("postgresql://db/?dbname=market&password=secret", "db/market"),
        ("postgresql://bob@db/m%C3%BCnze", "db/münze"),
    ],
)
def test_a_url_is_shown_without_login(url: str, text: str) -> None:
    with PostgresPool(url, lazy=True) as pool:
        assert pool.address == text
        assert repr(pool) == f"<PostgresPool {text}>"
    assert "secret" not in repr(address_of_url(url))


def test_single_values_are_shown_likewise() -> None:
    with PostgresPool(host="db.internal", port=6432, database="market", password="secret", lazy=True) as pool:
        assert pool.address == "db.internal:6432/market"
    with PostgresPool(host="::1", lazy=True) as pool:
        assert pool.address == "[::1]:5432/matching_engine"
    with PostgresOrderStore(lazy=True) as store:
        assert repr(store) == "<PostgresOrderStore localhost:5432/matching_engine>"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"url": "mysql://bob:secret@db/x"}, FieldError, r"url must be postgresql://.*, was 'mysql://\*\*\*'"),
        ({"url": "postgresql://[::1/x"}, FieldError, "url must be postgresql"),
        (
            {"url": "postgresql://bob:secret@db:port/x"},
            FieldError,
            "port in the url must be a number from 1 to 65535, was 'port'",
        ),
        ({"url": "postgresql://one:1,[::1]:65536/x"}, FieldError, "port in the url must be .*, was '65536'"),
        ({"url": "postgresql://db/x?sslmode=maybe"}, FieldError, "sslmode in the url must be one of disable, allow"),
        ({"url": 5}, FieldTypeError, "url must be a str"),
        ({"host": ""}, FieldError, "host must be a text"),
        ({"host": 5}, FieldTypeError, "host must be a str"),
        ({"database": "a\0b"}, FieldError, "database must be"),
        ({"user": ""}, FieldError, "user must be"),
        ({"password": 5}, FieldTypeError, r"password must be a str, was '\*\*\*'"),
        ({"port": 0}, FieldError, "port must be an int from 1 to 65535"),
        ({"ssl_mode": "yes"}, FieldError, "ssl_mode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ({"max_connections": 0}, FieldError, "max_connections must be"),
        ({"min_connections": 5, "max_connections": 4}, FieldError, "min_connections must be an int from 0 to 4"),
        ({"max_idle_connections": -1}, FieldError, "max_idle_connections must be"),
        ({"max_lifetime_s": -1}, FieldError, "max_lifetime_s must be from 0"),
        ({"max_lifetime_s": "5m"}, FieldTypeError, "max_lifetime_s must be a number of seconds"),
        ({"command_timeout_s": 0}, FieldError, "command_timeout_s must be above 0"),
        ({"command_timeout_s": float("nan")}, FieldError, "command_timeout_s must be above 0"),
        ({"command_timeout_s": True}, FieldTypeError, "command_timeout_s must be a number of seconds"),
    ],
)
def test_what_cant_be_is_refused_before_anything_is_tried(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        PostgresPool(**options)
    assert "secret" not in everything_said(caught.value)


@pytest.mark.parametrize("form", ["url", "parts", "query"])
def test_the_right_password_is_used_and_a_wrong_one_never_shown(
    own_postgres: Callable[..., PostgresServer], caplog: pytest.LogCaptureFixture, form: str
) -> None:
    server = own_postgres(password=SECRET)
    caplog.set_level(logging.DEBUG)

    def options(secret: str, quoted: str) -> dict[str, Any]:
        if form == "parts":
            return {"host": server.host, "port": server.port, "database": "postgres", "password": secret}
        login, query = (f"postgres:{quoted}@", "") if form == "url" else ("postgres@", f"?password={quoted}")
        return {"url": f"postgresql://{login}{server.host}:{server.port}/postgres{query}"}

    with PostgresOrderStore(**options(SECRET, QUOTED)) as store:
        assert store.save(order(1))
    wrong = PostgresPool(**options("wr0ng-" + SECRET, "wr0ng-" + QUOTED), lazy=True)
    with pytest.raises(
        StoreUnavailable, match=f"postgres 127.0.0.1:{server.port}/postgres: open failed: .*check user and password"
    ) as caught:
        wrong.open()
    said = (
        everything_said(caught.value)
        + caplog.text
        + repr(wrong)
        + repr(wrong._address)
        + repr(vars(wrong))
        + repr(wrong._address.options)
    )
    for part in ("wr0ng", "hunter2"):
        assert part not in said
    assert "wr0ng" not in repr(pickle.dumps(caught.value.args))


@pytest.mark.parametrize(
    "options", [{"host": "127.0.0.1"}, {"host": "/nowhere"}, {"url": "postgresql://bob:secret@127.0.0.1:1/x", "port": 5432}]
)
def test_a_database_that_isnt_there_is_unavailable(options: dict[str, Any]) -> None:
    store = PostgresOrderStore(**(NOWHERE | options))
    with pytest.raises(StoreUnavailable, match="get failed") as caught:
        store.get(1)
    assert isinstance(caught.value, StoreError)
    assert "secret" not in everything_said(caught.value)
    assert store.stats().counts["errors"] == 1
    store.close()
    with pytest.raises(StoreUnavailable):
        PostgresOrderStore(**(NOWHERE | options | {"lazy": False}))


def test_a_missing_database_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable, match="/nothing: open failed: the database must be created first"):
        PostgresPool(postgres_server.url_of("nothing"))


def test_a_socket_works_too(postgres_server: PostgresServer) -> None:
    with PostgresPool(
        host=str(postgres_server.folder), port=postgres_server.port, database="postgres", migrate=False, lazy=True
    ) as pool:
        assert pool.schema().version == 0
    with PostgresPool(postgres_server.socket_url, migrate=False, lazy=True) as pool:
        assert pool.schema().version == 0


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, and a certificate of it for localhost."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    openssl("req", "-x509", *key, "-subj", "/CN=authority", "-keyout", "root.key", "-out", "root.crt")
    openssl(
        "req",
        "-x509",
        *key,
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-CA",
        "root.crt",
        "-CAkey",
        "root.key",
        "-keyout",
        "server.key",
        "-out",
        "server.crt",
    )
    openssl("req", "-x509", *key, "-subj", "/CN=other", "-keyout", "other.key", "-out", "other.crt")
    return folder


class TlsDoor:
    """A door with TLS in front of a server that was built without: it answers what PostgreSQL does when asked for TLS."""

    def __init__(self, server: PostgresServer, certificates: Path) -> None:
        self.encrypted = 0
        self._target = (server.host, server.port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates / "server.crt", certificates / "server.key")

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = await reader.readexactly(8)
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        try:
            if head[4:] == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.encrypted += 1
            else:
                server_writer.write(head)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, server_writer))
                both.create_task(self._pass_on(server_reader, writer))
        except* OSError:
            """The client didn't like the certificate."""
        finally:
            writer.close()
            server_writer.close()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def works(port: int, host: str, mode: str, root: Path | None = None) -> bool:
    """Try to get in."""
    pool = PostgresPool(host=host, port=port, database="postgres", ssl_mode=mode, ssl_root_cert=root, migrate=False, lazy=True)
    try:
        return (await asyncio.to_thread(pool.schema)).version == 0
    except StoreUnavailable:
        return False


def test_each_tls_mode_demands_what_it_should(postgres_server: PostgresServer, certificates: Path) -> None:
    root, other = certificates / "root.crt", certificates / "other.crt"
    cases = [
        ("127.0.0.1", "disable", None, True, 0),
        ("127.0.0.1", "allow", None, True, 0),
        ("127.0.0.1", "prefer", None, True, 1),
        ("127.0.0.1", "require", None, True, 1),
        ("127.0.0.1", "verify-ca", root, True, 1),
        ("127.0.0.1", "verify-ca", other, False, 0),
        ("127.0.0.1", "verify-full", root, False, 0),
        ("localhost", "verify-full", root, True, 1),
        ("localhost", "verify-full", other, False, 0),
        ("localhost", "verify-full", certificates / "missing.crt", False, 0),
    ]

    async def main() -> None:
        for host, mode, authority, gets_in, encrypted in cases:
            door = TlsDoor(postgres_server, certificates)
            async with await asyncio.start_server(door.welcome, "127.0.0.1", 0) as listening:
                port = listening.sockets[0].getsockname()[1]
                assert (await works(port, host, mode, authority), door.encrypted) == (gets_in, encrypted), (host, mode, authority)

    asyncio.run(main())


def test_a_server_without_tls_is_refused_where_it_is_required(postgres_server: PostgresServer) -> None:
    found = [asyncio.run(works(postgres_server.port, "127.0.0.1", mode)) for mode in ("disable", "allow", "prefer", "require")]
    assert found == [True, True, True, False]
