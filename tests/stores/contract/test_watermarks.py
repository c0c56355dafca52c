"""What every store that keeps watermarks promises: records and watermark move together, and whatever is amiss is noticed."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores.contract.backends import Place
from stores.contract.marked_stores import MARKED_BACKENDS, SHARED_BACKENDS, MarkedBackend, World
from stores.contract.samples import order_array, trade_array

from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed, StoreError, StoreRefused, StoreUnavailable, WatermarkMoved
from pyengine.stores import InMemoryOrderStore, Names
from pyengine.stores.interfaces import Mark, Watermarked

JOURNAL = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


@pytest.fixture(params=MARKED_BACKENDS, ids=str)
def world(request: pytest.FixtureRequest, new_place: Callable[[], Place]) -> Iterator[World]:
    marked: MarkedBackend = request.param
    found = World(marked, new_place())
    yield found
    found.close()


@pytest.fixture
def store(world: World) -> Any:
    return world.open()


def mark(after: int | None, to: int, journal: str = JOURNAL) -> Mark:
    return Mark(journal, after, to)


def keeps(world: World) -> bool:
    return world.marked.backend.keeps


def test_a_fresh_store_knows_nothing(store: Any) -> None:
    assert isinstance(store, Watermarked)
    assert not isinstance(InMemoryOrderStore(), Watermarked)
    assert store.watermark(JOURNAL) is None
    store.forget_watermark(JOURNAL)
    assert store.watermark(JOURNAL) is None


def test_records_and_watermark_move_together(world: World, store: Any) -> None:
    assert store.save_marked(world.records(1, 2, 3), mark(None, 10)) == 3
    assert store.watermark(JOURNAL) == 10
    assert store.save_marked(world.records(4), mark(10, 11)) == 1
    assert store.save_marked(iter(world.records(5, 6)), mark(11, 11)) == 2, "to where it is already"
    assert store.watermark(JOURNAL) == 11
    assert world.held(store) == [1, 2, 3, 4, 5, 6]
    if keeps(world):
        other = world.open()
        assert other.watermark(JOURNAL) == 11
        assert world.held(other) == [1, 2, 3, 4, 5, 6]


def test_from_zero_to_the_end(store: Any) -> None:
    last = 2**63 - 1
    assert store.save_marked([], mark(None, 0)) == 0
    assert store.watermark(JOURNAL) == 0
    store.save_marked([], mark(0, last))
    assert store.watermark(JOURNAL) == last
    with pytest.raises(WatermarkMoved):
        store.save_marked([], mark(None, 5))


def test_empty_batches_move_it_too(world: World, store: Any) -> None:
    assert store.save_marked([], mark(None, 3)) == 0
    assert store.save_marked((), mark(3, 8)) == 0
    assert store.watermark(JOURNAL) == 8
    for wrong in (mark(None, 9), mark(3, 9), mark(9, 9)):
        with pytest.raises(WatermarkMoved) as raised:
            store.save_marked([], wrong)
        assert raised.value.actual == 8
    assert store.watermark(JOURNAL) == 8
    assert world.held(store) == []


@pytest.mark.parametrize("at", [None, 7])
@pytest.mark.parametrize("after", [None, 5, 9])
def test_a_watermark_that_is_somewhere_else_stops_a_batch(world: World, store: Any, at: int | None, after: int | None) -> None:
    if at is not None:
        store.save_marked(world.records(1), mark(None, at))
    before = world.held(store)
    if at == after:
        return
    with pytest.raises(WatermarkMoved, match=f"must be {'none' if after is None else after}, was ") as raised:
        store.save_marked(world.records(2, 3), mark(after, 10))
    assert raised.value.actual == at
    assert isinstance(raised.value, StoreError)
    assert not isinstance(raised.value, (StoreRefused, StoreUnavailable))
    assert (world.held(store), store.watermark(JOURNAL)) == (before, at)
    # What is right works as ever afterwards.
    assert store.save_marked(world.records(2, 3), mark(at, 10)) == 2


def test_a_call_that_went_through_may_be_made_again(world: World, store: Any) -> None:
    for after, to, numbers in ((None, 5, (1, 2)), (5, 9, (3, 4)), (9, 12, ())):
        first = store.save_marked(world.records(*numbers), mark(after, to))
        assert first == len(numbers)
        for _ in range(2):
            assert store.save_marked(world.records(*numbers), mark(after, to)) == 0
        assert store.watermark(JOURNAL) == to
    assert world.held(store) == [1, 2, 3, 4]
    with pytest.raises(WatermarkMoved) as raised:
        store.save_marked(world.records(3, 4), mark(5, 9))
    assert raised.value.actual == 12, "but not once more has gone through"


def test_records_that_are_there_already_do_no_harm(world: World, store: Any) -> None:
    store.save_batch(world.records(2, 3, 5))
    store.save_marked(world.records(1, 2, 3), mark(None, 3))
    store.save_marked(world.records(3, 4, 5, 6), mark(3, 6))
    assert (world.held(store), store.watermark(JOURNAL)) == ([1, 2, 3, 4, 5, 6], 6)
    store.save_marked(world.records(2, 4), mark(6, 7))
    assert (world.held(store), store.watermark(JOURNAL)) == ([1, 2, 3, 4, 5, 6], 7)


def test_plain_writes_leave_it_where_it_is(world: World, store: Any) -> None:
    store.save_marked(world.records(1), mark(None, 4))
    store.save_batch(world.records(2, 3))
    store.save(world.marked.record(4))
    assert (world.held(store), store.watermark(JOURNAL)) == ([1, 2, 3, 4], 4)


def test_two_journals_side_by_side(world: World, store: Any) -> None:
    store.save_marked(world.records(1), mark(None, 5))
    store.save_marked(world.records(2), mark(None, 900, OTHER))
    store.save_marked(world.records(3), mark(5, 6))
    assert (store.watermark(JOURNAL), store.watermark(OTHER)) == (6, 900)
    store.forget_watermark(JOURNAL)
    assert (store.watermark(JOURNAL), store.watermark(OTHER)) == (None, 900)
    assert world.held(store) == [1, 2, 3], "forgetting takes no record away"
    store.save_marked(world.records(1, 3, 4), mark(None, 7))
    assert (store.watermark(JOURNAL), store.watermark(OTHER)) == (7, 900)


@pytest.mark.parametrize("world", SHARED_BACKENDS, ids=str, indirect=True)
def test_orders_and_trades_of_one_place_have_their_own(world: World, store: Any) -> None:
    other = world.open_other()
    store.save_marked([], mark(None, 5))
    other.save_marked([], mark(None, 8))
    assert (store.watermark(JOURNAL), other.watermark(JOURNAL)) == (5, 8)
    other.forget_watermark(JOURNAL)
    assert (store.watermark(JOURNAL), other.watermark(JOURNAL)) == (5, None)


def test_a_wipe_is_noticed_and_mended(world: World, store: Any) -> None:
    store.save_marked(world.records(1, 2, 3), mark(None, 5))
    world.wipe(store)
    with pytest.raises(WatermarkMoved) as raised:
        store.save_marked(world.records(4), mark(5, 6))
    assert raised.value.actual is None
    assert (world.held(store), store.watermark(JOURNAL)) == ([], None)
    store.save_marked(world.records(1, 2), mark(None, 3))
    store.save_marked(world.records(3, 4), mark(3, 6))
    assert world.held(store) == [1, 2, 3, 4]
    if keeps(world):
        stranger = world.open()
        assert world.held(stranger) == [1, 2, 3, 4], "the instruments were written anew too"


def test_a_restored_older_state_is_noticed_and_mended(world: World, store: Any) -> None:
    store.save_marked(world.records(2), mark(None, 2))
    back = world.keep(store)
    store.save_marked(world.records(3, 4), mark(2, 4))
    back()
    with pytest.raises(WatermarkMoved) as raised:
        store.save_marked(world.records(5, 6), mark(4, 6))
    assert raised.value.actual == 2
    assert (world.held(store), store.watermark(JOURNAL)) == ([2], 2)
    store.save_marked(world.records(3, 4, 5), mark(2, 5))
    store.save_marked(world.records(6), mark(5, 6))
    assert (world.held(store), store.watermark(JOURNAL)) == ([2, 3, 4, 5, 6], 6)
    if keeps(world):
        assert world.held(world.open()) == [2, 3, 4, 5, 6], "the instrument of which the old state knew nothing too"


def test_large_batches_move_as_one(world: World, store: Any) -> None:
    numbers = range(1, 3001)
    assert store.save_marked(world.records(*numbers), mark(None, 3000)) == 3000
    assert (world.held(store), store.watermark(JOURNAL)) == ([*numbers], 3000)
    assert store.save_marked(world.records(*numbers), mark(None, 3000)) == 0
    with pytest.raises(WatermarkMoved):
        store.save_marked(world.records(*range(3001, 6001)), mark(None, 6000))
    with pytest.raises(WatermarkMoved):
        store.save_marked(world.records(*range(3001, 6001)), mark(2999, 6000))
    assert (world.held(store), store.watermark(JOURNAL)) == ([*numbers], 3000)
    store.save_marked(world.records(*range(2001, 5001)), mark(3000, 5000))
    assert (world.held(store), store.watermark(JOURNAL)) == ([*range(1, 5001)], 5000)


@pytest.mark.parametrize("world", SHARED_BACKENDS, ids=str, indirect=True)
def test_arrays(world: World) -> None:
    names = Names()
    make = order_array if world.marked.table == "orders" else trade_array
    rows = make(world.records(*range(1, 301)), names)
    store = world.open(names)
    store.save_marked(rows[:100], mark(None, 100))
    store.save_marked(rows[90:], mark(100, 300))
    assert (world.held(store), store.watermark(JOURNAL)) == ([*range(1, 301)], 300)
    store.save_marked(rows[:0], mark(300, 301))
    assert store.watermark(JOURNAL) == 301


def test_bad_records_change_nothing(world: World, store: Any) -> None:
    store.save_marked(world.records(1), mark(None, 1))
    for bad in ([*world.records(2), "no record"], 5):
        with pytest.raises((FieldError, TypeError)):
            store.save_marked(bad, mark(1, 2))
    assert (world.held(store), store.watermark(JOURNAL)) == ([1], 1)


@pytest.mark.parametrize("world", SHARED_BACKENDS, ids=str, indirect=True)
@pytest.mark.parametrize("journal", ["", "x" * 65, "batch:1", "a b", "ü", "a\n"])
def test_journals_that_are_none(store: Any, journal: str) -> None:
    with pytest.raises(FieldError, match="journal must be 1 to 64 letters, digits, hyphens and underscores"):
        Mark(journal, None, 1)
    for call in (store.watermark, store.forget_watermark):
        with pytest.raises(FieldError, match="journal must be 1 to 64"):
            call(journal)


def test_marks_that_are_none() -> None:
    with pytest.raises(FieldTypeError, match="journal must be a str, was 5"):
        Mark(5, None, 1)  # type: ignore[arg-type]
    with pytest.raises(FieldError, match="to must be an int from 5 to 9223372036854775807, was 4"):
        Mark(JOURNAL, 5, 4)
    with pytest.raises(FieldError, match="after must be an int from 0 "):
        Mark(JOURNAL, -1, 4)
    with pytest.raises(FieldError, match="to must be an int from 0 "):
        Mark(JOURNAL, None, 2**63)
    with pytest.raises(FieldTypeError, match="to must be an int, was '1'"):
        Mark(JOURNAL, None, "1")  # type: ignore[arg-type]
    counted = Mark(JOURNAL, np.uint64(3), np.int32(4))  # type: ignore[arg-type]
    assert (type(counted.after), type(counted.to)) == (int, int)
    assert counted == Mark(JOURNAL, 3, 4)


def test_the_error_can_be_pickled() -> None:
    error = Mark(JOURNAL, 3, 4).refusal(None, "postgres, trades")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.actual, str(again)) == (WatermarkMoved, None, str(error))
    assert str(error) == f"postgres, trades: watermark of journal {JOURNAL} must be 3, was none"
    assert "was 7" in str(WatermarkMoved(7))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_is_as_the_model(world: World, store: Any, seed: int) -> None:
    """Marks that fit and that don't, wipes, copies brought back, plain writes."""
    world.wipe(store)
    chance = random.Random(seed)
    ids: set[int] = set()
    at: int | None = None
    copy: tuple[Callable[[], None], set[int], int | None] | None = None
    for _ in range(40):
        numbers = chance.sample(range(1, 400), chance.choice([0, 1, 3, 40, 300]))
        start = chance.choice([at, at, at, None, 5])
        to = (start or 0) + chance.choice([0, 1, 50])
        match chance.choice(["marked"] * 6 + ["plain", "forget", "wipe", "keep", "back"]):
            case "marked" if start == at:
                store.save_marked(world.records(*numbers), mark(start, to))
                ids, at = ids | set(numbers), to
            case "marked" if to == at:
                assert store.save_marked(world.records(*numbers), mark(start, to)) == 0
            case "marked":
                with pytest.raises(WatermarkMoved) as raised:
                    store.save_marked(world.records(*numbers), mark(start, to))
                assert raised.value.actual == at
            case "plain":
                store.save_batch(world.records(*numbers))
                ids |= set(numbers)
            case "forget":
                store.forget_watermark(JOURNAL)
                at = None
            case "wipe":
                world.wipe(store)
                ids, at = set(), None
                # The instruments went too: who doesn't go by the watermark has to be told.
                with pytest.raises(WatermarkMoved):
                    store.save_marked([], mark(6, 7))
            case "keep" if copy is None:
                copy = (world.keep(store), ids.copy(), at)
            case "back" if copy is not None:
                copy[0]()
                ids, at, copy = copy[1], copy[2], None
                with pytest.raises(WatermarkMoved):
                    store.save_marked([], mark(100_000, 100_001))
        assert store.watermark(JOURNAL) == at
    store.save_marked(world.records(1, 2), mark(at, 1000))
    assert world.held(store) == sorted(ids | {1, 2})


@pytest.mark.parametrize("world", SHARED_BACKENDS, ids=str, indirect=True)
def test_writers_that_race_leave_no_gap(world: World, store: Any) -> None:
    """Each batch goes through once, whoever wins; who loses goes on from where the watermark is."""
    last, step = 120, 3
    stores = [store, *(world.open() for _ in range(2))]
    moved: list[int] = []
    failures: list[BaseException] = []

    def write(one: Any) -> None:
        try:
            at: int | None = None
            while at != last:
                start = at or 0
                try:
                    if one.save_marked(world.records(*range(start + 1, start + step + 1)), mark(at, start + step)):
                        moved.append(start)
                    at = start + step
                except WatermarkMoved as error:
                    at = error.actual
        except BaseException as error:  # noqa: BLE001  told to the test below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(moved) == [*range(0, last, step)]
    assert (world.held(store), store.watermark(JOURNAL)) == ([*range(1, last + 1)], last)


@pytest.mark.parametrize("world", SHARED_BACKENDS, ids=str, indirect=True)
def test_a_closed_store_refuses(world: World, store: Any) -> None:
    store.close()
    for call in (
        lambda: store.watermark(JOURNAL),
        lambda: store.forget_watermark(JOURNAL),
        lambda: store.save_marked(world.records(1), mark(None, 1)),
        lambda: store.save_marked([], mark(None, 1)),
    ):
        with pytest.raises(StoreClosed):
            call()
