"""Any thread may call any order store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stores.contract.samples import ids, order
from stores.contract.together import ROUNDS, THREADS, together


def test_threads_find_what_they_saved(orders: Any) -> None:
    def work(thread: int) -> None:
        mine = f"user {thread}"
        for n in range(ROUNDS):
            order_id = thread * 1_000 + n
            given = order(order_id, user=mine, version=n)
            assert orders.save(given) if n % 2 else orders.save_batch([given]) == 1
            assert orders.get(order_id) == given
            assert len(orders.get_by_user(mine)) == n + 1

    together(work)
    assert len(orders.get_all()) == THREADS * ROUNDS
    assert len(orders.get_by_side("buy")) == THREADS * ROUNDS


def test_the_highest_version_wins_whoever_comes_first(orders: Any) -> None:
    def work(thread: int) -> None:
        for n in range(ROUNDS):
            orders.save(order(1, user=f"user {thread}", version=n * THREADS + thread))
            orders.save_batch([order(2, "sell", version=(ROUNDS - n) * THREADS + thread)])

    together(work)
    last = order(1, user=f"user {THREADS - 1}", version=ROUNDS * THREADS - 1)
    assert orders.get(1) == last
    assert orders.get(2).version == (ROUNDS + 1) * THREADS - 1
    assert orders.get_by_user(f"user {THREADS - 1}")[0] == last
    assert ids(orders.get_by_side("buy")) == [1]
    assert ids(orders.get_by_side("sell")) == [2]


def test_an_order_is_removed_once(orders: Any, said: Callable[[object, object], bool]) -> None:
    orders.save_batch([order(n) for n in range(ROUNDS)])
    removed = [0] * THREADS

    def work(thread: int) -> None:
        for n in range(ROUNDS):
            removed[thread] += orders.remove(n) if thread % 2 else orders.remove_batch([n])

    together(work)
    assert said(sum(removed), ROUNDS)
    assert orders.get_all() == []
