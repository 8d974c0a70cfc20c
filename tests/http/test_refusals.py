"""What those get who are refused in an overload, on the wire."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic, sleep

import pytest

from config import Settings
from deploy.shed import STEADY
from tests.http.serving import Served, answer_on, served

HELD = """
from pathlib import Path
import gevent
from api.app import create_app


def made():
    app, over = create_app(), Path(__file__).with_name("over")

    def held(environ, start_response):
        while environ["PATH_INFO"] == "/held" and not over.exists():
            gevent.sleep(0.05)
        return app(environ, start_response)

    return held
"""
KEPT = 3
"""Seconds that gunicorn keeps a connection open without a request that is served."""

ORIGIN = "https://shop.example.com"
READ = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"
WRITE = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def full(base_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A process that serves one write and one read at a time, and does so all the time."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "held.py").write_text(HELD)
    settings = base_settings.model_copy(
        update={"max_in_flight": 1, "cors_origins": (ORIGIN, "https://admin.example.com")}
    )
    options = ["--pythonpath", str(folder), "--keep-alive", str(KEPT)]
    with ExitStack() as stack:
        web = stack.enter_context(served(settings, folder, options, "held:made()"))
        for method in ("GET", "POST"):
            holder = stack.enter_context(web.connect())
            holder.sendall(f"{method} /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        sleep(2 * STEADY)
        yield web
        (folder / "over").touch()


def received(connection: socket.socket, seconds: float = 1.0) -> bytes:
    """All that comes in some time, or until the end."""
    connection.settimeout(seconds)
    data = b""
    try:
        while more := connection.recv(1 << 16):
            data += more
    except TimeoutError:
        pass
    return data


def test_a_refused_head_is_answered_without_a_body_and_its_connection_is_in_step(full: Served) -> None:
    refused = full.exchange(READ)
    assert refused.status == 503
    with full.connect() as connection:
        connection.sendall(READ.replace(b"GET", b"HEAD"))
        head, end, body = received(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert f"Content-Length: {len(refused.body)}".encode() in head
        assert (end, body) == (b"\r\n\r\n", b"")
        connection.sendall(READ.replace(b"/v1/orders", b"/healthz"))
        assert answer_on(connection).status == 200


def test_a_connection_that_is_refused_for_long_is_closed_with_its_last_answer(full: Served) -> None:
    began = monotonic()
    with full.connect(timeout=10) as connection:
        while True:
            sleep(0.1)
            connection.sendall(WRITE)
            answer = answer_on(connection)
            assert answer.status == 503
            if answer.headers.get("Connection") == "close":
                break
        assert KEPT / 2 < monotonic() - began < KEPT
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "request_", [WRITE.replace(b"Host: x", b"Connection: close"), WRITE.replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_who_wants_no_other_request_is_refused_like_all(full: Served, request_: bytes) -> None:
    with full.connect(timeout=10) as connection:
        connection.sendall(request_)
        answer = answer_on(connection)
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert connection.recv(1) == b""


def test_requests_that_are_sent_ahead_are_served(full: Served) -> None:
    with full.connect() as connection:
        connection.sendall(WRITE * 3)
        assert received(connection).count(b"HTTP/1.1 401 ") == 3


def test_who_asks_whether_to_go_on_is_told(full: Served) -> None:
    began = monotonic()
    with full.connect(timeout=10) as connection:
        connection.sendall(WRITE[:-2].replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 ")
    assert monotonic() - began < KEPT / 2


@pytest.mark.parametrize("pieces", [(b"my-o", b"wn-id"), (b"", b"my-own-id")])
def test_an_id_that_comes_in_pieces_is_the_whole_id(full: Served, pieces: tuple[bytes, bytes]) -> None:
    with full.connect() as connection:
        connection.sendall(READ[:-2] + b"X-Request-ID: " + pieces[0])
        sleep(0.2)
        connection.sendall(pieces[1] + b"\r\n\r\n")
        answer = answer_on(connection)
    assert (answer.status, answer.headers["X-Request-ID"], answer.json()["request_id"]) == (503, *["my-own-id"] * 2)


def test_health_is_told_however_it_is_asked_for(full: Served) -> None:
    for asked in (b"GET /healthz", b"GET /healthz?from=probe", b"HEAD /healthz", b"HEAD /readyz", b"GET /metrics"):
        with full.connect() as connection:
            connection.sendall(asked + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not connection.recv(100).startswith(b"HTTP/1.1 503 "), asked


def test_a_page_of_another_origin_may_read_a_refusal_as_it_may_any_answer(full: Served) -> None:
    answers = {}
    for path in ("/v1/orders", "/healthz"):
        answer = full.get(path, headers={"Origin": ORIGIN})
        answers[answer.status_code] = {
            name: value for name, value in answer.headers.items() if name == "Vary" or name.startswith("Access-Control")
        }
    assert answers[503] == answers[200]
    assert answers[503]["Access-Control-Allow-Origin"] == ORIGIN
    other = full.get("/v1/orders", headers={"Origin": "https://evil.example.com"})
    assert (other.status_code, "Access-Control-Allow-Origin" in other.headers) == (503, False)
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    with full.connect() as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in asks.items())
        connection.sendall(f"OPTIONS /v1/orders HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        assert answer_on(connection).status == 200
