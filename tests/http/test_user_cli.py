"""Users from the command line, with a real worker and without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest
from argon2 import PasswordHasher
from flask import Flask

from config import Settings
from tests.http.conftest import working

PASSWORD = "Correct-horse1"
HEADER = "email,password,role"

Run = Callable[..., click.testing.Result]


def run_of(app: Flask) -> Run:
    """Run `flask users …`; nothing that is told may have a password in it."""

    def invoke(*args: Any, **more: Any) -> click.testing.Result:
        result = app.test_cli_runner().invoke(args=["users", *map(str, args)], **more)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert PASSWORD not in result.output
        assert "$argon2" not in result.output
        return result

    return invoke


@pytest.fixture
def run(app: Flask) -> Run:
    return run_of(app)


@pytest.fixture
def worker(settings: Settings) -> Iterator[None]:
    with working(settings, "users"):
        yield


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of users."""

    def write(*lines: str, mark: str = "") -> Path:
        made = tmp_path / "users.csv"
        made.write_text(mark + "\n".join(lines) + "\n", encoding="utf-8")
        return made

    return write


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes for a hash."""
    monkeypatch.setattr("api.user_import.hashed", lambda password: f"$argon2id${len(password)}")


@pytest.mark.usefixtures("worker")
def test_a_file_is_imported_and_what_is_left_out_is_said(
    run: Run, file: Callable[..., Path], execute: Callable[..., Any]
) -> None:
    lines = [
        f"{HEADER},name",
        f"ada@example.org,{PASSWORD},admin,Ada Lovelace",
        f"ADA@example.org,{PASSWORD},user,",
        f"User@example.com,{PASSWORD},user,",
        f"nobody,{PASSWORD},user,",
        f"grace@example.org,{PASSWORD},user,",
    ]
    result = run("import", file(*lines, mark="\ufeff"))
    assert result.output.splitlines() == [
        "line 3: skipped: a user with this email is there already",
        "line 4: skipped: a user with this email is there already",
        "line 5: invalid: email: An email address must have an @-sign.",
        "2 imported, 2 skipped, 1 invalid, 0 failed, 0 not sent, 0 still queued.",
    ]
    assert result.exit_code == 1
    found = execute(
        "SELECT email, name, role, password_hash FROM users WHERE email LIKE '%%@example.org' ORDER BY email"
    )
    assert [row[:3] for row in found] == [
        ("ada@example.org", "Ada Lovelace", "admin"),
        ("grace@example.org", "grace", "user"),
    ]
    assert all(PasswordHasher().verify(row[3], PASSWORD) for row in found)
    again = run("import", file(*lines[:4], lines[5]))
    assert again.output.splitlines()[-1] == "0 imported, 4 skipped, 0 invalid, 0 failed, 0 not sent, 0 still queued."
    assert again.exit_code == 0


@pytest.mark.usefixtures("worker", "cheap")
def test_a_long_file_is_imported_in_chunks(run: Run, file: Callable[..., Path], execute: Callable[..., Any]) -> None:
    lines = [f"u{n % 240}@example.org,{PASSWORD},user" for n in range(250)]
    result = run("import", file(HEADER, *lines))
    skipped = [f"line {n}: skipped: a user with this email is there already" for n in range(242, 252)]
    summary = "240 imported, 10 skipped, 0 invalid, 0 failed, 0 not sent, 0 still queued."
    assert result.output.splitlines() == [*skipped, summary]
    assert result.exit_code == 0
    assert execute("SELECT count(*) FROM users WHERE email LIKE 'u%%@example.org'") == [(240,)]


@pytest.mark.usefixtures("cheap")
def test_without_a_worker_it_is_said_what_is_queued_and_it_can_be_run_again(
    run: Run, file: Callable[..., Path], settings: Settings, execute: Callable[..., Any]
) -> None:
    lines = [f"u{n}@example.org,{PASSWORD},user" for n in range(150)]
    result = run("import", file(HEADER, *lines), "--wait", 0)
    told = result.stdout.splitlines()
    assert [line.partition(" job ")[0] for line in told[:-1]] == [f"line {n}: still queued:" for n in range(2, 102)]
    assert told[-1] == "0 imported, 0 skipped, 0 invalid, 0 failed, 0 not sent, 100 still queued."
    assert "No worker" in result.stderr
    assert "Run this again" in result.stderr
    assert result.exit_code == 1
    with working(settings, "users"):
        again = run("import", file(HEADER, *lines))
    assert again.exit_code == 0
    assert execute("SELECT count(*) FROM users WHERE email LIKE 'u%%@example.org'") == [(150,)]


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("away", "said"),
    [
        ({"redis_url": "redis://127.0.0.1:1/0"}, "line 2: not sent: The queue cannot be reached"),
        ({"read_database_url": "postgresql://nobody@127.0.0.1:1/none"}, "Error: The database cannot be reached."),
    ],
    ids=["redis", "postgresql"],
)
def test_what_cannot_be_reached_is_said(
    make_app: Callable[..., Flask], file: Callable[..., Path], away: dict[str, Any], said: str
) -> None:
    result = run_of(make_app(**away))("import", file(HEADER, f"ada@example.org,{PASSWORD},user"))
    assert result.output.startswith(said)
    assert result.exit_code == 1


def test_a_file_without_a_header_is_refused(run: Run, file: Callable[..., Path]) -> None:
    result = run("import", file(f"ada@example.org,{PASSWORD},user"))
    assert result.output == "Error: The first line has to be email,password,role or email,password,role,name.\n"
    assert result.exit_code == 1


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("given", ["option", "pipe", "terminal"])
def test_an_admin_is_made(run: Run, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    args, more = ["--email", "Ada@example.org"], {}
    match given:
        case "option":
            args += ["--password", PASSWORD, "--name", "Ada"]
        case "pipe":
            more = {"input": f"{PASSWORD}\n"}
        case _:
            monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda self: True)
            more = {"input": f"{PASSWORD}\n{PASSWORD}\n"}
    result = run("create-admin", *args, **more)
    assert "Ada@example.org is an admin now." in result.output
    assert result.exit_code == 0
    ((name, role, kept),) = execute("SELECT name, role, password_hash FROM users WHERE email = 'Ada@example.org'")
    assert role == "admin"
    assert name == "Ada"
    assert PasswordHasher().verify(kept, PASSWORD)
    again = run("create-admin", "--email", "ada@EXAMPLE.org", "--password", PASSWORD)
    assert again.output == "Error: a user with this email is there already\n"
    assert again.exit_code == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--password", "Secret1"), "Error: password: String should have at least 8 characters\n"),
        (("--password", PASSWORD, "--name", " "), "Error: name: String should have at least 1 character\n"),
        (("--password", PASSWORD, "--wait", "0"), "Error: No worker seems to be running"),
    ],
    ids=["password", "name", "worker"],
)
def test_why_no_admin_is_made_is_said(run: Run, args: tuple[str, ...], said: str) -> None:
    result = run("create-admin", "--email", "ada@example.org", *args)
    assert result.output.startswith(said)
    assert "Secret1" not in result.output
    assert result.exit_code == 1
