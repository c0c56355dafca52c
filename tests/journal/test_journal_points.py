"""Recovery to a point in time, which is always one between two commands."""

from __future__ import annotations

from pathlib import Path

from journal_setup import btc, journaled, rows

from pyengine.journal import recover


def test_recovery_to_each_event_gives_the_state_between_two_commands(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=4096)
    states = {0: engine.snapshot()}
    for row in rows(100, seed=3):
        engine.run(row.reshape(1))
        states[engine.next_seq - 1] = engine.snapshot()
    engine.close()
    for seq in range(-1, engine.journal.durable_seq + 3):
        found = recover(tmp_path, until_seq=seq)
        assert found.last_seq == max(known for known in states if known <= max(seq, 0))
        assert found.engine.snapshot() == states[found.last_seq]


def test_recovery_into_the_middle_of_a_commit_gives_whole_commands(tmp_path: Path) -> None:
    engine, apart = journaled(tmp_path), journaled(tmp_path / "apart")
    stream = rows(300, seed=5)
    engine.run(stream)
    states = {0: apart.state_hash()}
    for row in stream:
        apart.run(row.reshape(1))
        states[apart.next_seq - 1] = apart.state_hash()
    for seq in range(engine.next_seq):
        found = recover(tmp_path, until_seq=seq)
        assert found.last_seq == max(known for known in states if known <= seq)
        assert found.engine.state_hash() == states[found.last_seq]
        found.engine.check()


def test_a_mass_cancel_is_done_whole_or_not_at_all(tmp_path: Path) -> None:
    engine = btc(tmp_path, durability="memory")
    for _ in range(4):
        engine.submit("BTC-USD", "buy", 1, 1, ts_ns=1)
    engine.mass_cancel(ts_ns=2)
    engine.submit("BTC-USD", "buy", 1, 1, ts_ns=3)
    engine.mass_cancel(ts_ns=4)
    engine.close()
    assert [recover(tmp_path, until_seq=seq).last_seq for seq in range(11)] == [0, 1, 2, 3, 4, 4, 4, 4, 8, 9, 10]


def test_recovery_to_a_time(tmp_path: Path) -> None:
    engine = btc(tmp_path)
    for ts_ns in (10, 20, 20, 30):
        engine.book("BTC-USD").submit(1, 5, 5, ts_ns=ts_ns)
    assert [recover(tmp_path, until_ns=ts).last_seq for ts in (5, 10, 19, 20, 29, 30, 2**80, -(2**80))] == [
        0,
        1,
        1,
        3,
        3,
        4,
        4,
        0,
    ]
