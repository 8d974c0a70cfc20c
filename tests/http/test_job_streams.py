"""Jobs, followed: whatever becomes of one is heard in order, its end at once, and costs nobody else anything."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from flask import Flask
from redis import Redis as RedisClient
from sqlalchemy import select

from api import following, job_events, places, streams
from api.schemas import JobSummary
from config import Settings
from deploy.gunicorn import worker_connections
from jobs.kernel import keys
from jobs.kernel.cancel import Canceled, Canceler
from jobs.kernel.rerun import DeadLetter, Rerun, Rerunner
from local.postgres import Postgres
from local.redis import Redis
from models import Receipt
from tests.conftest import Person
from tests.http.conftest import ORDER, Client, statements, token_of
from tests.http.serving import Served, served
from tests.http.streaming import COMMENT, Event, Follow, Stream, opening
from tests.http.test_registering import REGISTER, somebody
from tests.http.test_sessions import as_caller, sign_in
from tests.probes import SCHEMA, declared
from tests.road import Road
from workers.settle import HandBack, Settlement
from workers.work import opened

TASKS = {"action": "create", "tasks": [{"title": f"Task {number}"} for number in range(3)]}
DONE = {"done": 3, "total": 3}
LONG = 3600.0
"""Seconds between looks, for a test of what needs none."""


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
    """Open a stream of a job."""
    with opening(web, "/v1/jobs/{}/events", mine) as opened:
        yield opened


@pytest.fixture
def probes(execute: Callable[..., Any]) -> Iterator[None]:
    execute(SCHEMA)
    with declared():
        yield


def shown(event: Event) -> tuple[str, str, Any]:
    return event.name, event.data["status"], event.data["progress"]


def statuses(stream: Stream) -> list[str]:
    """Those that are told until the stream ends; its ids grow."""
    events = stream.events()
    assert all(int(one.id) < int(other.id) for one, other in pairwise(events))
    return [event.data["status"] for event in events]


def hand_back(road: Road, *, in_doubt: bool = False) -> None:
    """Take all that is queued, and put it back."""
    road.leases.settle([Settlement(delivery, HandBack(in_doubt)) for delivery in road.reserve()])


def test_a_batch_is_heard_of_from_its_queue_to_its_end(follow: Follow, road: Road) -> None:
    job_id = road.submit("tasks.batch", TASKS)
    stream = follow(job_id)
    told = [next(stream)]
    deliveries = road.reserve()
    told.append(next(stream))
    for done in (1, 2):
        road.reports([opened(delivery) for delivery in deliveries])(job_id, done, 3)
        told.append(next(stream))
    road.leases.settle(road.execute(deliveries))
    told += stream.events()
    assert [shown(event) for event in told[:4]] == [
        ("status", "queued", None),
        ("status", "running", None),
        ("progress", "running", {"done": 1, "total": 3}),
        ("progress", "running", {"done": 2, "total": 3}),
    ]
    assert shown(told[-1]) == ("status", "succeeded", DONE)
    assert all(int(one.id) < int(other.id) for one, other in pairwise(told))
    for event in told:
        JobSummary.model_validate_json(json.dumps(event.data))
        assert "result" not in event.data
    assert told[-1].data == {name: value for name, value in road.job(job_id).items() if name != "result"}


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("do", "status", "code"),
    [
        ("nothing", "succeeded", None),
        ("reject", "rejected", "asked_for"),
        ("fail", "failed", "asked_for"),
        ("raise", "failed", "job_failed"),
        ("cancel", "canceled", None),
    ],
)
def test_the_last_word_is_how_it_ended(follow: Follow, road: Road, do: str, status: str, code: str | None) -> None:
    job_id = road.submit("test.probe", {"do": do})
    streams = follow(job_id), follow(job_id)
    assert [next(stream).data["status"] for stream in streams] == ["queued", "queued"]
    while road.work() or road.redis.zcard(keys.SCHEDULED):
        road.make_due(job_id)
    for stream in streams:
        (*_, last) = stream.events()
        assert (last.name, last.data["status"]) == ("status", status)
        assert (last.data["error"] and last.data["error"]["code"]) == code
    assert follow(job_id).events() == [last], "who comes afterwards hears the same"


def test_a_job_that_waits_for_its_time_is_heard_of(follow: Follow, road: Road) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    job_id = road.order("later", run_at=due)
    stream = follow(job_id)
    first = next(stream)
    assert (first.data["status"], datetime.fromisoformat(first.data["run_at"])) == ("scheduled", due)
    road.make_due(job_id)
    assert shown(next(stream)) == ("status", "queued", None)
    road.work()
    assert statuses(stream)[-1] == "succeeded"


@pytest.mark.parametrize("run_at", [None, datetime.now(UTC) + timedelta(hours=1)])
def test_a_job_that_is_canceled_before_any_worker_had_it_is_over(
    follow: Follow, road: Road, redis: RedisClient, run_at: datetime | None
) -> None:
    job_id = road.order("canceled", run_at=run_at)
    stream = follow(job_id)
    next(stream)
    assert Canceler(redis).cancel(job_id) is Canceled.CANCELED
    (last,) = stream.events()
    assert shown(last) == ("status", "canceled", None)
    road.work()
    assert follow(job_id).events() == [last], "as its worker has written it down"


def test_the_end_is_heard_without_a_look(
    make_app: Callable[..., Flask], signed_in: Any, road: Road, monkeypatch: Any
) -> None:
    monkeypatch.setattr(following, "LOOK", LONG)
    user, ids = signed_in(make_app(), "user"), [road.order(f"quick-{number}") for number in range(5)]

    def ends(job_id: UUID) -> bytes:
        with user.stream(f"/v1/jobs/{job_id}/events") as parts:
            return list(parts)[-1]

    with ThreadPoolExecutor(5) as threads:
        listening = [threads.submit(ends, job_id) for job_id in ids]
        while road.redis.scard("millrace:watched") < len(ids):
            sleep(0.01)
        road.work()
        assert all(b'"succeeded"' in each.result(60) for each in listening)


def test_what_ended_before_anybody_listened_is_heard_without_a_look(
    make_app: Callable[..., Flask], signed_in: Any, road: Road, monkeypatch: Any
) -> None:
    monkeypatch.setattr(following, "LOOK", LONG)
    user, job_id = signed_in(make_app(), "user"), road.order("quick")
    with user.stream(f"/v1/jobs/{job_id}/events") as parts:
        assert b'"queued"' in next(parts)
        road.work()
        assert b'"succeeded"' in next(parts)


@pytest.mark.parametrize(("ahead", "first"), [(-1, "running"), (0, None), (1, None)])
def test_who_comes_back_hears_what_is_new_to_them(follow: Follow, road: Road, ahead: int, first: str | None) -> None:
    job_id = road.order("resumed")
    deliveries = road.reserve()
    version = int(next(follow(job_id)).id)
    stream = follow(job_id, str(version + ahead))
    event = next(stream)
    assert event == COMMENT if first is None else event.told == (str(version), first)
    road.leases.settle(road.execute(deliveries))
    assert stream.events()[-1].data["status"] == "succeeded"


def test_who_comes_back_amid_progress_hears_of_progress(follow: Follow, road: Road) -> None:
    job_id = road.submit("tasks.batch", TASKS)
    works = [opened(delivery) for delivery in road.reserve()]
    running = next(follow(job_id))
    road.reports(works)(job_id, 1, 3)
    assert shown(next(follow(job_id, running.id))) == ("progress", "running", {"done": 1, "total": 3})
    assert shown(next(follow(job_id))) == ("status", "running", {"done": 1, "total": 3})


def test_who_comes_back_after_the_end_has_no_reason_to_come_again(follow: Follow, road: Road) -> None:
    job_id = road.order("over")
    queued = next(follow(job_id)).id
    road.work()
    (last,) = follow(job_id, queued).events()
    assert last.data["status"] == "succeeded"
    for again in (last.id, str(int(last.id) + 1)):
        assert follow(job_id, again).answer.status_code == 204


@pytest.mark.usefixtures("probes")
def test_a_failed_job_that_runs_again_is_followed_anew(follow: Follow, road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "fail"})
    road.work()
    (failed,) = follow(job_id).events()
    assert failed.data["status"] == "failed"
    with road.sessions() as session:
        receipt = session.scalars(select(Receipt)).one()
        has = {name: getattr(receipt, name, None) for name in DeadLetter.__dataclass_fields__}
    letter = DeadLetter(**has | {"owner": receipt.owner_id})
    assert Rerunner(road.redis, road.settings).rerun([letter]) == [Rerun.NEW]
    streams = [follow(job_id), follow(job_id, failed.id)]
    for stream in streams:
        event = next(stream)
        assert shown(event) == ("status", "queued", None)
        assert int(event.id) > int(failed.id)
    road.work()
    assert [statuses(stream)[-1] for stream in streams] == ["failed"] * 2


def test_a_job_that_goes_back_again_and_again_goes_forwards(follow: Follow, road: Road) -> None:
    job_id = road.order("back")
    stream = follow(job_id)
    told = [next(stream)]
    for number in range(4):
        (delivery,) = road.reserve()
        told.append(next(stream))
        road.leases.settle([Settlement(delivery, HandBack(in_doubt=number % 2 == 0))])
        told.append(next(stream))
    hand_back(road)
    hand_back(road)
    road.work()
    told += stream.events()
    assert [event.data["status"] for event in told[:9]] == ["queued", *["running", "queued"] * 4]
    assert told[-1].data["status"] == "succeeded"
    assert all(int(one.id) < int(other.id) for one, other in pairwise(told))


def test_an_end_that_no_worker_told_is_told_and_nothing_after_it(
    app: Flask, people: dict[str, Person], road: Road, follow: Follow, admin: Client
) -> None:
    """The worker died between commit and settling; what its outcome changes has changed when it is heard."""
    told, disabling = as_caller(app, sign_in(app, "other")), {"disabled": True}
    path = f"/v1/users/{people['other'].id}"
    job_id = admin("PATCH", path, json=disabling).get_json()["id"]
    stream = follow(job_id, Authorization=f"Bearer {token_of(app, people['admin'])}")
    next(stream)
    road.execute(road.reserve())
    assert told.get("/v1/orders").status_code == 200
    road.expire_leases()
    assert {event.data["status"] for event in stream.events()} <= {"running", "succeeded"}
    assert told.get("/v1/orders").status_code == 401
    assert road.status(UUID(job_id)) == "succeeded"


def test_a_job_is_followed_by_its_owner_and_by_admins(
    web: Served, app: Flask, people: dict[str, Person], road: Road
) -> None:
    job_id = road.order("mine")
    road.work()
    answers = {}
    for name in ("admin", "user", "other"):
        headers = {"Authorization": f"Bearer {token_of(app, people[name])}"}
        answers[name] = web.get(f"/v1/jobs/{job_id}/events", headers=headers).status_code
        for absent in (uuid4(), "nonsense"):
            assert web.get(f"/v1/jobs/{absent}/events", headers=headers).status_code == 404
    assert answers == {"admin": 200, "user": 200, "other": 404}
    problems = [web.get(f"/v1/jobs/{name}/events").json() | {"request_id": None} for name in (job_id, uuid4())]
    assert problems[0] == problems[1]
    assert problems[0]["status"] == 401


def test_what_was_submitted_without_a_token_is_followed_by_whoever_holds_its_id(
    web: Served, nobody: Client, road: Road, mine: dict[str, str]
) -> None:
    job_id = nobody.post(REGISTER, somebody()).get_json()["id"]
    with opening(web, "/v1/jobs/{}/events", {}) as follow:
        streams = follow(job_id), follow(job_id, **mine)
        assert [next(stream).data["status"] for stream in streams] == ["queued"] * 2
        road.work()
        assert [statuses(stream)[-1] for stream in streams] == ["succeeded"] * 2


def test_who_holds_an_id_follows_it_for_a_while(nobody: Client, monkeypatch: Any) -> None:
    assert job_events.HOLDER_FOLLOWS == 900
    monkeypatch.setattr(job_events, "HOLDER_FOLLOWS", 0.5)
    job_id = nobody.post(REGISTER, somebody()).get_json()["id"]
    with nobody.stream(f"/v1/jobs/{job_id}/events") as parts:
        assert len(list(parts)) == 1


def test_who_has_signed_out_hears_no_more(
    web: Served, app: Flask, people: dict[str, Person], road: Road, follow: Follow
) -> None:
    own = {"Authorization": f"Bearer {token_of(app, people['user'])}"}
    job_id = road.order("signed out")
    stream, other = follow(job_id, **own), follow(job_id)
    assert [next(each).data["status"] for each in (stream, other)] == ["queued"] * 2
    assert web.post("/v1/auth/logout", headers=own).status_code == 204
    road.work()
    assert stream.events() == []
    assert statuses(other)[-1] == "succeeded"


def test_streams_wait_while_redis_is_away(follow: Follow, road: Road, redis_server: Redis) -> None:
    job_id = road.order("patient")
    stream = follow(job_id)
    next(stream)
    redis_server.kill()
    sleep(3 * following.LOOK)
    redis_server.start()
    road.work()
    assert statuses(stream)[-1] == "succeeded"


def test_streams_wait_while_postgresql_is_away(follow: Follow, road: Road, postgres: Postgres) -> None:
    job_id = road.order("patient")
    stream = follow(job_id)
    next(stream)
    settlements = road.execute(road.reserve())
    postgres.stop("immediate")
    road.leases.settle(settlements)
    sleep(3 * following.LOOK)
    postgres.start()
    events = stream.events()
    assert [event.data["status"] for event in events] == ["succeeded"]


def test_what_redis_has_lost_is_told_from_its_receipt_or_no_more(
    web: Served, nobody: Client, road: Road, redis: RedisClient
) -> None:
    jobs = [nobody.post(REGISTER, somebody()).get_json()["id"] for _ in range(2)]
    with opening(web, "/v1/jobs/{}/events", {}) as follow:
        kept, lost = (follow(job_id) for job_id in jobs)
        assert [next(stream).data["status"] for stream in (kept, lost)] == ["queued"] * 2
        road.execute(road.reserve(1))
        redis.flushall()
        assert statuses(kept)[-1] == "succeeded"
        assert "succeeded" not in statuses(lost)
    assert nobody.get(f"/v1/jobs/{jobs[1]}").status_code == 401


def test_who_was_let_go_by_one_process_goes_on_at_another(
    settings: Settings, tmp_path: Path, web: Served, follow: Follow, road: Road
) -> None:
    job_id = road.submit("tasks.batch", TASKS)
    with served(settings, tmp_path) as ending:
        stream = follow(job_id, server=ending)
        told = [next(stream)]
        works = [opened(delivery) for delivery in road.reserve()]
        told.append(next(stream))
        psutil.Process(ending.master).send_signal(signal.SIGTERM)
        told += stream.events()
    stream = follow(job_id, told[-1].id)
    assert next(stream) == COMMENT
    road.reports(works)(job_id, 1, 3)
    told.append(next(stream))
    road.leases.settle(road.execute([work.delivery for work in works]))
    told += stream.events()
    assert [shown(event) for event in told[:3]] == [
        ("status", "queued", None),
        ("status", "running", None),
        ("progress", "running", {"done": 1, "total": 3}),
    ]
    assert shown(told[-1]) == ("status", "succeeded", DONE)
    assert all(int(one.id) < int(other.id) for one, other in pairwise(told))


def test_all_sorts_of_streams_share_the_places_of_a_process(
    user: Client, call_of: Callable[..., str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(streams, "COMMENT_EVERY", 0.1)
    monkeypatch.setattr(places, "MOST", 1)
    job = user.post("/v1/orders", ORDER).get_json()["links"]["events"]
    paths = (job, f"/v1/calls/{call_of('user', status='ringing')}/events")
    for path in paths:
        with user.stream(path) as parts:
            assert next(parts).startswith(b"event: status")
            for refused in paths:
                answer = user.get(refused)
                assert (answer.status_code, answer.get_json()["code"]) == (503, "overloaded")
                assert int(answer.headers["Retry-After"]) >= 1


def test_nobody_takes_all_the_places(user: Client, other: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams, "COMMENT_EVERY", 0.1)
    monkeypatch.setattr(places, "MOST_OF_ONE", 1)
    path, others = (each.post("/v1/orders", ORDER).get_json()["links"]["events"] for each in (user, other))
    with user.stream(path) as parts:
        assert next(parts).startswith(b"event: status")
        assert user.get(path).status_code == 503
        with other.stream(others) as more:
            assert next(more).startswith(b"event: status")


def test_500_streams_have_places_that_leave_room_for_200_who_wait_and_for_who_asks() -> None:
    assert 500 <= places.MOST <= worker_connections - 2 * 200


def test_jobs_that_do_not_change_are_asked_about_of_redis_alone_and_all_at_once(
    app: Flask, user: Client, road: Road, monkeypatch: Any
) -> None:
    ids = [road.order(f"steady-{number}") for number in range(20)]
    deliveries = road.reserve(10)

    def read(job_id: UUID) -> list[bytes]:
        with user.stream(f"/v1/jobs/{job_id}/events") as parts:
            return [part for part in parts if part.startswith(b"event")]

    def calls() -> int:
        return int(road.redis.info("commandstats")["cmdstat_evalsha"]["calls"])

    with ThreadPoolExecutor(len(ids)) as threads:
        reading = [threads.submit(read, job_id) for job_id in ids]
        while road.redis.scard("millrace:watched") < len(ids):
            sleep(0.01)
        sleep(2 * following.LOOK)
        before = calls()
        with statements(app) as sent:
            sleep(6 * following.LOOK)
        assert sent == []
        assert 1 <= calls() - before <= 8
        road.leases.settle(road.execute(deliveries))
        road.work()
        assert all(b'"succeeded"' in each.result()[-1] for each in reading)
    sleep(2 * following.LOOK)
    before = calls()
    sleep(4 * following.LOOK)
    assert calls() == before
