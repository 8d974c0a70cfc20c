"""What is said in a call: TwiML, for whom the carrier asks about and signs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.call_scripts import FALLBACK, LONGEST
from config import Settings
from jobs import call_links
from jobs.call_links import VOICE
from local.postgres import Postgres
from local.redis import Redis
from tests.http.conftest import Client
from tests.http.twilio import HEADER, NEWS, form, signed

Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(nobody: Client, settings: Settings) -> Ask:
    """Ask what to say in a call, as the carrier does."""

    def send(call_id: str, method: str = "POST", client: Client = nobody) -> TestResponse:
        query = urlsplit(call_links.url(settings, VOICE, UUID(call_id))).query
        return client(method, VOICE, **signed(settings, method, VOICE, query=query))

    return send


def said(answer: TestResponse) -> str:
    """What a TwiML document says, which says nothing else."""
    assert (answer.status_code, answer.content_type) == (200, "text/xml")
    root = ET.fromstring(answer.get_data())
    assert (root.tag, {verb.tag for verb in root}) == ("Response", {"Say"})
    assert all(verb.text and not list(verb) for verb in root)
    return " ".join(verb.text or "" for verb in root)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("workflow", "about"), [("support", "support team"), ("sales", "our offer"), ("reminder", "appointment")]
)
def test_a_call_is_spoken_for_its_workflow_and_by_name(
    method: str, workflow: str, about: str, ask: Ask, call_of: Callable[..., str]
) -> None:
    text = said(ask(call_of("user", workflow=workflow, customer_name="Ada Lovelace"), method))
    assert text.startswith("Hello, Ada Lovelace. ")
    assert about in text


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("</Say><Dial>+15005550001</Dial><Say>", "</Say><Dial>+15005550001</Dial><Say>"),
        ("<![CDATA[ & ]]> \"'", "<![CDATA[ & ]]> \"'"),
        ("&lt;&#0;", "&lt;&#0;"),
        ("Øyvind 日本 🎉", "Øyvind 日本 🎉"),
        ("{name} {0} %s", "{name} {0} %s"),
        ("A\x01d\x1b\u2028a\ufffe", "Ada"),
        ("\x01 \x02", "there"),
        ("x" * 5_000, "x" * LONGEST),
    ],
    ids=lambda name: repr(name)[:30],
)
def test_a_name_is_text_and_nothing_else(name: str, spoken: str, ask: Ask, call_of: Callable[..., str]) -> None:
    assert said(ask(call_of("user", customer_name=name))).startswith(f"Hello, {spoken}. ")


def test_what_nobody_knows_is_answered_politely(
    nobody: Client, ask: Ask, settings: Settings, call_of: Callable[..., str]
) -> None:
    call_id = call_of("user", customer_name="Ada")
    queries = ("", f"call={call_id}", f"call={call_id}&t={'0' * 32}", "call=nonsense&t=1")
    answers = [nobody("POST", VOICE, **signed(settings, "POST", VOICE, query=query)) for query in queries]
    answers += [ask(str(uuid4())), ask(call_of("user", workflow="on the moon"))]
    assert [said(answer) for answer in answers] == list(FALLBACK) * 6


def test_a_call_is_answered_while_postgresql_is_away(
    ask: Ask, call_of: Callable[..., str], postgres: Postgres, app: Flask
) -> None:
    call_id = call_of("user")
    assert [said(ask(call_id))] != list(FALLBACK)
    postgres.stop("immediate")
    try:
        answer = ask(call_id)
    finally:
        postgres.start()
    assert [said(answer)] == list(FALLBACK)


def test_redis_is_not_needed(ask: Ask, call_of: Callable[..., str], redis_server: Redis) -> None:
    call_id = call_of("user")
    redis_server.kill()
    try:
        answer = ask(call_id)
    finally:
        redis_server.start()
    assert "Ada" in said(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_said_to_who_does_not_sign(
    method: str, nobody: Client, settings: Settings, call_of: Callable[..., str]
) -> None:
    link = urlsplit(call_links.url(settings, VOICE, UUID(call_of("user")))).query
    good = signed(settings, method, VOICE, query=link)
    tampered = [
        good | {"headers": {}},
        good | {"headers": {HEADER: good["headers"][HEADER].swapcase()}},
        good | {"query_string": good["query_string"] + "&Digits=1"},
        good | {"query_string": good["query_string"].replace("t=", "t=0")},
    ]
    answers = [nobody(method, VOICE, **each) for each in tampered]
    assert [(answer.status_code, answer.get_json()["code"]) for answer in answers] == [(403, "bad_signature")] * 4
    assert nobody(method, VOICE, **good).status_code == 200


def test_what_is_signed_for_one_url_is_not_for_the_other(nobody: Client, settings: Settings) -> None:
    given = signed(settings, "POST", VOICE)
    assert nobody("POST", call_links.STATUS, **given).status_code == 403
    url_alone = signed(settings, "GET", VOICE)
    assert nobody("POST", VOICE, data=form(NEWS), **url_alone).status_code == 403
