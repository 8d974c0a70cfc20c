"""Users, by the real executor on real PostgreSQL: the kinds, who may, and whose an email is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from models import User, views
from tests.conftest import Person
from tests.road import Road

HASH, OTHER_HASH = "$argon2id$v=19$m=65536,t=3,p=4$a$a", "$argon2id$v=19$m=65536,t=3,p=4$b$b"

Sql = Callable[..., list[tuple[Any, ...]]]
People = dict[str, Person]


def ada(**fields: Any) -> dict[str, Any]:
    return {"email": "ada@example.com", "password": HASH, "name": "Ada"} | fields


def register(road: Road, **fields: Any) -> UUID:
    return road.submit("users.register", ada(**fields), owner=None)


def registered(road: Road, **fields: Any) -> UUID:
    job_id = register(road, **fields)
    road.work()
    assert road.status(job_id) is State.SUCCEEDED, road.job(job_id)
    return job_id


def done(road: Road, kind: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The job, carried out."""
    job_id = road.submit(kind, body, **more)
    road.work()
    return road.job(job_id)


def shown(road: Road, user: str) -> dict[str, Any]:
    """A user as a GET shows them."""
    with road.sessions() as session:
        return views.user(session.get_one(User, UUID(user)))


def codes(road: Road, ids: list[UUID]) -> list[str | None]:
    """None for what has succeeded."""
    assert all(road.status(job_id).final for job_id in ids)
    return [road.code(job_id) for job_id in ids]


@pytest.mark.parametrize(
    ("kind", "by", "more", "name", "role"),
    [
        ("users.register", None, {}, "Ada", "user"),
        ("users.create", "admin", {}, "Ada", "user"),
        ("users.create", "admin", {"role": "admin"}, "Ada", "admin"),
        ("users.import", None, {"role": "admin"}, "Ada", "admin"),
        ("users.import", None, {"role": "user", "name": None}, "ada", "user"),
    ],
)
def test_a_new_user_bears_the_jobs_id_and_the_moment_it_was_accepted(
    road: Road, execute: Sql, people: People, kind: str, by: str | None, more: dict[str, Any], name: str, role: str
) -> None:
    body = {field: value for field, value in ada(**more).items() if value is not None}
    job = done(road, kind, body, owner=people[by].id if by else None)
    assert job["result"] == (None if kind == "users.register" else shown(road, job["id"]))
    assert shown(road, job["id"]) == {
        "id": job["id"],
        "email": "ada@example.com",
        "name": name,
        "role": role,
        "disabled": False,
        "created_at": job["submitted_at"],
        "updated_at": job["submitted_at"],
        "version": 1,
    }
    assert job["links"]["resource"] == f"/v1/users/{job['id']}"
    assert execute("SELECT password_hash, session_version FROM users WHERE id = %s::uuid", job["id"]) == [(HASH, 1)]


@pytest.mark.parametrize("batch", [1, 100])
def test_of_those_who_want_one_email_in_whatever_case_the_first_accepted_has_it(road: Road, batch: int) -> None:
    emails = ["Ada@example.com", "ada@Example.com", "ADA@EXAMPLE.COM"]
    ids = [register(road, email=email, name=email) for email in emails]
    road.work(batch)
    assert codes(road, ids) == [None, "email_taken", "email_taken"]
    assert road.job(ids[1])["error"]["status"] == 409
    assert road.rows("SELECT email FROM users WHERE lower(email) = 'ada@example.com'") == [("Ada@example.com",)]


def test_workers_at_once_give_an_email_to_one(road: Road, rollbacks: list[str]) -> None:
    ids = [register(road, email=f"{'aA'[n % 2]}da{n % 7}@example.com") for n in range(70)]
    road.work_at_once("users")
    assert sorted(map(str, codes(road, ids))) == ["None"] * 7 + ["email_taken"] * 63
    assert road.rows("SELECT count(*) FROM users WHERE email ILIKE 'ada%'") == [(7,)]
    assert rollbacks == []


def test_workers_at_once_lose_no_change_and_do_not_wait_in_circles(
    road: Road, people: People, rollbacks: list[str]
) -> None:
    users = [registered(road, email=f"u{n}@example.com") for n in range(6)]
    ids = []
    for n in range(120):
        body = {"email": f"v{n % 7}@example.com"} if n % 12 == 0 else {"name": f"n{n}"}
        by = people["admin"].id if n % 2 else users[n * 5 % 6]
        ids.append(road.submit("users.amend", body, target=users[n * 5 % 6], owner=by, if_match=("*",)))
    road.work_at_once("users")
    found = codes(road, ids)
    assert set(found) <= {None, "email_taken"}
    assert road.rows("SELECT sum(version - 1) FROM users") == [(found.count(None),)]
    assert rollbacks == []


def test_a_job_delivered_twice_makes_one_user(road: Road) -> None:
    job_id = register(road)
    (delivery,) = road.reserve()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(road.execute, [[delivery], [delivery]])
    assert first[0].verdict == second[0].verdict
    assert (road.status(job_id), road.code(job_id)) == (State.SUCCEEDED, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ÄDA@example.com", "äda@example.com"), ("ada@MÜNCHEN.de", "ADA@münchen.de"), ("ſß@x.org", "ſß@X.org")],
)
def test_emails_compare_without_case_in_every_script(road: Road, one: str, other: str) -> None:
    registered(road, email=one)
    again = register(road, email=other)
    road.work()
    assert road.code(again) == "email_taken"


def test_what_is_left_out_of_an_amendment_stays(road: Road, execute: Sql) -> None:
    user = registered(road)
    before = shown(road, str(user))
    job = done(road, "users.amend", {"name": "Countess"}, target=user, owner=user)
    assert job["result"] == before | {"name": "Countess", "updated_at": job["submitted_at"], "version": 2}
    assert execute("SELECT password_hash, session_version FROM users WHERE id = %s::uuid", str(user)) == [(HASH, 1)]


def test_an_email_can_be_spelled_anew_but_not_taken_from_another(road: Road) -> None:
    user, grace = registered(road), registered(road, email="grace@example.com")
    anew = done(road, "users.amend", {"email": "Ada@example.com"}, target=user, owner=user)
    assert anew["result"]["email"] == "Ada@example.com"
    taken = done(road, "users.amend", {"email": "Grace@example.com", "name": "X"}, target=user, owner=user)
    assert taken["error"]["code"] == "email_taken"
    assert road.rows(f"SELECT name, version FROM users WHERE id = '{user}'") == [("Ada", 2)]
    assert grace


@pytest.mark.parametrize("batch", [1, 100])
def test_an_email_that_was_given_up_can_be_had_by_the_next(
    road: Road, people: People, rollbacks: list[str], batch: int
) -> None:
    user, grace = registered(road), registered(road, email="grace@example.com")
    by_admin = {"owner": people["admin"].id}
    ids = [
        register(road),
        road.submit("users.amend", {"email": "third@example.com"}, target=user, **by_admin),
        road.submit("users.amend", {"email": "ada@example.com"}, target=grace, **by_admin),
        road.submit("users.amend", {"email": "grace@example.com"}, target=user, **by_admin),
        register(road, email="third@example.com"),
        road.submit("users.delete", target=user, **by_admin),
        register(road, email="GRACE@example.com"),
    ]
    road.work(batch)
    assert codes(road, ids) == ["email_taken"] + [None] * 6
    emails = {row.id: row.email for row in road.rows("SELECT id, email FROM users")}
    assert [emails[user_id] for user_id in (user, grace, ids[4], ids[6])] == [
        "grace@example.com",
        "ada@example.com",
        "third@example.com",
        "GRACE@example.com",
    ]
    assert rollbacks == []


@pytest.mark.parametrize("batch", [1, 100])
def test_two_users_exchange_their_emails(road: Road, people: People, rollbacks: list[str], batch: int) -> None:
    user, grace = registered(road), registered(road, email="grace@example.com")
    steps = [(user, "third@example.com"), (grace, "ada@example.com"), (user, "grace@example.com")]
    ids = [
        road.submit("users.amend", {"email": email}, target=target, owner=people["admin"].id) for target, email in steps
    ]
    road.work(batch)
    assert codes(road, ids) == [None] * 3
    shown = road.rows("SELECT email, version FROM users WHERE email ~ '^(ada|grace)' ORDER BY email")
    assert shown == [("ada@example.com", 2), ("grace@example.com", 3)]
    assert rollbacks == []


def test_an_older_amendment_never_overwrites_a_newer_one(road: Road) -> None:
    user = registered(road)
    older = road.submit("users.amend", {"name": "Older"}, target=user, owner=user)
    (delivery,) = road.reserve()
    done(road, "users.amend", {"name": "Newer"}, target=user, owner=user)
    road.leases.settle(road.execute([delivery]))
    assert road.code(older) == "superseded"
    assert road.rows(f"SELECT name FROM users WHERE id = '{user}'") == [("Newer",)]


def test_an_older_amendment_that_names_the_present_version_is_made(road: Road) -> None:
    user = registered(road)
    older = road.submit("users.amend", {"name": "Older"}, target=user, owner=user, if_match=("v2",))
    (delivery,) = road.reserve()
    newer = done(road, "users.amend", {"name": "Newer"}, target=user, owner=user)
    road.leases.settle(road.execute([delivery]))
    shown = road.job(older)["result"]
    assert (shown["name"], shown["version"], shown["updated_at"]) == ("Older", 3, newer["submitted_at"])


def test_deleting_is_not_superseded(road: Road, people: People) -> None:
    user = registered(road)
    delete = road.submit("users.delete", target=user, owner=people["admin"].id)
    (delivery,) = road.reserve()
    done(road, "users.amend", {"name": "Newer"}, target=user, owner=user)
    road.leases.settle(road.execute([delivery]))
    assert road.status(delete) is State.SUCCEEDED


@pytest.mark.parametrize("kind", ["users.amend", "users.delete"])
@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (("v1",), None),
        (("*",), None),
        (("v9", "v1"), None),
        (("v2",), "precondition_failed"),
        ((), "precondition_failed"),
    ],
)
def test_if_match_is_decided_by_the_worker(road: Road, kind: str, tags: tuple[str, ...], code: str | None) -> None:
    user = registered(road)
    body = {"name": "X"} if kind == "users.amend" else {}
    job_id = road.submit(kind, body, target=user, owner=user, if_match=tags)
    road.work()
    assert road.code(job_id) == code


def test_a_deleted_user_is_kept_and_is_nobody(road: Road, execute: Sql, people: People) -> None:
    user = registered(road)
    delete = done(road, "users.delete", target=user, owner=user)
    assert (delete["status"], delete["result"]) == ("succeeded", None)
    assert execute("SELECT email, deleted_at IS NULL, session_version FROM users WHERE id = %s::uuid", str(user)) == [
        ("ada@example.com", False, 2)
    ]
    ids = [
        road.submit("users.delete", target=user, owner=people["admin"].id),
        road.submit("users.amend", {"name": "X"}, target=user, owner=people["admin"].id),
        road.submit("users.amend", {"name": "X"}, target=user, owner=user),
    ]
    road.work()
    assert codes(road, ids) == ["not_found", "not_found", "forbidden"]


@pytest.mark.parametrize(("kind", "body"), [("users.amend", {"name": "X"}), ("users.delete", {})])
def test_somebody_else_is_forbidden_and_nobody_not_found(
    road: Road, people: People, kind: str, body: dict[str, Any]
) -> None:
    user = people["user"]
    ids = [
        road.submit(kind, body, target=people["other"].id, owner=user.id),
        road.submit(kind, body, target=new_id(), owner=user.id),
        road.submit(kind, body, target=new_id(), owner=people["admin"].id),
    ]
    road.work()
    assert codes(road, ids) == ["forbidden", "not_found", "not_found"]
    assert road.rows("SELECT count(*) FROM users WHERE version > 1 OR deleted_at IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(("field", "value"), [("role", "admin"), ("role", "user"), ("disabled", False)])
def test_a_role_and_disabling_are_for_admins(road: Road, people: People, field: str, value: Any) -> None:
    user = people["user"].id
    assert done(road, "users.amend", {field: value}, target=user, owner=user)["error"]["code"] == "forbidden"
    by_admin = done(road, "users.amend", {field: value}, target=user, owner=people["admin"].id)
    assert by_admin["result"][field] == value


LOSSES = {
    "demoted": "UPDATE users SET role = 'user' WHERE email = 'admin@example.com'",
    "disabled": "UPDATE users SET disabled_at = now() WHERE email = 'admin@example.com'",
    "deleted": "UPDATE users SET deleted_at = now() WHERE email = 'admin@example.com'",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_who_has_lost_the_right_since_is_forbidden(road: Road, people: People, execute: Sql, loss: str) -> None:
    user, by_admin = people["user"].id, {"owner": people["admin"].id}
    ids = [
        road.submit("users.create", ada(), **by_admin),
        road.submit("users.amend", {"name": "X"}, target=user, **by_admin),
        road.submit("users.amend", {"role": "admin"}, target=user, **by_admin),
        road.submit("users.delete", target=user, **by_admin),
    ]
    execute(LOSSES[loss])
    road.work()
    assert codes(road, ids) == ["forbidden"] * 4


@pytest.mark.parametrize(
    ("kind", "body"),
    [("users.amend", {"role": "user"}), ("users.amend", {"disabled": True}), ("users.delete", {})],
)
@pytest.mark.parametrize("batch", [1, 100])
def test_who_loses_the_right_in_the_same_batch_is_forbidden_from_then_on(
    road: Road, people: People, kind: str, body: dict[str, Any], batch: int
) -> None:
    second = registered(road)
    done(road, "users.amend", {"role": "admin"}, target=second, owner=people["admin"].id)
    target = people["other"].id
    ids = [
        road.submit("users.amend", {"name": "before"}, target=target, owner=second),
        road.submit(kind, body, target=second, owner=people["admin"].id),
        road.submit("users.amend", {"name": "after"}, target=target, owner=second),
        road.submit("users.create", ada(email="late@example.com"), owner=second),
    ]
    road.work(batch)
    assert codes(road, ids) == [None, None, "forbidden", "forbidden"]


@pytest.mark.parametrize("owner", ["user", "admin"])
def test_what_only_the_service_sends_is_forbidden_to_everybody(road: Road, people: People, owner: str) -> None:
    by = {"owner": people[owner].id}
    rehash = {"user_id": str(people["user"].id), "session_version": 1, "password_hash": HASH}
    ids = [road.submit("users.import", ada(role="admin"), **by), road.submit("users.rehash", rehash, **by)]
    road.work()
    assert codes(road, ids) == ["forbidden"] * 2


@pytest.mark.parametrize(
    ("version", "deleted", "kept"), [(1, False, OTHER_HASH), (2, False, HASH), (0, False, HASH), (1, True, HASH)]
)
def test_a_hash_is_replaced_only_where_nothing_ended_the_sessions_since(
    road: Road, execute: Sql, version: int, deleted: bool, kept: str
) -> None:
    user = registered(road)
    if deleted:
        execute("UPDATE users SET deleted_at = now() WHERE id = %s::uuid", str(user))
    body = {"user_id": str(user), "session_version": version, "password_hash": OTHER_HASH}
    job = done(road, "users.rehash", body, owner=None)
    assert (job["status"], job["result"]) == ("succeeded", None)
    assert execute("SELECT password_hash, session_version, version FROM users WHERE id = %s::uuid", str(user)) == [
        (kept, 1, 1)
    ]
