"""Hand-made scenarios with official output: what the engine does, told in their words, is that output to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyengine import Engine, Instrument, Result, Side, Status

SCENARIOS = [f"official_{number}" for number in (1, 3, 5, 7, 9, 11, 13, 15)]
SIDES = {"B": Side.BUY, "S": Side.SELL}


class Teller:
    """Runs the commands of a scenario and tells what happens in the scenario's words."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.said: list[str] = []
        self.tops: dict[tuple[str, str], tuple[int, int] | None] = {}

    def place(self, user: str, symbol: str, price: str, qty: str, side: str, order: str) -> None:
        """Place an order; a price of 0 is a market order."""
        if symbol not in {instrument.symbol for instrument in self.engine.instruments}:
            self.engine.add_instrument(Instrument(symbol))
        order_id = _order_id(user, order)
        limit = None if price == "0" else price
        result = self.engine.submit(symbol, SIDES[side], qty=qty, price=limit, order_id=order_id)
        self.said.append(f"A, {user}, {order}")
        for trade in result.trades:
            pair = (order_id, trade.maker_id) if side == "B" else (trade.maker_id, order_id)
            self.said.append(f"T, {', '.join(map(_parties, pair))}, {trade.price_ticks}, {trade.qty_lots}")
        self.tell_tops(symbol)

    def cancel(self, user: str, order: str) -> None:
        """Cancel an order."""
        symbol = self.engine.order(_order_id(user, order)).instrument.symbol
        result: Result = self.engine.cancel(_order_id(user, order))
        assert result.status is Status.CANCELLED
        self.said.append(f"C, {user}, {order}")
        self.tell_tops(symbol)

    def tell_tops(self, symbol: str) -> None:
        """Tell which best prices and sizes have changed."""
        book = self.engine.book(symbol)
        for side, best in (("B", book.best_bid()), ("S", book.best_ask())):
            top = None if best is None else (best[0], best[1])
            if self.tops.get((symbol, side)) != top:
                self.tops[symbol, side] = top
                self.said.append(f"B, {side}, " + ("-, -" if top is None else f"{top[0]}, {top[1]}"))


def _order_id(user: str, order: str) -> int:
    return int(user) << 32 | int(order)


def _parties(order_id: int) -> str:
    return f"{order_id >> 32}, {order_id & 0xFFFFFFFF}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_output_is_the_official_one(recordings: Path, name: str) -> None:
    folder = recordings / "kraken_scenarios" / name
    teller = Teller()
    for line in (folder / "in.csv").read_text().splitlines():
        action, *fields = (field.strip() for field in line.split(","))
        if action == "N":
            teller.place(*fields)
        elif action == "C":
            teller.cancel(*fields)
        else:
            teller.engine.mass_cancel()
            teller.tops.clear()
    assert teller.said == (folder / "out.csv").read_text().splitlines()
    assert teller.engine.resting_orders == 0
    teller.engine.check()
