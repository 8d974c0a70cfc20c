"""The command that makes the database's roles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg2
from flask import Flask

from config import Settings
from models import roles


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
