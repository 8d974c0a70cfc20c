"""The command that makes the database's roles."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
from flask import Flask

from config import Settings
from local.postgres import READER, Postgres
from models import roles


def test_roles_sync_can_be_run_again_and_changes_the_password(
    make_app: Callable[..., Flask], settings: Settings, postgres: Postgres
) -> None:
    name = "millrace_second_reader"
    for password in ("one-password", "another"):
        url = settings.read_database_url.split("@", 1)[1]
        reader_url = f"postgresql://{name}:{password}@{url}"
        result = make_app(read_database_url=reader_url).test_cli_runner().invoke(args=["roles", "sync"])
        assert result.exit_code == 0, result.output
        assert name in result.output
        assert password not in result.output
        connection = psycopg2.connect(reader_url)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM orders")
        connection.close()


def test_roles_sync_without_a_second_role_does_nothing(settings: Settings) -> None:
    for url in ("", settings.database_url):
        assert "One database role only" in roles.sync(settings.database_url, url)
    assert READER in settings.read_database_url
