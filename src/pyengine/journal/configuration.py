"""What an engine was made with, as a journal keeps it: it decides what the same commands lead to."""

from __future__ import annotations

from typing import Any

from pyengine.engine import Engine

# What journals had before they said it.
_DEFAULTS: dict[str, Any] = {"client_ids": 65536, "client_id_age_ns": None}


def configured(engine: Engine) -> dict[str, Any]:
    """Read the configuration off an engine."""
    return {
        "self_trade": engine.self_trade,
        "client_ids": engine.client_ids,
        "client_id_age_ns": engine.client_id_age_ns,
    }


def engine_options(content: dict[str, Any]) -> dict[str, Any]:
    """Read the arguments of `Engine` out of a journal's configuration.

    Raises
    ------
    KeyError
        One is missing.
    """
    return {"self_trade": content["self_trade"]} | {name: content.get(name, value) for name, value in _DEFAULTS.items()}
