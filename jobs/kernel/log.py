"""Logs: one JSON object a line, for API and workers alike. Values that may hold secrets are never passed in."""

from __future__ import annotations

import logging
import re
import sys
from types import TracebackType

import orjson
import structlog

from config import Settings
from jobs.kernel.meters import LOGGED
from jobs.kernel.tally import tally

TRACEBACK = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Where it was raised, without the values of variables: among them are settings and bodies."""

QUIET = ("alembic", "rq", "rq_scheduler", "rq.worker", "gunicorn.access", "twilio", "urllib3")

LOUD = frozenset({"warning", "error", "critical"})
EVENT = re.compile(r"[a-z_]{1,60}")
"""What a line of ours tells of; those of libraries are sentences, and of any number."""


def configure(settings: Settings) -> None:
    """Send structlog and the standard library's loggers to standard output in one form."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    as_json = settings.log_format == "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([TRACEBACK] if as_json else []),
    ]
    last = (
        structlog.processors.JSONRenderer(serializer=dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[_counted, *shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _say_why
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _counted(_logger: object, level: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Count what is wrong by what it is called, wherever it is logged."""
    if level in LOUD and EVENT.fullmatch(str(line["event"])):
        tally.count(LOGGED, level, line["event"])
    return line


def _say_why(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process is a log line like any other."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger(__name__).critical("process_died", exc_info=(kind, error, trace))


def dumps(event: object, **_: object) -> str:
    """JSON of an event; what JSON does not know is shown by `str`."""
    return orjson.dumps(event, default=str).decode()
