"""Pictures of a replay: the trades over time between the best prices, and the book at the end."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyengine.optional import require
from pyengine.records import Side
from pyengine.replay.checks import Check, Moment
from pyengine.replay.tape import Prints

if TYPE_CHECKING:
    from pyengine.engine import Engine
    from pyengine.instrument import Instrument
    from pyengine.replay.run import ReplayReport

Floats = NDArray[np.float64]

BUY_COLOUR = "#0072b2"  # told apart by readers who can't tell red from green
SELL_COLOUR = "#d55e00"
_INK, _FAINT, _GRID = "#222222", "#6b6b6b", "#e4e4e4"
_INCHES = (12.0, 8.0)
_DPI = 130
_MAX_DOTS = 20_000
_DAY_NS = 86_400_000_000_000


class BestPrices(Check):
    """Watches the best bid and ask of one book during a replay, at a bounded number of moments.

    Parameters
    ----------
    rows : int
        Commands of the replay; 0 if that isn't known, and then every 16th batch is looked at.
    samples : int
        Moments, when `rows` is known.
    instrument : int
        Number of the book.
    """

    def __init__(self, rows: int, samples: int = 600, instrument: int = 0) -> None:
        super().__init__("best prices", np.unique(np.linspace(1, max(rows, 1), samples).astype(np.int64))[: rows or 0])
        self.instrument = instrument
        self._batches = 0
        self._by_batch = rows == 0
        self._rows: list[tuple[int, float, float]] = []

    def look(self, moment: Moment, index: int) -> None:  # noqa: ARG002  every point is looked at alike
        """Note the best prices. O(1)."""
        book = moment.engine.books[self.instrument]
        bid, ask = (np.nan if best is None else float(best[0]) for best in (book.best_bid(), book.best_ask()))
        self._rows.append((moment.ts_ns, bid, ask))

    def passed(self, moment: Moment) -> None:
        """Note the best prices after every 16th batch, where the number of commands wasn't known."""
        self._batches += 1
        if self._by_batch and self._batches % 16 == 0:
            self.look(moment, 0)

    def columns(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Give the times in nanoseconds, and the best bids and asks in ticks (NaN where there was none)."""
        times = np.array([row[0] for row in self._rows], np.int64)
        prices = np.array([row[1:] for row in self._rows], np.float64).reshape(-1, 2)
        return times, prices[:, 0], prices[:, 1]


def draw_replay(
    path: str | PathLike[str],
    report: ReplayReport,
    engine: Engine,
    *,
    prints: Prints | None = None,
    best: BestPrices | None = None,
    instrument: int = 0,
    levels: int = 250,
) -> None:
    """Draw the trades of a replay over time, and the book that it left.

    Parameters
    ----------
    path : str or path
        Where to write; the suffix says the format (.png, .svg, .pdf). Its folder is made if it isn't there.
    report : ReplayReport
        What the replay did.
    engine : Engine
        Where it was replayed.
    prints : Prints, optional
        Trades that the recording reported, drawn when the engine made none.
    best : BestPrices, optional
        The best prices during the replay.
    instrument : int
        Number of the book to draw.
    levels : int
        How many price levels of each side the picture of the book reaches.

    Raises
    ------
    MissingExtraError
        matplotlib isn't installed.
    """
    figure = require("matplotlib.figure", "plot").Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    traded, shown = report.instruments[instrument], engine.books[instrument]
    trades = report.trades[report.trades["instrument"] == instrument]
    if not len(trades) and prints is not None:
        columns = (prints.ts_ns, prints.price_ticks, prints.qty_lots, prints.side)
    else:
        columns = tuple(trades[name] for name in ("ts_ns", "price_ticks", "qty_lots", "side"))
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 2])
    _draw_trades(upper, traded, columns, best)
    _draw_book(lower, traded, shown.depth(), levels)
    dealt = f"{len(columns[0]):,} trades"
    figure.suptitle(
        f"{traded.symbol}    {report.commands:,} commands, {dealt}",
        x=0.01,
        ha="left",
        size=15,
        weight="bold",
        color=_INK,
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, facecolor="white")


def _draw_trades(axes: Any, traded: Instrument, columns: tuple[Any, ...], best: BestPrices | None) -> None:
    """Draw trades as dots, as large as they were, in the colour of the taker's side."""
    tick, lot = float(traded.tick_size), float(traded.lot_size)
    ts_ns, price, qty, side = (column[:: len(columns[0]) // _MAX_DOTS + 1] for column in columns)
    if best is not None:
        times, bids, asks = best.columns()
        moments = times.view("datetime64[ns]")
        for values, colour, label in ((asks, SELL_COLOUR, "best ask"), (bids, BUY_COLOUR, "best bid")):
            axes.plot(moments, values * tick, color=colour, lw=0.9, alpha=0.8, drawstyle="steps-post", label=label, zorder=1)
    area = 10 + 220 * qty / max(float(qty.max(initial=1)), 1.0)
    kinds = (
        (Side.BUY, BUY_COLOUR, "buyer took"),
        (Side.SELL, SELL_COLOUR, "seller took"),
        (0, _FAINT, "side not told"),
    )
    for code, colour, label in kinds:
        of_side = side == code
        if of_side.any():
            moments = ts_ns[of_side].astype("datetime64[ns]")
            axes.scatter(
                moments,
                price[of_side] * tick,
                s=area[of_side],
                color=colour,
                alpha=0.55,
                lw=0.4,
                ec="white",
                label=label,
                zorder=2,
            )
    if len(price):
        low, high = np.quantile(price, [0.001, 0.999]) * tick
        margin = max(0.08 * (high - low), 3 * tick)
        axes.set_ylim(low - margin, high + margin)
        largest = f"Trades over time (the largest dot: {float(qty.max()) * lot:,.8g})"
    else:
        largest = "No trades"
    _dress(axes, largest, _time_label(ts_ns), "price")
    dates = require("matplotlib.dates", "plot")
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))


def _draw_book(axes: Any, traded: Instrument, sides: Any, levels: int) -> None:
    """Draw how much stands between the middle and each price."""
    tick, lot = float(traded.tick_size), float(traded.lot_size)
    middle = [float(side["price_ticks"][0]) for side in sides if len(side)]
    centre = sum(middle) / len(middle) if middle else 0.0
    reach = max((abs(float(side["price_ticks"][:levels][-1]) - centre) for side in sides if len(side)), default=0.0)
    for side, colour, label in ((sides[0], BUY_COLOUR, "bids"), (sides[1], SELL_COLOUR, "asks")):
        near = side[np.abs(side["price_ticks"] - centre) <= reach]
        if not len(near):
            continue
        edge = centre + 1.05 * (reach if label == "asks" else -reach)
        prices = np.concatenate([near["price_ticks"][:1], near["price_ticks"], [edge]]) * tick
        total = np.cumsum(np.concatenate([[0.0], near["qty_lots"], [0.0]])) * lot
        axes.fill_between(prices, total, step="post", color=colour, alpha=0.22, lw=0)
        axes.step(prices, total, where="post", color=colour, lw=1.4, label=label)
    if reach:
        axes.set_xlim((centre - 1.05 * reach) * tick, (centre + 1.05 * reach) * tick)
        axes.set_ylim(bottom=0)
    counts = ", ".join(f"{len(side):,} {name} levels" for side, name in zip(sides, ("bid", "ask"), strict=True))
    heading = f"Book at the end: size up to each price ({counts} in all)" if middle else "The book is empty at the end"
    _dress(axes, heading, "price", "size")


def _dress(axes: Any, heading: str, x_label: str, y_label: str) -> None:
    """Give both parts the same quiet look."""
    axes.set_title(heading, loc="left", size=11, color=_FAINT)
    axes.set_xlabel(x_label, color=_FAINT)
    axes.set_ylabel(y_label, color=_FAINT)
    axes.grid(color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelcolor=_INK)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    for edge in ("left", "bottom"):
        axes.spines[edge].set_color(_GRID)
    if axes.get_legend_handles_labels()[1]:
        legend = axes.legend(frameon=False, ncols=5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([40])


def _time_label(ts_ns: Any) -> str:
    """Say what the time axis counts: recordings within a day of 1970 count from midnight."""
    if not len(ts_ns):
        return "time"
    first = ts_ns[:1].astype("datetime64[ns]")[0]
    return "time after midnight" if int(ts_ns[-1]) < _DAY_NS else f"time (UTC), {np.datetime_as_string(first, unit='D')}"
