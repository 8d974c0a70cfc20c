"""Errors as clients see them: the one place where `application/problem+json` is made (RFC 9457, CONTRACT.md §1)."""

from __future__ import annotations

import re
from http import HTTPStatus
from traceback import extract_tb
from typing import Any

import orjson
import structlog
from flask import Flask, Response
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from api.headers import request_id
from jobs.kernel import broker
from jobs.kernel.errors import AppError, DatabaseDown, QueueDown, Unauthenticated, type_prefix

CODES = {
    404: "not_found",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    500: "internal_error",
}
DETAILS = {
    400: "The request could not be read.",
    404: "There is no such resource.",
    405: "This path does not take that method; see Allow.",
    408: "The body did not arrive in time.",
    413: "The body is larger than this path takes.",
}

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    """Render every error that leaves a view, and those of Flask itself."""
    app.register_error_handler(AppError, render)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, lambda error: render(understood(error)))


def render(error: AppError) -> Response:
    """The response for an error of ours."""
    response = _response(error.problem())
    response.headers.update(error.headers)
    if isinstance(error, Unauthenticated):
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response


def of_status(status: int) -> dict[str, Any]:
    """The problem of a request that no view has seen, without `request_id`."""
    return _problem(status, HTTPStatus(status).phrase)


def understood(error: Exception) -> AppError:
    """What an error is to clients. One that nobody foresaw goes into the log."""
    match error:
        case AppError():
            return error
        case DBAPIError():
            return _of_database(error)
        case PoolTimeout():
            return DatabaseDown()
        case broker.ResponseError():
            return broker.unavailable(error) or _of_defect(error)
    return QueueDown() if isinstance(error, broker.LOST) else _of_defect(error)


def _response(problem: dict[str, Any]) -> Response:
    body = orjson.dumps(problem | {"request_id": request_id()})
    return Response(body, problem["status"], content_type="application/problem+json")


def _of_http(error: HTTPException) -> Response:
    """An error that werkzeug raised; its headers (`Allow`) are kept, its HTML is not."""
    status = error.code or 500
    response = _response(_problem(status, error.name, error.description))
    response.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
    return response


def _problem(status: int, title: str, detail: str | None = None) -> dict[str, Any]:
    code = CODES.get(status) or re.sub(r"\W+", "_", title.lower())
    told = DETAILS.get(status) or detail or f"{title}."
    return {"type": type_prefix + code, "title": title, "status": status, "detail": told, "code": code}


def _of_database(error: DBAPIError) -> AppError:
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        log.warning("database_unavailable", error=type(error.orig).__name__)
        return DatabaseDown()
    return _of_defect(error)


def _of_defect(error: Exception) -> AppError:
    """Anything that nobody foresaw: where it happened goes into the log, and nothing of it to the client.

    Local variables are left out of it, and the texts of errors that quote values: they may hold what a log must not.
    """
    quotes = isinstance(error, DBAPIError | ValidationError)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    log.error("defect", error=type(error).__name__, detail=None if quotes else str(error), trace=where)
    return AppError("Something went wrong here; it has been logged under this request id.")
