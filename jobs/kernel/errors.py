"""The errors of the whole system: each class holds its status, code and whether asking again can help.

`api.problems` renders them to clients, `workers.executor` turns them into outcomes; nobody else looks inside.
Shape of a rendered error: RFC 9457 (CONTRACT.md §1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

type_prefix = "urn:millrace:problem:"


class AppError(Exception):
    """Something went wrong."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """`detail`: one sentence for people, by default the class's docstring. `errors`: `{field, message}` each.
        `members`: the problem's own members (`allowed_at`, `retry_after`, ...), JSON values."""
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(self.detail)

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 object, without `request_id`, which only the one who answers knows."""
        body: dict[str, Any] = {
            "type": type_prefix + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = self.errors
        return body | self.members


class Rejected(AppError):
    """The request was refused."""

    status = 409
    code = "rejected"


class BadRequest(Rejected):
    """The request could not be read."""

    status = 400
    code = "bad_request"


class Invalid(Rejected):
    """The request has fields that are not valid."""

    status = 422
    code = "validation_failed"


class Unauthenticated(Rejected):
    """A valid access token is needed."""

    status = 401
    code = "unauthenticated"


class SessionEnded(Unauthenticated):
    """The session has ended; sign in again."""

    code = "session_ended"


class Forbidden(Rejected):
    """Your role does not allow this."""

    status = 403
    code = "forbidden"


class NotFound(Rejected):
    """There is no such resource."""

    status = 404
    code = "not_found"


class Conflict(Rejected):
    """The request conflicts with the present state."""

    status = 409
    code = "conflict"


class KeyExpired(Conflict):
    """What this Idempotency-Key made is still there, but no record of its job; use another key to make another one."""

    code = "idempotency_key_expired"


class PreconditionFailed(Rejected):
    """The resource has changed since the version named by If-Match."""

    status = 412
    code = "precondition_failed"


class RateLimited(Rejected):
    """Too many requests; wait before asking again."""

    status = 429
    code = "rate_limited"
    retryable = True


class Failed(AppError):
    """The job could not be carried out."""

    status = 500
    code = "job_failed"


class Unavailable(AppError):
    """The service cannot do this right now; ask again later."""

    status = 503
    code = "unavailable"
    retryable = True

    def __init__(self, detail: str | None = None, *, retry_after: int = 1, **more: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **more)
        self.headers.setdefault("Retry-After", str(retry_after))


class QueueDown(Unavailable):
    """The queue cannot be reached; ask again with the same Idempotency-Key."""

    code = "queue_unavailable"


class QueueFull(Unavailable):
    """The queue is full; ask again later."""

    code = "queue_full"


class Overloaded(Unavailable):
    """The service is asked more than it can answer in time; ask again later."""

    code = "overloaded"


class DatabaseDown(Unavailable):
    """The database cannot be reached; ask again later."""

    code = "database_unavailable"


class UpstreamFailed(Unavailable):
    """A service this one depends on did not answer."""

    code = "upstream_failed"


class Snooze(Exception):
    """Not now: run the job again at `until`, without using up an attempt.

    `moment`: when given, the job's new effective moment (CONTRACT.md §4).
    """

    def __init__(self, until: datetime, *, moment: datetime | None = None) -> None:
        self.until = until
        self.moment = moment
        super().__init__(f"snoozed until {until.isoformat()}")


class Cancelled(Exception):
    """Somebody has asked for a job to stop, and it has reached a point where it can.

    `job_id`: of one among several that are carried out together.
    """

    def __init__(self, job_id: UUID | None = None) -> None:
        self.job_id = job_id
        super().__init__("canceled")


class DeclarationError(TypeError):
    """A kind of job is declared wrongly; the message says where and what to mend."""
