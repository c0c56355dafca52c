"""Every error that pyengine raises on purpose."""

from __future__ import annotations


class PyengineError(Exception):
    """Base of all errors of this package."""


class FieldError(PyengineError, ValueError):
    """A value that a caller gave is not acceptable; nothing was changed.

    Attributes
    ----------
    field : str
        Name of the argument or record field.
    value : object
        What was given.
    expected : str
        What would have been accepted.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{field} must be {expected}, was {_shown(value)}")

    def __reduce__(self) -> tuple[type, tuple[str, object, str]]:
        """Pickle by the three parts, as the message is made from them."""
        return type(self), (self.field, self.value, self.expected)


class FieldTypeError(FieldError, TypeError):
    """A value that a caller gave is of the wrong type; nothing was changed."""


class UnknownInstrument(PyengineError, KeyError):
    """No instrument of this symbol or index has been added to the engine."""

    def __str__(self) -> str:
        """Say it plainly; KeyError would show the quoted repr."""
        return str(self.args[0])


class InvariantError(PyengineError, AssertionError):
    """A structure is not as its invariants say. It is a bug in pyengine; please report it."""


class SnapshotError(PyengineError, ValueError):
    """Bytes that are no snapshot, or a damaged one; no engine was made of them."""


class RecoveryError(PyengineError, ValueError):
    """An event can't follow the state that it was to be applied to.

    Attributes
    ----------
    seq : int
        Its sequence number.
    expected : str
        What would have been accepted.
    """

    def __init__(self, seq: int, expected: str) -> None:
        self.seq = seq
        self.expected = expected
        super().__init__(f"event {seq} must {expected}, did not")

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        """Pickle by the two parts, as the message is made from them."""
        return type(self), (self.seq, self.expected)


class RingFullError(PyengineError, TimeoutError):
    """A required consumer of the event ring didn't make room in time; the command was not run."""


class EngineClosed(PyengineError, RuntimeError):
    """The engine or the consumer was closed before this call."""


class EngineBusy(PyengineError, RuntimeError):
    """The engine was called from within its own call, which would wait for ever."""


def _shown(value: object, limit: int = 120) -> str:
    """Show a value, cut to a bounded length."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  a broken __repr__ must not hide the real complaint
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[:limit] + "…"
