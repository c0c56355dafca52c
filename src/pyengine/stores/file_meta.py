"""What a log of trades can't say itself: the grids of its instruments, and which ids came out of order.

Kept beside it in a file of the same name with ``.meta`` behind it, one JSON object a line, written before the lines that need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pyengine.instrument import Instrument
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file_append import AppendFile, cut_unfinished
from pyengine.stores.file_ids import IdRanges
from pyengine.stores.json_form import instrument_value, read_instrument, read_object

_NO_DEFINITION = "0.00000001"


def meta_path(path: Path) -> Path:
    """Name the file beside a log."""
    return path.with_name(f"{path.name}.meta")


def same_grid(one: Instrument, other: Instrument) -> bool:
    """Whether decimals mean the same in ticks and lots; limits may change."""
    return one.tick_size == other.tick_size and one.lot_size == other.lot_size


class LogMeta:
    """Reads what is known beside a log.

    Attributes
    ----------
    instruments : dict of str to Instrument
        By symbol, as they were last written.
    late : IdRanges
        Holds every id that was written behind a higher one. It may hold others.

    Raises
    ------
    StoreDamaged
        A line is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = meta_path(path)
        self.instruments: dict[str, Instrument] = {}
        self.late = IdRanges()
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        for line in text.splitlines(keepends=True):
            if line.endswith(b"\n"):
                self._read(line, f"file store: {self.path}, byte {at}")
            at += len(line)

    def _read(self, line: bytes, place: str) -> None:
        fields = read_object(line, place)
        if "symbol" in fields:
            instrument = read_instrument(line, place)
            self.instruments[instrument.symbol] = instrument
            return
        first, last = fields.get("late_from"), fields.get("late_to")
        if type(first) is not int or type(last) is not int or not 0 < first <= last < 2**63:
            raise StoreDamaged(f"{place}: line must define an instrument or a range of late ids, was {line[:80]!r}")
        self.late.add_range(first, last)

    def instrument(self, symbol: str) -> Instrument:
        """Return the definition of a symbol; without one, a grid that most numbers are on."""
        return self.instruments.get(symbol) or Instrument(symbol, _NO_DEFINITION, _NO_DEFINITION)


class MetaFile(LogMeta):
    """Reads and writes it, as the one who may write to the log."""

    def __init__(self, path: Path) -> None:
        cut_unfinished(meta_path(path))
        super().__init__(path)
        self._file: AppendFile | None = None

    def add(self, instruments: Iterable[Instrument], late: tuple[int, int] | None, *, sync: bool) -> None:
        """Write what isn't known yet; everything, if somebody took the file away."""
        new = [each for each in instruments if self.instruments.get(each.symbol) != each]
        ranges = [] if late is None or self.late.covers(*late) else [late]
        known: Iterable[Instrument] = ()
        if self._file is None or self._file.moved():
            self.close()
            self._file = AppendFile(self.path)
            if self._file.size == 0:
                known, ranges = self.instruments.values(), [*self.late, *ranges]
        if not new and not known and not ranges:
            return
        text = b"".join(instrument_value(each) + b"\n" for each in (*known, *new))
        self._file.append(text + b"".join(b'{"late_from":%d,"late_to":%d}\n' % each for each in ranges))
        if sync:
            self._file.sync()
        self.instruments.update((each.symbol, each) for each in new)
        if ranges:
            # A new set, because readers use the old one without a lock.
            self.late = IdRanges(self.late, *ranges)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
