"""Who may do what, over every route there is: a route without a row here fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from uuid import uuid4

import psycopg2
import pytest
from flask import Flask

from api.access import matrix
from config import Settings
from jobs.kernel.policy import Access
from models import roles
from tests.http.conftest import Client

ROUTES = {
    ("POST", "/v1/auth/login"): Access.ANYONE,
    ("GET", "/v1/jobs"): Access.USER,
    ("GET", "/v1/jobs/<id>"): Access.USER,
    ("GET", "/v1/orders"): Access.USER,
    ("POST", "/v1/orders"): Access.USER,
    ("GET", "/v1/orders/<id>"): Access.USER,
    ("PUT", "/v1/orders/<id>"): Access.USER,
    ("PATCH", "/v1/orders/<id>"): Access.USER,
    ("DELETE", "/v1/orders/<id>"): Access.USER,
    ("GET", "/v1/services"): Access.USER,
}


def test_the_matrix_names_every_route(app: Flask) -> None:
    assert {(method, rule): access for method, rule, access in matrix(app)} == ROUTES


@pytest.mark.parametrize(("method", "rule"), ROUTES, ids=" ".join)
def test_a_route_admits_whom_it_says(
    app: Flask, method: str, rule: str, nobody: Client, user: Client, admin: Client
) -> None:
    access = ROUTES[method, rule]
    path = rule.replace("<id>", str(uuid4()))
    for client, role in ((nobody, None), (user, "user"), (admin, "admin")):
        status = client(method, path).status_code
        admitted = status not in (401, 403)
        assert admitted is access.admits(role), (role, status)
        if role is None and not admitted:
            assert status == 401


def test_a_route_that_declares_nothing_is_found_out(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/v1/open", "open", lambda: "")
    with pytest.raises(TypeError, match="/v1/open"):
        list(matrix(app))


def test_roles_sync_can_be_run_again_and_changes_the_passwords(
    make_app: Callable[..., Flask], settings: Settings
) -> None:
    where = settings.database_url.split("@", 1)[1]
    for password in ("one-password", "another"):
        urls = {f"{verb}_database_url": f"postgresql://second_{verb}:{password}@{where}" for verb in ("read", "write")}
        result = make_app(**urls).test_cli_runner().invoke(args=["roles", "sync"])
        assert result.exit_code == 0, result.output
        assert password not in result.output
        for url in urls.values():
            with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM orders")


def test_roles_sync_without_another_role_does_nothing(settings: Settings) -> None:
    for url in ("", settings.database_url):
        assert "One database role only" in roles.sync(settings.database_url, url, url)
