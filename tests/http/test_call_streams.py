"""Calls, followed: whatever becomes of one is heard at once, by any number, and costs nobody else anything."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import pytest
from flask import Flask

from api import following, places, streams
from api.call_schemas import CallSummary
from config import Settings
from local.postgres import Postgres
from tests.conftest import Person
from tests.http.conftest import Client, statements, token_of
from tests.http.serving import Served, served
from tests.http.streaming import COMMENT, Follow, opening
from tests.processes import until

Change = Callable[..., None]
Call_of = Callable[..., str]


@pytest.fixture(scope="module")
def web(
    base_settings: Settings, people: dict[str, Person], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with served(base_settings, tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture
def mine(app: Flask, people: dict[str, Person]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(app, people['user'])}"}


@pytest.fixture
def follow(web: Served, mine: dict[str, str]) -> Iterator[Follow]:
    """Open a stream of a call."""
    with opening(web, "/v1/calls/{}/events", mine) as opened:
        yield opened


@pytest.fixture
def change(execute: Callable[..., Any]) -> Change:
    """Let a call come to a status."""

    def make(call_id: str, status: str) -> None:
        execute("UPDATE calls SET status = %s, version = version + 1 WHERE id = %s", status, call_id)

    return make


def test_the_present_state_comes_at_once_then_each_change_and_the_last_closes(
    follow: Follow, call_of: Call_of, change: Change
) -> None:
    call_id = call_of("user", status="dialing")
    began = monotonic()
    stream = follow(call_id)
    first = next(stream)
    assert monotonic() - began < 5 * following.LOOK
    assert (first.name, first.told) == ("status", ("1", "dialing"))
    CallSummary.model_validate_json(json.dumps(first.data))
    for version, status in enumerate(("ringing", "in_progress", "completed"), 2):
        began = monotonic()
        change(call_id, status)
        assert next(stream).told == (str(version), status)
        assert monotonic() - began < 5 * (2 * following.LOOK)
    assert stream.rest() == []


def test_a_stream_is_kept_by_nobody(follow: Follow, call_of: Call_of) -> None:
    headers = follow(call_of("user", status="ringing")).answer.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


def test_a_call_that_is_over_is_one_event(follow: Follow, call_of: Call_of) -> None:
    assert follow(call_of("user", status="busy")).rest() == [("1", "busy")]


@pytest.mark.parametrize(
    ("last", "sent"),
    [("3", False), ("4", False), ("2", True), ("", True), ("nonsense", True), ("-1", True), ("9" * 40, True)],
)
def test_who_comes_back_hears_what_is_new_to_them(
    last: str, sent: bool, follow: Follow, call_of: Call_of, change: Change
) -> None:
    call_id = call_of("user", status="ringing", version=3)
    stream = follow(call_id, last)
    assert next(stream) == COMMENT if not sent else next(stream).told == ("3", "ringing")
    change(call_id, "completed")
    assert stream.rest() == [("4", "completed")]


def test_who_comes_back_after_the_end_has_no_reason_to_come_again(follow: Follow, call_of: Call_of) -> None:
    call_id = call_of("user", status="completed", version=5)
    assert follow(call_id, "4").rest() == [("5", "completed")]
    for last in ("5", "6"):
        assert follow(call_id, last).answer.status_code == 204


def test_what_is_missed_between_two_looks_is_not_missed(follow: Follow, call_of: Call_of, change: Change) -> None:
    call_id = call_of("user", status="ringing")
    stream = follow(call_id)
    change(call_id, "in_progress")
    change(call_id, "completed")
    told = stream.rest()
    assert told[0][1] in {"ringing", "in_progress", "completed"}
    assert told[-1] == ("3", "completed")


def test_all_who_follow_a_call_hear_of_it_and_nobody_else(follow: Follow, call_of: Call_of, change: Change) -> None:
    call_id, another = call_of("user", status="ringing"), call_of("user", status="queued")
    listening, apart = [follow(call_id) for _ in range(5)], follow(another)
    assert {next(stream).told for stream in listening} == {("1", "ringing")}
    assert next(apart).told == ("1", "queued")
    change(call_id, "completed")
    assert [stream.rest() for stream in listening] == [[("2", "completed")]] * 5
    change(another, "failed")
    assert apart.rest() == [("2", "failed")]


def test_a_call_is_followed_by_its_owner_and_by_admins(
    web: Served, app: Flask, people: dict[str, Person], call_of: Call_of
) -> None:
    path = f"/v1/calls/{call_of('user')}/events"
    answers = {}
    for name in ("admin", "user", "other"):
        headers = {"Authorization": f"Bearer {token_of(app, people[name])}"}
        answers[name] = web.get(path, headers=headers).status_code
        assert web.get(f"/v1/calls/{uuid4()}/events", headers=headers).status_code == 404
    assert answers == {"admin": 200, "user": 200, "other": 404}
    assert web.get(path).status_code == 401


def test_a_stream_ends_with_its_token(
    web: Served, app: Flask, people: dict[str, Person], call_of: Call_of, follow: Follow
) -> None:
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(seconds=3)
    token = token_of(app, people["user"])
    began = monotonic()
    stream = follow(call_of("user", status="ringing"), Authorization=f"Bearer {token}")
    assert stream.rest() == [("1", "ringing")]
    assert 1 < monotonic() - began < 5 * 3


def test_who_has_signed_out_hears_no_more(
    web: Served, app: Flask, people: dict[str, Person], call_of: Call_of, follow: Follow, change: Change
) -> None:
    own = {"Authorization": f"Bearer {token_of(app, people['user'])}"}
    call_id = call_of("user", status="ringing")
    stream = follow(call_id, **own)
    assert next(stream).told == ("1", "ringing")
    assert web.post("/v1/auth/logout", headers=own).status_code == 204
    change(call_id, "in_progress")
    assert stream.rest() == []


def test_a_hundred_streams_keep_nobody_from_being_answered(
    web: Served, mine: dict[str, str], follow: Follow, call_of: Call_of, change: Change
) -> None:
    calls = [call_of("user", status="ringing") for _ in range(20)]
    listening = [follow(call_id) for call_id in calls * 5]
    assert {next(stream).told for stream in listening} == {("1", "ringing")}
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: web.get("/v1/calls", headers=mine).status_code, range(50)))
    assert set(answers) == {200}
    for call_id in calls:
        change(call_id, "completed")
    assert [stream.rest() for stream in listening] == [[("2", "completed")]] * 100


def test_streams_wait_while_postgresql_is_away(
    follow: Follow, call_of: Call_of, postgres: Postgres, settings: Settings
) -> None:
    call_id = call_of("user", status="ringing")
    stream = follow(call_id)
    assert next(stream).told == ("1", "ringing")
    postgres.stop("immediate")
    sleep(3 * following.LOOK)
    postgres.start()
    with closing(psycopg2.connect(settings.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE calls SET status = 'completed', version = 2 WHERE id = %s", [call_id])
    assert stream.rest() == [("2", "completed")]


def test_a_server_that_is_told_to_stop_ends_its_streams(
    settings: Settings, tmp_path: Path, follow: Follow, call_of: Call_of
) -> None:
    with served(settings, tmp_path) as web:
        listening = [follow(call_of("user", status="ringing"), server=web) for _ in range(5)]
        assert {next(stream).told for stream in listening} == {("1", "ringing")}
        began = monotonic()
        master = psutil.Process(web.master)
        master.send_signal(signal.SIGTERM)
        assert [stream.rest() for stream in listening] == [[]] * 5, "each ends as it should, and is not cut off"
        psutil.wait_procs([master], timeout=30)
        assert monotonic() - began < 15
    log = web.log.read_text()
    assert "graceful timeout" not in log
    assert '"level":"error"' not in log


def test_silence_is_broken_by_comments(app: Flask, user: Client, call_of: Call_of, monkeypatch: Any) -> None:
    assert streams.COMMENT_EVERY == 15
    monkeypatch.setattr(streams, "COMMENT_EVERY", 0.1)
    with user.stream(f"/v1/calls/{call_of('user', status='ringing')}/events") as parts:
        assert next(parts).startswith(b"event: status\nid: 1\ndata: {")
        assert [next(parts) for _ in range(3)] == [b":\n\n"] * 3


def test_all_that_is_followed_is_one_statement_and_what_is_not_is_none(
    app: Flask, user: Client, call_of: Call_of, change: Change
) -> None:
    calls = [call_of("user", status="ringing") for _ in range(10)]

    def read(call_id: str) -> int:
        with user.stream(f"/v1/calls/{call_id}/events") as parts:
            return len([part for part in parts if part.startswith(b"event")])

    with ThreadPoolExecutor(20) as threads:
        reading = [threads.submit(read, call_id) for call_id in calls * 2]
        sleep(2 * following.LOOK)
        with statements(app) as sent:
            sleep(4 * following.LOOK)
        assert 1 <= len(sent) <= 5, sent
        for call_id in calls:
            change(call_id, "completed")
        assert [each.result() for each in reading] == [2] * 20
    sleep(2 * following.LOOK)
    with statements(app) as sent:
        sleep(2 * following.LOOK)
    assert sent == []


def test_who_goes_away_is_followed_for_no_longer(app: Flask, user: Client, call_of: Call_of, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams, "COMMENT_EVERY", 0.1)
    with user.stream(f"/v1/calls/{call_of('user', status='ringing')}/events") as parts:
        next(parts), next(parts)
    sleep(2 * following.LOOK)
    with statements(app) as sent:
        sleep(2 * following.LOOK)
    assert sent == []


def test_who_closes_the_connection_is_let_go_before_there_is_anything_to_say(
    web: Served, follow: Follow, call_of: Call_of
) -> None:
    def connected() -> int:
        return sum(each.laddr.port == web.port and each.status != "LISTEN" for each in process.net_connections())

    call_id = call_of("user", status="ringing")
    (process,) = web.processes
    stays, *leaving = [follow(call_id) for _ in range(20)]
    assert connected() >= 20
    for stream in leaving:
        stream.answer.close()
    until(lambda: connected() == 1, streams.COMMENT_EVERY / 2)
    assert next(stays).told == ("1", "ringing")


def test_more_streams_than_a_process_takes_are_refused(
    app: Flask, user: Client, call_of: Call_of, monkeypatch: Any
) -> None:
    monkeypatch.setattr(streams, "COMMENT_EVERY", 0.1)
    monkeypatch.setattr(places, "MOST", 1)
    path = f"/v1/calls/{call_of('user', status='ringing')}/events"
    with user.stream(path) as parts:
        next(parts), next(parts)
        answer = user.get(path)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "overloaded")
    with user.stream(path) as parts:
        assert next(parts).startswith(b"event: status")
