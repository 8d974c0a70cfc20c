"""Events, by the real executor: recorded in sets, for whom they are about, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson
import pytest
from pydantic import ValidationError

from jobs.events import BEYOND, MOST_BYTES, RecordEvent
from jobs.kernel.outcome import State
from tests import events
from tests.conftest import Person
from tests.events import EVENT
from tests.road import Road

Execute = Callable[..., Any]
EXACT = MOST_BYTES - len('{"x":""}')


def read(**body: Any) -> RecordEvent:
    return RecordEvent.model_validate_json(orjson.dumps({"name": "x"} | body))


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"": {"": [[], {}, None, True, "\\ \t \n \r \u2028 \U0001f600"]}},
        {"n": [0, -1.5, 1e-300, BEYOND - 1, 1 - BEYOND, 9.2e18]},
        {"x": "x" * EXACT},
    ],
    ids=["nothing", "odd", "numbers", "large"],
)
def test_details_are_kept_as_they_were_told(road: Road, details: dict[str, Any]) -> None:
    event = road.submit("events.record", {"name": "x", "details": details})
    others = [events.record(road) for _ in range(20)]
    road.work()
    assert road.job(event)["result"]["details"] == events.row(road, event).details == details
    assert {road.status(other) for other in others} == {State.SUCCEEDED}


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": name} for name in ("", " ", "x" * 101, "a\nb", "a\x00b", "a\x7fb", "a\u2028b", 1, None)),
        *({"details": details} for details in ([], "x", None, 1, {"x": "x" * (EXACT + 1)}, {"é": "é" * (EXACT // 2)})),
        *({"details": {"n": [number]}} for number in (BEYOND, -BEYOND, 1e300, 9.3e18)),
        *({"user_id": user} for user in ("x", 1, "")),
        {"id": str(uuid4())},
    ],
)
def test_what_is_no_event_is_refused(wrong: dict[str, Any]) -> None:
    raw = orjson.dumps({"name": "x"} | wrong)
    with pytest.raises(ValidationError):
        RecordEvent.model_validate_json(raw)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" * 400, b"18446744073709551616"])
def test_a_number_that_nobody_can_write_down_is_refused(number: bytes) -> None:
    with pytest.raises(ValidationError):
        RecordEvent.model_validate_json(b'{"name": "x", "details": {"n": {"m": [' + number + b"]}}}")


def test_an_event_is_as_a_get_shows_it(road: Road) -> None:
    event = events.record(road)
    road.work()
    job = road.job(event)
    assert job["result"] == EVENT | {
        "id": str(event),
        "user_id": str(road.owner),
        "delivery": "none",
        "delivered_at": None,
        "reason": None,
        "created_at": job["submitted_at"],
        "version": 1,
    }
    assert job["links"]["resource"] == f"/v1/events/{event}"


def test_without_a_sink_nothing_follows(road: Road) -> None:
    events.record(road)
    assert events.work(road) == []


@pytest.mark.parametrize(
    ("sender", "about", "code"),
    [
        ("user", "user", None),
        ("admin", "user", None),
        ("admin", "admin", None),
        ("user", "other", "forbidden"),
        ("user", "nobody", "forbidden"),
        ("admin", "nobody", "unknown_user"),
    ],
)
def test_an_event_is_about_whom_its_sender_may_name(
    road: Road, people: dict[str, Person], sender: str, about: str, code: str | None
) -> None:
    named = people[about].id if about in people else uuid4()
    event = road.submit("events.record", EVENT | {"user_id": str(named)}, owner=people[sender].id)
    others = events.record(road)
    road.work()
    assert (road.status(event), road.code(event)) == (State.REJECTED if code else State.SUCCEEDED, code)
    owners = {found.id: found.owner_id for found in road.rows("SELECT id, owner_id FROM events")}
    assert owners == {others: road.owner} | ({} if code else {event: named})


def test_who_is_deleted_is_nobody(road: Road, people: dict[str, Person], execute: Execute) -> None:
    execute("UPDATE users SET deleted_at = now() WHERE id = %s::uuid", str(people["other"].id))
    event = road.submit("events.record", {"name": "x", "user_id": str(people["other"].id)}, owner=people["admin"].id)
    road.work()
    assert road.code(event) == "unknown_user"


def test_who_is_an_admin_no_more_names_nobody_else(road: Road, people: dict[str, Person], execute: Execute) -> None:
    event = road.submit("events.record", {"name": "x", "user_id": str(people["user"].id)}, owner=people["admin"].id)
    execute("UPDATE users SET role = 'user' WHERE id = %s::uuid", str(people["admin"].id))
    road.work()
    assert road.code(event) == "forbidden"


def test_what_reads_have_kept_of_somebody_else_is_dropped(road: Road, people: dict[str, Person]) -> None:
    body = EVENT | {"user_id": str(people["other"].id)}
    about, own = road.submit("events.record", body, owner=people["admin"].id), events.record(road)
    road.work()
    effects = {found.id: found.effects for found in road.rows("SELECT id, effects FROM receipts")}
    assert effects == {about: {"drops": [f"events:{people['other'].id}"]}, own: None}


def test_a_job_that_comes_twice_records_once(road: Road) -> None:
    event = events.record(road)
    deliveries = road.reserve()
    road.execute(deliveries)
    road.expire_leases()
    road.work()
    assert (road.status(event), len(road.rows("SELECT 1 FROM events"))) == (State.SUCCEEDED, 1)
