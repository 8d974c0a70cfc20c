"""The command line: `flask --app api.app …`."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext

from api.services import services
from api.user_cli import users
from models.roles import sync


def register(app: Flask) -> None:
    """Commands beside those of Flask and Flask-Migrate."""
    app.cli.add_command(roles)
    app.cli.add_command(users)


roles = AppGroup("roles", help="Database roles.")


@roles.command("sync")
@with_appcontext
def sync_roles() -> None:
    """Make the role of READ_DATABASE_URL, which can read every table and write none."""
    settings = services().settings
    click.echo(sync(settings.database_url, settings.read_database_url))
