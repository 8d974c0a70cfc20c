"""Whose sessions end with a write: at once, before its outcome is told, and also when the worker died before it told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import pytest

from jobs.kernel.outcome import State
from tests.conftest import Person
from tests.road import Road

HASH = "$argon2id$v=19$m=65536,t=3,p=4$a$a"

Sql = Callable[..., list[tuple[Any, ...]]]
People = dict[str, Person]


def sign_in(road: Road, user: UUID, session: str, version: int = 1) -> None:
    road.redis.hset(f"millrace:sessions:{user}", session, orjson.dumps({"version": version}))


def sessions(road: Road, user: UUID) -> set[str]:
    return {name.decode() for name in road.redis.hkeys(f"millrace:sessions:{user}")}


def session_version(road: Road, user: UUID) -> int:
    ((version,),) = road.rows(f"SELECT session_version FROM users WHERE id = '{user}'")
    return int(version)


ENDING: list[tuple[str, dict[str, Any]]] = [
    ("users.amend", {"password": HASH}),
    ("users.amend", {"role": "admin"}),
    ("users.amend", {"disabled": True}),
    ("users.amend", {"password": HASH, "role": "admin", "disabled": True}),
    ("users.delete", {}),
]


@pytest.mark.parametrize(("kind", "body"), ENDING)
def test_all_sessions_of_the_user_end_and_nobody_elses(
    road: Road, people: People, kind: str, body: dict[str, Any]
) -> None:
    user, other = people["user"].id, people["other"].id
    for whose, session in ((user, "one"), (user, "two"), (other, "three")):
        sign_in(road, whose, session)
    job_id = road.submit(kind, body, target=user, owner=people["admin"].id)
    road.work()
    assert road.status(job_id) is State.SUCCEEDED
    assert (sessions(road, user), sessions(road, other)) == (set(), {"three"})
    assert (session_version(road, user), session_version(road, other)) == (2, 1)


@pytest.mark.parametrize(
    "body", [{"name": "X"}, {"email": "x@example.com"}, {"role": "user"}, {"disabled": False}], ids=str
)
def test_sessions_go_on_when_nothing_changes_that_they_rest_on(
    road: Road, people: People, body: dict[str, Any]
) -> None:
    user = people["user"].id
    sign_in(road, user, "one")
    road.submit("users.amend", body, target=user, owner=people["admin"].id)
    road.work()
    assert (sessions(road, user), session_version(road, user)) == ({"one"}, 1)


def test_a_refused_write_ends_no_session(road: Road, people: People) -> None:
    user = people["user"].id
    sign_in(road, user, "one")
    job_id = road.submit("users.amend", {"password": HASH, "email": "admin@example.com"}, target=user)
    road.work()
    assert road.code(job_id) == "email_taken"
    assert (sessions(road, user), session_version(road, user)) == ({"one"}, 1)


def test_who_is_disabled_already_is_not_disabled_anew_and_can_be_enabled_again(
    road: Road, people: People, execute: Sql
) -> None:
    user, by_admin = people["user"].id, {"target": people["user"].id, "owner": people["admin"].id}
    shown = []
    for disabled in (True, True, False):
        job_id = road.submit("users.amend", {"disabled": disabled}, **by_admin)
        road.work()
        since = execute("SELECT disabled_at::text FROM users WHERE id = %s::uuid", str(user))
        shown.append((road.job(job_id)["result"]["disabled"], since[0][0], session_version(road, user)))
    first = shown[0][1]
    assert first is not None
    assert shown == [(True, first, 2), (True, first, 2), (False, None, 2)]


def test_each_of_several_writes_in_one_batch_raises_the_version(road: Road, people: People) -> None:
    user = people["user"].id
    sign_in(road, user, "two", version=2)
    sign_in(road, user, "three", version=3)
    for _ in range(2):
        road.submit("users.amend", {"password": HASH}, target=user)
    road.work()
    assert (sessions(road, user), session_version(road, user)) == ({"three"}, 3)


@pytest.mark.parametrize("told_by", ["receipt", "page", "next worker"])
def test_sessions_end_also_when_the_worker_dies_between_commit_and_settling(
    road: Road, people: People, told_by: str
) -> None:
    user = people["user"].id
    sign_in(road, user, "one")
    job_id = road.submit("users.amend", {"password": HASH}, target=user)
    road.execute(road.reserve())  # committed, and the worker dies before it can tell
    assert sessions(road, user) == {"one"}
    match told_by:
        case "receipt":
            assert road.status(job_id) is State.SUCCEEDED
        case "page":
            assert [job.state for job in road.ledger.page(user)] == [State.SUCCEEDED]
        case _:
            road.expire_leases()
            road.work()
    assert sessions(road, user) == set()
    assert road.status(job_id) is State.SUCCEEDED
    assert session_version(road, user) == 2
