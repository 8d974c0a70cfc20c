"""Registering, and what anybody can find out without a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from redis import Redis

from tests.http.conftest import ORDER, Client
from tests.http.test_users_writes import done
from tests.road import Road

PASSWORD = "Canary-pass-42"
Execute = Callable[..., list[tuple[Any, ...]]]
REGISTER = "/v1/auth/register"


def somebody(**changes: Any) -> dict[str, Any]:
    given = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, "name": "Somebody"} | changes
    return {name: value for name, value in given.items() if value is not None}


def everything_in(redis: Redis) -> bytes:
    """All that Redis holds, keys and values."""
    held = []
    for key in redis.keys("*"):
        match redis.type(key):
            case b"string":
                held.append(redis.get(key) or b"")
            case b"hash":
                held += [part for pair in redis.hgetall(key).items() for part in pair]
            case b"list":
                held += redis.lrange(key, 0, -1)
            case b"set":
                held += list(redis.smembers(key))
            case _:
                held += redis.zrange(key, 0, -1)
        held.append(key)
    return b"\n".join(held)


def test_whoever_registers_follows_the_job_by_its_id_and_signs_in(
    road: Road, nobody: Client, app: Flask, user: Client
) -> None:
    given = somebody()
    job = done(road, nobody.post(REGISTER, given))
    assert (job["status"], job["kind"]) == ("succeeded", "users.register")
    assert job["result"] is None, "it shows its status and its error only"
    assert job["links"]["resource"] == f"/v1/users/{job['id']}"
    assert UUID(job["id"]).version == 4, "nobody guesses it"
    for reader in (nobody, user):
        assert reader.get(f"/v1/jobs/{job['id']}").get_json() == job
    told = nobody.post("/v1/auth/login", {"email": given["email"].upper(), "password": PASSWORD}).get_json()
    me = Client(app, told["access_token"]).get("/v1/users/me").get_json()
    assert (me["id"], me["email"], me["name"], me["role"]) == (job["id"], given["email"], "Somebody", "user")
    assert "password" not in str(me)


def test_an_email_is_one_persons_whatever_its_case(road: Road, nobody: Client) -> None:
    given = somebody()
    assert done(road, nobody.post(REGISTER, given))["status"] == "succeeded"
    again = done(road, nobody.post(REGISTER, given | {"email": given["email"].upper()}))
    assert (again["status"], again["error"]["code"]) == ("rejected", "email_taken")
    assert nobody.get(f"/v1/jobs/{again['id']}").get_json()["error"]["code"] == "email_taken"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password": "Short-1"}, "password"),
        ({"password": "no-capital-1"}, "password"),
        ({"password": "NO-SMALL-1"}, "password"),
        ({"password": "No-digit-here"}, "password"),
        ({"password": "NoSymbol1"}, "password"),
        ({"password": "Aa1-" * 33}, "password"),
        ({"password": None}, "password"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b@example.com"}, "email"),
        ({"email": None}, "email"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"role": "admin"}, "role"),
        ({"password_hash": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"}, "password_hash"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_never_repeated(nobody: Client, changes: dict[str, Any], field: str) -> None:
    answer = nobody.post(REGISTER, somebody(**changes))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]
    if isinstance(changes.get("password"), str):
        assert changes["password"] not in answer.text


def test_a_password_that_looks_like_a_hash_is_a_password(road: Road, nobody: Client) -> None:
    given = somebody(password="$argon2id$v=19$m=65536,t=3,p=4$Aa1")
    assert done(road, nobody.post(REGISTER, given))["status"] == "succeeded"
    signing_in = {"email": given["email"], "password": given["password"]}
    assert nobody.post("/v1/auth/login", signing_in).status_code == 200


def test_all_of_a_long_password_counts(road: Road, nobody: Client) -> None:
    given = somebody(password="Aa1-" * 20)
    done(road, nobody.post(REGISTER, given))
    shorter = {"email": given["email"], "password": given["password"][:72]}
    assert nobody.post("/v1/auth/login", shorter).status_code == 401
    assert nobody.post("/v1/auth/login", shorter | {"password": given["password"]}).status_code == 200


def test_a_password_never_enters_a_queue_or_a_log(
    nobody: Client, redis: Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    for body in (somebody(), somebody(name=7), somebody(extra=1)):
        nobody.post(REGISTER, body, headers={"Idempotency-Key": "k"})
    nobody.post("/v1/auth/login", {"email": "nobody@example.com", "password": PASSWORD})
    held = everything_in(redis)
    assert b"$argon2id$" in held, "what is looked through holds the job"
    assert PASSWORD.encode() not in held
    assert PASSWORD not in capfd.readouterr().out


def test_a_key_is_whose_email_it_is_sent_with(nobody: Client) -> None:
    given, key = somebody(), {"Idempotency-Key": "key-1"}
    first = nobody.post(REGISTER, given, headers=key)
    again = nobody.post(REGISTER, given, headers=key)
    assert first.status_code == again.status_code == 202
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    other = nobody.post(REGISTER, somebody(), headers=key)
    assert other.get_json()["id"] != first.get_json()["id"]
    for change in ({"password": "Another-pass-1"}, {"name": "Another"}):
        refused = nobody.post(REGISTER, given | change, headers=key)
        assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")


def test_registering_takes_no_notice_of_a_token(app: Flask, nobody: Client, user: Client) -> None:
    user.post("/v1/auth/logout")
    for client in (user, Client(app, "a.b.c")):
        job = client.post(REGISTER, somebody())
        assert job.status_code == 202
        assert nobody.get(f"/v1/jobs/{job.get_json()['id']}").status_code == 200


def test_without_a_token_nothing_else_is_told(nobody: Client, user: Client, app: Flask) -> None:
    owned = user.post("/v1/orders", ORDER).get_json()["id"]
    bad = Client(app, "a.b.c")
    registering = nobody.post(REGISTER, somebody()).get_json()["id"]
    problems = [nobody.get(f"/v1/jobs/{each}") for each in (owned, uuid4(), "nonsense")]
    assert {answer.status_code for answer in problems} == {401}
    assert len({answer.get_json()["code"] for answer in problems}) == 1
    assert bad.get(f"/v1/jobs/{registering}").status_code == 401, "a bad token is no missing one"
    assert nobody.get(f"/v1/jobs/{registering}").status_code == 200
    assert nobody.get("/v1/jobs").status_code == 401


def test_so_many_from_one_address(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_register="2/hour", trusted_proxies=1)

    def register(address: str, **changes: Any) -> int:
        return Client(app).post(REGISTER, somebody(**changes), headers={"X-Forwarded-For": address}).status_code

    assert [register("192.0.2.1", name="") for _ in range(5)] == [422] * 5, "mistakes are not counted"
    assert [register("192.0.2.1") for _ in range(3)] == [202, 202, 429]
    assert [register("2001:db8::1"), register("2001:db8::2"), register("2001:db8::3")] == [202, 202, 429]
    assert [register("2001:db8:0:1::1"), register("::ffff:192.0.2.1")] == [202, 429]
    refused = Client(app).post(REGISTER, somebody(), headers={"X-Forwarded-For": "192.0.2.1"})
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600


def test_an_address_that_a_client_makes_up_counts_as_where_it_comes_from(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_register="2/hour")
    headers = [{"X-Forwarded-For": f"192.0.2.{last}", "X-Real-IP": f"192.0.2.{last}"} for last in range(3)]
    statuses = [Client(app).post(REGISTER, somebody(), headers=each).status_code for each in headers]
    assert statuses == [202, 202, 429]
    behind = make_app(rate_limit_register="1/hour", trusted_proxies=1)
    chain = [{"X-Forwarded-For": f"192.0.2.{last}, 198.51.100.7"} for last in range(2)]
    assert [Client(behind).post(REGISTER, somebody(), headers=each).status_code for each in chain] == [202, 429]


def test_registering_is_not_limited_where_the_setting_is_empty(nobody: Client) -> None:
    assert {nobody.post(REGISTER, somebody()).status_code for _ in range(6)} == {202}
