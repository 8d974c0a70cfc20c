"""Users changed over HTTP, and the sessions that end with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher
from flask import Flask
from werkzeug.test import TestResponse

from api.passwords import hashed
from tests.conftest import PASSWORD, Person
from tests.http.conftest import ORDER, Client
from tests.http.test_sessions import as_caller, assert_ended, renew, sign_in
from tests.road import Road

Signed = Callable[[Flask, str], Client]
NEW = "Another-pass-7"


def done(road: Road, answer: TestResponse) -> dict[str, Any]:
    """The job of a write, carried out."""
    assert answer.status_code == 202, answer.text
    road.work()
    return road.job(UUID(answer.get_json()["id"]))


def me_of(people: dict[str, Person], name: str) -> str:
    return f"/v1/users/{people[name].id}"


@pytest.mark.parametrize(
    ("by", "method", "body"),
    [
        ("other", "PATCH", {"password": NEW}),
        ("admin", "PATCH", {"password": NEW}),
        ("admin", "PATCH", {"role": "admin"}),
        ("admin", "PATCH", {"disabled": True}),
        ("admin", "DELETE", None),
        ("other", "DELETE", None),
    ],
)
def test_what_ends_sessions_ends_them_at_once_and_nobody_elses(
    road: Road, app: Flask, people: dict[str, Person], by: str, method: str, body: dict[str, Any] | None
) -> None:
    phone, desk, admin, bystander = (sign_in(app, name) for name in ("other", "other", "admin", "user"))
    sender = as_caller(app, admin if by == "admin" else desk)
    assert done(road, sender(method, me_of(people, "other"), json=body))["status"] == "succeeded"
    for told in (phone, desk):
        assert_ended(as_caller(app, told).get("/v1/orders"))
        assert_ended(as_caller(app, told).post("/v1/orders", ORDER))
        assert_ended(renew(app, told["refresh_token"]))
    for told in (admin, bystander):
        assert as_caller(app, told).get("/v1/orders").status_code == 200


@pytest.mark.parametrize("body", [{"name": "Another name"}, {"email": "other2@example.com"}])
def test_what_else_is_changed_ends_none(
    road: Road, app: Flask, people: dict[str, Person], body: dict[str, Any]
) -> None:
    client = as_caller(app, sign_in(app, "other"))
    assert done(road, client("PATCH", me_of(people, "other"), json=body))["status"] == "succeeded"
    shown = client.get("/v1/users/me")
    assert shown.get_json().items() >= body.items()
    assert client.get(me_of(people, "other"), headers={"If-None-Match": shown.headers["ETag"]}).status_code == 304


def test_a_new_password_is_the_one_to_sign_in_with(road: Road, app: Flask, people: dict[str, Person]) -> None:
    done(road, as_caller(app, sign_in(app, "other"))("PATCH", me_of(people, "other"), json={"password": NEW}))
    statuses = [
        Client(app).post("/v1/auth/login", {"email": "other@example.com", "password": each}).status_code
        for each in (PASSWORD, NEW)
    ]
    assert statuses == [401, 200]


def test_a_key_with_another_password_is_another_request(road: Road, app: Flask, people: dict[str, Person]) -> None:
    client, me, key = as_caller(app, sign_in(app, "admin")), me_of(people, "other"), {"Idempotency-Key": "k"}
    first = done(road, client("PATCH", me, json={"password": NEW}, headers=key))
    again = client("PATCH", me, json={"password": NEW}, headers=key)
    assert (again.status_code, again.get_json()) == (202, first)
    assert again.headers["Idempotency-Replayed"] == "true"
    refused = client("PATCH", me, json={"password": "Another-pass-8"}, headers=key)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")


def test_an_admin_creates_a_user_of_either_role(road: Road, app: Flask, admin: Client) -> None:
    given = {"email": f"{uuid4().hex}@example.com", "password": NEW, "name": "New", "role": "admin"}
    job = done(road, admin.post("/v1/users", given))
    assert job["status"] == "succeeded"
    assert job["result"] == admin.get(job["links"]["resource"]).get_json()
    assert (job["result"]["id"], job["result"]["role"]) == (job["id"], "admin")
    told = Client(app).post("/v1/auth/login", {"email": given["email"], "password": NEW})
    assert Client(app, told.get_json()["access_token"]).get("/v1/users").status_code == 200


def test_whoever_was_disabled_and_is_enabled_again_signs_in_anew(
    road: Road, app: Flask, admin: Client, people: dict[str, Person]
) -> None:
    told = sign_in(app, "other")
    for disabled, status in ((True, 401), (False, 200)):
        done(road, admin("PATCH", me_of(people, "other"), json={"disabled": disabled}))
        signing_in = Client(app).post("/v1/auth/login", {"email": "other@example.com", "password": PASSWORD})
        assert signing_in.status_code == status
        assert_ended(as_caller(app, told).get("/v1/orders"))


def test_what_is_queued_of_somebody_who_lost_the_right_to_it_is_forbidden(
    app: Flask, road: Road, people: dict[str, Person], signed_in: Signed, execute: Callable[..., Any]
) -> None:
    """While no worker runs; all were accepted."""
    admin, other = signed_in(app, "admin"), signed_in(app, "other")
    theirs = other.post("/v1/orders", ORDER).get_json()["id"]
    road.work()
    sent = {
        "by an admin": [
            admin.post("/v1/users", {"email": "new@example.com", "password": NEW, "name": "New"}),
            admin("PATCH", me_of(people, "user"), json={"role": "admin"}),
            admin("DELETE", f"/v1/orders/{theirs}"),
        ],
        "by a user": [other.post("/v1/orders", ORDER), other("PATCH", me_of(people, "other"), json={"name": "X"})],
    }
    execute("UPDATE users SET role = 'user' WHERE id = %s", str(people["admin"].id))
    execute("UPDATE users SET disabled_at = now() WHERE id = %s", str(people["other"].id))
    road.work()
    for answer in (*sent["by an admin"], *sent["by a user"]):
        assert answer.status_code == 202
        job = road.job(UUID(answer.get_json()["id"]))
        assert (job["status"], job["error"]["code"]) == ("rejected", "forbidden"), job["kind"]
    assert road.rows("SELECT count(*) FROM users WHERE email = 'new@example.com'") == [(0,)]
    assert road.rows(f"SELECT count(*) FROM orders WHERE id = '{theirs}'") == [(1,)]


def test_what_an_ended_session_left_to_be_done_to_accounts_is_forbidden(
    app: Flask, road: Road, people: dict[str, Person]
) -> None:
    """Whoever had got hold of it would else take the account back; orders are carried out all the same."""
    thief, owner, admin = (as_caller(app, sign_in(app, name)) for name in ("other", "other", "admin"))
    me = me_of(people, "other")
    later = f"run_at={(datetime.now(UTC) + timedelta(days=1)).isoformat().replace('+00:00', 'Z')}"
    left = [
        thief("PATCH", f"{me}?{later}", json={"password": "Thiefs-pass-1"}),
        thief("PATCH", f"{me}?{later}", json={"email": "thief@example.com"}),
        thief("DELETE", f"{me}?{later}"),
    ]
    order = thief.post(f"/v1/orders?{later}", ORDER)
    assert owner("PATCH", me, json={"password": NEW}).status_code == 202
    at_once = thief("PATCH", me, json={"password": "Thiefs-pass-1"})
    road.work()
    for answer in (*left, order):
        assert answer.status_code == 202
        road.make_due(UUID(answer.get_json()["id"]))
    road.work()
    for answer in (*left, at_once):
        job = road.job(UUID(answer.get_json()["id"]))
        assert (job["status"], job["error"]["code"]) == ("rejected", "forbidden")
    assert road.job(UUID(order.get_json()["id"]))["status"] == "succeeded"
    login = Client(app).post("/v1/auth/login", {"email": "other@example.com", "password": NEW})
    assert login.status_code == 200
    assert admin.get(me).get_json()["email"] == "other@example.com"


def test_sessions_have_ended_when_the_outcome_is_told_though_its_worker_died_before_it_told_it(
    app: Flask, road: Road, people: dict[str, Person]
) -> None:
    told, admin = sign_in(app, "other"), as_caller(app, sign_in(app, "admin"))
    for read in (lambda job: admin.get(f"/v1/jobs/{job}"), lambda _: admin.get("/v1/jobs?limit=1")):
        job = admin("PATCH", me_of(people, "other"), json={"password": NEW}).get_json()["id"]
        road.execute(road.reserve())  # committed, and not settled
        assert as_caller(app, told).get("/v1/orders").status_code == 200
        assert b"succeeded" in read(job).data
        assert_ended(as_caller(app, told).get("/v1/orders"))
        road.expire_leases()
        road.work()
        told = (
            Client(app)
            .post("/v1/auth/login", {"email": "other@example.com", "password": NEW, "transport": "body"})
            .get_json()
        )


def test_a_hash_of_weaker_parameters_is_made_anew_when_its_user_signs_in(
    app: Flask, road: Road, people: dict[str, Person], execute: Callable[..., Any]
) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    execute("UPDATE users SET password_hash = %s WHERE id = %s", weak, str(people["other"].id))
    told = sign_in(app, "other")
    road.work()
    ((stored,),) = execute("SELECT password_hash FROM users WHERE id = %s", str(people["other"].id))
    assert not PasswordHasher().check_needs_rehash(stored)
    assert PasswordHasher().verify(stored, PASSWORD)
    assert as_caller(app, told).get("/v1/orders").status_code == 200, "the password is the same, so nothing ends"
    sign_in(app, "other")
    assert road.work() == 0, "once is enough"


def test_what_the_service_sends_itself_is_told_to_admins_only(app: Flask, admin: Client, road: Road) -> None:
    job = road.submit(
        "users.import", {"email": "x@example.com", "password": hashed(PASSWORD), "role": "user"}, owner=None
    )
    assert admin.get(f"/v1/jobs/{job}").status_code == 200
    assert Client(app).get(f"/v1/jobs/{job}").status_code == 401
