"""A journal that isn't as it was written leads to its state, to an earlier one of which it says so, or to an error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from journal_setup import as_if_killed, journaled, rows, small_journal

from pyengine.journal import Journal, JournalDamaged, Recovered
from pyengine.journal import recover as recover_journal
from pyengine.journal.format import HEADER_BYTES, FrameKind
from pyengine.journal.reader import JournalReader


def recover(path: Path, **options: int) -> Recovered:
    """Recover with a small ring, as it is done thousands of times."""
    return recover_journal(path, ring_capacity=64, **options)


def states(path: Path) -> dict[int, bytes]:
    """Map the last event of each commit to the state that it leads to."""
    reader = JournalReader(path)
    ends = {frame.first_seq + frame.count - 1 for _, frame in reader.frames() if frame.kind == FrameKind.EVENTS}
    return {seq: recover(path, until_seq=seq).engine.snapshot() for seq in {0, *ends}}


def newest(path: Path) -> Path:
    """Return the last segment."""
    return max(path.glob("*.journal"))


def flip(path: Path, place: int, bits: int) -> None:
    """Change bits of one byte, in place: a file that is written anew costs a sync."""
    fd = os.open(path, os.O_RDWR)
    [octet] = os.pread(fd, 1, place)
    os.pwrite(fd, bytes([octet ^ bits]), place)
    os.close(fd)


def used(path: Path) -> int:
    """Return the bytes of the last segment that are frames."""
    reader = JournalReader(path)
    list(reader.frames())
    return reader.segments[-1].end


def goes_on(path: Path, expected: bytes) -> None:
    """See that a journal can be opened, has a state, and goes on being written."""
    engine = Journal(path, segment_bytes=4096).resume()
    assert engine.snapshot() == expected
    engine.run(rows(10, seed=77))
    state = engine.snapshot()
    engine.close()
    found = recover(path)
    assert found.engine.snapshot() == state
    assert found.complete
    assert not found.torn_bytes


@pytest.mark.parametrize("seed", range(2))
def test_a_journal_cut_at_each_byte_of_its_last_commits_leads_to_a_whole_commit(tmp_path: Path, seed: int) -> None:
    engine = small_journal(tmp_path / "j", runs=9 + seed, each=6, close=False)
    path = as_if_killed(engine, tmp_path / "j", tmp_path / "killed")
    known = states(path)
    whole, content = used(path), newest(path).read_bytes()
    last = max(known)
    assert recover(path).last_seq == last
    begin = max(HEADER_BYTES + 200, whole - 900)
    seen = set()
    for size in reversed(range(begin, whole + 50)):
        os.truncate(newest(path), size)
        found = recover(path)
        assert found.engine.snapshot() == known[found.last_seq]
        assert (found.last_seq == last) == (size >= whole)
        assert not found.complete
        seen.add(found.last_seq)
        # The rest of the segment is there, but the disk has lost what was in it.
        os.truncate(newest(path), len(content))
        assert recover(path).engine.snapshot() == known[found.last_seq]
    assert len(seen) > 1
    engine.close()


def test_a_torn_tail_is_kept_aside_and_the_journal_goes_on(tmp_path: Path) -> None:
    engine = small_journal(tmp_path / "j", runs=9, each=6, close=False)
    killed = as_if_killed(engine, tmp_path / "j", tmp_path / "killed")
    known = states(killed)
    whole, content = used(killed), newest(killed).read_bytes()
    for size in (whole - 1, whole - 100, whole):
        path = tmp_path / f"cut at {size}"
        shutil.copytree(killed, path)
        newest(path).write_bytes(content[:size])
        found = recover(path)
        assert bool(found.torn_bytes) == (size < whole)
        goes_on(path, known[found.last_seq])
        aside = list(path.glob("*.torn-*"))
        assert len(aside) == (size < whole)
        for file in aside:
            begin = int(file.name.rpartition("-")[2])
            assert file.read_bytes() == content[begin:size].rstrip(b"\0")
    engine.close()


def test_each_flipped_byte_of_a_closed_journal_is_found_or_loses_nothing(tmp_path: Path) -> None:
    engine = journaled(tmp_path, segment_bytes=4096)
    for turn in range(7):
        engine.run(rows(8, seed=turn))
    expected = recover(tmp_path).engine.snapshot()
    engine.close()
    assert len(list(tmp_path.glob("*.journal"))) > 1
    damaged = 0
    for path in sorted(tmp_path.glob("*.journal")):
        for place in range(path.stat().st_size):
            flip(path, place, 1 << place % 8)
            try:
                found = recover(tmp_path)
            except JournalDamaged:
                damaged += 1
            else:
                assert found.engine.snapshot() == expected
                assert not found.complete
                assert found.torn_bytes
            flip(path, place, 1 << place % 8)
    assert damaged > 1000
    assert recover(tmp_path).engine.snapshot() == expected


def test_each_flipped_byte_of_a_killed_journal_is_found_or_cuts_its_last_commit(tmp_path: Path) -> None:
    engine = small_journal(tmp_path / "j", runs=6, each=6, close=False)
    path = as_if_killed(engine, tmp_path / "j", tmp_path / "killed")
    known = states(path)
    last = max(known)
    before_last = max(seq for seq in known if seq < last)
    file = newest(path)
    found_damage = 0
    for place in range(0, used(path) + 40, 3):
        flip(file, place, 0x55)
        try:
            found = recover(path)
        except JournalDamaged:
            found_damage += 1
        else:
            assert found.torn_bytes
            assert found.last_seq in {before_last, last}
            assert found.engine.snapshot() == known[found.last_seq]
        flip(file, place, 0x55)
    assert found_damage > 100
    engine.close()


# --- whole segments ---------------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Write a journal of several segments."""
    path = tmp_path / "j"
    small_journal(path, runs=30)
    assert len(list(path.glob("*.journal"))) > 5
    return path


def damaged(path: Path) -> JournalDamaged:
    with pytest.raises(JournalDamaged) as found:
        recover(path)
    return found.value


def test_each_missing_segment_is_missed(journal: Path) -> None:
    paths = sorted(journal.glob("*.journal"))
    for place, path in enumerate(paths):
        content = path.read_bytes()
        path.unlink()
        error = damaged(journal)
        if place == 0:
            assert error.segment == paths[1].name
            assert "the segments before must be there" in str(error)
        elif place == len(paths) - 1:
            assert "the segment that follows must be there" in str(error)
        else:
            assert error.segment == paths[place + 1].name
            assert f"must be number {place + 1}, was {place + 2}" in str(error)
            assert error.seq == int(path.name[:20])
        path.write_bytes(content)
    recover(journal)


def test_a_segment_under_another_name_is_refused(journal: Path) -> None:
    first, second, *_ = sorted(journal.glob("*.journal"))
    name = second.name
    second.rename(journal / f"{7:020d}-{2:08d}.journal")
    assert f"the segment must be called {name}" in str(damaged(journal))
    shutil.copy(first, newest(journal).with_name(f"{10**6:020d}-{999:08d}.journal"))
    damaged(journal)


def test_swapped_segments_are_refused(journal: Path) -> None:
    first, second = sorted(journal.glob("*.journal"))[1:3]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    error = damaged(journal)
    assert error.segment == first.name
    assert "must be called" in str(error)


def test_empty_and_cut_segments_are_refused(journal: Path) -> None:
    for path in sorted(journal.glob("*.journal"))[:-1]:
        content = path.read_bytes()
        for size in (0, 10, HEADER_BYTES, HEADER_BYTES + 30, len(content) - 40, len(content) - 1):
            path.write_bytes(content[:size])
            assert damaged(journal).segment == path.name
            path.write_bytes(bytes(len(content)))
            assert damaged(journal).segment == path.name
        path.write_bytes(content)


def test_a_segment_of_another_engine_is_refused(journal: Path, tmp_path: Path) -> None:
    small_journal(tmp_path / "other", runs=30)
    ours, theirs = (sorted(path.glob("*.journal")) for path in (journal, tmp_path / "other"))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        content = mine.read_bytes()
        mine.write_bytes(other.read_bytes())
        assert "identity must be" in str(damaged(journal))
        mine.write_bytes(content)


def test_frames_that_changed_places_are_refused(tmp_path: Path) -> None:
    small_journal(tmp_path, runs=4, each=8, segment_bytes=1 << 16)
    reader = JournalReader(tmp_path)
    frames = [(frame.offset, frame.end) for _, frame in reader.frames() if frame.kind == FrameKind.EVENTS]
    path = newest(tmp_path)
    content = path.read_bytes()
    (a, b), (c, d) = frames[1:3]
    path.write_bytes(content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:])
    assert damaged(tmp_path).offset == a
    path.write_bytes(content[:a] + content[b:])
    assert damaged(tmp_path).offset == a
    path.write_bytes(content[:b] + content[a:b] + content[b:])
    assert damaged(tmp_path).offset == b


def test_events_that_contradict_the_state_are_refused(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    with pytest.raises(JournalDamaged, match=r"agree with the orders that are there|name an order"):
        _with_foreign_events(engine, tmp_path)


def _with_foreign_events(engine: object, path: Path) -> None:
    """Write intact frames of events that can't have happened."""
    events = engine.run(rows(50)).events.copy()
    trades = events["kind"] == 3
    assert trades.any()
    engine.close()
    journal = Journal(path)
    writer = journal.resume().journal._committer.writer
    events["seq"] += len(events)
    writer.write([(FrameKind.EVENTS, [events.view("u1")], len(events))], (0, 0, b""))
    recover(path)


def test_a_frame_of_another_history_of_the_same_journal_is_refused(tmp_path: Path) -> None:
    engine = small_journal(tmp_path / "j", runs=2, close=False, segment_bytes=1 << 16)
    other = as_if_killed(engine, tmp_path / "j", tmp_path / "other")
    again = Journal(other, segment_bytes=1 << 16).resume()
    again.acknowledged().result()
    engine.user("ann", 1)
    engine.acknowledged().result()
    for turn in range(3):
        # The same sizes and numbers, but not the same events.
        engine.cancel(1_000_000 + turn)
        again.cancel(2_000_000 + turn)
    engine.close()
    again.close()
    ours, theirs = (
        [(segment.path, frame.offset, frame.end) for segment, frame in JournalReader(path).frames()]
        for path in (tmp_path / "j", other)
    )
    (path, a, b), (source, c, d) = ours[-2], theirs[-2]
    content = path.read_bytes()
    frame = source.read_bytes()[c:d]
    assert content[a : a + 32] == frame[:32]
    assert content[a : a + 36] != frame[:36]
    path.write_bytes(content[:a] + frame + content[b:])
    assert "the frame must follow" in str(damaged(tmp_path / "j"))
