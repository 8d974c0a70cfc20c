"""The command line: `flask --app api.app …`."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext

from api.doctor import doctor
from api.queue_cli import queues
from api.services import services
from api.user_cli import users
from api.worker_cli import workers
from jobs.kernel import acl
from models.roles import sync


def register(app: Flask) -> None:
    """Commands beside those of Flask and Flask-Migrate."""
    app.cli.add_command(roles)
    app.cli.add_command(users)
    app.cli.add_command(redis)
    app.cli.add_command(queues)
    app.cli.add_command(workers)
    app.cli.add_command(doctor)


roles = AppGroup("roles", help="Database roles.")


@roles.command("sync")
@with_appcontext
def sync_roles() -> None:
    """Make or mend the roles of READ_DATABASE_URL and WRITE_DATABASE_URL; after `db upgrade`."""
    settings = services().settings
    click.echo(sync(settings.database_url, settings.read_database_url, settings.write_database_url))


redis = AppGroup("redis", help="Users of Redis.")


@redis.command("acl")
def print_users() -> None:
    """Print the commands that make the users of Redis, or mend them: for its administrator, who fills in passwords."""
    for name, rules in acl.USERS.items():
        click.echo(f"ACL SETUSER {name} reset on >REDIS_{name.upper()}_PASSWORD {rules}")
