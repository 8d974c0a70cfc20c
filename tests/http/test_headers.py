"""What every response carries, and how errors look."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import pytest
import structlog
from flask import Flask
from werkzeug.test import TestResponse

from api import headers, problems
from tests.conftest import PASSWORD
from tests.http.conftest import ORDER, Client

Make = Callable[..., Flask]
SECURITY = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


Logged = Callable[[], AbstractContextManager[list[MutableMapping[str, Any]]]]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logged:
    """What is logged in a block, with what the request is known by."""
    for module in (headers, problems):
        monkeypatch.setattr(
            module, "log", structlog.get_logger()
        )  # the present one is bound to an earlier test's output
    return lambda: structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars])


@pytest.fixture
def broken(make_app: Make) -> Client:
    """An application with a view that raises what nobody foresaw."""
    app = make_app()

    def view() -> str:
        password = "in-a-local-variable"
        raise RuntimeError(f"/etc/passwd SELECT * {len(password)}")

    app.add_url_rule("/broken", "broken", view)
    return Client(app)


def answers(user: Client, nobody: Client) -> list[TestResponse]:
    """One of every sort."""
    return [
        user.get("/v1/jobs"),
        user.post("/v1/orders", ORDER),
        user.post("/v1/orders", {}),
        user.raw(b"{"),
        user.raw(b"{}", content_type="text/plain"),
        user.raw(b"x" * (1 << 21)),
        user.get("/v1/orders/nonsense"),
        user("PUT", "/v1/orders"),
        user("OPTIONS", "/v1/orders"),
        user("HEAD", "/v1/jobs"),
        nobody.get("/v1/jobs"),
        nobody.get("/nowhere"),
        nobody.get("/healthz"),
        nobody.get("/docs"),
        nobody.get("/openapi.json"),
    ]


def test_every_answer_has_an_id_and_the_security_headers(user: Client, nobody: Client) -> None:
    for answer in answers(user, nobody):
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"]), answer.request.path
        assert {name: answer.headers[name] for name in SECURITY} == SECURITY
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Server" not in answer.headers
        assert len(answer.headers.getlist("X-Request-ID")) == 1


def test_what_needs_a_token_is_stored_nowhere(user: Client, nobody: Client) -> None:
    for answer in answers(user, nobody):
        if answer.request.path.startswith("/v1") and answer.status_code != 405:
            assert answer.headers["Cache-Control"] == "no-store", answer.request.path


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("abc-1.2_3", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("é", False),
        ("a;b", False),
    ],
)
def test_a_good_request_id_is_kept(user: Client, sent: str, taken: bool) -> None:
    for path in ("/v1/jobs", "/nowhere"):
        answer = user.get(path, headers={"X-Request-ID": sent})
        assert (answer.headers["X-Request-ID"] == sent) is taken
        if answer.status_code == 404:
            assert answer.get_json()["request_id"] == answer.headers["X-Request-ID"]


def test_every_error_is_a_problem(user: Client, nobody: Client) -> None:
    seen = {}
    for answer in answers(user, nobody):
        if answer.status_code < 400:
            continue
        problem = json.loads(answer.data)
        assert answer.content_type == "application/problem+json"
        assert problem.keys() >= {"type", "title", "status", "detail", "code", "request_id"}
        assert problem["status"] == answer.status_code
        assert problem["request_id"] == answer.headers["X-Request-ID"]
        assert re.fullmatch(r"[a-z0-9_]+", problem["code"])
        seen[answer.status_code] = problem["code"]
    assert seen == {
        400: "malformed_json",
        401: "unauthenticated",
        404: "not_found",
        405: "method_not_allowed",
        413: "body_too_large",
        415: "unsupported_media_type",
        422: "validation_failed",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/orders/", 404),
        ("POST", "/v1//orders", 404),
        ("GET", "/V1/orders", 404),
        ("GET", "/v1", 404),
        ("DELETE", "/v1/orders", 405),
        ("POST", "/v1/jobs", 405),
        ("GET", "/v1/auth/login", 405),
        ("TRACE", "/v1/orders", 405),
    ],
)
def test_an_unknown_path_is_404_and_a_wrong_method_405(nobody: Client, method: str, path: str, status: int) -> None:
    answer = nobody(method, path)
    assert answer.status_code == status
    if status == 405:
        assert method not in answer.headers["Allow"].split(", ")


def test_a_defect_tells_nothing_of_itself(broken: Client, logged: Logged) -> None:
    with logged() as lines:
        answer = broken.get("/broken")
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (500, "internal_error")
    for secret in ("RuntimeError", "passwd", "SELECT", "Traceback", "test_headers", "local"):
        assert secret not in json.dumps(problem)
    defect, _ = lines
    assert (defect["event"], defect["error"]) == ("defect", "RuntimeError")
    assert defect["request_id"] == problem["request_id"]
    assert "in-a-local-variable" not in json.dumps(lines)


def test_a_request_is_one_line_without_anything_private(user: Client, nobody: Client, logged: Logged) -> None:
    with logged() as lines:
        job = user.post("/v1/orders?run_at=2020-01-01T00:00:00Z", ORDER | {"customer_id": "private-1"}).get_json()
        nobody.post("/v1/auth/login", {"email": "user@example.com", "password": PASSWORD})
        nobody.get("/nowhere/private-2?token=private-3")
    assert [(line["event"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("request", "POST", "/v1/orders", 202),
        ("request", "POST", "/v1/auth/login", 200),
        ("request", "GET", None, 404),
    ]
    assert lines[0]["job_id"] == job["id"]
    assert all(line["request_id"] for line in lines)
    assert not any(word in json.dumps(lines) for word in ("private", "example.com", PASSWORD, "run_at", "Bearer"))


def test_only_listed_origins_may_read_answers(make_app: Make) -> None:
    client = Client(make_app(cors_origins=("https://app.example.com",)))
    good = client.get("/v1/jobs", headers={"Origin": "https://app.example.com"})
    bad = client.get("/v1/jobs", headers={"Origin": "https://evil.example.com"})
    assert good.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert good.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = good.headers["Access-Control-Expose-Headers"]
    assert {"Location", "X-CSRF-TOKEN"} <= set(exposed.split(", "))
    assert "Access-Control-Allow-Origin" not in bad.headers


def test_a_preflight_of_a_listed_origin_is_answered(make_app: Make) -> None:
    client = Client(make_app(cors_origins=("https://app.example.com",)))
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, idempotency-key"}
    answer = client("OPTIONS", "/v1/orders", headers={"Origin": "https://app.example.com"} | asks)
    assert answer.status_code == 200
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "idempotency-key" in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("origins", [(), ("*",)])
def test_a_star_never_goes_with_credentials(make_app: Make, origins: tuple[str, ...]) -> None:
    answer = Client(make_app(cors_origins=origins)).get("/healthz", headers={"Origin": "https://any.example.com"})
    assert "Access-Control-Allow-Credentials" not in answer.headers
