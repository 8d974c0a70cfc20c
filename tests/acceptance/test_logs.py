"""The log lines of one write, from the API through its worker; and what is in no line, and in no key of Redis."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
import requests
from redis import Redis

from tests.acceptance.stack import LOGS, Stack
from tests.processes import until
from tests.system.client import Client, order

Lines = list[Mapping[str, Any]]


def lines_of(stack: Stack, name: str, job_id: str) -> Lines:
    return [line for line in stack.lines(name) if line.get("job_id") == job_id]


def test_the_lines_of_one_write_bear_its_request_id_and_its_job_id(stack: Stack, user: Client) -> None:
    request_id = f"acceptance.{secrets.token_hex(8)}"
    answer = user.post(order("c"), headers={"X-Request-ID": request_id})
    job_id = answer.json()["id"]
    assert answer.headers["X-Request-ID"] == request_id
    with stack.workers(1):
        user.until_final(job_id)
        until(lambda: bool(lines_of(stack, "workers", job_id)), 5)
    (asked,) = (line for line in stack.lines("api") if line.get("request_id") == request_id)
    assert (asked["job_id"], asked["method"], asked["status"]) == (job_id, "POST", 202)
    (done,) = lines_of(stack, "workers", job_id)
    assert (done["request_id"], done["kind"], done["status"]) == (request_id, "orders.place", "succeeded")


def test_a_write_whose_row_somebody_has_locked_waits_for_it(stack: Stack, user: Client) -> None:
    with stack.workers(1), stack.scheduler():
        placed = user.until_final(user.placed("c")["id"])
        with closing(psycopg2.connect(stack.settings.database_url)) as somebody, somebody.cursor() as cursor:
            cursor.execute("SELECT FROM orders WHERE id = %s FOR UPDATE", [placed["id"]])
            asked = user("DELETE", placed["links"]["resource"])
            job_id = asked.json()["id"]
            until(lambda: any(line["event"] == "lock_not_granted" for line in lines_of(stack, "workers", job_id)), 15)
        final = user.until_final(job_id)
    assert final["status"] == "succeeded"
    assert final["attempts"] == 1
    assert user.get(placed["links"]["resource"]).status_code == 404
    assert {line["event"] for line in lines_of(stack, "workers", job_id)} == {"lock_not_granted", "job"}


def test_no_secret_and_no_body_is_in_a_log_line_or_a_password_or_token_in_redis(stack: Stack, user: Client) -> None:
    wrong, body = f"Wrong-{secrets.token_hex(8)}", f"body-{secrets.token_hex(8)}"
    login = f"{stack.base_url}/v1/auth/login"
    for credentials in ({"email": f"{body}@example.com", "password": wrong}, {"email": 1, "password": wrong, wrong: 1}):
        assert requests.post(login, json=credentials, timeout=10).status_code in (401, 422)
    for headers in ({"Authorization": f"Bearer {wrong}"}, {"Authorization": f"Basic {wrong}"}):
        assert requests.get(f"{stack.base_url}/v1/orders", headers=headers, timeout=10).status_code == 401
    key = {"Idempotency-Key": body}
    jobs = [user.post(order(body), headers=key).json()["id"], user.placed(body)["id"]]
    assert user.post(order(body, password=wrong)).status_code == 422
    assert user.get(f"/v1/orders?customer_id={body}&nonsense={body}").status_code == 422
    with stack.workers(1):
        canaries = comings_and_goings(stack, body)
        for job_id in jobs:
            user.until_final(job_id)
    user.placed(f"{body}-queued")
    kept = stack.in_redis(everything)
    assert f"{body}-queued".encode() in kept, "the search does not see what is there"
    logs = "".join(stack.log(name).read_text() for name in LOGS)
    assert jobs[0] in logs
    for canary in (*stack.secrets, *canaries, wrong):
        assert canary.encode() not in kept
        assert canary not in logs
    assert body not in logs


def comings_and_goings(stack: Stack, body: str) -> list[str]:
    """All that somebody does with passwords and tokens; what of it has to stay secret."""
    first, second = (f"Canary-{secrets.token_hex(8)}" for _ in range(2))
    nobody, email = Client(stack.base_url), f"{body}@example.com"
    registering = {"email": email, "password": first, "name": body}
    for more in ({}, {"Idempotency-Key": body}):
        answer = nobody.post(registering, "/v1/auth/register", headers={"Prefer": "wait=20", **more})
        assert answer.status_code == 200, answer.text
    signed = nobody.post({"email": email, "password": first}, "/v1/auth/login")
    cookies = [signed.cookies["refresh_token_cookie"], signed.headers["X-CSRF-TOKEN"]]
    told = nobody.post({"email": email, "password": first, "transport": "body"}, "/v1/auth/login").json()
    renewed = nobody.post({"refresh_token": told["refresh_token"]}, "/v1/auth/refresh").json()
    own = {"Authorization": f"Bearer {renewed['access_token']}"}
    me = nobody.get("/v1/users/me", headers=own).json()
    changed = nobody("PATCH", f"/v1/users/{me['id']}", json={"password": second}, headers={"Prefer": "wait=20", **own})
    assert changed.json()["status"] == "succeeded"
    for token in (told["refresh_token"], renewed["refresh_token"]):
        assert nobody.post({"refresh_token": token}, "/v1/auth/refresh").status_code == 401
    assert nobody.post({"email": email, "password": second}, "/v1/auth/login").status_code == 200
    tokens = [each[name] for each in (told, renewed) for name in ("access_token", "refresh_token")]
    return [first, second, *cookies, *tokens]


def everything(redis: Redis) -> bytes:
    """Every key and value there is."""
    found: list[Any] = []
    for key in redis.scan_iter(count=1000):
        found.append(key)
        match redis.type(key):
            case b"string":
                found.append(redis.get(key))
            case b"hash":
                found.append(redis.hgetall(key))
            case b"list":
                found.append(redis.lrange(key, 0, -1))
            case b"set":
                found.append(redis.smembers(key))
            case b"zset":
                found.append(redis.zrange(key, 0, -1))
            case other:
                raise AssertionError(f"a key of type {other!r}, which this search cannot read")
    return repr(found).encode()
