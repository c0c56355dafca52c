"""Databento's market-by-order recordings: DBN files, and the same as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal as Number
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine.errors import FieldError
from pyengine.instrument import Instrument
from pyengine.optional import require
from pyengine.records import Side
from pyengine.replay.checks import Check, DepthCheck, DepthRows, FillsCheck
from pyengine.replay.compression import bare_name, read_all
from pyengine.replay.errors import ReplayError, shown
from pyengine.replay.feed import BookEvents, Mapped, Op, map_events
from pyengine.replay.kinds import Code, Decimal, Integer, Ints, Kind, Time, Word
from pyengine.replay.tape import PlainTape, Prints
from pyengine.replay.text import csv_header, read_csv

_NO_PRICE = 2**63 - 1
_PLACES = 9  # prices are whole billionths
_TRADE = 6  # beside the ops of a feed: a trade as such, which changes no order

_ACTIONS = {
    "A": int(Op.ADD),
    "C": int(Op.REDUCE),
    "M": int(Op.CHANGE),
    "R": int(Op.CLEAR),
    "F": int(Op.FILL),
    "T": _TRADE,
    "N": int(Op.NOTHING),
}
_SIDES = {"B": int(Side.BUY), "A": int(Side.SELL), "N": 0}

_MBO_RTYPE = 160
_MBO_WORDS = 14  # length of a record, in words of four bytes
_MBO_FIELDS = [
    ("length", "u1", 0),
    ("rtype", "u1", 1),
    ("instrument_id", "<u4", 4),
    ("ts_event", "<i8", 8),
    ("order_id", "<u8", 16),
    ("price", "<i8", 24),
    ("size", "<u4", 32),
    ("action", "u1", 38),
    ("side", "u1", 39),
    ("ts_recv", "<i8", 40),
    ("sequence", "<u4", 52),
]

_CSV: Mapping[str, Kind] = {
    "ts_recv": Time(),
    "ts_event": Time(),
    "action": Code(_ACTIONS),
    "side": Code(_SIDES),
    "price": Decimal(_PLACES, blank=0),
    "size": Integer(),
    "order_id": Integer("<u8"),
    "sequence": Integer("<u4"),
}
_CSV_OPTIONAL: Mapping[str, Kind] = {"instrument_id": Integer("<u4"), "symbol": Word()}


@dataclass(frozen=True)
class _Recording:
    """The rows of a recording, a column each, and the symbols of its instruments by their ids."""

    columns: Mapping[str, Ints]
    symbols: Mapping[int, str]

    def __getitem__(self, name: str) -> Ints:
        return self.columns[name]


def mbo_tape(path: Path, *, expected: Path | None = None, instrument: Instrument | None = None) -> PlainTape:
    """Open a market-by-order recording.

    Parameters
    ----------
    path : Path
        A DBN file with MBO records, or a CSV file of them; packed or not.
    expected : Path, optional
        A CSV file of market-by-price records (MBP) that the book must show, one after each event that it lists. If it
        isn't given, a file beside `path` whose name has ``mbp`` for ``mbo`` is taken when there is one.
    instrument : Instrument, optional
        What is traded, for a recording of one instrument. By default the symbol is the recording's, and the tick the
        largest step that all prices are multiples of.

    Returns
    -------
    PlainTape
        Its time is `ts_recv`.

    Raises
    ------
    ReplayError
        A file is damaged, lacks columns, or isn't consistent.
    """
    rows = _read_dbn(path) if bare_name(path).endswith(".dbn") else _read_csv(path)
    instruments, ticks, numbers = _instruments(path, rows, instrument)
    is_trade = rows["action"] == _TRADE
    events = BookEvents(
        op=np.where(is_trade, Op.NOTHING, rows["action"]),
        order_id=rows["order_id"],
        side=rows["side"],
        price_ticks=rows["price"] // ticks[numbers],
        qty_lots=rows["size"].astype(np.int64),
        ts_ns=rows["ts_recv"],
        instrument=numbers.astype(np.uint32),
    )
    mapped = map_events(events)
    if mapped.excess >= 0:
        raise ReplayError(path, "at most what its order has open", "more", row=mapped.excess + 1, column="size")
    prints = Prints(*(column[is_trade] for column in (events.ts_ns, events.price_ticks, events.qty_lots, events.side)))
    expectations = _fills(events, mapped)
    book = expected or _beside(path)
    if book is not None:
        if len(instruments) != 1:
            found = f"of {len(instruments)}"
            raise ReplayError(path, "of one instrument, to be compared with levels", found, subject="recording")
        depth, points = _expected_depth(path, book, rows, mapped.run_after, int(ticks[0]))
        expectations.append(lambda: DepthCheck(depth, points, label="book after each event"))
    return PlainTape(path.name, instruments, mapped.commands, prints=prints, expectations=expectations)


def _read_csv(path: Path) -> _Recording:
    columns = read_csv(path, _CSV, optional=_CSV_OPTIONAL)
    columns.setdefault("instrument_id", np.zeros(len(columns["action"]), np.uint32))
    symbols = {}
    if "symbol" in columns:
        ids, first = np.unique(columns["instrument_id"], return_index=True)
        symbols = {int(ids[k]): bytes(columns["symbol"][first[k]]).decode(errors="replace") for k in range(len(ids))}
    return _Recording(columns, {key: symbol for key, symbol in symbols.items() if symbol})


def _read_dbn(path: Path) -> _Recording:
    """Read a DBN file: its header by Databento's library, its records as the array that they are."""
    raw = read_all(path)
    size = 8 + int.from_bytes(raw[4:8], "little")
    if not raw.startswith(b"DBN") or len(raw) < size:
        raise ReplayError(path, "a whole DBN file", f"{len(raw)} bytes that start with {shown(raw[:8])}")
    dbn = require("databento_dbn", "databento")
    decoder = dbn.DBNDecoder()
    try:
        decoder.write(raw[:size])
        metadata = decoder.decode()[0]
    except (dbn.DBNError, ValueError, IndexError) as error:
        raise ReplayError(path, "a DBN header", f"damaged ({error})") from error
    records = _mbo_records(path, raw, size)
    columns = {name: records[name] for name, _, _ in _MBO_FIELDS}
    columns["action"] = _letters(path, "action", records, _ACTIONS)
    columns["side"] = _letters(path, "side", records, _SIDES)
    columns["price"] = np.where(records["price"] == _NO_PRICE, 0, records["price"])
    return _Recording(columns, _symbols(metadata))


def _mbo_records(path: Path, raw: bytes, start: int) -> NDArray[np.void]:
    """View the records; those of other kinds (system messages, definitions) are skipped."""
    end = len(raw)
    words = raw[start] if start < end else _MBO_WORDS
    dtype = _record_dtype(max(words, _MBO_WORDS))
    if (end - start) % dtype.itemsize == 0:
        records = np.frombuffer(raw, dtype, offset=start)
        if ((records["length"] == words) & (records["rtype"] == _MBO_RTYPE)).all():
            return records
    found: list[bytes] = []
    at = start
    while at < end:
        length = 4 * raw[at]
        if length == 0 or at + length > end:
            raise ReplayError(path, "a whole record", f"cut off at byte {at} of {end}", row=len(found) + 1)
        if raw[at + 1] == _MBO_RTYPE:
            if length < 4 * _MBO_WORDS:
                raise ReplayError(path, f"{4 * _MBO_WORDS} bytes", str(length), row=len(found) + 1)
            found.append(raw[at : at + 4 * _MBO_WORDS])
        at += length
    return np.frombuffer(b"".join(found), _record_dtype(_MBO_WORDS))


def _record_dtype(words: int) -> np.dtype[np.void]:
    """Describe a record; one with the gateway's time appended is longer."""
    names, formats, offsets = (list(part) for part in zip(*_MBO_FIELDS, strict=True))
    spec: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": 4 * words}
    dtype: np.dtype[np.void] = np.dtype(spec)
    return dtype


def _letters(path: Path, name: str, records: NDArray[np.void], codes: Mapping[str, int]) -> Ints:
    """Turn letters into codes by a table of 256."""
    table = np.full(256, 255, np.uint8)
    for letter, code in codes.items():
        table[ord(letter)] = code
    values: Ints = table[records[name]]
    bad = values == 255
    if bad.any():
        row = int(bad.argmax())
        raise ReplayError(path, f"one of {', '.join(codes)}", shown(chr(records[name][row])), row=row + 1, column=name)
    return values


def _symbols(metadata: Any) -> dict[int, str]:
    """Read which symbol each instrument id had, from whichever of both the header maps to the other."""
    symbols: dict[int, str] = {}
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            if interval["symbol"].isdigit():
                symbols[int(interval["symbol"])] = symbol
            elif symbol.isdigit():
                symbols[int(symbol)] = interval["symbol"]
    return symbols


def _instruments(path: Path, rows: _Recording, instrument: Instrument | None) -> tuple[list[Instrument], Ints, Ints]:
    """Describe the instruments; give with them each one's tick in billionths, and each row's instrument number."""
    ids, numbers = np.unique(rows["instrument_id"], return_inverse=True)
    ticks, lowest = np.ones(len(ids), np.int64), np.ones(len(ids), np.int64)
    # Only orders have prices on the grid; trades may be off it.
    priced = np.flatnonzero((rows["action"] == Op.ADD) | (rows["action"] == Op.CHANGE))
    priced = priced[np.argsort(numbers[priced], kind="stable")]
    if len(priced):
        with_orders, starts = np.unique(numbers[priced], return_index=True)
        prices = rows["price"][priced]
        ticks[with_orders] = np.maximum(np.gcd.reduceat(prices, starts), 1)
        lowest[with_orders] = np.minimum.reduceat(prices, starts)
    if instrument is None:
        described = zip(_names(ids.tolist(), rows.symbols), ticks.tolist(), (lowest // ticks).tolist(), strict=True)
        return [_instrument(path, *one) for one in described], ticks, numbers
    if len(ids) > 1:
        raise ReplayError(path, "of one instrument, as one was given", f"of {len(ids)}", subject="recording")
    given = int(instrument.tick_size.scaleb(_PLACES))
    if given < 1 or (ticks % given).any():
        expected = f"multiples of the tick size {instrument.tick_size:f}"
        raise ReplayError(path, expected, f"multiples of {ticks.sum()} billionths", column="price")
    return [instrument], np.array([given]), numbers


def _names(ids: list[int], symbols: Mapping[int, str]) -> list[str]:
    """Name the instruments; one whose symbol is unknown or taken, as a rolled contract's may be, by its id."""
    named: dict[str, int] = {}
    for key in ids:
        symbol = symbols.get(key, str(key))
        named[symbol if symbol not in named else f"{symbol}.{key}"] = key
    return list(named)


def _instrument(path: Path, symbol: str, tick: int, lowest_ticks: int) -> Instrument:
    """Describe one instrument; prices below one tick are allowed where they occur."""
    tick_size = Number(tick).scaleb(-_PLACES).normalize()
    try:
        return Instrument(symbol, tick_size, 1, min_price=lowest_ticks * tick_size if lowest_ticks < 1 else None)
    except FieldError as error:
        raise ReplayError(path, error.expected, shown(str(error.value)), subject=f"instrument's {error.field}") from error


def _fills(events: BookEvents, mapped: Mapped) -> list[Callable[[], Check]]:
    """Make the check of the reported fills, if there are any."""
    fills = np.flatnonzero(events.op == Op.FILL)
    following = mapped.next_of_order[fills]
    after = np.where(following < 0, -1, mapped.run_after[following])
    if not len(fills):
        return []
    return [lambda: FillsCheck(events.order_id[fills], events.qty_lots[fills], mapped.run_after[fills], after)]


def _beside(path: Path) -> Path | None:
    """Find the levels that go with a recording, by their names."""
    other = path.with_name(path.name.replace("mbo", "mbp"))
    return other if "mbo" in path.name and bare_name(other).endswith(".csv") and other.is_file() else None


def _expected_depth(path: Path, book: Path, rows: _Recording, run_after: Ints, tick: int) -> tuple[DepthRows, NDArray[np.int64]]:
    """Read the levels, and find after how many commands each row holds."""
    levels = sum(name.startswith("bid_px_") for name in csv_header(book))
    kinds: dict[str, Kind] = {name: _CSV[name] for name in ("ts_event", "action", "size", "sequence")}
    for side in ("bid", "ask"):
        for level in range(max(levels, 1)):
            kinds[f"{side}_px_{level:02d}"] = Decimal(_PLACES, blank=0)
            kinds[f"{side}_sz_{level:02d}"] = Integer(blank=0)
            kinds[f"{side}_ct_{level:02d}"] = Integer(blank=0)
    table = read_csv(book, kinds, optional={"order_id": Integer("<u8", blank=0)})
    cube = {
        what: np.stack(
            [[table[f"{side}_{what}_{level:02d}"] for level in range(levels)] for side in ("bid", "ask")], axis=0
        ).transpose(2, 0, 1)
        for what in ("px", "sz", "ct")
    }
    events = _align(path, book, rows, table)
    return DepthRows(cube["px"] // tick, cube["sz"], cube["ct"]), run_after[events]


def _align(path: Path, book: Path, rows: _Recording, table: Mapping[str, Ints]) -> NDArray[np.int64]:
    """Find the row that each row of levels follows: for a trade the last of its event, as its fills come off there."""
    names = [name for name in ("sequence", "ts_event", "action", "size", "order_id") if name in table]
    events = list(zip(*(rows[name].tolist() for name in names), strict=True))
    wanted = list(zip(*(table[name].tolist() for name in names), strict=True))
    found = np.zeros(len(wanted), np.int64)
    at = -1
    for row, key in enumerate(wanted):
        try:
            at = events.index(key, at + 1)
        except ValueError:
            raise ReplayError(book, f"an event of {path.name}", "not among the next ones", row=row + 1) from None
        end = at
        if key[2] == _TRADE:
            while end + 1 < len(events) and events[end + 1][:2] == key[:2] and events[end + 1][2] in {Op.FILL, Op.REDUCE}:
                end += 1
        found[row] = end
    return found
