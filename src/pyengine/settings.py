"""The configuration: every variable with its default, read once from the environment and `.env`.

Each field is the variable of its name in capitals: `Settings.database_host` is DATABASE_HOST. Nothing else in the package
reads the environment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, cast

from pyengine.optional import MissingExtraError

try:
    from pydantic import PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
    from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
except ModuleNotFoundError as error:
    missing = "pydantic-settings must be installed for this: pip install 'pyengine[settings]'"
    raise MissingExtraError(missing) from error

from pyengine import setting_values as values
from pyengine.env_file import DEFAULT, read_env_file
from pyengine.store_errors import SettingsError

_log = logging.getLogger("pyengine.settings")

_LAYERS = {"redis": "redis_enabled", "postgres": "database_enabled", "sqlite": "sqlite_path"}
"""Layers below memory, in their order, with the fields that switch them on."""

_LIKENESS = 0.88
"""From here on an unknown name in the environment is taken for a slip of the pen."""


class Settings(BaseSettings):
    """What the stores, and the service around them, are made from.

    Made by keyword, values are checked like those from the environment, which isn't read; `load` reads it.

    Raises
    ------
    SettingsError
        Names every variable that can't be used, with its value and what was expected.

    Notes
    -----
    Frozen. Passwords are shown nowhere, also not those inside a URL: `get_secret_value()` of such a field has it.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
    )

    database_enabled: values.Switch = False
    """Keep orders and trades in PostgreSQL."""
    database_required: values.Switch = False
    """Refuse to start without PostgreSQL, instead of going on and trying again."""
    database_url: values.PostgresUrl = None
    """The whole address of the database; what it says counts before the variables below."""
    database_host: values.Host = "localhost"
    """Host of PostgreSQL, or the folder of its Unix socket."""
    database_port: values.Port = 5432
    database_name: values.Identifier = "matching_engine"
    database_user: values.Identifier = "postgres"
    database_password: values.Password = SecretStr("")
    database_max_connections: values.Connections = 20
    """Connections of the pool at most."""
    database_max_idle_connections: values.SpareConnections = 5
    """Connections that stay open while nobody needs them."""
    database_conn_max_lifetime: values.Lifetime = timedelta(minutes=5)
    """How long an idle connection is kept; 0 for ever."""
    database_ssl_mode: values.SslMode = "disable"
    """As libpq has it; a DATABASE_URL that doesn't say otherwise prefers encryption."""
    database_ssl_root_cert: values.MaybePath = None
    """Certificate of the authority that verify-ca and verify-full trust, instead of ~/.postgresql/root.crt."""
    database_command_timeout: values.Timeout = timedelta(seconds=5)
    """How long a statement may take, and a connection to open."""
    database_migrate: values.Switch = True
    """Bring the tables up to date at the start; otherwise `pyengine migrate` does."""

    redis_enabled: values.Switch = False
    """Share orders and recent trades with other nodes through Redis."""
    redis_url: values.RedisUrl = None
    """The whole address of Redis, instead of the variables below that it stands for."""
    redis_host: values.Host = "localhost"
    redis_port: values.Port = 6379
    redis_username: str = ""
    """The user, where Redis has access lists."""
    redis_password: values.Password = SecretStr("")
    redis_db: values.SpareConnections = 0
    redis_tls: values.Switch = False
    """Encrypt, and check the certificate of the server."""
    redis_tls_ca: values.MaybePath = None
    """Certificates of the authorities to trust, instead of the system's."""
    redis_prefix: values.Prefix = ""
    """Before every key; in a cluster it needs a hash tag, such as {pyengine}:"""
    redis_pool_size: values.Connections = 10
    """Connections of the pool at most."""
    redis_min_idle_conns: values.SpareConnections = 2
    """Connections that stay open while nobody needs them."""
    redis_ttl: values.Age = timedelta(hours=24)
    """How long an order stays in Redis after its last change."""
    redis_trades: values.Length = 10_000
    """Newest trades that Redis keeps."""
    redis_timeout: values.Timeout = timedelta(milliseconds=50)
    """How long a read may take before the next layer is asked."""

    trade_history_size: values.Length = 1_000
    """Newest trades in memory."""
    trade_log_path: values.FilePath = Path("trades.log")
    """The file that every trade is appended to."""
    trade_log_fsync: values.Fsync = "batch"
    """When the file is synced to disk."""
    trade_log_fsync_interval: values.Timeout = timedelta(seconds=1)
    """How often, with TRADE_LOG_FSYNC=interval."""
    trade_log_rotate_size: values.Size = cast("values.Size", 0)
    """Size from which a new file is begun; 0 for one file."""
    trade_log_rotate_daily: values.Switch = False
    """Begin a new file every day (UTC)."""
    trade_log_compress: values.Switch = True
    """Pack files that are closed with zstd."""
    trade_log_chain: values.Switch = True
    """Write checkpoints beside it, by which `pyengine audit verify` finds every changed line."""
    trade_log_chain_interval: values.Timeout = timedelta(seconds=1)
    """How long lines stay without a checkpoint at most."""
    trade_log_anchor: values.Switch = True
    """Keep its newest head in Redis and PostgreSQL, where they are enabled, so that a cut end is found too."""
    trade_log_anchor_interval: values.Timeout = timedelta(seconds=10)
    """How often."""
    trade_log_name: values.LogName = ""
    """What its heads are kept under, instead of host name and path."""
    trade_stores: values.Specs = ()
    """Stores of your own, behind the others."""

    sqlite_path: values.MaybePath = None
    """Keep orders and trades in this SQLite file."""

    journal_path: values.MaybePath = None
    """Folder of the journal, from which the engine and every layer can be made again; without one, neither."""
    journal_durability: values.Durability = "journal"
    """What a command waits for: `journal` for the disk, `memory` for nothing."""
    journal_segment_size: values.SegmentSize = cast("values.SegmentSize", 64 << 20)
    """Size of a file of the journal."""
    journal_space: values.Size = cast("values.Size", 0)
    """Room that the journal may take before commands are refused; 0 for all that there is."""
    journal_snapshot_interval: values.Lifetime = timedelta(0)
    """How often a snapshot is taken, and files go that two of them cover and every layer has; 0 for never."""
    journal_archive: values.MaybePath = None
    """Folder that such files are put into, packed, instead of being deleted."""

    order_stores: values.Specs = ()
    """Stores of your own, behind the others."""
    order_memory_enabled: values.Switch = True
    """Keep orders in memory; without it, the layers below answer."""
    order_cleanup_enabled: values.Switch = False
    """Forget finished orders in memory after a while; the layers below keep them."""
    order_cleanup_interval: values.Age = timedelta(minutes=5)
    order_cleanup_age: values.Age = timedelta(hours=24)
    """How long ago an order must have finished."""

    store_ring_capacity: values.RingCapacity = 65_536
    """Writes that layers may lag behind."""
    store_ring_full: values.FullPolicy = "wait"
    """What a write does when a layer lags that far: wait for it, or be refused at once."""
    store_ring_wait: values.Timeout = timedelta(seconds=1)
    """How long such a write waits before it is refused."""
    store_breaker_failures: values.Attempts = 3
    """Failures in a row after which a layer is left alone for a while."""
    store_breaker_pause: values.Timeout = timedelta(milliseconds=500)
    """How long it is left alone before it is tried again; twice as long after each attempt that fails."""
    store_breaker_longest_pause: values.Timeout = timedelta(seconds=30)
    store_wait: values.Layers = ("memory",)
    """Layers in which a write must be safe before it returns: their names, or `all`."""
    store_wait_timeout: values.Timeout = timedelta(seconds=5)
    """How long it waits for them."""

    log_level: values.LogLevel = "info"
    log_format: values.LogFormat = "console"

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _unknown: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, *, _origins: Mapping[str, str] | None = None, _faults: Sequence[str] = (), **given: Any) -> None:
        problems = [*_faults]
        try:
            super().__init__(**given)
        except ValidationError as error:
            problems += _problems(type(self), error, given, _origins or {})
        # Raised out here, so that the error drags no other one along in which the values stand.
        if problems:
            first = "1 setting can't be used:" if len(problems) == 1 else f"{len(problems)} settings can't be used:"
            raise SettingsError("\n  ".join((first, *problems)))
        self._origins.update(dict.fromkeys(given, "argument") if _origins is None else _origins)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, env_file: Path | str | None = DEFAULT) -> Self:
        """Read the configuration once; the environment counts before the file, an empty value counts as none.

        Parameters
        ----------
        environ : mapping of str to str, optional
            Instead of the environment of the process.
        env_file : Path or str, optional
            A file of NAME=value lines. The default may be missing, another one must be there; None reads none.

        Raises
        ------
        SettingsError
            See the class; lines of the file that can't be read are named too.
        """
        filed, faults = ({}, []) if env_file is None else read_env_file(env_file)
        variables = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, source in ((str(env_file), filed), ("environment", variables)):
            there = _fields_in(cls, source)
            found |= there
            origins |= dict.fromkeys(there, origin)
        settings = cls(_origins=origins, _faults=faults, **found)
        settings._unknown.update(_unknown(cls, (*filed, *variables)))
        for name, meant in settings._unknown.items():
            _log.warning("%s isn't a setting; is %s meant?", name, meant)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the caller names them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given by keyword and nothing else: `load` reads the rest and knows where it came from."""
        return (init_settings,)

    @field_validator("database_max_idle_connections", "redis_min_idle_conns")
    @classmethod
    def _fits_pool(cls, spare: int, info: ValidationInfo) -> int:
        pool = "redis_pool_size" if info.field_name == "redis_min_idle_conns" else "database_max_connections"
        most = info.data.get(pool, spare)
        if spare <= most:
            return spare
        # As a default it gives way to a small pool; who asked for both is told.
        if spare == cls.model_fields[str(info.field_name)].default:
            return int(most)
        raise values.Unfit(f"at most {pool.upper()}, which is {most}")

    @field_validator("order_memory_enabled", mode="after")
    @classmethod
    def _has_orders_somewhere(cls, enabled: bool, info: ValidationInfo) -> bool:
        below = ("database_enabled", "redis_enabled", "sqlite_path", "order_stores")
        if enabled or any(info.data.get(name, True) for name in below):
            return enabled
        raise values.Unfit("true unless orders are kept by DATABASE_ENABLED, REDIS_ENABLED, SQLITE_PATH or ORDER_STORES")

    @field_validator("store_wait", mode="after")
    @classmethod
    def _names_layers(cls, layers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # A store of one's own has its own name, which is known when it is made.
        if info.data.get("order_stores", True) or info.data.get("trade_stores", True):
            return layers
        known = {"memory", "all", "file"}
        known |= {name for name, switch in _LAYERS.items() if info.data.get(switch, True)}
        if not known.issuperset(layers):
            raise values.Unfit(f"names of layers that are there, from {', '.join(sorted(known))}")
        return layers

    @property
    def order_layers(self) -> tuple[str, ...]:
        """The layers that orders are kept in, from first to last; a store of one's own by what names it."""
        memory = ("memory",) if self.order_memory_enabled else ()
        return (*memory, *self._backends, *(values.show(spec) for spec in self.order_stores))

    @property
    def trade_layers(self) -> tuple[str, ...]:
        """The layers that trades are kept in, from first to last."""
        return ("memory", *self._backends, *(values.show(spec) for spec in self.trade_stores), "file")

    @property
    def _backends(self) -> tuple[str, ...]:
        return tuple(name for name, switch in _LAYERS.items() if getattr(self, switch))

    @property
    def origins(self) -> Mapping[str, str]:
        """For each field that isn't at its default where it came from: "environment", the file, or "argument"."""
        return self._origins

    @property
    def unknown(self) -> Mapping[str, str]:
        """Variables that look like a slip of the pen, with what was probably meant."""
        return self._unknown

    @property
    def mode(self) -> str:
        """Which stack the stores form: "development", "single node", "distributed", or "shared cache only"."""
        modes = {(False, False): "development", (True, False): "single node", (True, True): "distributed"}
        return modes.get((self.database_enabled, self.redis_enabled), "shared cache only")

    def shown(self, field: str) -> str:
        """Write the value of a field as its variable would have it, secrets hidden."""
        return values.show(getattr(self, field))


def _fields_in(cls: type[BaseSettings], variables: Mapping[str, str]) -> dict[str, Any]:
    """Pick the variables that are fields, under their names."""
    source = EnvSettingsSource(cls)
    source.env_vars = {name.lower(): value for name, value in variables.items() if value}
    return source()


def _problems(cls: type[BaseSettings], error: ValidationError, given: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """Say what is wrong with each field, in the order of the fields."""
    texts: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_input=False):
        name = str(fault["loc"][0])
        field = cls.model_fields.get(name)
        if field is None:
            near = get_close_matches(name, cls.model_fields, 1)
            texts[name] = f"{name.upper()} must be a setting" + (f", perhaps {near[0].upper()}" if near else "")
            continue
        unfit = fault.get("ctx", {}).get("error")
        expected = [entry.text for entry in field.metadata if isinstance(entry, values.Expected)]
        wanted = unfit.expected if isinstance(unfit, values.Unfit) else expected[0]
        origin = f" ({origins[name]})" if name in origins else ""
        texts[name] = f"{name.upper()} must be {wanted}, was {values.show_given(given.get(name, field.default), field)}{origin}"
    order = [*cls.model_fields]
    return [texts[name] for name in sorted(texts, key=lambda name: order.index(name) if name in order else len(order))]


def _unknown(cls: type[BaseSettings], names: Iterable[str]) -> dict[str, str]:
    """Find the names that are nearly, but not quite, those of fields."""
    fields = [name.upper() for name in cls.model_fields]
    pairs = ((name, get_close_matches(name.upper(), fields, 1, _LIKENESS)) for name in names if name.upper() not in fields)
    return {name: near[0] for name, near in pairs if near}
