"""What the order store promises, one behaviour a test."""

from __future__ import annotations

import numpy as np
import pytest
from stores.order_events import BTC, accepted, ids, limit

from pyengine.instrument import Instrument
from pyengine.records import Side, Status
from pyengine.stores import ORDER_RECORD_DTYPE, InMemoryOrderStore, Names, Order, StoreClosed

ETH = Instrument("ETH-USD", "0.1", "0.01")


@pytest.fixture
def store() -> InMemoryOrderStore:
    """Make an empty store."""
    return InMemoryOrderStore()


def test_a_saved_order_comes_back_equal(store: InMemoryOrderStore) -> None:
    order = Order(42, "buy", user="alice", instrument=BTC, price="6190.84", qty="0.5", tif="ioc", client_id=7, created_ns=5)
    assert store.save(order) is True
    assert store.get(42) == order
    assert store.get(42).user == "alice"
    assert store.get(42).symbol == "BTC-USD"


def test_an_unknown_id_is_none(store: InMemoryOrderStore) -> None:
    assert store.get(1) is None
    assert 1 not in store
    assert store.remove(1) is False


@pytest.mark.parametrize("order_id", [0, 1, 7, 8, 2**32, 2**63, 2**64 - 1])
def test_any_64_bit_id_works(store: InMemoryOrderStore, order_id: int) -> None:
    store.save(limit(order_id))
    assert order_id in store
    assert store.get(order_id).order_id == order_id
    assert store.remove(order_id) is True
    assert len(store) == 0


def test_what_get_returned_does_not_change(store: InMemoryOrderStore) -> None:
    store.save(limit(1))
    before = store.get(1)
    store.save(before.replace(remaining_lots=4))
    assert (before.remaining_lots, store.get(1).remaining_lots) == (10, 4)


def test_update_changes_only_what_is_there(store: InMemoryOrderStore) -> None:
    assert store.update(limit(1)) is False
    assert len(store) == 0
    store.save(limit(1))
    assert store.update(limit(1, remaining_lots=3)) is True
    assert store.get(1).filled_lots == 7


def test_an_older_version_changes_nothing(store: InMemoryOrderStore) -> None:
    store.save(limit(1, version=5, remaining_lots=2))
    assert store.save(limit(1, version=4)) is False
    assert store.update(limit(1, version=4)) is False
    assert store.get(1).remaining_lots == 2
    assert store.save(limit(1, version=5, remaining_lots=1)) is True


def test_orders_come_by_id_and_a_users_only(store: InMemoryOrderStore) -> None:
    for order_id, user in ((30, "alice"), (10, "bob"), (20, "alice"), (40, None)):
        store.save(limit(order_id, user=user))
    assert ids(store.get_all()) == [10, 20, 30, 40]
    assert ids(store.get_by_user("alice")) == [20, 30]
    assert ids(store.get_by_user(store.names.user_index("bob"))) == [10]
    assert store.get_by_user("nobody of that name") == []
    assert store.get_by_user(999) == []


def test_a_users_answer_includes_finished_orders(store: InMemoryOrderStore) -> None:
    store.save(limit(1, user="alice", status="filled"))
    store.save(limit(2, user="alice"))
    assert ids(store.get_by_user("alice")) == [1, 2]


def test_an_order_can_change_its_user(store: InMemoryOrderStore) -> None:
    store.save(limit(1, user="alice"))
    store.save(limit(1, user="bob"))
    assert store.get_by_user("alice") == []
    assert ids(store.get_by_user("bob")) == [1]
    store.check()


def test_bids_come_from_high_to_low_then_by_id(store: InMemoryOrderStore) -> None:
    for order_id, ticks in ((1, 100), (2, 102), (3, 101), (4, 102), (5, -3)):
        store.save(limit(order_id, ticks=ticks))
    assert ids(store.get_by_side("buy")) == [2, 4, 3, 1, 5]
    assert store.get_by_side_array(Side.BUY)["price_ticks"].tolist() == [102, 102, 101, 100, -3]


def test_asks_come_from_low_to_high_then_by_id(store: InMemoryOrderStore) -> None:
    for order_id, ticks in ((9, 100), (2, 102), (3, -1), (4, 100), (5, 2**62 - 1), (6, -(2**62))):
        store.save(limit(order_id, "sell", ticks))
    assert ids(store.get_by_side(2)) == [6, 3, 4, 9, 2, 5]


def test_a_side_leaves_out_what_is_finished(store: InMemoryOrderStore) -> None:
    store.save(limit(1))
    store.save(limit(2, status="cancelled"))
    store.save(limit(3, status="filled"))
    assert ids(store.get_by_side("buy")) == [1]
    store.save(limit(1, status="cancelled"))
    assert store.get_by_side("buy") == []


def test_a_side_of_one_symbol(store: InMemoryOrderStore) -> None:
    store.save(Order(1, "buy", instrument=ETH, price="5.0", qty=1))
    store.save(Order(2, "buy", instrument=BTC, price="9.0", qty=1))
    store.save(Order(3, "buy", instrument=ETH, price="7.0", qty=1))
    assert ids(store.get_by_side("buy", "ETH-USD")) == [3, 1]
    assert ids(store.get_by_side("buy", 1)) == [2]
    assert store.get_by_side("buy", "DOGE") == []
    assert store.get_by_side("sell", "ETH-USD") == []
    assert store.get_by_side("buy", 77) == []
    assert ids(store.get_by_side("buy")) == [3, 1, 2], "by number of the instrument, then price"


def test_entered_decides_who_was_first(store: InMemoryOrderStore) -> None:
    rows = [limit(1, entered=30), limit(2, entered=10), limit(3, entered=20)]
    store.save_batch(rows)
    assert ids(store.get_by_side("buy")) == [2, 3, 1]


def test_where_nobody_counts_entries_time_decides_and_then_the_id(store: InMemoryOrderStore) -> None:
    for order_id, created_ns in ((3, 5), (2, -7), (9, 5), (1, 6)):
        store.save(limit(order_id, created_ns=created_ns))
    assert ids(store.get_by_side("buy")) == [2, 3, 9, 1]
    store.save(limit(3, lots=5, created_ns=5))
    store.save(limit(2, ticks=101, created_ns=-7))
    store.save(limit(2, ticks=100, lots=90, created_ns=-7))
    assert ids(store.get_by_side("buy")) == [2, 3, 9, 1], "whatever was saved when"
    store.save(limit(2, entered=1, created_ns=-7))
    assert ids(store.get_by_side("buy")) == [3, 9, 1, 2]


def test_removal_by_count_takes_the_first_that_finished(store: InMemoryOrderStore) -> None:
    for order_id in range(1, 8):
        store.save(limit(order_id))
    for order_id in (5, 3, 6, 1):
        store.save(limit(order_id, status="cancelled"))
    assert store.remove_finished(keep=3) == 1
    assert ids(store.get_all()) == [1, 2, 3, 4, 6, 7]
    assert store.remove_finished(keep=3) == 0
    assert store.remove_finished(keep=0) == 3
    assert (store.open_count, store.finished_count, store.count, len(store)) == (3, 0, 3, 3)


def test_removal_by_age_stops_at_the_first_that_is_young(store: InMemoryOrderStore) -> None:
    for order_id, updated_ns in ((1, 10), (2, 20), (3, 30)):
        store.save(limit(order_id, status="filled", updated_ns=updated_ns))
    assert store.remove_finished(older_than_ns=20) == 1
    assert store.remove_finished(older_than_ns=-1) == 0
    assert store.remove_finished(older_than_ns=31) == 2


def test_keep_finished_bounds_the_store_by_itself() -> None:
    store = InMemoryOrderStore(keep_finished=2)
    for order_id in range(1, 6):
        store.save(limit(order_id))
        store.save(limit(order_id, status="filled"))
    assert ids(store.get_all()) == [4, 5]
    none = InMemoryOrderStore(keep_finished=0)
    assert none.save(limit(1, status="filled")) is True
    assert none.get(1) is None


def test_a_batch_is_objects_or_an_array(store: InMemoryOrderStore) -> None:
    assert store.save_batch(limit(n, user="alice") for n in (3, 1, 2)) == 3
    array = store.get_all_array()
    assert array.dtype == ORDER_RECORD_DTYPE
    assert array["order_id"].tolist() == [1, 2, 3]
    array["remaining_lots"], array["status"] = 4, Status.PARTIALLY_FILLED
    array["version"] = [1, 0, 1]
    assert store.save_batch(array[::-1]) == 3
    assert [order.remaining_lots for order in store.get_all()] == [4, 4, 4]
    array["version"] = 0
    assert store.save_batch(array) == 1, "the other two are known in a higher version"
    assert store.save_batch([]) == 0
    assert store.save_batch(array[:0]) == 0


def test_an_answer_as_an_array_is_the_callers_own(store: InMemoryOrderStore) -> None:
    store.save(limit(1, user=4))
    for array in (store.get_all_array(), store.get_by_user_array(4), store.get_by_side_array(1)):
        array["qty_lots"] = 99
    assert store.get(1).qty_lots == 10
    store.check()


def test_a_batch_with_a_bad_row_changes_nothing(store: InMemoryOrderStore) -> None:
    store.save_batch([limit(1), limit(2)])
    array = store.get_all_array()
    array["remaining_lots"], array["status"] = [3, 11], 2
    with pytest.raises(ValueError, match=r"orders\[1\]\.remaining_lots must be from 0 to qty_lots") as error:
        store.save_batch(array)
    assert error.value.field == "orders[1].remaining_lots"
    assert store.get(1).remaining_lots == 10


def test_a_store_starts_over_after_clear(store: InMemoryOrderStore) -> None:
    store.save_batch(limit(n, user="alice") for n in range(1, 500))
    store.clear()
    store.check()
    assert (len(store), store.get(1), store.get_by_user("alice"), store.get_by_side(1)) == (0, None, [], [])
    store.save(limit(1, user="alice"))
    assert ids(store.get_by_user("alice")) == [1]


def test_a_closed_store_says_so() -> None:
    with InMemoryOrderStore() as store:
        store.save(limit(1))
    store.close()
    assert store.closed
    assert "closed" in repr(store)
    array = np.zeros(1, ORDER_RECORD_DTYPE)
    array["side"], array["status"], array["qty_lots"], array["remaining_lots"], array["order_type"] = 1, 1, 1, 1, 2
    calls = [
        lambda: store.get(1),
        lambda: store.save(limit(1)),
        lambda: store.update(limit(1)),
        lambda: store.remove(1),
        lambda: 1 in store,
        lambda: store.save_batch(array),
        lambda: store.apply(accepted(1, 1)),
        store.get_all,
        store.get_all_array,
        lambda: store.get_by_user(1),
        lambda: store.get_by_side(1),
        lambda: store.remove_finished(keep=1),
        store.clear,
    ]
    for call in calls:
        with pytest.raises(StoreClosed):
            call()
    store.check()


def test_an_engines_names_are_not_added_to() -> None:
    store = InMemoryOrderStore()
    names = Names([BTC], ["alice"])
    store.attach_names(names)
    store.attach_names(names)
    assert store.save(limit(1, user="alice", instrument=BTC)) is True
    assert store.get(1).user == "alice"
    with pytest.raises(ValueError, match="user must be known to the engine"):
        store.save(limit(2, user="mallory"))
    with pytest.raises(ValueError, match="instrument must be known to the engine"):
        store.save(limit(2, instrument=ETH))
    with pytest.raises(ValueError, match="names must be those of the engine"):
        store.attach_names(Names())
    assert len(names.users) == 2


def test_names_are_not_changed_under_orders() -> None:
    store = InMemoryOrderStore()
    store.save(limit(1))
    with pytest.raises(ValueError, match="names must be given to an empty store"):
        store.attach_names(Names())
    assert store.save(limit(2)) is True


def test_an_order_of_one_store_fits_into_another() -> None:
    first = InMemoryOrderStore(names=Names([ETH, BTC], ["zoe", "alice"]))
    second = InMemoryOrderStore(names=Names([BTC], ["bob"]))
    first.save(limit(1, user="alice", instrument=BTC))
    second.save(first.get(1))
    assert second.get(1) == first.get(1)
    assert (second.get(1).user, second.get(1).user_index, first.get(1).user_index) == ("alice", 2, 2)
    assert (second.get(1).symbol, second.get(1).instrument_index, first.get(1).instrument_index) == ("BTC-USD", 0, 1)
    numbered = InMemoryOrderStore()
    numbered.save(limit(5, user=77, instrument_index=3))
    second.save(numbered.get(5))
    assert (second.get(5).user, second.get(5).instrument_index) == (77, 3)


def test_a_store_is_true_even_when_empty(store: InMemoryOrderStore) -> None:
    assert store
    assert repr(store) == "<InMemoryOrderStore of 0 open and 0 finished orders>"
