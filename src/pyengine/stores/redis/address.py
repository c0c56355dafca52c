"""Where a Redis is: a host, a Unix socket, the master that sentinels name, or the node of a cluster that has our keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pyengine.errors import FieldError
from pyengine.optional import require

redis: Any = require("redis", "redis")
require("hiredis", "redis")

SCHEMES = "redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster or rediss+cluster"

_OURS = {
    "socket_timeout",
    "socket_connect_timeout",
    "max_connections",
    "timeout",
    "decode_responses",
    "encoding",
    "encoding_errors",
    "protocol",
    "retry_on_timeout",
    "retry_on_error",
    "connection_class",
}
"""What a URL may say to redis-py but not here, as it would change what our code relies on."""


@dataclass(frozen=True)
class Address:
    """A single server.

    Attributes
    ----------
    shown : str
        For messages: host and port, or a path.
    options : mapping
        Of redis-py's connections: host, port, path, db, username, password and those of TLS. Never shown.
    tls : bool
    """

    shown: str
    options: Mapping[str, Any] = field(repr=False)
    tls: bool = False

    needs_tag = False
    """Whether all keys must share a hash tag."""

    @property
    def kind(self) -> str:
        """Name of the class of redis-py's connections."""
        if "path" in self.options:
            return "UnixDomainSocketConnection"
        return "SSLConnection" if self.tls else "Connection"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may contain."""
        return tuple(str(value) for name, value in self.options.items() if "password" in name and value)

    def locate(self, key: bytes, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002  others have to ask
        """Return the options of a connection to the server that has this key; it may ask for it over the network."""
        return dict(self.options)


@dataclass(frozen=True)
class SentinelAddress(Address):
    """The master of a service, which sentinels name."""

    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def locate(self, key: bytes, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """Ask the sentinels."""
        deadlines = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": _no_retry(), "protocol": 2}
        asked = redis.Sentinel(self.sentinels, sentinel_kwargs={**self.sentinel_options, **deadlines})
        try:
            host, port = asked.discover_master(self.service)
        finally:
            for sentinel in asked.sentinels:
                sentinel.close()
        return {**self.options, "host": host, "port": port}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Those of the sentinels too."""
        return super().secrets + tuple(str(v) for n, v in self.sentinel_options.items() if "password" in n and v)


@dataclass(frozen=True)
class ClusterAddress(Address):
    """The node of a cluster that has a key."""

    nodes: tuple[tuple[str, int], ...] = ()

    needs_tag = True

    def locate(self, key: bytes, timeout_s: float) -> dict[str, Any]:
        """Ask any node for the one that has the key now."""
        options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": _no_retry(), "protocol": 2}
        if self.tls:
            options["ssl"] = True
        startup = [redis.cluster.ClusterNode(host, port) for host, port in self.nodes]
        cluster = redis.RedisCluster(startup_nodes=startup, **{**self.options, **options})
        try:
            node = cluster.get_node_from_key(key)
        finally:
            cluster.close()
        return {**self.options, "host": node.host, "port": node.port}


def read_url(url: str, more: Mapping[str, Any]) -> Address:
    """Read a URL.

    Parameters
    ----------
    url : str
        ``redis://user:password@host:6379/0``, ``rediss://`` with TLS, ``unix:///path?db=0``,
        ``redis+sentinel://host:26379,host:26379/service/0?sentinel_password=…`` or ``redis+cluster://host:6379,host:6379``.
    more : mapping
        Further options of redis-py's connections, which count before those of the URL.

    Raises
    ------
    FieldError
        It can't be read; the text doesn't repeat it, because of the password.
    """
    try:
        return _read(url, more)
    except (ValueError, TypeError, AttributeError):
        raise FieldError("url", "another", f"of a scheme {SCHEMES}, that can be taken apart") from None


def _read(url: str, more: Mapping[str, Any]) -> Address:
    scheme, plus, form = urlsplit(url).scheme.partition("+")
    if plus and scheme in {"redis", "rediss"} and form in {"sentinel", "cluster"}:
        return _several(url, scheme, form, more)
    options = redis.connection.parse_url(url)
    tls = options.pop("connection_class", None) is redis.SSLConnection
    if scheme == "unix" and "path" not in options:
        raise ValueError("no path")
    return single(_allowed(options) | dict(more), tls=tls)


def single(options: Mapping[str, Any], *, tls: bool) -> Address:
    """Make the address of one server of the options of a connection."""
    if "path" in options:
        return Address(str(options["path"]), options)
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return Address(f"{host}:{port}", {**options, "host": host, "port": port}, tls)


def _several(url: str, scheme: str, form: str, more: Mapping[str, Any]) -> Address:
    """Read a URL that names many hosts."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    default = 26379 if form == "sentinel" else 6379
    nodes = tuple(_host(text, default) for text in hosts.split(","))
    query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    options: dict[str, Any] = {name: value for name, value in query.items() if not name.startswith("sentinel_")}
    options |= {name: unquote(value) for name, value in (("username", user), ("password", password)) if value}
    path = [unquote(part) for part in parts.path.split("/") if part]
    shown = ",".join(f"{host}:{port}" for host, port in nodes)
    tls = scheme == "rediss"
    if form == "cluster":
        if path not in ([], ["0"]):
            raise ValueError("a cluster has only database 0")
        return ClusterAddress(f"cluster of {shown}", {**_allowed(options), **more}, tls, nodes)
    if len(path) not in {1, 2}:
        raise ValueError("no service")
    if len(path) == 2:
        options["db"] = int(path[1])
    asking = {name.removeprefix("sentinel_"): value for name, value in query.items() if name.startswith("sentinel_")}
    chosen = {**_allowed(options), **more}
    return SentinelAddress(f"{path[0]} of sentinels {shown}", chosen, tls, path[0], nodes, _allowed(asking))


def _host(text: str, default: int) -> tuple[str, int]:
    """Take a host and its port apart; an IPv6 address stands in brackets."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.username is not None:
        raise ValueError("no host")
    return parts.hostname, parts.port or default


def _allowed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OURS}


def _no_retry() -> Any:
    return redis.retry.Retry(redis.backoff.NoBackoff(), 0)
