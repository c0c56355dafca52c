"""`make run-distributed`: every mode on real servers, and every layer read by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from stores.servers import run_sql

from examples import run_distributed
from pyengine import Action, Engine, Side
from pyengine.records import Records, make_commands
from pyengine.replay import open_tape, replay, write_commands
from pyengine.settings import Settings


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Write a small market of one instrument, in which a third of the orders trade."""
    rows: Records = make_commands(300)
    rows["action"] = Action.LIMIT
    rows["order_id"] = range(1, 301)
    rows["side"] = [Side.BUY, Side.BUY, Side.SELL] * 100
    rows["price_ticks"] = [100, 99, 99] * 100
    rows["qty_lots"] = [5, 7, 6] * 100
    rows["ts_ns"] = range(1_000, 1_300)
    write_commands(tmp_path / "market.parquet", rows)
    return tmp_path / "market.parquet"


@pytest.mark.usefixtures("servers_wanted")
def test_all_modes_agree(market: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_distributed.main([str(market)]) == 0
    text = capsys.readouterr().out
    for mode in ("development", "single node", "distributed"):
        assert mode in text
    assert "orders   memory → redis → postgres" in text
    assert "trades   memory → redis → postgres → file" in text
    counts = [line.split()[:4] for line in text.splitlines() if "yes" in line]
    assert [layer for layer, *_ in counts] == [
        *("memory", "file"),
        *("memory", "postgres", "file"),
        *("memory", "redis", "postgres", "file"),
    ]
    engine = Engine()
    trades = len(replay(market, engine).trades)
    expected = ("300", str(engine.resting_orders), str(trades))
    assert {tuple(rest) for layer, *rest in counts if layer != "file"} == {expected}
    assert "all layers agree" in text


def test_a_layer_that_holds_something_else_is_found(market: Path, postgres_database: str, tmp_path: Path) -> None:
    settings = Settings(database_enabled=True, database_url=postgres_database, trade_log_path=tmp_path / "trades.log")
    console = Console(width=120, record=True)
    assert run_distributed.run_mode(settings, {}, open_tape(market), console)
    (tmp_path / "trades.log").unlink()
    run_sql(postgres_database, "UPDATE orders SET order_id = 1000 WHERE order_id = 1")
    assert not run_distributed.run_mode(settings, {}, open_tape(market), console)
    last = console.export_text().splitlines()[-3:]
    assert [line.split()[0] + " " + line.split()[-1] for line in last] == ["memory yes", "postgres no", "file yes"]
