"""What gunicorn makes of requests that are broken, too large or too slow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from flask import Flask

from api.headers import SECURITY
from config import Settings
from tests.conftest import Person
from tests.http.conftest import token_of
from tests.http.serving import Answer, Served, answer_on, served
from tests.processes import until

MIB = 1 << 20
BODY = b'{"services": ["123"], "total_fee": "1", "customer_id": "%s"}'
ROOM = len(BODY) - 2


@pytest.fixture(scope="module")
def web(
    base_settings: Settings, people: dict[str, Person], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with served(base_settings, tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture
def token(app: Flask, people: dict[str, Person]) -> str:
    return token_of(app, people["user"])


@pytest.fixture
def head(token: str) -> Callable[..., bytes]:
    """The head of a write."""

    def make(*lines: str, path: str = "/v1/orders") -> bytes:
        fixed = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Content-Type: application/json")
        return "".join(f"{line}\r\n" for line in (*fixed, *lines, "")).encode()

    return make


def chunked(body: bytes, size: int = 60_000) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def assert_problem(answer: Answer, status: int, code: str) -> None:
    problem = answer.json()
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem.keys() >= {"type", "title", "detail"}
    assert SECURITY.items() <= answer.headers.items()
    assert "Server" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/auth/login"])
@pytest.mark.parametrize("framing", ["chunked", "announced"])
@pytest.mark.parametrize(("size", "status"), [(MIB, 422), (MIB + 1, 413), (3 * MIB, 413)])
def test_a_body_is_at_most_1_mib_however_it_is_framed(
    web: Served, head: Callable[..., bytes], path: str, framing: str, size: int, status: int
) -> None:
    body = BODY % (b"x" * (size - ROOM))
    assert len(body) == size
    if framing == "chunked":
        sent = head("Transfer-Encoding: chunked", path=path) + chunked(body)
    else:
        sent = head(f"Content-Length: {size}", path=path) + body
    assert_problem(web.exchange(sent), status, "validation_failed" if status == 422 else "body_too_large")


def test_a_body_that_would_be_good_if_it_were_cut_is_refused(web: Served, head: Callable[..., bytes]) -> None:
    body = (BODY % b"c").ljust(MIB) + b"and more"
    answer = web.exchange(head("Transfer-Encoding: chunked") + chunked(body))
    assert_problem(answer, 413, "body_too_large")


def test_a_connection_is_good_for_another_request_after_a_413(web: Served, head: Callable[..., bytes]) -> None:
    with web.connect() as connection:
        for status, size in ((413, 2 * MIB), (202, 100)):
            body = BODY % b"c"
            connection.sendall(head("Transfer-Encoding: chunked") + chunked(body.ljust(size)))
            assert answer_on(connection).status == status


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Transfer-Encoding: chunked", b"ZZ\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"-2\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"2\r\n{}xx0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"2\r\n{}\r\n"),
        ("Transfer-Encoding: chunked", b"2;\x01\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\nbad header\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"50\r\n{}"),
        ("Content-Length: 500", BODY % b"whole-but-announced-longer"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/auth/login"])
def test_a_broken_body_is_a_400(web: Served, head: Callable[..., bytes], framing: str, body: bytes, path: str) -> None:
    assert_problem(web.exchange(head(framing, path=path) + body, end=True), 400, "malformed_body")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /healthz?secret=" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET /healthz HTTP/1.1\r\nSecret: " + b"x" * 9_000 + b"\r\n\r\n", 431, "request_header_fields_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"Secret: x\r\n" * 200 + b"\r\n", 431, "request_header_fields_too_large"),
        (b"secret rubbish\r\n\r\n", 400, "bad_request"),
        (b"GET /secret HTTP/1.1\r\nSecret header\r\n\r\n", 400, "bad_request"),
        (b"GET /secret HTTP/1.1\r\nSecret: a\x00b\r\n\r\n", 400, "bad_request"),
        (b"GET /secret HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (
            b"POST /secret HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (b"POST /secret HTTP/1.1\r\nTransfer-Encoding: secret\r\n\r\n", 501, "not_implemented"),
        (b"POST /secret HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_gunicorn_refuses_is_a_problem_like_any_other(
    web: Served, request_: bytes, status: int, code: str
) -> None:
    logged = len(web.lines())
    answer = web.exchange(request_)
    assert_problem(answer, status, code)
    assert answer.headers["Connection"] == "close"
    assert b"secret" not in answer.body.lower()
    until(lambda: any(answer.headers["X-Request-ID"] in line for line in web.lines()), 5)
    assert "secret" not in "".join(web.lines()[logged:]).lower()


def test_a_body_that_does_not_come_is_a_408(web: Served, head: Callable[..., bytes]) -> None:
    """Three at once, as each takes the time that it is given: one short, one without its end, one in drops."""
    began = monotonic()
    with web.connect() as short, web.connect() as endless, web.connect() as dropping:
        short.sendall(head("Content-Length: 50") + b"{}")
        endless.sendall(head("Transfer-Encoding: chunked") + b"2\r\n{}\r\n")
        dropping.sendall(head("Content-Length: 50"))
        for _ in range(8):
            sleep(1)
            dropping.sendall(b" ")
        assert web.get("/healthz").status_code == 200
        for connection in (short, endless, dropping):
            assert_problem(answer_on(connection), 408, "request_timeout")
            assert connection.recv(1) == b"", "the rest would be taken for another request"
    assert 8 < monotonic() - began < 25


def test_a_head_that_does_not_come_is_not_waited_for(base_settings: Settings, tmp_path: Path) -> None:
    with served(base_settings, tmp_path, ["--keep-alive", "1"]) as web, web.connect(timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert connection.recv(100) == b""


def test_every_line_of_the_log_is_one_json_object(web: Served) -> None:
    web.exchange(b"rubbish\r\n\r\n")
    events = [json.loads(line)["event"] for line in web.lines()]
    assert "request_refused" in events
    assert any(event.startswith("Starting gunicorn") for event in events)


DEFECTS = """
import threading
import gevent
from api.app import create_app


def made():
    app = create_app()

    def beyond_views(environ, start_response):
        if environ["PATH_INFO"] == "/greenlet":
            gevent.spawn(lambda: 1 / 0)
        if environ["PATH_INFO"] == "/thread":
            threading.Thread(target=lambda: 1 / 0).start()
        if environ["PATH_INFO"] == "/here":
            raise RuntimeError("as asked")
        return app(environ, start_response)

    return beyond_views
"""


def test_what_nobody_caught_is_one_line_each(base_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "defects.py").write_text(DEFECTS)
    options = ["--pythonpath", str(tmp_path)]
    with served(base_settings, tmp_path, options, "defects:made()") as web:
        for path in ("/greenlet", "/thread"):
            assert web.get(path).status_code == 404
        answer = web.exchange(b"GET /here?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert_problem(answer, 500, "internal_error")
        until(lambda: "".join(web.lines()).count("ZeroDivisionError") >= 2, 5)
    lines = [json.loads(line) for line in web.lines()]
    raised = [line["exception"][0]["exc_type"] for line in lines if "exception" in line]
    assert sorted(raised) == ["RuntimeError", "ZeroDivisionError", "ZeroDivisionError"]
    assert "secret" not in web.log.read_text()
