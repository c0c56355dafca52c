"""Find out whether every backend can be used as it is configured, and say what to do where it can't."""

from __future__ import annotations

from collections.abc import Callable

from pyengine.health.custom import check_order_store, check_trade_store
from pyengine.health.files import check_sqlite, check_trade_log
from pyengine.health.finding import Finding
from pyengine.optional import MissingExtraError
from pyengine.settings import Settings
from pyengine.store_errors import SettingsError

__all__ = ["Finding", "check_backends"]


def check_backends(settings: Settings) -> list[Finding]:
    """Try out every backend that is switched on, in the order of the layers; no data is touched.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    list of Finding
        Each says whether its backend can be used; nothing is raised for one that can't.
    """
    found = []
    if settings.redis_enabled:
        found.append(_tried("redis", _check_redis, settings))
    if settings.database_enabled:
        found.append(_tried("postgres", _check_postgres, settings))
    if settings.sqlite_path is not None:
        found.append(check_sqlite(settings))
    found += [check_order_store(settings, spec) for spec in settings.order_stores]
    found += [check_trade_store(settings, spec) for spec in settings.trade_stores]
    found.append(check_trade_log(settings))
    return found


def _tried(backend: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except (MissingExtraError, SettingsError) as error:
        return Finding(backend, "", problem=str(error))


def _check_redis(settings: Settings) -> Finding:
    from pyengine.health.redis import check_redis  # noqa: PLC0415  an extra brings its driver

    return check_redis(settings)


def _check_postgres(settings: Settings) -> Finding:
    from pyengine.health.postgres import check_postgres  # noqa: PLC0415  an extra brings its driver

    return check_postgres(settings)
