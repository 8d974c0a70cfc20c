"""The port to the event sink, against a server that answers whatever it is told to: each answer means one thing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import repeat
from typing import Any
from uuid import UUID

import pytest

from config import Settings
from jobs.kernel.ports import Lost, Refused, Sink, Trouble, Unreached
from tests.processes import ROOT
from tests.providers import Answer, Provider, http
from workers import sink

EVENT = UUID("0192f0c1-7d1e-7c43-9b0a-5d0e3c5b8a16")
BODY = b'{"name":"invoice.paid"}'
TAKEN = http(200, {})

Answering = Callable[..., tuple[Sink, Provider]]


def sink_at(settings: Settings, url: str, seconds: float = 0.5) -> Sink:
    made = sink.sink(settings.model_copy(update={"event_sink_url": url, "event_sink_timeout_seconds": seconds}))
    assert made is not None
    return made


@pytest.fixture
def answering(base_settings: Settings) -> Iterator[Answering]:
    """A port to a sink that gives these answers, one a connection."""
    providers = []

    def made(*answers: Answer, path: str = "/events", **more: Any) -> tuple[Sink, Provider]:
        providers.append(Provider(*answers))
        return sink_at(base_settings, providers[-1].url + path, **more), providers[-1]

    yield made
    for provider in providers:
        provider.close()


def test_an_event_is_handed_over_under_its_id(answering: Answering) -> None:
    port, provider = answering(TAKEN, path="/in/events?from=us&key=x%20y")
    port.deliver(EVENT, BODY)
    (request,) = provider.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /in/events?from=us&key=x%20y HTTP/1.1\r\n")
    sent = {line.lower() for line in head.split(b"\r\n")}
    assert {f"idempotency-key: {EVENT}".encode(), b"content-type: application/json", b"user-agent: millrace"} <= sent
    assert body == BODY


def test_the_root_is_a_path_too(answering: Answering) -> None:
    port, provider = answering(TAKEN, path="")
    port.deliver(EVENT, BODY)
    assert provider.requests[0].startswith(b"POST / HTTP/1.1\r\n")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REFUSED = (400, 413, 415, 422)
NOT_NOW = (
    *(300, 301, 302, 303, 304, 307, 308),
    *(401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 418, 421, 423, 425, 426, 429, 431, 451, 499),
    *(500, 501, 502, 503, 504, 507, 520, 599, 101, 103, 600, 999),
)
ANSWERS: dict[str, tuple[Answer, type[Exception] | None]] = {
    **{f"{status}": (http(status, {}), None) for status in (200, 201, 202, 207, 299)},
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", None),
    **{f"{status}": (http(status, {"detail": "no"}), Refused) for status in REFUSED},
    **{f"{status}": (http(status, {}), Trouble) for status in NOT_NOW},
    "a redirect to where it would be taken": (http(307, b"", "Location: /elsewhere\r\n"), Trouble),
    "one that goes on after a hint": (b"HTTP/1.1 100 Continue\r\n\r\n" + TAKEN, None),
    "an old one": (b"HTTP/1.0 200 OK\r\n\r\n", None),
    "one with a body that nobody needs": (http(200, b"x" * 100_000), None),
    "one with half a body": (HEAD + b"Content-Length: 100\r\n\r\nhalf", None),
    "one with an endless body": ((HEAD + b"\r\n", *repeat(b"x" * 4096, 100_000)), None),
    "one with endless chunks": (
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *repeat(b"1\r\nx\r\n", 100_000)),
        None,
    ),
    "one that ends behind its status": ((b"HTTP/1.1 200 OK\r\nContent-Le",), None),
    "one whose body never comes": ((HEAD + b"Content-Length: 100\r\n\r\n",), None),
    "one with endless headers": ((HEAD, *repeat(b"X-More: x\r\n", 100_000)), Lost),
    "one with a header without an end": ((HEAD, *repeat(b"x" * 4096, 100)), Lost),
    "one that hints for ever": (repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), Lost),
    "nothing": (b"", Lost),
    "no HTTP": (b"hello\r\n\r\n", Lost),
    "an answer of before HTTP had a status": (b"<html>", Lost),
    "a status that is none": (b"HTTP/1.1 2OO OK\r\n\r\n", Lost),
    "half a status": ((b"HTTP/1.1 20",), Lost),
    "no answer in time": (None, Lost),
}


@pytest.mark.parametrize(("answer", "meaning"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_means_one_thing_and_is_asked_for_once(
    answering: Answering, answer: Answer, meaning: type[Exception] | None
) -> None:
    port, provider = answering(answer, TAKEN)
    if meaning is None:
        port.deliver(EVENT, BODY)
    else:
        with pytest.raises((Trouble, Refused)) as raised:
            port.deliver(EVENT, BODY)
        assert type(raised.value) is meaning
        assert str(getattr(raised.value, "reason", raised.value))
    assert len(provider.requests) == 1


PARTS = 300


def slowly(parts: Iterable[bytes], sent: list[bytes]) -> Iterator[bytes]:
    for part in parts:
        time.sleep(0.1)
        sent.append(part)
        yield part


@pytest.mark.parametrize(
    ("parts", "meaning"),
    [
        ((b"HTTP/1.1 ", *repeat(b"0", PARTS)), Lost),
        ((HEAD, *repeat(b"X: x\r\n", PARTS)), None),
        ((HEAD + b"\r\n", *repeat(b"x", PARTS)), None),
    ],
    ids=["in its status", "in its headers", "in its body"],
)
def test_an_answer_that_trickles_in_is_hung_up_on(
    answering: Answering, parts: tuple[bytes, ...], meaning: type[Exception] | None
) -> None:
    """Each part comes in time; all of them would take half a minute."""
    sent: list[bytes] = []
    port, provider = answering(slowly(parts, sent))
    if meaning is None:
        port.deliver(EVENT, BODY)
    else:
        with pytest.raises(meaning):
            port.deliver(EVENT, BODY)
    assert len(sent) < PARTS / 2
    assert len(provider.requests) == 1


def test_a_sink_that_takes_nothing_in_is_hung_up_on(base_settings: Settings) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1)) as deaf:
        port = sink_at(base_settings, f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        with pytest.raises(Lost):
            port.deliver(EVENT, b"x" * (64 << 20))


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_a_connection_that_is_never_made_asks_nothing(base_settings: Settings, host: str) -> None:
    with pytest.raises(Unreached):
        sink_at(base_settings, f"http://{host}/").deliver(EVENT, BODY)


def test_a_sink_that_speaks_no_tls_is_not_reached(answering: Answering, base_settings: Settings) -> None:
    _, provider = answering(TAKEN)
    with pytest.raises(Unreached):
        sink_at(base_settings, provider.url.replace("http:", "https:")).deliver(EVENT, BODY)


def test_no_connection_is_used_twice(answering: Answering) -> None:
    """A kept one that the other side closes meanwhile would look like an answer that was lost."""
    port, provider = answering(*[TAKEN] * 3)
    for _ in range(3):
        port.deliver(EVENT, BODY)
    assert len(provider.requests) == 3


def test_cookies_are_neither_kept_nor_sent(answering: Answering) -> None:
    port, provider = answering(http(200, {}, "Set-Cookie: who=us\r\n"), TAKEN)
    for _ in range(2):
        port.deliver(EVENT, BODY)
    assert b"cookie" not in provider.requests[1].lower()


def test_a_proxy_of_the_environment_is_not_asked(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answering(TAKEN)[0].deliver(EVENT, BODY)


def test_without_a_url_there_is_no_sink() -> None:
    assert sink.sink(Settings(environment="local")) is None


LOUD = """
import logging
from uuid import uuid4
from config import Settings
from jobs.kernel import log
from workers import sink
settings = Settings.from_env()
log.configure(settings)
sink.sink(settings).deliver(uuid4(), b'{"name":"canary"}')
logging.getLogger("somebody").debug("seen")
print(settings, repr(settings))
"""
"""In a process of its own: loggers are made once, and keep where they write to."""


def test_neither_what_is_sent_nor_where_to_is_told_at_whatever_level() -> None:
    provider = Provider(TAKEN)
    told = {
        "ENVIRONMENT": "local",
        "LOG_LEVEL": "DEBUG",
        "EVENT_SINK_URL": f"{provider.url}/hooks/canary?key=canary",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOUD], env=os.environ | told, cwd=ROOT, capture_output=True, text=True, check=True
    )
    provider.close()
    assert b"canary" in provider.requests[0]
    assert "seen" in done.stdout
    assert "canary" not in done.stdout + done.stderr
