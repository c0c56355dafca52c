"""Names of users and instruments and the numbers that stand for them in records."""

cimport cython
from libc.stdint cimport UINT32_MAX
from pyengine._core.arguments cimport unsigned_field
from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument

cdef object check_user_name(object name):
    """Refuse what isn't a user's name: the same rule as for symbols."""
    if not isinstance(name, str):
        raise FieldTypeError("user", name, "a str or an int")
    if not 1 <= len(name) <= 255 or not name.isprintable():
        raise FieldError("user", name, "1 to 255 printable characters")
    return name


@cython.final
cdef class Names:
    """
    Tables of the users and instruments that records refer to by number.

    An engine has one, and lends it to its stores. Numbers are given in order and never change: instruments from 0, users
    from 1, because user 0 is nobody.

    Parameters
    ----------
    instruments : iterable of Instrument
    users : iterable of str

    Raises
    ------
    FieldTypeError, FieldError
        If something isn't an instrument or a name, or two instruments of one symbol differ.

    Notes
    -----
    Thread-safety: every method is atomic under the GIL. The tables only grow.
    """

    def __init__(self, instruments=(), users=()):
        self.instruments = []
        self.users = [None]
        self.instrument_indexes = {}
        self.user_indexes = {}
        for instrument in instruments:
            self.add_instrument(instrument)
        for user in users:
            self.add_user(user)

    @staticmethod
    def shared(list instruments not None, list users not None, dict instrument_indexes not None, dict user_indexes not None):
        """
        Make a view of tables that somebody else fills; they stay theirs. O(1).

        Parameters
        ----------
        instruments : list of Instrument
        users : list of str
            `users[0]` is never read.
        instrument_indexes, user_indexes : dict
            Number by symbol, number by name.
        """
        cdef Names names = Names.__new__(Names)
        names.instruments = instruments
        names.users = users
        names.instrument_indexes = instrument_indexes
        names.user_indexes = user_indexes
        return names

    def add_instrument(self, instrument):
        """
        Return the number of an instrument, a new one if its symbol is new. O(1).

        Raises
        ------
        FieldTypeError
            If it isn't an Instrument.
        FieldError
            If another instrument has this symbol.
        """
        return self.instrument_number(instrument, True)

    def add_user(self, name):
        """
        Return the number of a user, a new one if the name is new. O(1).

        Raises
        ------
        FieldTypeError, FieldError
            If it isn't a str of 1 to 255 printable characters.
        """
        if not isinstance(name, str):
            raise FieldTypeError("user", name, "a str")
        return self.user_number(name, True)

    def instrument_index(self, symbol):
        """Return the number of a symbol, or None. O(1)."""
        return self.instrument_indexes.get(symbol)

    def user_index(self, name):
        """Return the number of a user, or None. O(1)."""
        return self.user_indexes.get(name)

    def instrument(self, index):
        """Return the Instrument of a number, or None. O(1)."""
        return self.instrument_at(<uint32_t>unsigned_field("index", index, UINT32_MAX))

    def user(self, index):
        """Return the name of a user's number, or None. O(1)."""
        return self.user_at(<uint32_t>unsigned_field("index", index, UINT32_MAX))

    def __repr__(self):
        return f"<Names of {len(self.instruments)} instruments and {len(self.users) - 1} users>"

    cdef object instrument_at(self, uint32_t index):
        return self.instruments[index] if index < <size_t>len(self.instruments) else None

    cdef object user_at(self, uint32_t index):
        return self.users[index] if 0 < index < <size_t>len(self.users) else None

    cdef int64_t user_number(self, object user, bint add) except? -2:
        """Turn a name or a number into a number; -1 for a name that is unknown and isn't to be added."""
        cdef object found
        if user is None:
            return 0
        if isinstance(user, str):
            found = self.user_indexes.get(user)
            if found is not None:
                return found
            check_user_name(user)
            if not add:
                return -1
            if <size_t>len(self.users) > UINT32_MAX:
                raise FieldError("user", user, "one of the 2**32 - 1 names that the table can hold")
            self.user_indexes[user] = len(self.users)
            self.users.append(user)
            return len(self.users) - 1
        try:
            return <int64_t>unsigned_field("user", user, UINT32_MAX)
        except FieldTypeError:
            raise FieldTypeError("user", user, "a str or an int") from None

    cdef int64_t instrument_number(self, object instrument, bint add) except? -2:
        """Turn an Instrument into its number; -1 if it is unknown and isn't to be added."""
        cdef object found
        if instrument is self.last_instrument and instrument is not None:
            return self.last_number
        if not isinstance(instrument, Instrument):
            raise FieldTypeError("instrument", instrument, "an Instrument")
        found = self.instrument_indexes.get(instrument.symbol)
        if found is not None:
            if self.instruments[found] is not instrument and self.instruments[found] != instrument:
                raise FieldError("instrument", instrument, f"equal to the one known as {instrument.symbol}")
        elif not add:
            return -1
        else:
            found = len(self.instruments)
            self.instrument_indexes[instrument.symbol] = found
            self.instruments.append(instrument)
        self.last_instrument = instrument
        self.last_number = found
        return self.last_number
