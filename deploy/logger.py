"""gunicorn's own log lines, in the form of all the others, and without anything that a client sent."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

import structlog
from gunicorn import glogging
from gunicorn.config import Config

from config import Settings
from jobs.kernel import log

UNREADABLE = "Invalid request from ip="
"""How a line begins that quotes a request; `deploy.wire` writes one of its own for each such request."""

FAILED = "Error handling request"
"""How a line begins that gives a path and its query; the traceback that follows is worth keeping."""


class Logger(glogging.Logger):
    """Passes gunicorn's lines on to the root logger."""

    def setup(self, cfg: Config) -> None:
        """Raises SystemExit, before anything listens, where a setting is wrong."""
        super().setup(cfg)
        log.configure(Settings.from_env())
        logging.captureWarnings(True)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        if not any(isinstance(known, WithoutRequests) for known in self.error_log.filters):
            self.error_log.addFilter(WithoutRequests())


class WithoutRequests(logging.Filter):
    """Takes out of a line what a client sent: a path or a header may hold what must not be logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        line = str(record.msg)
        if line.startswith(FAILED):
            record.msg, record.args = FAILED, ()
        return not line.startswith(UNREADABLE)


def log_uncaught() -> None:
    """What ends a greenlet or a thread is a log line like any other."""
    from gevent.hub import Hub

    Hub.print_exception = _of_greenlet
    threading.excepthook = _of_thread


def _of_greenlet(
    _hub: object, _greenlet: object, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    _say(kind, error or kind(), trace)


def _of_thread(said: threading.ExceptHookArgs) -> None:
    _say(said.exc_type, said.exc_value or said.exc_type(), said.exc_traceback)


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    try:
        structlog.get_logger(__name__).error("uncaught", exc_info=(kind, error, trace))
    except Exception:  # noqa: BLE001 - nobody is left to tell
        sys.__excepthook__(kind, error, trace)
