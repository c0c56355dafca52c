"""The three deployment modes, one after the other, on real servers: `make run-distributed`.

PostgreSQL and Valkey come from Python packages and are started here, on free ports and in temporary folders. Each mode runs the
recorded market that comes with the package; then every layer is read by itself, through connections of its own, and has to
hold what memory holds. Nothing but variables of the environment differs between the modes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pyengine import Engine, Order, Trade, samples
from pyengine.logs import configure_logs
from pyengine.replay import ReplayReport, Tape, open_tape, replay
from pyengine.settings import Settings
from pyengine.stores.backends import postgres_pool, redis_connection
from pyengine.stores.build import Stores, build_stores
from pyengine.stores.file import FileTradeStore
from pyengine.stores.postgres import PostgresOrderStore, PostgresTradeStore
from pyengine.stores.redis import RedisOrderStore, RedisTradeStore

# The servers of the tests are the servers here; tests are no package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from stores.servers import PostgresServer, ValkeyServer

FLUSH_S = 120.0
MODES: Mapping[str, Mapping[str, str]] = {
    "development": {"DATABASE_ENABLED": "false", "REDIS_ENABLED": "false"},
    "single node": {"DATABASE_ENABLED": "true", "REDIS_ENABLED": "false"},
    "distributed": {"DATABASE_ENABLED": "true", "REDIS_ENABLED": "true"},
}


@dataclass
class Held:
    """What a layer holds; None where it keeps nothing of the kind."""

    layer: str
    orders: list[Order] | None
    trades: list[Trade] | None

    def same_as(self, memory: Held) -> bool:
        """Whether it is what memory holds: orders to the last bit, and all that a line of the file says of a trade."""
        trades = self.trades is None or [*map(said, self.trades)] == [*map(said, memory.trades or ())]
        return trades and self.orders in (None, memory.orders)


def said(trade: Trade) -> tuple[object, ...]:
    """Return what every layer keeps of a trade."""
    return trade.trade_id, trade.buy_order_id, trade.sell_order_id, trade.price, trade.qty, trade.ts_ns, trade.symbol, trade.side


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the modes and return the exit status: 0 if all layers agree, 1 if one doesn't."""
    parser = argparse.ArgumentParser(description="Run the three deployment modes on embedded servers.")
    parser.add_argument("market", nargs="?", type=Path, default=samples.path(), help="a recording instead of the bundled one")
    market: Path = parser.parse_args(arguments).market
    console = Console(width=120)
    agree = True
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        for mode, switches in MODES.items():
            postgres.execute("CREATE DATABASE matching_engine")
            with tempfile.TemporaryDirectory() as folder:
                places = {
                    "DATABASE_HOST": postgres.host,
                    "DATABASE_PORT": str(postgres.port),
                    "REDIS_HOST": valkey.host,
                    "REDIS_PORT": str(valkey.port),
                    "TRADE_LOG_PATH": str(Path(folder, "trades.log")),
                }
                settings = Settings.load({**switches, **places}, env_file=None)
                assert settings.mode == mode
                agree &= run_mode(settings, switches, open_tape(market), console)
            postgres.execute("DROP DATABASE matching_engine WITH (FORCE)")
            valkey.command("FLUSHALL")
    console.print("[green]all layers agree[/]" if agree else "[red]layers differ[/]")
    return 0 if agree else 1


def run_mode(settings: Settings, switches: Mapping[str, str], tape: Tape, console: Console) -> bool:
    """Run the market through one mode, print what its layers hold, and return whether they agree."""
    console.rule(f"[bold]{settings.mode}[/]  {' '.join(f'{name}={value}' for name, value in switches.items())}")
    with build_stores(settings) as stores:
        engine = Engine(order_store=stores.order_store, trade_store=stores.trade_store)
        report = replay(tape, engine, verify=bool(tape.checks()))
        start = time.perf_counter()
        engine.flush_stores(FLUSH_S)
        late = [name for flushed in stores.flush(FLUSH_S).values() for name in flushed.late]
        flush_s = time.perf_counter() - start
        memory = in_memory(stores, len(report.trades))
        engine.close()
    held = [memory, *read_layers(settings, len(report.trades))]
    print_mode(settings, report, held, flush_s, console)
    for name in late:
        console.print(f"[red]{name} was not given everything within {FLUSH_S:g} s[/]")
    right = report.verification is None or report.verification.ok
    return right and not late and all(layer.same_as(memory) for layer in held)


def in_memory(stores: Stores, trades: int) -> Held:
    """Read the layer that an engine writes within its calls."""
    order_store, trade_store = (getattr(store, "memory_layer", store) for store in (stores.order_store, stores.trade_store))
    return Held("memory", order_store.get_all(), trade_store.get_recent(trades))


def read_layers(settings: Settings, trades: int) -> Iterator[Held]:
    """Read each layer below, as somebody would who knows nothing of the engine."""
    if settings.redis_enabled:
        with redis_connection(settings) as connection:
            connection.read_timeout_s = FLUSH_S
            yield Held("redis", RedisOrderStore(connection).get_all(), RedisTradeStore(connection).get_recent(trades))
    if settings.database_enabled:
        with postgres_pool(settings) as pool:
            yield Held("postgres", PostgresOrderStore(pool=pool).get_all(), PostgresTradeStore(pool=pool).get_recent(trades))
    with FileTradeStore(settings.trade_log_path) as file:
        yield Held("file", None, file.get_recent(trades))


def print_mode(settings: Settings, report: ReplayReport, held: list[Held], flush_s: float, console: Console) -> None:
    """Print what was run, and what each layer holds."""
    verdict = "nothing to compare with"
    if report.verification is not None:
        verdict = "as recorded" if report.verification.ok else f"not as recorded: {report.verification.difference}"
    console.print(f"orders   {' → '.join(settings.order_layers)}\ntrades   {' → '.join(settings.trade_layers)}", highlight=False)
    speed = f"{report.engine_commands_per_s:,.0f} commands/s, everything in all layers {flush_s:.2f} s later"
    console.print(f"market   {report.commands:,} commands, {len(report.trades):,} trades, {verdict}; {speed}", highlight=False)
    table = Table("layer", "orders", "open", "trades", "newest trade", "as memory", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in held:
        orders = ("—", "—") if layer.orders is None else (f"{len(layer.orders):,}", f"{sum(o.is_open for o in layer.orders):,}")
        newest = "—" if not layer.trades else f"{layer.trades[0].trade_id}: {layer.trades[0].qty:f} at {layer.trades[0].price:f}"
        count = "—" if layer.trades is None else f"{len(layer.trades):,}"
        same = "[green]yes[/]" if layer.same_as(held[0]) else "[red]no[/]"
        table.add_row(layer.layer, *orders, count, newest, same)
    console.print(table)


if __name__ == "__main__":
    configure_logs("warning")
    raise SystemExit(main())
