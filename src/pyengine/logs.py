"""Logs for a service: lines for people or JSON for machines, through structlog where it is installed.

The package itself logs to the standard library's loggers below "pyengine" and configures none of them; a program that has its
own logging needs nothing from here.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from pyengine.errors import FieldError

_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
"""What every record has; the rest came with `extra`."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(
    level: str = "info", form: Literal["console", "json"] = "console", *, stream: TextIO | None = None, logger: str = ""
) -> logging.Handler:
    """Send what is logged to a stream; calling it again replaces the handler of the call before.

    Every line has time (UTC), level, logger, the event, and whatever came with `extra`. Tracebacks show no variables, because
    passwords may be among them.

    Parameters
    ----------
    level : str
        "debug", "info", "warning" or "error".
    form : str
        "console" or "json", one object a line.
    stream : file, optional
        Default: standard error.
    logger : str
        Name of the logger that is configured with all below it; default: all there are.

    Returns
    -------
    logging.Handler
    """
    if level not in _LEVELS:
        raise FieldError("level", level, "debug, info, warning or error")
    if form not in ("console", "json"):
        raise FieldError("form", form, "console or json")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.name = f"pyengine.logs {logger}"
    handler.setFormatter(_structured(form, handler.stream) if importlib.util.find_spec("structlog") else _plain(form))
    target = logging.getLogger(logger or None)
    for old in [old for old in target.handlers if old.name == handler.name]:
        target.removeHandler(old)
    target.addHandler(handler)
    target.setLevel(_LEVELS[level])
    return handler


def _structured(form: str, stream: TextIO) -> logging.Formatter:
    """Let structlog write standard records, and what is logged through structlog itself."""
    import structlog  # noqa: PLC0415  it needn't be there

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[Any]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *last])


def _plain(form: str) -> logging.Formatter:
    return _JsonFormatter() if form == "json" else _LineFormatter()


class _LineFormatter(logging.Formatter):
    """Lines for people: time, level, logger, event, and what came with `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)} [{record.levelname.lower():<7}] {record.getMessage()}"
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        lines = [f"{head} [{record.name}]{fields}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


class _JsonFormatter(logging.Formatter):
    """The same, as one JSON object a line, with structlog's names."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
        fields |= _extra(record) | {"timestamp": _time(record)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
