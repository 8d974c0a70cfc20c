"""Signing in, and the token it gives."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter, time
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from flask import Flask

from api import passwords
from config import Settings
from jobs.kernel import broker, keys
from tests.conftest import PASSWORD, Person
from tests.http.conftest import Client

Signed = Callable[[Flask, str], Client]
SESSION = str(UUID(int=42))
GOOD = {"email": "user@example.com", "password": PASSWORD}


@pytest.fixture
def gone(execute: Callable[..., None], people: dict[str, Person]) -> Iterator[Callable[[str], None]]:
    """Disable or delete `other` for the length of a test."""
    user_id = str(people["other"].id)
    yield lambda column: execute(f"UPDATE users SET {column} = now() WHERE id = %s", user_id)
    execute("UPDATE users SET disabled_at = NULL, deleted_at = NULL WHERE id = %s", user_id)


@pytest.fixture(autouse=True)
def session(settings: Settings, people: dict[str, Person]) -> None:
    """The session that claims_of speaks of."""
    redis = broker.connect(settings.redis_url)
    redis.hset(keys.sessions(people["user"].id), SESSION, '{"version": 1, "until": 9999999999, "used": 0}')
    redis.close()


def claims_of(settings: Settings, person: Person, **changes: Any) -> dict[str, Any]:
    now = int(time())
    claims = {"exp": now + 60, "iat": now, "nbf": now, "jti": str(uuid4()), "iss": "millrace", "aud": "millrace"}
    claims |= {"sub": str(person.id), "type": "access", "role": "user", "session_version": 1, "sid": SESSION}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def test_a_password_gives_a_token_for_15_minutes(nobody: Client, app: Flask, people: dict[str, Person]) -> None:
    answer = nobody.post("/v1/auth/login", GOOD)
    body = answer.get_json()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims.keys() >= {"exp", "iat", "nbf", "jti", "iss", "aud", "sub", "type", "role", "session_version", "sid"}
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["sub"], claims["role"], claims["type"]) == (str(people["user"].id), "user", "access")
    assert Client(app, body["access_token"]).get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("email", ["USER@EXAMPLE.COM", "User@example.com"])
@pytest.mark.parametrize("transport", ["cookie", "body"])
def test_emails_compare_without_case(nobody: Client, email: str, transport: str) -> None:
    assert nobody.post("/v1/auth/login", GOOD | {"email": email, "transport": transport}).status_code == 200


def test_the_first_unknown_email_takes_no_longer_than_the_next(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords.nobodys_hash.cache_clear()
    client = Client(make_app())

    def hash_now(*_: object) -> str:
        raise AssertionError("a request made a hash")

    monkeypatch.setattr(passwords.PasswordHasher, "hash", hash_now)
    assert client.post("/v1/auth/login", GOOD | {"email": "nobody@example.com"}).status_code == 401


@pytest.mark.parametrize("column", [None, "disabled_at", "deleted_at"])
def test_whoever_may_not_sign_in_learns_nothing(
    nobody: Client, gone: Callable[[str], None], column: str | None
) -> None:
    if column:
        gone(column)
        refused = nobody.post("/v1/auth/login", GOOD | {"email": "other@example.com"})
    else:
        refused = nobody.post("/v1/auth/login", GOOD | {"password": "Wrong-horse1"})
    unknown = nobody.post("/v1/auth/login", GOOD | {"email": "nobody@example.com"})
    problems = [answer.get_json() for answer in (refused, unknown)]
    for problem in problems:
        del problem["request_id"]
    assert (refused.status_code, unknown.status_code) == (401, 401)
    assert problems[0] == problems[1]
    assert problems[0]["code"] == "invalid_credentials"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_unknown_email_takes_as_long_as_a_wrong_password(nobody: Client) -> None:
    def seconds(email: str) -> float:
        began = perf_counter()
        nobody.post("/v1/auth/login", {"email": email, "password": "Wrong-horse1"})
        return perf_counter() - began

    seconds("nobody@example.com")  # the first one makes the hash that is verified against
    pairs = [(seconds("user@example.com"), seconds("nobody@example.com")) for _ in range(7)]
    known, unknown = (median(column) for column in zip(*pairs, strict=True))
    assert 0.6 < known / unknown < 1.7


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"email", "password"}),
        (GOOD | {"email": 1}, {"email"}),
        (GOOD | {"password": ""}, {"password"}),
        (GOOD | {"password": "x" * 129}, {"password"}),
        (GOOD | {"transport": "pigeon"}, {"transport"}),
        (GOOD | {"role": "admin"}, {"role"}),
        (GOOD | {"email": "a\0b"}, {"email"}),
    ],
)
def test_a_sign_in_is_checked_like_any_body(nobody: Client, body: dict[str, Any], fields: set[str]) -> None:
    answer = nobody.post("/v1/auth/login", body)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.get_json()["errors"]} == fields


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer x", "Bearer a.b.c", "Bearer \xff.b.c"]
)
def test_no_good_token_is_a_401(nobody: Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = nobody.get("/v1/jobs", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {name: None}
            for name in ("exp", "iat", "nbf", "jti", "iss", "aud", "sub", "type", "role", "session_version", "sid")
        ),
        {"exp": 1},
        {"nbf": 9_999_999_999},
        {"iat": "soon"},
        {"iss": "another"},
        {"aud": "another"},
        {"sub": "42"},
        {"type": "refresh"},
    ],
    ids=repr,
)
def test_every_claim_is_needed(
    app: Flask, settings: Settings, people: dict[str, Person], changes: dict[str, Any]
) -> None:
    claims = claims_of(settings, people["user"], **changes)
    token = jwt.encode(claims, settings.jwt_secret_key, algorithm="HS256")
    answer = Client(app, token).get("/v1/jobs")
    code = "token_expired" if changes == {"exp": 1} else "token_invalid"
    assert (answer.status_code, answer.get_json()["code"]) == (401, code)


def test_a_token_of_all_the_claims_is_good(app: Flask, settings: Settings, people: dict[str, Person]) -> None:
    token = jwt.encode(claims_of(settings, people["user"]), settings.jwt_secret_key, algorithm="HS256")
    assert Client(app, token).get("/v1/jobs").status_code == 200


def test_a_token_that_was_good_stops_at_its_end(app: Flask, settings: Settings, people: dict[str, Person]) -> None:
    claims = claims_of(settings, people["user"], exp=int(time()) + 2)
    client = Client(app, jwt.encode(claims, settings.jwt_secret_key, algorithm="HS256"))
    assert client.get("/v1/jobs").status_code == 200
    while time() < claims["exp"]:
        pass
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "token_expired")


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_the_algorithm_is_pinned(app: Flask, settings: Settings, people: dict[str, Person], algorithm: str) -> None:
    key = "" if algorithm == "none" else settings.jwt_secret_key * 2
    token = jwt.encode(claims_of(settings, people["user"]), key, algorithm=algorithm)
    assert Client(app, token).get("/v1/jobs").status_code == 401


def test_a_changed_token_is_refused(app: Flask, settings: Settings, people: dict[str, Person]) -> None:
    token = jwt.encode(claims_of(settings, people["user"]), settings.jwt_secret_key, algorithm="HS256")
    head, _, signature = token.split(".")
    forged = json.dumps(claims_of(settings, people["user"], role="admin")).encode()
    body = base64.urlsafe_b64encode(forged).decode().rstrip("=")
    assert Client(app, token).get("/v1/jobs").status_code == 200
    assert Client(app, f"{head}.{body}.{signature}").get("/v1/jobs").status_code == 401


def test_a_rolled_over_key_still_verifies_but_does_not_sign(make_app: Callable[..., Flask], settings: Settings) -> None:
    token = Client(make_app()).post("/v1/auth/login", GOOD).get_json()["access_token"]
    new_key = "n" * 40
    rolled = make_app(jwt_secret_key=new_key, jwt_secret_key_previous=settings.jwt_secret_key)
    assert Client(rolled, token).get("/v1/jobs").status_code == 200
    fresh = Client(rolled).post("/v1/auth/login", GOOD).get_json()["access_token"]
    done = make_app(jwt_secret_key=new_key)
    assert Client(done, fresh).get("/v1/jobs").status_code == 200
    assert Client(done, token).get("/v1/jobs").status_code == 401
