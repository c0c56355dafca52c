"""Heads of the log's chain, kept in Redis and PostgreSQL: nobody waits for them, and a cut end is found."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from children import in_child
from click.testing import CliRunner, Result
from stores.deployments import distributed, single_node, trade
from stores.servers import PostgresServer, ValkeyServer, run_sql
from stores.trade_files import eventually, names, rows

from pyengine.cli.commands import commands
from pyengine.errors import FieldError, FieldTypeError
from pyengine.settings import Settings
from pyengine.store_errors import StoreClosed, StoreDamaged, StoreUnavailable
from pyengine.stores.audit import ChainHead, HeadKeeper, chain_head, chain_path, verify_log
from pyengine.stores.audit import anchor as anchor_module
from pyengine.stores.build import build_stores
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresAnchor, PostgresPool
from pyengine.stores.redis import RedisAnchor, RedisConnection


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the trade log where nobody else does, without any variable that somebody may have set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def head(n: int) -> ChainHead:
    return ChainHead(f"{n:064x}", n, 1, 1000 * n, 10 * n)


class Shelf(HeadKeeper):
    """Keeps heads in a dict, if it is allowed to."""

    name = "shelf"
    place = "shelf"

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.held: dict[str, ChainHead] = {}
        self.open = threading.Event()
        self.broken = False
        self.asked = 0
        self.open.set()

    def heads(self) -> list[ChainHead]:
        return [*self.held.values()]

    def keep(self, head: ChainHead, older: Collection[str]) -> None:
        self.asked += 1
        self.open.wait()
        if self.broken:
            raise StoreUnavailable("shelf: out of reach")
        self.held[head.link] = head
        for link in older:
            self.held.pop(link, None)


@pytest.fixture
def shelf(path: Path) -> Iterator[Shelf]:
    made = Shelf(path)
    yield made
    made.broken = False
    made.open.set()
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(anchor_module, "_LONGEST_PAUSE_S", 0.02)


# --- the thread


def test_the_newest_head_wins_and_nobody_waits(shelf: Shelf) -> None:
    shelf.open.clear()
    shelf(head(1))
    eventually(lambda: shelf.asked == 1)
    for n in range(2, 101):
        shelf(head(n))
    # Here although the first one still hangs.
    assert (shelf.asked, shelf.open.is_set()) == (1, False)
    assert shelf.stats().gauges["head_lag_s"] > 0
    shelf.open.set()
    eventually(lambda: shelf.heads() == [head(100)])
    eventually(lambda: shelf.stats().counts == {"heads_kept": 2, "head_errors": 0, "strange_heads": 0})
    assert shelf.stats().gauges["head_lag_s"] == 0


@pytest.mark.usefixtures("quick")
def test_a_place_out_of_reach_is_tried_again_and_reported_once(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shelf.broken = True
    shelf(head(1))
    eventually(lambda: shelf.stats().counts["head_errors"] > 3)
    assert str(shelf.error) == "shelf: out of reach"
    shelf(head(2))
    shelf.broken = False
    eventually(lambda: shelf.heads() == [head(2)])
    eventually(lambda: shelf.error is None)
    assert caplog.text.count("can't be kept") == 1
    assert caplog.text.count("is kept again") == 1


def test_a_close_keeps_the_last_head_but_does_not_wait_for_ever(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20):
        shelf = Shelf(path)
        shelf(head(number + 1))
        shelf.close(10)
        assert shelf.heads() == [head(number + 1)]
    shelf = Shelf(path)
    shelf.open.clear()
    shelf(head(1))
    shelf.close(0.1)
    assert not shelf.open.is_set()
    assert "the last head of" in caplog.text
    shelf.close()
    with pytest.raises(StoreClosed):
        shelf(head(2))
    shelf.open.set()
    Shelf(path).close()


@pytest.mark.usefixtures("quick")
def test_a_close_goes_on_trying_for_its_time(path: Path) -> None:
    shelf = Shelf(path)
    shelf.broken = True
    shelf(head(1))
    eventually(lambda: shelf.error is not None)
    threading.Timer(0.2, setattr, (shelf, "broken", False)).start()
    shelf.close(5)
    assert shelf.heads() == [head(1)]
    shelf = Shelf(path)
    shelf.broken = True
    shelf(head(1))
    shelf.close(0.1)
    asked = shelf.asked
    time.sleep(0.2)
    assert shelf.asked <= asked + 1, "the thread has given up too"


def test_heads_of_earlier_starts_make_room_if_the_chain_has_them(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held: dict[str, ChainHead] = {}
    for first in (1, 101, 201):
        shelf = Shelf(path)
        shelf.held = held
        with FileTradeStore(path, names=names(), chain_bytes=1000, anchor=shelf, anchor_s=0) as store:
            store.save_batch(rows(range(first, first + 100)))
        shelf.close(10)
        assert [*held.values()] == [chain_head(path)]
    assert "isn't in its chain" not in caplog.text
    # Cut off at a checkpoint, and written on: the head of before stays as the witness.
    before = chain_head(path)
    cut(path, 5)
    shelf = Shelf(path)
    shelf.held = held
    with FileTradeStore(path, names=names(), chain_bytes=1000, anchor=shelf, anchor_s=0) as store:
        store.save_batch(rows(range(301, 401)))
    shelf.close(10)
    assert set(held.values()) == {before, chain_head(path)}
    assert shelf.stats().counts["strange_heads"] == 1
    assert f"the head {before.link} of {path} isn't in its chain" in caplog.text
    assert verify_log(path).ok
    assert not verify_log(path, head=[*held])


def test_a_forked_child_has_a_thread_of_its_own(shelf: Shelf) -> None:
    shelf(head(1))
    eventually(lambda: shelf.heads() == [head(1)])

    def child() -> None:
        assert shelf.stats().gauges["head_lag_s"] == 0
        shelf(head(2))
        eventually(lambda: head(2) in shelf.heads())
        shelf.close()

    with shelf._changed:  # as another thread may at the moment of a fork
        in_child(child)
    shelf(head(3))
    eventually(lambda: shelf.heads() == [head(3)])


def test_names_of_logs(path: Path) -> None:
    assert Shelf(path).log.endswith(f":{path}")
    assert Shelf(path, log="node 1").log == "node 1"
    with pytest.raises(FieldTypeError, match="log must be a str"):
        Shelf(path, log=5)
    for bad in ("", "x" * 501, "a\nb"):
        with pytest.raises(FieldError, match="log must be 1 to 500 printable characters"):
            Shelf(path, log=bad)


def cut(path: Path, checkpoints: int) -> None:
    """Cut a log off at a checkpoint, and its chain too."""
    lines = chain_path(path).read_bytes().splitlines(keepends=True)[:checkpoints]
    chain_path(path).write_bytes(b"".join(lines))
    path.write_bytes(path.read_bytes()[: json.loads(lines[-1])["to"]])


# --- the places


@pytest.fixture(params=["redis", "postgres"])
def keeper(request: pytest.FixtureRequest, path: Path) -> Iterator[Callable[..., HeadKeeper]]:
    """Give out a function that makes a keeper of one place."""
    if request.param == "redis":
        with RedisConnection(request.getfixturevalue("valkey")) as connection:
            yield lambda **options: RedisAnchor(connection, path, **options)
    else:
        with PostgresPool(request.getfixturevalue("postgres_database")) as pool:
            yield lambda **options: PostgresAnchor(pool, path, **options)


def test_what_is_kept_is_read_back(keeper: Callable[..., HeadKeeper]) -> None:
    one, other = keeper(), keeper(log="another: log/ü")
    assert one.heads() == other.heads() == []
    one.keep(head(1), ())
    one.keep(head(1), ())
    one.keep(head(2**40), ())
    other.keep(head(3), ())
    assert sorted(one.heads()) == [head(1), head(2**40)]
    one.keep(head(5), {head(1).link, head(4).link})
    assert sorted(one.heads()) == [head(5), head(2**40)]
    assert other.heads() == [head(3)]
    assert keeper().heads() == one.heads()


def test_the_whole_way(keeper: Callable[..., HeadKeeper], path: Path) -> None:
    anchor = keeper()
    with FileTradeStore(path, names=names(), chain_bytes=1000, chain_interval_s=0.01, anchor=anchor, anchor_s=0.01) as store:
        for begin in range(1, 201, 20):
            store.save_batch(rows(range(begin, begin + 20)))
            store.flush()
            time.sleep(0.02)
    anchor.close(10)
    assert anchor.heads() == [chain_head(path)]
    assert verify_log(path, head=[kept.link for kept in anchor.heads()]).anchored


def test_a_value_in_redis_that_is_no_head(valkey: str, path: Path) -> None:
    with RedisConnection(valkey) as connection, redis.Redis.from_url(valkey) as client:
        anchor = RedisAnchor(connection, path, log="node 1")
        for text in ("junk", "[]", "{}", '{"n":1}', '{"n":"x","file":1,"to":1,"last_id":1}'):
            client.hset("audit_heads:node 1", "ff", text)
            with pytest.raises(StoreDamaged, match=r"key audit_heads:node 1, field ff: value must be a head, was"):
                anchor.heads()


def test_a_user_who_may_not_delete_keeps_every_head(own_postgres: Callable[..., PostgresServer], path: Path) -> None:
    server = own_postgres()
    with PostgresPool(server.url):
        pass
    server.execute(
        "CREATE ROLE node LOGIN; GRANT SELECT, INSERT ON audit_heads TO node; GRANT SELECT ON schema_migrations TO node"
    )
    with PostgresPool(host=server.host, port=server.port, database="postgres", user="node", migrate=False) as pool:
        anchor = PostgresAnchor(pool, path)
        anchor.keep(head(1), ())
        anchor.keep(head(2), {head(1).link})
        assert sorted(anchor.heads()) == [head(1), head(2)]


@pytest.mark.parametrize("fsync", ["always", "batch"])
def test_a_place_that_hangs_holds_no_writer_up(own_valkey: Callable[..., ValkeyServer], path: Path, fsync: str) -> None:
    server = own_valkey()
    with RedisConnection(server.url, write_timeout_s=30.0) as connection:
        anchor = RedisAnchor(connection, path)
        connection.connect()
        server.pause()
        with FileTradeStore(path, names=names(), fsync=fsync, chain_interval_s=0.01, anchor=anchor, anchor_s=0.01) as store:
            for begin in range(1, 201, 20):
                store.save_batch(rows(range(begin, begin + 20)))
                assert store.flush(timeout_s=5)
                assert store.head(5) is not None
            eventually(lambda: anchor.stats().gauges["head_lag_s"] > 0)
        anchor.close(0.1)
        server.resume()
    assert verify_log(path).lines == 200


# --- a deployment


def verify(*arguments: object, **variables: str) -> Result:
    return CliRunner().invoke(commands, ["audit", "verify", *map(str, arguments)], env=variables)


def write(settings: Settings, first: int, count: int) -> None:
    with build_stores(settings) as stores:
        stores.trade_store.save_batch([trade(number) for number in range(first, first + count)])
        assert all(stores.flush().values())


def test_a_deployment_keeps_heads_and_verify_asks_for_them(postgres_database: str, valkey: str, path: Path) -> None:
    settings = distributed(postgres_database, valkey, trade_log_path=path)
    places = {"DATABASE_URL": postgres_database, "REDIS_URL": valkey}
    both = ("--anchor", "redis", "--anchor", "postgres")
    result = verify(path, *both, **places)
    assert result.exit_code == 2, "no head is kept yet"
    for first in (1, 101):
        write(settings, first, 100)
        result = verify(path, *both, **places)
        assert result.exit_code == 0, result.output
        assert "known heads: 1, all of them in the chain" in result.stdout
    # The end cut off with the end of the chain: only who knows the head sees it.
    whole = path.read_bytes(), chain_path(path).read_bytes()
    cut(path, 1)
    assert verify(path).exit_code == 0
    for place in ("redis", "postgres", chain_head_of(whole[1])):
        result = verify(path, "--anchor", place, **places)
        assert result.exit_code == 1, result.output
        assert "its end was cut off, or it was rewritten" in result.stdout
    # It stays found when the store has written on.
    write(settings, 301, 50)
    assert verify(path).exit_code == 0
    for place in ("redis", "postgres"):
        assert verify(path, "--anchor", place, **places).exit_code == 1
    # A Redis that was wiped knows no better, PostgreSQL does.
    with redis.Redis.from_url(valkey) as client:
        client.flushdb()
    write(settings, 401, 50)
    assert verify(path, "--anchor", "redis", **places).exit_code == 0
    assert verify(path, "--anchor", "postgres", "--anchor", "redis", **places).exit_code == 1
    # Removed and made anew.
    path.unlink()
    chain_path(path).unlink()
    write(settings, 1, 10)
    for place in ("redis", "postgres"):
        assert verify(path, "--anchor", place, **places).exit_code == 1, place
    path.write_bytes(whole[0])
    chain_path(path).write_bytes(whole[1])
    assert verify(path, "--anchor", chain_head_of(whole[1])).exit_code == 0


def chain_head_of(chain: bytes) -> str:
    return str(json.loads(chain.splitlines()[-1])["link"])


def test_heads_under_a_name(postgres_database: str, path: Path) -> None:
    write(single_node(postgres_database, trade_log_path=path, trade_log_name="node 1"), 1, 10)
    assert run_sql(postgres_database, "SELECT DISTINCT log FROM audit_heads") == [("node 1",)]
    result = verify(path, "--anchor", "postgres", DATABASE_URL=postgres_database)
    assert result.exit_code == 2
    assert f":{path} must be kept there, none is (--log names another log)" in result.stderr
    moved = path.rename(path.with_name("moved.log"))
    chain_path(path).rename(chain_path(moved))
    for found in (
        verify(moved, "--anchor", "postgres", "--log", "node 1", DATABASE_URL=postgres_database),
        verify(moved, "--anchor", "postgres", DATABASE_URL=postgres_database, TRADE_LOG_NAME="node 1"),
    ):
        assert found.exit_code == 0, found.output


def test_without_anchors(postgres_database: str, path: Path) -> None:
    for off in ({"trade_log_anchor": False}, {"trade_log_chain": False}):
        with build_stores(single_node(postgres_database, trade_log_path=path, **off)) as stores:
            assert stores.anchors == ()
    with build_stores(single_node(postgres_database, trade_log_path=path)) as stores:
        assert [anchor.name for anchor in stores.anchors] == ["postgres"]
        assert stores.stats()["anchor_postgres"].counts["heads_kept"] == 0


def test_anchors_that_are_none(path: Path) -> None:
    write(Settings(trade_log_path=path), 1, 10)
    result = verify(path, "--anchor", "mysql")
    assert result.exit_code == 2
    assert "head must be 64 hexadecimal digits, was 'mysql'" in result.stderr
    assert verify(path, "--anchor", "redis", REDIS_PORT="1").exit_code == 2
    assert verify(path, "--anchor", "postgres", DATABASE_PORT="99999").exit_code == 2
