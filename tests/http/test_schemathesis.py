"""Requests that schemathesis makes up from the app's own /openapi.json: each is answered, and as the document says.

The requests are the same in every run, but for the ids of what is there. By hand, with more of them:
`SCHEMATHESIS_EXAMPLES=500 make test ARGS=tests/http/test_schemathesis.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask

from tests.conftest import PASSWORD, Person
from tests.http.conftest import ORDER, Client, token_of

if TYPE_CHECKING:
    # Loading it takes a second, which only this file's own process is to spend.
    from schemathesis import Case, Response
    from schemathesis.schemas import APIOperation

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
"""Random requests for each operation, beside those that schemathesis derives: every boundary, every missing field."""

CALLERS = ("user", "admin", "user", "nobody")
"""Who sends the requests to an operation that needs a token, in turn; those to any other are sent by nobody."""

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "ignored_auth",
)
"""Not whether all that fits the schema is accepted, and nothing else: a cursor may be one that nobody was given, a
`run_at` lie in the past; and what is wrong with a query may be lost in writing it into a URL."""

Headers = dict[str, str]
Document = dict[str, Any]


class ServedApp:
    """The application, for a client that leaves answers open."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        answer: Any = self._app(environ, start_response)
        try:
            yield from answer
        finally:
            getattr(answer, "close", list)()


@pytest.fixture
def sign_in(app: Flask, people: dict[str, Person]) -> Callable[[str], Headers]:
    """Headers with a new token of its own for each call: a request may end the session, or all sessions, of whoever
    sends it. Where tokens change, `token_of` changes."""

    def headers(who: str) -> Headers:
        if who == "nobody":
            return {}
        return {"Authorization": f"Bearer {token_of(app, people[who])}"}

    return headers


@pytest.fixture
def existing(
    user: Client,
    order_of: Callable[[str], str],
    call_of: Callable[..., str],
    task_of: Callable[..., str],
    event_of: Callable[..., str],
    people: dict[str, Person],
) -> dict[str, str]:
    """By collection: the id of something of the user's, that can be found there."""
    return {
        "/v1/calls": call_of("user"),
        "/v1/events": event_of("user"),
        "/v1/events/user": str(people["user"].id),
        "/v1/jobs": user.post("/v1/orders", ORDER).get_json()["id"],
        "/v1/orders": order_of("user"),
        "/v1/queues": "orders",
        "/v1/tasks": task_of("user"),
        "/v1/users": str(people["user"].id),
    }


@pytest.fixture
def document(app: Flask) -> Document:
    """What the app says of itself, less `default`, by which every status would be documented."""
    found: Document = Client(app).get("/openapi.json").get_json()
    for item in found["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"]
    return found


@pytest.fixture(autouse=True)
def passwords_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 is slow on purpose, and most of the time would go into it."""

    def verify(_self: object, _hash: str, password: str) -> bool:
        if password != PASSWORD:
            raise VerifyMismatchError
        return True

    made = some_hash()
    monkeypatch.setattr(PasswordHasher, "verify", verify)
    monkeypatch.setattr(PasswordHasher, "hash", lambda _self, _password, **_: made)


@cache
def some_hash() -> str:
    """A real one: where it is kept, for those who are not there, it has to take its time."""
    return PasswordHasher().hash("nobody's")


class Sender:
    """Sends the requests to one operation, and compares the answers with its document."""

    def __init__(self, operation: APIOperation, sign_in: Callable[[str], Headers], existing: dict[str, str]) -> None:
        from schemathesis import checks

        self._checks = [getattr(checks, name) for name in CHECKS]
        self._sign_in = sign_in
        self._callers = cycle(CALLERS if "security" in operation.definition.raw else ("nobody",))
        self._there = existing.get(operation.path.partition("/{")[0])
        self._every_other = cycle((True, False))

    def __call__(self, case: Case) -> None:
        """Raises FailureGroup where an answer is not as documented."""
        if self._there and has_good_id(case) and next(self._every_other):
            case.path_parameters = dict.fromkeys(case.path_parameters, self._there)
        do_not_wait(case)
        headers = self._sign_in(next(self._callers))
        answer = answer_to(case, headers)
        case.validate_response(answer, self._checks, headers=headers, transport_kwargs={"headers": headers})


def answer_to(case: Case, headers: Headers) -> Response:
    """Asked for again where Redis did not answer in time: a busy disk is no defect of the API's."""
    answer = case.call(headers=headers)
    for _ in range(5):
        if answer.status_code != 503 or answer.json()["code"] != "queue_unavailable":
            break
        answer = case.call(headers=headers)
    return answer


def has_good_id(case: Case) -> bool:
    from schemathesis.core.parameters import ParameterLocation

    return bool(case.path_parameters) and not (case.meta and case.meta.is_negative_at(ParameterLocation.PATH))


def do_not_wait(case: Case) -> None:
    """There is no worker, so that no job ever becomes final."""
    if re.fullmatch(r"wait=([12]?[0-9]|30)", str(case.headers.get("Prefer"))):
        case.headers["Prefer"] = "wait=0"


def operations_of(document: Document, app: Flask) -> Iterator[APIOperation]:
    import schemathesis
    from schemathesis.checks import load_all_checks

    load_all_checks()
    config = schemathesis.Config(seed=1)
    config.projects.get_default().request_timeout = 1  # of streams: they are read no longer
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.app = ServedApp(app)
    return (found.ok() for found in schema.get_all_operations())


def send_all(operation: APIOperation, send: Sender) -> None:
    """Send every request that schemathesis makes up for an operation. Raises what `send` raises, maybe in a group.

    Not by schemathesis's plugin: with pytest 9.2 it cannot name its tests, so that xdist takes all of them for one.
    """
    import hypothesis
    from schemathesis.generation.feedback import FeedbackSources
    from schemathesis.pytest._test_builder import build_operation_test

    def test(case: Case) -> None:
        send(case)

    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    build_operation_test(
        config=operation.schema.config,
        operation=operation,
        test_func=test,
        given_kwargs={},
        feedback=FeedbackSources(),
        explicit_settings=settings,
    )()


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_the_app_answers_as_its_document_says(
    method: str,
    document: Document,
    app: Flask,
    sign_in: Callable[[str], Headers],
    existing: dict[str, str],
    subtests: pytest.Subtests,
) -> None:
    for operation in operations_of(document, app):
        if operation.method == method:
            with subtests.test(operation.label):
                send_all(operation, Sender(operation, sign_in, existing))


@pytest.mark.parametrize("status", ["200", "401", "422"])
def test_an_answer_that_is_not_documented_is_found(
    status: str, document: Document, app: Flask, sign_in: Callable[[str], Headers]
) -> None:
    """The control of the test above."""
    del document["paths"]["/v1/services"]["get"]["responses"][status]
    (operation,) = (found for found in operations_of(document, app) if found.label == "GET /v1/services")
    with pytest.raises(BaseExceptionGroup) as raised:
        send_all(operation, Sender(operation, sign_in, {}))
    assert f"Received: {status}" in repr(raised.value.exceptions)
