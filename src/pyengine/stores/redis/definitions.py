"""Instruments beside the records that need them, so that another process can read those."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from pyengine._core.names import Names
from pyengine._core.order import Order, order_from_bytes
from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import Records
from pyengine.store_errors import StoreDamaged
from pyengine.stores.json_form import instrument_value, read_instrument
from pyengine.stores.redis.exchange import Exchange, Steps, pack_command, refuse_errors
from pyengine.stores.redis.replies import ReplyError, code_of, store_error

_NUMBERS = struct.Struct("<II")
_FIELDS: Any = ORDER_RECORD_DTYPE.fields
_NUMBERS_AT: int = _FIELDS["instrument"][1]
"""Where the number of its instrument, and behind it that of its user, stand in the record of an order."""


class Definitions:
    """The names of a store, and the hash `instruments` in Redis: symbol to JSON.

    Parameters
    ----------
    names : Names or None
    key : bytes
        Of the hash.
    address : str

    Notes
    -----
    Thread-safety: any thread may use it; two that learn of an instrument at once both write the same.
    """

    def __init__(self, names: Names | None, key: bytes, address: str) -> None:
        if names is not None and not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names or None")
        self.names = Names() if names is None else names
        self.key = key
        self.lent = False
        self.used = False
        self._address = address
        self._written: set[int] = set()
        self._known: dict[str, Instrument] = {}
        self._learnt: dict[str, int] = {}

    def attach(self, names: Names) -> None:
        """Take over the tables of an engine, which stay the engine's."""
        if not isinstance(names, Names):
            raise FieldTypeError("names", names, "Names")
        if self.names is not names:
            if self.lent:
                raise FieldError("names", names, "those of the engine that the store belongs to")
            if self.used:
                raise FieldError("names", names, "given before anything was stored, or when the store is made")
        self.names = names
        self.lent = True

    def forget(self) -> None:
        """Note that the hash is gone."""
        self._written.clear()

    def write(self, rows: Records, what: str) -> Steps[None]:
        """See to it that the instruments of records are defined in Redis, as they are here; what is no definition gives way.

        Parameters
        ----------
        rows : array of records
        what : str
            The operation, for messages.

        Raises
        ------
        FieldError
            Redis has another instrument of the same symbol.
        """
        self.used = True
        numbers = rows["instrument"]
        first = int(numbers[0])
        same = len(numbers) == 1 or bool((numbers == first).all())
        new = ({first} if same else set(np.unique(numbers).tolist())) - self._written
        for number in sorted(new):
            yield from self._write_one(self.names.instruments[number], what)
        self._written |= new

    def _write_one(self, instrument: Instrument, what: str) -> Steps[None]:
        symbol = instrument.symbol.encode()
        put = pack_command((b"HSETNX", self.key, symbol, instrument_value(instrument)))
        get = pack_command((b"HGET", self.key, symbol))
        replies = yield Exchange(what, [put, get], write=True)
        if isinstance(replies[0], ReplyError) and code_of(replies[0]) == "WRONGTYPE":
            replies = yield Exchange(what, [pack_command((b"DEL", self.key)), put, get], write=True)
        refuse_errors(replies, what, self._address)
        try:
            found = read_instrument(replies[-1], self._place(instrument.symbol))
        except StoreDamaged:
            replies = yield Exchange(what, [pack_command((b"HSET", self.key, symbol, instrument_value(instrument)))], write=True)
            refuse_errors(replies, what, self._address)
            return
        if found != instrument:
            raise FieldError("instrument", instrument, f"equal to the one in {self._place(instrument.symbol)}, {found!r}")

    def read(self, symbols: Iterable[str], what: str) -> Steps[dict[str, Instrument]]:
        """Return the instruments of symbols, as they are known here or defined in Redis.

        Raises
        ------
        StoreDamaged
            A definition is in neither place, can't be read, or isn't the one that is known here.
        """
        wanted = set(symbols)
        new = sorted(wanted.difference(self._known))
        found = {symbol: self._known[symbol] for symbol in wanted if symbol in self._known}
        if new:
            command = pack_command((b"HMGET", self.key, *(symbol.encode() for symbol in new)))
            (reply,) = yield Exchange(what, [command])
            if isinstance(reply, ReplyError):
                raise self._damage(reply, what) from reply
            for symbol, text in zip(new, reply, strict=True):
                found[symbol] = self._learn(symbol, text)
        return found

    def _damage(self, reply: Any, what: str) -> Exception:
        if code_of(reply) == "WRONGTYPE":
            return StoreDamaged(f"redis at {self._address}, key {self.key.decode()}: must be a hash, was another type")
        return store_error(reply, what, self._address)

    def _learn(self, symbol: str, text: bytes | None) -> Instrument:
        """Take in a definition, or do without."""
        number = self.names.instrument_index(symbol)
        ours = None if number is None else self.names.instruments[number]
        place = self._place(symbol)
        if text is None:
            if ours is None:
                raise StoreDamaged(f"{place}: must be the definition of an instrument, was missing")
            return ours
        instrument = read_instrument(text, place)
        if instrument.symbol != symbol:
            raise StoreDamaged(f"{place}: symbol must be {symbol}, was {instrument.symbol}")
        if ours is not None and ours != instrument:
            raise StoreDamaged(f"{place}: instrument must be {ours!r}, as the store knows it, was {instrument!r}")
        if ours is None and not self.lent:
            self.names.add_instrument(instrument)
        self._known[symbol] = ours or instrument
        self._learnt.setdefault(symbol, len(self._learnt))
        return ours or instrument

    def rank(self, symbol: str) -> int:
        """Return the place of a symbol among all that the store has learnt: by number, those without one behind them."""
        number = self.names.instrument_index(symbol)
        return len(self.names.instruments) + self._learnt[symbol] if number is None else number

    def number_of(self, instrument: Instrument) -> int:
        """Return the number of an instrument in `names`, 0 if it has none there."""
        return self.names.instrument_index(instrument.symbol) or 0

    def numbered(self, order: Order) -> Order:
        """Return an order with the numbers that its user and its instrument have in `names`; 0 where they have none."""
        user = order.user
        number = 0
        if isinstance(user, str):
            known = self.names.user_index(user)
            number = known if known is not None else 0 if self.lent else self.names.add_user(user)
        instrument = order.instrument
        if instrument is None or (number == 0 and self.number_of(instrument) == 0):
            return order
        record = bytearray(bytes(order))
        _NUMBERS.pack_into(record, _NUMBERS_AT, self.number_of(instrument), number)
        return order_from_bytes(bytes(record), user, instrument)

    def _place(self, symbol: str) -> str:
        return f"redis at {self._address}, key {self.key.decode()}, field {symbol}"
