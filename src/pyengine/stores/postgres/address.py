"""Where the database is and as whom to connect; the password is never part of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pyengine.errors import FieldError, FieldTypeError
from pyengine.stores.arguments import whole

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HIDDEN = "***"


class Secret:
    """A password; asyncpg calls it when it needs it, and nothing that prints it shows it."""

    __slots__ = ("_call",)

    def __init__(self, text: str) -> None:
        def tell() -> str:
            return text

        self._call = tell

    def __call__(self) -> str:
        """Tell the password."""
        return self._call()

    def __repr__(self) -> str:
        return _HIDDEN


@dataclass(frozen=True, slots=True)
class Address:
    """A database and how to get into it.

    Attributes
    ----------
    text : str
        host:port/database, for messages.
    options : dict
        Keyword arguments of `asyncpg.connect`.
    """

    text: str
    options: Mapping[str, Any] = field(repr=False)


def address_of_parts(
    host: str, port: int, database: str, user: str, password: str | None, ssl_mode: str, ssl_root_cert: str | Path | None
) -> Address:
    """Make an address of single values.

    Raises
    ------
    FieldTypeError, FieldError
        If one of them can't be; it is named.
    """
    for name, value in (("host", host), ("database", database), ("user", user)):
        if not isinstance(value, str):
            raise FieldTypeError(name, value, "a str")
        if not value or "\0" in value:
            raise FieldError(name, value, "a text that isn't empty")
    if password is not None and not isinstance(password, str):
        raise FieldTypeError("password", _HIDDEN, "a str")
    if ssl_mode not in SSL_MODES:
        raise FieldError("ssl_mode", ssl_mode, f"one of {', '.join(SSL_MODES)}")
    number = whole("port", port, 1, 65535)
    options: dict[str, Any] = {"host": host, "port": number, "database": database, "user": user, "ssl": ssl_mode}
    if password:
        options["password"] = Secret(password)
    if ssl_root_cert is not None:
        options["dsn"] = f"postgresql://?{urlencode({'sslrootcert': str(ssl_root_cert)})}"
    shown = host if ":" not in host else f"[{host}]"
    return Address(f"{shown}:{number}/{database}", options)


def address_of_url(url: str) -> Address:
    """Make an address of a URL such as ``postgresql://user:password@host:5432/database?sslmode=require``.

    Its parameters are those of libpq that asyncpg knows. What the URL doesn't say is as asyncpg has it.

    Raises
    ------
    FieldTypeError, FieldError
        If it is no URL of PostgreSQL; the error doesn't show the password.
    """
    if not isinstance(url, str):
        raise FieldTypeError("url", _HIDDEN, "a str")
    try:
        parts = urlsplit(url)
        scheme, place = parts.scheme, parts.netloc.rpartition("@")
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise FieldError("url", _HIDDEN, "postgresql://user:password@host:port/database") from None
    if scheme not in {"postgresql", "postgres"}:
        raise FieldError("url", f"{scheme}://{_HIDDEN}", "postgresql://user:password@host:port/database")
    login, _, hosts = place
    for host in hosts.split(","):
        # After the bracket of an IPv6 address, if it is one.
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise FieldError("port in the url", port, "a number from 1 to 65535")
    user, _, password = login.partition(":")
    secret = query.pop("password", None) or unquote(password)
    if query.get("sslmode", "prefer") not in SSL_MODES:
        raise FieldError("sslmode in the url", query["sslmode"], f"one of {', '.join(SSL_MODES)}")
    clean = parts._replace(netloc=f"{user}@{hosts}" if user else hosts, query=urlencode(query, quote_via=quote))
    options: dict[str, Any] = {"dsn": clean.geturl()}
    if secret:
        options["password"] = Secret(secret)
    database = query.get("dbname") or query.get("database") or unquote(parts.path.removeprefix("/"))
    where = hosts or query.get("host") or "localhost"
    if "port" in query:
        where = f"{where}:{query['port']}"
    return Address(f"{where}/{database or unquote(user)}", options)
