"""Logs: one form for people, one for machines, with structlog and without."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import structlog

from pyengine.errors import FieldError
from pyengine.logs import configure_logs

EVENT = "Redis cache connected successfully"


@pytest.fixture(params=["structlog", "standard library"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "standard library":
        found: Callable[[str], object] = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "structlog" else found(name))
    yield request.param
    logger = logging.getLogger("pyengine")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    structlog.reset_defaults()


def connect(password: str) -> None:
    raise ConnectionError(f"{len(password)} letters")


def logged(form: str, level: str = "info") -> str:
    stream = io.StringIO()
    configure_logs(level, form, stream=stream, logger="pyengine")  # type: ignore[arg-type]
    logger = logging.getLogger("pyengine.stores")
    logger.debug("not seen at info")
    logger.info(EVENT, extra={"address": "localhost:6379", "attempt": 2})
    try:
        connect("hunter2")
    except ConnectionError:
        logger.exception("layer %s\nis gone: ü", "redis")
    return stream.getvalue()


def test_json_has_one_object_a_line() -> None:
    first, second = map(json.loads, logged("json").splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": EVENT, "level": "info", "logger": "pyengine.stores", "address": "localhost:6379", "attempt": 2}
    assert datetime.fromisoformat(second["timestamp"]).utcoffset() is not None
    assert second["event"] == "layer redis\nis gone: ü"
    assert second["level"] == "error"
    assert second["exception"].endswith("ConnectionError: 7 letters")


def test_console_lines_can_be_read_and_searched() -> None:
    text = logged("console")
    line = text.splitlines()[0]
    for part in (EVENT, "info", "pyengine.stores", "address=localhost:6379", "attempt=2"):
        assert part in line
    assert "ConnectionError: 7 letters" in text
    assert "\x1b" not in text, "no colours where there is no terminal"


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_variables(form: str) -> None:
    assert "'hunter2'" not in logged(form)
    assert "password = " not in logged(form)


def test_level_is_kept() -> None:
    assert "not seen" not in logged("json")
    assert "not seen" in logged("json", "debug")
    assert EVENT not in logged("json", "warning")


def test_the_second_call_replaces_the_first() -> None:
    logged("json")
    assert logged("json").count(EVENT) == 1
    assert len(logging.getLogger("pyengine").handlers) == 1


@pytest.mark.parametrize("library", ["structlog"], indirect=True)
def test_own_events_of_structlog_look_the_same() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream, logger="pyengine")
    structlog.get_logger("pyengine.service").bind(node=1).info("started", port=8080)
    found = json.loads(stream.getvalue())
    assert (found["event"], found["node"], found["port"], found["logger"]) == ("started", 1, 8080, "pyengine.service")


def test_bad_arguments() -> None:
    with pytest.raises(FieldError, match="level must be debug, info, warning or error, was 'loud'"):
        configure_logs("loud")
    with pytest.raises(FieldError, match="form must be console or json, was 'xml'"):
        configure_logs("info", "xml")  # type: ignore[arg-type]
