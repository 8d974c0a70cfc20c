"""News that Twilio sends of calls: only what it has signed is believed, and each is one job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis as RedisClient
from werkzeug.test import TestResponse

from api import body, twilio_inbound
from config import Settings
from jobs import call_links
from jobs.call_links import STATUS
from jobs.kernel.envelope import load
from local.redis import Redis
from tests.http.conftest import Client
from tests.http.serving import served
from tests.http.twilio import FORM, HEADER, NEWS, NUMBER, SID, form, signature, signed

Tell = Callable[..., TestResponse]
Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def tell(nobody: Client, settings: Settings) -> Tell:
    """Send signed news. `client`, `headers` and whatever else a client takes stand in the place of what was signed."""

    def send(
        fields: dict[str, Any] = NEWS, *, query: str = "", base: str = "", client: Client = nobody, **more: Any
    ) -> TestResponse:
        given = signed(settings, "POST", STATUS, fields, query=query, base=base)
        return client("POST", STATUS, **given | more | {"headers": given["headers"] | more.get("headers", {})})

    return send


@pytest.fixture
def told(redis: RedisClient) -> Told:
    """What has become of news: the bodies of jobs, in order, less what is null in them."""

    def look() -> list[dict[str, Any]]:
        ids = [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]
        found = [load(redis.hget(f"rq:job:{job_id}", "data") or b"") for job_id in ids]
        assert {each["kind"] for each in found} <= {"calls.record_status"}
        return [{name: value for name, value in each["body"].items() if value is not None} for each in found]

    return look


@pytest.fixture
def refused(told: Told) -> Callable[[TestResponse], None]:
    def look(answer: TestResponse) -> None:
        assert (answer.status_code, answer.get_json()["code"]) == (403, "bad_signature")
        assert answer.content_type == "application/problem+json"
        assert told() == []

    return look


Refused = Callable[[TestResponse], None]


def test_news_of_a_call_become_a_job(tell: Tell, told: Told, settings: Settings) -> None:
    call_id = uuid4()
    query = urlsplit(call_links.url(settings, STATUS, call_id)).query
    answer = tell(NEWS | {"CallDuration": "42", "AnsweredBy": "machine_start"}, query=query)
    assert (answer.status_code, answer.get_data()) == (204, b"")
    news = {"sid": SID, "status": "in_progress", "call": str(call_id), "sequence": 2, "at": "2026-01-31T09:30:00Z"}
    assert told() == [news | {"duration": 42, "answered_by": "machine_start"}]


@pytest.mark.parametrize(
    ("status", "ours"),
    [(one, one) for one in ("queued", "initiated", "ringing", "completed", "busy", "failed", "canceled")]
    + [("in-progress", "in_progress"), ("no-answer", "no_answer")],
)
def test_statuses_have_our_names(status: str, ours: str, tell: Tell, told: Told) -> None:
    assert tell(NEWS | {"CallStatus": status}).status_code == 204
    assert [news["status"] for news in told()] == [ours]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"CallStatus": "ringing"},
        {"CallSid": SID},
        NEWS | {"CallStatus": "on-the-moon"},
        NEWS | {"CallStatus": "unknown"},
        NEWS | {"CallStatus": "completed\0"},
        NEWS | {"CallSid": "CA" + "0" * 100},
        NEWS | {"CallSid": "../" + SID},
        NEWS | {"CallSid": SID + "\n"},
        NEWS | {"CallSid": ""},
        NEWS | {"CallSid": [SID, "CA" + "0" * 32]},
        NEWS | {"CallStatus": ["ringing", "completed"]},
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_what_is_no_news_of_a_call_is_passed_over(fields: dict[str, Any], tell: Tell, told: Told) -> None:
    assert tell(fields).status_code == 204
    assert told() == []


@pytest.mark.parametrize(
    ("name", "member", "values"),
    [
        ("SequenceNumber", "sequence", ["", "-1", "two", "1.5", "9" * 30, "٣", "1\0"]),
        ("CallDuration", "duration", ["", "-1", "1e3", "999999999", "9" * 30, "\0"]),
        ("Timestamp", "at", ["", "now", "Sat, 99 Jan 2026 09:30:00 +0000", "31 Jan 2026 09:30:00 +9999", "\0"]),
        ("Timestamp", "at", ["31 Dec 9999 23:59:59 -2300", "1769860800", "2026-01-31T09:30:00Z"]),
        ("AnsweredBy", "answered_by", ["", "Human!", "h" * 33, "человек", "a\0"]),
    ],
)
def test_what_cannot_be_read_is_left_out(name: str, member: str, values: list[Any], tell: Tell, told: Told) -> None:
    for place, value in enumerate([*values, ["1", "2"]]):
        assert tell(NEWS | {"CallSid": f"CA{place:032x}", name: value}).status_code == 204, value
    assert [news.get(member) for news in told()] == [None] * (len(values) + 1)


NOBODYS = "8d4b4a5e-6a55-4c0f-9c5c-2b6f0a5f1c11"


@pytest.mark.parametrize("query", ["call=1&t=2", f"call={NOBODYS}", f"call={NOBODYS}&t={'0' * 32}", "call=%ff&t=%00"])
def test_a_call_that_we_have_not_made_the_url_for_is_left_out(query: str, tell: Tell, told: Told) -> None:
    assert tell(query=query).status_code == 204
    assert ["call" in news for news in told()] == [False]


@pytest.mark.parametrize(
    "fields",
    [
        NEWS | {"CallerName": "", "Empty": ""},
        NEWS | {"Something": "new", "Überraschung": "größer & = + %"},
        NEWS | {"Repeated": ["b", "a", "b"]},
        NEWS | {"To": "+1 500 555", "CallerName": "Øyvind 日本 🎉", "Nul": "a\0b"},
    ],
    ids=["blank", "unknown", "repeated", "characters"],
)
def test_every_field_is_signed(fields: dict[str, Any], tell: Tell, told: Told) -> None:
    for name, value in fields.items():
        less = {each: kept for each, kept in fields.items() if each != name}
        for tampered in (less, less | {name: f"{value}x"}, less | {f"{name}x": value}, fields | {"New": ""}):
            assert tell(fields, data=form(tampered)).status_code == 403, tampered
    assert tell(fields).status_code == 204
    assert len(told()) == 1


@pytest.mark.parametrize(
    "given",
    ["", " ", "x", "a" * 27 + "=", "é" * 28, "\t" * 28, "a" * 10_000, "{}x", "{},{}", " {} {}"],
    ids=lambda given: repr(given)[:20],
)
def test_a_wrong_signature_is_refused(given: str, tell: Tell, settings: Settings, refused: Refused) -> None:
    good = signature(settings, settings.public_base_url + STATUS, NEWS)
    refused(tell(headers={HEADER: given.replace("{}", good)}))
    refused(tell(headers={HEADER: good.swapcase()}))
    assert tell(headers={HEADER: good}).status_code == 204


def test_no_signature_is_refused(nobody: Client, refused: Refused) -> None:
    refused(nobody("POST", STATUS, data=form(NEWS), content_type=FORM))
    refused(nobody("POST", STATUS))


def test_another_tokens_signature_is_refused(
    make_app: Callable[..., Flask], tell: Tell, settings: Settings, refused: Refused
) -> None:
    refused(tell(client=Client(make_app(twilio_auth_token="f" * 32))))
    refused(tell(client=Client(make_app(twilio_auth_token=""))))
    without = signature(settings.model_copy(update={"twilio_auth_token": ""}), settings.public_base_url + STATUS, NEWS)
    refused(tell(client=Client(make_app(twilio_auth_token="")), headers={HEADER: without}))


@pytest.mark.parametrize(
    "query", ["", "call=1", "call=1&t=3", "t=2&call=1", "call=1&t=2&", "call=1&t=2&a", "call=%31&t=2"]
)
def test_another_query_is_refused(query: str, tell: Tell, refused: Refused) -> None:
    refused(tell(query="call=1&t=2", query_string=query))
    refused(tell(query=query, query_string="call=1&t=2"))


HOST = "millrace.example.com"


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (f"https://{HOST}", f"https://{HOST}:443", 204),
        (f"https://{HOST}:443", f"https://{HOST}", 204),
        (f"https://{HOST}:8443", f"https://{HOST}:8443", 204),
        (f"https://{HOST}:8443", f"https://{HOST}", 204),
        (f"http://{HOST}", f"http://{HOST}:80", 204),
        (f"https://{HOST}/behind/a/path", f"https://{HOST}/behind/a/path", 204),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", 204),
        (f"https://{HOST}", f"http://{HOST}", 403),
        (f"http://{HOST}", f"https://{HOST}", 403),
        (f"https://{HOST}", f"https://{HOST}:8443", 403),
        (f"https://{HOST}", "https://millrace.example.org", 403),
        (f"https://{HOST}/behind/a/path", f"https://{HOST}", 403),
    ],
)
def test_the_url_is_the_public_one(
    ours: str, theirs: str, status: int, make_app: Callable[..., Flask], tell: Tell
) -> None:
    client = Client(make_app(public_base_url=ours))
    assert tell(base=theirs, client=client).status_code == status


@pytest.mark.parametrize("proxies", [0, 1])
def test_whatever_host_was_asked_has_no_influence(
    proxies: int, make_app: Callable[..., Flask], tell: Tell, refused: Refused
) -> None:
    client = Client(make_app(trusted_proxies=proxies))
    forwarded = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}
    forwarded |= {"X-Forwarded-Port": "443", "X-Forwarded-Prefix": "/x", "X-Original-URL": "/x", "Forwarded": "host=x"}
    refused(tell(base="https://evil.example.com", client=client, headers=forwarded))
    refused(tell(base="http://evil.example.com", client=client, headers={"Host": "evil.example.com"}))
    assert tell(client=client, headers=forwarded).status_code == 204


JSON = b'{"CallSid": "\xc3\xa9"}'


@pytest.mark.parametrize(
    ("query", "sent", "status"),
    [
        (f"bodySHA256={sha256(JSON).hexdigest()}", JSON, 204),
        (f"call=1&bodySHA256={sha256(JSON).hexdigest()}", JSON, 204),
        (f"bodySHA256={sha256(JSON).hexdigest()}", JSON + b" ", 403),
        (f"bodySHA256={sha256(JSON).hexdigest()}", b"", 403),
        (f"bodySHA256={sha256(JSON).hexdigest()[:-1]}", JSON, 403),
        (f"bodySHA256={sha256(b'').hexdigest()}&bodySHA256={sha256(JSON).hexdigest()}", JSON, 403),
        (f"bodySHA256={sha256(bytes([255])).hexdigest()}", b"\xff", 403),
        ("bodySHA256=", JSON, 403),
        ("bodySHA256=%ff", JSON, 403),
        (f"bodySHA256=\t&x={sha256(JSON).hexdigest()}", JSON, 403),
        (f"x=#&bodySHA256={sha256(JSON).hexdigest()}", JSON, 403),
        ("", JSON, 403),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_a_body_that_is_no_form_is_signed_by_its_digest(
    query: str, sent: bytes, status: int, kind: str, nobody: Client, settings: Settings, told: Told
) -> None:
    url = settings.public_base_url + STATUS + (f"?{query}" if query else "")
    headers = {HEADER: signature(settings, url)}
    answer = nobody("POST", STATUS, headers=headers, query_string=query, data=sent, content_type=kind)
    assert answer.status_code == status
    assert told() == []


@pytest.mark.parametrize("fields", [{}, NEWS], ids=["without", "with"])
def test_a_form_in_parts_is_refused(fields: dict[str, str], tell: Tell, refused: Refused) -> None:
    refused(tell(fields, data=NEWS | {"file": (BytesIO(b"x"), "x.txt")}, content_type="multipart/form-data"))


@pytest.mark.parametrize(
    "sent", [b"CallSid=\xff", b"CallSid=%ff", b"%ff=1", b"a=%ed%a0%80", form(NEWS).encode("utf-16")]
)
def test_what_is_not_utf_8_is_refused(sent: bytes, tell: Tell, refused: Refused) -> None:
    refused(tell(data=sent))
    refused(tell(environ_overrides={"QUERY_STRING": "call=\xff"}))


def test_a_body_is_at_most_1_mib(tell: Tell, refused: Refused) -> None:
    answer = tell(NEWS | {"Long": "x" * body.MAX_BYTES})
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")
    many = {f"f{place}": "" for place in range(twilio_inbound.MOST_FIELDS + 1)}
    refused(tell(many))
    assert tell(NEWS | {"Long": "x" * (body.MAX_BYTES - 1000)}).status_code == 204


def test_news_told_again_are_the_same_job(tell: Tell, told: Told, redis: RedisClient) -> None:
    for _ in range(3):
        assert tell().status_code == 204
    (job,) = redis.lrange("rq:queue:default", 0, -1)
    assert tell(NEWS | {"CallStatus": "completed", "Timestamp": "later"}).status_code == 204
    assert len(told()) == 1, "of one number there is one news"
    redis.flushall()
    tell()
    assert redis.lrange("rq:queue:default", 0, -1) == [job], "so that its receipt is found"


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ({"SequenceNumber": "3"}, 2),
        ({"CallSid": "CA" + "0" * 32}, 2),
        ({"SequenceNumber": ""}, 2),
        ({"SequenceNumber": "02"}, 1),
    ],
    ids=repr,
)
def test_other_news_are_another_job(changed: dict[str, str], count: int, tell: Tell, told: Told) -> None:
    for fields in (NEWS, NEWS | changed) * 2:
        assert tell(fields).status_code == 204
    assert len(told()) == count


def test_news_without_a_number_are_told_apart_by_their_status(tell: Tell, told: Told) -> None:
    unnumbered = {name: value for name, value in NEWS.items() if name != "SequenceNumber"}
    for status in ("ringing", "in-progress", "ringing", "completed"):
        assert tell(unnumbered | {"CallStatus": status}).status_code == 204
    assert [news["status"] for news in told()] == ["ringing", "in_progress", "completed"]


def test_news_that_come_fifty_times_at_once_are_one_job(app: Flask, tell: Tell, told: Told) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: tell(client=Client(app)), range(50)))
    assert {answer.status_code for answer in answers} == {204}
    assert len(told()) == 1


def test_news_are_asked_for_again_while_redis_is_away(tell: Tell, redis_server: Redis, settings: Settings) -> None:
    redis_server.kill()
    try:
        began = monotonic()
        answer = tell()
        assert monotonic() - began < 1
        refused = tell(headers={HEADER: "x" * 28})
    finally:
        redis_server.start()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert refused.status_code == 403
    assert tell().status_code == 204


def test_the_carrier_is_not_counted(make_app: Callable[..., Flask], tell: Tell) -> None:
    client = Client(make_app(rate_limit_user="1/hour", rate_limit_login_address="1/hour"))
    assert {tell(NEWS | {"SequenceNumber": f"{number}"}, client=client).status_code for number in range(9)} == {204}


def test_no_number_is_logged(settings: Settings, tmp_path: Path) -> None:
    with served(settings, tmp_path) as web:
        for fields in (NEWS, NEWS | {"CallStatus": NUMBER}, NEWS | {"Timestamp": NUMBER}):
            sent = signed(settings, "POST", STATUS, fields, query=form({"To": NUMBER}))
            headers = sent["headers"] | {"Content-Type": FORM}
            assert web.post(f"{STATUS}?{sent['query_string']}", headers=headers, data=sent["data"]).status_code == 204
            assert web.post(f"{STATUS}?To={NUMBER}", headers=headers, data=sent["data"]).status_code == 403
    log = web.log.read_text()
    assert STATUS in log
    assert "callback_ignored" in log
    assert NUMBER[-7:] not in log
