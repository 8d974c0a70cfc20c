"""Sessions: opened by signing in, prolonged by refresh tokens that are good once, ended at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from time import sleep, time
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from api import sessions
from api.services import NAME, Services
from api.tokens import key_id
from config import Settings
from jobs.kernel.effects import Applier, sessions_end
from tests.conftest import PASSWORD, Person
from tests.http.conftest import ORDER, Client
from tests.system.client import STALL

Signed = Callable[[Flask, str], Client]
GOOD = {"email": "user@example.com", "password": PASSWORD}
SOMEBODY = str(UUID(int=7))
REFRESH = "/v1/auth/refresh"


def sign_in(app: Flask, name: str = "user", **more: Any) -> dict[str, Any]:
    """What signing in gives, with the refresh token in the body."""
    asked = {**GOOD, "email": f"{name}@example.com", "transport": "body"}
    answer = persist(lambda: Client(app).post("/v1/auth/login", asked, **more))
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def persist(ask: Callable[[], TestResponse]) -> TestResponse:
    """An answer that is not for want of an answer of Redis: its disk may stall."""
    deadline = time() + STALL
    while (answer := ask()).status_code == 503 and time() < deadline:
        sleep(0.1)
    return answer


def renew(app: Flask, token: str) -> TestResponse:
    return Client(app).post(REFRESH, {"refresh_token": token})


def as_caller(app: Flask, told: dict[str, Any]) -> Client:
    return Client(app, told["access_token"])


def cookies_of(answer: TestResponse) -> SimpleCookie:
    found: SimpleCookie = SimpleCookie()
    for header in answer.headers.getlist("Set-Cookie"):
        found.load(header)
    return found


def by_cookie(app: Flask, refresh_token: str, **headers: str) -> TestResponse:
    return Client(app).post(REFRESH, headers={"Cookie": f"refresh_token_cookie={refresh_token}", **headers})


def assert_ended(answer: TestResponse) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (401, "session_ended")


def test_a_refresh_token_travels_in_a_cookie_that_scripts_cannot_read(nobody: Client) -> None:
    answer = nobody.post("/v1/auth/login", GOOD)
    assert answer.get_json().keys() == {"access_token", "token_type", "expires_in"}
    cookies = cookies_of(answer)
    refresh, csrf = cookies["refresh_token_cookie"], cookies["csrf_refresh_token"]
    assert (refresh["httponly"], refresh["secure"], refresh["samesite"]) == (True, True, "Strict")
    assert (refresh["path"], refresh["max-age"]) == ("/v1/auth", str(7 * 86_400))
    assert (csrf["httponly"], csrf["secure"], csrf["samesite"]) == ("", True, "Strict")
    assert csrf.value == answer.headers["X-CSRF-TOKEN"]


def test_or_in_the_body(nobody: Client) -> None:
    answer = nobody.post("/v1/auth/login", GOOD | {"transport": "body"})
    assert answer.get_json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert "Set-Cookie" not in answer.headers


def test_a_refresh_token_is_exchanged_for_both_tokens(app: Flask) -> None:
    told = sign_in(app)
    renewed = renew(app, told["refresh_token"])
    assert renewed.status_code == 200
    assert renewed.headers["Cache-Control"] == "no-store"
    again = renewed.get_json()
    assert again["expires_in"] == 900
    assert again["refresh_token"] != told["refresh_token"]
    for each in (told, again):
        assert as_caller(app, each).get("/v1/jobs").status_code == 200
    assert renew(app, again["refresh_token"]).status_code == 200


def test_one_that_is_used_twice_ends_its_session_and_no_other(app: Flask) -> None:
    told, other = sign_in(app), sign_in(app)
    again = renew(app, told["refresh_token"]).get_json()
    assert_ended(renew(app, told["refresh_token"]))
    assert_ended(renew(app, again["refresh_token"]))
    for each in (told, again):
        assert_ended(as_caller(app, each).get("/v1/jobs"))
        assert_ended(as_caller(app, each).post("/v1/orders", ORDER))
    assert as_caller(app, other).get("/v1/jobs").status_code == 200


def test_of_20_at_once_one_wins_at_most(app: Flask) -> None:
    told = sign_in(app)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: renew(app, told["refresh_token"]), range(20)))
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} == {200, 401}
    assert_ended(renew(app, won[0].get_json()["refresh_token"]))


def test_a_cookie_needs_its_csrf_token(app: Flask) -> None:
    signed = Client(app).post("/v1/auth/login", GOOD)
    token = cookies_of(signed)["refresh_token_cookie"].value
    for headers in ({}, {"X-CSRF-TOKEN": ""}, {"X-CSRF-TOKEN": str(uuid4())}, {"X-CSRF-TOKEN": "\xff"}):
        refused = by_cookie(app, token, **headers)
        assert refused.status_code == 401
    assert by_cookie(app, token).get_json()["code"] == "csrf_failed"
    renewed = by_cookie(app, token, **{"X-CSRF-TOKEN": signed.headers["X-CSRF-TOKEN"]})
    assert renewed.status_code == 200, "what was refused has not used it up"
    assert "refresh_token" not in renewed.get_json()
    following = cookies_of(renewed)["refresh_token_cookie"].value
    assert following != token
    assert by_cookie(app, following, **{"X-CSRF-TOKEN": renewed.headers["X-CSRF-TOKEN"]}).status_code == 200


def test_a_foreign_csrf_token_is_of_no_use(app: Flask) -> None:
    mine, theirs = (Client(app).post("/v1/auth/login", GOOD) for _ in range(2))
    token = cookies_of(mine)["refresh_token_cookie"].value
    assert by_cookie(app, token, **{"X-CSRF-TOKEN": theirs.headers["X-CSRF-TOKEN"]}).status_code == 401


def test_tokens_are_good_for_one_thing_only(app: Flask) -> None:
    told = sign_in(app)
    assert Client(app, told["refresh_token"]).get("/v1/jobs").status_code == 401
    assert renew(app, told["access_token"]).status_code == 401
    assert as_caller(app, told).get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("body", [None, {}, {"refresh_token": None}])
def test_no_refresh_token_is_a_401(nobody: Client, body: dict[str, Any] | None) -> None:
    answer = nobody.post(REFRESH, body)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"refresh_token": "a.b.c"}, 401),
        ({"refresh_token": 1}, 422),
        ({"refresh_token": ""}, 422),
        ({"token": "x"}, 422),
    ],
)
def test_nonsense_is_refused(nobody: Client, body: dict[str, Any], status: int) -> None:
    assert nobody.post(REFRESH, body).status_code == status


def forged(settings: Settings, told: dict[str, Any], key: str = "", algorithm: str = "HS256", **changes: Any) -> str:
    claims = jwt.decode(told["refresh_token"], options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    headers = {"kid": key_id(settings.jwt_secret_key)}
    return jwt.encode(kept, key or settings.jwt_secret_key, algorithm=algorithm, headers=headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"nbf": 9_999_999_999},
        {"aud": "another"},
        {"iss": "another"},
        {"type": "access"},
        {"sub": SOMEBODY},
        {"sub": "42"},
        {"sid": SOMEBODY},
        {"sid": "*"},
        {"session_version": 0},
        {"session_version": "many"},
        *({name: None} for name in ("exp", "iat", "nbf", "jti", "iss", "aud", "sub", "type", "sid", "csrf")),
    ],
    ids=repr,
)
def test_every_claim_of_a_refresh_token_counts(app: Flask, settings: Settings, changes: dict[str, Any]) -> None:
    told = sign_in(app)
    assert renew(app, forged(settings, told, **changes)).status_code == 401
    assert renew(app, told["refresh_token"]).status_code == 200, "what was refused has not ended the session"


def test_a_refresh_token_of_another_key_or_algorithm_is_refused(app: Flask, settings: Settings) -> None:
    told = sign_in(app)
    for token in (
        forged(settings, told, key="k" * 40),
        forged(settings, told, key=settings.jwt_secret_key * 2, algorithm="HS512"),
    ):
        assert renew(app, token).status_code == 401
    assert renew(app, forged(settings, told)).status_code == 200


def test_a_rolled_over_key_still_prolongs_a_session(make_app: Callable[..., Flask], settings: Settings) -> None:
    told = sign_in(make_app())
    rolled = make_app(jwt_secret_key="n" * 40, jwt_secret_key_previous=settings.jwt_secret_key)
    renewed = renew(rolled, told["refresh_token"])
    assert renewed.status_code == 200
    assert renew(make_app(jwt_secret_key="n" * 40), renewed.get_json()["refresh_token"]).status_code == 200


def test_signing_out_ends_the_session_at_once_and_no_other(app: Flask) -> None:
    told, other = sign_in(app), sign_in(app)
    answer = as_caller(app, told).post("/v1/auth/logout")
    assert (answer.status_code, answer.data) == (204, b"")
    assert cookies_of(answer)["refresh_token_cookie"].value == ""
    assert_ended(as_caller(app, told).get("/v1/orders"))
    assert_ended(as_caller(app, told).post("/v1/orders", ORDER))
    assert_ended(as_caller(app, told).post("/v1/orders", {}))
    assert_ended(as_caller(app, told)("DELETE", f"/v1/orders/{uuid4()}"))
    assert_ended(as_caller(app, told).post("/v1/auth/logout"))
    assert_ended(renew(app, told["refresh_token"]))
    assert as_caller(app, other).get("/v1/orders").status_code == 200


@pytest.mark.parametrize("limit", ["", "600/minute"])
def test_an_ended_session_is_ended_whether_its_requests_are_counted_or_not(
    make_app: Callable[..., Flask], limit: str
) -> None:
    app = make_app(rate_limit_user=limit)
    told = sign_in(app)
    client = as_caller(app, told)
    assert client.get("/v1/jobs").status_code == 200
    client.post("/v1/auth/logout")
    for answer in (client.get("/v1/jobs"), client.post("/v1/orders", ORDER), client.post("/v1/orders", {})):
        assert_ended(answer)


def test_what_is_left_of_an_ended_session_uses_up_nobodys_limit(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_user="5/minute")
    ended, live = sign_in(app), sign_in(app)
    as_caller(app, ended).post("/v1/auth/logout")
    for _ in range(8):
        assert_ended(renew(app, ended["refresh_token"]))
        assert_ended(as_caller(app, ended).get("/v1/jobs"))
    assert as_caller(app, live).get("/v1/jobs").status_code == 200


def test_a_thief_of_one_session_keeps_its_owner_from_ending_none(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_user="5/minute")
    thief, owner = sign_in(app), sign_in(app)
    assert [as_caller(app, thief).get("/v1/jobs").status_code for _ in range(6)][-1] == 429
    client = as_caller(app, owner)
    assert client.get("/v1/jobs").status_code == 429
    (stolen,) = (each["id"] for each in client.get("/v1/auth/sessions").get_json()["data"] if not each["current"])
    assert client("DELETE", f"/v1/auth/sessions/{stolen}").status_code == 204
    assert_ended(as_caller(app, thief).get("/v1/jobs"))
    assert renew(app, owner["refresh_token"]).status_code == 200
    assert client.post("/v1/auth/logout").status_code == 204


def test_no_session_that_has_ended_ends_another(app: Flask) -> None:
    ended, other = sign_in(app), sign_in(app)
    client = as_caller(app, ended)
    (theirs,) = (each["id"] for each in client.get("/v1/auth/sessions").get_json()["data"] if not each["current"])
    client.post("/v1/auth/logout")
    assert_ended(client("DELETE", f"/v1/auth/sessions/{theirs}"))
    assert as_caller(app, other).get("/v1/jobs").status_code == 200


def test_sessions_are_listed_with_what_tells_them_apart(app: Flask) -> None:
    sign_in(app, "other")
    first = sign_in(app, headers={"User-Agent": "a phone"})
    second = sign_in(app, headers={"User-Agent": "x" * 500})
    listed = as_caller(app, second).get("/v1/auth/sessions").get_json()["data"]
    assert [each["current"] for each in listed].count(True) == 1
    assert {each["user_agent"] for each in listed} == {"a phone", "x" * 200}
    claims = jwt.decode(second["access_token"], options={"verify_signature": False})
    assert next(each["id"] for each in listed if each["current"]) == claims["sid"]
    assert {each["id"] for each in as_caller(app, first).get("/v1/auth/sessions").get_json()["data"]} == {
        each["id"] for each in listed
    }


def test_sessions_are_listed_page_by_page(app: Flask) -> None:
    told, *_ = [sign_in(app) for _ in range(3)]
    client, seen, query = as_caller(app, told), [], "limit=2"
    while True:
        page = client.get(f"/v1/auth/sessions?{query}").get_json()
        seen += [each["id"] for each in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['meta']['next_cursor']}"
    assert len(seen) == len(set(seen)) == 3


def test_one_of_ones_own_sessions_can_be_ended(app: Flask) -> None:
    mine, phone = sign_in(app), sign_in(app)
    client = as_caller(app, mine)
    (other,) = (each["id"] for each in client.get("/v1/auth/sessions").get_json()["data"] if not each["current"])
    assert client("DELETE", f"/v1/auth/sessions/{other}").status_code == 204
    assert_ended(as_caller(app, phone).get("/v1/jobs"))
    assert_ended(renew(app, phone["refresh_token"]))
    assert client("DELETE", f"/v1/auth/sessions/{other}").status_code == 404


def test_nobody_elses_session_can_be_ended(app: Flask, signed_in: Signed) -> None:
    told = sign_in(app)
    session = jwt.decode(told["access_token"], options={"verify_signature": False})["sid"]
    for name in ("other", "admin"):
        client = signed_in(app, name)
        foreign, absent = (client("DELETE", f"/v1/auth/sessions/{each}") for each in (session, uuid4()))
        assert foreign.status_code == absent.status_code == 404
        assert foreign.get_json() | {"request_id": ""} == absent.get_json() | {"request_id": ""}
    assert as_caller(app, told).get("/v1/jobs").status_code == 200


def test_a_user_has_so_many_sessions_at_most(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    first = sign_in(app)
    monkeypatch.setattr(sessions, "time", lambda: time() + 60)
    others = [sign_in(app) for _ in range(3)]
    assert_ended(as_caller(app, first).get("/v1/jobs"))
    assert [as_caller(app, each).get("/v1/jobs").status_code for each in others] == [200] * 3


def test_a_session_ends_a_week_after_its_tokens_were_last_renewed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sign_in(app)
    monkeypatch.setattr(sessions, "time", lambda: time() + sessions.LIFETIME + 1)
    assert_ended(renew(app, told["refresh_token"]))


def test_a_session_is_not_opened_by_what_was_looked_at_before_all_had_ended(
    app: Flask, people: dict[str, Person]
) -> None:
    own: Services = app.extensions[NAME]
    user = people["user"].id
    told = sign_in(app)
    Applier(own.redis).apply([sessions_end(user, 2)])
    assert_ended(as_caller(app, told).get("/v1/jobs"))
    assert own.sessions.open(user, 1, "jti", None) is None
    assert Client(app).post("/v1/auth/login", GOOD).status_code == 401
    assert own.sessions.open(user, 2, "jti", None) is not None
    Applier(own.redis).apply([sessions_end(user, 2)])
    assert len(own.sessions.of(user)) == 1, "applied again, it spares what was opened since"


def test_whoever_is_gone_cannot_prolong_a_session(
    app: Flask, people: dict[str, Person], execute: Callable[..., Any]
) -> None:
    for change in ("disabled_at = now()", "deleted_at = now()", "session_version = 7"):
        told = sign_in(app, "other")
        execute(f"UPDATE users SET {change} WHERE id = %s", str(people["other"].id))
        assert_ended(renew(app, told["refresh_token"]))
        execute(
            "UPDATE users SET disabled_at = NULL, deleted_at = NULL, session_version = 1 WHERE id = %s",
            str(people["other"].id),
        )


def test_after_a_loss_of_redis_data_everyone_signs_in_again_and_finds_their_jobs(app: Flask, redis: Redis) -> None:
    told = sign_in(app)
    job = as_caller(app, told).post("/v1/orders", ORDER).get_json()
    kept = {key: redis.dump(key) for key in redis.keys("*") if b"millrace:sessions" not in key}
    redis.flushall()
    for key, value in kept.items():
        redis.restore(key, 0, value)
    assert_ended(as_caller(app, told).get("/v1/jobs"))
    assert_ended(renew(app, told["refresh_token"]))
    (found,) = as_caller(app, sign_in(app)).get("/v1/jobs").get_json()["data"]
    assert found["id"] == job["id"]


def test_a_session_is_named_by_what_cannot_be_guessed(app: Flask) -> None:
    claims = jwt.decode(sign_in(app)["access_token"], options={"verify_signature": False})
    assert UUID(claims["sid"]).version == 4
