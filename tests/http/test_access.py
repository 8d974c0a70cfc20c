"""Who may do what, over every route there is: a route without a row here fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from uuid import uuid4

import pytest
from flask import Flask

from api.access import guard, matrix
from jobs.kernel.policy import Access
from tests.conftest import Person
from tests.events import EVENT
from tests.http.conftest import CALL, ORDER, Client, token_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTES = {
    ("POST", "/v1/auth/login"): Access.ANYONE,
    ("POST", "/v1/auth/logout"): Access.USER,
    ("POST", "/v1/auth/refresh"): Access.ANYONE,
    ("POST", "/v1/auth/register"): Access.ANYONE,
    ("GET", "/v1/auth/sessions"): Access.USER,
    ("DELETE", "/v1/auth/sessions/<id>"): Access.USER,
    ("GET", "/v1/calls"): Access.USER,
    ("POST", "/v1/calls"): Access.USER,
    ("GET", "/v1/calls/<id>"): Access.USER,
    ("PATCH", "/v1/calls/<id>"): Access.USER,
    ("GET", "/v1/calls/<id>/events"): Access.USER,
    ("GET", "/v1/circuits"): Access.USER,
    ("GET", "/v1/events"): Access.USER,
    ("POST", "/v1/events"): Access.USER,
    ("GET", "/v1/events/<id>"): Access.USER,
    ("GET", "/v1/events/circuit-status"): Access.USER,
    ("GET", "/v1/events/user/<user_id>"): Access.USER,
    ("GET", "/v1/jobs"): Access.USER,
    ("GET", "/v1/jobs/<id>"): Access.HOLDER,
    ("GET", "/v1/orders"): Access.USER,
    ("POST", "/v1/orders"): Access.USER,
    ("GET", "/v1/orders/<id>"): Access.USER,
    ("PUT", "/v1/orders/<id>"): Access.USER,
    ("PATCH", "/v1/orders/<id>"): Access.USER,
    ("DELETE", "/v1/orders/<id>"): Access.USER,
    ("GET", "/v1/queues"): Access.ADMIN,
    ("GET", "/v1/queues/<name>"): Access.ADMIN,
    ("POST", "/v1/queues/<name>/pause"): Access.ADMIN,
    ("POST", "/v1/queues/<name>/resume"): Access.ADMIN,
    ("GET", "/v1/services"): Access.USER,
    ("GET", "/v1/tasks"): Access.USER,
    ("GET", "/v1/tasks/<id>"): Access.USER,
    ("GET", "/v1/tasks/stats"): Access.USER,
    ("POST", "/v1/tasks"): Access.USER,
    ("POST", "/v1/tasks/batch"): Access.USER,
    ("PATCH", "/v1/tasks/<id>"): Access.USER,
    ("DELETE", "/v1/tasks/<id>"): Access.USER,
    ("GET", "/v1/users"): Access.ADMIN,
    ("POST", "/v1/users"): Access.ADMIN,
    ("GET", "/v1/users/me"): Access.USER,
    ("GET", "/v1/users/<id>"): Access.USER,
    ("PATCH", "/v1/users/<id>"): Access.USER,
    ("DELETE", "/v1/users/<id>"): Access.USER,
    ("POST", "/v1/webhooks/twilio/status"): Access.ANYONE,
    ("GET", "/v1/webhooks/twilio/voice"): Access.ANYONE,
    ("POST", "/v1/webhooks/twilio/voice"): Access.ANYONE,
}
WITH_ID = [(method, rule) for (method, rule), access in ROUTES.items() if "<" in rule and access is not Access.ADMIN]
"""What is somebody's; to an admin all are alike."""

RULES = sorted({rule for _, rule in ROUTES})
ROLES = (None, "user", "admin")
WITHOUT_TOKEN = {("POST", "/v1/auth/refresh")}
"""Answers 401 to whoever brings no refresh token, and asks for no role."""

SIGNED = {(method, rule) for method, rule in ROUTES if rule.startswith("/v1/webhooks/twilio/")}
"""Answers 403 to whatever has no signature, and asks for no role."""

BODIES = {
    ("PATCH", "/v1/calls/<id>"): {"status": "canceled"},
    ("PUT", "/v1/orders/<id>"): ORDER,
    ("PATCH", "/v1/orders/<id>"): {"total_fee": "1"},
    ("PATCH", "/v1/tasks/<id>"): {"title": "Another"},
    ("PATCH", "/v1/users/<id>"): {"name": "Another"},
}
"""What makes a write complete, so that nothing but whose the target is can be wrong with it."""


@dataclass
class Roles:
    """A client for each role, and somebody else of the role `user`."""

    app: Flask
    people: dict[str, Person]
    clients: dict[str | None, Client]
    stranger: Client

    def __getitem__(self, role: str | None) -> Client:
        return self.clients[role]

    def new(self, role: str | None) -> Client:
        return Client(self.app, token_of(self.app, self.people[role]) if role else None)


@pytest.fixture
def roles(app: Flask, people: dict[str, Person]) -> Roles:
    clients = {role: Client(app, token_of(app, people[role]) if role else None) for role in ROLES}
    return Roles(app, people, clients, Client(app, token_of(app, people["other"])))


def naming(rule: str, what: object) -> str:
    """The path to something."""
    return re.sub(r"<\w+>", str(what), rule)


def test_the_matrix_names_every_route(app: Flask) -> None:
    assert {(method, rule): access for method, rule, access in matrix(app)} == ROUTES


@pytest.mark.parametrize("rule", RULES)
def test_a_route_admits_whom_it_says(roles: Roles, rule: str) -> None:
    for method, role in product(METHODS, ROLES):
        access = ROUTES.get((method, rule))
        # each in a session of its own: some of these end one
        answer = roles.new(role)(method, naming(rule, uuid4()))
        case = (method, role, answer.status_code)
        if access is None:
            assert answer.status_code == 405, case
            assert method not in answer.headers["Allow"].split(", "), case
        elif access.admits(role):
            assert (answer.status_code == 403) is ((method, rule) in SIGNED), case
            assert (answer.status_code == 401) is ((method, rule) in WITHOUT_TOKEN), case
        else:
            assert answer.status_code == (401 if role is None else 403), case


@pytest.fixture
def of_user(
    roles: Roles,
    people: dict[str, Person],
    order_of: Callable[[str], str],
    call_of: Callable[..., str],
    task_of: Callable[..., str],
    event_of: Callable[..., str],
) -> dict[str, str]:
    """Something of `user`'s behind each rule with an id."""
    job = roles["user"].post("/v1/orders", ORDER)
    sessions = roles["user"].get("/v1/auth/sessions")
    return {
        "/v1/calls/<id>": call_of("user"),
        "/v1/calls/<id>/events": call_of("user"),
        "/v1/events/<id>": event_of("user"),
        "/v1/events/user/<user_id>": str(people["user"].id),
        "/v1/jobs/<id>": job.get_json()["id"],
        "/v1/orders/<id>": order_of("user"),
        "/v1/tasks/<id>": task_of("user"),
        "/v1/users/<id>": str(people["user"].id),
        "/v1/auth/sessions/<id>": sessions.get_json()["data"][0]["id"],
    }


@pytest.mark.parametrize(("method", "rule"), WITH_ID)
def test_what_is_somebody_elses_is_answered_as_what_is_not_there(
    roles: Roles, of_user: dict[str, str], method: str, rule: str
) -> None:
    body = BODIES.get((method, rule))
    foreign, absent = (roles.stranger(method, naming(rule, each), json=body) for each in (of_user[rule], uuid4()))
    for answer in (foreign, absent):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert foreign.get_json() | {"request_id": None} == absent.get_json() | {"request_id": None}
    assert dict(foreign.headers).keys() == dict(absent.headers).keys()
    own = roles["user"](method, naming(rule, of_user[rule]), json=body)
    assert own.status_code in (200, 202, 204), "the same is there for its owner"


@pytest.mark.parametrize("nonsense", ["1", "nonsense", "00000000-0000-0000-0000-00000000000g", "%00", "'"])
def test_what_is_no_id_is_answered_as_what_is_not_there(roles: Roles, nonsense: str) -> None:
    for method, rule in WITH_ID:
        answer = roles["user"](method, naming(rule, nonsense), json=BODIES.get((method, rule)))
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), (method, rule)


@pytest.mark.parametrize("member", ["id", "user_id", "owner_id", "status", "created_at", "version", "sid"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/calls", CALL),
        ("POST", "/v1/events", EVENT),
        ("POST", "/v1/orders", ORDER),
        ("POST", "/v1/users", {"email": "new@example.com", "password": "Correct-horse1", "name": "New"}),
        ("POST", "/v1/auth/register", {"email": "new@example.com", "password": "Correct-horse1", "name": "New"}),
        ("PATCH", "/v1/users/me", None),
    ],
)
def test_nobody_sets_what_is_not_theirs_to_set(
    roles: Roles, people: dict[str, Person], method: str, path: str, body: dict[str, str] | None, member: str
) -> None:
    place = path.replace("me", str(people["admin"].id)) if body is None else path
    answer = roles["admin"](method, place, json={**(body or {"name": "Another"}), member: "x"})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == [member]


@pytest.mark.parametrize("member", [{"role": "admin"}, {"disabled": True}, {"role": "user"}])
def test_a_user_sets_no_role_of_theirs(roles: Roles, people: dict[str, Person], member: dict[str, object]) -> None:
    me = f"/v1/users/{people['user'].id}"
    answer = roles["user"]("PATCH", me, json={"name": "Me", **member})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    registering = {"email": "new@example.com", "password": "Correct-horse1", "name": "New", **member}
    assert roles[None].post("/v1/auth/register", registering).status_code == 422


def test_a_route_that_declares_nothing_is_found_out(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/v1/open", "open", lambda: "")
    with pytest.raises(TypeError, match="/v1/open"):
        list(matrix(app))


def test_a_route_that_does_not_look_at_sessions_is_found_out(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/v1/careless", "careless", guard(Access.USER)(lambda: ""))
    with pytest.raises(TypeError, match="/v1/careless"):
        list(matrix(app))
