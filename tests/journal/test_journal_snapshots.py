"""Recovery from snapshots is recovery without them; they are made while the engine goes on, and segments go that they cover."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from journal_setup import FailingDisk, as_if_killed, journaled, rows

from pyengine import Engine, FieldError, SelfTrade
from pyengine.journal import History, Journal, JournalDamaged, JournalError, prune, recover, write_snapshot


def written(path: Path, turns: range) -> Engine:
    """Write a journal of many segments; the engine goes on."""
    engine = journaled(path, segment_bytes=4096)
    run(engine, turns)
    return engine


def run(engine: Engine, turns: range) -> None:
    for turn in turns:
        engine.user(f"user {turn % 7}", SelfTrade(turn % 6))
        engine.run(rows(15, seed=turn))
    engine.acknowledged().result()


def segments(path: Path) -> list[Path]:
    return sorted(path.glob("*.journal"))


def test_recovery_begins_with_the_newest_snapshot(tmp_path: Path) -> None:
    engine = written(tmp_path, range(10))
    first = write_snapshot(tmp_path)
    run(engine, range(10, 20))
    second = write_snapshot(tmp_path)
    assert recover(tmp_path).engine.snapshot() == engine.snapshot()
    run(engine, range(20, 30))
    found = recover(tmp_path)
    assert found.snapshot_seq == second.last_seq > first.last_seq
    assert found.events == found.last_seq - second.last_seq
    assert found.segments < len(segments(tmp_path))
    assert found.engine.snapshot() == engine.snapshot()
    engine.close()
    with Journal(tmp_path, segment_bytes=4096).resume() as again:
        run(again, range(30, 35))
        assert recover(tmp_path).engine.snapshot() == again.snapshot()


def test_snapshots_change_no_point_in_time(tmp_path: Path) -> None:
    engine = written(tmp_path, range(12))
    without = {seq: recover(tmp_path, until_seq=seq).engine.snapshot() for seq in range(0, engine.next_seq, 7)}
    last = write_snapshot(tmp_path).last_seq
    run(engine, range(12, 15))
    without |= {seq: recover(tmp_path, until_seq=seq).engine.snapshot() for seq in range(last, engine.next_seq, 7)}
    for seq, state in without.items():
        found = recover(tmp_path, until_seq=seq)
        assert found.engine.snapshot() == state
        assert found.snapshot_seq == (last if seq >= last else 0)
    engine.close()


def test_recovery_to_a_time_begins_with_a_snapshot_that_has_nothing_later(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=4096)
    book = engine.book(0)
    # Time goes back now and then: only the highest stamp of a snapshot says whether it may be used.
    stamps = [100, 300, 200, 250, 400, 350, 500, 450, 600, 700]
    files = []
    for stamp in stamps:
        book.submit(1, 100, 5, ts_ns=stamp)
        if stamp in (300, 250, 350, 600):
            files.append(write_snapshot(tmp_path))
    assert [one.head().latest_ns for one in files] == [300, 300, 400, 600]
    used = {until: recover(tmp_path, until_ns=until) for until in range(50, 800, 50)}
    assert [used[until].snapshot_seq for until in (250, 300, 350, 400, 550, 600, 750)] == [0, 4, 4, 6, 6, 9, 9]
    for one in files:
        one.path.unlink()
    for until, found in used.items():
        without = recover(tmp_path, until_ns=until)
        assert without.engine.snapshot() == found.engine.snapshot()
        assert without.latest_ns == found.latest_ns
    engine.close()


def test_a_point_before_all_that_is_left_is_refused(tmp_path: Path) -> None:
    engine = written(tmp_path, range(10))
    older = write_snapshot(tmp_path)
    run(engine, range(10, 20))
    assert prune(tmp_path, keep_snapshots=1)
    latest = older.head().latest_ns
    assert recover(tmp_path, until_ns=latest).snapshot_seq == older.last_seq
    assert recover(tmp_path, until_seq=older.last_seq).last_seq == older.last_seq
    says = f"the point must be event {older.last_seq}, with time stamps up to {latest}, or later, was "
    with pytest.raises(JournalError, match=f"{says}time stamp {latest - 1}: .* were taken away"):
        recover(tmp_path, until_ns=latest - 1)
    with pytest.raises(JournalError, match=f"{says}event {older.last_seq - 1}: .* were taken away"):
        recover(tmp_path, until_seq=older.last_seq - 1)
    engine.close()


def test_what_was_defined_behind_the_last_event_of_a_segment_is_there(tmp_path: Path) -> None:
    engine = written(tmp_path, range(3))
    file = write_snapshot(tmp_path)
    # A commit of its own, without any event; the next one doesn't fit into the segment any more.
    engine.user("user 1", SelfTrade((engine.user_modes()[2] + 1) % 6))
    engine.user("somebody new", SelfTrade.CANCEL_BOTH)
    engine.acknowledged().result()
    before = len(segments(tmp_path))
    engine.run(rows(200, seed=3))
    assert int(segments(tmp_path)[before].name[:20]) == file.last_seq + 1
    found = recover(tmp_path)
    assert found.snapshot_seq == file.last_seq
    assert found.engine.snapshot() == engine.snapshot()
    assert prune(tmp_path, keep_snapshots=1)
    assert recover(tmp_path).engine.snapshot() == engine.snapshot()
    engine.close()


def test_a_bad_snapshot_is_passed_over_for_an_older_one_and_then_for_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = written(tmp_path, range(8))
    older = write_snapshot(tmp_path)
    run(engine, range(8, 12))
    newer = write_snapshot(tmp_path)
    state = engine.snapshot()
    engine.close()
    for file, falls_back_to in ((newer, older.last_seq), (older, 0)):
        content = bytearray(file.path.read_bytes())
        places = range(0, len(content), max(1, len(content) // 60))
        for place in [*range(72), *places]:
            content[place] ^= 0x10
            file.path.write_bytes(content)
            content[place] ^= 0x10
            found = recover(tmp_path)
            assert found.snapshot_seq == falls_back_to
            assert found.engine.snapshot() == state
        assert f"going without {file.path}" in caplog.text
        for size in (0, 5, 70, len(content) - 1):
            file.path.write_bytes(content[:size])
            assert recover(tmp_path).snapshot_seq == falls_back_to
        file.path.write_bytes(b"")


def test_a_snapshot_of_another_journal_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path / "one", range(5)).close()
    written(tmp_path / "other", range(5)).close()
    file = write_snapshot(tmp_path / "other").path
    (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    assert recover(tmp_path / "one").snapshot_seq == 0


def test_a_snapshot_that_could_not_be_written_is_none(tmp_path: Path) -> None:
    written(tmp_path, range(5)).close()
    disk = FailingDisk()
    write_snapshot(tmp_path, disk=disk).path.unlink()
    for number, call in enumerate(disk.calls, start=1):
        failing = FailingDisk(number, lambda: OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            write_snapshot(tmp_path, disk=failing)
        assert failing.failed == call
        assert not list(tmp_path.glob("*.unfinished"))
        for left in tmp_path.glob("*.snapshot"):
            assert call == "sync_folder"
            left.unlink()


def test_a_snapshot_ahead_of_its_journal_is_passed_over(tmp_path: Path) -> None:
    engine = written(tmp_path / "j", range(5))
    older = write_snapshot(tmp_path / "j")
    state = engine.snapshot()
    as_if_killed(engine, tmp_path / "j", tmp_path / "killed")
    run(engine, range(5, 6))
    ahead = write_snapshot(tmp_path / "j")
    engine.close()
    (tmp_path / "killed" / ahead.path.name).write_bytes(ahead.path.read_bytes())
    found = recover(tmp_path / "killed")
    assert (found.last_seq, found.snapshot_seq) == (older.last_seq, older.last_seq)
    with Journal(tmp_path / "killed").resume() as again:
        assert again.snapshot() == state


def test_segments_go_that_two_snapshots_cover(tmp_path: Path) -> None:
    engine = written(tmp_path, range(10))
    write_snapshot(tmp_path)
    assert prune(tmp_path) == []
    run(engine, range(10, 20))
    older = write_snapshot(tmp_path)
    run(engine, range(20, 30))
    newer = write_snapshot(tmp_path)
    before = segments(tmp_path)
    gone = prune(tmp_path)
    assert gone == before[: len(gone)]
    assert int(before[len(gone)].name[:20]) <= older.last_seq < int(before[len(gone) + 1].name[:20])
    assert len(list(tmp_path.glob("*.snapshot"))) == 2
    assert recover(tmp_path).engine.snapshot() == engine.snapshot()
    newer.path.unlink()
    assert recover(tmp_path).engine.snapshot() == engine.snapshot()
    older.path.unlink()
    with pytest.raises(JournalDamaged, match="the segments before must be there"):
        recover(tmp_path)
    engine.close()


def test_segments_stay_that_somebody_needs(tmp_path: Path) -> None:
    engine = written(tmp_path, range(8))
    early = write_snapshot(tmp_path)
    run(engine, range(8, 20))
    last = write_snapshot(tmp_path)
    before = segments(tmp_path)
    assert prune(tmp_path, keep_snapshots=1, keep=[lambda: 1]) == []
    assert prune(tmp_path, keep_snapshots=1, keep=[lambda: early.last_seq]) == []
    # What is open at an event isn't in the events behind it: the snapshot before stays, and what follows that.
    gone = prune(tmp_path, keep_snapshots=1, keep=[lambda: last.last_seq, lambda: last.last_seq - 1])
    assert gone == [one for one, next_ in pairwise(before) if int(next_.name[:20]) <= early.last_seq]
    assert gone
    assert early.path.exists()
    assert sum(len(part) for part, _ in History(tmp_path).orders(early.last_seq))
    assert prune(tmp_path, keep_snapshots=1) == before[len(gone) : -1]
    assert not early.path.exists()
    with pytest.raises(FieldError, match="keep_snapshots must be an int from 1 on"):
        prune(tmp_path, keep_snapshots=0)
    engine.close()
    with Journal(tmp_path).resume() as again:
        run(again, range(20, 22))
        assert recover(tmp_path).engine.snapshot() == again.snapshot()


def test_segments_are_archived_before_they_go(tmp_path: Path) -> None:
    engine = written(tmp_path / "j", range(20))
    write_snapshot(tmp_path / "j")
    content = {path.name: path.read_bytes() for path in segments(tmp_path / "j")}
    gone = prune(tmp_path / "j", keep_snapshots=1, archive=tmp_path / "archive")
    packed = sorted((tmp_path / "archive").iterdir())
    assert [path.name for path in packed] == [f"{path.name}.zst" for path in gone]
    for path in packed:
        assert zstandard.ZstdDecompressor().decompress(path.read_bytes()) == content[path.name.removesuffix(".zst")]
    # Brought back, they are the whole journal again.
    for snapshot in (tmp_path / "j").glob("*.snapshot"):
        snapshot.unlink()
    for name in content.keys() - {path.name for path in segments(tmp_path / "j")}:
        (tmp_path / "j" / name).write_bytes(content[name])
    assert recover(tmp_path / "j").engine.snapshot() == engine.snapshot()
    engine.close()


def test_what_can_not_be_put_away_stays(tmp_path: Path) -> None:
    engine = written(tmp_path, range(20))
    write_snapshot(tmp_path)
    before = segments(tmp_path)
    disk = FailingDisk(2)
    with pytest.raises(OSError, match="the disk is broken"):
        prune(tmp_path, keep_snapshots=1, archive=tmp_path / "archive", disk=disk)
    assert segments(tmp_path) == before
    assert recover(tmp_path).engine.snapshot() == engine.snapshot()
    engine.close()
    with pytest.raises(JournalError):
        write_snapshot(tmp_path / "nowhere")
