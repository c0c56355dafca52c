"""The kinds of values that settings have: how each is read, what is refused, and how it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, PlainSerializer, Secret, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

HIDDEN = "***"
"""What stands where a secret would."""

_UNITS_US = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 64
"""Characters of a duration; enough for any that is meant."""

_LOGIN = re.compile(r"://[^@\s]*@")
_SECRET_QUERY = re.compile("pass|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a value has to be, for the message that refuses another one."""

    text: str


class Unfit(ValueError):
    """A value that is one of its kind, but doesn't go with the others."""

    def __init__(self, expected: str) -> None:
        self.expected = expected
        super().__init__(expected)


def parse_duration(value: object) -> object:
    """Read a duration as Go writes it: "5m", "1h30m", "1.5s", "500ms"; "0" needs no unit, other numbers do.

    Parameters
    ----------
    value : object
        Text; anything else is handed on as it is.

    Raises
    ------
    ValueError
        The text is no duration.
    """
    if not isinstance(value, str):
        if isinstance(value, timedelta):
            return value
        raise ValueError("not a duration")
    text = value.strip()
    if text == "0":
        return timedelta(0)
    terms = _TERM.findall(text) if len(text) <= _LONGEST else []
    if not terms or "".join(number + unit for number, unit in terms) != text:
        raise ValueError("not a duration")
    try:
        return timedelta(microseconds=int(sum(Decimal(number) * _UNITS_US[unit] for number, unit in terms)))
    except OverflowError:
        raise ValueError("too long") from None


def show_duration(value: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, exactly and in the fewest units: "1h30m", "500ms", "0s"."""
    rest = round(value / timedelta(microseconds=1))
    shown = ""
    for unit, size in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)):
        count, rest = divmod(rest, size)
        if count:
            shown += f"{count}{unit}"
    return shown or "0s"


def show_size(value: int) -> str:
    """Write a number of bytes exactly, in the largest unit that divides it: "64MiB", "1GiB", "1500"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def hide_passwords(url: str) -> str:
    """Return a URL without its passwords; of one that can't be taken apart safely, only the scheme."""
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return HIDDEN
    address, question, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    # A password with a bare / or ? in it would go on in the path or the query.
    if "@" in path or "@" in query or "#" in rest:
        return f"{scheme}://{HIDDEN}"
    login, at, hosts = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    shown = [(name, HIDDEN if _SECRET_QUERY.search(name) else value) for name, value in parse_qsl(query, keep_blank_values=True)]
    secret = f":{HIDDEN}" if colon else ""
    return f"{scheme}://{user}{secret}{at}{hosts}{slash}{path}{question}{urlencode(shown, safe='*/:,')}"


class SecretUrl(Secret[str]):
    """A URL that may hold a password, which is never shown; `get_secret_value` has it all."""

    def _display(self) -> str:
        return hide_passwords(self.get_secret_value())


def show(value: object) -> str:
    """Write a value as its variable would have it, secrets hidden."""
    match value:
        case None:
            text = ""
        case bool():
            text = str(value).lower()
        case timedelta():
            text = show_duration(value)
        case ByteSize():
            text = show_size(value)
        case SecretStr():
            text = HIDDEN if value.get_secret_value() else ""
        case tuple():
            text = ",".join(map(show, value))
        case SecretUrl():
            text = str(value)
        case _:
            text = _LOGIN.sub(f"://{HIDDEN}@", str(value))
    return text


def show_given(value: object, field: FieldInfo, limit: int = 120) -> str:
    """Write what was given for a field, for a message: cut to a bounded length, secrets hidden."""
    kinds = (field.annotation, *get_args(field.annotation))
    if isinstance(value, (Secret, SecretStr)) or SecretStr in kinds:
        return repr(HIDDEN)
    text = value if isinstance(value, str) else None
    if text is not None:
        # A URL with a password is easily put where only a host should be.
        value = hide_passwords(text) if SecretUrl in kinds else _LOGIN.sub(f"://{HIDDEN}@", text)
    shown = repr(value)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _listed(value: object) -> object:
    """Take a text with commas for the list that it stands for."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _url_of(*schemes: str) -> AfterValidator:
    def check(url: SecretUrl | None) -> SecretUrl | None:
        scheme, _, rest = ("", "", "") if url is None else url.get_secret_value().partition("://")
        if url is not None and (scheme not in schemes or not rest or str(url) == f"{scheme}://{HIDDEN}"):
            raise ValueError("not such a URL")
        if url is not None:
            # Refuses what looks like an IPv6 address and isn't one, such as a password with a bracket.
            urlsplit(url.get_secret_value())
        return url

    return AfterValidator(check)


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("not a power of two")
    return value


_Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(show_duration, when_used="json")]
_MS, _S, _DAY = timedelta(milliseconds=1), timedelta(seconds=1), timedelta(days=1)

Switch = Annotated[bool, BeforeValidator(_lowered), Expected("true or false")]
Host = Annotated[
    str,
    BeforeValidator(_stripped),
    Field(pattern=r"^[A-Za-z0-9._:%/-]{1,255}$"),
    Expected("the name or address of a host, or the folder of a Unix socket"),
]
Port = Annotated[int, Field(ge=1, le=65_535), Expected("a port from 1 to 65535")]
Identifier = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,63}$"), Expected("a name of 1 to 63 characters")]
Prefix = Annotated[str, Field(pattern=r"^[!-~]{0,255}$"), Expected("at most 255 printable characters without blanks")]
LogName = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{0,255}$"), Expected("at most 255 printable characters")]
Password = Annotated[SecretStr, Field(max_length=1_024), Expected("a text of at most 1024 characters")]
Connections = Annotated[int, Field(ge=1, le=10_000), Expected("a whole number from 1 to 10000")]
SpareConnections = Annotated[int, Field(ge=0, le=10_000), Expected("a whole number from 0 to 10000")]
Timeout = Annotated[_Duration, Field(ge=_MS, le=3_600 * _S), Expected("a duration from 1ms to 1h, such as 5s or 500ms")]
Lifetime = Annotated[_Duration, Field(ge=0 * _S, le=3_650 * _DAY), Expected("a duration such as 5m or 1h30m, or 0 for no limit")]
Age = Annotated[_Duration, Field(ge=_S, le=3_650 * _DAY), Expected("a duration from 1s on, such as 24h or 1h30m")]
Length = Annotated[int, Field(ge=1, le=100_000_000), Expected("a whole number from 1 to 100000000")]
Attempts = Annotated[int, Field(ge=1, le=1_000_000), Expected("a whole number from 1 to 1000000")]
RingCapacity = Annotated[
    int, Field(ge=64, le=1 << 24), AfterValidator(_power_of_two), Expected("a power of two from 64 to 16777216")
]
Size = Annotated[ByteSize, Field(ge=0), Expected("a size such as 100MB or 1GiB, or 0 for none")]
SegmentSize = Annotated[ByteSize, Field(ge=1 << 12, le=1 << 30), Expected("a size from 4KiB to 1GiB")]
FilePath = Annotated[Path, BeforeValidator(_stripped), Expected("the path of a file")]
MaybePath = Annotated[Path | None, BeforeValidator(_stripped), Expected("the path of a file")]
Specs = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), Expected("names of stores, with commas between them")]
Layers = Annotated[
    tuple[str, ...],
    NoDecode,
    # The last one is the first to run.
    BeforeValidator(_listed),
    BeforeValidator(_lowered),
    Field(min_length=1),
    Expected("memory, all, or names of layers with commas between them"),
]
PostgresUrl = Annotated[
    SecretUrl | None,
    BeforeValidator(_stripped),
    _url_of("postgres", "postgresql"),
    Expected(
        "a URL such as postgresql://user:password@host:5432/name, with every / ? # @ [ ] of a password as %2F %3F %23 %40 %5B %5D"
    ),
]
RedisUrl = Annotated[
    SecretUrl | None,
    BeforeValidator(_stripped),
    _url_of(*(f"{scheme}{form}" for scheme in ("redis", "rediss") for form in ("", "+sentinel", "+cluster")), "unix"),
    Expected(
        "a URL such as redis://user:password@host:6379/0, rediss://… or unix://…, "
        "every / ? # @ [ ] of a password as %2F %3F %23 %40 %5B %5D"
    ),
]
SslMode = Annotated[
    Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    BeforeValidator(_lowered),
    Expected("disable, allow, prefer, require, verify-ca or verify-full"),
]
Fsync = Annotated[
    Literal["always", "batch", "interval", "never"], BeforeValidator(_lowered), Expected("always, batch, interval or never")
]
Durability = Annotated[Literal["journal", "memory"], BeforeValidator(_lowered), Expected("journal or memory")]
FullPolicy = Annotated[Literal["wait", "refuse"], BeforeValidator(_lowered), Expected("wait or refuse")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered), Expected("debug, info, warning or error")
]
LogFormat = Annotated[Literal["console", "json"], BeforeValidator(_lowered), Expected("console or json")]
