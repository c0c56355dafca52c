"""Reads the log of trades, while it is written or long after: from any place on, filtered, as objects, arrays or Arrow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import numpy as np

from pyengine._core.json_lines import line_trade_ids
from pyengine._core.log_lines import trade_rows
from pyengine._core.names import Names
from pyengine._core.trade import Trade, trade_from_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.records import TRADE_DTYPE, Records
from pyengine.store_errors import StoreError, StoreUnavailable
from pyengine.stores.arguments import path_of, whole
from pyengine.stores.file_history import LogView, Section, blocks_backwards
from pyengine.stores.file_ids import IdRanges
from pyengine.stores.file_meta import LogMeta
from pyengine.stores.log_cursor import Block, LogCursor
from pyengine.stores.log_rows import DamagedLine, LogRows

_POLL_S = 0.05
_NEVER_NS = 2**63 - 1
_RECORD_BYTES = TRADE_DTYPE.itemsize


class FoundLine(NamedTuple):
    """A line of the log and where it is; `number` is that of its file."""

    number: int
    path: Path
    at: int
    text: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which trades are asked for."""

    symbol: str | None
    first_id: int
    last_id: int
    from_ns: int
    to_ns: int

    def choose(self, rows: Records, names: Names) -> Records:
        """Leave out the others."""
        fits: Any = rows["kind"] != 0
        if self.first_id > 1 or self.last_id < _NEVER_NS:
            fits = fits & (rows["trade_id"] >= self.first_id) & (rows["trade_id"] <= self.last_id)
        if self.from_ns > -_NEVER_NS or self.to_ns < _NEVER_NS:
            fits = fits & (rows["ts_ns"] >= self.from_ns) & (rows["ts_ns"] < self.to_ns)
        if self.symbol is not None:
            number = names.instrument_index(self.symbol)
            fits = fits & (rows["instrument"] == number) if number is not None else np.zeros(len(rows), np.bool_)
        return rows if fits.all() else rows[fits]


class Selection(TypedDict, total=False):
    """The parameters of `TradeLogReader.arrays`, which others hand on."""

    symbol: str | None
    first_id: int
    last_id: int
    from_ns: int
    to_ns: int
    follow: bool
    stop: threading.Event | None


class TradeLogReader:
    """Reads the trades of a log: the file that is written to and, before it, those that were closed, packed or not.

    Any number of readers may read a log while it is written, in other processes too; they see whole lines only. What is selected
    is the same for all forms: trades in the order of their lines.

    Parameters
    ----------
    path : path
        The file that is (or was) written to, as given to `FileTradeStore`.
    names : Names, optional
        Table of the instruments that arrays refer to. Default: a table of its own, filled as symbols are met.
    damaged : "raise" or "skip"
        What happens at a line that isn't a trade. Either way an unfinished last line is none: it isn't there yet.
    on_damaged : callable, optional
        Told of each line that is skipped, as a DamagedLine.
    rising_times : bool
        Whether times never fall along the log, so that one can be searched for. With False everything is read.

    Attributes
    ----------
    path : Path
    names : Names

    Raises
    ------
    FieldTypeError, FieldError
        A parameter can't be.

    Notes
    -----
    Not thread-safe; make one for each thread. Prices and sizes are read exactly, by the grids in ``trades.log.meta``; a symbol
    that has none there gets steps of 1e-8. Lines have neither the number of the event nor who was filled: both are 0.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        names: Names | None = None,
        damaged: Literal["raise", "skip"] = "raise",
        on_damaged: Callable[[DamagedLine], object] | None = None,
        rising_times: bool = True,
    ) -> None:
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        if damaged not in ("raise", "skip"):
            raise FieldError("damaged", damaged, "raise or skip")
        self.path = path_of(path)
        self.names = Names() if names is None else names
        self._rows = LogRows(self.path, self.names, skips=damaged == "skip", on_damaged=on_damaged)
        self._rising_times = rising_times

    @property
    def damaged(self) -> list[DamagedLine]:
        """Lines that were skipped, the first thousand of them."""
        return self._rows.damaged

    @property
    def damaged_count(self) -> int:
        """How many lines were skipped."""
        return self._rows.damaged_count

    def __iter__(self) -> Iterator[Trade]:
        """Give all trades."""
        return self.trades()

    def trades(self, **selected: Unpack[Selection]) -> Iterator[Trade]:
        """Give trades one by one, as `arrays` selects them."""
        instruments = self.names.instruments
        for rows in self.arrays(**selected):
            memory = rows.tobytes()
            for at, number in zip(range(0, len(memory), _RECORD_BYTES), rows["instrument"].tolist(), strict=True):
                yield trade_from_bytes(memory[at : at + _RECORD_BYTES], instruments[number])

    def arrays(
        self,
        *,
        symbol: str | None = None,
        first_id: int = 1,
        last_id: int = _NEVER_NS,
        from_ns: int = -_NEVER_NS,
        to_ns: int = _NEVER_NS,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[Records]:
        """Give trades as arrays of TRADE_DTYPE, about a megabyte of the log each.

        Parameters
        ----------
        symbol : str, optional
            What was traded.
        first_id, last_id : int
            Lowest and highest trade id, both included. The first one is searched for, not read up to.
        from_ns, to_ns : int
            Time since 1970 in nanoseconds: at `from_ns` or later, and before `to_ns`; searched for if times rise.
        follow : bool
            Whether to go on with what is written from now on, across files that are closed, until `stop` is set, `last_id` or
            `to_ns` is passed, or nobody takes what comes.
        stop : threading.Event, optional

        Raises
        ------
        FieldTypeError, FieldError
            A parameter can't be.
        StoreDamaged
            A line isn't a trade, unless such lines are skipped; or a packed file isn't whole.
        StoreUnavailable
            There is no log, or it can't be read.
        """
        wanted = _Wanted(
            symbol,
            whole("first_id", first_id, 0, _NEVER_NS),
            whole("last_id", last_id, 0, _NEVER_NS),
            whole("from_ns", from_ns, -_NEVER_NS, _NEVER_NS),
            whole("to_ns", to_ns, -_NEVER_NS, _NEVER_NS),
        )
        if symbol is not None and not isinstance(symbol, str):
            raise FieldTypeError("symbol", symbol, "a str")
        return self._arrays(wanted, (stop or threading.Event()) if follow else None)

    def _arrays(self, wanted: _Wanted, stop: threading.Event | None) -> Iterator[Records]:
        """Read on and on; without `stop`, to the end as it is."""
        with _reading(self.path), closing(LogCursor(self.path)) as cursor:
            late = LogMeta(self.path).late
            self._seek(cursor, wanted, late)
            while True:
                for block in cursor.blocks():
                    rows = self._rows.of_block(block)
                    chosen = wanted.choose(rows, self.names)
                    if len(chosen):
                        yield chosen
                    if self._is_past(rows, wanted, late):
                        return
                if stop is None or stop.wait(_POLL_S):
                    return

    def array(self, **selected: Unpack[Selection]) -> Records:
        """Return the selected trades as one array; parameters and errors are those of `arrays`."""
        return np.concatenate([np.zeros(0, TRADE_DTYPE), *self.arrays(**selected)])

    def batches(self, **selected: Unpack[Selection]) -> Iterator[Any]:
        """Give the selected trades as Arrow record batches, with exact decimals; parameters and errors are those of `arrays`.

        Columns: trade_id, buy_order_id, sell_order_id, price, quantity, timestamp, symbol and side, as the lines have them.

        Raises
        ------
        MissingExtraError
            pyarrow isn't installed.
        """
        from pyengine.stores.log_arrow import TradeBatches  # noqa: PLC0415  the base install has no Arrow

        batches = TradeBatches(self.names, LogMeta(self.path).instruments.values())
        return map(batches.make, self.arrays(**selected))

    def table(self, **selected: Unpack[Selection]) -> Any:
        """Return the selected trades as an Arrow table, as `batches` makes them."""
        from pyengine.stores.log_arrow import TradeBatches  # noqa: PLC0415

        batches = TradeBatches(self.names, LogMeta(self.path).instruments.values())
        return batches.table(map(batches.make, self.arrays(**selected)))

    def last(self, count: int, *, symbol: str | None = None) -> list[Trade]:
        """Return the newest trades by rising id, read from the end. O(answer), if all of them are of the symbol.

        Raises
        ------
        StoreDamaged, StoreUnavailable
            As `arrays` does.
        """
        wanted = _Wanted(symbol, 1, _NEVER_NS, -_NEVER_NS, _NEVER_NS)
        rows = self._last_rows(whole("count", count, 0, 2**63 - 1), wanted)
        instruments = self.names.instruments
        return [trade_from_bytes(row.tobytes(), instruments[row["instrument"]]) for row in rows]

    def _last_rows(self, count: int, wanted: _Wanted) -> Records:
        """Read backwards until no line before can have a higher id than the lowest of so many."""
        found = np.zeros(0, TRADE_DTYPE)
        if count == 0:
            return found
        with _reading(self.path):
            view, late = LogView(self.path), LogMeta(self.path).late
            with closing(view):
                for section in view.sections():
                    number = self._number_of(view, section)
                    for begin, text in blocks_backwards(section):
                        rows = self._rows.of_block(Block(number, section.path, begin, text))
                        found = np.concatenate((wanted.choose(rows, self.names), found))
                        ids = rows["trade_id"][rows["kind"] != 0].tolist()
                        sure = next((trade_id for trade_id in ids if trade_id not in late), None)
                        if sure is not None and int((found["trade_id"] >= sure).sum()) >= count:
                            return found[np.argsort(found["trade_id"], kind="stable")][-count:]
        return found[np.argsort(found["trade_id"], kind="stable")][-count:]

    def find(self, trade_id: int) -> FoundLine | None:
        """Find the line of a trade. O(log bytes) reads, if the log has few ids that came late.

        Raises
        ------
        StoreDamaged, StoreUnavailable
            As `arrays` does.
        """
        trade_id = whole("trade_id", trade_id, 1, _NEVER_NS)
        wanted = _Wanted(None, trade_id, trade_id, -_NEVER_NS, _NEVER_NS)
        with _reading(self.path), closing(LogCursor(self.path)) as cursor:
            late = LogMeta(self.path).late
            self._seek(cursor, wanted, late)
            for block in cursor.blocks():
                rows, ends = trade_rows(block.text, self.names, self._rows.number)
                self._rows.mend(block, rows, ends.tolist())
                for row in np.flatnonzero((rows["trade_id"] == trade_id) & (rows["kind"] != 0)).tolist():
                    begin = int(ends[row - 1]) if row else 0
                    return FoundLine(block.number, block.path, block.at + begin, block.text[begin : int(ends[row]) - 1])
                if self._is_past(rows, wanted, late):
                    return None
        return None

    # --- places -------------------------------------------------------------------------------------------------------

    def _seek(self, cursor: LogCursor, wanted: _Wanted, late: IdRanges) -> None:
        """Go to where the first wanted line may be."""
        begins = []
        if wanted.first_id > 1:
            # Ids that came late may be anywhere behind the first of their range, but never before it.
            first = next((low for low, high in late if low <= wanted.first_id <= high), wanted.first_id)
            cursor.seek(lambda line: None if (found := self._id_of(line)) == 0 else found >= first)
            begins.append((cursor.number, cursor.at))
        if self._rising_times and wanted.from_ns > -_NEVER_NS:
            cursor.seek(lambda line: None if (found := self._time_of(line)) is None else found >= wanted.from_ns)
            begins.append((cursor.number, cursor.at))
        if begins:
            cursor.begin(*max(begins))

    def _is_past(self, rows: Records, wanted: _Wanted, late: IdRanges) -> bool:
        """Whether nothing that is wanted can follow."""
        rows = rows[rows["kind"] != 0]
        if len(rows) == 0:
            return False
        newest = int(rows["trade_id"][-1])
        if newest >= wanted.last_id and newest not in late:
            return True
        return self._rising_times and int(rows["ts_ns"][-1]) >= wanted.to_ns

    @staticmethod
    def _id_of(line: bytes) -> int:
        """Read the id of a line; 0 for one that search shouldn't trust."""
        ids = line_trade_ids(line)
        return int(ids[0]) if len(ids) else 0

    def _time_of(self, line: bytes) -> int | None:
        """Read the time of a line; None for one that search shouldn't trust."""
        rows, _ = trade_rows(line, self.names, self._rows.number)
        return int(rows["ts_ns"][0]) if len(rows) and rows["kind"][0] else None

    @staticmethod
    def _number_of(view: LogView, section: Section) -> int:
        """Say which file of a view a section is."""
        if section is view.current:
            return view.closed[-1][0] + 1 if view.closed else 1
        return int(section.path.name.removesuffix(".zst").rpartition(".")[2])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors of the system into those of stores."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"file store: read {path}: {error.strerror or error}") from error
